//! One rule at one window end: panes put together, the rest of the plan run, rows judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    compute::{SortColumn, cast, concat_batches, lexsort_to_indices, take_record_batch},
    datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMillisecondType},
    util::display::array_value_to_string,
};
use datafusion::{
    common::{Result, ScalarValue, exec_err},
    physical_expr::PhysicalExpr,
};
use serde_json::{Value, json};

use super::{
    RuleState,
    output::{BreachEvent, Measure, Output, Reading, canonical, plain},
    panes::PaneStore,
    series::{Change, Happened, Identity},
};
use crate::{
    fold::accumulate::{finish, finish_nothing},
    panes::Millis,
    rules::{Rule, hash, header::Silence, levels::Level, plan::FoldUse, template},
    time::rfc3339,
};

/// Evaluates and judges one window.
pub(super) fn evaluate(
    rule: &Arc<Rule>,
    end: Millis,
    whole: bool,
    stores: &BTreeMap<String, PaneStore>,
    state: &mut RuleState,
    changed: &mut BTreeSet<(String, Arc<str>)>,
    out: &mut Vec<Output>,
) -> Result<()> {
    let nothing = rule.folds.iter().all(|fold| {
        let (from, to) = fold.hop.window(end);
        stores.get(&fold.ids.fold).is_none_or(|store| store.is_empty(from, to))
    });
    if nothing && rule.spread && rule.header.no_data.silence != Silence::Zero {
        // No states, no rows: only silence is to be noticed.
        if whole {
            silences(rule, end, &BTreeSet::new(), state, changed, out);
        }
        return Ok(());
    }
    let mut results = Vec::new();
    // To rules to which silence is zero: the series that no fold speaks of.
    let mut silent: Option<BTreeSet<Arc<str>>> = None;
    for fold in &rule.folds {
        let (result, missing) = result(rule, fold, end, stores, state)?;
        results.push(result);
        silent = Some(match silent {
            None => missing,
            Some(silent) => silent.intersection(&missing).cloned().collect(),
        });
    }
    let silent = silent.unwrap_or_default();
    let rest = rule.rest.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = rest.run(end, results)?;
    drop(rest);
    let judged = Judged::new(rule, &rows)?;
    let window_start = rule.folds.iter().map(|fold| fold.hop.window(end).0).min().unwrap_or(end);
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
    for (row, (columns, series)) in named.into_iter().enumerate() {
        let mut reading = Reading {
            rule: Arc::clone(rule),
            series: Arc::clone(&series),
            columns,
            window_start,
            window_end: end,
            value: value_at(&rows, rule.output.value, row),
            samples: rule.output.samples.and_then(|at| samples_at(&rows, at, row)),
            level: None,
            state: Level::Healthy,
            unjudged: None,
            measures: measures(rule, &rows, row),
            labels: texts(rule, &rows, row)?,
        };
        let who = Identity { rule: &rule.header.name, series: &series };
        let known = state.series.get(&series);
        if whole {
            match judged.level(rule, &reading, row, known.and_then(|known| known.level)) {
                Ok(level) => reading.level = Some(level),
                Err(reason) => reading.unjudged = Some(reason),
            }
        } else {
            reading.unjudged = Some("partial");
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
        let shown = reading.clone();
        out.push(Output::Reading(Box::new(reading)));
        if let Some(change) = change {
            breach(rule, who, end, Some(&shown), &change, out);
        }
    }
    // A window that is not whole does not know who is silent.
    if whole {
        silences(rule, end, &seen, state, changed, out);
    }
    Ok(())
}

/// The series that the window does not speak of.
fn silences(
    rule: &Arc<Rule>,
    end: Millis,
    seen: &BTreeSet<Arc<str>>,
    state: &mut RuleState,
    changed: &mut BTreeSet<(String, Arc<str>)>,
    out: &mut Vec<Output>,
) {
    let silent: Vec<Arc<str>> = state.series.keys().filter(|series| !seen.contains(*series)).cloned().collect();
    for series in silent {
        let Some(known) = state.series.get_mut(&series) else { continue };
        let before = known.clone();
        let who = Identity { rule: &rule.header.name, series: &series };
        let (change, forget) = known.silence(who, &rule.header, rule.slide_ms, end);
        let same = *known == before;
        if let Some(change) = change {
            breach(rule, who, end, None, &change, out);
        }
        if forget {
            state.series.remove(&series);
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
        .filter(|(_, known)| !known.forgettable(&rule.header, end))
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

/// The predicates of a rule, evaluated over all rows of a window.
struct Judged {
    levels: BTreeMap<Level, BooleanArray>,
    until: BTreeMap<Level, BooleanArray>,
    judge_when: Option<BooleanArray>,
}

impl Judged {
    fn new(rule: &Rule, rows: &RecordBatch) -> Result<Self> {
        let rows = conform(rows, &rule.output.schema)?;
        let evaluate = |expr: &Arc<dyn PhysicalExpr>| -> Result<BooleanArray> {
            Ok(expr.evaluate(&rows)?.into_array(rows.num_rows())?.as_boolean().clone())
        };
        let all = |exprs: &BTreeMap<Level, Arc<dyn PhysicalExpr>>| -> Result<BTreeMap<Level, BooleanArray>> {
            exprs.iter().map(|(level, expr)| Ok((*level, evaluate(expr)?))).collect()
        };
        Ok(Self {
            levels: all(&rule.predicates.levels)?,
            until: all(&rule.predicates.until)?,
            judge_when: rule.predicates.judge_when.as_ref().map(evaluate).transpose()?,
        })
    }

    fn holds(array: &BooleanArray, row: usize) -> Option<bool> {
        array.is_valid(row).then(|| array.value(row))
    }

    /// The level of a row, or why it has none.
    fn level(
        &self,
        rule: &Rule,
        reading: &Reading,
        row: usize,
        present: Option<Level>,
    ) -> std::result::Result<Level, &'static str> {
        let value = reading.value.ok_or("no_value")?;
        if self.judge_when.as_ref().is_some_and(|when| Self::holds(when, row) != Some(true)) {
            return Err("judge_when");
        }
        if self.levels.values().all(|array| array.is_null(row)) {
            return Err("no_level");
        }
        let level = match &rule.bands {
            Some(bands) => bands.level(value, present),
            None => {
                let severe = self
                    .levels
                    .iter()
                    .rev()
                    .find(|(_, array)| Self::holds(array, row) == Some(true))
                    .map(|(level, _)| *level);
                let open = !self.levels.contains_key(&Level::Healthy);
                severe.or(open.then_some(Level::Healthy)).or(present).unwrap_or_default()
            }
        };
        match present {
            // A level with an `until` is left only when that holds.
            Some(present) if level < present => match self.until.get(&present) {
                Some(until) if Self::holds(until, row) != Some(true) => Ok(present),
                _ => Ok(level),
            },
            _ => Ok(level),
        }
    }
}

/// Casts a batch to a schema of the same columns.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns: std::result::Result<Vec<ArrayRef>, _> =
        rows.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type())).collect();
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Ok(RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns?)?)
}

