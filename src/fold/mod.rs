//! FOLD: events in, sections out. A section says of one range of one source partition which states its events add.
//!
//! [`accumulate`] is one fold at work, [`Folder`] cuts the events of all partitions into sections, [`stage`] is the
//! loop around it as a state machine.

pub mod accumulate;
pub mod stage;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::{DataType, Field, Schema},
};
use datafusion::common::Result;

use self::accumulate::{Accumulation, FoldPlan};
use crate::{
    decode::{Decoded, Decoder, Event, Limits, Rejected},
    panes::{Millis, pane_start},
    partial::{Failure, Partials, Section, Sections},
    position::Range,
    rules::{
        RuleSet,
        catalog::Table,
        plan::{FoldSpec, unite},
        rest::survived,
    },
    spread::{key_text, partition_of},
};

/// A section closes when it holds this many states, so that none outgrows a record.
const STATES_MAX: usize = 20_000;

/// Or when they take about this many bytes in memory, unless another number is given; written, they take no more.
const BYTES_MAX: usize = 4 << 20;

/// A rule set and its number in the log.
pub type NumberedSet = (Arc<RuleSet>, u64);

/// A section with its states, not yet spread over partials partitions.
#[derive(Debug)]
pub struct Folded {
    /// What it says of its range.
    pub section: Section,
    /// The states of each fold of its table: the fold's place in the folder, and the states.
    pub states: Vec<(usize, RecordBatch)>,
}

/// Which source partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The table.
    pub table: String,
    /// The partition of its topic.
    pub partition: i32,
}

/// A source partition as its owner knows it.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The topic.
    pub topic: String,
    /// Which life of the topic.
    pub incarnation: String,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// Where reading it began, where that is known.
    pub begun: Option<i64>,
    /// How many lives of it were read before, with the word that what was left of them is lost.
    pub life: u32,
}

struct Intake {
    decoder: Decoder,
    folds: Vec<usize>,
    out_of_orderness_ms: i64,
    /// The widths of its folds' panes together: sections are cut on multiples of this.
    pane_ms: i64,
    /// How many bytes its folds take before the first event.
    empty_bytes: usize,
}

impl Intake {
    /// How many of these events are folded before it is looked whether the section is full: were all that they hold kept by
    /// every fold, it would be a quarter of a section.
    fn step(&self, events: &RecordBatch, bytes_max: usize) -> usize {
        // What the rows take, not what was allocated for more of them.
        let taken = |column: &ArrayRef| {
            let data = column.to_data();
            data.get_slice_memory_size().unwrap_or_else(|_| data.get_array_memory_size())
        };
        let kept = events.columns().iter().map(taken).sum::<usize>().saturating_mul(self.folds.len());
        (events.num_rows().saturating_mul(bytes_max) / kept.saturating_mul(4).max(1)).max(1)
    }
}

struct Partition {
    origin: Origin,
    /// The latest event time seen, which cuts sections.
    latest: Option<Millis>,
    open: Open,
}

struct Open {
    range: Range,
    latest: Option<Millis>,
    /// How many of its events do not count.
    rejected: u32,
    accumulations: Vec<Accumulation>,
}

impl Open {
    /// True where more states might outgrow a record.
    fn is_full(&self, intake: &Intake, bytes_max: usize) -> bool {
        let states: usize = self.accumulations.iter().map(Accumulation::len).sum();
        let bytes: usize = self.accumulations.iter().map(Accumulation::bytes).sum();
        states > STATES_MAX || (states > 0 && bytes.saturating_sub(intake.empty_bytes) > bytes_max)
    }
}

/// What failed, and why: folds, or aggregates of them by their place in the plan.
type Failed = BTreeMap<(usize, Option<usize>), String>;

/// Folds the events of any number of source partitions.
pub struct Folder {
    /// The number of the rule set.
    rules: u64,
    plans: Vec<Arc<FoldPlan>>,
    intakes: BTreeMap<String, Intake>,
    partitions: BTreeMap<Source, Partition>,
    /// What failed on an event, and why: it is computed no more, and the sections say so.
    failed: Failed,
    computed: BTreeMap<String, Vec<String>>,
    section_bytes_max: usize,
}

