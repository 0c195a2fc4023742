//! The state of a judge partition, written down: what the state topic holds.
//!
//! Four kinds of records, all written in the transaction of the outputs they belong to:
//!
//! * `series`: the level and episode of one series, whenever they change. What was published binds: recovery takes
//!   these as they are and never judges the past anew.
//! * `readings`: readings that are needed beyond their window, until a snapshot has what became of them.
//! * `progress`: the position in the log up to which outputs were published, and their ordinals.
//! * `snapshot`: everything, at one position. Recovery begins there and replays the log up to `progress` to rebuild
//!   panes, evaluating nothing.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{array::AsArray, datatypes::Int64Type};
use serde::{Deserialize, Serialize};

use super::{
    Active, Compiled, Judge, RuleState, chain::Chain, history::SeriesHistory, panes::PaneStore, series::SeriesState,
};
use crate::{
    fold::accumulate::conform,
    panes::{Millis, is_time},
    partial::{FormatError, RuleSetRecord, envelope, ipc, open, read_ipc},
};

/// Up to where outputs were published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The position in the partials log after the last record whose outputs were published.
    pub position: i64,
    /// How many readings records there were.
    pub readings: u64,
    /// How many breach events there were.
    pub alerts: u64,
    /// Rules that failed, and why: replay evaluates nothing, so it would not find out.
    #[serde(default)]
    pub fenced: BTreeMap<String, String>,
    /// Since when rules have had whole windows, for those who read their readings.
    #[serde(default)]
    pub whole_from: BTreeMap<String, Millis>,
    /// The next window of each rule: replay does not see the readings that some rules begin with.
    #[serde(default)]
    pub next_ends: BTreeMap<String, Millis>,
    /// Since when folds over readings were given them.
    #[serde(default)]
    pub fed_from: BTreeMap<String, Millis>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// The position in the partials log after the last record that is in it.
    position: i64,
    partition: i32,
    /// Which of the slots it is written to, and which part of it this is.
    slot: u8,
    chunk: u32,
    chunks: u32,
    rules: Option<RuleSetRecord>,
    chain: Chain,
    states: BTreeMap<String, RuleHeader>,
    panes: Vec<PaneHeader>,
    /// For each fold, since when its panes are kept.
    kept_since: BTreeMap<String, Millis>,
}

#[derive(Serialize, Deserialize)]
struct RuleHeader {
    next_end: Option<Millis>,
    late: i64,
    fenced: Option<String>,
    series: BTreeMap<Arc<str>, SeriesState>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    histories: BTreeMap<Arc<str>, SeriesHistory>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole_from: Option<Millis>,
}

#[derive(Serialize, Deserialize)]
struct PaneHeader {
    fold: String,
    bytes: usize,
}

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Its form.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Its states.
    #[error("its states cannot be merged: {0}")]
    States(#[from] datafusion::common::DataFusionError),
    /// Its rules.
    #[error("its rules cannot be run: {0}")]
    Rules(String),
}

impl Judge {
    /// The whole state, as it is before the record at `position`.
    pub fn snapshot(&self, position: i64) -> Result<Vec<u8>, SnapshotError> {
        let mut panes = Vec::new();
        let mut blobs = Vec::new();
        for (fold, store) in &self.panes {
            for batch in store.snapshot()? {
                let blob = ipc(&batch)?;
                panes.push(PaneHeader { fold: fold.clone(), bytes: blob.len() });
                blobs.push(blob);
            }
        }
        let states = self.states.iter().map(|(name, state)| {
            let header = RuleHeader {
                next_end: state.next_end,
                late: state.late,
                fenced: state.fenced.clone(),
                series: state.series.clone(),
                histories: state.histories.clone(),
                whole_from: state.whole_from,
            };
            (name.clone(), header)
        });
        let header = Header {
            position,
            partition: self.partition,
            slot: 0,
            chunk: 0,
            chunks: 1,
            rules: self.rules.as_ref().map(|active| active.record.as_ref().clone()),
            chain: self.chain.clone(),
            states: states.collect(),
            panes,
            kept_since: self.panes.iter().map(|(fold, store)| (fold.clone(), store.kept_since())).collect(),
        };
        Ok(envelope(&header, &blobs))
    }

    /// Reads a snapshot; answers with the position at which replay begins.
    pub fn from_snapshot(bytes: &[u8], compiled: &mut Compiled) -> Result<(Self, i64), SnapshotError> {
        let (header, mut rest) = open::<Header>(bytes)?;
        let ends = header.states.values().filter_map(|state| state.next_end);
        if !header.chain.is_sound() || !ends.into_iter().all(is_time) || header.position < 0 {
            return Err(FormatError::Damaged("a position or a time is none".into()).into());
        }
        let rules: Option<Active> =
            header.rules.as_ref().map(|record| compiled.get(record)).transpose().map_err(SnapshotError::Rules)?;
        let mut judge = Self::new(header.partition);
        judge.chain = header.chain;
        for (fingerprint, plan) in rules.iter().flat_map(|active| &active.plans) {
            judge.panes.insert(fingerprint.clone(), PaneStore::new(Arc::clone(plan)));
        }
        for pane in header.panes {
            let Some((blob, after)) = rest.split_at_checked(pane.bytes) else {
                return Err(FormatError::Damaged("a pane is cut short".into()).into());
            };
            rest = after;
            let batch = read_ipc(blob)?;
            let Some(store) = judge.panes.get_mut(&pane.fold) else { continue };
            let plan = Arc::clone(store.plan());
            let batch = conform(&plan, &plan.aggregates, &batch)?;
            let start = batch.column(0).as_primitive::<Int64Type>().values().first().copied();
            match start.filter(|start| is_time(*start)) {
                Some(start) => store.add(start, batch)?,
                None => return Err(FormatError::Damaged("a pane has no time".into()).into()),
            }
        }
        for (fold, since) in header.kept_since {
            if let Some(store) = judge.panes.get_mut(&fold) {
                store.drop_before(since);
            }
        }
        for (name, state) in header.states {
            let RuleHeader { next_end, late, fenced, series, histories, whole_from } = state;
            judge.states.insert(name, RuleState { next_end, late, fenced, series, histories, whole_from });
        }
        judge.rules = rules;
        Ok((judge, header.position))
    }
}

/// The key of a series' record in the state topic.
pub fn series_key(rule: &str, series: &str) -> String {
    format!("series\u{1f}{rule}\u{1f}{series}")
}

/// The rule and series of such a key.
pub fn parse_series_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("series\u{1f}")?.split_once('\u{1f}')
}

/// The key of a record of remembered readings: the position before which it was published, and its number there.
pub fn readings_key(position: i64, number: usize) -> String {
    format!("{READINGS}{position:020}\u{1f}{number:05}")
}

/// What the keys of remembered readings begin with; in the order of such keys they were published.
pub const READINGS: &str = "readings\u{1f}";
/// The key of the progress record.
pub const PROGRESS: &str = "progress";
/// The key of the snapshot record.
pub const SNAPSHOT: &str = "snapshot";
