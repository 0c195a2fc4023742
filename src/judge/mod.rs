//! JUDGE: a deterministic state machine over one partition of the partials log. `(state, record) -> (state, outputs)`,
//! with no clock, no randomness and no I/O inside: the append time comes with the record.
//!
//! [`chain`] keeps which ranges were counted and how far time has come, [`panes`] the states, `windows` evaluates
//! a rule at a window end, [`history`] looks back, [`series`] takes readings to breaches, [`diagnosis`] says what is behind
//! them, [`memory`] keeps readings that are needed again, [`journal`] and [`snapshot`] write it all down, [`stage`] is the loop around
//! it as a state machine.

mod breach;
pub mod breadcrumb;
pub mod chain;
mod closing;
pub mod corrections;
pub mod diagnosis;
pub mod history;
pub mod journal;
pub mod memory;
pub mod output;
pub mod panes;
mod restore;
mod rows;
pub mod series;
pub mod snapshot;
pub mod sources;
pub mod stage;
mod switch;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{AsArray, RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::{Int64Type, UInt32Type},
};
use datafusion::common::Result;

pub use self::{breach::Fenced, closing::AtOnce};
use self::{
    breadcrumb::Care,
    chain::{Chain, Need},
    corrections::Corrections,
    history::SeriesHistory,
    journal::Owed,
    memory::Remembered,
    output::{Notice, Output},
    panes::PaneStore,
    series::SeriesState,
    sources::Sources,
    switch::Older,
};
use crate::{
    fold::accumulate::{FoldPlan, conform},
    panes::{Millis, is_time, last_end_until},
    partial::{Partials, Record, RuleSetRecord, Section, Sections},
    planted::{self, Bug},
    position::Link,
    rules::{Rule, RuleSet, RuleSets, plan::FoldUse},
};

/// The columns of a table of readings that the rule itself does not give.
const OF_READINGS: [&str; 3] = ["window_end", "level", "state"];

/// Whether outputs are wanted, or only the state that they leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Evaluate and judge.
    Live,
    /// Rebuild panes; levels and episodes are taken as they were recorded.
    Replay,
}

/// The state of one partition of the partials log.
#[derive(Debug)]
pub struct Judge {
    /// The partition.
    pub partition: i32,
    rules: Option<Active>,
    /// Versions of rules that judge, the oldest first, until those in force have whole windows. None of the lists is empty.
    older: BTreeMap<String, Vec<Older>>,
    chain: Chain,
    panes: BTreeMap<String, PaneStore>,
    states: BTreeMap<String, RuleState>,
    changed: BTreeSet<(String, Arc<str>)>,
    remembered: Vec<Remembered>,
    letters: Vec<Owed>,
    /// The number of a rule set that sections speak of and that is not in this log.
    missed_rules: u64,
    /// The number of the first rule set in this log.
    first_rules: u64,
    /// For each rule, the numbers of the later sets that brought a version of it: of those kept here, in order.
    came: BTreeMap<String, Vec<u64>>,
    /// The first window end of the readings that each fold over readings was given.
    fed_from: BTreeMap<String, Millis>,
    /// What was told of source partitions and is not over.
    sources: Sources,
    /// What the owners before have died of, as far as is known.
    care: Care,
    /// In a replay, the next window of each rule where it comes to an entry next.
    ahead: BTreeMap<String, Millis>,
    /// How much is closed at a time.
    at_once: AtOnce,
    /// Whether that left windows which time has passed.
    unfinished: bool,
}

/// The rule set in force.
#[derive(Debug, Clone)]
pub struct Active {
    /// As it stands in the log.
    pub record: Arc<RuleSetRecord>,
    /// Compiled.
    pub set: Arc<RuleSet>,
    /// Its folds, planned for merging.
    pub plans: BTreeMap<String, Arc<FoldPlan>>,
}

