//! The JSON visitor: one pass over the bytes, straight into typed columns.

use std::{borrow::Cow, fmt, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
        TimestampMillisecondBuilder,
    },
    datatypes::{DataType, Schema},
};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Reason;
use crate::{
    rules::catalog::{Column, Kind, Table},
    time,
};

/// A text longer than this is a document, not a key: it would outgrow every record it stands in.
const TEXT_BYTES_MAX: usize = 8_192;

/// One value of the event being read.
#[derive(Debug, Clone)]
enum Cell {
    Missing,
    Null,
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Decimal(i128),
    Time(i64),
}

/// One typed column being built.
enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Decimal(Decimal128Builder, u8, i8),
    Time(TimestampMillisecondBuilder),
}

/// Rows being built. An event is read into cells first, so that one that turns out broken leaves nothing behind.
pub(super) struct Rows<'a> {
    table: &'a Table,
    columns: &'a [Column],
    cells: Vec<Cell>,
    required: Vec<bool>,
    builders: Vec<Builder>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(table: &'a Arc<Table>, columns: &'a [Column]) -> Self {
        let builder = |column: &Column| match column.kind {
            Kind::Text => Builder::Text(StringBuilder::new()),
            Kind::Integer => Builder::Integer(Int64Builder::new()),
            Kind::Number => Builder::Number(Float64Builder::new()),
            Kind::Boolean => Builder::Boolean(BooleanBuilder::new()),
            Kind::Decimal(precision, scale) => Builder::Decimal(Decimal128Builder::new(), precision, scale),
            Kind::Time => Builder::Time(TimestampMillisecondBuilder::new()),
        };
        Self {
            table,
            columns,
            cells: vec![Cell::Missing; columns.len()],
            required: vec![false; table.columns.len()],
            builders: columns.iter().map(builder).collect(),
        }
    }

    /// Reads one event into the cells.
    pub(super) fn read(&mut self, payload: &[u8]) -> Result<(), Reason> {
        self.forget();
        let mut problem = None;
        let mut json = serde_json::Deserializer::from_slice(payload);
        let outcome =
            json.deserialize_map(EventVisitor { rows: self, problem: &mut problem }).and_then(|()| json.end());
        if let Some(problem) = problem {
            return Err(problem);
        }
        if let Err(error) = outcome {
            return Err(match error.classify() {
                serde_json::error::Category::Data => Reason::new("not_an_object", "the event is JSON, but no object"),
                _ if error.to_string().starts_with("recursion limit") => {
                    Reason::new("nested_too_deep", "the event is nested deeper than 128 levels")
                }
                _ => Reason::new("broken_json", format!("not JSON: {}", place(&error))),
            });
        }
        let absent = self.table.columns.iter().zip(&self.required).find(|(column, seen)| column.required && !**seen);
        match absent {
            Some((column, _)) if column.name == self.table.event_time => {
                Err(Reason::new("missing_event_time", format!("`{}` is missing", column.name)))
            }
            Some((column, _)) => {
                Err(Reason::new("missing_column", format!("`{}` is required and missing", column.name)))
            }
            None => Ok(()),
        }
    }

    /// The event time that was read.
    pub(super) fn time(&self, at: usize) -> Option<i64> {
        match self.cells.get(at) {
            Some(Cell::Time(time)) => Some(*time),
            _ => None,
        }
    }

    /// Appends the cells as a row.
    pub(super) fn keep(&mut self) {
        for (builder, cell) in self.builders.iter_mut().zip(&mut self.cells) {
            match (builder, std::mem::replace(cell, Cell::Missing)) {
                (Builder::Text(builder), Cell::Text(text)) => builder.append_value(text),
                (Builder::Integer(builder), Cell::Integer(value)) => builder.append_value(value),
                (Builder::Number(builder), Cell::Number(value)) => builder.append_value(value),
                (Builder::Boolean(builder), Cell::Boolean(value)) => builder.append_value(value),
                (Builder::Decimal(builder, ..), Cell::Decimal(value)) => builder.append_value(value),
                (Builder::Time(builder), Cell::Time(value)) => builder.append_value(value),
                (Builder::Text(builder), _) => builder.append_null(),
                (Builder::Integer(builder), _) => builder.append_null(),
                (Builder::Number(builder), _) => builder.append_null(),
                (Builder::Boolean(builder), _) => builder.append_null(),
                (Builder::Decimal(builder, ..), _) => builder.append_null(),
                (Builder::Time(builder), _) => builder.append_null(),
            }
        }
    }

    /// Drops the cells.
    pub(super) fn forget(&mut self) {
        self.cells.fill(Cell::Missing);
        self.required.fill(false);
    }

    pub(super) fn finish(self, schema: &Arc<Schema>) -> RecordBatch {
        let columns: Vec<ArrayRef> = self
            .builders
            .into_iter()
            .map(|builder| -> ArrayRef {
                match builder {
                    Builder::Text(mut builder) => Arc::new(builder.finish()),
                    Builder::Integer(mut builder) => Arc::new(builder.finish()),
                    Builder::Number(mut builder) => Arc::new(builder.finish()),
                    Builder::Boolean(mut builder) => Arc::new(builder.finish()),
                    Builder::Decimal(mut builder, precision, scale) => {
                        Arc::new(builder.finish().with_data_type(DataType::Decimal128(precision, scale)))
                    }
                    Builder::Time(mut builder) => Arc::new(builder.finish()),
                }
            })
            .collect();
        RecordBatch::try_new(Arc::clone(schema), columns)
            .unwrap_or_else(|error| unreachable!("the builders follow the schema: {error}"))
    }
}

