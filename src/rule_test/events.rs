//! Events of a case: rows with relative times become lines of JSON, one file for each table.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Map, Value, json};

use super::{
    ReadBeside, Row,
    file::{Case, Rows, TestFile},
};
use crate::{
    backtest::Input,
    panes::Millis,
    rules::{RuleSet, diagnostics::did_you_mean, series::canonical},
    time,
};

/// What a row says about itself rather than about a column.
const OWN: [&str; 6] = ["at", "every", "from", "until", "repeat", "late"];
/// More rows than this are no test.
const ROWS_MAX: usize = 2_000_000;
/// The most windows of one rule that the events of a case may span: two weeks of minutes. A slip of a unit would take hours.
const WINDOWS_MAX: i64 = 20_160;

/// A relative time: `5m 10s`, or 0.
pub(super) fn relative(value: &Value) -> Result<i64, String> {
    match value {
        Value::String(text) => time::parse_span(text),
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(0),
        other => Err(format!("`{other}` is not a span of time: write it like 30s, 5m or 1h 30m")),
    }
}

/// The files of events, and when time ends.
pub(super) fn inputs(
    test: &TestFile,
    case: &Case,
    set: &RuleSet,
    read: ReadBeside<'_>,
) -> Result<(Vec<Input>, Millis), String> {
    let mut inputs = Vec::new();
    let (mut end_ms, mut first_ms) = (0, test.start_ms);
    for (table, rows) in &case.events {
        let Some(known) = set.catalog.tables.get(table) else {
            let hint = did_you_mean(table, set.catalog.tables.keys().map(String::as_str));
            return Err(format!("there is no table `{table}`; {hint}").trim_end_matches("; ").to_owned());
        };
        if !set.tables().contains(table) {
            return Err(format!("the rule does not read `{table}`, so its events test nothing"));
        }
        let here;
        let rows = match rows {
            Rows::Here(rows) => rows,
            Rows::Csv(file) => {
                here = csv_rows(&read(file)?).map_err(|error| format!("{file}: {error}"))?;
                &here
            }
        };
        let mut events: Vec<(i64, Map<String, Value>)> = Vec::new();
        for row in rows {
            let known_column = |name: &str| name == known.event_time || known.column(name).is_some();
            if let Some(wrong) = row.keys().find(|name| !OWN.contains(&name.as_str()) && !known_column(name)) {
                let names = known.columns.iter().map(|column| column.name.as_str()).chain(OWN);
                let hint = did_you_mean(wrong, names);
                return Err(format!("`{table}` has no column `{wrong}`; {hint}").trim_end_matches("; ").to_owned());
            }
            expand(test, table, &known.event_time, row, &mut events, &mut end_ms)?;
            if events.len() > ROWS_MAX {
                return Err(format!("more than {ROWS_MAX} rows of `{table}`"));
            }
        }
        events.sort_by_key(|(at, _)| *at);
        let times = events.iter().filter_map(|(_, event)| event.get(&known.event_time)?.as_i64());
        first_ms = times.fold(first_ms, i64::min);
        let lines = events.into_iter().map(|(_, event)| Ok(Value::Object(event).to_string().into_bytes()));
        let lines: Vec<std::io::Result<Vec<u8>>> = lines.collect();
        inputs.push(Input { table: table.clone(), name: table.clone(), lines: Box::new(lines.into_iter()) });
    }
    let end = match &case.end {
        Some(end) => time::parse_span(end).map_err(|message| format!("end: {message}"))?,
        None => end_ms,
    };
    let span_ms = test.start_ms.saturating_add(end.max(end_ms)).saturating_sub(first_ms);
    if let Some(rule) = set.rules.iter().find(|rule| span_ms / rule.slide_ms > WINDOWS_MAX) {
        let (span, slide) = (time::span(span_ms), time::span(rule.slide_ms));
        return Err(format!(
            "the events span {span}, which is {} windows of `{}`, one each {slide}; a case has at most {WINDOWS_MAX}",
            span_ms / rule.slide_ms,
            rule.header.name
        ));
    }
    Ok((inputs, test.start_ms.saturating_add(end)))
}

