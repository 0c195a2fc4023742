//! The versioned record between FOLD and JUDGE: what stands in the partials topic.
//!
//! A record is a magic word, a format version, a JSON header and Arrow IPC streams, one for each fold. The header
//! speaks for itself (`kcat` shows it), the streams carry the states. A record of a version that is not known is an
//! error that says so, never a guess.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    buffer::Buffer,
    datatypes::{Int64Type, UInt32Type},
    ipc::{reader::StreamDecoder, writer::StreamWriter},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    panes::{Millis, is_time},
    planted,
    position::Range,
    rules::{Files, Rule, Settings, diagnostics::Source},
};

/// A format of the records between the stages: its number.
///
/// Which one is written is part of the rule set in force, and so changes at a record of the log, as the rules do. A binary
/// reads every format up to its newest, and writes none before somebody has said that all can read it: instances are
/// upgraded one by one, and those that were not yet must not meet what they can't read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct RecordFormat(u8);

impl RecordFormat {
    /// The first of all.
    pub const FIRST: Self = Self(1);

    /// The newest that this binary reads and writes.
    pub fn newest() -> Self {
        Self(VERSION + u8::from(planted::is_later_binary()))
    }

    /// The first of all: of records that do not say.
    const fn first() -> Self {
        Self::FIRST
    }
}

impl TryFrom<u8> for RecordFormat {
    type Error = FormatError;

    fn try_from(number: u8) -> Result<Self, FormatError> {
        let format = Self(number);
        if (Self::FIRST..=Self::newest()).contains(&format) { Ok(format) } else { Err(FormatError::Version(number)) }
    }
}

impl std::fmt::Display for RecordFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of the newest format.
pub const VERSION: u8 = 1;
const MAGIC: &[u8; 3] = b"TWP";

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not ours at all.
    #[error("the record does not begin with TWP: something else writes to this topic")]
    Foreign,
    /// Of a later binary.
    #[error(
        "the record has format {0}, and this binary reads up to {newest}: upgrade this instance; nothing is lost meanwhile",
        newest = RecordFormat::newest()
    )]
    Version(u8),
    /// Cut short or garbled.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

/// What FOLD says of one range of one source partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The table.
    pub table: String,
    /// Its topic.
    pub topic: String,
    /// Which life of the topic: a recreated topic has another.
    pub incarnation: String,
    /// The source partition.
    pub partition: i32,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The positions covered.
    pub range: Range,
    /// The latest event time in the range; `None` where no event counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latest_ms: Option<Millis>,
    /// Where the partition was read to its end: FOLD's clock when it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_at_ms: Option<Millis>,
    /// True where the source no longer has these positions: recorded, never waited for.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub lost: bool,
    /// Where reading of the partition began: whoever has heard nothing of it yet has missed what lies between.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub begun: Option<i64>,
    /// How many lives of the topic were read before this one: what was left of them is lost. Each section says so, since the
    /// first of them may vanish.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub life: u32,
    /// How many events of the range are dead letters: whether they have arrived is looked after by who judges.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub letters: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Section {
    /// What no section can say, where this one does.
    fn wrong(&self) -> Option<&'static str> {
        let Range { start, end } = self.range;
        if start < 0 || end < start || self.begun.is_some_and(|begun| begun < 0) {
            Some("a section covers no range of positions")
        } else if self.partition < 0 || self.partitions < 0 {
            Some("a section is of a partition that cannot be")
        } else if self.latest_ms.iter().chain(&self.end_at_ms).any(|at| !is_time(*at)) {
            Some("a section has a time that is none")
        } else {
            None
        }
    }
}

/// States of one fold, for all sections of a record; the column `section` says which row is whose.
#[derive(Debug, Clone, PartialEq)]
pub struct Partials {
    /// The fold's fingerprint.
    pub fold: String,
    /// The fingerprints of the aggregates whose states follow.
    pub aggregates: Vec<String>,
    /// `section`, `pane`, keys, `rows`, states.
    pub batch: RecordBatch,
}

