//! What JUDGE says: readings, breach events, and notices about the pipeline itself.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{diagnosis::Contributor, series::Happened};
use crate::{
    columns::{block, number_maps, text_maps, texts, times},
    panes::Millis,
    rules::{Rule, levels::Level, series::canonical},
    time::{parse_rfc3339, rfc3339},
};

/// A further number of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Measure {
    /// A count, or another whole number.
    Whole(i64),
    /// A double.
    Number(f64),
}

impl Measure {
    /// As the double that the store keeps.
    #[expect(clippy::cast_precision_loss, reason = "the store keeps measures as doubles")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Number(value) => value,
        }
    }
}

/// What a rule says of one series at one window end.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The series as canonical JSON.
    pub series: Arc<str>,
    /// The series, column by column.
    pub columns: Vec<(String, Value)>,
    /// The window's start; of several windows, the earliest.
    pub window_start: Millis,
    /// The window's end.
    pub window_end: Millis,
    /// What is judged.
    pub value: Option<f64>,
    /// How many events it rests on, where the rule says so.
    pub samples: Option<i64>,
    /// The level by the value alone; `None` where it is not judged.
    pub level: Option<Level>,
    /// The level after `for` and `keep_firing_for`.
    pub state: Level,
    /// Why it is not judged: `no_value`, `no_level`, `judge_when`, `partial`, `late`.
    pub unjudged: Option<&'static str>,
    /// Other numbers.
    pub measures: Vec<(String, Option<Measure>)>,
    /// Other texts.
    pub labels: Vec<(String, Option<String>)>,
    /// True where late events changed what was said at first. Level and state did not follow.
    pub corrected: bool,
    /// True where late events took the reading away.
    pub retracted: bool,
}

impl Reading {
    /// As one line of JSON, with its fields in a fixed order.
    pub fn to_json(&self) -> String {
        let line = ReadingLine {
            kind: "reading",
            rule: &self.rule.header.name,
            series: self.columns.iter().map(|(name, value)| (name.as_str(), value)).collect(),
            window_start: rfc3339(self.window_start),
            window_end: rfc3339(self.window_end),
            value: self.value,
            samples: self.samples,
            level: self.level,
            state: self.state,
            measures: self.measures.iter().map(|(name, value)| (name.as_str(), value)).collect(),
            labels: self.labels.iter().map(|(name, text)| (name.as_str(), text)).collect(),
            unjudged: self.unjudged,
            corrected: self.corrected,
            retracted: self.retracted,
        };
        serde_json::to_string(&line).unwrap_or_else(|error| unreachable!("a reading is plain data: {error}"))
    }
}

#[derive(Serialize)]
struct ReadingLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    rule: &'a str,
    series: BTreeMap<&'a str, &'a Value>,
    window_start: String,
    window_end: String,
    value: Option<f64>,
    samples: Option<i64>,
    level: Option<Level>,
    state: Level,
    measures: BTreeMap<&'a str, &'a Option<Measure>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unjudged: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    corrected: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retracted: bool,
}

