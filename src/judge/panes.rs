//! The panes of one fold: states as they come, put together for a window.
//!
//! One interface, so that how panes are combined can change without anybody else knowing.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch},
    compute::kernels::zip::zip,
    datatypes::DataType,
    row::{RowConverter, SortField},
};
use datafusion::{common::Result, scalar::ScalarValue};

use crate::{
    fold::accumulate::{FoldPlan, conform, consolidate},
    panes::Millis,
};

/// A pane with more batches than this is merged into one.
const BATCHES_MAX: usize = 8;

/// The key of what is too much, where a key is a text; other keys are NULL.
pub const OVERFLOW: &str = "(overflow)";

/// The states of one fold, by pane. Of more than so many keys, those that come last are put together in one: a key that
/// is known goes on as before, and memory has a bound that does not depend on what events bring.
#[derive(Debug)]
pub struct PaneStore {
    keys: Keys,
    plan: Arc<FoldPlan>,
    panes: BTreeMap<Millis, Vec<RecordBatch>>,
    kept_since: Millis,
}

impl PaneStore {
    /// No panes yet.
    pub fn new(plan: Arc<FoldPlan>) -> Self {
        let keys = Keys::new(&plan);
        Self { keys, plan, panes: BTreeMap::new(), kept_since: Millis::MIN }
    }

    /// Allows so many keys.
    pub fn set_max_keys(&mut self, most: usize) {
        self.keys.most = most;
    }

    /// True where some pane holds what was too much.
    pub fn overflows(&self) -> bool {
        self.keys.over.is_some_and(|last| last >= self.kept_since)
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
        let (states, over) = self.keys.bound(pane, states)?;
        let batches = self.panes.entry(pane).or_default();
        // Many rows of one key are one row.
        batches.push(if over { consolidate(&self.plan, pane, &[states])? } else { states });
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
            self.keys.known.retain(|_, last| *last >= until);
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

/// The keys that the panes hold.
#[derive(Debug)]
struct Keys {
    /// Each with the last pane it is in.
    known: BTreeMap<Box<[u8]>, Millis>,
    /// The last pane that holds what was too much.
    over: Option<Millis>,
    most: usize,
    count: usize,
    /// Keys as bytes, and the bytes of the key of what is too much. Made with the first states.
    rows: Option<(RowConverter, Box<[u8]>)>,
}

impl Keys {
    fn new(plan: &FoldPlan) -> Self {
        Self { known: BTreeMap::new(), over: None, most: usize::MAX, count: plan.key_count(), rows: None }
    }

    /// Notes the keys of states of a pane, and gives those that are too much the key for that. Answers whether any was.
    fn bound(&mut self, pane: Millis, states: RecordBatch) -> Result<(RecordBatch, bool)> {
        if self.count == 0 {
            return Ok((states, false));
        }
        // The keys stand behind the pane.
        let columns = &states.columns()[1..=self.count];
        if self.rows.is_none() {
            let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
            let converter = RowConverter::new(fields)?;
            let over: Result<Vec<ArrayRef>> =
                columns.iter().map(|column| overflow(column.data_type())?.to_array()).collect();
            let over = converter.convert_columns(&over?)?.row(0).as_ref().into();
            self.rows = Some((converter, over));
        }
        let Some((converter, over)) = &self.rows else { return Ok((states, false)) };
        let rows = converter.convert_columns(columns)?;
        let mut fits = Vec::with_capacity(states.num_rows());
        for row in &rows {
            let key = row.as_ref();
            fits.push(if key == over.as_ref() {
                self.over = self.over.max(Some(pane));
                true
            } else if let Some(last) = self.known.get_mut(key) {
                *last = pane.max(*last);
                true
            } else if self.known.len() < self.most {
                self.known.insert(key.into(), pane);
                true
            } else {
                self.over = self.over.max(Some(pane));
                false
            });
        }
        if fits.iter().all(|fits| *fits) {
            return Ok((states, false));
        }
        let fits = BooleanArray::from(fits);
        let mut bounded = states.columns().to_vec();
        for column in &mut bounded[1..=self.count] {
            *column = zip(&fits, column, &overflow(column.data_type())?.to_scalar()?)?;
        }
        Ok((RecordBatch::try_new(states.schema(), bounded)?, true))
    }
}

/// The key of what is too much.
fn overflow(kind: &DataType) -> Result<ScalarValue> {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            ScalarValue::try_from_string(OVERFLOW.into(), kind)
        }
        _ => ScalarValue::try_new_null(kind),
    }
}
