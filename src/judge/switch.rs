//! From one rule set to the next, without a blind spot: a rule whose windows are not whole yet under the new set goes on
//! being judged by its version before, until they are. Where rules change faster than that, the versions between wait, too:
//! which of them was folded from the beginning shows only when the windows close. Series are known by the rule's name, so
//! breaches outlive it.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::common::Result;

use super::{
    Active, Compiled, Fenced, Judge, Mode, RuleState,
    breach::{self, Told},
    output::{Notice, Output},
    panes::PaneStore,
    series::{Happened, Identity},
    windows::Window,
};
use crate::{
    fold::accumulate::FoldPlan,
    panes::{Millis, first_end_after, is_time, last_end_until},
    partial::{Failure, RecordFormat, RuleSetRecord},
    rules::{Rule, RuleSet, plan::share},
};

/// How many older versions of a rule are kept: the one that judges, and those that came last.
pub(super) const OLDER_MAX: usize = 8;

/// A version of a rule that goes on judging, or may, while its next one warms up.
#[derive(Debug, Clone)]
pub(super) struct Older {
    /// The set that it comes from.
    pub(super) record: Arc<RuleSetRecord>,
    /// The same, compiled.
    pub(super) set: Arc<RuleSet>,
    /// The rule.
    pub(super) rule: Arc<Rule>,
}

impl RuleState {
    /// The first window of another version than the one that judges, whose next window is given.
    fn next_end_after(&self, judging: &Rule, next: Millis, other: &Rule) -> Millis {
        first_end_after(self.closed.unwrap_or(next - judging.slide_ms), other.slide_ms)
    }
}

impl Judge {
    /// Puts a rule set in force. Rules keep their series by name; folds keep their panes by fingerprint.
    pub(super) fn switch(
        &mut self,
        record: &RuleSetRecord,
        append_ms: Millis,
        mode: Mode,
        compiled: &mut Compiled,
        out: &mut Vec<Output>,
    ) -> Result<()> {
        if let Some(active) = self.rules.as_mut().filter(|active| active.record.hash == record.hash) {
            if active.record.number < record.number {
                active.record = Arc::new(record.clone());
            }
            return Ok(());
        }
        if self.rules.as_ref().is_some_and(|active| active.record.number > record.number) {
            // Appended late, by somebody who did not know of the one in force.
            return Ok(());
        }
        let active = match compiled.get(record) {
            Ok(active) => active,
            Err(reason) => {
                out.push(Output::Notice(Notice::RuleSetRefused { reason }));
                return Ok(());
            }
        };
        out.push(Output::Notice(Notice::RuleSet { hash: record.hash.clone(), rules: active.set.rules.len() }));
        let Some(before) = self.rules.replace(active.clone()) else {
            self.first_rules = record.number;
            return self.replan();
        };
        for rule in &before.set.rules {
            let name = &rule.header.name;
            let Some(new) = active.set.rule(name) else {
                self.remove(rule, "rule_removed", mode, out);
                continue;
            };
            if rule.spread && !new.spread && self.partition != 0 {
                // From here on another partition judges all of its series.
                self.remove(rule, "moved", mode, out);
                continue;
            }
            // Where neither is judged, none need wait for the other.
            if new.version == rule.version || !(rule.spread || new.spread || self.partition == 0) {
                continue;
            }
            let older = self.older.entry(name.clone()).or_default();
            // Also one that is like an earlier one: which of the two judges is told by their numbers.
            let (record, set) = (Arc::clone(&before.record), Arc::clone(&before.set));
            older.push(Older { record, set, rule: Arc::clone(rule) });
            // A replay may come to know more of them at a time than there were.
            while mode == Mode::Live && older.len() > OLDER_MAX {
                older.remove(1);
            }
        }
        self.note_what_came(&before, &active);
        self.replan()?;
        if mode == Mode::Replay {
            return Ok(());
        }
        let home = (self.partition, active.record.partitions);
        for rule in &active.set.rules {
            let (judging, came_with) = (self.judging(rule), self.came_with(rule));
            if judging.version != rule.version
                && let Some(state) = self.states.get_mut(&rule.header.name).filter(|state| state.next_end.is_none())
                && let Some(fenced) = state.fenced.take()
            {
                // Fenced off before its first window, it would wait for one that may never come.
                if is_time(append_ms) {
                    out.extend(fenced.tell(&judging, came_with, home, append_ms, Happened::Resolved));
                }
                self.take_over(rule, usize::MAX, mode, out)?;
                continue;
            }
            // What reads readings is not folded by FOLD, and what moves to another partition cannot wait there.
            let can_wait = |older: &Older| {
                rule.reads.is_empty() && older.rule.reads.is_empty() && rule.spread == older.rule.spread
            };
            let older = self.older.get(&rule.header.name);
            if older.is_some_and(|older| !older.iter().all(can_wait)) {
                self.take_over(rule, usize::MAX, mode, out)?;
            }
        }
        Ok(())
    }

