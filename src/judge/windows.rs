//! One rule at one window end: panes put together, the rest of the plan run, rows judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch},
    datatypes::DataType,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use serde_json::Value;

use super::{
    RuleState,
    breach::Told,
    history, memory,
    output::{Output, Reading, plain},
    panes::PaneStore,
    rows::{Judged, key_columns, measures, of_sql, samples_at, texts, unjudged, value_at},
    series::{Identity, SeriesState},
};
use crate::{
    fold::accumulate::{finish, finish_nothing},
    panes::Millis,
    rules::{
        Rule,
        header::Silence,
        levels::Level,
        plan::FoldUse,
        series::{canonical, key_value},
    },
    spread::partition_of,
    time::rfc3339,
};

/// One window of one rule.
pub(super) struct Window<'a> {
    /// The rule.
    pub(super) rule: &'a Arc<Rule>,
    /// The window's end.
    pub(super) end: Millis,
    /// True where every event of it was counted.
    pub(super) whole: bool,
    /// The judge partition, of how many.
    pub(super) partition: (i32, i32),
    /// The states.
    pub(super) stores: &'a BTreeMap<String, PaneStore>,
}

/// Evaluates and judges one window. Answers with its rows where they are to be remembered.
pub(super) fn evaluate(
    window: &Window<'_>,
    state: &mut RuleState,
    changed: &mut BTreeSet<(String, Arc<str>)>,
    out: &mut Vec<Output>,
) -> Result<Option<RecordBatch>> {
    let Window { rule, end, whole, stores, .. } = *window;
    if whole {
        expect(window, state, changed);
    }
    let nothing = rule.folds.iter().all(|fold| {
        let (from, to) = fold.hop.window(end);
        stores.get(&fold.ids.fold).is_none_or(|store| store.is_empty(from, to))
    });
    if nothing && rule.spread && rule.header.no_data.silence != Silence::Zero {
        // No states, no rows: only silence is to be noticed.
        if whole {
            silences(window, &BTreeSet::new(), state, changed, out);
        }
        return Ok(None);
    }
    let (rows, silent) = rows(window, state)?;
    let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut named = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        let columns = key_columns(rule, &rows, row)?;
        let series: Arc<str> = canonical(columns.iter().cloned().collect()).into();
        if !seen.insert(Arc::clone(&series)) {
            return exec_err!(
                "the key {series} stands twice in the window that ends at {}: the columns of `key` are not unique",
                rfc3339(end)
            );
        }
        named.push((columns, series));
    }
    let unjudged = unjudged(rule, &rows, whole)?;
    let teaches: Vec<bool> = unjudged.iter().map(Option::is_none).collect();
    let series: Vec<Arc<str>> = named.iter().map(|(_, series)| Arc::clone(series)).collect();
    let looked = history::Window { rows: &rows, series: &series, judged: &teaches, end };
    let rows = history::step(&rule.history, &mut state.histories, &looked)?;
    let judged = Judged::new(rule, &rows)?;
    let mut told = Told::new(window);
    let mut levels = Vec::with_capacity(rows.num_rows());
    for (row, (columns, series)) in named.into_iter().enumerate() {
        let mut reading = Reading {
            rule: Arc::clone(rule),
            series: Arc::clone(&series),
            columns,
            window_start: window_start(rule, end),
            window_end: end,
            value: value_at(&rows, rule.output.value, row),
            samples: rule.output.samples.and_then(|at| samples_at(&rows, at, row)),
            level: None,
            state: Level::Healthy,
            unjudged: unjudged[row],
            measures: measures(rule, &rows, row),
            labels: texts(rule, &rows, row)?,
            corrected: false,
            retracted: false,
        };
        let who = Identity { rule: &rule.header.name, series: &series };
        let known = state.series.get(&series);
        if reading.unjudged.is_none() {
            match judged.level(rule, &reading, row, known.and_then(|known| known.level)) {
                Ok(level) => reading.level = Some(level),
                Err(reason) => reading.unjudged = Some(reason),
            }
        }
        let mut series_state = known.cloned().unwrap_or_default();
        let change = if silent.contains(&series) {
            series_state.zero(who, &rule.header, rule.slide_ms, end, reading.level)
        } else {
            series_state.reading(who, &rule.header, rule.slide_ms, end, reading.level)
        };
        reading.state = series_state.state;
        if known != Some(&series_state) {
            state.series.insert(Arc::clone(&series), series_state);
            changed.insert((rule.header.name.clone(), Arc::clone(&series)));
        }
        levels.push((reading.level, reading.state));
        let event = change.and_then(|change| told.event(who, Some(&reading), &change));
        state.corrections.said(&reading);
        out.push(Output::Reading(Box::new(reading)));
        out.extend(event);
    }
    // A window that is not whole does not know who is silent.
    if whole {
        silences(window, &seen, state, changed, out);
    }
    forget_most(rule, state, changed);
    Ok(if rule.remembered() { Some(memory::rows(&rows, &levels, &teaches)?) } else { None })
}