fn place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // serde_json quotes the event in some messages; the place says enough.
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax => text.split(" at line ").next().unwrap_or("broken"),
        _ => "broken",
    };
    format!("{what}, at byte {}", error.column())
}

struct EventVisitor<'r, 'a, 'p> {
    rows: &'r mut Rows<'a>,
    problem: &'p mut Option<Reason>,
}

impl<'de> Visitor<'de> for EventVisitor<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(name)) = map.next_key::<Key<'de>>()? {
            let Some(in_table) = self.rows.table.columns.iter().position(|column| column.name == name) else {
                map.next_value::<Skip>()?;
                continue;
            };
            let column = &self.rows.table.columns[in_table];
            if std::mem::replace(&mut self.rows.required[in_table], true) {
                self.problem
                    .get_or_insert(Reason::new("duplicate_key", format!("`{name}` stands there more than once")));
            }
            let mut wrong = None;
            let cell = map.next_value_seed(CellSeed { column, wrong: &mut wrong })?;
            let outcome = match wrong {
                Some(found) => Err(Reason::new(
                    if column.name == self.rows.table.event_time { "broken_event_time" } else { "wrong_type" },
                    format!("`{name}` is {found}, and should be {}", column.kind.describe()),
                )),
                None => check(column, &cell, column.name == self.rows.table.event_time),
            };
            if let Err(reason) = outcome {
                self.problem.get_or_insert(reason);
            }
            if let Some(at) = self.rows.columns.iter().position(|other| other.name == column.name) {
                self.rows.cells[at] = cell;
            }
        }
        Ok(())
    }
}

