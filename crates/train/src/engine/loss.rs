//! What a step minimises.

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Tensor, TensorData};

use crate::architecture::CLASSES;

/// What the teacher says of a batch.
pub(crate) struct Answers {
    /// `[images, classes]`.
    pub(crate) logits: Tensor<2>,
    /// What every activation gives, each as one row; empty when features are not matched.
    pub(crate) features: Vec<Tensor<1>>,
}

/// How much the teacher counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distillation {
    pub(crate) weight: f64,
    pub(crate) temperature: f64,
    pub(crate) features: f64,
}

/// Cross-entropy with the labels, averaged over images; `classes` is one-hot `[images, classes]`.
pub(crate) fn cross_entropy(logits: Tensor<2>, classes: Tensor<2>) -> Tensor<1> {
    let images = logits.dims()[0] as f64;
    (log_softmax(logits, 1) * classes).sum().mul_scalar(-1.0 / images)
}

/// `(1 - w) CE + w T^2 KL(teacher || student)` at temperature T (Hinton et al., "Distilling the
/// Knowledge in a Neural Network", 2015), plus `features` times the mean over activations of the
/// squared distance between both, as a share of the teacher's mean square.
pub(crate) fn distilled(
    logits: Tensor<2>,
    features: Vec<Tensor<1>>,
    classes: Tensor<2>,
    teacher: Answers,
    how: Distillation,
) -> Tensor<1> {
    let images = logits.dims()[0] as f64;
    let t = how.temperature;
    let mut loss = cross_entropy(logits.clone(), classes).mul_scalar(1.0 - how.weight);
    if how.weight > 0.0 {
        let cooled = teacher.logits.mul_scalar(1.0 / t);
        let surprise = log_softmax(cooled.clone(), 1) - log_softmax(logits.mul_scalar(1.0 / t), 1);
        let divergence = (softmax(cooled, 1) * surprise).sum().mul_scalar(how.weight * t * t / images);
        loss = loss + divergence;
    }
    let matched = features.len().min(teacher.features.len());
    for (ours, theirs) in features.into_iter().zip(teacher.features) {
        let size = (theirs.clone() * theirs.clone()).mean().add_scalar(1e-6);
        let distance = ours - theirs;
        loss = loss + ((distance.clone() * distance).mean() / size).mul_scalar(how.features / matched as f64);
    }
    loss
}

/// Labels as rows with a 1 at the class, of which `smoothing` is spread over all classes.
pub(crate) fn one_hot(
    labels: impl ExactSizeIterator<Item = u8>,
    smoothing: f64,
    device: &Device,
) -> Tensor<2> {
    let images = labels.len();
    let mut rows = vec![(smoothing / CLASSES as f64) as f32; images * CLASSES];
    let rest = (1.0 - smoothing) as f32;
    labels.enumerate().for_each(|(i, label)| rows[i * CLASSES + usize::from(label)] += rest);
    Tensor::from_data(TensorData::new(rows, [images, CLASSES]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(shift: f32) -> Tensor<2> {
        let row = (0..20).map(|i| (i % 10) as f32 * 0.3 + shift * (i / 10) as f32 * (i % 3) as f32);
        Tensor::from_data(TensorData::new(row.collect::<Vec<f32>>(), [2, 10]), &Device::flex())
    }

    fn probabilities(row: &[f64], t: f64) -> Vec<f64> {
        let sum: f64 = row.iter().map(|x| (x / t).exp()).sum();
        row.iter().map(|x| (x / t).exp() / sum).collect()
    }

    fn rows(x: &Tensor<2>) -> Vec<Vec<f64>> {
        let all: Vec<f64> = x.to_data().iter::<f32>().map(f64::from).collect();
        all.chunks(10).map(<[f64]>::to_vec).collect()
    }

    #[test]
    fn smoothed_labels_add_up() {
        let rows = rows(&one_hot([3u8].into_iter(), 0.1, &Device::flex()));
        assert!((rows[0].iter().sum::<f64>() - 1.0).abs() < 1e-6);
        assert!((rows[0][3] - 0.91).abs() < 1e-6 && (rows[0][0] - 0.01).abs() < 1e-6);
    }

    #[test]
    fn cross_entropy_and_divergence_by_their_definitions() {
        let device = Device::flex();
        let (student, teacher) = (logits(0.5), logits(-0.7));
        let classes = one_hot([3u8, 9].into_iter(), 0.0, &device);
        let hard: f64 =
            rows(&student).iter().zip([3, 9]).map(|(row, c)| -probabilities(row, 1.0)[c].ln()).sum();
        let got: f32 = cross_entropy(student.clone(), classes.clone()).into_scalar();
        assert!((f64::from(got) - hard / 2.0).abs() < 1e-5);

        let features = |x: f32| vec![Tensor::<1>::from_floats([x, 2.0], &device)];
        let how = Distillation { weight: 0.6, temperature: 3.0, features: 0.5 };
        let answers = Answers { logits: teacher.clone(), features: features(1.0) };
        let got: f32 = distilled(student.clone(), features(1.5), classes, answers, how).into_scalar();
        let soft: f64 = rows(&student)
            .iter()
            .zip(rows(&teacher))
            .map(|(s, t)| {
                let (s, t) = (probabilities(s, 3.0), probabilities(&t, 3.0));
                t.iter().zip(s).map(|(t, s)| t * (t / s).ln()).sum::<f64>()
            })
            .sum();
        let expected = 0.4 * hard / 2.0 + 0.6 * 9.0 * soft / 2.0 + 0.5 * (0.25 / 2.0) / 2.5;
        assert!((f64::from(got) - expected).abs() < 1e-4, "{got} {expected}");
    }
}