    /// The version of a rule that judges now.
    pub(super) fn judging(&self, rule: &Arc<Rule>) -> Arc<Rule> {
        let older = self.older.get(&rule.header.name).and_then(|older| older.first());
        Arc::clone(older.map_or(rule, |older| &older.rule))
    }

    /// True where this version of its rule judges now.
    pub(super) fn judges(&self, version: &Rule) -> bool {
        let older = self.older.get(&version.header.name).and_then(|older| older.first());
        older.is_none_or(|older| older.rule.version == version.version)
    }

    /// The next window of a version of a rule: one that waits begins after what was closed last, with its own slide.
    pub(super) fn next_end(&self, version: &Rule) -> Option<Millis> {
        let state = self.states.get(&version.header.name)?;
        let next = state.next_end?;
        let judging = self.older.get(&version.header.name).and_then(|older| older.first());
        Some(match judging.filter(|judging| judging.rule.version != version.version) {
            Some(judging) => state.next_end_after(&judging.rule, next, version),
            None => next,
        })
    }

    /// The rules of which an older version judges still, and the number of the set that it comes from.
    pub fn older_that_judge(&self) -> BTreeMap<String, u64> {
        let first = |(name, older): (&String, &Vec<Older>)| Some((name.clone(), older.first()?.record.number));
        self.older.iter().filter_map(first).collect()
    }

    /// The number of the rule set that the version of a rule comes from that judges now.
    pub(super) fn judged_since(&self, rule: &Rule, active: &Active) -> u64 {
        let older = self.older.get(&rule.header.name).and_then(|older| older.first());
        older.map_or(&active.record, |older| &older.record).since()
    }

    /// Notes which rules another set brings, anew or in another version, and forgets what no version that is kept came with.
    fn note_what_came(&mut self, before: &Active, active: &Active) {
        for rule in &active.set.rules {
            if before.set.rule(&rule.header.name).is_none_or(|before| before.version != rule.version) {
                self.came.entry(rule.header.name.clone()).or_default().push(active.record.since());
            }
        }
        let mut came = std::mem::take(&mut self.came);
        came.retain(|name, numbers| {
            let Some(rule) = active.set.rule(name) else { return false };
            let judged = self.judged_since(rule, active);
            let until = numbers.partition_point(|number| *number <= judged);
            numbers.drain(..until.saturating_sub(1));
            true
        });
        self.came = came;
    }

    /// The number of the rule set that brought the version of a rule that judges now; 0 where it was in the first one.
    pub(super) fn came_with(&self, rule: &Rule) -> u64 {
        let judged = self.rules.as_ref().map_or(0, |active| self.judged_since(rule, active));
        let came = self.came.get(&rule.header.name).and_then(|numbers| numbers.iter().rfind(|came| **came <= judged));
        came.copied().unwrap_or(0)
    }