fn value_at(rows: &RecordBatch, at: usize, row: usize) -> Option<f64> {
    let column = rows.column(at).as_primitive_opt::<Float64Type>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn samples_at(rows: &RecordBatch, at: usize, row: usize) -> Option<i64> {
    let column = cast(&rows.column(at).slice(row, 1), &DataType::Int64).ok()?;
    let column = column.as_primitive::<Int64Type>();
    column.is_valid(0).then(|| column.value(0))
}

fn key_columns(rule: &Rule, rows: &RecordBatch, row: usize) -> Result<Vec<(String, Value)>> {
    let one = |at: &usize| Ok((rule.output.schema.field(*at).name().clone(), key_value(rows.column(*at), row)?));
    rule.output.keys.iter().map(one).collect()
}

/// A key as it stands in a series.
fn key_value(column: &ArrayRef, row: usize) -> Result<Value> {
    Ok(match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            json!(rfc3339(column.as_primitive::<TimestampMillisecondType>().value(row)))
        }
        _ => Value::String(array_value_to_string(column, row)?),
    })
}

fn measures(rule: &Rule, rows: &RecordBatch, row: usize) -> Vec<(String, Option<Measure>)> {
    let one = |at: &usize| {
        let column = rows.column(*at).slice(row, 1);
        let measure = if column.is_null(0) {
            None
        } else if column.data_type().is_integer() || *column.data_type() == DataType::Boolean {
            cast(&column, &DataType::Int64)
                .ok()
                .map(|column| Measure::Whole(column.as_primitive::<Int64Type>().value(0)))
        } else {
            cast(&column, &DataType::Float64)
                .ok()
                .map(|column| Measure::Number(column.as_primitive::<Float64Type>().value(0)))
        };
        (rule.output.schema.field(*at).name().clone(), measure)
    };
    rule.output.measures.iter().map(one).collect()
}

fn texts(rule: &Rule, rows: &RecordBatch, row: usize) -> Result<Vec<(String, Option<String>)>> {
    let one = |at: &usize| -> Result<(String, Option<String>)> {
        let column = rows.column(*at);
        let text = match column.as_primitive_opt::<TimestampMillisecondType>() {
            _ if column.is_null(row) => None,
            Some(times) => Some(rfc3339(times.value(row))),
            None => Some(array_value_to_string(column, row)?),
        };
        Ok((rule.output.schema.field(*at).name().clone(), text))
    };
    rule.output.labels.iter().map(one).collect()
}

