//! What a demonstration classifies: images from folders, those that ship, or arrays of numbers.
//!
//! Every source is a list of items in an order that is spread over the classes, so that the first
//! few show each class; items are only read when they are asked for.

mod folder;
mod numbers;
mod shipped;

use super::picture::Picture;
use super::{DemoError, DemoOptions, models::Model};
use amicus_data::{Images, pictures};
use amicus_model::networks::PixelRule;
use std::path::PathBuf;

pub use shipped::shipped_digits;

/// One thing to classify.
pub(super) struct Sample {
    /// Its place in the data.
    pub(super) number: usize,
    /// The network's input.
    pub(super) input: Vec<f32>,
    /// Its class, where that is known.
    pub(super) label: Option<usize>,
    /// What it looks like.
    pub(super) picture: Option<Picture>,
}

/// Everything there is to classify.
pub(super) struct Data {
    /// Where it comes from, for people.
    pub(super) source: String,
    /// Names of the classes, in the order of the network's outputs.
    pub(super) classes: Option<Vec<String>>,
    /// What was skipped or changed when they were read, for people.
    pub(super) notes: Vec<String>,
    items: Vec<Item>,
    /// More inputs for calibration, where the items are few.
    calibration: Vec<Vec<f32>>,
    shape: [usize; 3],
    pixels: PixelRule,
}

struct Item {
    number: usize,
    content: Content,
    label: Option<usize>,
}

enum Content {
    /// Rows, columns, and the channels of a pixel side by side.
    Pixels(Vec<u8>),
    /// An image file.
    File(PathBuf),
    /// The network's input itself.
    Numbers(Vec<f32>),
}

/// Images in memory as items, in their order.
fn items(images: &Images) -> Vec<Item> {
    let item = |i| Item {
        number: i,
        content: Content::Pixels(images.interleaved(i)),
        label: Some(images.label(i).into()),
    };
    (0..images.len()).map(item).collect()
}

impl Data {
    /// What the options name, for a model.
    pub(super) fn open(options: &DemoOptions, model: &Model) -> Result<Self, DemoError> {
        let option = |option, reason: &str| Err(DemoError::Option { option, reason: reason.to_owned() });
        match (&options.data, &options.data_dir, model.pixels) {
            (Some(_), Some(_), _) => option("--data", "cannot be given together with --data-dir"),
            (Some(path), None, _) => numbers::read(path, &model.graph, options.invalid),
            (None, Some(_), None) => {
                option("--data-dir", "a compiled model takes numbers; give them with --data")
            }
            (None, None, None) => Ok(numbers::random(&model.graph)),
            (None, folder, Some(pixels)) => match (model.graph.input_shape(), folder) {
                ([1, 28, 28], None) => shipped::digits(pixels),
                ([1, 28, 28], Some(folder)) => folder::digits(folder, pixels),
                ([3, 32, 32], None) => shipped::photographs(pixels),
                ([3, 32, 32], Some(folder)) => folder::photographs(folder, pixels, model.classes()),
                _ => Ok(numbers::random(&model.graph)),
            },
        }
    }

    fn new(source: String, classes: Option<Vec<String>>, shape: [usize; 3], pixels: PixelRule) -> Self {
        Data { source, classes, notes: Vec::new(), items: Vec::new(), calibration: Vec::new(), shape, pixels }
    }

    /// Takes items over, those of all classes in turn; items without a class keep their places
    /// behind.
    fn with_items(mut self, items: Vec<Item>) -> Self {
        let classes = items.iter().filter_map(|item| item.label).max().map_or(0, |most| most + 1);
        let mut seen = vec![0usize; classes];
        let mut keyed: Vec<((usize, usize), Item)> = Vec::with_capacity(items.len());
        for item in items {
            let key = item.label.map_or((usize::MAX, 0), |class| {
                seen[class] += 1;
                (seen[class], class)
            });
            keyed.push((key, item));
        }
        keyed.sort_by_key(|(key, _)| *key);
        self.items = keyed.into_iter().map(|(_, item)| item).collect();
        self
    }

    /// Number of items.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// One item, read and turned into an input.
    pub(super) fn sample(&self, index: usize) -> Result<Sample, DemoError> {
        let Item { number, content, label } = &self.items[index];
        let number = *number;
        let decoded;
        let pixels = match content {
            Content::Numbers(input) => {
                return Ok(Sample { number, input: input.clone(), label: *label, picture: None });
            }
            Content::Pixels(pixels) => pixels,
            Content::File(path) => {
                let [rows, columns, _] = self.shape;
                decoded = pictures::read(path, [rows, columns])?;
                &decoded
            }
        };
        let input = self.pixels.input(pixels, self.shape)?;
        let [rows, columns, channels] = self.shape;
        let picture = Picture { rows, columns, channels, pixels: pixels.clone() };
        Ok(Sample { number, input, label: *label, picture: Some(picture) })
    }

    /// Inputs to calibrate with, `count` if there are as many: from the end, where the fewest are
    /// classified.
    pub(super) fn calibration(&self, count: usize) -> Result<Vec<Vec<f32>>, DemoError> {
        if !self.calibration.is_empty() {
            return Ok(self.calibration.clone());
        }
        let range = self.len().saturating_sub(count)..self.len();
        range.map(|index| Ok(self.sample(index)?.input)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_items_show_every_class() {
        let item =
            |value: u8, label| Item { number: value.into(), content: Content::Pixels(vec![value]), label };
        let labels = [Some(0), Some(0), None, Some(0), Some(2), Some(2), Some(1)];
        let items = labels.iter().zip(0..).map(|(&label, value)| item(value, label)).collect();
        let data = Data::new("test".into(), None, [1, 1, 1], PixelRule::Unit).with_items(items);
        let order = |i: usize| match &data.items[i].content {
            Content::Pixels(pixels) => pixels[0],
            _ => unreachable!(),
        };
        assert_eq!((0..7).map(order).collect::<Vec<u8>>(), [0, 6, 4, 1, 5, 3, 2]);
        assert_eq!(data.sample(1).unwrap().input, [6.0 / 255.0]);
        assert_eq!(data.calibration(2).unwrap(), [[3.0 / 255.0], [2.0 / 255.0]]);
    }
}
