//! A model of the store: a row replaces another of its key by version, whatever the order of inserts.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType, UInt64Type},
};
use tierwatch::{
    rules::RuleSet,
    store::stage::{Insert, Table},
};

use crate::end_to_end::{Line, line};

/// Rule, series and window end.
type ReadingKey = (String, String, i64);

#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Version and line of each reading, and whether it is of a whole window; without them where it was retracted.
    readings: BTreeMap<ReadingKey, (u64, Option<(Line, bool)>)>,
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
                let retracted = rows.column_by_name("retracted").expect("a flag").as_boolean();
                let partial = rows.column_by_name("partial").expect("a flag").as_boolean();
                let samples = rows.column_by_name("samples").expect("samples").as_primitive::<Int64Type>();
                for row in 0..rows.num_rows() {
                    let value = values.is_valid(row).then(|| values.value(row).to_bits());
                    let samples = samples.is_valid(row).then(|| samples.value(row));
                    let line = line(&rules[row], &series[row], ends[row], value, samples, &measures(rows, row));
                    let key = (rules[row].clone(), series[row].clone(), ends[row]);
                    replace(
                        &mut self.readings,
                        key,
                        versions.value(row),
                        (!retracted.value(row)).then_some((line, !partial.value(row))),
                    );
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

    /// The readings of windows that end until then, and whether those are whole.
    pub(crate) fn readings(&self, until: i64) -> impl Iterator<Item = &(Line, bool)> {
        self.readings.iter().filter(move |((_, _, end), _)| *end <= until).filter_map(|(_, (_, line))| line.as_ref())
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
