//! Line charts as SVG files: learning curves here, fits in the example `fits`.

use std::path::Path;

use plotters::prelude::*;

use crate::curve::CurvePoint;
use crate::{TrainError, export};

const WIDTH: u32 = 720;
const HEIGHT: u32 = 280;
const FONT: &str = "sans-serif";
/// Okabe and Ito's colours, which people with colour-blindness can tell apart.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Where it goes, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// One chart; those of a file stand below each other.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// Below the horizontal axis.
    pub horizontal: String,
    /// Beside the vertical axis.
    pub vertical: String,
    /// The lines, each in its colour; with several there is a legend. A line without points only takes a colour.
    pub lines: Vec<Line>,
}

/// Writes charts as one SVG file, in one step.
///
/// # Errors
///
/// [`TrainError::Plot`] when there is nothing to draw, [`TrainError::Io`] naming the file.
pub fn write(path: &Path, charts: &[Chart]) -> Result<(), TrainError> {
    let svg = svg(charts).map_err(|problem| TrainError::Plot { path: path.into(), problem })?;
    export::write_bytes(path, svg.as_bytes())
}

/// Draws loss, accuracy and escapes of a run over its epochs.
///
/// # Errors
///
/// As [`write`].
pub fn learning_curve(path: &Path, title: &str, points: &[CurvePoint]) -> Result<(), TrainError> {
    let chart = |title: &str, vertical: &str, value: fn(&CurvePoint) -> f64| Chart {
        title: title.to_owned(),
        horizontal: "epoch".to_owned(),
        vertical: vertical.to_owned(),
        lines: vec![Line {
            name: vertical.to_owned(),
            points: points.iter().map(|p| (p.epoch as f64, value(p))).collect(),
        }],
    };
    let mut charts = vec![
        chart(title, "loss", |p| p.loss),
        chart("", "accuracy on images held out, %", |p| 100.0 * p.validation_accuracy),
    ];
    if points.iter().any(|p| p.escape_rate > 0.0) {
        charts.push(chart("", "values outside the interval, ppm", |p| 1e6 * p.escape_rate));
    }
    write(path, &charts)
}

fn svg(charts: &[Chart]) -> Result<String, String> {
    let mut svg = String::new();
    let rows = u32::try_from(charts.len()).map_err(|error| error.to_string())?;
    if rows == 0 {
        return Err("no charts".into());
    }
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT * rows)).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        for (area, chart) in root.split_evenly((charts.len(), 1)).iter().zip(charts) {
            draw(area, chart)?;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, chart: &Chart) -> Result<(), String> {
    let text = |error: DrawingAreaErrorKind<_>| -> String { format!("{error}") };
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let (left, right) = bounds(points().map(|p| p.0), 0.0)?;
    let (low, high) = bounds(points().map(|p| p.1), 0.05)?;
    let mut builder = ChartBuilder::on(area);
    builder.margin(10).x_label_area_size(38).y_label_area_size(64);
    if !chart.title.is_empty() {
        builder.caption(&chart.title, (FONT, 16));
    }
    let mut context = builder.build_cartesian_2d(left..right, low..high).map_err(text)?;
    context
        .configure_mesh()
        .max_light_lines(1)
        .x_desc(&chart.horizontal)
        .y_desc(&chart.vertical)
        .label_style((FONT, 12))
        .x_label_formatter(&|x| label(*x))
        .y_label_formatter(&|y| label(*y))
        .draw()
        .map_err(text)?;
    let drawn = |line: &Line| !line.points.is_empty();
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()).filter(|(line, _)| drawn(line)) {
        let style = colour.stroke_width(2);
        context
            .draw_series(LineSeries::new(line.points.iter().copied(), style))
            .map_err(text)?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    if chart.lines.iter().filter(|line| drawn(line)).count() > 1 {
        // The usual place of the legend, unless it would lie on a line there.
        let hidden = points().any(|&(x, y)| {
            (0.35..0.65).contains(&((x - left) / (right - left))) && (y - low) / (high - low) > 0.7
        });
        context
            .configure_series_labels()
            .position(if hidden { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperMiddle })
            .background_style(WHITE.mix(0.8))
            .label_font((FONT, 12))
            .draw()
            .map_err(text)?;
    }
    Ok(())
}

/// A number beside an axis, without the noise of binary fractions or a sign at 0.
fn label(value: f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6 + 0.0)
}

/// The smallest and largest value with some room; never empty.
fn bounds(values: impl Iterator<Item = f64>, room: f64) -> Result<(f64, f64), String> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        if !value.is_finite() {
            return Err(format!("a value is {value}"));
        }
        (low, high) = (low.min(value), high.max(value));
    }
    if low > high {
        return Err("nothing to draw".into());
    }
    let space = if high > low { room * (high - low) } else { 0.5 };
    Ok((low - space, high + space))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(epoch: usize) -> CurvePoint {
        CurvePoint {
            epoch,
            loss: 1.0 / epoch as f64,
            validation_accuracy: 0.9,
            escape_rate: 0.0,
            learning_rate: 1e-3,
            seconds: 1.0,
        }
    }

    #[test]
    fn a_curve_is_a_picture_with_its_axes_and_lines() {
        let path = std::env::temp_dir().join(format!("amicus-plot-{}.svg", std::process::id()));
        learning_curve(&path, "a title", &[point(1), point(2), point(4)]).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for part in ["a title", "epoch", "accuracy on images held out, %", "polyline"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("outside the interval"), "nothing escaped");
        // One epoch is a curve too.
        learning_curve(&path, "one", &[point(1)]).unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([-0.0, 0.1 + 0.2, -2.5, 1e3].map(label), ["0", "0.3", "-2.5", "1000"]);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused_with_the_file() {
        for points in [vec![], vec![CurvePoint { loss: f64::NAN, ..point(1) }]] {
            let error = learning_curve(Path::new("x.svg"), "t", &points).unwrap_err().to_string();
            assert!(error.contains("x.svg"), "{error}");
        }
    }
}