/// Beside the series that a rule may have it remembers as many silent ones. Of more, those are forgotten that have been
/// silent and healthy for longest.
fn forget_most(rule: &Rule, state: &mut RuleState, changed: &mut BTreeSet<(String, Arc<str>)>) {
    let much = state.series.len().saturating_sub(rule.header.max_series.saturating_mul(2));
    if much == 0 {
        return;
    }
    let silent = state.series.iter().filter(|(name, one)| one.episode.is_none() && !rule.expects(name));
    let mut silent: Vec<(Millis, Arc<str>)> =
        silent.filter_map(|(name, one)| Some((one.silent_since?, Arc::clone(name)))).collect();
    silent.sort();
    for (_, name) in silent.into_iter().take(much) {
        state.series.remove(&name);
        state.histories.remove(&name);
        changed.insert((rule.header.name.clone(), name));
    }
}

/// Of several windows the earliest start.
pub(super) fn window_start(rule: &Rule, end: Millis) -> Millis {
    rule.folds.iter().map(|fold| fold.hop.window(end).0).min().unwrap_or(end)
}

/// Series that should be there are known from the start, as silent ones.
fn expect(window: &Window<'_>, state: &mut RuleState, changed: &mut BTreeSet<(String, Arc<str>)>) {
    let Window { rule, end, partition, .. } = *window;
    for expected in rule.expected.iter().filter(|expected| partition_of(&expected.home, partition.1) == partition.0) {
        if !state.series.contains_key(&expected.series) {
            let silent = SeriesState::silent(end - rule.slide_ms);
            state.series.insert(Arc::clone(&expected.series), silent);
            changed.insert((rule.header.name.clone(), Arc::clone(&expected.series)));
        }
    }
}

/// The rows of the rule's SQL, and the series that no event of the window speaks of.
pub(super) fn rows(window: &Window<'_>, state: &RuleState) -> Result<(RecordBatch, BTreeSet<Arc<str>>)> {
    let rule = window.rule;
    let mut results = Vec::new();
    // To rules to which silence is zero: the series that no fold speaks of.
    let mut silent: Option<BTreeSet<Arc<str>>> = None;
    for fold in &rule.folds {
        let (result, missing) = result(rule, fold, window.end, window.stores, state)?;
        results.push(result);
        silent = Some(match silent {
            None => missing,
            Some(silent) => silent.intersection(&missing).cloned().collect(),
        });
    }
    let rest = rule.rest.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = rest.run(window.end, results)?;
    Ok((of_sql(rule, &rows)?, silent.unwrap_or_default()))
}

/// The series that the window does not speak of.
fn silences(
    window: &Window<'_>,
    seen: &BTreeSet<Arc<str>>,
    state: &mut RuleState,
    changed: &mut BTreeSet<(String, Arc<str>)>,
    out: &mut Vec<Output>,
) {
    let Window { rule, end, .. } = *window;
    let silent: Vec<Arc<str>> = state.series.keys().filter(|series| !seen.contains(*series)).cloned().collect();
    let mut told = Told::new(window);
    for series in silent {
        let Some(known) = state.series.get_mut(&series) else { continue };
        let before = known.clone();
        let who = Identity { rule: &rule.header.name, series: &series };
        let (change, forget) = known.silence(who, &rule.header, rule.slide_ms, end, rule.expects(&series));
        let same = *known == before;
        out.extend(change.and_then(|change| told.event(who, None, &change)));
        if forget {
            state.series.remove(&series);
            state.histories.remove(&series);
        }
        if forget || !same {
            changed.insert((rule.header.name.clone(), series));
        }
    }
}

