//! The texts of breach events: Jinja templates over the columns of the reading.

use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::{
    Output,
    diagnostics::{Diagnostic, Source, did_you_mean},
    header::Header,
};

/// What a template may name beside the output columns.
const OTHERS: [&str; 9] = ["rule", "title", "unit", "level", "previous_level", "state", "limit", "since", "window_end"];

/// Work a template may do; a loop of millions is a mistake.
const FUEL: u64 = 10_000;

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(|out, state, value| {
        if value.is_none() { Ok(out.write_str("no value")?) } else { minijinja::escape_formatter(out, state, value) }
    });
    environment.add_filter("percent", |value: Value| match f64::try_from(value) {
        Ok(value) => {
            let text = format!("{:.2}", value * 100.0);
            format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
        }
        Err(_) => "no value".to_owned(),
    });
    environment.add_filter("round", |value: Value, places: Option<u32>| match f64::try_from(value) {
        Ok(value) => format!("{value:.*}", places.unwrap_or(0) as usize),
        Err(_) => "no value".to_owned(),
    });
    environment
}

/// Checks that the templates parse and name only what is there.
pub fn check(header: &Header, output: &Output, source: &Arc<Source>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let columns: Vec<&str> = output.schema.fields().iter().map(|field| field.name().as_str()).chain(OTHERS).collect();
    for (field, text) in [("summary", &header.annotations.summary), ("description", &header.annotations.description)] {
        let place = source.text.find(&format!("{field}:")).map_or(0..0, |at| at..at + field.len());
        // Rendered once over a made-up reading: filters and arithmetic fail here rather than in an alert.
        let sample = output.schema.fields().iter().map(|field| {
            let number = field.data_type().is_numeric();
            (field.name().clone(), if number { serde_json::json!(1.5) } else { serde_json::json!("x") })
        });
        let sample: serde_json::Map<_, _> =
            sample.chain(OTHERS.map(|name| (name.to_owned(), serde_json::json!("x")))).collect();
        let environment = environment();
        if let Err(error) = environment.render_str(text, Value::from(minijinja::value::Serde(&sample)))
            && error.kind() != ErrorKind::UndefinedError
            && error.kind() != ErrorKind::SyntaxError
        {
            let what = if error.kind() == ErrorKind::OutOfFuel {
                "it does too much; leave loops out".to_owned()
            } else {
                short(&error)
            };
            found.push(Diagnostic::error(
                "template",
                source,
                place.clone(),
                format!("the {field} cannot be rendered: {what}"),
                "{{ value | percent }} and {{ value | round(1) }} are usual",
            ));
            continue;
        }
        match environment.template_from_str(text) {
            Ok(template) => {
                for name in
                    template.undeclared_variables(false).into_iter().filter(|name| !columns.contains(&name.as_str()))
                {
                    let at = source
                        .text
                        .find(text.as_str())
                        .and_then(|start| text.find(&name).map(|at| start + at..start + at + name.len()));
                    let hint = did_you_mean(&name, columns.iter().copied());
                    found.push(Diagnostic::error(
                        "template",
                        source,
                        at.unwrap_or_else(|| place.clone()),
                        format!("the {field} names `{name}`, which is no output column"),
                        hint,
                    ));
                }
            }
            Err(error) => found.push(Diagnostic::error(
                "template",
                source,
                place,
                format!("the {field} is no template: {}", short(&error)),
                "{{ column }} puts a column in, {{ value | percent }} a share",
            )),
        }
    }
    found
}

/// What the engine says, without what it says of itself.
fn short(error: &Error) -> String {
    error.detail().map_or_else(|| error.to_string().split(" (in ").next().unwrap_or_default().to_owned(), str::to_owned)
}

/// Renders one text; a mistake shows in the text rather than stopping an alert.
pub fn render(text: &str, values: &serde_json::Value) -> String {
    let rendered = environment().render_str(text, Value::from(minijinja::value::Serde(values))).map_err(reason);
    rendered.unwrap_or_else(|reason| format!("{text} ({reason})"))
}

/// A text with the names of its columns in their places, each as `mark` shows it: what an alert looks like, without one.
/// `None` where the text computes with its columns.
pub fn outline(text: &str, header: &Header, output: &Output, mark: fn(&str) -> String) -> Option<String> {
    let mut environment = environment();
    environment.add_filter("percent", |value: Value| format!("{value}%"));
    environment.add_filter("round", |value: Value, _: Option<u32>| value);
    let columns = output.schema.fields().iter().map(|field| field.name().as_str()).chain(OTHERS);
    let mut names: serde_json::Map<_, _> = columns.map(|name| (name.to_owned(), mark(name).into())).collect();
    for (name, known) in [("rule", &header.name), ("title", &header.title), ("unit", &header.unit)] {
        names.insert(name.to_owned(), known.as_str().into());
    }
    environment.render_str(text, Value::from(minijinja::value::Serde(&names))).ok()
}

fn reason(error: Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "the template does too much".into(),
        _ => format!("the template failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_shown_as_percents_once() {
        for (value, text) in [
            (serde_json::json!(0.98), "98%"),
            (serde_json::json!(0.995), "99.5%"),
            (serde_json::Value::Null, "no value"),
        ] {
            assert_eq!(render("{{ value | percent }}", &serde_json::json!({ "value": value })), text);
        }
        assert_eq!(render("{{ value | round(1) }}", &serde_json::json!({ "value": 1.25_f64 })), "1.2");
    }
}