impl Folder {
    /// A folder for the folds of rule sets with their numbers in the log, the one in force last. A table is as the last
    /// set that has it says; older folds that need it otherwise are left out.
    pub fn new(sets: &[NumberedSet], limits: Limits) -> Result<Self> {
        let mut tables: BTreeMap<&String, &Arc<Table>> = BTreeMap::new();
        for (set, _) in sets {
            tables.extend(&set.catalog.tables);
        }
        let fits = |spec: &FoldSpec| {
            let kind =
                |table: &Table, name: &str| table.schema.field_with_name(name).ok().map(|f| f.data_type().clone());
            let same = |name: &String| {
                let now = tables.get(&spec.table.name).and_then(|table| kind(table, name));
                now.is_some() && now == kind(&spec.table, name)
            };
            spec.columns().iter().all(same)
        };
        let all = sets.iter().flat_map(|(set, _)| &set.folds).filter(|(_, spec)| fits(spec));
        let folds = unite(all.map(|(fingerprint, spec)| (fingerprint.as_str(), spec)));
        let mut plans = Vec::new();
        let mut intakes = BTreeMap::new();
        for (name, table) in tables {
            let specs: Vec<_> = folds.values().filter(|spec| spec.table.name == *name).collect();
            if specs.is_empty() {
                continue;
            }
            let used: BTreeSet<String> = specs.iter().flat_map(|spec| spec.columns()).collect();
            let decoder = Decoder::new(table, &used, limits);
            let mut folds = Vec::new();
            for spec in specs {
                folds.push(plans.len());
                plans.push(Arc::new(FoldPlan::new(spec, decoder.schema())?));
            }
            let widths = folds.iter().map(|at: &usize| plans[*at].pane_ms);
            let pane_ms = widths.fold(0, crate::panes::gcd).max(1);
            let mut empty_bytes = 0;
            for at in &folds {
                empty_bytes += Accumulation::new(&plans[*at])?.bytes();
            }
            let out_of_orderness_ms = table.out_of_orderness_ms;
            intakes.insert(name.clone(), Intake { decoder, folds, out_of_orderness_ms, pane_ms, empty_bytes });
        }
        let computed = plans.iter().map(|plan| (plan.fingerprint.clone(), plan.aggregates.clone())).collect();
        let rules = sets.last().map_or(0, |(_, number)| *number);
        let (partitions, failed) = (BTreeMap::new(), Failed::new());
        Ok(Self { rules, plans, intakes, partitions, failed, computed, section_bytes_max: BYTES_MAX })
    }

    /// The same with sections of up to about so many bytes.
    pub fn with_section_bytes_max(self, section_bytes_max: usize) -> Self {
        Self { section_bytes_max, ..self }
    }

    /// Goes on with other rule sets where this one stopped. Nothing may be open.
    pub fn go_on(&self, sets: &[NumberedSet], limits: Limits) -> Result<Self> {
        let mut next = Self::new(sets, limits)?.with_section_bytes_max(self.section_bytes_max);
        for (source, partition) in &self.partitions {
            if next.intakes.contains_key(&source.table) {
                next.begin(source, partition.origin.clone(), partition.open.range.end)?;
                if let Some(begun) = next.partitions.get_mut(source) {
                    begun.latest = partition.latest;
                }
            }
        }
        Ok(next)
    }

    /// Begins a source partition at a position.
    pub fn begin(&mut self, source: &Source, origin: Origin, position: i64) -> Result<()> {
        let accumulations = self.accumulations(&source.table)?;
        let open = Open { range: Range { start: position, end: position }, latest: None, rejected: 0, accumulations };
        self.partitions.insert(source.clone(), Partition { origin, latest: None, open });
        Ok(())
    }

    /// Ends a source partition; what was open is dropped.
    pub fn end(&mut self, source: &Source) {
        self.partitions.remove(source);
    }

    fn accumulations(&self, table: &str) -> Result<Vec<Accumulation>> {
        let folds = self.intakes.get(table).map(|intake| intake.folds.as_slice()).unwrap_or_default();
        folds.iter().map(|at| Accumulation::new(&self.plans[*at])).collect()
    }

