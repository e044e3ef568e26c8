//! The executions of a network side by side, as `compile` and `simulate` print them.

use super::{Table, Text};
use amicus_model::compare::{Agreement, Comparison, PrivateRun};
use amicus_model::escapes::Escapes;
use amicus_model::measure::{count_of, percent};

/// The executions against the user's network, then layer by layer.
pub fn comparison(c: &Comparison) -> Text {
    let mut text = Text::default();
    let mut executions = Table::with_header(["execution", "as labelled", "same class", "error of outputs"]);
    let count = |n: Option<usize>, none: &str| n.map_or_else(|| none.to_owned(), |n| count_of(n, c.samples));
    let row = |name: &str, correct: Option<usize>, agreement: Option<&Agreement>| {
        let none = if c.classes { "no labels" } else { "no classes" };
        let (same, error) = agreement.map_or_else(Default::default, |a| {
            let error = a.relative_error;
            (
                count(a.same_class, "no classes"),
                format!("median {}, largest {}", percent(error.median), percent(error.max)),
            )
        });
        [name.to_owned(), count(correct, none), same, error]
    };
    executions.row(row("your network, floating point", c.float_correct, None));
    if let Some(total) = &c.total {
        executions.row(row("private answers, against it", c.fixed_correct, Some(total)));
    }
    executions.row(row("part of polynomials", c.polynomial_correct, Some(&c.polynomial)));
    if let Some(fixed) = &c.fixed {
        executions.row(row("part of the fixed point", c.fixed_correct, Some(fixed)));
    }
    if let Some(PrivateRun { samples, rounding, signs }) = &c.private_run {
        for (name, error) in [("rounding", rounding), ("wrong signs near thresholds", signs)] {
            let name = format!("of it {name}, {samples} private run(s)");
            let error = format!("median {}, largest {}", percent(error.median), percent(error.max));
            executions.row([name, String::new(), String::new(), error]);
        }
    }
    text.table(executions);
    if !c.parts.is_empty() {
        let mut parts = Table::with_header(["output", "shape", "error of private answers", "same class"]);
        for part in &c.parts {
            let name = if part.name.is_empty() { "the only one" } else { &part.name };
            let error = part.relative_error;
            parts.row([
                name.to_owned(),
                format!("{:?}", part.shape),
                format!("median {}, largest {}", percent(error.median), percent(error.max)),
                part.same_class.map_or_else(|| "no classes".to_owned(), percent),
            ]);
        }
        text.table(parts);
    }
    let mut layers = Table::with_header(["layer", "error with polynomials", "error in fixed point"]);
    for layer in &c.layers {
        let fixed = layer.fixed_point.map_or_else(|| "folded away".to_owned(), percent);
        layers.row([layer.name.clone(), percent(layer.approximation), fixed]);
    }
    text.table(layers);
    match &c.stands_out {
        Some(layer) => text.line(format_args!("the first layer whose error stands out is {layer}")),
        None => text.line(format_args!("no layer's error stands out")),
    }
    if let Some(noticed) = &c.noticed {
        text.line(format_args!(
            "receivers are told of values outside for {}",
            count_of(noticed.len(), c.samples)
        ));
    }
    for line in c.escapes.iter().flat_map(Escapes::meaning) {
        text.line(format_args!("outside: {line}"));
    }
    text
}
