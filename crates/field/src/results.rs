//! Where products are written: all results of a plane, or a part of them that a thread has alone.

use std::ops::Range;

/// Rows of results, of which a product may write some.
pub(crate) trait Rows {
    /// Columns `from..from + len` of a row.
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u64];
}

/// All rows, one behind the other.
pub(crate) struct Whole<'a> {
    pub(crate) out: &'a mut [u64],
    pub(crate) width: usize,
}

impl Rows for Whole<'_> {
    #[inline(always)]
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u64] {
        &mut self.out[row * self.width + from..][..len]
    }
}

/// Some columns of all rows.
pub(crate) struct Columns<'a> {
    pub(crate) columns: Range<usize>,
    rows: Vec<&'a mut [u64]>,
}

impl Rows for Columns<'_> {
    #[inline(always)]
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u64] {
        &mut self.rows[row][from - self.columns.start..][..len]
    }
}

/// Splits rows of `width` columns into parts of `step` columns, the last one narrower.
pub(crate) fn columns(out: &mut [u64], width: usize, step: usize) -> Vec<Columns<'_>> {
    let rows = out.len() / width;
    let part = |first| Columns { columns: first..width.min(first + step), rows: Vec::with_capacity(rows) };
    let mut parts: Vec<Columns<'_>> = (0..width).step_by(step).map(part).collect();
    for row in out.chunks_exact_mut(width) {
        parts.iter_mut().zip(row.chunks_mut(step)).for_each(|(part, row)| part.rows.push(row));
    }
    parts
}

/// Some pixels of some channels. Pixels are counted over all images, and a row is a channel of an
/// image.
pub(crate) struct Pixels<'a> {
    pub(crate) channels: Range<usize>,
    pub(crate) pixels: Range<usize>,
    /// Channels of an image.
    height: usize,
    /// Pixels of an image.
    width: usize,
    /// The channels' rows of the image in which the part begins, if it has not all of its pixels.
    first: Vec<&'a mut [u64]>,
    /// The channels of every image of which it has all pixels.
    whole: Vec<&'a mut [u64]>,
    /// The channels' rows of the image in which it ends, if that is another and not whole.
    last: Vec<&'a mut [u64]>,
}

impl Rows for Pixels<'_> {
    #[inline(always)]
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u64] {
        let (image, channel) = (row / self.height, row % self.height - self.channels.start);
        let image = image - self.pixels.start / self.width;
        match (image, self.first.is_empty()) {
            (0, false) => &mut self.first[channel][from - self.pixels.start % self.width..][..len],
            (image, none) => match self.whole.get_mut(image - usize::from(!none)) {
                Some(channels) => &mut channels[channel * self.width + from..][..len],
                None => &mut self.last[channel][from..][..len],
            },
        }
    }
}

/// Splits images of `[height, width]` channels and pixels into parts of `step` channels, the last one
/// narrower, and pixels from each cut to the next. Cuts rise from 0 to the number of pixels.
pub(crate) fn pixels<'a>(
    out: &'a mut [u64],
    [height, width]: [usize; 2],
    step: usize,
    cuts: &[usize],
) -> Vec<Pixels<'a>> {
    let in_height = height.div_ceil(step);
    let mut parts: Vec<Pixels<'a>> = Vec::with_capacity(in_height * cuts.len());
    for cut in cuts.windows(2) {
        for start in (0..height).step_by(step) {
            let (channels, pixels) = (start..height.min(start + step), cut[0]..cut[1]);
            let [first, whole, last] = [(); 3].map(|()| Vec::new());
            parts.push(Pixels { channels, pixels, height, width, first, whole, last });
        }
    }
    for (image, rows) in out.chunks_exact_mut(height * width).enumerate() {
        let all = image * width..(image + 1) * width;
        // The part between cuts in which the image begins.
        let begins = cuts.partition_point(|&cut| cut <= all.start) - 1;
        if cuts[begins + 1] >= all.end {
            let parts = &mut parts[begins * in_height..][..in_height];
            parts
                .iter_mut()
                .zip(rows.chunks_mut(step * width))
                .for_each(|(part, rows)| part.whole.push(rows));
            continue;
        }
        for (channel, mut rest) in rows.chunks_exact_mut(width).enumerate() {
            let (mut at, mut between) = (all.start, begins);
            while !rest.is_empty() {
                let (here, behind) = rest.split_at_mut(rest.len().min(cuts[between + 1] - at));
                (rest, at) = (behind, at + here.len());
                parts[between * in_height + channel / step].add_row(image, here);
                between += 1;
            }
        }
    }
    parts
}

impl<'a> Pixels<'a> {
    /// Adds the next channel's pixels of an image that a cut goes through.
    fn add_row(&mut self, image: usize, row: &'a mut [u64]) {
        let begins_here = image == self.pixels.start / self.width;
        if begins_here { self.first.push(row) } else { self.last.push(row) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_every_result_once_and_in_its_place() {
        let mut out = vec![0; 3 * 50];
        for mut part in columns(&mut out, 50, 24) {
            for row in 0..3 {
                for column in part.columns.clone() {
                    part.at(row, column, 1)[0] += (row * 50 + column) as u64;
                }
            }
        }
        assert!(out.iter().enumerate().all(|(at, &word)| at as u64 == word));
        // Three images of 5 channels and 7 pixels; parts begin and end inside of images.
        for cuts in [&[0, 21][..], &[0, 7, 14, 21], &[0, 3, 5, 15, 21], &[0, 20, 21], &[0, 7, 10, 21]] {
            for step in [1, 2, 5] {
                let mut out = vec![0; 3 * 5 * 7];
                for mut part in pixels(&mut out, [5, 7], step, cuts) {
                    for pixel in part.pixels.clone() {
                        for channel in part.channels.clone() {
                            let row = pixel / 7 * 5 + channel;
                            part.at(row, pixel % 7, 1)[0] += (row * 7 + pixel % 7) as u64;
                        }
                    }
                }
                assert!(out.iter().enumerate().all(|(at, &word)| at as u64 == word), "{cuts:?} {step}");
            }
        }
    }
}