    /// Folds events of one partition, which follow those before; `next` is the position after them. Sections that
    /// close on the way are added to `out`; the events that do not count are answered.
    pub fn fold<'a>(
        &mut self,
        source: &Source,
        events: impl IntoIterator<Item = Event<'a>>,
        next: i64,
        out: &mut Vec<Folded>,
    ) -> Result<Vec<Rejected>> {
        let (Some(intake), Some(partition)) = (self.intakes.get(&source.table), self.partitions.get_mut(source)) else {
            return Ok(Vec::new());
        };
        let Decoded { batch, offsets, times, marks, rejected } = intake.decoder.decode(events);
        let (step, bytes_max) = (intake.step(&batch, self.section_bytes_max), self.section_bytes_max);
        let mut start = 0;
        let mut refused = rejected.iter().map(|rejected| rejected.offset).peekable();
        let mut refused_before = |end: i64| {
            let mut count = 0_u32;
            while refused.next_if(|offset| *offset < end).is_some() {
                count += 1;
            }
            count
        };
        for (row, time) in marks.iter().enumerate() {
            let before = partition.latest;
            let latest = before.map_or(*time, |before| before.max(*time));
            partition.latest = Some(latest);
            partition.open.latest = Some(partition.open.latest.map_or(*time, |open| open.max(*time)));
            let pane = |latest: Millis| pane_start(latest.saturating_sub(intake.out_of_orderness_ms), intake.pane_ms);
            // Lateness follows the order of positions, not how events were cut into batches: where the running
            // watermark passes a pane's end, the section ends, and what comes after is judged against that.
            let passes = before.is_none_or(|before| pane(before) != pane(latest));
            if passes || row + 1 - start >= step {
                let events = batch.slice(start, row + 1 - start);
                partition.update(&events, &times[start..=row], &intake.folds, &mut self.failed);
                start = row + 1;
                if passes || partition.open.is_full(intake, bytes_max) {
                    partition.open.rejected += refused_before(offsets[row] + 1);
                    out.push(partition.close(source, offsets[row] + 1, &intake.folds, &self.plans, &self.failed)?);
                }
            }
        }
        if start < times.len() {
            let events = batch.slice(start, times.len() - start);
            partition.update(&events, &times[start..], &intake.folds, &mut self.failed);
        }
        partition.open.range.end = next.max(partition.open.range.end);
        partition.open.rejected += refused_before(i64::MAX);
        if partition.open.is_full(intake, bytes_max) {
            out.push(partition.close(source, next, &intake.folds, &self.plans, &self.failed)?);
        }
        Ok(rejected)
    }

    /// Closes the open section of a partition, empty or not: what was read so far.
    pub fn close(&mut self, source: &Source) -> Result<Option<Folded>> {
        let (Some(intake), Some(partition)) = (self.intakes.get(&source.table), self.partitions.get_mut(source)) else {
            return Ok(None);
        };
        let end = partition.open.range.end;
        partition.close(source, end, &intake.folds, &self.plans, &self.failed).map(Some)
    }

    /// What failed on an event. JUDGE fences off the rules that use it.
    pub fn failed(&self) -> Vec<Failure> {
        let failure = |((fold, aggregate), reason): (&(usize, Option<usize>), &String)| {
            let plan = &self.plans[*fold];
            let aggregate = aggregate.map(|at| plan.aggregates[at].clone());
            Failure { fold: plan.fingerprint.clone(), aggregate, reason: reason.clone() }
        };
        self.failed.iter().map(failure).collect()
    }

    /// The position after the last event folded.
    pub fn position(&self, source: &Source) -> Option<i64> {
        self.partitions.get(source).map(|partition| partition.open.range.end)
    }

    /// True where the open section of a partition covers anything.
    pub fn has_open(&self, source: &Source) -> bool {
        self.partitions.get(source).is_some_and(|partition| !partition.open.range.is_empty())
    }

    /// Spreads sections over partials partitions: each gets every section, with the states that belong to it.
    pub fn spread(&self, folded: &[Folded], partitions: i32) -> Result<Vec<Sections>> {
        let failed = self.failed();
        let mut computed = self.computed.clone();
        for Failure { fold, aggregate, .. } in &failed {
            match (aggregate, computed.get_mut(fold)) {
                (Some(aggregate), Some(aggregates)) => aggregates.retain(|known| known != aggregate),
                _ => _ = computed.remove(fold),
            }
        }
        let mut out: Vec<Sections> = (0..partitions)
            .map(|partition| Sections {
                partition,
                partitions,
                rules: self.rules,
                computed: computed.clone(),
                failed: failed.clone(),
                sections: folded.iter().map(|folded| folded.section.clone()).collect(),
                partials: Vec::new(),
            })
            .collect();
        for (at, plan) in self.plans.iter().enumerate() {
            let mut batches = Vec::new();
            for (section, folded) in folded.iter().enumerate() {
                for (_, states) in folded.states.iter().filter(|(fold, _)| *fold == at) {
                    batches.push(with_section(states, u32::try_from(section).unwrap_or(u32::MAX))?);
                }
            }
            let Some(first) = batches.first() else { continue };
            let all = concat_batches(&first.schema(), &batches)?;
            let mut rows: Vec<Vec<u32>> = vec![Vec::new(); out.len()];
            // The keys stand after `section` and `pane`.
            let keys: Vec<ArrayRef> = plan.spread.iter().map(|key| Arc::clone(all.column(2 + key))).collect();
            for row in 0..all.num_rows() {
                let home = partition_of(&key_text(&keys, row)?, partitions);
                rows[usize::try_from(home).unwrap_or(0)].push(u32::try_from(row).unwrap_or(u32::MAX));
            }
            for (sections, rows) in out.iter_mut().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
                let batch = take_record_batch(&all, &UInt32Array::from(rows))?;
                sections.partials.push(Partials {
                    fold: plan.fingerprint.clone(),
                    aggregates: plan.aggregates.clone(),
                    batch,
                });
            }
        }
        Ok(out)
    }
}