impl Active {
    /// A rule set that was compiled before, as it stands in the log.
    pub fn of(record: RuleSetRecord, set: Arc<RuleSet>) -> std::result::Result<Self, String> {
        let mut plans = BTreeMap::new();
        for (fingerprint, spec) in &set.folds {
            let plan = FoldPlan::new(spec, &spec.table.schema).map_err(|error| error.strip_backtrace())?;
            plans.insert(fingerprint.clone(), Arc::new(plan));
        }
        Ok(Self { record: Arc::new(record), set, plans })
    }
}

/// Rule sets with their folds planned, by hash: partitions of one process share them.
#[derive(Debug, Default)]
pub struct Compiled {
    sets: RuleSets,
    known: BTreeMap<String, Active>,
}

impl Compiled {
    /// One rule set is known.
    pub fn knowing(active: Active) -> Self {
        Self { sets: RuleSets::default(), known: BTreeMap::from([(active.record.hash.clone(), active)]) }
    }

    /// None is known but those that others have compiled.
    pub fn sharing(sets: RuleSets) -> Self {
        Self { sets, known: BTreeMap::new() }
    }

    /// The rule set of a record. The error says why it cannot be run.
    pub fn get(&mut self, record: &RuleSetRecord) -> std::result::Result<Active, String> {
        if let Some(active) = self.known.get(&record.hash) {
            return Ok(Active { record: Arc::new(record.clone()), ..active.clone() });
        }
        let set = self.sets.get(&record.hash, || record.files(), record.settings)?;
        let active = Active::of(record.clone(), set)?;
        self.known.insert(record.hash.clone(), active.clone());
        Ok(active)
    }
}

/// What is known of one rule.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    /// The next window end; `None` before the first window.
    pub(crate) next_end: Option<Millis>,
    /// The end of the window that was closed last, by whichever version judged.
    pub(crate) closed: Option<Millis>,
    /// Its series, by their canonical JSON.
    pub(crate) series: BTreeMap<Arc<str>, SeriesState>,
    /// Events that came after a window they belong to had closed.
    pub(crate) late: i64,
    /// Why it is not evaluated.
    pub(crate) fenced: Option<Fenced>,
    /// What its history remembers, by series.
    pub(crate) histories: BTreeMap<Arc<str>, SeriesHistory>,
    /// What may still be corrected.
    pub(crate) corrections: Corrections,
    /// The window end since which it has more series than it may.
    pub(crate) overflowing: Option<Millis>,
    /// The first window end since which every window was whole and evaluated.
    pub(crate) whole_from: Option<Millis>,
}

impl Judge {
    /// A partition about which nothing is known.
    pub fn new(partition: i32) -> Self {
        Self {
            partition,
            rules: None,
            older: BTreeMap::new(),
            chain: Chain::default(),
            panes: BTreeMap::new(),
            states: BTreeMap::new(),
            changed: BTreeSet::new(),
            remembered: Vec::new(),
            letters: Vec::new(),
            missed_rules: 0,
            first_rules: 0,
            came: BTreeMap::new(),
            fed_from: BTreeMap::new(),
            sources: Sources::default(),
            care: Care::default(),
            ahead: BTreeMap::new(),
            at_once: AtOnce::ALL,
            unfinished: false,
        }
    }

    /// Takes one record of the log, appended at `append_ms`.
    pub fn step(
        &mut self,
        record: Record,
        append_ms: Millis,
        mode: Mode,
        compiled: &mut Compiled,
        out: &mut Vec<Output>,
    ) -> Result<()> {
        match record {
            Record::RuleSet(record) => self.switch(&record, append_ms, mode, compiled, out),
            Record::Sections(sections) => self.sections(sections, append_ms, mode, out),
        }?;
        self.care.after();
        Ok(())
    }

