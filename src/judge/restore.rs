//! What was published binds: a replay rebuilds panes and evaluates nothing, and wherever it comes to an entry of the journal,
//! the rest of the state is taken as it was recorded there.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::common::Result;

use super::{
    Fenced, Judge, Mode, history,
    journal::Entry,
    memory::{self, Remembered},
    rows,
    series::SeriesState,
    switch::OLDER_MAX,
};
use crate::{panes::Millis, rules::series::canonical};

/// What an entry records of the state, to be restored from it.
impl Judge {
    /// Since when folds over readings were given them.
    pub fn fed_from(&self) -> &BTreeMap<String, Millis> {
        &self.fed_from
    }

    /// The next window of each rule that has begun.
    pub fn next_ends(&self) -> BTreeMap<String, Millis> {
        self.states.iter().filter_map(|(name, state)| Some((name.clone(), state.next_end?))).collect()
    }

    /// The window that was closed last, of each rule that has closed any.
    pub fn closed_ends(&self) -> BTreeMap<String, Millis> {
        self.states.iter().filter_map(|(name, state)| Some((name.clone(), state.closed?))).collect()
    }

    /// The first window that may be corrected of each rule that had closed others before.
    pub fn corrected_from(&self) -> BTreeMap<String, Millis> {
        self.states.iter().filter_map(|(name, state)| Some((name.clone(), state.corrections.from()?))).collect()
    }

    /// Since when each rule has had whole windows.
    pub fn whole_from(&self) -> BTreeMap<String, Millis> {
        self.states.iter().filter_map(|(name, state)| Some((name.clone(), state.whole_from?))).collect()
    }

    /// Rules that are fenced off, and why.
    pub fn fenced(&self) -> BTreeMap<String, Fenced> {
        self.states.iter().filter_map(|(name, state)| Some((name.clone(), state.fenced.clone()?))).collect()
    }

    /// Rules that have more series than they may, and since when.
    pub fn overflowing(&self) -> BTreeMap<String, Millis> {
        self.states.iter().filter_map(|(name, state)| Some((name.clone(), state.overflowing?))).collect()
    }
}

impl Judge {
    /// Takes what was recorded of the records up to here.
    pub fn restore(&mut self, entry: &Entry) -> Result<()> {
        let header = &entry.header;
        for (rule, series, state) in &header.series {
            self.restore_series(rule, series, state.clone());
        }
        self.restore_fed_from(&header.fed_from);
        for remembered in &entry.remembered {
            self.restore_readings(remembered)?;
        }
        self.restore_judging(&header.judging)?;
        for name in header.next_ends.keys().chain(header.fenced.keys()) {
            self.states.entry(name.clone()).or_default();
        }
        for (name, state) in &mut self.states {
            state.next_end = header.next_ends.get(name).copied();
            state.closed = header.closed_ends.get(name).copied();
            state.fenced = header.fenced.get(name).cloned();
            state.overflowing = header.overflowing.get(name).copied();
            state.whole_from = header.whole_from.get(name).copied();
            state.corrections.begin_from(header.corrected_from.get(name).copied());
        }
        self.sources.clone_from(&header.sources);
        self.settle_closed();
        self.prune();
        Ok(())
    }

    /// What replay comes to next.
    pub fn look_ahead(&mut self, next: Option<&Entry>) {
        self.ahead = next.map(|entry| entry.header.next_ends.clone()).unwrap_or_default();
    }

    /// From here on it goes by itself.
    pub fn end_of_replay(&mut self) {
        // Folds that were given nothing yet begin with what comes next.
        self.fed_from.retain(|_, from| *from < Millis::MAX);
        for older in self.older.values_mut() {
            while older.len() > OLDER_MAX {
                older.remove(1);
            }
        }
        self.take_changed();
    }

