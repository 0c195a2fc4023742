//! STORE's loop as a state machine: records of the readings and alerts topics go in, inserts come out. Correctness
//! comes from replacing on (rule, series, window end) by log position, whatever the order of inserts; a token covers
//! the retry of the same insert.

use std::collections::BTreeMap;

use arrow::{array::RecordBatch, compute::concat_batches};

use super::{StoredBreach, StoredProgress, breaches_batch, progress_batch};
use crate::{
    judge::output::{BreachEvent, ReadingsHeader, readings_batch, with_version},
    panes::Millis,
    partial::{FormatError, open, read_ipc},
};

/// A table of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// What rules said.
    Readings,
    /// What people were told.
    Breaches,
    /// Which windows are whole. Inserted after the readings it speaks of.
    Progress,
}

impl Table {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Breaches => "breaches",
            Self::Progress => "progress",
        }
    }
}

/// One insert: one block.
#[derive(Debug, Clone)]
pub struct Insert {
    /// The table.
    pub table: Table,
    /// The rows.
    pub rows: RecordBatch,
    /// The same for the same rows: a retry is not counted twice.
    pub token: String,
}

/// Inserts in order, and the positions that may be committed once they are done.
#[derive(Debug, Default)]
pub struct Flush {
    /// The inserts.
    pub inserts: Vec<Insert>,
    /// Topic, partition and position.
    pub offsets: Vec<(String, i32, i64)>,
}

/// Why the loop stops.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A record cannot be read.
    #[error("{topic}[{partition}] at {offset}: {error}")]
    Record {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The position.
        offset: i64,
        /// Why.
        error: FormatError,
    },
    /// A block cannot be built.
    #[error("a block cannot be built: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl StageError {
    /// True where the record is not ours, or not whole: it may be passed over.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Record { error: FormatError::Foreign | FormatError::Damaged(_), .. })
    }
}

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its partition.
    pub partition: i32,
    /// Its position.
    pub offset: i64,
    /// When it was appended.
    pub append_ms: Millis,
}

impl Place {
    /// What replaces what: the time of the append, then the position. It grows even where a topic is made anew and
    /// counts from zero again.
    pub fn version(self) -> u64 {
        let time = u64::try_from(self.append_ms).unwrap_or_default();
        let position = u64::try_from(self.offset).unwrap_or_default();
        (time << 20) | (position & 0xF_FFFF)
    }
}

/// Rows that the store has no columns for would stop every insert that they are part of.
fn same_columns(rows: &RecordBatch) -> Result<(), FormatError> {
    let damaged = |what: &str| FormatError::Damaged(format!("its rows are no readings: {what}"));
    let wanted = readings_batch(&[], 0).map_err(|error| damaged(&error.to_string()))?;
    let (wanted, found) = (wanted.schema(), rows.schema());
    if wanted.fields() == found.fields() { Ok(()) } else { Err(damaged("their columns are others")) }
}

/// The loop's state.
#[derive(Debug)]
pub struct Stage {
    readings_topic: String,
    token_prefix: String,
    flush_interval_ms: i64,
    rows_max: usize,
    readings: Vec<RecordBatch>,
    breaches: Vec<StoredBreach>,
    progress: BTreeMap<(String, i32), StoredProgress>,
    /// First and next position of what is held, by topic and partition.
    held: BTreeMap<(String, i32), (i64, i64)>,
    /// When the first of them was appended: a topic made anew repeats positions, not times.
    first_ms: Millis,
    rows: usize,
    since_ms: Option<Millis>,
}

impl Stage {
    /// A loop that flushes after an interval, or when it holds so many rows.
    pub fn new(readings_topic: &str, flush_interval_ms: i64, rows_max: usize) -> Self {
        Self {
            readings_topic: readings_topic.to_owned(),
            token_prefix: String::new(),
            flush_interval_ms,
            rows_max,
            readings: Vec::new(),
            breaches: Vec::new(),
            progress: BTreeMap::new(),
            held: BTreeMap::new(),
            first_ms: 0,
            rows: 0,
            since_ms: None,
        }
    }

