//! Images as small pictures in the terminal.

/// Columns of a picture in shades of grey, at most.
const GREY_COLUMNS: usize = 16;
/// Columns of a picture in colour, at most.
const COLOUR_COLUMNS: usize = 32;
/// From black to white.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Pixels of one image: rows after rows, the channels of a pixel side by side; 1 channel (grey) or
/// 3 (red, green, blue).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Height in pixels.
    pub rows: usize,
    /// Width in pixels.
    pub columns: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Pixels row by row, the channels of each side by side.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Lines in shades of grey, each as long as [`Picture::width`]; a character is a mean of
    /// pixels, twice as high as wide.
    pub fn grey(&self) -> Vec<String> {
        let side = self.columns.div_ceil(GREY_COLUMNS).max(1);
        let shade = |y: usize, x: usize| {
            let mean = self.mean([y * 2 * side, x * side], [2 * side, side]).into_iter().map(usize::from);
            // Weights of red, green and blue in brightness, ITU-R BT.601.
            let brightness = mean.zip([299, 587, 114]).map(|(c, w)| c * w).sum::<usize>();
            SHADES[(brightness * SHADES.len() / 256_000).min(SHADES.len() - 1)]
        };
        let columns = self.width(false);
        (0..self.rows.div_ceil(2 * side)).map(|y| (0..columns).map(|x| shade(y, x)).collect()).collect()
    }

    /// Lines in 24-bit colour, two pixels a character: the upper half in the foreground's, the
    /// lower in the background's.
    pub fn colour(&self) -> Vec<String> {
        let side = self.columns.div_ceil(COLOUR_COLUMNS).max(1);
        let half = |y: usize, x: usize| {
            let [r, g, b] = self.mean([y * side, x * side], [side; 2]);
            format!("{r};{g};{b}")
        };
        let character =
            |y: usize, x: usize| format!("\x1b[38;2;{}m\x1b[48;2;{}m▀", half(2 * y, x), half(2 * y + 1, x));
        let line = |y| (0..self.width(true)).map(|x| character(y, x)).collect::<String>() + "\x1b[0m";
        (0..self.rows.div_ceil(2 * side)).map(line).collect()
    }

    /// Characters in a line.
    pub fn width(&self, colour: bool) -> usize {
        let most = if colour { COLOUR_COLUMNS } else { GREY_COLUMNS };
        self.columns.div_ceil(self.columns.div_ceil(most).max(1))
    }

    /// Red, green and blue of a part, black where there is no pixel.
    fn mean(&self, [top, left]: [usize; 2], [height, width]: [usize; 2]) -> [u8; 3] {
        let (mut sums, mut count) = ([0usize; 3], 0);
        for y in top..(top + height).min(self.rows) {
            for x in left..(left + width).min(self.columns) {
                let at = (y * self.columns + x) * self.channels;
                let pixel = self.pixels.get(at..at + self.channels).unwrap_or(&[]);
                for (channel, sum) in sums.iter_mut().enumerate() {
                    *sum += pixel.get(channel.min(self.channels - 1)).copied().map_or(0, usize::from);
                }
                count += 1;
            }
        }
        sums.map(|sum| (sum / count.max(1)) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_is_bright_and_background_empty() {
        let mut pixels = vec![0u8; 784];
        pixels[..28 * 4].fill(255);
        let digit = Picture { rows: 28, columns: 28, channels: 1, pixels };
        let lines = digit.grey();
        assert_eq!((lines.len(), digit.width(false)), (7, 14));
        assert_eq!(lines[0], "█".repeat(14));
        assert!(lines[1..].iter().all(|line| line.trim().is_empty()));
    }

    #[test]
    fn colours_keep_their_places() {
        let mut pixels = vec![0u8; 32 * 32 * 3];
        pixels[32 * 3 + 1] = 200; // green of the first pixel in the second row
        let picture = Picture { rows: 32, columns: 32, channels: 3, pixels };
        let lines = picture.colour();
        assert_eq!((lines.len(), picture.width(true)), (16, 32));
        assert!(lines[0].starts_with("\x1b[38;2;0;0;0m\x1b[48;2;0;200;0m▀"), "{:?}", lines[0]);
        assert!(lines.iter().all(|line| line.matches('▀').count() == 32 && line.ends_with("\x1b[0m")));
    }
}
