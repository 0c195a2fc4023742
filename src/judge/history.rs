//! What the functions of a rule's `history:` remember of each series, and what they make of it.
//!
//! Pure: a reading in, results out. Everything here steps by window size and follows first readings only, so it is the
//! same in every replay.

mod season;
mod trend;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Schema},
};
use datafusion::common::Result;
use serde::{Deserialize, Serialize};

pub use self::season::Season;
use crate::{
    panes::Millis,
    rules::history::{Call, Function, History},
};

/// What is remembered of one series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesHistory {
    /// The latest readings, by call.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    recent: BTreeMap<String, VecDeque<(Millis, f64)>>,
    /// What is usual, by argument.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    seasons: BTreeMap<String, Season>,
}

/// The rows of one window.
pub struct Window<'a> {
    /// The output columns.
    pub rows: &'a RecordBatch,
    /// The series of each row.
    pub series: &'a [Arc<str>],
    /// Which rows are judged: others teach nothing.
    pub judged: &'a [bool],
    /// The window's end.
    pub end: Millis,
}

/// Takes the rows of a window: answers with the columns of the history behind those that were there.
pub fn step(
    history: &History,
    known: &mut BTreeMap<Arc<str>, SeriesHistory>,
    window: &Window<'_>,
) -> Result<RecordBatch> {
    let mut rows = window.rows.clone();
    for step in &history.steps {
        let mut columns = rows.columns().to_vec();
        for call in &step.calls {
            let argument = call.argument.evaluate(&rows)?.into_array(rows.num_rows())?;
            columns.push(results(history, call, &argument, known, window)?);
        }
        let with_calls = RecordBatch::try_new(Arc::clone(&step.schema), columns)?;
        let column = step.expr.evaluate(&with_calls)?.into_array(rows.num_rows())?;
        let column = finite(&cast(&column, &step.kind)?);
        let mut columns = rows.columns().to_vec();
        let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(arrow::datatypes::Field::new(&step.name, step.kind.clone(), true)));
        columns.push(column);
        rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    }
    Ok(rows)
}

/// NaN and infinities are NULL, as everywhere.
fn finite(column: &ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<Float64Type>() {
        Some(values) => {
            let clean = values.iter().map(|value| value.filter(|value| value.is_finite()).map(|value| value + 0.0));
            Arc::new(clean.collect::<Float64Array>())
        }
        None => Arc::clone(column),
    }
}

fn results(
    history: &History,
    call: &Call,
    argument: &ArrayRef,
    known: &mut BTreeMap<Arc<str>, SeriesHistory>,
    window: &Window<'_>,
) -> Result<ArrayRef> {
    let values = cast(argument, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let mut out: Vec<Option<f64>> = Vec::with_capacity(values.len());
    for (row, series) in window.series.iter().enumerate() {
        let value = (values.is_valid(row) && window.judged[row]).then(|| values.value(row)).filter(|v| v.is_finite());
        let one = known.entry(Arc::clone(series)).or_default();
        out.push(match call.function {
            Function::Expected | Function::Deviation => {
                let season = one.seasons.entry(call.of.clone()).or_insert_with(|| {
                    let learnt = history.learnt.get(&(series.to_string(), call.of.clone()));
                    Season::new(learnt.map(Vec::as_slice).unwrap_or_default(), history, window.end)
                });
                season.take(history, window.end, value);
                let usual = season.expected(history, window.end);
                if call.function == Function::Expected {
                    usual
                } else {
                    usual.zip(value).map(|(usual, value)| (value - usual) / season.scale(usual))
                }
            }
            function => {
                let points = one.recent.entry(call.id.clone()).or_default();
                recent(history, function, points, window.end, value)
            }
        });
    }
    Ok(match call.function {
        Function::Growing { .. } | Function::Recurs { .. } => {
            Arc::new(out.into_iter().map(|value| value.map(|value| value > 0.0)).collect::<BooleanArray>())
        }
        _ => Arc::new(Float64Array::from(out)),
    })
}

/// A function that looks at the latest readings; predicates are 1 and 0.
fn recent(
    history: &History,
    function: Function,
    points: &mut VecDeque<(Millis, f64)>,
    end: Millis,
    value: Option<f64>,
) -> Option<f64> {
    let back = match function {
        Function::Growing { span_ms, .. }
        | Function::Trend { span_ms }
        | Function::Share { span_ms }
        | Function::Ago { span_ms } => span_ms,
        Function::Recurs { windows, .. } => (windows - 1) * history.step_ms,
        Function::Expected | Function::Deviation => 0,
    };
    while points.front().is_some_and(|(at, _)| *at < end - back) {
        points.pop_front();
    }
    if let Some(value) = value
        && points.back().is_none_or(|(at, _)| *at < end)
    {
        points.push_back((end, value));
    }
    let at = |time: Millis| {
        let found = points.binary_search_by_key(&time, |(at, _)| *at).ok()?;
        points.get(found).map(|(_, value)| *value)
    };
    // The windows that do not overlap, the latest first.
    let windows = || (0..=back / history.step_ms).map(|step| (step, at(end - step * history.step_ms)));
    #[expect(clippy::cast_precision_loss, reason = "a few thousand windows at most")]
    match function {
        Function::Ago { span_ms } => at(end - span_ms),
        Function::Recurs { least, .. } => {
            let held = windows().filter(|(_, held)| held.is_some_and(|held| held > 0.0)).count();
            Some(if held as i64 >= least { 1.0 } else { 0.0 })
        }
        Function::Share { .. } => {
            let judged: Vec<f64> = windows().filter_map(|(_, held)| held).collect();
            (!judged.is_empty()).then(|| judged.iter().sum::<f64>() / judged.len() as f64)
        }
        Function::Growing { span_ms, .. } | Function::Trend { span_ms } => {
            // Oldest first, and time in windows.
            let mut line: Vec<(f64, f64)> =
                windows().filter_map(|(step, value)| Some((-(step as f64), value?))).collect();
            line.reverse();
            let spans = span_ms as f64 / history.step_ms as f64;
            let found = trend::of(&line, spans)?;
            Some(match function {
                Function::Growing { min_rise, .. } => f64::from(u8::from(found.grows(min_rise))),
                _ => found.rise,
            })
        }
        Function::Expected | Function::Deviation => None,
    }
}

impl SeriesHistory {
    /// Forgets what no call of `history` asks for any more.
    pub fn retain(&mut self, history: &History) {
        let calls = || history.steps.iter().flat_map(|step| &step.calls);
        self.recent.retain(|id, _| calls().any(|call| call.id == *id));
        self.seasons.retain(|of, _| calls().any(|call| call.of == *of));
    }

    /// What is usual of each argument, hour by hour, for a file that other instances begin with.
    pub fn seasons(&self) -> impl Iterator<Item = (&String, &Season)> {
        self.seasons.iter()
    }
}

#[cfg(test)]
mod tests;
