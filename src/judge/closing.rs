//! Closes windows that time has passed: evaluates them, judges what they say, and fences off the rules that fail.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::common::{DataFusionError, Result};

use super::{
    Active, Fenced, Judge, Mode, OF_READINGS, breach,
    corrections::correct,
    memory::Remembered,
    output::{Notice, Output},
    panes::PaneStore,
    reach_ms,
    series::Happened,
    windows::{self, Window},
};
use crate::{
    fold::accumulate::Accumulation,
    panes::{Millis, first_end_after, is_time, last_end_until, pane_start},
    planted::{self, Bug},
    rules::{Rule, catalog::OF_RULE},
};

/// How much is closed at a time, so that whoever calls hears others between: where time jumps by days, many windows are due
/// at once.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce {
    /// How many windows.
    pub windows: usize,
    /// About how many outputs.
    pub outputs: usize,
}

impl AtOnce {
    /// All that are due.
    pub const ALL: Self = Self { windows: usize::MAX, outputs: usize::MAX };
}

impl Judge {
    /// Closes no more than so much at a time.
    pub fn close_at_once(&mut self, most: AtOnce) {
        self.at_once = most;
    }

    /// True where time has passed windows that are not closed yet: nothing should come to them before
    /// [`go_on`](Self::go_on) has closed them.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// What the owner before did not come to is to be done.
    pub fn resume(&mut self) {
        self.unfinished = true;
    }

    /// Closes more of the windows that time has passed.
    pub fn go_on(&mut self, out: &mut Vec<Output>) -> Result<()> {
        if self.unfinished {
            self.advance(out)?;
            self.care.after();
        }
        Ok(())
    }

