//! Aggregates over rows that carry an order of their own, so that the order in which they come does not matter:
//!
//! * `max_by(x, order)`, `min_by(x, order)`: x of the row with the greatest or least order; of several, the greatest x.
//! * `increase(x, event_time)`: how much a counter rose over the window; where it falls, it was reset and began at zero.
//!   Of two reports of one moment the greater counts. The rise from the last report before the window is not in it.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array},
    datatypes::{DataType, Field, FieldRef, Float64Type, TimestampMillisecondType},
};
use datafusion::{
    common::{DataFusionError, Result, ScalarValue, exec_err, plan_err},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use super::{
    aggregates::{Single, binary, each_row, states_of_rows},
    functions::TIME,
};

/// Reports of one group and pane beyond this are no counter but a mistake.
const REPORTS_MAX: usize = 50_000;

/// The aggregates of this file, to be registered.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    let signature = || Signature::user_defined(Volatility::Immutable);
    [Kind::MaxBy, Kind::MinBy, Kind::Increase]
        .into_iter()
        .map(|kind| Arc::new(AggregateUDF::new_from_impl(Ordered { kind, signature: signature() })))
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    MaxBy,
    MinBy,
    Increase,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ordered {
    kind: Kind,
    signature: Signature,
}

impl Ordered {
    fn groups(&self, args: &AccumulatorArgs<'_>) -> Box<dyn GroupsAccumulator + Sync> {
        let kind = |at: usize| args.expr_fields.get(at).map_or(DataType::Null, |field| field.data_type().clone());
        match self.kind {
            Kind::Increase => Box::new(Increases::default()),
            by => Box::new(Picks {
                wanted: if by == Kind::MaxBy { Ordering::Greater } else { Ordering::Less },
                kinds: (kind(0), kind(1)),
                groups: Vec::new(),
            }),
        }
    }
}

impl AggregateUDFImpl for Ordered {
    fn name(&self) -> &str {
        match self.kind {
            Kind::MaxBy => "max_by",
            Kind::MinBy => "min_by",
            Kind::Increase => "increase",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.kind, types) {
            (Kind::Increase, [number, DataType::Timestamp(..)]) if number.is_numeric() => {
                Ok(vec![DataType::Float64, TIME])
            }
            (Kind::Increase, _) => {
                plan_err!("increase takes a counter and the event time: increase(requests_total, event_time)")
            }
            (_, [x, order]) => Ok(vec![x.clone(), order.clone()]),
            _ => plan_err!("{} takes two columns: {}(version, event_time)", self.name(), self.name()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Increase => DataType::Float64,
            _ => types.first().cloned().unwrap_or(DataType::Null),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |part: &str, kind: DataType| Arc::new(Field::new(format!("{}[{part}]", args.name), kind, true));
        if self.kind == Kind::Increase {
            return Ok(vec![field("state", DataType::Binary)]);
        }
        let of = |at: usize| args.input_fields.get(at).map_or(DataType::Null, |field| field.data_type().clone());
        Ok(vec![field("x", of(0)), field("order", of(1))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single(self.groups(&args))))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let groups: Box<dyn GroupsAccumulator> = self.groups(&args);
        Ok(groups)
    }
}

/// Of each group the row that wins so far: x and its order.
#[derive(Debug)]
struct Picks {
    wanted: Ordering,
    kinds: (DataType, DataType),
    groups: Vec<Option<(ScalarValue, ScalarValue)>>,
}

impl Picks {
    fn offer(&mut self, group: usize, x: ScalarValue, order: ScalarValue) {
        let place = &mut self.groups[group];
        let wins = place.as_ref().is_none_or(|(best_x, best)| match order.partial_cmp(best) {
            Some(Ordering::Equal) => {
                !x.is_null() && (best_x.is_null() || x.partial_cmp(best_x) == Some(Ordering::Greater))
            }
            other => other == Some(self.wanted),
        });
        if wins {
            *place = Some((x, order));
        }
    }

    fn take(&mut self, emit: EmitTo) -> Result<(ArrayRef, ArrayRef)> {
        let groups = emit.take_needed(&mut self.groups);
        if groups.is_empty() {
            return Ok((arrow::array::new_empty_array(&self.kinds.0), arrow::array::new_empty_array(&self.kinds.1)));
        }
        let nothing = (ScalarValue::try_new_null(&self.kinds.0)?, ScalarValue::try_new_null(&self.kinds.1)?);
        let of = |group: &Option<(ScalarValue, ScalarValue)>| group.clone().unwrap_or_else(|| nothing.clone());
        let xs = ScalarValue::iter_to_array(groups.iter().map(|group| of(group).0))?;
        let orders = ScalarValue::iter_to_array(groups.iter().map(|group| of(group).1))?;
        Ok((xs, orders))
    }

    fn rows(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total.max(self.groups.len()), None);
        let [x, order] = values else { return Ok(()) };
        let mut outcome = Ok(());
        each_row(groups, order.as_ref(), filter, |group, row| {
            match (ScalarValue::try_from_array(x, row), ScalarValue::try_from_array(order, row)) {
                (Ok(x), Ok(order)) => self.offer(group, x, order),
                (Err(error), _) | (_, Err(error)) => outcome = Err(error),
            }
        });
        outcome
    }
}

impl GroupsAccumulator for Picks {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.rows(values, groups, filter, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(self.take(emit)?.0)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (xs, orders) = self.take(emit)?;
        Ok(vec![xs, orders])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.rows(states, groups, None, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Self { wanted: self.wanted, kinds: self.kinds.clone(), groups: Vec::new() };
        states_of_rows(&mut rows, values, filter)
    }

    fn size(&self) -> usize {
        let of = |pick: &Option<(ScalarValue, ScalarValue)>| {
            pick.as_ref().map_or(2 * size_of::<ScalarValue>(), |(x, order)| x.size() + order.size())
        };
        self.groups.iter().map(of).sum()
    }
}

/// Of each group the reports by time.
#[derive(Debug, Default)]
struct Increases {
    groups: Vec<BTreeMap<i64, f64>>,
}

impl Increases {
    /// One report; more than there may be are left, and the result then is an error of the rule.
    fn report(&mut self, group: usize, time: i64, value: f64) {
        let reports = &mut self.groups[group];
        if reports.len() > REPORTS_MAX {
            return;
        }
        let known = reports.entry(time).or_insert(value);
        *known = known.max(value);
    }
}

impl GroupsAccumulator for Increases {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize_with(total.max(self.groups.len()), BTreeMap::new);
        let [values, times] = values else { return Ok(()) };
        let (values, times) = (values.as_primitive::<Float64Type>(), times.as_primitive::<TimestampMillisecondType>());
        each_row(groups, values, filter, |group, row| {
            if times.is_valid(row) && values.value(row).is_finite() {
                self.report(group, times.value(row), values.value(row) + 0.0);
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let rise = |reports: &BTreeMap<i64, f64>| {
            let mut values = reports.values();
            let mut before = *values.next()?;
            let mut rise = 0.0;
            for value in values {
                rise += if *value >= before { value - before } else { *value };
                before = *value;
            }
            Some(rise)
        };
        let groups = emit.take_needed(&mut self.groups);
        if groups.iter().any(|reports| reports.len() > REPORTS_MAX) {
            return exec_err!("increase saw more than {REPORTS_MAX} reports of one group: group by what counts");
        }
        Ok(Arc::new(groups.iter().map(rise).collect::<Float64Array>()))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        for reports in emit.take_needed(&mut self.groups) {
            let bytes: Vec<u8> = reports
                .iter()
                .flat_map(|(time, value)| time.to_le_bytes().into_iter().chain(value.to_le_bytes()))
                .collect();
            states.append_option((!bytes.is_empty()).then_some(bytes));
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize_with(total.max(self.groups.len()), BTreeMap::new);
        let states = binary(states)?;
        let mut outcome = Ok(());
        each_row(groups, states, None, |group, row| {
            let mut merge = || -> Result<()> {
                for report in states.value(row).chunks(16) {
                    let Some((time, value)) = report.split_first_chunk::<8>() else {
                        return Err(DataFusionError::Execution("a state of increase is cut short".into()));
                    };
                    let Ok(value) = <[u8; 8]>::try_from(value) else {
                        return Err(DataFusionError::Execution("a state of increase is cut short".into()));
                    };
                    self.report(group, i64::from_le_bytes(*time), f64::from_le_bytes(value));
                }
                Ok(())
            };
            if let Err(error) = merge() {
                outcome = Err(error);
            }
        });
        outcome
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Self::default();
        states_of_rows(&mut rows, values, filter)
    }

    fn size(&self) -> usize {
        self.groups.iter().map(|reports| 24 + reports.len() * 24).sum()
    }
}

#[cfg(test)]
mod tests;
