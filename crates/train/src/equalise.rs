//! Range control: what is done to weights so that activations' arguments stay inside the interval.

use crate::architecture::Architecture;
use crate::weights::Weights;

/// Largest |beta| + k |gamma| of a channel, as a share of B, that counts as dead and is left alone.
const DEAD: f32 = 1e-3;

/// Scales every ReLU's argument, channel by channel, until |beta| + `sigmas` |gamma| = `interval`.
///
/// relu(s t) = s relu(t) for s > 0, so BatchNorm times s and the next layers' weights over s leave
/// a ReLU network as it is. Where an activation's result is also read by an identity, its channels
/// stay.
pub fn equalise(weights: &mut Weights, architecture: &Architecture, interval: f32, sigmas: f32) {
    for (index, block) in architecture.blocks.iter().enumerate() {
        let readers = architecture.readers(index);
        if readers.is_empty() {
            continue;
        }
        let factors: Vec<f32> = reaches(weights, &block.norm, sigmas)
            .into_iter()
            .map(|reach| if reach > DEAD * interval { interval / reach } else { 1.0 })
            .collect();
        scale_norm(weights, &block.norm, &factors);
        for reader in readers {
            let fan_in = reader.kind.fan_in();
            // A kernel's taps, or after flattening a channel's pixels, are neighbours.
            let run = fan_in / factors.len();
            weights.change(&format!("{}.weight", reader.name), |values| {
                for (i, value) in values.iter_mut().enumerate() {
                    *value /= factors[i % fan_in / run];
                }
            });
        }
    }
}

/// Shrinks gamma and beta of every channel, both by the same factor, until |beta| + `sigmas`
/// |gamma| <= `interval`.
///
/// A channel's output has mean beta and standard deviation |gamma|, so mean +- `sigmas` standard
/// deviations stay inside the interval. Done after every step.
pub fn project(weights: &mut Weights, architecture: &Architecture, interval: f32, sigmas: f32) {
    for block in &architecture.blocks {
        let reaches = reaches(weights, &block.norm, sigmas);
        let factors: Vec<f32> = reaches.iter().map(|reach| (interval / reach.max(1e-12)).min(1.0)).collect();
        scale_norm(weights, &block.norm, &factors);
    }
}

/// |beta| + k |gamma| of every channel.
fn reaches(weights: &Weights, norm: &str, sigmas: f32) -> Vec<f32> {
    let gamma = &weights.get(&format!("{norm}.weight")).values;
    let beta = &weights.get(&format!("{norm}.bias")).values;
    gamma.iter().zip(beta).map(|(gamma, beta)| beta.abs() + sigmas * gamma.abs()).collect()
}

fn scale_norm(weights: &mut Weights, norm: &str, factors: &[f32]) {
    for part in ["weight", "bias"] {
        weights.change(&format!("{norm}.{part}"), |values| {
            values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelName;

    fn uneven(name: ModelName) -> (Architecture, Weights) {
        let architecture = Architecture::of(name);
        let mut weights = Weights::fresh(&architecture, 1.0, 3);
        for block in &architecture.blocks {
            weights.change(&format!("{}.weight", block.norm), |values| {
                values.iter_mut().enumerate().for_each(|(i, v)| *v = 0.1 + 0.3 * (i % 7) as f32);
            });
            weights.change(&format!("{}.bias", block.norm), |values| {
                values.iter_mut().enumerate().for_each(|(i, v)| *v = (i % 5) as f32 - 2.0);
            });
        }
        (architecture, weights)
    }

    #[test]
    fn every_channel_that_can_be_scaled_reaches_the_interval() {
        let (architecture, mut weights) = uneven(ModelName::ResNet8);
        let before = weights.clone();
        equalise(&mut weights, &architecture, 4.0, 3.0);
        for (index, block) in architecture.blocks.iter().enumerate() {
            let now = reaches(&weights, &block.norm, 3.0);
            if index == 0 {
                assert_eq!(now, reaches(&before, &block.norm, 3.0), "read by an identity");
            } else {
                assert!(now.iter().all(|reach| (reach - 4.0).abs() < 1e-4), "{now:?}");
            }
        }
        // Channel 1 of s1.bn2 had |beta| 1 and gamma 0.4: a factor of 4 / 2.2, undone in both
        // readers.
        let factor = 4.0 / 2.2;
        for (name, taps) in [("s2.conv1.weight", 9), ("s2.shortcut.weight", 1)] {
            let (old, new) = (&before.get(name).values, &weights.get(name).values);
            assert!((old[taps] / new[taps] - factor).abs() < 1e-4);
        }
    }

    #[test]
    fn flattened_pixels_are_scaled_with_their_channel() {
        let (architecture, mut weights) = uneven(ModelName::LeNet5);
        let before = weights.clone();
        equalise(&mut weights, &architecture, 4.0, 4.0);
        let (old, new) = (&before.get("fc1.weight").values, &weights.get("fc1.weight").values);
        let factors = reaches(&before, "bn2", 4.0);
        for i in [0, 24, 25, 399, 400 + 26] {
            let expected = 4.0 / factors[i % 400 / 25];
            assert!((old[i] / new[i] - expected).abs() < 1e-3 * expected, "{i}");
        }
    }

    #[test]
    fn dead_channels_are_not_blown_up() {
        let (architecture, mut weights) = uneven(ModelName::LeNet5);
        for part in ["weight", "bias"] {
            weights.change(&format!("bn3.{part}"), |values| values[4] = 1e-5);
        }
        equalise(&mut weights, &architecture, 4.0, 4.0);
        assert_eq!(weights.get("bn3.weight").values[4], 1e-5);
    }

    #[test]
    fn projection_shrinks_what_reaches_too_far_and_only_that() {
        let (architecture, mut weights) = uneven(ModelName::LeNet5);
        let before = weights.clone();
        project(&mut weights, &architecture, 4.0, 3.0);
        for block in &architecture.blocks {
            let (old, new) = (reaches(&before, &block.norm, 3.0), reaches(&weights, &block.norm, 3.0));
            assert!(old.iter().any(|&reach| reach > 4.0) && old.iter().any(|&reach| reach < 4.0));
            for (i, (old, new)) in old.iter().zip(&new).enumerate() {
                assert!((new - old.min(4.0)).abs() < 1e-5, "{old} {new}");
                let ratio = |weights: &Weights| {
                    let part = |part: &str| weights.get(&format!("{}.{part}", block.norm)).values[i];
                    part("bias") / part("weight")
                };
                assert!((ratio(&before) - ratio(&weights)).abs() < 1e-4);
            }
        }
    }
}