    /// Closes every window that the watermark has passed, as far as that is not too much at once. A rule comes after those
    /// whose readings it reads.
    pub(super) fn advance(&mut self, out: &mut Vec<Output>) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        self.unfinished = false;
        let mut left = self.at_once.windows;
        for rule in &active.set.rules {
            self.advance_rule(rule, &active, &mut left, out)?;
        }
        self.prune();
        Ok(())
    }

    fn advance_rule(
        &mut self,
        new: &Arc<Rule>,
        active: &Active,
        left: &mut usize,
        out: &mut Vec<Output>,
    ) -> Result<()> {
        loop {
            let rule = self.judging(new);
            if !rule.spread && self.partition != 0 {
                return Ok(());
            }
            let Some(watermark) = self.watermark(&rule, active) else {
                let Some(newer) = self.newer_that_need_not_wait(new, active) else { return Ok(()) };
                self.take_over(new, newer, Mode::Live, out)?;
                continue;
            };
            let first = self.first_end(&rule, watermark);
            let begins = self.states.get(&rule.header.name).is_none_or(|state| state.next_end.is_none());
            if begins && let Some(newer) = self.newer_with_all(new, first, watermark) {
                self.take_over(new, newer, Mode::Live, out)?;
                continue;
            }
            let state = self.states.entry(rule.header.name.clone()).or_default();
            if begins {
                state.next_end = first.filter(|first| *first <= watermark || !rule.expected.is_empty());
            }
            let Some(end) = state.next_end else {
                let newer = first.is_none().then(|| self.newer_to_begin_with(new, watermark)).flatten();
                let Some(newer) = newer else { return Ok(()) };
                self.take_over(new, newer, Mode::Live, out)?;
                continue;
            };
            if begins && self.whole(&rule, Millis::MIN) {
                // Nothing was before the first window.
                self.states.entry(rule.header.name.clone()).or_default().whole_from = Some(Millis::MIN);
            }
            if end > watermark {
                let Some(newer) = self.newer_that_need_not_wait(new, active) else { return Ok(()) };
                self.take_over(new, newer, Mode::Live, out)?;
                continue;
            }
            if self.ripen(new, out)? {
                continue;
            }
            if *left == 0 || out.len() >= self.at_once.outputs {
                self.unfinished = true;
                return Ok(());
            }
            *left -= 1;
            self.close(&rule, end, active, out)?;
            self.correct(&rule, end, active, out);
            let state = self.states.entry(rule.header.name.clone()).or_default();
            (state.next_end, state.closed) = (Some(end + rule.slide_ms), Some(end));
        }
    }

    /// Corrects the windows to which nothing more may come.
    pub(super) fn correct(&mut self, rule: &Arc<Rule>, end: Millis, active: &Active, out: &mut Vec<Output>) {
        let Some(state) = self.states.get_mut(&rule.header.name).filter(|_| rule.header.allowed_lateness_ms > 0) else {
            return;
        };
        let settled = state.corrections.settle(end.saturating_sub(rule.header.allowed_lateness_ms));
        let partition = (self.partition, active.record.partitions);
        for (end, said) in settled {
            // Of a window that is not whole not all is known.
            let Some(state) = self.states.get(&rule.header.name).filter(|state| state.fenced.is_none()) else { return };
            if self.whole(rule, end) {
                if let Err(reason) = self.care.before(rule, end) {
                    self.fence(rule, end, Fenced::Here(reason), out);
                    return;
                }
                let window = Window { rule, end, whole: true, partition, stores: &self.panes };
                if let Err(error) = correct(&window, state, said, out) {
                    self.fence(rule, end, Fenced::here(&error), out);
                }
            }
        }
    }

    /// How far time has come for a rule: its tables by their events, and readings by the windows that were closed.
    pub(super) fn watermark(&self, rule: &Rule, active: &Active) -> Option<Millis> {
        let mut watermark = if rule.tables.is_empty() { Millis::MAX } else { self.chain.watermark(&rule.tables)? };
        for read in &rule.reads {
            let read = &self.judging(active.set.rule(read)?);
            let closed = match self.states.get(&read.header.name).and_then(|state| state.next_end) {
                Some(next) => next - read.slide_ms,
                // It has no series here, and so nothing to say up to where time has come.
                None => last_end_until(self.watermark(read, active)?, read.slide_ms),
            };
            watermark = watermark.min(closed);
        }
        (watermark < Millis::MAX).then_some(watermark)
    }

    /// The first window that holds anything; a rule that expects series begins without.
    pub(super) fn first_end(&self, rule: &Rule, watermark: Millis) -> Option<Millis> {
        let first = rule.folds.iter().filter_map(|fold| {
            let pane = self.panes.get(&fold.ids.fold)?.first()?;
            Some(first_end_after(pane + fold.hop.ago_ms, fold.hop.slide_ms))
        });
        let waits = |table: &String| Some(self.rules.as_ref()?.set.catalog.tables.get(table)?.out_of_orderness_ms);
        let latest = watermark + rule.tables.iter().filter_map(waits).max().unwrap_or(0);
        first.min().or_else(|| (!rule.expected.is_empty()).then(|| first_end_after(latest, rule.slide_ms)))
    }

    /// True where every event of the window, or every window of the readings it reads, was counted.
    pub(super) fn whole(&self, rule: &Rule, end: Millis) -> bool {
        rule.folds.iter().all(|fold| {
            let (start, _) = fold.hop.window(end);
            let kept = self.panes.get(&fold.ids.fold).is_some_and(|store| store.kept_since() <= start);
            let since = match &fold.spec.table.rule {
                None => self.chain.whole_since(&fold.spec.table.name, &fold.ids.fold, &fold.ids.aggregates),
                Some(read) => self.readings_since(read),
            };
            kept && since.is_some_and(|since| since <= start)
        })
    }

    /// Since when all readings of a rule are of whole windows.
    pub(super) fn readings_since(&self, rule: &str) -> Option<Millis> {
        let slide_ms = self.judging(self.rules.as_ref()?.set.rule(rule)?).slide_ms;
        Some(self.states.get(rule)?.whole_from?.saturating_sub(slide_ms))
    }

    /// Evaluates one window; a rule that fails is fenced off.
    pub(super) fn close(
        &mut self,
        rule: &Arc<Rule>,
        end: Millis,
        active: &Active,
        out: &mut Vec<Output>,
    ) -> Result<()> {
        let whole = self.whole(rule, end);
        let partition = (self.partition, active.record.partitions);
        let state = self.states.entry(rule.header.name.clone()).or_default();
        if state.fenced.is_some() {
            return Ok(());
        }
        if let Err(reason) = self.care.before(rule, end) {
            self.fence(rule, end, Fenced::Here(reason), out);
            return Ok(());
        }
        assert!(!planted::is(Bug::RuleThatKills) || rule.header.name != "slow", "planted: the process dies");
        state.whole_from = if whole { state.whole_from.or(Some(end)) } else { None };
        let over = rule.folds.iter().any(|fold| self.panes.get(&fold.ids.fold).is_some_and(PaneStore::overflows));
        match (state.overflowing, over) {
            (None, true) => {
                state.overflowing = Some(end);
                out.push(breach::overflowing(rule, self.partition, (end, end), Happened::Opened));
            }
            (Some(since), false) => {
                state.overflowing = None;
                out.push(breach::overflowing(rule, self.partition, (since, end), Happened::Resolved));
            }
            _ => {}
        }
        let window = Window { rule, end, whole, partition, stores: &self.panes };
        match windows::evaluate(&window, state, &mut self.changed, out) {
            Ok(None) => {}
            Ok(Some(rows)) => {
                let (name, version) = (rule.header.name.clone(), rule.version.clone());
                let remembered = Remembered { rule: name, version, end, rows };
                self.feed(&remembered, active, out);
                self.remembered.push(remembered);
            }
            Err(error) => self.fence(rule, end, Fenced::here(&error), out),
        }
        Ok(())
    }

    /// Gives readings to the folds that read them. A fold that fails on them fences off the rules that use it.
    pub(super) fn feed(&mut self, remembered: &Remembered, active: &Active, out: &mut Vec<Output>) {
        let table = format!("{OF_RULE}{}", remembered.rule);
        for (fingerprint, spec) in active.set.folds.iter().filter(|(_, spec)| spec.table.name == table) {
            let Some(store) = self.panes.get_mut(fingerprint) else { continue };
            let plan = &Arc::clone(store.plan());
            if remembered.end < *self.fed_from.entry(fingerprint.clone()).or_insert(remembered.end) {
                // The fold did not exist then.
                continue;
            }
            let known = |name: &str| OF_READINGS.contains(&name) || remembered.rows.column_by_name(name).is_some();
            if !spec.table.schema.fields().iter().all(|field| known(field.name())) {
                // Said by a version of the rule that the one in force has yet to follow.
                continue;
            }
            let at = remembered.end - 1;
            let mut feed = || -> Result<()> {
                let readings = remembered.readings(&spec.table.schema)?;
                // A reading that ends where a window ends is in it.
                let mut states = Accumulation::new(plan)?;
                if let Some((_, error)) = states.update(&readings, &vec![at; readings.num_rows()])?.pop() {
                    return Err(error);
                }
                if states.is_empty() { Ok(()) } else { store.add(pane_start(at, plan.pane_ms), states.take()?) }
            };
            if let Err(error) = feed() {
                let users =
                    active.set.rules.iter().filter(|rule| rule.folds.iter().any(|f| f.ids.fold == *fingerprint));
                for rule in users {
                    self.fence(rule, remembered.end, Fenced::here(&error), out);
                }
            }
        }
    }

    /// States of a fold that cannot be put together: the rules that use it are fenced off, and it begins anew. Where it is the
    /// version in force that uses it before it had whole windows, it would never have any: it takes over, and is fenced off.
    pub(super) fn fence_fold(
        &mut self,
        fold: &str,
        append_ms: Millis,
        mode: Mode,
        error: &DataFusionError,
        out: &mut Vec<Output>,
    ) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        let now = if is_time(append_ms) { append_ms } else { 0 };
        let partition = self.partition;
        let uses = |rule: &Rule| (rule.spread || partition == 0) && rule.all_folds().any(|used| used.ids.fold == fold);
        for new in &active.set.rules {
            let judging = self.judging(new);
            let rule = if uses(new) && judging.version != new.version {
                if mode == Mode::Live {
                    self.take_over(new, usize::MAX, mode, out)?;
                }
                new
            } else if uses(&judging) {
                &judging
            } else {
                continue;
            };
            let end = self.states.get(&rule.header.name).and_then(|state| state.next_end).unwrap_or(now);
            self.fence(rule, end, Fenced::here(error), out);
        }
        self.panes.remove(fold);
        self.replan()
    }

    /// This partition, of how many.
    pub(super) fn home(&self) -> (i32, i32) {
        (self.partition, self.rules.as_ref().map_or(1, |active| active.record.partitions))
    }

    /// Fences a rule off until it changes.
    pub(super) fn fence(&mut self, rule: &Arc<Rule>, end: Millis, fenced: Fenced, out: &mut Vec<Output>) {
        let (home, came_with) = (self.home(), self.came_with(rule));
        let state = self.states.entry(rule.header.name.clone()).or_default();
        if state.fenced.is_some() {
            return;
        }
        if let Some(told) = fenced.tell(rule, came_with, home, end, Happened::Opened) {
            let (rule, reason) = (rule.header.name.clone(), fenced.reason().to_owned());
            out.extend([Output::Notice(Notice::Fenced { rule, reason }), told]);
        }
        state.fenced = Some(fenced);
        state.whole_from = None;
    }

    /// Drops the panes that no open window reads.
    pub(super) fn prune(&mut self) {
        let Some(active) = &self.rules else { return };
        let mut until: BTreeMap<&str, Option<Millis>> = BTreeMap::new();
        for rule in self.versions(active) {
            let next = self.next_end(rule);
            for fold in rule.all_folds() {
                let until = until.entry(&fold.ids.fold).or_insert(Some(Millis::MAX));
                *until = until.zip(next).map(|(until, next)| until.min(next - reach_ms(rule, fold)));
            }
        }
        let until = until.into_iter().filter_map(|(fold, until)| Some((fold.to_owned(), until?)));
        for (fold, until) in until.collect::<Vec<_>>() {
            if let Some(store) = self.panes.get_mut(&fold) {
                store.drop_before(until);
            }
        }
    }
}
