//! Aggregates whose result has the same bits however the events were cut and merged.
//!
//! DataFusion's own `count`, `min`, `max`, `bool_and`, `bool_or` and `approx_distinct` are so already. Its sums and
//! averages of doubles are not (addition rounds), nor is its t-digest (merging depends on order); these stand in
//! their place under the same names:
//!
//! * `sum`, `avg`: kept exactly, by error-free expansions (Shewchuk, *Adaptive Precision Floating-Point Arithmetic*, 1997,
//!   grow-expansion), rounded once at the end; whole numbers are summed in 128 bits.
//! * `approx_percentile_cont(x, p)`: DDSketch (Masson, Rim, Lee, VLDB 2019), relative error at most 1% while the greatest
//!   value is at most 5 × 10^8 times the least, clamped to the least and greatest value seen.
//!
//! NaN and infinities count as NULL.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array, Int64Array, Int64Builder,
    },
    datatypes::{DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type},
};
use datafusion::{
    common::{DataFusionError, Result, ScalarValue, exec_err, plan_err},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};
use sketches_ddsketch::{Config, DDSketch};

/// The aggregates of this file, to be registered over DataFusion's own.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    [Kind::Sum, Kind::Avg, Kind::Percentile]
        .into_iter()
        .map(|kind| {
            Arc::new(AggregateUDF::new_from_impl(Exact {
                kind,
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Avg,
    Percentile,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    kind: Kind,
    signature: Signature,
}

impl Exact {
    fn groups(&self, args: &AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator + Sync>> {
        if args.is_distinct {
            return plan_err!("{}(DISTINCT …) is not supported", self.name());
        }
        Ok(match (self.kind, args.expr_fields.first().map(|field| field.data_type())) {
            (Kind::Sum, Some(DataType::Int64)) => Box::new(WholeSums::default()),
            (Kind::Sum, _) => Box::new(Sums { average: false, ..Sums::default() }),
            (Kind::Avg, Some(DataType::Decimal128(_, scale))) => {
                Box::new(DecimalAverages { scale: *scale, groups: Vec::new() })
            }
            (Kind::Avg, _) => Box::new(Sums { average: true, ..Sums::default() }),
            (Kind::Percentile, _) => Box::new(Sketches { quantile: quantile(args)?, groups: Vec::new() }),
        })
    }
}

fn quantile(args: &AccumulatorArgs<'_>) -> Result<f64> {
    let literal =
        args.exprs.get(1).and_then(|expr| expr.downcast_ref::<datafusion::physical_expr::expressions::Literal>());
    let value = literal.and_then(|literal| literal.value().cast_to(&DataType::Float64).ok());
    match value {
        Some(ScalarValue::Float64(Some(p))) if (0.0..=1.0).contains(&p) => Ok(p),
        _ => plan_err!("the second argument of approx_percentile_cont must be a number from 0 to 1, such as 0.95"),
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Sum => "sum",
            Kind::Avg => "avg",
            Kind::Percentile => "approx_percentile_cont",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.kind, types) {
            (Kind::Sum, [whole]) if whole.is_integer() => Ok(vec![DataType::Int64]),
            (Kind::Sum | Kind::Avg, [DataType::Decimal128(p, s)]) => Ok(vec![DataType::Decimal128(*p, *s)]),
            (Kind::Sum | Kind::Avg, [number]) if number.is_numeric() => Ok(vec![DataType::Float64]),
            (Kind::Percentile, [number, p]) if number.is_numeric() && p.is_numeric() => {
                Ok(vec![DataType::Float64, DataType::Float64])
            }
            (Kind::Percentile, _) => plan_err!(
                "approx_percentile_cont takes a number and a fraction: approx_percentile_cont(duration_ms, 0.95)"
            ),
            _ => plan_err!(
                "{} takes one number, not ({})",
                self.name(),
                types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match (self.kind, types.first()) {
            (Kind::Sum, Some(DataType::Int64)) => DataType::Int64,
            (Kind::Sum, Some(DataType::Decimal128(p, s))) => DataType::Decimal128((*p + 10).min(38), *s),
            _ => DataType::Float64,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if matches!(args.return_field.data_type(), DataType::Decimal128(..)) {
            return datafusion::functions_aggregate::sum::Sum::new().state_fields(args);
        }
        Ok(vec![Arc::new(Field::new(format!("{}[state]", args.name), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if matches!(args.return_type(), DataType::Decimal128(..)) {
            return datafusion::functions_aggregate::sum::Sum::new().accumulator(args);
        }
        Ok(Box::new(Single(self.groups(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if matches!(args.return_type(), DataType::Decimal128(..)) {
            return datafusion::functions_aggregate::sum::Sum::new().create_groups_accumulator(args);
        }
        let groups: Box<dyn GroupsAccumulator> = self.groups(&args)?;
        Ok(groups)
    }
}

/// One group, for plans without GROUP BY.
pub(super) struct Single(pub(super) Box<dyn GroupsAccumulator + Sync>);

impl std::fmt::Debug for Single {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Single")
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; values.first().map_or(0, Array::len)];
        self.0.update_batch(values, &groups, None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.update_batch(&[], &[], None, 1)?;
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::All)?, 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.update_batch(&[], &[], None, 1)?;
        self.0.state(EmitTo::All)?.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; states.first().map_or(0, Array::len)];
        self.0.merge_batch(states, &groups, 1)
    }
}

/// Calls `f` for each row that counts: its group and its place.
pub(super) fn each_row(
    groups: &[usize],
    values: &dyn Array,
    filter: Option<&BooleanArray>,
    mut f: impl FnMut(usize, usize),
) {
    for (row, group) in groups.iter().enumerate() {
        if values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
            f(*group, row);
        }
    }
}

/// The state of each row by itself, for a plan that skips its partial aggregation.
pub(super) fn states_of_rows(
    rows: &mut dyn GroupsAccumulator,
    values: &[ArrayRef],
    filter: Option<&BooleanArray>,
) -> Result<Vec<ArrayRef>> {
    let groups: Vec<usize> = (0..values.first().map_or(0, Array::len)).collect();
    rows.update_batch(values, &groups, filter, groups.len())?;
    rows.state(EmitTo::All)
}

pub(super) fn binary(states: &[ArrayRef]) -> Result<&BinaryArray> {
    states
        .first()
        .and_then(|array| array.as_binary_opt::<i32>())
        .ok_or_else(|| DataFusionError::Execution("a state of this aggregate is one binary column".into()))
}

/// Eight bytes of a state, from `at`.
fn word(bytes: &[u8], at: usize) -> Result<[u8; 8]> {
    match bytes.get(at..at + 8).and_then(|word| word.try_into().ok()) {
        Some(word) => Ok(word),
        None => exec_err!("a state of an aggregate is cut short"),
    }
}

/// Sums of at most 2^63 doubles below this magnitude cannot overflow on the way, in any order.
const MAGNITUDE_MAX: f64 = 1.2e289;

/// A sum of doubles as an expansion: parts that do not overlap, least first, whose sum is exact.
#[derive(Debug, Clone, Default)]
struct Expansion {
    parts: Vec<f64>,
    count: i64,
    too_large: bool,
}

impl Expansion {
    fn add(&mut self, value: f64) {
        if value.abs() > MAGNITUDE_MAX {
            self.too_large = true;
            return;
        }
        let mut sum = value;
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let part = self.parts[at];
            let (large, small) = if sum.abs() < part.abs() { (part, sum) } else { (sum, part) };
            let high = large + small;
            let low = small - (high - large);
            if low != 0.0 {
                self.parts[kept] = low;
                kept += 1;
            }
            sum = high;
        }
        self.parts.truncate(kept);
        self.parts.push(sum);
    }

    /// The exact sum divided by the count: the rounded quotient, mended by what rounding left over (as in division of
    /// double-doubles: Dekker 1971).
    fn average(&self, sum: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^53")]
        let count = self.count as f64;
        let mut left = self.clone();
        left.add(-sum);
        let quotient = sum / count;
        let remainder = (-quotient).mul_add(count, sum) + left.value().unwrap_or(0.0);
        quotient + remainder / count
    }

    /// The exact sum rounded once, half to even.
    fn value(&self) -> Option<f64> {
        if self.count == 0 || self.too_large {
            return None;
        }
        let mut parts = self.parts.iter().rev().copied();
        let mut high = parts.next().unwrap_or(0.0);
        while let Some(part) = parts.next() {
            let sum = high + part;
            let low = part - (sum - high);
            high = sum;
            if low != 0.0 {
                // A tie is broken by what lies below it.
                if let Some(next) = parts.next()
                    && (low < 0.0) == (next < 0.0)
                    && next != 0.0
                {
                    let doubled = low * 2.0;
                    let rounded = high + doubled;
                    if doubled == rounded - high {
                        high = rounded;
                    }
                }
                break;
            }
        }
        Some(high + 0.0)
    }
}

#[derive(Debug, Default)]
struct Sums {
    average: bool,
    groups: Vec<Expansion>,
}

impl GroupsAccumulator for Sums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize_with(total.max(self.groups.len()), Expansion::default);
        let Some(values) = values.first() else { return Ok(()) };
        let values = values.as_primitive::<Float64Type>();
        each_row(groups, values, filter, |group, row| {
            let value = values.value(row);
            if value.is_finite() {
                self.groups[group].add(value);
                self.groups[group].count += 1;
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let groups = emit.take_needed(&mut self.groups);
        let value = |group: &Expansion| {
            let sum = group.value()?;
            Some(if self.average { group.average(sum) } else { sum })
        };
        Ok(Arc::new(groups.iter().map(value).collect::<Float64Array>()))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        for group in emit.take_needed(&mut self.groups) {
            let mut bytes = group.count.to_le_bytes().to_vec();
            if group.too_large {
                bytes.extend(f64::INFINITY.to_le_bytes());
            }
            bytes.extend(group.parts.iter().flat_map(|part| part.to_le_bytes()));
            states.append_value(bytes);
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize_with(total.max(self.groups.len()), Expansion::default);
        let states = binary(states)?;
        let mut broken = Ok(());
        each_row(groups, states, None, |group, row| {
            let bytes = states.value(row);
            let group = &mut self.groups[group];
            match word(bytes, 0) {
                Ok(count) => group.count = i64::from_le_bytes(count).saturating_add(group.count),
                Err(error) => broken = Err(error),
            }
            for at in (8..bytes.len()).step_by(8) {
                match word(bytes, at) {
                    Ok(part) => group.add(f64::from_le_bytes(part)),
                    Err(error) => broken = Err(error),
                }
            }
        });
        broken
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Self::default();
        states_of_rows(&mut rows, values, filter)
    }

    fn size(&self) -> usize {
        self.groups.iter().map(|group| size_of::<Expansion>() + group.parts.capacity() * 8).sum()
    }
}

/// Sums of whole numbers: 128 bits hold every sum of 2^63 of them.
#[derive(Debug, Default)]
struct WholeSums {
    groups: Vec<(i128, bool)>,
}

impl GroupsAccumulator for WholeSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total.max(self.groups.len()), (0, false));
        let Some(values) = values.first() else { return Ok(()) };
        let values: &Int64Array = values.as_primitive::<Int64Type>();
        each_row(groups, values, filter, |group, row| {
            let (sum, _) = self.groups[group];
            self.groups[group] = (sum + i128::from(values.value(row)), true);
        });
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let mut sums = Int64Builder::new();
        for (sum, any) in emit.take_needed(&mut self.groups) {
            match i64::try_from(sum) {
                Ok(sum) => sums.append_option(any.then_some(sum)),
                Err(_) => {
                    return exec_err!("the sum {sum} does not fit 64 bits: sum a double instead, CAST(x AS DOUBLE)");
                }
            }
        }
        Ok(Arc::new(sums.finish()))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        for (sum, any) in emit.take_needed(&mut self.groups) {
            states.append_option(any.then(|| sum.to_le_bytes()));
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize(total.max(self.groups.len()), (0, false));
        let states = binary(states)?;
        let mut broken = Ok(());
        each_row(groups, states, None, |group, row| {
            let more = states.value(row).try_into().map(i128::from_le_bytes);
            match more.ok().and_then(|more| more.checked_add(self.groups[group].0)) {
                Some(sum) => self.groups[group] = (sum, true),
                None => broken = exec_err!("a state of a sum is damaged"),
            }
        });
        broken
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Self::default();
        states_of_rows(&mut rows, values, filter)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<(i128, bool)>()
    }
}

/// Averages of decimals: the exact sum of their digits, divided once.
#[derive(Debug, Default)]
struct DecimalAverages {
    scale: i8,
    /// The sum in units of the last digit, and how many there were.
    groups: Vec<(i128, i64)>,
}

impl GroupsAccumulator for DecimalAverages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total.max(self.groups.len()), (0, 0));
        let Some(values) = values.first() else { return Ok(()) };
        let values = values.as_primitive::<Decimal128Type>();
        let mut outcome = Ok(());
        each_row(groups, values, filter, |group, row| {
            let (sum, count) = self.groups[group];
            match sum.checked_add(values.value(row)) {
                Some(sum) => self.groups[group] = (sum, count + 1),
                None => outcome = exec_err!("a sum of decimals does not fit 38 digits: CAST(x AS DOUBLE)"),
            }
        });
        outcome
    }

    #[expect(clippy::cast_precision_loss, reason = "rounded here, once")]
    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let unit = 10_f64.powi(i32::from(self.scale));
        let average = |(sum, count): &(i128, i64)| (*count > 0).then(|| *sum as f64 / (*count as f64 * unit));
        let groups = emit.take_needed(&mut self.groups);
        Ok(Arc::new(groups.iter().map(average).collect::<Float64Array>()))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        for (sum, count) in emit.take_needed(&mut self.groups) {
            let bytes: Vec<u8> = sum.to_le_bytes().into_iter().chain(count.to_le_bytes()).collect();
            states.append_option((count > 0).then_some(bytes));
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize(total.max(self.groups.len()), (0, 0));
        let states = binary(states)?;
        let mut outcome = Ok(());
        each_row(groups, states, None, |group, row| {
            let bytes = states.value(row);
            let parts = bytes.split_first_chunk::<16>().and_then(|(sum, rest)| Some((sum, rest.first_chunk::<8>()?)));
            let (sum, count) = self.groups[group];
            match parts.and_then(|(more, events)| {
                Some((sum.checked_add(i128::from_le_bytes(*more))?, count.checked_add(i64::from_le_bytes(*events))?))
            }) {
                Some(merged) => self.groups[group] = merged,
                None => outcome = exec_err!("a sum of decimals is cut short, or does not fit 38 digits"),
            }
        });
        outcome
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Self { scale: self.scale, groups: Vec::new() };
        states_of_rows(&mut rows, values, filter)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<(i128, i64)>()
    }
}

/// Half of the promised error, so that what lies between two values of the data stays within it too.
const RELATIVE_ERROR: f64 = 0.005;

/// So many bins hold values of which the greatest is 5 × 10^8 times the least; beyond, the least lose their precision.
/// The form in which sketches are written knows no other number.
const BINS_MAX: u32 = 2_048;

#[derive(Debug)]
struct Sketches {
    quantile: f64,
    groups: Vec<Option<Box<Sketch>>>,
}

struct Sketch {
    sketch: DDSketch,
    least: f64,
    greatest: f64,
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sketch of {} values", self.sketch.count())
    }
}

impl Sketch {
    fn new() -> Self {
        Self {
            sketch: DDSketch::new(Config::new(RELATIVE_ERROR, BINS_MAX, 1e-9)),
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
        }
    }

    fn extremes(&mut self, least: f64, greatest: f64) {
        self.least = self.least.min(least);
        self.greatest = self.greatest.max(greatest);
    }
}

impl Sketches {
    fn group(&mut self, group: usize) -> &mut Sketch {
        self.groups[group].get_or_insert_with(|| Box::new(Sketch::new()))
    }
}

impl GroupsAccumulator for Sketches {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize_with(total.max(self.groups.len()), || None);
        let Some(values) = values.first() else { return Ok(()) };
        let values = values.as_primitive::<Float64Type>();
        each_row(groups, values, filter, |group, row| {
            // −0 is 0, so that the least and greatest value do not depend on order.
            let value = values.value(row) + 0.0;
            if value.is_finite() {
                let sketch = self.group(group);
                sketch.sketch.add(value);
                sketch.extremes(value, value);
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let mut values = Vec::new();
        for group in emit.take_needed(&mut self.groups) {
            let value = match group {
                None => None,
                Some(group) => group
                    .sketch
                    .quantile(self.quantile)
                    .map_err(|error| DataFusionError::Execution(error.to_string()))?
                    .map(|value| value.clamp(group.least, group.greatest)),
            };
            values.push(value);
        }
        Ok(Arc::new(Float64Array::from(values)))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        for group in emit.take_needed(&mut self.groups) {
            states.append_option(group.map(|group| {
                let mut bytes = group.least.to_le_bytes().to_vec();
                bytes.extend(group.greatest.to_le_bytes());
                bytes.extend(group.sketch.to_java_bytes());
                bytes
            }));
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize_with(total.max(self.groups.len()), || None);
        let states = binary(states)?;
        let mut outcome = Ok(());
        each_row(groups, states, None, |group, row| {
            let bytes = states.value(row);
            let mut merge = || -> Result<()> {
                let (least, greatest) = (f64::from_le_bytes(word(bytes, 0)?), f64::from_le_bytes(word(bytes, 8)?));
                let broken = |error: &dyn std::fmt::Display| {
                    DataFusionError::Execution(format!("a sketch cannot be read: {error}"))
                };
                let other = DDSketch::from_java_bytes(&bytes[16..]).map_err(|error| broken(&error))?;
                let group = self.group(group);
                group.extremes(least, greatest);
                group.sketch.merge(&other).map_err(|error| broken(&error))
            };
            if let Err(error) = merge() {
                outcome = Err(error);
            }
        });
        outcome
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Self { quantile: self.quantile, groups: Vec::new() };
        states_of_rows(&mut rows, values, filter)
    }

    fn size(&self) -> usize {
        self.groups.iter().flatten().map(|group| 200 + group.sketch.length() * 8).sum()
    }
}

#[cfg(test)]
mod tests;
