//! The rows of one window: their level by the rule's predicates, and their columns as readings have them.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimestampMillisecondType},
    util::display::array_value_to_string,
};
use datafusion::{common::Result, physical_expr::PhysicalExpr};
use serde_json::Value;

use super::output::{Measure, Reading};
use crate::{
    rules::{Rule, levels::Level, series::key_value},
    time::rfc3339,
};

/// The predicates of a rule, evaluated over all rows of a window.
pub(super) struct Judged {
    levels: BTreeMap<Level, BooleanArray>,
    until: BTreeMap<Level, BooleanArray>,
}

/// Where a predicate holds.
fn holds(predicate: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    Ok(predicate.evaluate(rows)?.into_array(rows.num_rows())?.as_boolean().clone())
}

/// Why each row is not judged, before its level is looked at; `rows` has the columns of the SQL.
pub(super) fn unjudged(rule: &Rule, rows: &RecordBatch, whole: bool) -> Result<Vec<Option<&'static str>>> {
    let when = rule.predicates.judge_when.as_ref().map(|when| holds(when, rows)).transpose()?;
    let value = rows.column(rule.output.value);
    let one = |row: usize| {
        if !whole {
            Some("partial")
        } else if value.is_null(row) {
            Some("no_value")
        } else if when.as_ref().is_some_and(|when| when.is_null(row) || !when.value(row)) {
            Some("judge_when")
        } else {
            None
        }
    };
    Ok((0..rows.num_rows()).map(one).collect())
}

impl Judged {
    /// `rows` has every output column, those of the history too.
    pub(super) fn new(rule: &Rule, rows: &RecordBatch) -> Result<Self> {
        let evaluate = |expr: &Arc<dyn PhysicalExpr>| holds(expr, rows);
        let all = |exprs: &BTreeMap<Level, Arc<dyn PhysicalExpr>>| -> Result<BTreeMap<Level, BooleanArray>> {
            exprs.iter().map(|(level, expr)| Ok((*level, evaluate(expr)?))).collect()
        };
        Ok(Self { levels: all(&rule.predicates.levels)?, until: all(&rule.predicates.until)? })
    }

    fn holds(array: &BooleanArray, row: usize) -> Option<bool> {
        array.is_valid(row).then(|| array.value(row))
    }

    /// The level of a row, or why it has none.
    pub(super) fn level(
        &self,
        rule: &Rule,
        reading: &Reading,
        row: usize,
        present: Option<Level>,
    ) -> std::result::Result<Level, &'static str> {
        let value = reading.value.ok_or("no_value")?;
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
        // A level with an `until` is left only when that holds, and what lies between likewise.
        let keeps = |one: &Level| self.until.get(one).is_some_and(|until| Self::holds(until, row) != Some(true));
        let between = |one: &Level| present.is_some_and(|present| level < *one && *one <= present);
        Ok(Level::ALL.into_iter().rev().find(|one| between(one) && keeps(one)).unwrap_or(level))
    }
}

/// Casts a batch to the columns that the rule's SQL gives.
pub(super) fn of_sql(rule: &Rule, rows: &RecordBatch) -> Result<RecordBatch> {
    let fields = rule.output.schema.fields()[..rule.output.of_sql].to_vec();
    conform(rows, &Arc::new(arrow::datatypes::Schema::new(fields)))
}

/// Casts a batch to a schema of the same columns.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns: std::result::Result<Vec<ArrayRef>, _> =
        rows.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type())).collect();
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Ok(RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns?)?)
}

pub(super) fn value_at(rows: &RecordBatch, at: usize, row: usize) -> Option<f64> {
    let column = rows.column(at).as_primitive_opt::<Float64Type>()?;
    column.is_valid(row).then(|| column.value(row))
}

pub(super) fn samples_at(rows: &RecordBatch, at: usize, row: usize) -> Option<i64> {
    let column = cast(&rows.column(at).slice(row, 1), &DataType::Int64).ok()?;
    let column = column.as_primitive::<Int64Type>();
    column.is_valid(0).then(|| column.value(0))
}

pub(super) fn key_columns(rule: &Rule, rows: &RecordBatch, row: usize) -> Result<Vec<(String, Value)>> {
    let one = |at: &usize| Ok((rule.output.schema.field(*at).name().clone(), key_value(rows.column(*at), row)?));
    rule.output.keys.iter().map(one).collect()
}

pub(super) fn measures(rule: &Rule, rows: &RecordBatch, row: usize) -> Vec<(String, Option<Measure>)> {
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

pub(super) fn texts(rule: &Rule, rows: &RecordBatch, row: usize) -> Result<Vec<(String, Option<String>)>> {
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
