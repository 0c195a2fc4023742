//! What there must be in the end, and whether it is there.
//!
//! A window looks only at the events inside of it, so the batch query runs over slices of time: the answer for a window
//! end is the one over all events, and five million of them need the memory of some minutes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    iter::{Enumerate, Peekable},
    path::Path,
    thread,
};

use arrow::{array::RecordBatch, compute::concat_batches};
use tierwatch::{
    judge::output::BreachEvent,
    panes::{first_end_after, pane_start},
    rules::{Files, Rule, RuleSet},
};

use super::{
    Bed,
    events::{AllWritten, GARBAGE, Written, lines},
};
use crate::end_to_end::{
    Breach, Line, OUT_OF_ORDER_MS, TABLES, batchable, decoded, read_all, replayed, rule_lines, stored, told,
};

/// How much time a slice covers.
const SLICE_MS: i64 = 20_000;
/// The rule whose levels change.
const PROBE: &str = "chaos_probe";

/// How much was compared.
pub(crate) struct Judged {
    pub(crate) readings: usize,
    pub(crate) breaches: usize,
    pub(crate) dead_letters: usize,
}

/// The events of one partition, slice by slice.
struct Slices<'a> {
    lines: Box<dyn Iterator<Item = std::io::Result<Vec<u8>>>>,
    times: Peekable<Enumerate<std::slice::Iter<'a, i64>>>,
    /// What was read and belongs to a later slice, by the end of that slice.
    later: BTreeMap<i64, Vec<Vec<u8>>>,
}

impl<'a> Slices<'a> {
    fn new(part: &'a Written) -> Self {
        Self {
            lines: Box::new(lines(&part.path)),
            times: part.times.iter().enumerate().peekable(),
            later: BTreeMap::new(),
        }
    }

    /// The good events of the slice that ends at `end`; slices are taken in order.
    fn take(&mut self, end: i64) -> Vec<Vec<u8>> {
        // An event so late that nothing after it can be before the end, as they are out of order only so far.
        let far = end + OUT_OF_ORDER_MS;
        let mut ready = false;
        while let Some((_, time)) = self.times.next_if(|_| !ready) {
            let line = self.lines.next().expect("a line for each time").expect("a line");
            if *time != GARBAGE {
                self.later.entry(pane_start(*time, SLICE_MS) + SLICE_MS).or_default().push(line);
                ready = *time >= far;
            }
        }
        self.later.remove(&end).unwrap_or_default()
    }
}

