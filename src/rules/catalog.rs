//! Tables and reference tables: what SQL sees of a topic, or of a CSV file in Git.
//!
//! A table is a JSON Schema file. The plain keywords (`type`, `enum`, `minimum`, `maximum`, `required`) say what an
//! event must be; the `x-` keywords say what a stream needs beside: the topic, the event time, how far events come
//! out of order, what is personal.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use serde_json::Value;

use super::diagnostics::{Diagnostic, Source, did_you_mean};
use crate::time;

/// What a column holds, and so how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A double.
    Number,
    /// True or false.
    Boolean,
    /// A decimal of so many digits, so many of them behind the point.
    Decimal(u8, i8),
    /// A time: epoch milliseconds or RFC 3339.
    Time,
}

impl Kind {
    /// The Arrow type that holds it.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            Self::Time => DataType::Timestamp(TimeUnit::Millisecond, None),
        }
    }

    /// What a column of a rule's output is to another rule.
    fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Boolean => Self::Boolean,
            DataType::Decimal128(precision, scale) => Self::Decimal(*precision, *scale),
            DataType::Timestamp(..) => Self::Time,
            kind if kind.is_integer() => Self::Integer,
            kind if kind.is_numeric() => Self::Number,
            _ => Self::Text,
        }
    }

    /// What a person would call it.
    pub fn describe(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Integer => "a whole number".into(),
            Self::Number => "a number".into(),
            Self::Boolean => "true or false".into(),
            Self::Decimal(precision, scale) => format!("a decimal({precision},{scale}), as text or number"),
            Self::Time => "a time: epoch milliseconds or RFC 3339".into(),
        }
    }
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name in events and in SQL.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// An event without it is a dead letter.
    pub required: bool,
    /// Personal or secret: never a series key, a label, or part of a log line.
    pub masked: bool,
    /// The least value allowed.
    pub minimum: Option<f64>,
    /// The greatest value allowed.
    pub maximum: Option<f64>,
    /// The texts allowed; empty allows all.
    pub allowed: Vec<String>,
}

impl Column {
    /// A column about which nothing else is known.
    fn plain(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            required: false,
            masked: false,
            minimum: None,
            maximum: None,
            allowed: Vec::new(),
        }
    }
}

/// A source topic with a schema, as SQL sees it.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name in SQL.
    pub name: String,
    /// The Kafka topic.
    pub topic: String,
    /// Which column is event time.
    pub event_time: String,
    /// How far out of order events come, in milliseconds.
    pub out_of_orderness_ms: i64,
    /// Its columns, event time among them.
    pub columns: Vec<Column>,
    /// The same as Arrow sees it.
    pub schema: SchemaRef,
    /// How often each of its entities reports, in milliseconds, where it is a table of reports.
    pub interval_ms: Option<i64>,
    /// The rule whose readings it holds, where it is no topic.
    pub rule: Option<String>,
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// What the tables of rules' readings are called: `rule.` and the rule's name.
pub const OF_RULE: &str = "rule.";

/// The readings of a rule as a table: its output columns, with `window_end`, `level` and `state`.
pub fn readings_of(rule: &str, output: &SchemaRef) -> Table {
    let own = ["window_start", "window_end", "level", "state"];
    let mut columns: Vec<Column> = output
        .fields()
        .iter()
        .filter(|field| !own.contains(&field.name().as_str()))
        .map(|field| Column::plain(field.name(), Kind::of(field.data_type())))
        .collect();
    columns.push(Column::plain("window_end", Kind::Time));
    for name in ["level", "state"] {
        let mut column = Column::plain(name, Kind::Text);
        column.allowed = super::levels::Level::ALL.map(|level| level.name().to_owned()).to_vec();
        columns.push(column);
    }
    let mut fields: Vec<Arc<Field>> =
        output.fields().iter().filter(|field| !own.contains(&field.name().as_str())).cloned().collect();
    fields.push(Arc::new(Field::new("window_end", Kind::Time.data_type(), false)));
    fields.push(Arc::new(Field::new("level", DataType::Utf8, true)));
    fields.push(Arc::new(Field::new("state", DataType::Utf8, true)));
    Table {
        name: format!("{OF_RULE}{rule}"),
        topic: String::new(),
        event_time: "window_end".into(),
        out_of_orderness_ms: 0,
        columns,
        schema: Arc::new(Schema::new(fields)),
        interval_ms: None,
        rule: Some(rule.to_owned()),
    }
}