    /// The versions of a rule that wait for the one that judges, by their place in the list, the oldest first; the one in
    /// force is the last.
    fn waiting<'a>(&'a self, rule: &'a Arc<Rule>) -> Vec<(usize, &'a Arc<Rule>)> {
        let Some(older) = self.older.get(&rule.header.name) else { return Vec::new() };
        older.iter().map(|older| &older.rule).chain([rule]).enumerate().skip(1).collect()
    }

    /// True where nothing that is known already will make windows of a version partial again.
    fn goes_on(&self, rule: &Rule) -> bool {
        let folds = rule.folds.iter().filter(|fold| fold.spec.table.rule.is_none());
        folds.into_iter().all(|fold| self.chain.goes_on(&fold.spec.table.name, &fold.ids.fold, &fold.ids.aggregates))
    }

    /// The place in the list of the first version that waits and is that one.
    pub(super) fn waiting_as(&self, rule: &Arc<Rule>, version: &str) -> Option<usize> {
        self.waiting(rule).into_iter().find(|(_, newer)| newer.version == version).map(|(at, _)| at)
    }

    /// The newest version that has all of the first window there is: one that has not judged yet stands back behind it. Before
    /// that window closes, an earlier one may yet come.
    pub(super) fn newer_with_all(&self, rule: &Arc<Rule>, first: Option<Millis>, watermark: Millis) -> Option<usize> {
        let has_all = |newer: &Arc<Rule>| {
            let end = self.first_end(newer, watermark);
            let in_time = |end: Millis| end <= watermark && first.is_none_or(|first| end <= first);
            end.is_some_and(|end| in_time(end) && self.whole(newer, end) && self.goes_on(newer))
        };
        self.waiting(rule).into_iter().rev().find(|(_, newer)| has_all(newer)).map(|(at, _)| at)
    }

    /// Where the one that judges has nothing: the oldest version that has anything, or, where none has, the one in force once
    /// the window that is open is whole. One that has nothing to judge by waits for nothing.
    pub(super) fn newer_to_begin_with(&self, rule: &Arc<Rule>, watermark: Millis) -> Option<usize> {
        let waiting = self.waiting(rule);
        let first = |newer: &Arc<Rule>| self.first_end(newer, watermark);
        let has_any = |newer: &Arc<Rule>| first(newer).is_some_and(|end| end <= watermark);
        let oldest = waiting.iter().find(|(_, newer)| has_any(newer));
        let open = last_end_until(watermark, rule.slide_ms);
        let none = waiting.iter().all(|(_, newer)| first(newer).is_none()) && self.whole(rule, open);
        oldest.or(waiting.last().filter(|_| none)).map(|(at, _)| *at)
    }

    /// The newest version that does not read a table for which the one that judges waits, and that has all of its next window:
    /// a table that stands still, or is not there any more, does not hold up those who have turned away from it.
    pub(super) fn newer_that_need_not_wait(&self, rule: &Arc<Rule>, active: &Active) -> Option<usize> {
        let judging = self.judging(rule);
        let ready = |newer: &Arc<Rule>| {
            if judging.tables.is_subset(&newer.tables) {
                return false;
            }
            let Some(watermark) = self.watermark(newer, active) else { return false };
            let next = self.next_end(newer).unwrap_or_else(|| last_end_until(watermark, newer.slide_ms));
            next <= watermark && self.whole(newer, next) && self.goes_on(newer)
        };
        self.waiting(rule).into_iter().rev().find(|(_, newer)| ready(newer)).map(|(at, _)| at)
    }

    /// Every version of every rule that needs panes: those that judge, and those that warm up.
    pub(super) fn versions<'a>(&'a self, active: &'a Active) -> impl Iterator<Item = &'a Arc<Rule>> {
        active.set.rules.iter().chain(self.older.values().flatten().map(|older| &older.rule))
    }

    /// The format that is written.
    pub fn format(&self) -> RecordFormat {
        self.rules.as_ref().map_or(RecordFormat::FIRST, |active| active.record.format)
    }

    /// The number of the oldest rule set whose folds are still needed here.
    pub fn needs_rules_from(&self) -> u64 {
        let older = self.older.values().flatten().map(|older| older.record.number);
        older.chain(self.rules.iter().map(|active| active.record.number)).min().unwrap_or(0)
    }

    /// The rule sets whose folds are needed here, with their numbers, the one in force last.
    pub fn sets(&self) -> Vec<(Arc<RuleSet>, u64)> {
        let older = self.older.values().flatten().map(|older| (older.record.number, Arc::clone(&older.set)));
        let in_force = self.rules.iter().map(|active| (active.record.number, Arc::clone(&active.set)));
        let sets: BTreeMap<u64, Arc<RuleSet>> = older.chain(in_force).collect();
        sets.into_iter().map(|(number, set)| (set, number)).collect()
    }

    /// Where the next window of a newer version of a rule is whole, it takes over. Answers whether one did.
    pub(super) fn ripen(&mut self, rule: &Arc<Rule>, out: &mut Vec<Output>) -> Result<bool> {
        let judging = self.judging(rule);
        let fenced = self.states.get(&rule.header.name).is_some_and(|state| state.fenced.is_some());
        let ripe = self.waiting(rule).into_iter().rev().find(|(_, newer)| {
            let whole = self.next_end(newer).is_some_and(|next| self.whole(newer, next));
            (fenced && newer.version != judging.version) || (whole && self.goes_on(newer))
        });
        let Some((at, _)) = ripe else { return Ok(false) };
        self.take_over(rule, at, Mode::Live, out)?;
        Ok(true)
    }

    /// The version at a place in the list judges from now on, at its end the one in force. Those before it are not needed
    /// any more. In a replay none takes over by itself: it evaluates nothing, and would not see all that made one do so.
    pub(super) fn take_over(
        &mut self,
        in_force: &Arc<Rule>,
        at: usize,
        mode: Mode,
        out: &mut Vec<Output>,
    ) -> Result<()> {
        let (home, came_with) = (self.home(), self.came_with(in_force));
        let Some(mut older) = self.older.remove(&in_force.header.name) else { return Ok(()) };
        let rule = Arc::clone(&older[0].rule);
        let newer = older.split_off(at.min(older.len()));
        let new = &newer.first().map_or_else(|| Arc::clone(in_force), |newer| Arc::clone(&newer.rule));
        if !newer.is_empty() {
            self.older.insert(in_force.header.name.clone(), newer);
        }
        if let Some(state) = self.states.get_mut(&rule.header.name) {
            if let (Some(fenced), Mode::Live) = (state.fenced.take(), mode) {
                let end = state.next_end.map_or(0, |end| end - rule.slide_ms);
                out.extend(fenced.tell(&rule, came_with, home, end, Happened::Resolved));
            }
            if new.output.schema != rule.output.schema {
                // What is recorded of the one cannot be read as of the other.
                state.histories.clear();
                state.whole_from = None;
            }
            for history in state.histories.values_mut() {
                history.retain(&new.history);
            }
            // Another slide has other window ends.
            state.next_end = state.next_end.map(|next| state.next_end_after(&rule, next, new));
            if rule.says != new.says {
                state.corrections.begin_from(state.next_end);
            }
        }
        self.replan()
    }

    /// Fences off the rules that use what failed, where it failed by the rule set that judges them, or a later one. Where it
    /// is the version in force that failed before it had whole windows, it would never have any: it takes over, and is fenced
    /// off.
    pub(super) fn fence_users(
        &mut self,
        failure: &Failure,
        rules: u64,
        append_ms: Millis,
        mode: Mode,
        out: &mut Vec<Output>,
    ) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        let now = if is_time(append_ms) { append_ms } else { 0 };
        for new in &active.set.rules {
            let (judging, since) = (self.judging(new), self.judged_since(new, &active));
            let fails =
                |rule: &Rule, since: u64| failure.is_of(rule) && rules >= since && (rule.spread || self.partition == 0);
            let rule = if fails(new, active.record.since()) && judging.version != new.version {
                if mode == Mode::Live {
                    self.take_over(new, usize::MAX, mode, out)?;
                }
                new
            } else if fails(&judging, since) {
                &judging
            } else {
                continue;
            };
            let end = self.states.get(&rule.header.name).and_then(|state| state.next_end).unwrap_or(now);
            self.fence(
                rule,
                end,
                Fenced::Everywhere { everywhere: failure.reason.trim_start_matches("Execution error: ").to_owned() },
                out,
            );
        }
        Ok(())
    }

    /// Resolves what is open of a rule, and forgets it.
    fn remove(&mut self, rule: &Arc<Rule>, reason: &'static str, mode: Mode, out: &mut Vec<Output>) {
        let (rule, came_with) = (&self.judging(rule), self.came_with(rule));
        self.older.remove(&rule.header.name);
        let Some(mut state) = self.states.remove(&rule.header.name) else { return };
        let end = state.next_end.map_or(0, |end| end - rule.slide_ms);
        if let (Some(fenced), Mode::Live) = (state.fenced.take(), mode) {
            out.extend(fenced.tell(rule, came_with, self.home(), end, Happened::Resolved));
        }
        if let (Some(since), Mode::Live) = (state.overflowing.take(), mode) {
            out.push(breach::overflowing(rule, self.partition, (since, end), Happened::Resolved));
        }
        for (name, series) in &mut state.series {
            let who = Identity { rule: &rule.header.name, series: name };
            if let (Some(change), Mode::Live) = (series.gone(who, &rule.header, end, reason), mode) {
                let nothing = BTreeMap::new();
                let window = Window { rule, end, whole: false, partition: (self.partition, 1), stores: &nothing };
                out.extend(Told::new(&window).event(who, None, &change));
            }
            if mode == Mode::Live {
                self.changed.insert((rule.header.name.clone(), Arc::clone(name)));
            }
        }
    }

    /// Panes for the folds of every version that is needed, with the union of what they ask for.
    pub(super) fn replan(&mut self) -> Result<()> {
        let Some(active) = self.rules.clone() else { return Ok(()) };
        let mut plans = active.plans.clone();
        if !self.older.is_empty() {
            let uses: Vec<_> = self.versions(&active).flat_map(|rule| rule.all_folds()).collect();
            for (fingerprint, spec) in share(uses) {
                if plans.get(&fingerprint).is_none_or(|plan| plan.aggregates.len() < spec.aggregates.len()) {
                    plans.insert(fingerprint, Arc::new(FoldPlan::new(&spec, &spec.table.schema)?));
                }
            }
        }
        let mut most: BTreeMap<&str, usize> = BTreeMap::new();
        for (rule, fold) in self.versions(&active).flat_map(|rule| rule.all_folds().map(move |fold| (rule, fold))) {
            let known = most.entry(&fold.ids.fold).or_default();
            *known = rule.header.max_series.max(*known);
        }
        let most: BTreeMap<String, usize> = most.into_iter().map(|(fold, most)| (fold.to_owned(), most)).collect();
        self.panes.retain(|fold, _| plans.contains_key(fold));
        self.fed_from.retain(|fold, _| plans.contains_key(fold));
        for (fingerprint, plan) in &plans {
            match self.panes.get_mut(fingerprint) {
                // A rule more, or one less, does not disturb the others.
                Some(store) => store.replan(plan)?,
                None => {
                    self.panes.insert(fingerprint.clone(), PaneStore::new(Arc::clone(plan)));
                    self.chain.forget_fold(fingerprint);
                }
            }
        }
        for (fold, store) in &mut self.panes {
            store.set_max_keys(most.get(fold).copied().unwrap_or(usize::MAX));
        }
        Ok(())
    }
}
