//! The panes of one fold: states as they come, put together for a window.
//!
//! One interface, so that how panes are combined can change without anybody else knowing.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::common::Result;

use crate::{
    fold::accumulate::{FoldPlan, conform, consolidate},
    panes::Millis,
};

/// A pane with more batches than this is merged into one.
const BATCHES_MAX: usize = 8;

/// The states of one fold, by pane.
#[derive(Debug)]
pub struct PaneStore {
    plan: Arc<FoldPlan>,
    panes: BTreeMap<Millis, Vec<RecordBatch>>,
    kept_since: Millis,
}

impl PaneStore {
    /// No panes yet.
    pub fn new(plan: Arc<FoldPlan>) -> Self {
        Self { plan, panes: BTreeMap::new(), kept_since: Millis::MIN }
    }

    /// The fold.
    pub fn plan(&self) -> &Arc<FoldPlan> {
        &self.plan
    }

    /// Goes on with other aggregates of the same fold; the states of those it had are kept.
    pub fn replan(&mut self, plan: &Arc<FoldPlan>) -> Result<()> {
        for batches in self.panes.values_mut() {
            for batch in batches {
                *batch = conform(plan, &self.plan.aggregates, batch)?;
            }
        }
        self.plan = Arc::clone(plan);
        Ok(())
    }

    /// Adds states of one pane.
    pub fn add(&mut self, pane: Millis, states: RecordBatch) -> Result<()> {
        let batches = self.panes.entry(pane).or_default();
        batches.push(states);
        if batches.len() > BATCHES_MAX {
            *batches = vec![consolidate(&self.plan, pane, batches)?];
        }
        Ok(())
    }

    /// The states of the panes in `[from, to)`.
    pub fn range(&self, from: Millis, to: Millis) -> Vec<RecordBatch> {
        self.panes.range(from..to).flat_map(|(_, batches)| batches.iter().cloned()).collect()
    }

    /// The first pane.
    pub fn first(&self) -> Option<Millis> {
        self.panes.keys().next().copied()
    }

    /// Drops the panes before `until`, for good: a window that begins before that is not whole.
    pub fn drop_before(&mut self, until: Millis) {
        if until > self.kept_since {
            self.panes = self.panes.split_off(&until);
            self.kept_since = until;
        }
    }

    /// Since when every pane is kept.
    pub fn kept_since(&self) -> Millis {
        self.kept_since
    }

    /// True where no pane in `[from, to)` has a state.
    pub fn is_empty(&self, from: Millis, to: Millis) -> bool {
        self.panes.range(from..to).next().is_none()
    }

    /// Every pane as one batch, for a snapshot.
    pub fn snapshot(&self) -> Result<Vec<RecordBatch>> {
        self.panes.iter().map(|(pane, batches)| consolidate(&self.plan, *pane, batches)).collect()
    }
}