/// The events that one row stands for: when each arrives, and what it is.
fn expand(
    test: &TestFile,
    table: &str,
    event_time: &str,
    row: &Row,
    events: &mut Vec<(i64, Map<String, Value>)>,
    end_ms: &mut i64,
) -> Result<(), String> {
    let span = |name: &str| row.get(name).map(relative).transpose().map_err(|message| format!("{name}: {message}"));
    let late = span("late")?.unwrap_or(0);
    let times: Vec<i64> = match (row.get("at"), span("every")?) {
        (Some(_), Some(_)) => return Err("a row has `at` or `every`, not both".into()),
        (Some(Value::Array(several)), None) => several.iter().map(relative).collect::<Result<_, _>>()?,
        (Some(one), None) => vec![relative(one)?],
        (None, Some(every)) if every > 0 => {
            let until = span("until")?.ok_or("`every` needs `until`")?;
            *end_ms = until.max(*end_ms);
            let from = span("from")?.unwrap_or(0);
            std::iter::successors(Some(from), |at| at.checked_add(every))
                .take_while(|at| *at < until)
                .take(ROWS_MAX)
                .collect()
        }
        _ => return Err("a row says when: at: 5m, or every: 10s with until: 10m".into()),
    };
    let repeat = match row.get("repeat") {
        None => 1,
        Some(count) => count
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .or_else(|| count.as_str().and_then(|text| text.parse().ok()))
            .ok_or_else(|| format!("repeat: `{count}` is no count"))?,
    };
    if repeat.saturating_mul(times.len()) > ROWS_MAX {
        return Err(format!("a row stands for more than {ROWS_MAX} rows"));
    }
    let mut columns: Row = test.defaults.get(table).cloned().unwrap_or_default();
    columns.extend(row.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())));
    let mut number = 0_usize;
    for (step, at) in times.iter().enumerate() {
        *end_ms = (*at).max(*end_ms);
        for _ in 0..repeat {
            let mut event = Map::new();
            for (name, value) in &columns {
                event.insert(name.clone(), cell(value, number, step)?);
            }
            event.insert(event_time.to_owned(), json!(test.start_ms.saturating_add(*at).saturating_sub(late)));
            events.push((*at, event));
            number += 1;
        }
    }
    Ok(())
}

/// The value of the row of that number, at that step of time.
fn cell(value: &Value, number: usize, step: usize) -> Result<Value, String> {
    Ok(match value {
        Value::Array(several) if several.is_empty() => Value::Null,
        Value::Array(several) => cell(&several[number % several.len()], number, step)?,
        Value::String(text) => Value::String(text.replace("{n}", &number.to_string())),
        Value::Object(ramp) => {
            let part = |name: &str| ramp.get(name).and_then(Value::as_f64);
            let (Some(first), Some(by), 2) = (part("first"), part("step"), ramp.len()) else {
                return Err(format!("`{value}` is neither a value nor {{first: 10, step: 5}}"));
            };
            #[expect(clippy::cast_precision_loss, reason = "steps are few")]
            let at = first + by * step as f64;
            // Whole numbers stay whole, for columns that take no others.
            if at.fract() == 0.0 {
                format!("{at:.0}").parse().map_or(json!(at), |whole: i64| json!(whole))
            } else {
                json!(at)
            }
        }
        other => other.clone(),
    })
}

/// The rows of a CSV file: a cell is a number where it reads as one, nothing where it is empty, and else a text.
pub(super) fn csv_rows(text: &str) -> Result<Vec<Row>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers().map_err(|error| error.to_string())?.iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let cells = names.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
        let value = |cell: &str| match serde_json::from_str::<Value>(cell) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => value,
            _ => Value::String(cell.to_owned()),
        };
        rows.push(cells.map(|(name, cell)| (name.clone(), value(cell))).collect());
    }
    Ok(rows)
}

/// The test's own rows of reference tables, as CSV.
pub(super) fn references(test: &TestFile) -> Result<Vec<(String, String)>, Vec<String>> {
    let table = |(name, rows): (&String, &Vec<Row>)| {
        let mut columns: Vec<&String> = rows.iter().flat_map(BTreeMap::keys).collect();
        columns.sort();
        columns.dedup();
        let mut out = csv::Writer::from_writer(Vec::new());
        let mut write = || -> Result<(), csv::Error> {
            out.write_record(&columns)?;
            for row in rows {
                out.write_record(columns.iter().map(|column| row.get(*column).map(plain).unwrap_or_default()))?;
            }
            out.flush()?;
            Ok(())
        };
        write().map_err(|error| vec![error.to_string()])?;
        let bytes = out.into_inner().map_err(|error| vec![error.to_string()])?;
        Ok((name.clone(), String::from_utf8_lossy(&bytes).into_owned()))
    };
    test.references.iter().map(table).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What the test says the rule has learnt, as the file that would lie beside it.
pub(super) fn learnt(test: &TestFile) -> Result<String, Vec<String>> {
    // A row for an hour says more than one for all hours.
    let mut hours: BTreeMap<(String, String, i64), (f64, f64)> = BTreeMap::new();
    let mut rows: Vec<&Row> = test.learnt.iter().collect();
    rows.sort_by_key(|row| row.contains_key("hour"));
    for row in rows {
        let number = |name: &str| row.get(name).and_then(Value::as_f64);
        let (Some(of), Some(median)) = (row.get("of").and_then(Value::as_str), number("median")) else {
            return Err(vec![
                "learnt: a row has the series' columns, of, median, spread, and hour where it is of one".into(),
            ]);
        };
        let own = ["of", "median", "spread", "hour"];
        let columns = row.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let series = canonical(columns.map(|(name, value)| (name.clone(), value.clone())).collect());
        let which = match row.get("hour").and_then(Value::as_i64) {
            Some(hour) => hour..hour + 1,
            None => 0..168,
        };
        for hour in which {
            hours.insert((series.clone(), of.to_owned(), hour), (median, number("spread").unwrap_or(0.0)));
        }
    }
    let mut text = String::from("series,of,hour,median,spread\n");
    for ((series, of, hour), (median, spread)) in hours {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        if writeln!(text, "{},{},{hour},{median},{spread}", quoted(&series), quoted(&of)).is_err() {
            unreachable!("a text takes more text");
        }
    }
    Ok(text)
}