/// Tells a change of a series to people, unless the rule is in shadow.
pub(super) fn breach(
    rule: &Arc<Rule>,
    who: Identity<'_>,
    end: Millis,
    reading: Option<&Reading>,
    change: &Change,
    out: &mut Vec<Output>,
) {
    let header = &rule.header;
    if header.shadow {
        return;
    }
    let series: BTreeMap<String, Value> = serde_json::from_str(who.series).unwrap_or_default();
    // The limit that matters is that of the worse of the two states.
    let limit = header
        .levels
        .get(&change.state.max(change.previous))
        .map(|predicate| predicate.sql.clone())
        .unwrap_or_default();
    let start = rule.folds.iter().map(|fold| fold.hop.window(end).0).min().unwrap_or(end);
    let value = reading.and_then(|reading| reading.value);
    let mut known = serde_json::Map::from_iter(series.clone());
    for (name, measure) in reading.iter().flat_map(|reading| &reading.measures) {
        known.insert(name.clone(), json!(measure));
    }
    for (name, text) in reading.iter().flat_map(|reading| &reading.labels) {
        known.insert(name.clone(), json!(text));
    }
    for (name, given) in [
        ("value", json!(value)),
        ("samples", json!(reading.and_then(|reading| reading.samples))),
        ("rule", json!(header.name)),
        ("title", json!(header.title)),
        ("unit", json!(header.unit)),
        ("level", json!(change.state)),
        ("state", json!(change.state)),
        ("previous_level", json!(change.previous)),
        ("limit", json!(limit)),
        ("since", json!(rfc3339(change.episode.since_ms))),
        ("window_end", json!(rfc3339(end))),
    ] {
        known.insert(name.into(), given);
    }
    // Columns that this reading does not have are no mistake of the template.
    for field in rule.output.schema.fields() {
        known.entry(field.name().clone()).or_insert(Value::Null);
    }
    let known = Value::Object(known);
    let mut labels = header.labels.clone();
    labels.extend(
        reading
            .iter()
            .flat_map(|reading| &reading.labels)
            .filter_map(|(name, text)| Some((name.clone(), text.clone()?))),
    );
    out.push(Output::Breach(Box::new(BreachEvent {
        happened: change.happened,
        id: change.event_id(who),
        episode: change.episode.id.clone(),
        ordinal: change.episode.events,
        rule: header.name.clone(),
        rule_version: rule.version.clone(),
        title: header.title.clone(),
        tier: header.tier.name().into(),
        kind: header.tier.kind().into(),
        owner: header.owner.clone(),
        series,
        level: change.state,
        previous_level: change.previous,
        value,
        unit: header.unit.clone(),
        limit,
        samples: reading.and_then(|reading| reading.samples),
        window_start: rfc3339(start),
        window_end: rfc3339(end),
        since: rfc3339(change.episode.since_ms),
        opened_at: rfc3339(change.episode.opened_ms),
        reason: change.reason.into(),
        summary: template::render(&header.annotations.summary, &known),
        description: template::render(&header.annotations.description, &known),
        runbook_url: header.annotations.runbook_url.clone(),
        labels,
        measures: reading.map(|reading| reading.measures.iter().cloned().collect()).unwrap_or_default(),
    })));
}

/// The built-in technical breach about a rule that failed in one partition: opened when it is fenced off, resolved when
/// it has changed.
pub(super) fn fenced(rule: &Rule, partition: i32, end: Millis, reason: &str, happened: Happened) -> Output {
    let name = "tierwatch_rule_fenced";
    let series =
        BTreeMap::from([("rule".to_owned(), json!(rule.header.name)), ("partition".to_owned(), json!(partition))]);
    // The version, not the window, tells one failure from the next: a replay may find it at another window.
    let episode = hash(&format!("{name}\u{1f}{}\u{1f}{}", canonical(series.clone()), rule.version));
    let open = happened == Happened::Opened;
    let ordinal = if open { 1 } else { 2 };
    let levels = if open { (Level::Critical, Level::Healthy) } else { (Level::Healthy, Level::Critical) };
    let summary = if open {
        format!("{} is not evaluated until it changes: {reason}", rule.header.name)
    } else {
        format!("{} has changed and is evaluated again", rule.header.name)
    };
    Output::Breach(Box::new(BreachEvent {
        happened,
        id: hash(&format!("{episode}\u{1f}{ordinal}")),
        episode,
        ordinal,
        rule: name.into(),
        rule_version: rule.version.clone(),
        title: "A rule failed and is fenced off".into(),
        tier: "data".into(),
        kind: "technical".into(),
        owner: rule.header.owner.clone(),
        series,
        level: levels.0,
        previous_level: levels.1,
        value: None,
        unit: String::new(),
        limit: String::new(),
        samples: None,
        window_start: rfc3339(end - rule.slide_ms),
        window_end: rfc3339(end),
        since: rfc3339(end),
        opened_at: rfc3339(end),
        reason: reason.into(),
        summary,
        description: String::new(),
        runbook_url: rule.header.annotations.runbook_url.clone(),
        labels: BTreeMap::new(),
        measures: BTreeMap::new(),
    }))
}