/// A CSV file in Git, typed by a schema: small facts that rules join to.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Its name in SQL.
    pub name: String,
    /// Its rows.
    pub batch: RecordBatch,
    /// The columns that are unique together.
    pub key: Vec<String>,
}

/// Every table that rules may name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Tables of events, by name.
    pub tables: BTreeMap<String, Arc<Table>>,
    /// Reference tables, by name.
    pub references: BTreeMap<String, Arc<Reference>>,
    /// Readings of rules, by `rule.` and the rule's name.
    pub readings: BTreeMap<String, Arc<Table>>,
}

/// Reads `schemas/tables/*.json` and, from `references`, pairs of `.json` and `.csv`.
pub fn load(tables: &[Arc<Source>], references: &[Arc<Source>]) -> (Catalog, Vec<Diagnostic>) {
    let mut catalog = Catalog::default();
    let mut problems = Vec::new();
    for source in tables {
        match table(source) {
            Ok(table) => {
                if let Some(other) = catalog.tables.values().find(|other| other.topic == table.topic) {
                    let message =
                        format!("tables `{}` and `{}` read the same topic `{}`", other.name, table.name, table.topic);
                    problems.push(Diagnostic::error(
                        "topic-twice",
                        source,
                        0..0,
                        message,
                        "give each table a topic of its own in `x-topic`",
                    ));
                }
                catalog.tables.insert(table.name.clone(), Arc::new(table));
            }
            Err(found) => problems.extend(found),
        }
    }
    for source in references.iter().filter(|source| source.path.ends_with(".json")) {
        let csv_path = source.path.trim_end_matches(".json").to_owned() + ".csv";
        let Some(csv) = references.iter().find(|other| other.path == csv_path) else {
            problems.push(Diagnostic::error(
                "reference-without-rows",
                source,
                0..0,
                format!("there is no `{csv_path}`"),
                "put the rows of a reference table beside its schema",
            ));
            continue;
        };
        match reference(source, csv) {
            Ok(reference) => _ = catalog.references.insert(reference.name.clone(), Arc::new(reference)),
            Err(found) => problems.extend(found),
        }
    }
    (catalog, problems)
}

fn stem(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.split('.').next().unwrap_or(name).to_owned()
}

/// The place of a JSON string such as a property's name, for carets.
fn find(source: &Source, needle: &str) -> std::ops::Range<usize> {
    let quoted = format!("\"{needle}\"");
    source.text.find(&quoted).map_or(0..0, |at| at..at + quoted.len())
}

fn parse(source: &Arc<Source>) -> Result<Value, Vec<Diagnostic>> {
    serde_json::from_str(&source.text).map_err(|error| {
        let at = super::diagnostics::offset(&source.text, error.line(), error.column().max(1));
        vec![Diagnostic::error(
            "broken-json",
            source,
            at.saturating_sub(1)..at,
            format!("this is not JSON: {error}"),
            "mend the JSON; any JSON tool will show the place",
        )]
    })
}