    fn sections(&mut self, sections: Sections, append_ms: Millis, mode: Mode, out: &mut Vec<Output>) -> Result<()> {
        let Sections { mut computed, failed, sections, partials, rules, .. } = sections;
        let in_force = self.rules.as_ref().map_or(0, |active| active.record.number);
        if rules > in_force || (rules > 0 && rules < self.first_rules) {
            // Folded by rules that are not in this log, or were only followed here: the first will be appended, and then
            // this is folded again.
            self.missed_rules = rules;
            for section in &sections {
                if self.chain.is_new_life(section) && mode == Mode::Live && is_time(append_ms) {
                    self.tell_lost(section, append_ms, out);
                }
                self.chain.heard(section);
                out.push(Output::Notice(Notice::Refused { section: describe(section) }));
            }
            return Ok(());
        }
        for failure in &failed {
            self.fence_users(failure, rules, append_ms, mode, out)?;
        }
        computed.retain(|fold, _| self.panes.contains_key(fold));
        let rows = by_section(&partials, sections.len())?;
        for (mut section, rows) in sections.into_iter().zip(rows) {
            if section.lost {
                // It carries nothing, so what was counted can be cut off. Where nothing is left, it was said before.
                let counted = self.chain.prefix_end(&section);
                if counted.is_some_and(|counted| counted >= section.range.end) {
                    out.push(Output::Notice(Notice::Known { section: describe(&section) }));
                    continue;
                }
                section.range.start = counted.unwrap_or(0).max(section.range.start).min(section.range.end);
            }
            let section = &section;
            if planted::is(Bug::DropEmptyRanges) && section.range.is_empty() {
                continue;
            }
            let new_life = self.chain.is_new_life(section);
            self.chain.heard(section);
            let link = self.chain.link(section);
            let overlap = link == Link::Overlaps && planted::is(Bug::AcceptAnOverlap);
            if overlap || (!matches!(link, Link::Joins { .. }) && planted::is(Bug::SkipTheChain)) {
                for (at, states) in rows {
                    self.merge(&partials[at], &states, mode, &mut BTreeMap::new())?;
                }
                continue;
            }
            match link {
                Link::Known => out.push(Output::Notice(Notice::Known { section: describe(section) })),
                Link::Overlaps => out.push(Output::Notice(Notice::Refused { section: describe(section) })),
                Link::Joins { hole } => {
                    if section.lost || new_life {
                        out.push(Output::Notice(Notice::Lost { section: describe(section) }));
                        if mode == Mode::Live && is_time(append_ms) {
                            self.tell_lost(section, append_ms, out);
                        }
                    }
                    // One partition is enough to see to it that they arrive.
                    if section.letters > 0 && self.partition == 0 && mode == Mode::Live {
                        let Section { table, topic, partition, incarnation, life, range, letters, .. } =
                            section.clone();
                        let of = Need { table, partition, incarnation, life, range };
                        self.letters.push(Owed { topic, of, letters, append_ms });
                    }
                    if hole && !section.range.is_empty() {
                        out.push(Output::Notice(Notice::Hole { section: describe(section) }));
                    }
                    let mut late = BTreeMap::new();
                    for (at, states) in rows {
                        let Partials { fold, .. } = &partials[at];
                        if let Err(error) = self.merge(&partials[at], &states, mode, &mut late) {
                            self.fence_fold(fold, append_ms, mode, &error, out)?;
                        }
                    }
                    for (rule, events) in late {
                        let state = self.states.entry(rule.clone()).or_default();
                        state.late = state.late.saturating_add(events);
                        out.push(Output::Notice(Notice::Late { rule, events }));
                    }
                    self.chain.accept(section, &computed, append_ms, |table| {
                        let set = &self.rules.as_ref()?.set;
                        Some((set.catalog.tables.get(table)?.out_of_orderness_ms, set.settings.idle_after_ms))
                    });
                    // What was published binds: a replay takes from the entries which windows were closed, and by which version.
                    if mode == Mode::Live {
                        self.advance(out)?;
                    }
                }
            }
        }
        if mode == Mode::Live && is_time(append_ms) {
            self.look_at_sources(append_ms, out);
        }
        Ok(())
    }

    /// True where sections came that were folded by rules which are not in this log.
    pub fn has_missed_rules(&self) -> bool {
        self.missed_rules > self.rules.as_ref().map_or(0, |active| active.record.number)
    }