impl Partials {
    /// What no states can be, where these are.
    fn wrong(&self) -> Option<&'static str> {
        let columns = self.batch.columns();
        let sections = columns.first().and_then(|column| column.as_primitive_opt::<UInt32Type>());
        let panes = columns.get(1).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(sections), Some(panes)) = (sections, panes) else { return Some("states have no sections or panes") };
        if sections.null_count() + panes.null_count() > 0 {
            Some("states are of no section or pane")
        } else if panes.values().iter().any(|pane| !is_time(*pane)) {
            Some("a pane has a time that is none")
        } else {
            None
        }
    }
}

/// Sections for one partials partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Sections {
    /// The partials partition it was made for.
    pub partition: i32,
    /// How many partials partitions there are.
    pub partitions: i32,
    /// The number of the rule set by which it was folded; 0 where that is not known. Whoever has not seen that set has
    /// missed it.
    pub rules: u64,
    /// The folds computed, with their aggregates: a window is whole where every range since its start has them.
    pub computed: BTreeMap<String, Vec<String>>,
    /// What failed on an event, and is computed no more.
    pub failed: Vec<Failure>,
    /// The sections.
    pub sections: Vec<Section>,
    /// Their states.
    pub partials: Vec<Partials>,
}

/// A fold, or an aggregate of one, that failed on an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The fold.
    pub fold: String,
    /// The aggregate; `None` where it is the filter or a key, and so all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<String>,
    /// Why.
    pub reason: String,
}

impl Failure {
    /// True where a rule uses what failed.
    pub fn is_of(&self, rule: &Rule) -> bool {
        rule.all_folds().any(|used| {
            let whole = self.aggregate.as_ref().is_none_or(|aggregate| used.ids.aggregates.contains(aggregate));
            used.ids.fold == self.fold && whole
        })
    }
}

/// A rule set as it enters the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleSetRecord {
    /// Its place in the order of rule sets.
    pub number: u64,
    /// Its hash.
    pub hash: String,
    /// The Git commit its files come from, where that is known.
    pub commit: Option<String>,
    /// How many partials partitions there are.
    pub partitions: i32,
    /// When the first rule set of all was written.
    pub began_ms: Millis,
    /// When the newest of its files was written: an older set does not take the log back.
    pub newest_ms: Millis,
    /// Settings that change what a reading is.
    pub settings: Settings,
    /// Rules: path and text.
    pub rules: Vec<(String, String)>,
    /// Table schemas: path and text.
    pub tables: Vec<(String, String)>,
    /// Reference tables: path and text.
    pub references: Vec<(String, String)>,
    /// Defaults of folders and what rules have learnt: path and text.
    #[serde(default)]
    pub beside: Vec<(String, String)>,
    /// The format that is written from here on.
    #[serde(default = "RecordFormat::first")]
    pub format: RecordFormat,
    /// When each source topic was first read: `began_ms` where that is not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics_began_ms: BTreeMap<String, Millis>,
    /// The number under which the same rules came into force, where only the format has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

impl RuleSetRecord {
    /// When a topic was read first: what a first start at `latest` begins with there.
    pub fn began_ms(&self, topic: &str) -> Millis {
        self.topics_began_ms.get(topic).copied().unwrap_or(self.began_ms)
    }

    /// The number under which its rules came into force.
    pub fn since(&self) -> u64 {
        self.since.unwrap_or(self.number)
    }

    /// The same rules under another number, and from here on another format.
    pub fn upgraded(&self, number: u64, format: RecordFormat) -> Self {
        Self { number, format, since: Some(self.since()), ..self.clone() }
    }

    /// The files as they were.
    pub fn files(&self) -> Files {
        let sources = |pairs: &[(String, String)]| {
            pairs.iter().map(|(path, text)| Arc::new(Source { path: path.clone(), text: text.clone() })).collect()
        };
        Files {
            rules: sources(&self.rules),
            tables: sources(&self.tables),
            references: sources(&self.references),
            beside: sources(&self.beside),
        }
    }