/// What the batch query says of all windows until then.
fn batch(set: &RuleSet, written: &AllWritten, until: i64) -> BTreeSet<Line> {
    let mut slices: Vec<(usize, Slices<'_>)> =
        written.parts.iter().map(|part| (part.table, Slices::new(part))).collect();
    let first = TABLES.iter().map(|table| written.first(table)).min().expect("there are tables");
    let size = batchable(set).map(Rule::size_ms).max().expect("there are rules");
    let mut held: VecDeque<BTreeMap<String, RecordBatch>> = VecDeque::new();
    let mut found = BTreeSet::new();
    let mut start = pane_start(first, SLICE_MS);
    while start < until {
        let end = start + SLICE_MS;
        let mut slice = BTreeMap::new();
        for (at, name) in TABLES.iter().enumerate() {
            let own = slices.iter_mut().filter(|(table, _)| *table == at);
            let payloads: Vec<Vec<u8>> = own.flat_map(|(_, slices)| slices.take(end)).collect();
            slice.insert((*name).to_owned(), decoded(set, name, payloads.iter().map(Vec::as_slice)));
        }
        held.push_back(slice);
        while i64::try_from(held.len() - 1).unwrap() * SLICE_MS > size {
            held.pop_front();
        }
        for rule in batchable(set) {
            // Time begins with the first event of what the rule reads.
            let begin = rule.folds.iter().map(|fold| written.first(&fold.spec.table.name)).min().unwrap_or(first);
            let ends: Vec<i64> = (0..)
                .map(|n| first_end_after(begin.max(start), rule.slide_ms) + n * rule.slide_ms)
                .take_while(|at| *at <= end.min(until))
                .collect();
            if ends.is_empty() {
                continue;
            }
            let count = usize::try_from(rule.size_ms().div_euclid(SLICE_MS) + 2).unwrap().min(held.len());
            found.extend(rule_lines(set, rule, &joined(&held, count), &ends));
        }
        start = end;
    }
    found
}

/// The last `count` slices as one.
fn joined(held: &VecDeque<BTreeMap<String, RecordBatch>>, count: usize) -> BTreeMap<String, RecordBatch> {
    let last: Vec<_> = held.iter().skip(held.len() - count).collect();
    let table = |name: &&str| {
        let schema = last[0][*name].schema();
        let batch = concat_batches(&schema, last.iter().map(|slice| &slice[*name])).expect("one schema");
        ((*name).to_owned(), batch)
    };
    TABLES.iter().map(table).collect()
}

/// Compares all that there is with all that there must be.
pub(crate) fn compare(rules: &Files, set: &RuleSet, written: &AllWritten, bed: &Bed, until: i64) -> Judged {
    let (mut expected, (breaches, remembered)) = thread::scope(|scope| {
        let replayed = scope.spawn(|| replayed(rules, written.inputs(), until));
        (batch(set, written, until), replayed.join().expect("the replay runs"))
    });
    expected.extend(remembered);

    let stored = stored(&bed.clickhouse, until);
    let once: BTreeSet<&Line> = stored.iter().collect();
    assert_eq!(once.len(), stored.len(), "each reading is there once");
    let missing: Vec<&Line> = expected.iter().filter(|line| !once.contains(line)).collect();
    let added: Vec<&&Line> = once.iter().filter(|line| !expected.contains(**line)).collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "of {} readings {} are missing and {} are added: {:#?}\nand {:#?}",
        expected.len(),
        missing.len(),
        added.len(),
        &missing[..missing.len().min(5)],
        &added[..added.len().min(5)]
    );

    let alerts = read_all(&bed.kafka.brokers, "tierwatch.alerts", 4);
    let schema = std::fs::read_to_string(Path::new("schemas/breach.schema.json")).expect("the schema");
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).expect("JSON")).expect("a schema");
    let (mut ids, mut said) = (BTreeSet::new(), BTreeSet::new());
    for (headers, value) in &alerts {
        let json: serde_json::Value = serde_json::from_slice(value).expect("JSON");
        assert!(schema.is_valid(&json), "{json}");
        let event: BreachEvent = serde_json::from_value(json).expect("a breach event");
        assert_eq!(headers["ce_id"], event.id);
        assert!(ids.insert(event.id.clone()), "said twice: {event:?}");
        said.extend(told(&event, until).filter(|breach| breach.0 != PROBE));
    }
    let breaches: BTreeSet<Breach> = breaches.into_iter().filter(|breach| breach.0 != PROBE).collect();
    let unsaid: Vec<&Breach> = breaches.difference(&said).take(5).collect();
    let invented: Vec<&Breach> = said.difference(&breaches).take(5).collect();
    assert!(unsaid.is_empty() && invented.is_empty(), "not said: {unsaid:#?}\nnot so: {invented:#?}");
    assert!(!said.is_empty(), "there is something to say");

    let letters = read_all(&bed.kafka.brokers, "tierwatch.dead-letters", 1);
    let origins: Vec<&String> = letters.iter().map(|(headers, _)| &headers["tierwatch_id"]).collect();
    let once: BTreeSet<&String> = origins.iter().copied().collect();
    let garbage: BTreeSet<String> = written.garbage().collect();
    assert!(
        once.len() == garbage.len() && garbage.iter().all(|id| once.contains(id)),
        "{} dead letters of {} broken events",
        once.len(),
        garbage.len()
    );
    let mut seen = BTreeSet::new();
    let again: Vec<&String> = origins.iter().copied().filter(|id| !seen.insert(*id)).take(5).collect();
    assert!(again.is_empty(), "dead letters that are there twice: {again:?}");
    Judged { readings: expected.len(), breaches: said.len(), dead_letters: garbage.len() }
}
