//! What was published binds: after a replay, which rebuilds panes and evaluates nothing, the rest of the state is taken as it
//! was recorded.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::common::Result;

use super::{
    Judge, Mode, history,
    memory::{self, Remembered},
    rows,
    series::SeriesState,
    sources::Sources,
};
use crate::{panes::Millis, rules::series::canonical};

impl Judge {
    /// Takes readings as they were recorded: their rule's history learns from them, and who reads them gets them.
    pub fn restore_readings(&mut self, remembered: &Remembered) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        let Some(rule) = active.set.rule(&remembered.rule) else { return Ok(()) };
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
    pub fn restore_fed_from(&mut self, fed_from: &BTreeMap<String, Millis>) {
        let folds = self.rules.iter().flat_map(|active| active.set.folds.iter());
        let readings = folds.filter(|(_, spec)| spec.table.rule.is_some()).map(|(fold, _)| fold.clone());
        self.fed_from =
            readings.map(|fold| (fold.clone(), fed_from.get(&fold).copied().unwrap_or(Millis::MAX))).collect();
    }

    /// Folds that were given nothing yet begin with what comes next.
    pub fn end_of_replay(&mut self) {
        self.fed_from.retain(|_, from| *from < Millis::MAX);
    }

    /// Takes the next window of each rule as it was recorded.
    pub fn restore_next_ends(&mut self, next_ends: &BTreeMap<String, Millis>) {
        for name in next_ends.keys() {
            self.states.entry(name.clone()).or_default();
        }
        for (name, state) in &mut self.states {
            state.next_end = next_ends.get(name).copied();
        }
    }

    /// Takes since when each rule has had whole windows, as it was recorded.
    pub fn restore_whole_from(&mut self, whole_from: &BTreeMap<String, Millis>) {
        for (name, state) in &mut self.states {
            state.whole_from = whole_from.get(name).copied();
        }
    }

    /// Takes from where on windows may be corrected, as it was recorded.
    pub fn restore_corrected_from(&mut self, corrected_from: &BTreeMap<String, Millis>) {
        for (name, state) in &mut self.states {
            state.corrections.begin_from(corrected_from.get(name).copied());
        }
    }

    /// Takes the level and episode of a series as they were recorded.
    pub fn restore_series(&mut self, rule: &str, series: &str, state: Option<SeriesState>) {
        let rule = self.states.entry(rule.to_owned()).or_default();
        match state {
            Some(state) => _ = rule.series.insert(series.into(), state),
            None => _ = rule.series.remove(series),
        }
    }

    /// Takes which version of each rule judges as it was recorded.
    pub fn restore_judging(&mut self, judging: &BTreeMap<String, u64>) -> Result<()> {
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

    /// Takes which rules are fenced off as it was recorded.
    pub fn restore_fenced(&mut self, fenced: &BTreeMap<String, String>) {
        for rule in fenced.keys() {
            self.states.entry(rule.clone()).or_default();
        }
        for (rule, state) in &mut self.states {
            state.fenced = fenced.get(rule).cloned();
        }
    }

    /// Takes what was told of source partitions as it was recorded.
    pub fn restore_sources(&mut self, sources: &Sources) {
        self.sources.clone_from(sources);
    }

    /// Takes which rules have more series than they may as it was recorded.
    pub fn restore_overflowing(&mut self, overflowing: &BTreeMap<String, Millis>) {
        for (name, state) in &mut self.states {
            state.overflowing = overflowing.get(name).copied();
        }
    }

    /// Takes what was said of windows that may still be corrected from a block of readings as it was published.
    pub fn restore_said(&mut self, block: &RecordBatch) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        for rule in active.set.rules.iter().map(|rule| self.judging(rule)).collect::<Vec<_>>() {
            let lateness_ms = rule.header.allowed_lateness_ms;
            if let (Some(state), true) = (self.states.get_mut(&rule.header.name), lateness_ms > 0) {
                let since = state.next_end.map_or(Millis::MIN, |next| next - rule.slide_ms - lateness_ms);
                state.corrections.restore(&rule, block, since + 1)?;
            }
        }
        Ok(())
    }
}