/// One event of a breach: enough to act on with no further query. The shape is `schemas/breach.schema.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreachEvent {
    /// What happened.
    #[serde(rename = "type")]
    pub happened: Happened,
    /// The id of this event.
    pub id: String,
    /// The id of the breach.
    pub episode: String,
    /// Which event of the breach this is, from 1.
    pub ordinal: u32,
    /// The rule.
    pub rule: String,
    /// The rule's version.
    pub rule_version: String,
    /// What the rule watches.
    pub title: String,
    /// The rule's tier.
    pub tier: String,
    /// `business` or `technical`.
    pub kind: String,
    /// Who mends it.
    pub owner: String,
    /// The series.
    pub series: BTreeMap<String, Value>,
    /// The state now.
    pub level: Level,
    /// The state before.
    pub previous_level: Level,
    /// The value that made it happen.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// The limit crossed, as the rule has it.
    pub limit: String,
    /// How many events the value rests on.
    pub samples: Option<i64>,
    /// The window's start.
    pub window_start: String,
    /// The window's end.
    pub window_end: String,
    /// Since when the level has been outside of healthy.
    pub since: String,
    /// When the breach opened.
    pub opened_at: String,
    /// Why, where it is not the value.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// One line for people.
    pub summary: String,
    /// More lines for people.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub description: String,
    /// Where the way to mend it is written.
    pub runbook_url: String,
    /// Fixed labels of the rule, and the texts of the reading.
    pub labels: BTreeMap<String, String>,
    /// Other numbers of the reading.
    pub measures: BTreeMap<String, Option<Measure>>,
    /// How many events of the window count against the rule, where it says which.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offending: Option<i64>,
    /// The values that most of these events have, column by column, the most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub contributors: Vec<Contributor>,
    /// Traces of some of these events.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub trace_ids: Vec<String>,
    /// How long after the end of the window it was judged, in milliseconds, by the time of the log; `None` where there is no
    /// log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub delay_ms: Option<i64>,
}

/// Something about the pipeline itself that people should see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Events came after a window they belong to had closed.
    Late {
        /// The rule.
        rule: String,
        /// How many.
        events: i64,
    },
    /// A section was dropped: all of it is there.
    Known {
        /// Which section.
        section: String,
    },
    /// A section was refused: a part of it is there.
    Refused {
        /// Which section.
        section: String,
    },
    /// Positions are missing; the watermark waits for them.
    Hole {
        /// Which partition and positions.
        section: String,
    },
    /// The source no longer has these positions: windows over them are partial.
    Lost {
        /// Which partition and positions.
        section: String,
    },
    /// A rule failed and is not evaluated until it changes.
    Fenced {
        /// The rule.
        rule: String,
        /// Why.
        reason: String,
    },
    /// A record of the log cannot be read, and was passed over.
    Garbled {
        /// Its position.
        offset: i64,
        /// What is wrong with it.
        error: String,
    },
    /// Outputs of a transaction did not arrive and were sent again, or entries of the journal vanished and their outputs
    /// were judged again.
    SentAgain {
        /// How many breach events, blocks of readings and entries.
        outputs: usize,
    },
    /// Parts of a snapshot did not arrive.
    SnapshotTorn,
    /// Another rule set is in force.
    RuleSet {
        /// Its hash.
        hash: String,
        /// How many rules it has.
        rules: usize,
    },
    /// A rule set in the log cannot be run; the one before stays.
    RuleSetRefused {
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late { rule, events } => write!(f, "late events for closed windows of {rule}: {events}"),
            Self::Known { section } => write!(f, "dropped {section}: it was counted before"),
            Self::Refused { section } => write!(
                f,
                "refused {section}: a part of it was counted before, or its rules are not in the log; it is folded again"
            ),
            Self::Hole { section } => write!(f, "waiting for {section}: later positions are there, these are not"),
            Self::Lost { section } => {
                write!(f, "{section} is lost: the source no longer has it; windows over it are partial")
            }
            Self::Fenced { rule, reason } => write!(f, "rule {rule} is fenced off until it changes: {reason}"),
            Self::Garbled { offset, error } => {
                write!(f, "passed over the record at {offset}: {error}; what it held is folded again")
            }
            Self::SentAgain { outputs } => {
                write!(f, "{outputs} outputs of a transaction that ended only in part are sent again")
            }
            Self::SnapshotTorn => {
                write!(f, "parts of a snapshot vanished with a transaction that ended only in part; it is written anew")
            }
            Self::RuleSet { hash, rules } => write!(f, "rule set {hash} with {rules} rules is in force"),
            Self::RuleSetRefused { reason } => write!(f, "a rule set in the log was refused: {reason}"),
        }
    }
}