    /// Positions of source partitions that somebody spoke of and that were not counted.
    pub fn needs(&self) -> Vec<Need> {
        let Some(active) = &self.rules else { return Vec::new() };
        self.chain.needs().into_iter().filter(|need| active.set.catalog.tables.contains_key(&need.table)).collect()
    }

    /// Adds states to the panes they belong to. What only closed windows would have seen is counted as late.
    /// A rule that reads the same events through several folds counts them once.
    fn merge(
        &mut self,
        partials: &Partials,
        states: &RecordBatch,
        mode: Mode,
        lates: &mut BTreeMap<String, i64>,
    ) -> Result<()> {
        let Some(active) = &self.rules else { return Ok(()) };
        let Some(store) = self.panes.get(&partials.fold) else { return Ok(()) };
        let plan = Arc::clone(store.plan());
        let states = conform(&plan, &partials.aggregates, &without_section(states)?)?;
        let panes = states.column(0).as_primitive::<Int64Type>().values().clone();
        let rows = states.column(plan.rows_column()).as_primitive::<Int64Type>().clone();
        let uses: Vec<_> = self
            .versions(active)
            .flat_map(|rule| rule.all_folds().map(move |fold| (rule, fold)))
            .filter(|(_, fold)| fold.ids.fold == partials.fold)
            .collect();
        // Panes before that are in no open window of any version.
        let kept = uses.iter().map(|(rule, fold)| Some(self.next_end(rule)? - reach_ms(rule, fold)));
        let kept = kept.min().flatten().unwrap_or(Millis::MIN);
        for (rule, fold) in uses.iter().filter(|(rule, _)| self.judges(rule)) {
            // Panes before that were in a window that has closed.
            let Some(next) = self.next_end(rule) else { continue };
            let (_, whole) = fold.hop.window(next - rule.slide_ms);
            let late = panes.iter().zip(rows.values()).filter(|(pane, _)| **pane < whole);
            let late = late.fold(0_i64, |sum, (_, rows)| sum.saturating_add(*rows));
            if late > 0 {
                let known = lates.entry(rule.header.name.clone()).or_default();
                *known = late.max(*known);
            }
        }
        let mut marked: BTreeMap<String, BTreeSet<Millis>> = BTreeMap::new();
        for (rule, fold) in uses.iter().filter(|(rule, _)| rule.header.allowed_lateness_ms > 0) {
            // A window that nothing late came to may be marked, and comes to what was said of it: so a replay, which does
            // not know when windows were closed between two entries, marks all that may have been, of every version.
            let ahead = self.ahead.get(&rule.header.name).copied().filter(|_| mode == Mode::Replay);
            if ahead.is_none() && !self.judges(rule) {
                continue;
            }
            let Some(next) = ahead.or_else(|| self.next_end(rule)) else { continue };
            let (_, whole) = fold.hop.window(next - rule.slide_ms);
            let late: BTreeSet<Millis> = panes.iter().copied().filter(|pane| *pane < whole).collect();
            let ends = late.into_iter().flat_map(|pane| corrections::ends(rule, fold, pane, next));
            marked.entry(rule.header.name.clone()).or_default().extend(ends);
        }
        for (name, ends) in marked {
            self.states.entry(name).or_default().corrections.late(ends);
        }
        let mut by_pane: BTreeMap<Millis, Vec<u32>> = BTreeMap::new();
        for (row, pane) in panes.iter().enumerate().filter(|(_, pane)| **pane >= kept) {
            by_pane.entry(*pane).or_default().push(u32::try_from(row).unwrap_or(u32::MAX));
        }
        let Some(store) = self.panes.get_mut(&partials.fold) else { return Ok(()) };
        for (pane, rows) in by_pane {
            store.add(pane, take_record_batch(&states, &UInt32Array::from(rows))?)?;
        }
        Ok(())
    }

    /// The dead letters that sections have spoken of since this was asked last.
    pub fn take_letters(&mut self) -> Vec<Owed> {
        std::mem::take(&mut self.letters)
    }