    /// The record of a set of files; `times` are those of the first set of all and of the newest file. From here on the
    /// newest format is written, where the caller does not say otherwise.
    pub fn new(
        number: u64,
        hash: &str,
        commit: Option<String>,
        partitions: i32,
        times: (Millis, Millis),
        settings: Settings,
        files: &Files,
    ) -> Self {
        let pairs =
            |sources: &[Arc<Source>]| sources.iter().map(|source| (source.path.clone(), source.text.clone())).collect();
        Self {
            number,
            hash: hash.to_owned(),
            commit,
            partitions,
            began_ms: times.0,
            newest_ms: times.1,
            settings,
            rules: pairs(&files.rules),
            tables: pairs(&files.tables),
            references: pairs(&files.references),
            beside: pairs(&files.beside),
            format: RecordFormat::newest(),
            topics_began_ms: BTreeMap::new(),
            since: None,
        }
    }
}

/// One record of the partials topic.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Ranges and their states.
    Sections(Sections),
    /// From here on, these rules.
    RuleSet(RuleSetRecord),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Header {
    Sections {
        partition: i32,
        partitions: i32,
        #[serde(default)]
        rules: u64,
        computed: BTreeMap<String, Vec<String>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed: Vec<Failure>,
        sections: Vec<Section>,
        partials: Vec<PartialsHeader>,
    },
    RuleSet(RuleSetRecord),
}

#[derive(Serialize, Deserialize)]
struct PartialsHeader {
    fold: String,
    aggregates: Vec<String>,
    bytes: usize,
}

impl Record {
    /// The bytes of the record in a format.
    pub fn encode(&self, format: RecordFormat) -> Result<Vec<u8>, FormatError> {
        let mut blobs = Vec::new();
        let header = match self {
            Self::RuleSet(set) => Header::RuleSet(set.clone()),
            Self::Sections(sections) => {
                let mut partials = Vec::new();
                for one in &sections.partials {
                    let blob = ipc(&one.batch)?;
                    partials.push(PartialsHeader {
                        fold: one.fold.clone(),
                        aggregates: one.aggregates.clone(),
                        bytes: blob.len(),
                    });
                    blobs.push(blob);
                }
                Header::Sections {
                    partition: sections.partition,
                    partitions: sections.partitions,
                    rules: sections.rules,
                    computed: sections.computed.clone(),
                    failed: sections.failed.clone(),
                    sections: sections.sections.clone(),
                    partials,
                }
            }
        };
        Ok(envelope(format, &header, &blobs))
    }

    /// Reads a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (header, mut rest) = open::<Header>(bytes)?;
        Ok(match header {
            Header::RuleSet(set) => Self::RuleSet(set),
            Header::Sections { partition, partitions, rules, computed, failed, sections, partials } => {
                let mut read = Vec::new();
                for one in partials {
                    if one.bytes > rest.len() {
                        return Err(FormatError::Damaged(format!("{} bytes are missing", one.bytes - rest.len())));
                    }
                    let (blob, after) = rest.split_at(one.bytes);
                    rest = after;
                    read.push(Partials { fold: one.fold, aggregates: one.aggregates, batch: read_ipc(blob)? });
                }
                let wrong = sections.iter().find_map(Section::wrong).or_else(|| read.iter().find_map(Partials::wrong));
                if let Some(wrong) = wrong {
                    return Err(FormatError::Damaged(wrong.into()));
                }
                Self::Sections(Sections { partition, partitions, rules, computed, failed, sections, partials: read })
            }
        })
    }
}

/// A record of our own topics: magic, version, header, and what follows it.
pub fn envelope(format: RecordFormat, header: &impl Serialize, blobs: &[Vec<u8>]) -> Vec<u8> {
    let header = serde_json::to_vec(header).unwrap_or_else(|error| unreachable!("headers are plain data: {error}"));
    let mut bytes = MAGIC.to_vec();
    bytes.push(format.0);
    bytes.extend(u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(header);
    for blob in blobs {
        bytes.extend(blob);
    }
    bytes
}

/// Opens an envelope: its header, and the bytes after it.
pub fn open<H: DeserializeOwned>(bytes: &[u8]) -> Result<(H, &[u8]), FormatError> {
    let damaged = |what: &dyn std::fmt::Display| FormatError::Damaged(what.to_string());
    let Some((MAGIC, rest)) = bytes.split_first_chunk::<3>() else { return Err(FormatError::Foreign) };
    let Some((version, rest)) = rest.split_first() else { return Err(damaged(&"it has no version")) };
    RecordFormat::try_from(*version)?;
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Err(damaged(&"it has no header")) };
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|error| damaged(&error))?;
    let Some((header, rest)) = rest.split_at_checked(length) else { return Err(damaged(&"its header is cut short")) };
    Ok((serde_json::from_slice(header).map_err(|error| damaged(&error))?, rest))
}

