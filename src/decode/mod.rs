//! Bytes of events in, Arrow out; what cannot be read becomes a rejected row with its reason, never an error.
//!
//! A visitor driven by the table's schema appends the columns that some rule uses straight to Arrow builders;
//! everything else of the event is checked for its form and skipped.

mod json;

use std::{collections::BTreeSet, sync::Arc};

use arrow::{array::RecordBatch, datatypes::Schema};

use crate::{
    panes::Millis,
    rules::catalog::{Column, Table},
    time,
};

/// An event as it came: a view of one Kafka record, or of one line of a file.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Its position in its source partition.
    pub offset: i64,
    /// The record's own timestamp in epoch milliseconds, where it has one.
    pub timestamp: Option<Millis>,
    /// Its bytes; `None` for a record without value.
    pub payload: Option<&'a [u8]>,
}

/// What an event must keep to, beside its schema.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest event, in bytes.
    pub event_bytes_max: usize,
    /// How far an event's time may lie ahead of its record's own timestamp, in milliseconds.
    pub ahead_ms_max: i64,
    /// How far it may lie behind, in milliseconds.
    pub age_ms_max: i64,
}

/// Event times outside of these years are a broken clock wherever they come from.
const YEARS: std::ops::Range<Millis> = 946_684_800_000..4_102_444_800_000;

/// An event that is not counted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its position in its source partition.
    pub offset: i64,
    /// A short stable name of the reason, such as `missing_event_time`.
    pub reason: &'static str,
    /// What is wrong, for people; never contains the event's own text.
    pub detail: String,
}

/// Why one event is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

impl Reason {
    pub(crate) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Decoded events of one source partition, in the order of their positions.
#[derive(Debug)]
pub struct Decoded {
    /// The used columns, a row for each event that counts.
    pub batch: RecordBatch,
    /// The position of each row.
    pub offsets: Vec<i64>,
    /// The event time of each row.
    pub times: Vec<Millis>,
    /// How far each row moves time: no further than its record's own timestamp, so that a fast clock makes nobody
    /// late.
    pub marks: Vec<Millis>,
    /// The events that do not count.
    pub rejected: Vec<Rejected>,
}

/// Reads the events of one table.
#[derive(Debug)]
pub struct Decoder {
    table: Arc<Table>,
    columns: Vec<Column>,
    time_at: usize,
    schema: Arc<Schema>,
    limits: Limits,
}

impl Decoder {
    /// A decoder that keeps the columns in `used`, and the event time.
    pub fn new(table: &Arc<Table>, used: &BTreeSet<String>, limits: Limits) -> Self {
        let wanted = |column: &&Column| used.contains(&column.name) || column.name == table.event_time;
        let columns: Vec<Column> = table.columns.iter().filter(wanted).cloned().collect();
        let time_at = columns.iter().position(|column| column.name == table.event_time).unwrap_or_default();
        let fields =
            table.schema.fields().iter().filter(|field| columns.iter().any(|column| column.name == *field.name()));
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        Self { table: Arc::clone(table), columns, time_at, schema, limits }
    }

    /// The columns it keeps, as Arrow sees them.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Decodes events in their order.
    pub fn decode<'a>(&self, events: impl IntoIterator<Item = Event<'a>>) -> Decoded {
        let mut rows = json::Rows::new(&self.table, &self.columns);
        let mut offsets = Vec::new();
        let mut times = Vec::new();
        let mut marks = Vec::new();
        let mut rejected = Vec::new();
        for event in events {
            match self.one(&mut rows, event) {
                Ok(time) => {
                    offsets.push(event.offset);
                    times.push(time);
                    marks.push(event.timestamp.map_or(time, |record| time.min(record)));
                }
                Err(Reason { reason, detail }) => {
                    rows.forget();
                    rejected.push(Rejected { offset: event.offset, reason, detail });
                }
            }
        }
        Decoded { batch: rows.finish(&self.schema), offsets, times, marks, rejected }
    }

    fn one(&self, rows: &mut json::Rows<'_>, event: Event<'_>) -> Result<Millis, Reason> {
        let payload = event
            .payload
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| Reason::new("empty_value", "the record has no value"))?;
        if payload.len() > self.limits.event_bytes_max {
            let detail = format!("{} bytes; at most {} are read", payload.len(), self.limits.event_bytes_max);
            return Err(Reason::new("too_large", detail));
        }
        rows.read(payload)?;
        let time = rows
            .time(self.time_at)
            .ok_or_else(|| Reason::new("missing_event_time", format!("`{}` is missing", self.table.event_time)))?;
        if !YEARS.contains(&time) {
            return Err(Reason::new(
                "absurd_event_time",
                format!("{} is outside of 2000 to 2100", time::rfc3339(time)),
            ));
        }
        if let Some(record) = event.timestamp {
            let ahead = time.saturating_sub(record);
            if ahead > self.limits.ahead_ms_max {
                return Err(Reason::new(
                    "too_far_ahead",
                    format!("{} is {} ahead of its record's timestamp", time::rfc3339(time), time::span(ahead)),
                ));
            }
            if -ahead > self.limits.age_ms_max {
                return Err(Reason::new(
                    "too_old",
                    format!("{} is {} behind its record's timestamp", time::rfc3339(time), time::span(ahead)),
                ));
            }
        }
        rows.keep();
        Ok(time)
    }
}

#[cfg(test)]
mod tests;