    /// The same with tokens of its own: what was inserted before under other tokens is inserted again.
    #[must_use]
    pub fn with_token_prefix(self, prefix: &str) -> Self {
        Self { token_prefix: prefix.to_owned(), ..self }
    }

    /// Drops what is held: it will be read again.
    pub fn forget(&mut self) {
        let prefix = std::mem::take(&mut self.token_prefix);
        *self = Self::new(&self.readings_topic, self.flush_interval_ms, self.rows_max).with_token_prefix(&prefix);
    }

    /// One record of the readings or the alerts topic.
    pub fn record(&mut self, topic: &str, place: Place, payload: &[u8], now: Millis) -> Result<(), StageError> {
        let Place { partition, offset, .. } = place;
        let version = place.version();
        let failed = |error| StageError::Record { topic: topic.to_owned(), partition, offset, error };
        if topic == self.readings_topic {
            let (header, rest) = open::<ReadingsHeader>(payload).map_err(failed)?;
            let rows = read_ipc(rest).map_err(failed)?;
            if rows.num_rows() > 0 {
                same_columns(&rows).map_err(failed)?;
                self.rows += rows.num_rows();
                self.readings.push(with_version(&rows, version)?);
            }
            for (rule, (watermark, partitions)) in header.progress {
                let progress = StoredProgress { rule: rule.clone(), partition, partitions, watermark, version };
                self.progress.insert((rule, partition), progress);
            }
        } else {
            let event: BreachEvent =
                serde_json::from_slice(payload).map_err(|error| failed(FormatError::Damaged(error.to_string())))?;
            self.rows += 1;
            self.breaches.push(StoredBreach { event, partition, version });
        }
        let held = self.held.entry((topic.to_owned(), partition)).or_insert((offset, offset));
        held.1 = offset + 1;
        if self.since_ms.is_none() {
            self.first_ms = place.append_ms;
        }
        self.since_ms.get_or_insert(now);
        Ok(())
    }

    /// True where no more should be taken before the next flush.
    pub fn full(&self) -> bool {
        self.rows >= self.rows_max
    }

    /// What is due at `now`. It is given up: on failure the caller tries it again as it is.
    pub fn due(&mut self, now: Millis) -> Result<Option<Flush>, StageError> {
        let due = self.since_ms.is_some_and(|since| now - since >= self.flush_interval_ms) || self.full();
        if due { self.rest() } else { Ok(None) }
    }

    /// All that is held, whether it is due or not.
    pub fn rest(&mut self) -> Result<Option<Flush>, StageError> {
        if self.held.is_empty() {
            return Ok(None);
        }
        let token = |table: Table| {
            let ranges: Vec<String> = self
                .held
                .iter()
                .map(|((topic, partition), (first, next))| format!("{topic}/{partition}/{first}-{next}"))
                .collect();
            let content = format!("{} {}", self.first_ms, ranges.join(","));
            format!("{}{}:{}", self.token_prefix, table.name(), crate::rules::hash_bytes(content.as_bytes()))
        };
        let mut inserts = Vec::new();
        if let Some(first) = self.readings.first() {
            inserts.push(Insert {
                table: Table::Readings,
                rows: concat_batches(&first.schema(), &self.readings)?,
                token: token(Table::Readings),
            });
        }
        if !self.breaches.is_empty() {
            inserts.push(Insert {
                table: Table::Breaches,
                rows: breaches_batch(&self.breaches)?,
                token: token(Table::Breaches),
            });
        }
        if !self.progress.is_empty() {
            let progress: Vec<StoredProgress> = self.progress.values().cloned().collect();
            inserts.push(Insert {
                table: Table::Progress,
                rows: progress_batch(&progress)?,
                token: token(Table::Progress),
            });
        }
        let offsets =
            self.held.iter().map(|((topic, partition), (_, next))| (topic.clone(), *partition, *next)).collect();
        self.forget();
        Ok(Some(Flush { inserts, offsets }))
    }
}
