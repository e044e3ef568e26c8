//! Line charts as SVG files: learning curves here, fits in the example `fits`.

use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::curve::CurvePoint;
use crate::{TrainError, export};

const WIDTH: u32 = 720;
const HEIGHT: u32 = 280;
/// What the legend takes of the width, right of the chart.
const LEGEND: u32 = 170;
/// Charts are drawn this many times as large and shown at their size: coordinates are whole
/// numbers, and lines of whole pixels are stairs.
const DETAIL: u32 = 16;
const FONT: &str = "sans-serif";
/// Height of small text.
const SMALL: u32 = 12;
/// Okabe and Ito's colours, which people with colour-blindness can tell apart.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

/// Values that differ by more than this factor are shown on a logarithmic axis.
const DECADES: f64 = 30.0;

/// Ticks closer to 0 are at 0.
const NOISE: f64 = 1e-12;

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
    /// Whether the vertical axis is logarithmic; then all values must be above 0.
    pub logarithmic: bool,
    /// The lines, each in its colour; with several there is a legend. A line without points only
    /// takes a colour.
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
/// What [`write`] refuses.
pub fn learning_curve(path: &Path, title: &str, points: &[CurvePoint]) -> Result<(), TrainError> {
    let chart = |title: &str, vertical: &str, value: fn(&CurvePoint) -> f64| Chart {
        title: title.to_owned(),
        horizontal: "epoch".to_owned(),
        vertical: vertical.to_owned(),
        logarithmic: points.iter().map(value).all(|v| v > 0.0) && spread(points.iter().map(value)) > DECADES,
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
        let root =
            SVGBackend::with_string(&mut svg, (WIDTH * DETAIL, HEIGHT * rows * DETAIL)).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        for (area, chart) in root.split_evenly((charts.len(), 1)).iter().zip(charts) {
            draw(area, chart)?;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    let drawn = format!("<svg width=\"{}\" height=\"{}\"", WIDTH * DETAIL, HEIGHT * rows * DETAIL);
    match svg.strip_prefix(&drawn) {
        Some(rest) => Ok(format!("<svg width=\"{WIDTH}\" height=\"{}\"{rest}", HEIGHT * rows)),
        None => Err("the picture begins as none that is known".into()),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(area: &Area<'_>, chart: &Chart) -> Result<(), String> {
    let drawn: Vec<(&Line, RGBColor)> = chart
        .lines
        .iter()
        .zip(COLOURS.into_iter().cycle())
        .filter(|(line, _)| !line.points.is_empty())
        .collect();
    let mut plot = area.clone();
    if drawn.len() > 1 {
        let (left, right) = area.split_horizontally((WIDTH - LEGEND) * DETAIL);
        legend(&right, &drawn)?;
        plot = left;
    }
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let (left, right) = bounds(points().map(|p| p.0), 0.0)?;
    if chart.logarithmic {
        if let Some(point) = points().find(|p| p.1 <= 0.0) {
            return Err(format!("a value is {} on a logarithmic axis", point.1));
        }
        let (low, high) = bounds(points().map(|p| p.1.log10()), 0.05)?;
        axes(&plot, chart, &drawn, left..right, (10f64.powf(low)..10f64.powf(high)).log_scale())
    } else {
        let (low, high) = bounds(points().map(|p| p.1), 0.05)?;
        axes(&plot, chart, &drawn, left..right, low..high)
    }
}

fn axes<Y>(
    area: &Area<'_>,
    chart: &Chart,
    drawn: &[(&Line, RGBColor)],
    horizontal: std::ops::Range<f64>,
    vertical: Y,
) -> Result<(), String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let text = |error: DrawingAreaErrorKind<_>| -> String { format!("{error}") };
    let mut builder = ChartBuilder::on(area);
    builder.margin(10 * DETAIL).x_label_area_size(38 * DETAIL).y_label_area_size(64 * DETAIL);
    if !chart.title.is_empty() {
        builder.caption(&chart.title, (FONT, 16 * DETAIL));
    }
    let mut context = builder.build_cartesian_2d(horizontal, vertical).map_err(text)?;
    let small = (FONT, SMALL * DETAIL);
    context
        .configure_mesh()
        .max_light_lines(1)
        .light_line_style(BLACK.mix(0.06).stroke_width(DETAIL))
        .bold_line_style(BLACK.mix(0.14).stroke_width(DETAIL))
        .axis_style(BLACK.stroke_width(DETAIL))
        .set_all_tick_mark_size(5 * DETAIL)
        .x_desc(&chart.horizontal)
        .y_desc(&chart.vertical)
        .axis_desc_style(small)
        .label_style(small)
        .x_label_formatter(&|x| label(*x))
        .y_label_formatter(&|y| label(*y))
        .draw()
        .map_err(text)?;
    for (line, colour) in drawn {
        let style = colour.stroke_width(3 * DETAIL / 2);
        context.draw_series(LineSeries::new(line.points.iter().copied(), style)).map_err(text)?;
    }
    Ok(())
}

/// Names of lines with their colours, where no line can be.
fn legend(area: &Area<'_>, drawn: &[(&Line, RGBColor)]) -> Result<(), String> {
    let detail = DETAIL as i32;
    for (row, (line, colour)) in (0..).zip(drawn) {
        let y = (30 + 18 * row) * detail;
        let dash = PathElement::new([(0, y), (20 * detail, y)], colour.stroke_width(2 * DETAIL));
        area.draw(&dash).map_err(|e| e.to_string())?;
        let at = (26 * detail, y - SMALL as i32 * detail / 2);
        let name = Text::new(line.name.clone(), at, (FONT, SMALL * DETAIL));
        area.draw(&name).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The largest value over the smallest.
fn spread(values: impl Iterator<Item = f64>) -> f64 {
    let (low, high) = values.fold((f64::INFINITY, 0f64), |(l, h), v| (l.min(v), h.max(v)));
    high / low
}

/// A number beside an axis, without the noise of binary fractions or a sign at 0.
fn label(value: f64) -> String {
    match value.abs() {
        size if size > NOISE && !(1e-6..1e9).contains(&size) => format!("{value:.0e}"),
        _ => format!("{}", (value * 1e6).round() / 1e6 + 0.0),
    }
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.svg");
        learning_curve(&path, "a title", &[point(1), point(2), point(4)]).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for part in ["a title", "epoch", "accuracy on images held out, %", "polyline"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("outside the interval"), "nothing escaped");
        // Shown at its size, drawn finer than a pixel.
        assert!(svg.contains("width=\"720\" height=\"560\" viewBox=\"0 0 11520 8960\""), "{}", &svg[..200]);
        // One epoch is a curve too.
        learning_curve(&path, "one", &[point(1)]).unwrap();
    }

    #[test]
    fn values_of_many_sizes_have_a_logarithmic_axis_and_names_a_place_of_their_own() {
        let line = |name: &str, size: f64| Line {
            name: name.to_owned(),
            points: (0..20).map(|i| (f64::from(i), size * (1.0 + f64::from(i)))).collect(),
        };
        let chart = |lines, logarithmic| Chart {
            title: "t".into(),
            horizontal: "x".into(),
            vertical: "y".into(),
            logarithmic,
            lines,
        };
        let picture = svg(&[chart(vec![line("small", 1.0), line("large", 1e6)], true)]).unwrap();
        for part in ["small", "large", "1000000"] {
            assert!(picture.contains(part), "{part}");
        }
        // No line reaches into the legend.
        let legend = f64::from((WIDTH - LEGEND) * DETAIL);
        let lines = picture.split("<polyline").skip(1).filter(|l| l.contains("stroke-width=\"24\""));
        let ends: Vec<f64> = lines
            .filter_map(|l| l.split("points=\"").nth(1)?.split('"').next())
            .flat_map(|points| points.split_whitespace().filter_map(|p| p.split(',').next()?.parse().ok()))
            .collect();
        assert!(ends.len() == 40 && ends.iter().all(|x| *x < legend), "{ends:?}");
        assert!(svg(&[chart(vec![line("none", 0.0)], true)]).unwrap_err().contains("a value is 0"));
        let falling: Vec<CurvePoint> = (1..100).map(point).collect();
        assert!(spread(falling.iter().map(|p| p.loss)) > DECADES);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(
            [-0.0, -3e-17, 0.1 + 0.2, -2.5, 1e3, 1e21, 2e-7].map(label),
            ["0", "0", "0.3", "-2.5", "1000", "1e21", "2e-7"]
        );
    }

    #[test]
    fn what_cannot_be_drawn_is_refused_with_the_file() {
        for points in [vec![], vec![CurvePoint { loss: f64::NAN, ..point(1) }]] {
            let error = learning_curve(Path::new("x.svg"), "t", &points).unwrap_err().to_string();
            assert!(error.contains("x.svg"), "{error}");
        }
    }
}
