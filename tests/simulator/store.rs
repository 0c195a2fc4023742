//! A model of the store: a row replaces another of its key by version, whatever the order of inserts.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    datatypes::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType, UInt64Type},
};
use tierwatch::{
    rules::RuleSet,
    store::stage::{Insert, Table},
};

use crate::end_to_end::{Line, line};

/// Rule, series and window end.
pub(crate) type ReadingKey = (String, String, i64);

/// A reading as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: Line,
    /// Its level; empty where it was not judged.
    pub(crate) level: String,
    pub(crate) state: String,
    /// Why it was not judged; empty where it was.
    pub(crate) unjudged: String,
    /// Whether it is of a whole window.
    pub(crate) whole: bool,
    /// Whether late events changed what was said at first.
    pub(crate) corrected: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Version and row of each reading; without a row where it was retracted.
    readings: BTreeMap<ReadingKey, (u64, Option<Row>)>,
    /// The same as it was said at first, before late events corrected it.
    first: BTreeMap<ReadingKey, (u64, Row)>,
    /// Where something else was said of a reading that was not corrected: its rule, and both.
    contradictions: Vec<(String, String)>,
    /// Breach events by id.
    breaches: BTreeMap<String, u64>,
    /// Version and watermark by rule and partition.
    progress: BTreeMap<(String, i32), (u64, i64)>,
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<String> {
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("a column {name}")).as_string::<i32>();
    column.iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

fn times(rows: &RecordBatch, name: &str) -> Vec<i64> {
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("a column {name}"));
    column.as_primitive::<TimestampMillisecondType>().values().to_vec()
}

fn flags<'a>(rows: &'a RecordBatch, name: &str) -> &'a BooleanArray {
    rows.column_by_name(name).unwrap_or_else(|| panic!("a column {name}")).as_boolean()
}

fn measures(rows: &RecordBatch, row: usize) -> BTreeMap<String, u64> {
    let map = rows.column_by_name("measures").expect("measures").as_map().value(row);
    let values = map.column(1).as_primitive::<Float64Type>();
    let names = map.column(0).as_string::<i32>();
    (0..map.len()).map(|at| (names.value(at).to_owned(), values.value(at).to_bits())).collect()
}

fn replace<K: Ord, V>(map: &mut BTreeMap<K, (u64, V)>, key: K, version: u64, value: V) {
    if map.get(&key).is_none_or(|(known, _)| *known <= version) {
        map.insert(key, (version, value));
    }
}

impl Store {
    pub(crate) fn insert(&mut self, insert: &Insert) {
        let rows = &insert.rows;
        let versions = rows.column_by_name("version").expect("a version").as_primitive::<UInt64Type>();
        match insert.table {
            Table::Readings => {
                let (rules, series, ends) = (texts(rows, "rule"), texts(rows, "series"), times(rows, "window_end"));
                let values = rows.column_by_name("value").expect("a value").as_primitive::<Float64Type>();
                let (levels, states, unjudged) = (texts(rows, "level"), texts(rows, "state"), texts(rows, "unjudged"));
                let (partial, corrected) = (flags(rows, "partial"), flags(rows, "corrected"));
                let retracted = flags(rows, "retracted");
                let samples = rows.column_by_name("samples").expect("samples").as_primitive::<Int64Type>();
                for row in 0..rows.num_rows() {
                    let value = values.is_valid(row).then(|| values.value(row).to_bits());
                    let samples = samples.is_valid(row).then(|| samples.value(row));
                    let key = (rules[row].clone(), series[row].clone(), ends[row]);
                    let said = Row {
                        line: line(&rules[row], &series[row], ends[row], value, samples, &measures(rows, row)),
                        level: levels[row].clone(),
                        state: states[row].clone(),
                        unjudged: unjudged[row].clone(),
                        whole: !partial.value(row),
                        corrected: corrected.value(row),
                    };
                    let version = versions.value(row);
                    if !said.corrected {
                        self.say_first(&key, version, &said);
                    }
                    replace(&mut self.readings, key, version, (!retracted.value(row)).then_some(said));
                }
            }
            Table::Breaches => {
                self.breaches.extend(texts(rows, "event_id").into_iter().zip(versions.values().iter().copied()));
            }
            Table::Progress => {
                let (rules, watermarks) = (texts(rows, "rule"), times(rows, "watermark"));
                let partitions = rows.column_by_name("partition").expect("a partition").as_primitive::<Int32Type>();
                for row in 0..rows.num_rows() {
                    let key = (rules[row].clone(), partitions.value(row));
                    replace(&mut self.progress, key, versions.value(row), watermarks[row]);
                }
            }
        }
    }

    /// Before it is corrected a reading is said once, or the same again.
    fn say_first(&mut self, key: &ReadingKey, version: u64, row: &Row) {
        let (known, first) = self.first.entry(key.clone()).or_insert_with(|| (version, row.clone()));
        if *first != *row {
            self.contradictions.push((key.0.clone(), format!("{first:?} and {row:?}")));
        }
        if version < *known {
            (*known, *first) = (version, row.clone());
        }
    }

    /// The readings of windows that end until then.
    pub(crate) fn rows(&self, until: i64) -> impl Iterator<Item = (&ReadingKey, &Row)> {
        let rows = self.readings.iter().filter(move |((_, _, end), _)| *end <= until);
        rows.filter_map(|(key, (_, row))| Some((key, row.as_ref()?)))
    }

    /// The same as they were said at first. What late events brought is not among them.
    pub(crate) fn first_rows(&self, until: i64) -> impl Iterator<Item = (&ReadingKey, &Row)> {
        self.first.iter().filter(move |((_, _, end), _)| *end <= until).map(|(key, (_, row))| (key, row))
    }

    /// What was said of a reading at first.
    pub(crate) fn first(&self, key: &ReadingKey) -> Option<&Row> {
        self.first.get(key).map(|(_, row)| row)
    }

    /// The readings of which something else was said without a correction, each with its rule.
    pub(crate) fn contradictions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.contradictions.iter().map(|(rule, both)| (rule.as_str(), both.as_str()))
    }

    /// The readings of windows that end until then, as lines, and whether those are whole.
    pub(crate) fn readings(&self, until: i64) -> impl Iterator<Item = (&Line, bool)> {
        self.rows(until).map(|(_, row)| (&row.line, row.whole))
    }

    /// The ids of breach events.
    pub(crate) fn breaches(&self) -> impl Iterator<Item = &String> {
        self.breaches.keys()
    }

    /// Until when every window of every rule is shown as whole.
    pub(crate) fn closed(&self, set: &RuleSet, partitions: i32) -> i64 {
        let each = set.rules.iter().flat_map(|rule| {
            (0..if rule.spread { partitions } else { 1 }).map(|partition| (rule.header.name.clone(), partition))
        });
        each.map(|key| self.progress.get(&key).map_or(i64::MIN / 2, |(_, watermark)| *watermark)).min().unwrap_or(0)
    }
}
