//! What came out of a case against what was expected, as lines that people read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    ReadBeside, Row,
    events::{csv_rows, relative},
    file::{Case, Rows},
};
use crate::{
    judge::output::{BreachEvent, Reading},
    panes::Millis,
    rules::{Rule, diagnostics::did_you_mean},
    time::{parse_rfc3339, span},
};

/// What came out.
pub(super) struct Outcomes<'a> {
    pub(super) rule: &'a Arc<Rule>,
    pub(super) start_ms: Millis,
    pub(super) readings: &'a [Reading],
    pub(super) breaches: &'a [BreachEvent],
}

/// How close a value from a sketch must be.
const NEAR: f64 = 0.01;

/// What differs.
pub(super) fn differences(case: &Case, outcomes: &Outcomes<'_>, read: ReadBeside<'_>) -> Result<Vec<String>, String> {
    let rows = |rows: &Rows| -> Result<Vec<Row>, String> {
        match rows {
            Rows::Here(rows) => Ok(rows.clone()),
            Rows::Csv(file) => csv_rows(&read(file)?).map_err(|error| format!("{file}: {error}")),
        }
    };
    let mut found = Vec::new();
    if let Some(expected) = &case.readings {
        for row in rows(expected)? {
            found.extend(reading(&row, outcomes)?);
        }
    }
    if let Some(expected) = &case.breaches {
        found.extend(breaches(&rows(expected)?, outcomes)?);
    }
    Ok(found)
}

/// Time since the start, as people wrote it.
fn since(outcomes: &Outcomes<'_>, at: Millis) -> String {
    let ms = at - outcomes.start_ms;
    if ms < 0 { format!("-{}", span(ms)) } else { span(ms) }
}

fn at(row: &Row, what: &str) -> Result<i64, String> {
    relative(row.get("at").ok_or_else(|| format!("an expected {what} says when: at: 5m"))?)
}

/// The columns of a row that name the series.
fn series_of<'a>(row: &'a Row, outcomes: &Outcomes<'_>) -> BTreeMap<&'a String, &'a Value> {
    let keys: Vec<&String> =
        outcomes.rule.output.keys.iter().map(|key| outcomes.rule.output.schema.field(*key).name()).collect();
    row.iter().filter(|(name, _)| keys.contains(name)).collect()
}

fn shown(series: &BTreeMap<&String, &Value>) -> String {
    let parts: Vec<String> = series.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    parts.join(" ")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn reading(row: &Row, outcomes: &Outcomes<'_>) -> Result<Vec<String>, String> {
    let ms = at(row, "reading")?;
    let series = series_of(row, outcomes);
    let name = format!("reading at {} {}", span(ms), shown(&series)).trim_end().to_owned();
    let end = outcomes.start_ms + ms;
    let of_series = |reading: &&Reading| {
        let has = |(name, value): (&&String, &&Value)| {
            reading.columns.iter().any(|(column, known)| column == *name && known == *value)
        };
        reading.window_end == end && series.iter().all(has)
    };
    let mut there = outcomes.readings.iter().filter(of_series);
    let absent = row.get("absent") == Some(&Value::Bool(true));
    let (Some(reading), more) = (there.next(), there.count()) else {
        if absent {
            return Ok(Vec::new());
        }
        let mut lines = vec![format!("{name}: there is none")];
        let ends: Vec<Millis> = outcomes.readings.iter().map(|reading| reading.window_end).collect();
        lines.push(match (ends.iter().min(), ends.iter().max()) {
            (Some(first), Some(last)) if ends.contains(&end) => {
                let others: Vec<String> =
                    outcomes.readings.iter().filter(|r| r.window_end == end).map(|r| r.series.to_string()).collect();
                let _ = (first, last);
                format!("  there are {}", others.join(", "))
            }
            (Some(first), Some(last)) => {
                format!("  there are some from {} to {}", since(outcomes, *first), since(outcomes, *last))
            }
            _ => "  there is no reading at all".to_owned(),
        });
        return Ok(lines);
    };
    if absent {
        return Ok(vec![format!("{name}: expected none, got value {}", json!(reading.value))]);
    }
    if more > 0 {
        return Ok(vec![format!("{name}: {} series are meant; name one", more + 1)]);
    }
    let fields = reading_fields(reading);
    let mut wrong = Vec::new();
    for (column, expected) in row.iter().filter(|(name, _)| !["at", "absent"].contains(&name.as_str())) {
        let Some(actual) = fields.get(column) else {
            return Err(unknown(column, fields.keys()));
        };
        if !equal(expected, actual) {
            let got = match reading.unjudged {
                Some(reason) if column == "level" => format!("none: unjudged ({reason})"),
                _ => shown_value(actual),
            };
            wrong.push(format!("  {column:<12} expected {}, got {got}", shown_value(expected)));
        }
    }
    if !wrong.is_empty() {
        wrong.insert(0, name);
    }
    Ok(wrong)
}

fn unknown<'a>(column: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let near = did_you_mean(column, known.iter().copied());
    let hint = if near.is_empty() { format!("there are {}", known.join(", ")) } else { near };
    format!("nothing is called `{column}`; {hint}")
}

