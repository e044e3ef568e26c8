//! Channels of very different sizes, brought to sizes that one scale can hold.
//!
//! Where it stands: between [`crate::onnx`] and [`mod@crate::prepare`]. The fixed point has one
//! scale and one interval for all channels of a value. A channel a thousand times smaller than the
//! largest has ten bits less, and a polynomial fitted on the interval of the largest says nothing
//! about it, though the layer behind may weigh both alike. Two things help, and the network
//! computes the same:
//!
//! - the module `factors`: a channel times `2^k`, the weights that read it times `2^-k`, wherever
//!   everything between passes factors on (cross-layer equalisation: Nagel et al., *Data-Free
//!   Quantization Through Weight Equalization and Bias Correction*, ICCV 2019). ReLU does, most
//!   other activations do not;
//! - the module `split`: where they do not, channels are computed in groups of similar size, each
//!   with an activation of its own, and the layers behind add up what each group gives. No round
//!   more, but more values.
//!
//! Both look at calibration data, and only at channels that matter for the result. Networks whose
//! channels are alike are left as they are. `docs/protocol.md`, section 8.

mod channels;
mod factors;
mod split;

use crate::error::ModelError;
use crate::graph::Graph;

/// A network whose channels are alike.
#[derive(Clone, Debug)]
pub struct Equalised {
    /// The network; what was split has more nodes, under names of their own.
    pub graph: Graph,
    /// What was rewritten, for people.
    pub notes: Vec<String>,
    /// Layers whose channels are computed in groups of similar size.
    pub grouped: usize,
}

/// Brings channels to similar sizes; `samples` are calibration inputs in the graph's own numbers.
///
/// # Errors
/// A sample of the wrong size or with a number that is none.
pub fn equalise(graph: &Graph, samples: &[Vec<f32>]) -> Result<Equalised, ModelError> {
    let mut equalised = Equalised { graph: graph.clone(), notes: Vec::new(), grouped: 0 };
    let Some(sizes) = channels::Sizes::measure(graph, samples)? else { return Ok(equalised) };
    let Some(factors) = factors::choose(graph, &sizes) else {
        split::split(&mut equalised, &sizes);
        return Ok(equalised);
    };
    factors::apply(&mut equalised, &factors);
    let sizes = sizes.times(&factors);
    split::split(&mut equalised, &sizes);
    Ok(equalised)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot be set up fails
    use super::*;
    use crate::FloatExecutor;
    use crate::check::check;
    use crate::fake_quantisation::SplitMix;
    use crate::networks;

    /// Whatever sizes channels are said to have, rewritten networks compute the same.
    #[test]
    fn any_sizes_give_the_same_answers() {
        let networks = [networks::lenet5_random(3).unwrap(), networks::resnet8_random(3, 8).unwrap()];
        let mut random = SplitMix(5);
        let mut grown = 0;
        for graph in &networks {
            let x: Vec<f32> = (0..graph.nodes()[0].len()).map(|_| random.unit() as f32).collect();
            let expected = FloatExecutor::new(graph).run(&x).unwrap();
            let size = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
            for _ in 0..4 {
                let sizes = channels::Sizes::made_up(graph, &mut || (-30.0 * random.unit()).exp2());
                let mut split = Equalised { graph: graph.clone(), notes: Vec::new(), grouped: 0 };
                split::split(&mut split, &sizes);
                assert!(split.grouped > 0 && check(&split.graph).problems.is_empty());
                grown += split.graph.nodes().len() - graph.nodes().len();
                let got = FloatExecutor::new(&split.graph).run(&x).unwrap();
                assert!(got.iter().zip(&expected).all(|(g, e)| (g - e).abs() <= 1e-9 * size));
            }
        }
        assert!(grown > 100, "{grown}");
    }
}