/// A batch as an Arrow IPC stream.
pub fn ipc(batch: &RecordBatch) -> Result<Vec<u8>, FormatError> {
    let damaged = |error: arrow::error::ArrowError| FormatError::Damaged(error.to_string());
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(damaged)?;
    writer.write(batch).map_err(damaged)?;
    writer.into_inner().map_err(damaged)
}

/// The batch of an Arrow IPC stream; several batches become one.
pub fn read_ipc(bytes: &[u8]) -> Result<RecordBatch, FormatError> {
    // Arrow panics where a stream points beyond its end.
    catch_unwind(AssertUnwindSafe(|| batch_of(bytes)))
        .unwrap_or_else(|_| Err(FormatError::Damaged("its Arrow data contradicts itself".into())))
}

fn batch_of(bytes: &[u8]) -> Result<RecordBatch, FormatError> {
    let damaged = |error: arrow::error::ArrowError| FormatError::Damaged(error.to_string());
    // It takes no memory for what a message merely says is to come.
    let mut decoder = StreamDecoder::new();
    let mut rest = Buffer::from(bytes);
    let mut batches = Vec::new();
    while !rest.is_empty() {
        match decoder.decode(&mut rest).map_err(damaged)? {
            // Rows take room, be it a bit; a column of a type that takes none is not ours.
            Some(batch) if batch.num_rows() > bytes.len() * 8 => {
                return Err(FormatError::Damaged(format!("{} bytes are not {} rows", bytes.len(), batch.num_rows())));
            }
            Some(batch) => batches.push(batch),
            None => {}
        }
    }
    decoder.finish().map_err(damaged)?;
    let Some(schema) = decoder.schema() else { return Err(FormatError::Damaged("its Arrow data is missing".into())) };
    match <[RecordBatch; 1]>::try_from(batches) {
        Ok([batch]) => Ok(batch),
        Err(batches) => arrow::compute::concat_batches(&schema, &batches).map_err(damaged),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, UInt32Array};

    use super::*;

    fn record() -> Record {
        let columns: [(&str, ArrayRef); 2] =
            [("section", Arc::new(UInt32Array::from(vec![0, 1]))), ("pane", Arc::new(Int64Array::from(vec![10, 20])))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let section = Section {
            table: "t".into(),
            topic: "t".into(),
            incarnation: "a".into(),
            partition: 0,
            partitions: 3,
            range: Range { start: 5, end: 9 },
            latest_ms: Some(17),
            end_at_ms: None,
            lost: false,
            begun: None,
            life: 0,
            letters: 2,
        };
        Record::Sections(Sections {
            partition: 1,
            partitions: 8,
            rules: 3,
            computed: BTreeMap::from([("f".into(), vec!["a".into()])]),
            failed: vec![Failure { fold: "f".into(), aggregate: Some("b".into()), reason: "it wraps".into() }],
            sections: vec![section],
            partials: vec![Partials { fold: "f".into(), aggregates: vec!["a".into()], batch }],
        })
    }

    #[test]
    fn records_round_trip() {
        let bytes = record().encode(RecordFormat::newest()).unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), record());
    }

    #[test]
    fn damage_is_an_error_that_says_so() {
        let bytes = record().encode(RecordFormat::newest()).unwrap();
        assert!(matches!(Record::decode(b"hello"), Err(FormatError::Foreign)));
        let mut later = bytes.clone();
        later[3] = VERSION + 1;
        assert!(matches!(Record::decode(&later), Err(FormatError::Version(_))));
        for cut in 3..bytes.len() - 8 {
            assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