fn table(source: &Arc<Source>) -> Result<Table, Vec<Diagnostic>> {
    let json = parse(source)?;
    let mut problems = Vec::new();
    let name = stem(&source.path);
    let text = |key: &str| json.get(key).and_then(Value::as_str);
    let topic = text("x-topic").unwrap_or(&name).to_owned();
    let event_time = text("x-event-time").unwrap_or("event_time").to_owned();
    let out_of_orderness_ms = match text("x-out-of-orderness").map_or(Ok(5_000), time::parse_span) {
        Ok(ms) => ms,
        Err(message) => {
            problems.push(Diagnostic::error(
                "broken-span",
                source,
                find(source, "x-out-of-orderness"),
                message,
                "for example \"5s\"",
            ));
            0
        }
    };
    let interval_ms = text("x-interval").and_then(|text| match time::parse_span(text) {
        Ok(ms) => Some(ms),
        Err(message) => {
            let place = find(source, "x-interval");
            problems.push(Diagnostic::error("broken-span", source, place, message, "for example \"10s\""));
            None
        }
    });
    let mut columns = columns(source, &json, &mut problems);
    match columns.iter_mut().find(|column| column.name == event_time) {
        Some(column) if column.kind == Kind::Time => column.required = true,
        Some(_) => problems.push(Diagnostic::error(
            "event-time-type",
            source,
            find(source, &event_time),
            format!("`{event_time}` is the event time but not a time"),
            "write {\"type\": [\"integer\", \"string\"], \"format\": \"date-time\"}",
        )),
        None => problems.push(Diagnostic::error(
            "event-time-missing",
            source,
            find(source, "x-event-time"),
            format!("there is no column `{event_time}` to be the event time"),
            did_you_mean(&event_time, columns.iter().map(|column| column.name.as_str())),
        )),
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let schema = arrow_schema(&columns);
    Ok(Table { name, topic, event_time, out_of_orderness_ms, columns, schema, interval_ms, rule: None })
}

fn arrow_schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|c| Field::new(&c.name, c.kind.data_type(), !c.required)).collect::<Vec<_>>(),
    ))
}

fn columns(source: &Arc<Source>, json: &Value, problems: &mut Vec<Diagnostic>) -> Vec<Column> {
    let Some(properties) = json.get("properties").and_then(Value::as_object) else {
        problems.push(Diagnostic::error(
            "no-columns",
            source,
            0..0,
            "the schema has no `properties`",
            "list the columns under \"properties\"",
        ));
        return Vec::new();
    };
    let required: Vec<&str> = json
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for name in required.iter().filter(|name| !properties.contains_key(**name)) {
        let hint = did_you_mean(name, properties.keys().map(String::as_str));
        problems.push(Diagnostic::error(
            "unknown-column",
            source,
            find(source, name),
            format!("`{name}` is required but is no column"),
            hint,
        ));
    }
    let mut columns = Vec::new();
    for (name, property) in properties {
        let Some(kind) = kind(property) else {
            let hint = "string, integer, number, boolean, a string of format date-time, or one of format decimal with x-precision and x-scale";
            problems.push(Diagnostic::error(
                "unknown-type",
                source,
                find(source, name),
                format!("`{name}` has no type that a column can have"),
                hint,
            ));
            continue;
        };
        let number = |key: &str| property.get(key).and_then(Value::as_f64);
        columns.push(Column {
            name: name.clone(),
            kind,
            required: required.contains(&name.as_str()),
            masked: property.get("x-mask").and_then(Value::as_bool).unwrap_or(false),
            minimum: number("minimum"),
            maximum: number("maximum"),
            allowed: property
                .get("enum")
                .and_then(Value::as_array)
                .map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default(),
        });
    }
    columns
}

fn kind(property: &Value) -> Option<Kind> {
    let types: Vec<&str> = match property.get("type")? {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => return None,
    };
    let digits = |key: &str| property.get(key).and_then(Value::as_i64);
    match property.get("format").and_then(Value::as_str) {
        Some("date-time") => Some(Kind::Time),
        Some("decimal") => {
            let precision = u8::try_from(digits("x-precision").unwrap_or(18)).ok()?;
            let scale = i8::try_from(digits("x-scale").unwrap_or(2)).ok()?;
            (precision <= 38 && scale >= 0 && scale.unsigned_abs() <= precision)
                .then_some(Kind::Decimal(precision, scale))
        }
        _ => match types.as_slice() {
            ["string"] => Some(Kind::Text),
            ["integer"] => Some(Kind::Integer),
            ["number"] => Some(Kind::Number),
            ["boolean"] => Some(Kind::Boolean),
            _ => None,
        },
    }
}