/// One output of JUDGE, in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// A reading.
    Reading(Box<Reading>),
    /// A breach event. Rules in shadow have none.
    Breach(Box<BreachEvent>),
    /// A notice.
    Notice(Notice),
}

impl Output {
    /// The place of a reading or breach event in window order: window end, rule, series.
    pub fn order(&self) -> Option<(Millis, String, String)> {
        match self {
            Self::Reading(reading) => {
                Some((reading.window_end, reading.rule.header.name.clone(), reading.series.to_string()))
            }
            Self::Breach(event) => {
                Some((parse_rfc3339(&event.window_end)?, event.rule.clone(), canonical(event.series.clone())))
            }
            Self::Notice(_) => None,
        }
    }
}

/// What STORE needs to know of a readings record, beside its rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadingsHeader {
    /// The judge partition.
    pub partition: i32,
    /// Which readings record of the partition this is.
    pub ordinal: u64,
    /// How far each rule has closed its windows here, and how many partitions evaluate it.
    pub progress: BTreeMap<String, (Millis, i32)>,
}

/// Readings as one Arrow block, as the store has them.
pub fn readings_batch(readings: &[&Reading], partition: i32) -> Result<RecordBatch, ArrowError> {
    let text = |f: fn(&Reading) -> String| texts(readings.iter().map(|r| f(r)));
    let time = |f: fn(&Reading) -> Millis| times(readings.iter().map(|r| f(r)));
    let flag = |f: fn(&Reading) -> bool| -> ArrayRef {
        Arc::new(readings.iter().map(|r| Some(f(r))).collect::<BooleanArray>())
    };
    let measures = |r: &&Reading| -> Vec<(String, f64)> {
        r.measures.iter().filter_map(|(name, value)| Some((name.clone(), value.as_ref()?.as_f64()))).collect()
    };
    let labels = |r: &&Reading| -> Vec<(String, String)> {
        r.labels.iter().filter_map(|(name, text)| Some((name.clone(), text.clone()?))).collect()
    };
    let keys = |r: &&Reading| r.columns.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
    let partial = |r: &&Reading| Some(r.unjudged == Some("partial"));
    block(vec![
        ("rule", text(|r| r.rule.header.name.clone())),
        ("rule_version", text(|r| r.rule.version.clone())),
        ("tier", text(|r| r.rule.header.tier.name().into())),
        ("kind", text(|r| r.rule.header.tier.kind().into())),
        ("series", text(|r| r.series.to_string())),
        ("series_columns", text_maps(readings.iter().map(keys))?),
        ("window_start", time(|r| r.window_start)),
        ("window_end", time(|r| r.window_end)),
        ("slide_ms", Arc::new(readings.iter().map(|r| Some(r.rule.slide_ms)).collect::<Int64Array>())),
        ("value", Arc::new(readings.iter().map(|r| r.value).collect::<Float64Array>())),
        ("samples", Arc::new(readings.iter().map(|r| r.samples).collect::<Int64Array>())),
        ("level", text(|r| r.level.map_or("", Level::name).into())),
        ("state", text(|r| r.state.name().into())),
        ("unjudged", text(|r| r.unjudged.unwrap_or_default().into())),
        ("partial", Arc::new(readings.iter().map(partial).collect::<BooleanArray>())),
        ("corrected", flag(|r| r.corrected)),
        ("retracted", flag(|r| r.retracted)),
        ("measures", number_maps(readings.iter().map(measures))?),
        ("labels", text_maps(readings.iter().map(labels))?),
        ("unit", text(|r| r.rule.header.unit.clone())),
        ("partition", Arc::new(Int32Array::from(vec![partition; readings.len()]))),
    ])
}

/// A key's value as plain text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A block with the log position as the version that replaces older rows.
pub fn with_version(batch: &RecordBatch, version: u64) -> Result<RecordBatch, ArrowError> {
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("version", DataType::UInt64, false)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(UInt64Array::from(vec![version; batch.num_rows()])));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