    /// The readings that were remembered since this was asked last.
    pub fn take_remembered(&mut self) -> Vec<Remembered> {
        std::mem::take(&mut self.remembered)
    }

    /// What the histories of a rule remember, by series.
    pub fn histories(&self, rule: &str) -> Option<&BTreeMap<Arc<str>, SeriesHistory>> {
        self.states.get(rule).map(|state| &state.histories)
    }

    /// How far each rule has closed its windows here, and in how many partitions it is evaluated.
    pub fn progress(&self) -> BTreeMap<String, (Millis, i32)> {
        let Some(active) = &self.rules else { return BTreeMap::new() };
        let mut progress = BTreeMap::new();
        let rules = active.set.rules.iter().map(|rule| self.judging(rule));
        for rule in rules.filter(|rule| rule.spread || self.partition == 0) {
            if let Some(watermark) = self.watermark(&rule, active) {
                let partitions = if rule.spread { active.record.partitions } else { 1 };
                let passed = last_end_until(watermark, rule.slide_ms);
                let next = self.states.get(&rule.header.name).and_then(|state| state.next_end);
                let closed = next.map_or(passed, |next| passed.min(next - rule.slide_ms));
                progress.insert(rule.header.name.clone(), (closed, partitions));
            }
        }
        progress
    }

    /// The series that changed since this was asked last: `None` for one that is gone.
    pub fn take_changed(&mut self) -> Vec<(String, Arc<str>, Option<SeriesState>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|(rule, series)| {
                let state = self.states.get(&rule).and_then(|state| state.series.get(&series)).cloned();
                (rule, series, state)
            })
            .collect()
    }

    /// The earliest window end that some rule has yet to close: outputs before it are complete.
    pub fn closed_until(&self) -> Millis {
        let Some(active) = &self.rules else { return Millis::MIN };
        let rules = active.set.rules.iter().map(|rule| self.judging(rule));
        rules
            .filter(|rule| rule.spread || self.partition == 0)
            .map(|rule| self.watermark(&rule, active).unwrap_or(Millis::MIN))
            .min()
            .unwrap_or(Millis::MIN)
    }

    /// Late events by rule.
    pub fn late(&self) -> BTreeMap<&str, i64> {
        self.states
            .iter()
            .filter(|(_, state)| state.late > 0)
            .map(|(name, state)| (name.as_str(), state.late))
            .collect()
    }

    /// The rule set in force.
    pub fn active(&self) -> Option<&Active> {
        self.rules.as_ref()
    }
}

/// How far back of its next window a rule needs the panes of a fold.
fn reach_ms(rule: &Rule, fold: &FoldUse) -> i64 {
    fold.hop.reach_ms().saturating_add(rule.header.allowed_lateness_ms)
}

fn describe(section: &Section) -> String {
    format!("{}[{}] {}..{}", section.topic, section.partition, section.range.start, section.range.end)
}

/// The rows of each partial, by section: for each section, which partial and its rows.
fn by_section(partials: &[Partials], sections: usize) -> Result<Vec<Vec<(usize, RecordBatch)>>> {
    let mut out: Vec<Vec<(usize, RecordBatch)>> = vec![Vec::new(); sections];
    for (at, one) in partials.iter().enumerate() {
        let Some(ids) = one.batch.column(0).as_primitive_opt::<UInt32Type>() else { continue };
        let mut rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for row in 0..ids.len() {
            rows.entry(ids.value(row)).or_default().push(u32::try_from(row).unwrap_or(u32::MAX));
        }
        for (section, rows) in rows {
            if let Some(out) = usize::try_from(section).ok().and_then(|section| out.get_mut(section)) {
                out.push((at, take_record_batch(&one.batch, &UInt32Array::from(rows))?));
            }
        }
    }
    Ok(out)
}

fn without_section(states: &RecordBatch) -> Result<RecordBatch> {
    let columns: Vec<usize> = (1..states.num_columns()).collect();
    Ok(states.project(&columns)?)
}