    /// Takes what was said of windows that may still be corrected from a block of readings as it was published.
    pub fn restore_said(&mut self, block: &RecordBatch) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        for rule in active.set.rules.iter().map(|rule| self.judging(rule)).collect::<Vec<_>>() {
            let lateness_ms = rule.header.allowed_lateness_ms;
            if let (Some(state), true) = (self.states.get_mut(&rule.header.name), lateness_ms > 0) {
                let since = state.closed.map_or(Millis::MIN, |closed| closed.saturating_sub(lateness_ms));
                state.corrections.restore(&rule, block, since.saturating_add(1))?;
            }
        }
        Ok(())
    }

    /// Takes readings as they were recorded: the history of the version that said them learns from them, and who reads them
    /// gets them.
    fn restore_readings(&mut self, remembered: &Remembered) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        let Some(new) = active.set.rule(&remembered.rule) else { return Ok(()) };
        if self.judging(new).version != remembered.version
            && let Some(at) = self.waiting_as(new, &remembered.version)
        {
            self.take_over(new, at, Mode::Replay, &mut Vec::new())?;
        }
        let rule = &self.judging(new);
        if !memory::same_columns(&remembered.rows, &rule.output.schema) {
            // Of a version with other columns: the history began anew with the next one.
            if let Some(state) = self.states.get_mut(&remembered.rule) {
                state.histories.clear();
            }
            return Ok(());
        }
        let (rows, judged) = remembered.of_sql(rule.output.of_sql)?;
        let mut series: Vec<Arc<str>> = Vec::new();
        for row in 0..rows.num_rows() {
            let columns = rows::key_columns(rule, &rows, row)?;
            series.push(canonical(columns.into_iter().collect()).into());
        }
        let state = self.states.entry(remembered.rule.clone()).or_default();
        let window = history::Window { rows: &rows, series: &series, judged: &judged, end: remembered.end };
        history::step(&rule.history, &mut state.histories, &window)?;
        self.feed(remembered, &active, &mut Vec::new());
        Ok(())
    }

    /// Takes since when folds over readings were given them, as it was recorded; others were given none.
    fn restore_fed_from(&mut self, fed_from: &BTreeMap<String, Millis>) {
        let folds = self.rules.iter().flat_map(|active| active.set.folds.iter());
        let readings = folds.filter(|(_, spec)| spec.table.rule.is_some()).map(|(fold, _)| fold.clone());
        self.fed_from =
            readings.map(|fold| (fold.clone(), fed_from.get(&fold).copied().unwrap_or(Millis::MAX))).collect();
    }

    /// Takes the level and episode of a series as they were recorded.
    fn restore_series(&mut self, rule: &str, series: &str, state: Option<SeriesState>) {
        match state {
            Some(state) => _ = self.states.entry(rule.to_owned()).or_default().series.insert(series.into(), state),
            None => _ = self.states.get_mut(rule).map(|rule| rule.series.remove(series)),
        }
    }

    /// Takes which version of each rule judges as it was recorded.
    fn restore_judging(&mut self, judging: &BTreeMap<String, u64>) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        for rule in &active.set.rules {
            let Some(older) = self.older.get(&rule.header.name) else { continue };
            let since = |number: &u64| older.iter().position(|older| older.record.number >= *number);
            let at = judging.get(&rule.header.name).and_then(since).unwrap_or(usize::MAX);
            if at > 0 {
                self.take_over(rule, at, Mode::Replay, &mut Vec::new())?;
            }
        }
        Ok(())
    }

    /// Forgets what was said of windows that may not be corrected any more.
    fn settle_closed(&mut self) {
        let Some(active) = self.rules.clone() else { return };
        for rule in active.set.rules.iter().map(|rule| self.judging(rule)).collect::<Vec<_>>() {
            if let Some(state) = self.states.get_mut(&rule.header.name)
                && let Some(closed) = state.closed
            {
                state.corrections.settle(closed.saturating_sub(rule.header.allowed_lateness_ms));
            }
        }
    }
}