impl Partition {
    fn update(&mut self, events: &RecordBatch, times: &[Millis], folds: &[usize], failed: &mut Failed) {
        for (accumulation, fold) in self.open.accumulations.iter_mut().zip(folds) {
            if failed.contains_key(&(*fold, None)) {
                continue;
            }
            match survived(|| accumulation.update(events, times)) {
                Ok(failures) => failed.extend(
                    failures.into_iter().map(|(aggregate, error)| ((*fold, Some(aggregate)), error.strip_backtrace())),
                ),
                Err(error) => _ = failed.insert((*fold, None), error.strip_backtrace()),
            }
        }
    }

    fn close(
        &mut self,
        source: &Source,
        end: i64,
        folds: &[usize],
        plans: &[Arc<FoldPlan>],
        failed: &Failed,
    ) -> Result<Folded> {
        let mut states = Vec::new();
        for (accumulation, fold) in self.open.accumulations.iter_mut().zip(folds) {
            if !accumulation.is_empty() && !failed.contains_key(&(*fold, None)) {
                states.push((*fold, accumulation.take()?));
                // What took its states begins anew: accumulators do not promise to be usable after.
                *accumulation = Accumulation::new(&plans[*fold])?;
            }
        }
        let range = Range { start: self.open.range.start, end };
        let section = Section {
            table: source.table.clone(),
            topic: self.origin.topic.clone(),
            incarnation: self.origin.incarnation.clone(),
            partition: source.partition,
            partitions: self.origin.partitions,
            range,
            latest_ms: self.open.latest.take(),
            end_at_ms: None,
            lost: false,
            begun: self.origin.begun,
            life: self.origin.life,
            letters: std::mem::take(&mut self.open.rejected),
        };
        self.open.range = Range { start: end, end };
        Ok(Folded { section, states })
    }
}

fn with_section(states: &RecordBatch, section: u32) -> Result<RecordBatch> {
    let mut fields = vec![Arc::new(Field::new("section", DataType::UInt32, false))];
    fields.extend(states.schema().fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(vec![section; states.num_rows()]))];
    columns.extend(states.columns().iter().cloned());
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