fn reading_fields(reading: &Reading) -> BTreeMap<String, Value> {
    let mut fields: BTreeMap<String, Value> = reading.columns.iter().cloned().collect();
    fields.extend(reading.measures.iter().map(|(name, measure)| (name.clone(), json!(measure))));
    fields.extend(reading.labels.iter().map(|(name, label)| (name.clone(), json!(label))));
    for (name, value) in [
        ("value", json!(reading.value)),
        ("samples", json!(reading.samples)),
        ("level", json!(reading.level)),
        ("state", json!(reading.state)),
        ("unjudged", json!(reading.unjudged)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    fields
}

fn shown_value(value: &Value) -> String {
    if value.is_null() { "nothing".to_owned() } else { text(value) }
}

/// True where a value is what was expected: numbers up to the rounding of a double, `~500` within 1%, and true and false
/// also as 1 and 0.
fn equal(expected: &Value, actual: &Value) -> bool {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b))));
    if let (Some(near), Some(actual)) = (
        expected.as_str().and_then(|text| text.strip_prefix('~')).and_then(|n| n.trim().parse::<f64>().ok()),
        number(actual),
    ) {
        return (actual - near).abs() <= NEAR * near.abs();
    }
    match (number(expected), number(actual)) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1e-3),
        _ => expected == actual,
    }
}

/// Breach events are compared in order, all of them.
fn breaches(expected: &[Row], outcomes: &Outcomes<'_>) -> Result<Vec<String>, String> {
    let mut wanted = Vec::new();
    for row in expected {
        wanted.push((at(row, "breach event")?, row));
    }
    wanted.sort_by_key(|(at, _)| *at);
    let mut left: Vec<(i64, BTreeMap<String, Value>)> = outcomes
        .breaches
        .iter()
        .map(|event| {
            (parse_rfc3339(&event.window_end).unwrap_or_default() - outcomes.start_ms, breach_fields(event, outcomes))
        })
        .collect();
    let mut missing = Vec::new();
    let mut wrong = Vec::new();
    for (at, row) in wanted {
        for column in row.keys().filter(|name| *name != "at") {
            if let Some((_, fields)) = left.first()
                && !fields.contains_key(column)
                && outcomes.breaches.iter().all(|event| !breach_fields(event, outcomes).contains_key(column))
            {
                return Err(unknown(column, fields.keys()));
            }
        }
        let matches = |fields: &BTreeMap<String, Value>| {
            row.iter().filter(|(name, _)| *name != "at").all(|(name, value)| {
                let value =
                    if name == "since" { relative(value).map_or(Value::Null, |ms| json!(ms)) } else { value.clone() };
                fields.get(name).is_some_and(|actual| equal(&value, actual))
            })
        };
        match left.iter().position(|(when, fields)| *when == at && matches(fields)) {
            Some(found) => _ = left.remove(found),
            None => missing.push((at, row)),
        }
    }
    for (at, row) in missing {
        let fields: Vec<String> = row
            .iter()
            .filter(|(name, _)| *name != "at")
            .map(|(name, value)| format!("{name}={}", text(value)))
            .collect();
        wrong.push(format!("  - {:<8} {}", span(at), fields.join(" ")));
    }
    // What came shows every field that somebody asked for.
    let asked: BTreeSet<&String> = expected.iter().flat_map(Row::keys).collect();
    for (at, fields) in left {
        let more: Vec<String> = asked
            .iter()
            .filter(|name| !["at", "type", "level", "value"].contains(&name.as_str()))
            .filter(|name| {
                !outcomes.rule.output.keys.iter().any(|key| outcomes.rule.output.schema.field(*key).name() == **name)
            })
            .filter_map(|name| Some(format!(" {name}={}", text(fields.get(*name)?))))
            .collect();
        let series: Vec<String> = outcomes
            .rule
            .output
            .keys
            .iter()
            .filter_map(|key| {
                let name = outcomes.rule.output.schema.field(*key).name();
                Some(format!("{name}={}", text(fields.get(name)?)))
            })
            .collect();
        let field = |name: &str| fields.get(name).map(shown_value).unwrap_or_default();
        wrong.push(format!(
            "  + {:<8} type={} level={} value={} {}{}",
            span(at),
            field("type"),
            field("level"),
            field("value"),
            series.join(" "),
            more.concat()
        ));
    }
    if !wrong.is_empty() {
        wrong.insert(0, "breach events (- expected and missing, + not expected)".to_owned());
    }
    Ok(wrong)
}

fn breach_fields(event: &BreachEvent, outcomes: &Outcomes<'_>) -> BTreeMap<String, Value> {
    let mut fields: BTreeMap<String, Value> = event.series.clone();
    fields.extend(event.measures.iter().map(|(name, measure)| (name.clone(), json!(measure))));
    fields.extend(event.labels.iter().map(|(name, label)| (name.clone(), json!(label))));
    let since = parse_rfc3339(&event.since).unwrap_or_default() - outcomes.start_ms;
    for (name, value) in [
        ("type", json!(event.happened)),
        ("level", json!(event.level)),
        ("previous_level", json!(event.previous_level)),
        ("value", json!(event.value)),
        ("samples", json!(event.samples)),
        ("limit", json!(event.limit)),
        ("reason", json!(event.reason)),
        ("since", json!(since)),
        ("summary", json!(event.summary)),
        ("offending", json!(event.offending)),
        ("contributors", json!(event.contributors)),
        ("trace_ids", json!(event.trace_ids)),
        ("owner", json!(event.owner)),
        ("runbook_url", json!(event.runbook_url)),
        ("description", json!(event.description)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    fields
}
