//! The state of a judge partition at one position, written down. Recovery begins there and replays the log up to where
//! outputs were published to rebuild panes, evaluating nothing: what became of the series meanwhile stands in the
//! [`journal`](super::journal).

use std::{collections::BTreeMap, sync::Arc};

use arrow::{array::AsArray, datatypes::Int64Type};
use serde::{Deserialize, Serialize};

use super::{
    Active, Compiled, Fenced, Judge, RuleState, chain::Chain, corrections::Corrections, history::SeriesHistory,
    series::SeriesState, sources::Sources, switch::Older,
};
use crate::{
    fold::accumulate::conform,
    panes::{Millis, is_time},
    partial::{FormatError, RuleSetRecord, envelope, ipc, open, read_ipc},
    planted::{self, Bug},
};

#[derive(Serialize, Deserialize)]
struct Header {
    /// The position in the partials log after the last record that is in it.
    position: i64,
    partition: i32,
    rules: Option<RuleSetRecord>,
    /// Older sets, the oldest first, and the rules that are still judged by them, or may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    older: Vec<(RuleSetRecord, Vec<String>)>,
    #[serde(default)]
    first_rules: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    came: BTreeMap<String, Vec<u64>>,
    chain: Chain,
    states: BTreeMap<String, RuleHeader>,
    panes: Vec<PaneHeader>,
    /// For each fold, since when its panes are kept.
    kept_since: BTreeMap<String, Millis>,
    #[serde(default, skip_serializing_if = "Sources::is_empty")]
    sources: Sources,
}

#[derive(Serialize, Deserialize)]
struct RuleHeader {
    next_end: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed: Option<Millis>,
    late: i64,
    fenced: Option<Fenced>,
    series: BTreeMap<Arc<str>, SeriesState>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    histories: BTreeMap<Arc<str>, SeriesHistory>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole_from: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overflowing: Option<Millis>,
    #[serde(default, skip_serializing_if = "Corrections::is_empty")]
    corrections: Corrections,
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
    /// The states of one fold.
    #[error("the states of fold {fold} cannot be merged: {error}")]
    Fold {
        /// Its fingerprint.
        fold: String,
        /// Why not.
        error: datafusion::common::DataFusionError,
    },
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
            let batches = store.snapshot().map_err(|error| SnapshotError::Fold { fold: fold.clone(), error })?;
            for batch in batches {
                let blob = ipc(&batch)?;
                panes.push(PaneHeader { fold: fold.clone(), bytes: blob.len() });
                blobs.push(blob);
            }
        }
        let states = self.states.iter().map(|(name, state)| {
            let header = RuleHeader {
                next_end: state.next_end,
                closed: state.closed,
                late: state.late,
                fenced: state.fenced.clone(),
                series: if planted::is(Bug::ForgetLevels) { BTreeMap::new() } else { state.series.clone() },
                histories: state.histories.clone(),
                whole_from: state.whole_from,
                overflowing: state.overflowing,
                corrections: state.corrections.clone(),
            };
            (name.clone(), header)
        });
        let mut older: BTreeMap<u64, (RuleSetRecord, Vec<String>)> = BTreeMap::new();
        for (name, one) in self.older.iter().flat_map(|(name, older)| older.iter().map(move |one| (name, one))) {
            let set = older.entry(one.record.number).or_insert_with(|| (one.record.as_ref().clone(), Vec::new()));
            set.1.push(name.clone());
        }
        let header = Header {
            position,
            partition: self.partition,
            rules: self.rules.as_ref().map(|active| active.record.as_ref().clone()),
            older: older.into_values().collect(),
            first_rules: self.first_rules,
            came: self.came.clone(),
            chain: self.chain.clone(),
            states: states.collect(),
            panes,
            kept_since: self.panes.iter().map(|(fold, store)| (fold.clone(), store.kept_since())).collect(),
            sources: self.sources.clone(),
        };
        Ok(envelope(self.format(), &header, &blobs))
    }

    /// Reads a snapshot; answers with the position at which replay begins.
    pub fn from_snapshot(bytes: &[u8], compiled: &mut Compiled) -> Result<(Self, i64), SnapshotError> {
        let (header, mut rest) = open::<Header>(bytes)?;
        let ends = header.states.values().flat_map(|state| [state.next_end, state.closed]).flatten();
        if !header.chain.is_sound() || !ends.into_iter().all(is_time) || header.position < 0 {
            return Err(FormatError::Damaged("a position or a time is none".into()).into());
        }
        let rules: Option<Active> =
            header.rules.as_ref().map(|record| compiled.get(record)).transpose().map_err(SnapshotError::Rules)?;
        let mut judge = Self::new(header.partition);
        judge.chain = header.chain;
        judge.rules = rules;
        judge.first_rules = header.first_rules;
        judge.came = header.came;
        judge.sources = header.sources;
        for (record, names) in header.older {
            let set = compiled.get(&record).map_err(SnapshotError::Rules)?;
            for rule in names.iter().filter_map(|name| set.set.rule(name)) {
                let older =
                    Older { record: Arc::clone(&set.record), set: Arc::clone(&set.set), rule: Arc::clone(rule) };
                judge.older.entry(rule.header.name.clone()).or_default().push(older);
            }
        }
        let chain = std::mem::take(&mut judge.chain);
        judge.replan()?;
        judge.chain = chain;
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
            let RuleHeader { next_end, closed, late, fenced, series, histories, whole_from, overflowing, corrections } =
                state;
            judge.states.insert(
                name,
                RuleState { next_end, closed, late, fenced, series, histories, whole_from, overflowing, corrections },
            );
        }
        Ok((judge, header.position))
    }
}
