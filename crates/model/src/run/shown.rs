//! What a plan shows to everybody who sees it: parties, helper and clients.
//!
//! `docs/security.md`, section 23, is the same list with its reasons.

use amicus_plan::{OpKind, Plan, WrapRule};

use crate::approximate::Approximation;
use crate::planner::behind_truncations;

/// Whether a polynomial is a power of its argument, times a factor: the argument opened, or the square
/// that another polynomial is one of.
fn power<T: Default + PartialEq>(polynomial: &[T]) -> bool {
    polynomial.iter().rev().skip(1).all(|c| *c == T::default())
}

/// A line for each kind of thing that a plan shows; `approximations` tell fitted polynomials from
/// those of the file, `grouped` is the number of layers computed in groups of channels
/// ([`mod@crate::equalise`]).
pub fn shown(plan: &Plan, approximations: &[Approximation], grouped: usize) -> Vec<String> {
    let fitted = approximations.iter().filter(|a| a.picked.is_some() && a.pieces.is_none()).count();
    let splines = approximations.iter().filter(|a| a.pieces.is_some()).count();
    let (mut learned, mut statistical) = (0, 0);
    // Polynomials behind truncations of their own count as one, squares or not.
    let network = plan.network();
    let (network, _) = behind_truncations::whole(&network, &vec![1.0; network.ops.len() + 1]);
    for op in &network.ops {
        match &op.kind {
            OpKind::Activation(a) => {
                learned += usize::from(!power(&a.coefficients));
                statistical += usize::from(a.wrap == WrapRule::Statistical);
            }
            OpKind::Select(s) if s.bits.is_none() => {
                learned += usize::from(!s.polynomials.iter().all(|p| power(p)));
            }
            _ => {}
        }
    }
    let mut lines = vec![
        format!(
            "the architecture: {} operations, shapes and names of {} layers, which of them have biases",
            plan.ops.len(),
            plan.tensors().count()
        ),
        format!(
            "the input range {} to {}: ends of the calibration data and a tenth of their spread",
            plan.input.range.low, plan.input.range.high
        ),
    ];
    if !plan.public.is_empty() {
        lines.push(format!(
            "all {} weights of {} layers, and their biases: they are public",
            plan.public_weights(),
            plan.public.len()
        ));
    }
    if grouped > 0 {
        lines.push(format!(
            "how many channels of {grouped} layers, which are computed in groups, are of which size: largest numbers \
             on calibration data, by steps of six bits"
        ));
    }
    let learned = learned.max(fitted) - fitted;
    if let Some(reveal) = &plan.output.reveal {
        let labels =
            if reveal.labels == 1 { "the label".to_owned() } else { format!("{} labels", reveal.labels) };
        lines.push(format!(
            "that receivers get {labels} of the largest outputs and not the outputs, and the largest output on \
             calibration data, to a power of two"
        ));
    }
    if plan.output.watch > 0 {
        lines.push(
            "which values are watched for leaving their windows and intervals, and in groups of how many: so how far \
             calibration data are inside; and by whether outputs are, whether values inside could drive them too far"
                .to_owned(),
        );
    }
    if learned > 0 {
        lines.push(format!(
            "coefficients of {learned} polynomials of the network itself, learned ones included"
        ));
    }
    if fitted > 0 {
        lines.push(format!(
            "coefficients of {fitted} fitted polynomials, and so half-widths of their intervals and the \
             shape of a histogram of what calibration data feed them"
        ));
    }
    if splines > 0 {
        lines.push(format!(
            "thresholds and coefficients of {splines} splines, and so the shape of a histogram of what calibration data \
             feed them"
        ));
    }
    let comparisons = plan.ops.iter().filter(|op| matches!(op.kind, OpKind::Compare(_))).count();
    if comparisons > 0 {
        lines.push(format!(
            "windows of {comparisons} comparisons: calibrated ranges, to a power of two; thresholds and slopes of the \
             activations"
        ));
    }
    lines.push(format!(
        "{} limb(s), scales of input, weights, arguments and outputs: chosen by what rounding costs, \
         which depends on weights and calibration data",
        plan.limbs.count()
    ));
    lines.push(if statistical > 0 {
        format!(
            "bounds of {statistical} statistical truncations: calibrated ranges, to a power of two; all \
             others follow from the modulus"
        )
    } else {
        "bounds of truncations follow from the modulus alone".to_owned()
    });
    lines
}