/// Checks a value against the limits of its column.
fn check(column: &Column, cell: &Cell, event_time: bool) -> Result<(), Reason> {
    let number = match cell {
        Cell::Null if event_time => {
            return Err(Reason::new("missing_event_time", format!("`{}` is null", column.name)));
        }
        Cell::Null if column.required => {
            return Err(Reason::new("missing_column", format!("`{}` is required and null", column.name)));
        }
        Cell::Text(text) if !column.allowed.is_empty() && !column.allowed.contains(text) => {
            return Err(Reason::new(
                "not_allowed",
                format!("`{}` is none of {}", column.name, column.allowed.join(", ")),
            ));
        }
        Cell::Number(value) => *value,
        #[expect(clippy::cast_precision_loss, reason = "limits of a schema are doubles")]
        Cell::Integer(value) => *value as f64,
        _ => return Ok(()),
    };
    if !number.is_finite()
        || column.minimum.is_some_and(|least| number < least)
        || column.maximum.is_some_and(|most| number > most)
    {
        let limits = [
            column.minimum.map(|least| format!("at least {least}")),
            column.maximum.map(|most| format!("at most {most}")),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        return Err(Reason::new("out_of_range", format!("`{}` must be {}", column.name, limits.join(" and "))));
    }
    Ok(())
}

/// A key, borrowed where it can be.
struct Key<'de>(Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Reads one value as its column wants it; what it is instead goes to `wrong`.
struct CellSeed<'c> {
    column: &'c Column,
    wrong: &'c mut Option<&'static str>,
}

impl CellSeed<'_> {
    fn wrong(self, found: &'static str) -> Cell {
        *self.wrong = Some(found);
        Cell::Null
    }
}

impl<'de> DeserializeSeed<'de> for CellSeed<'_> {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed<'_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(if self.column.kind == Kind::Boolean { Cell::Boolean(value) } else { self.wrong("true or false") })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(match self.column.kind {
            Kind::Integer => Cell::Integer(value),
            Kind::Time => Cell::Time(value),
            #[expect(clippy::cast_precision_loss, reason = "the column is a double")]
            Kind::Number => Cell::Number(value as f64),
            Kind::Decimal(precision, scale) => match decimal(&value.to_string(), precision, scale) {
                Some(value) => Cell::Decimal(value),
                None => self.wrong("a number with too many digits"),
            },
            Kind::Text | Kind::Boolean => self.wrong("a number"),
        })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Cell, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            #[expect(clippy::cast_precision_loss, reason = "the column is a double")]
            Err(_) if self.column.kind == Kind::Number => Ok(Cell::Number(value as f64)),
            Err(_) => Ok(self.wrong("a number that does not fit 64 bits")),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(match self.column.kind {
            Kind::Number => Cell::Number(value),
            Kind::Decimal(precision, scale) => match decimal(&value.to_string(), precision, scale) {
                Some(value) => Cell::Decimal(value),
                None => self.wrong("a number with too many digits"),
            },
            _ => self.wrong("a number with a fraction"),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
        Ok(match self.column.kind {
            Kind::Text if text.len() > TEXT_BYTES_MAX => self.wrong("a text of more than 8192 bytes"),
            Kind::Text => Cell::Text(text.to_owned()),
            Kind::Time => match time::parse_rfc3339(text) {
                Some(time) => Cell::Time(time),
                None => self.wrong("a text that is no RFC 3339 time"),
            },
            Kind::Decimal(precision, scale) => match decimal(text, precision, scale) {
                Some(value) => Cell::Decimal(value),
                None => self.wrong("a text that is no such decimal"),
            },
            _ => self.wrong("a text"),
        })
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
        while seq.next_element::<Skip>()?.is_some() {}
        Ok(self.wrong("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<Key<'de>, Skip>()?.is_some() {}
        Ok(self.wrong("an object"))
    }
}

/// The digits of a decimal as a whole number of 10^-scale; `None` where it is no decimal or does not fit.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let scale = usize::try_from(scale).ok()?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !plain(whole)
        || !plain(fraction)
        || fraction.len() > scale
        || whole.trim_start_matches('0').len() + scale > usize::from(precision)
    {
        return None;
    }
    let value: i128 = format!("{whole}{fraction:0<scale$}").parse().ok()?;
    Some(if negative { -value } else { value })
}

/// Skips a value of any shape, but not of any depth: the parser's own limit holds for what is skipped too.
struct Skip;

impl<'de> de::Deserialize<'de> for Skip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Key<'de>, Self>()?.is_some() {}
        Ok(self)
    }
}