/// The finished result of one fold for the window, sorted by its keys, and the series it says nothing of, to rules to
/// which that is zero.
fn result(
    rule: &Rule,
    fold: &FoldUse,
    end: Millis,
    stores: &BTreeMap<String, PaneStore>,
    state: &RuleState,
) -> Result<(RecordBatch, BTreeSet<Arc<str>>)> {
    let fingerprint = &fold.ids.fold;
    let Some(store) = stores.get(fingerprint) else { return exec_err!("the fold {fingerprint} is not there") };
    let plan = store.plan();
    let mut aggregates = Vec::new();
    for (aggregate, wanted) in fold.spec.aggregates.iter().zip(&fold.ids.aggregates) {
        match plan.aggregates.iter().position(|known| known == wanted) {
            Some(at) => aggregates.push(at),
            None => return exec_err!("the fold {fingerprint} does not compute {aggregate}"),
        }
    }
    let (from, to) = fold.hop.window(end);
    let mut batch = finish(plan, &store.range(from, to), &aggregates, &fold.result)?;
    let mut silent = BTreeSet::new();
    if rule.header.no_data.silence == Silence::Zero && plan.key_count() > 0 {
        let missing;
        (missing, silent) = missing_keys(rule, fold, &batch, end, state)?;
        if missing.first().is_some_and(|column| !column.is_empty()) {
            let nothing = finish_nothing(plan, missing, &aggregates, &fold.result)?;
            batch = concat_batches(&fold.result, [&batch, &nothing])?;
        }
    }
    Ok((sorted(&batch, plan.key_count())?, silent))
}

fn sorted(batch: &RecordBatch, keys: usize) -> Result<RecordBatch> {
    if keys == 0 || batch.num_rows() < 2 {
        return Ok(batch.clone());
    }
    let columns: Vec<SortColumn> =
        batch.columns()[..keys].iter().map(|values| SortColumn { values: Arc::clone(values), options: None }).collect();
    Ok(take_record_batch(batch, &lexsort_to_indices(&columns, None)?)?)
}

/// The keys of known series that a fold says nothing of, for rules to which silence is zero.
fn missing_keys(
    rule: &Rule,
    fold: &FoldUse,
    batch: &RecordBatch,
    end: Millis,
    state: &RuleState,
) -> Result<(Vec<ArrayRef>, BTreeSet<Arc<str>>)> {
    let names: Vec<&str> = rule.output.keys.iter().map(|at| rule.output.schema.field(*at).name().as_str()).collect();
    // A key as text, or none where it is NULL.
    let text = |value: &Value| (!value.is_null()).then(|| plain(value));
    let of_fold = |series: &str| -> Option<Vec<Option<String>>> {
        let json: Value = serde_json::from_str(series).ok()?;
        fold.zero_keys.iter().map(|key| json.get(names.get(*key)?).map(text)).collect()
    };
    let mut present = BTreeSet::new();
    for row in 0..batch.num_rows() {
        let key: Result<Vec<Option<String>>> =
            (0..fold.zero_keys.len()).map(|at| Ok(text(&key_value(batch.column(at), row)?))).collect();
        present.insert(key?);
    }
    let silent: BTreeMap<&Arc<str>, Vec<Option<String>>> = state
        .series
        .iter()
        .filter(|(series, known)| rule.expects(series) || !known.forgettable(&rule.header, end))
        .filter_map(|(series, _)| Some((series, of_fold(series)?)))
        .filter(|(_, key)| !present.contains(key))
        .collect();
    let missing: BTreeSet<&Vec<Option<String>>> = silent.values().collect();
    let column = |at: usize, kind: &DataType| -> Result<ArrayRef> {
        if missing.is_empty() {
            return Ok(arrow::array::new_empty_array(kind));
        }
        let scalar = |key: &&Vec<Option<String>>| match &key[at] {
            Some(text) => ScalarValue::try_from_string(text.clone(), kind),
            None => ScalarValue::try_new_null(kind),
        };
        ScalarValue::iter_to_array(missing.iter().map(scalar).collect::<Result<Vec<_>>>()?)
    };
    let columns: Result<Vec<ArrayRef>> =
        (0..fold.zero_keys.len()).map(|at| column(at, fold.result.field(at).data_type())).collect();
    Ok((columns?, silent.into_keys().cloned().collect()))
}