fn reference(source: &Arc<Source>, csv: &Arc<Source>) -> Result<Reference, Vec<Diagnostic>> {
    let json = parse(source)?;
    let mut problems = Vec::new();
    let columns = columns(source, &json, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let one = |code, span, message: String, hint: &str| vec![Diagnostic::error(code, csv, span, message, hint)];
    // The file says in which order its columns stand.
    let header: Vec<&str> = csv.text.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
    let mut ordered = Vec::new();
    for name in &header {
        match columns.iter().find(|column| column.name == *name) {
            Some(column) => ordered.push(column.clone()),
            None => {
                return Err(one(
                    "unknown-column",
                    0..csv.text.find('\n').unwrap_or(0),
                    format!("column `{name}` is not in the schema"),
                    "add it to the schema beside the file",
                ));
            }
        }
    }
    if let Some(missing) = columns.iter().find(|column| column.required && !header.contains(&column.name.as_str())) {
        return Err(one(
            "missing-column",
            0..0,
            format!("column `{}` is required but not there", missing.name),
            "add it to the first line",
        ));
    }
    let schema = arrow_schema(&ordered);
    let reader = arrow::csv::ReaderBuilder::new(Arc::clone(&schema))
        .with_header(true)
        .build(std::io::Cursor::new(csv.text.as_bytes()));
    let batches: Result<Vec<RecordBatch>, _> = reader.and_then(Iterator::collect);
    let batch = batches.and_then(|batches| arrow::compute::concat_batches(&schema, &batches)).map_err(|error| {
        one(
            "broken-csv",
            0..0,
            format!("a row does not fit the schema: {error}"),
            "each row has the columns of the first line, in the types of the schema",
        )
    })?;
    let key: Vec<String> = json
        .get("x-key")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let mut seen = std::collections::BTreeSet::new();
    for row in 0..batch.num_rows() {
        let mut values = Vec::new();
        for name in &key {
            let Some(column) = batch.column_by_name(name) else {
                return Err(vec![Diagnostic::error(
                    "unknown-column",
                    source,
                    find(source, "x-key"),
                    format!("the key `{name}` is no column"),
                    "",
                )]);
            };
            values.push(arrow::util::display::array_value_to_string(column, row).unwrap_or_default());
        }
        if !key.is_empty() && !seen.insert(values.clone()) {
            let at = super::diagnostics::offset(&csv.text, row + 2, 1);
            return Err(one(
                "key-twice",
                at..at,
                format!("the key {} stands here a second time", values.join(", ")),
                "keep one row of each key",
            ));
        }
    }
    Ok(Reference { name: stem(&source.path), batch, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Arc<Source> {
        Arc::new(Source { path: path.into(), text: text.into() })
    }

    #[test]
    fn every_mistake_of_every_schema_is_found_at_once() {
        let broken = source(
            "schemas/tables/a.json",
            r#"{"x-event-time": "event_tme", "properties": {"event_time": {"format": "date-time", "type": "string"}, "x": {"type": "map"}}, "required": ["y"]}"#,
        );
        let worse = source("schemas/tables/b.json", "{");
        let (_, problems) = load(&[broken, worse], &[]);
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, ["unknown-column", "unknown-type", "event-time-missing", "broken-json"]);
        assert_eq!(problems[2].hint, "did you mean `event_time`?");
    }

    #[test]
    fn a_reference_table_is_unique_by_its_key() {
        let schema = source(
            "sql/reference/s.json",
            r#"{"properties": {"service": {"type": "string"}, "rps": {"type": "number"}}, "x-key": ["service"]}"#,
        );
        let (catalog, problems) =
            load(&[], &[Arc::clone(&schema), source("sql/reference/s.csv", "service,rps\na,1\nb,2.5\n")]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(catalog.references["s"].batch.num_rows(), 2);
        let (_, problems) = load(&[], &[schema, source("sql/reference/s.csv", "service,rps\na,1\na,2\n")]);
        assert_eq!((problems[0].code, problems[0].position()), ("key-twice", (3, 1)));
    }
}
