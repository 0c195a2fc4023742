//! What is behind a breach: which values of which columns the events have that count against the rule, what was
//! different in the window before, and traces to look at. From samples, so its cost does not grow with traffic.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use datafusion::{
    arrow::datatypes::Int64Type,
    common::{Result, exec_err},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::windows::Window;
use crate::{
    fold::accumulate::finish,
    rules::{
        Rule, hash,
        plan::FoldUse,
        samples::{self, Sample, Samples},
        series::{canonical, key_value},
    },
};

/// How many traces are named.
const TRACES: usize = 5;

/// One value that many of the events have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contributor {
    /// The column.
    pub column: String,
    /// Its value; of a personal column a pseudonym, the same in every event.
    pub value: Option<String>,
    /// Which part of the events has it, from 0 to 1.
    pub share: f64,
    /// How much more than in the window before, from -1 to 1; none where that window had no such events.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub change: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// How many events count against the rule.
    pub(super) offending: Option<i64>,
    /// The values that most of them have, column by column, the most frequent first.
    pub(super) contributors: Vec<Contributor>,
    /// Traces of some of them.
    pub(super) trace_ids: Vec<String>,
}

/// The samples of each series, made when the first breach of a window asks for them.
#[derive(Debug, Default)]
pub(super) struct Diagnosis {
    windows: Option<(BySeries, BySeries)>,
}

type BySeries = BTreeMap<String, (Samples, i64)>;

impl Diagnosis {
    /// What is behind a breach of a series.
    pub(super) fn of(&mut self, window: &Window<'_>, series: &str) -> Found {
        let Some(plan) = &window.rule.diagnosis else { return Found::default() };
        let (now, before) = self.windows.get_or_insert_with(|| {
            // Without samples a breach is still a breach.
            let of = |fold| by_series(window, fold, &plan.keys).unwrap_or_default();
            (of(&plan.now), of(&plan.before))
        });
        let Some((samples, offending)) = now.get(series) else { return Found::default() };
        let earlier = before.get(series).map(|(samples, _)| samples.as_slice()).unwrap_or_default();
        let mut contributors = Vec::new();
        for (at, column) in plan.by.iter().enumerate() {
            let shares = shares(samples, at + 1);
            let shares_before = self::shares(earlier, at + 1);
            let mut ranked: Vec<(&Option<String>, f64)> =
                shares.iter().map(|(value, share)| (*value, *share)).collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
            contributors.extend(ranked.into_iter().take(plan.top).map(|(value, share)| Contributor {
                column: column.clone(),
                value: if plan.masked[at] {
                    value.as_ref().map(|value| pseudonym(column, value))
                } else {
                    value.clone()
                },
                share: rounded(share),
                change:
                    (!earlier.is_empty()).then(|| rounded(share - shares_before.get(value).copied().unwrap_or(0.0))),
            }));
        }
        let mut trace_ids: Vec<String> = Vec::new();
        for trace in samples.iter().filter_map(|(sample, _)| sample.first().cloned().flatten()) {
            if trace_ids.len() < TRACES && !trace_ids.contains(&trace) {
                trace_ids.push(trace);
            }
        }
        Found { offending: Some(*offending), contributors, trace_ids }
    }
}

/// The parts of the samples that have each value of a column.
#[expect(clippy::cast_precision_loss, reason = "counts of events are far below 2^53")]
fn shares(samples: &[(Sample, i64)], column: usize) -> BTreeMap<&Option<String>, f64> {
    let mut counts: BTreeMap<&Option<String>, i64> = BTreeMap::new();
    for (sample, times) in samples {
        if let Some(value) = sample.get(column) {
            let count = counts.entry(value).or_default();
            *count = times.saturating_add(*count);
        }
    }
    let all: f64 = samples.iter().map(|(_, times)| *times as f64).sum();
    counts.into_iter().map(|(value, count)| (value, count as f64 / all)).collect()
}

/// Shares are estimates: more digits would say more than is known.
fn rounded(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0 + 0.0
}

/// What stands for a personal value.
fn pseudonym(column: &str, value: &str) -> String {
    format!("{column}#{}", &hash(&format!("{column}\u{1f}{value}"))[..8])
}

fn by_series(window: &Window<'_>, fold: &FoldUse, keys: &[usize]) -> Result<BySeries> {
    let Some(store) = window.stores.get(&fold.ids.fold) else { return exec_err!("the samples are not there") };
    let plan = store.plan();
    let mut aggregates = Vec::new();
    for wanted in &fold.ids.aggregates {
        let Some(at) = plan.aggregates.iter().position(|known| known == wanted) else {
            return exec_err!("the samples are not computed");
        };
        aggregates.push(at);
    }
    let (from, to) = fold.hop.window(window.end);
    let rows = finish(plan, &store.range(from, to), &aggregates, &fold.result)?;
    let mut found = BySeries::new();
    for row in 0..rows.num_rows() {
        let offending = rows.column(keys.len() + 1).as_primitive::<Int64Type>().value(row);
        let texts = rows.column(keys.len()).as_string::<i32>();
        if offending > 0 && texts.is_valid(row) {
            let series = series_of(window.rule, keys, &rows, row)?;
            let mut samples = samples::read(texts.value(row));
            // A garbled state may say anything; what is not a count has no share.
            samples.retain(|(_, times)| (1..=offending).contains(times));
            found.insert(series, (samples, offending));
        }
    }
    Ok(found)
}

fn series_of(rule: &Rule, keys: &[usize], rows: &arrow::array::RecordBatch, row: usize) -> Result<String> {
    let mut columns: BTreeMap<String, Value> = BTreeMap::new();
    for (at, column) in keys.iter().enumerate() {
        columns.insert(rule.output.schema.field(*column).name().clone(), key_value(rows.column(at), row)?);
    }
    Ok(canonical(columns))
}
