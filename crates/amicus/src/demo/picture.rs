//! Digits as small pictures in the terminal.

/// Columns and character rows of one picture.
pub const WIDTH: usize = 14;
const HEIGHT: usize = 7;
/// From background to ink.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// A row of 28 x 28 digits side by side: 14 x 7 characters each, a character being the mean of 2 x 4 pixels.
pub fn row(images: &[&[u8]]) -> Vec<String> {
    (0..HEIGHT)
        .map(|y| {
            let parts: Vec<String> =
                images.iter().map(|image| (0..WIDTH).map(|x| shade(image, x, y)).collect()).collect();
            parts.join(" ").trim_end().to_owned()
        })
        .collect()
}

fn shade(image: &[u8], x: usize, y: usize) -> char {
    let pixels = (0..4).flat_map(|dy| (0..2).map(move |dx| (4 * y + dy) * 28 + 2 * x + dx));
    let sum: usize = pixels.filter_map(|at| image.get(at)).map(|&p| usize::from(p)).sum();
    SHADES[(sum * SHADES.len() / (8 * 256)).min(SHADES.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_is_dark_and_background_empty() {
        let mut image = vec![0u8; 784];
        image[..28 * 4].fill(255);
        let lines = row(&[&image]);
        assert_eq!(lines[0], "█".repeat(WIDTH));
        assert!(lines[1..].iter().all(String::is_empty));
    }
}
