//! One fold at work: events in, mergeable states out; states in, states or results out.
//!
//! The accumulators are DataFusion's own and live across batches. A state is a row: the pane, the keys, how many
//! events it stands for, then the state columns of each aggregate.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch},
    compute::{CastOptions, cast_with_options, filter_record_batch},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    common::{DFSchema, DataFusionError, Result, exec_datafusion_err, exec_err},
    execution::context::ExecutionProps,
    logical_expr::{EmitTo, GroupsAccumulator, physical_planning_context::PhysicalPlanningContext},
    physical_expr::{
        GroupsAccumulatorAdapter, PhysicalExpr,
        aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder},
    },
    physical_plan::aggregates::{
        group_values::{GroupValues, new_group_values},
        order::GroupOrdering,
    },
};

use crate::{
    panes::{Millis, pane_start},
    rules::{
        plan::{FoldIds, FoldSpec},
        rest::survived,
    },
};

/// A fold made ready to run over batches of one schema.
#[derive(Debug)]
pub struct FoldPlan {
    /// The fold's fingerprint.
    pub fingerprint: String,
    /// The fingerprints of its aggregates, in order.
    pub aggregates: Vec<String>,
    /// The width of its panes, in milliseconds.
    pub pane_ms: i64,
    /// Which keys decide the partials partition.
    pub spread: Vec<usize>,
    /// A batch of states: `pane`, `k0`…, `rows`, then `s0_0`….
    pub states: SchemaRef,
    filter: Option<Arc<dyn PhysicalExpr>>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    key_fields: Vec<Field>,
    computed: Vec<Computed>,
}

#[derive(Debug)]
struct Computed {
    function: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// The types of its arguments.
    arguments: Vec<DataType>,
    /// Where its state columns begin in a batch of states, and how many there are.
    state: std::ops::Range<usize>,
}

impl FoldPlan {
    /// Plans a fold over batches of `schema`, which has at least the columns that the fold reads.
    pub fn new(spec: &FoldSpec, schema: &SchemaRef) -> Result<Self> {
        let ids = FoldIds::new(spec);
        let named = DFSchema::try_from(schema.as_ref().clone())?;
        let props = ExecutionProps::new();
        let context = PhysicalPlanningContext::default();
        let physical = |expr| datafusion::physical_expr::create_physical_expr(expr, &named, &props, &context);
        let mut fields = vec![Field::new("pane", DataType::Int64, false)];
        fields.extend(spec.key_fields.iter().cloned());
        fields.push(Field::new("rows", DataType::Int64, false));
        let mut computed = Vec::new();
        for (at, aggregate) in spec.aggregates.iter().enumerate() {
            let lowered = LoweredAggregateBuilder::new(aggregate, &named, schema, &props, &context).build()?;
            let (function, filter) = (lowered.aggregate, lowered.filter);
            let start = fields.len();
            for (part, field) in function.state_fields()?.iter().enumerate() {
                fields.push(Field::new(format!("s{at}_{part}"), field.data_type().clone(), true));
            }
            let arguments: Result<Vec<DataType>> =
                function.expressions().iter().map(|argument| argument.data_type(schema)).collect();
            computed.push(Computed { function, filter, arguments: arguments?, state: start..fields.len() });
        }
        Ok(Self {
            fingerprint: ids.fold,
            aggregates: ids.aggregates,
            pane_ms: spec.pane_ms,
            spread: spec.spread.clone(),
            states: Arc::new(Schema::new(fields)),
            filter: spec.filter.as_ref().map(physical).transpose()?,
            keys: spec.keys.iter().map(physical).collect::<Result<_>>()?,
            key_fields: spec.key_fields.clone(),
            computed,
        })
    }

    /// How many key columns the fold has.
    pub fn key_count(&self) -> usize {
        self.key_fields.len()
    }

    /// The column of a batch of states that counts events.
    pub fn rows_column(&self) -> usize {
        1 + self.key_fields.len()
    }
}

/// States being accumulated from events: grouped by pane and keys.
pub struct Accumulation {
    plan: Arc<FoldPlan>,
    groups: Box<dyn GroupValues>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    rows: Vec<i64>,
    scratch: Vec<usize>,
    /// Aggregates that failed on an event, by their place in the plan: they are computed no more.
    failed: BTreeSet<usize>,
}

impl std::fmt::Debug for Accumulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Accumulation of {} groups", self.rows.len())
    }
}

fn accumulators(plan: &FoldPlan) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
    plan.computed.iter().map(accumulator).collect()
}

fn accumulator(computed: &Computed) -> Result<Box<dyn GroupsAccumulator>> {
    if computed.function.groups_accumulator_supported() {
        return computed.function.create_groups_accumulator();
    }
    let function = Arc::clone(&computed.function);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

impl Accumulation {
    /// Nothing yet.
    pub fn new(plan: &Arc<FoldPlan>) -> Result<Self> {
        let mut fields = vec![Field::new("pane", DataType::Int64, false)];
        fields.extend(plan.key_fields.iter().cloned());
        let groups = new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?;
        Ok(Self {
            accumulators: accumulators(plan)?,
            plan: Arc::clone(plan),
            groups,
            rows: Vec::new(),
            scratch: Vec::new(),
            failed: BTreeSet::new(),
        })
    }

    /// How many states there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// About how many bytes the states take in memory.
    pub fn bytes(&self) -> usize {
        self.groups.size() + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }

    /// True where nothing was accumulated.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds events; `times` are their event times. Answers with the aggregates that fail on them, by their place in the
    /// plan: the others go on. The error is that of the whole fold, of its filter or its keys.
    pub fn update(&mut self, events: &RecordBatch, times: &[Millis]) -> Result<Vec<(usize, DataFusionError)>> {
        let panes: ArrayRef =
            Arc::new(times.iter().map(|time| pane_start(*time, self.plan.pane_ms)).collect::<Int64Array>());
        let (events, panes) = match &self.plan.filter {
            None => (events.clone(), panes),
            Some(filter) => {
                let mask = filter.evaluate(events)?.into_array(events.num_rows())?;
                let mask = mask.as_boolean();
                (filter_record_batch(events, mask)?, arrow::compute::filter(&panes, mask)?)
            }
        };
        if events.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let mut columns = vec![panes];
        for key in &self.plan.keys {
            columns.push(key.evaluate(&events)?.into_array(events.num_rows())?);
        }
        self.groups.intern(&columns, &mut self.scratch)?;
        let total = self.groups.len();
        self.rows.resize(total, 0);
        for group in &self.scratch {
            self.rows[*group] += 1;
        }
        let mut failures = Vec::new();
        for (at, (accumulator, computed)) in self.accumulators.iter_mut().zip(&self.plan.computed).enumerate() {
            if self.failed.contains(&at) {
                continue;
            }
            let update = || {
                let mut values = Vec::new();
                for arg in computed.function.expressions() {
                    values.push(arg.evaluate(&events)?.into_array(events.num_rows())?);
                }
                let filter = match &computed.filter {
                    None => None,
                    Some(filter) => Some(filter.evaluate(&events)?.into_array(events.num_rows())?),
                };
                let filter: Option<&BooleanArray> = filter.as_ref().map(|array| array.as_boolean());
                accumulator.update_batch(&values, &self.scratch, filter, total)
            };
            if let Err(error) = survived(update) {
                self.failed.insert(at);
                failures.push((at, error));
            }
        }
        Ok(failures)
    }

    /// The states, leaving nothing behind.
    pub fn take(&mut self) -> Result<RecordBatch> {
        let mut columns = self.groups.emit(EmitTo::All)?;
        for (at, computed) in self.plan.computed.iter().enumerate().filter(|(at, _)| self.failed.contains(at)) {
            // What failed may be anything; the state of nothing does no harm where it is merged.
            self.accumulators[at] = accumulator(computed)?;
            nothing(computed, self.accumulators[at].as_mut(), self.rows.len())?;
        }
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.rows))));
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        states_batch(&self.plan.states, columns)
    }
}

/// A batch of states from columns whose types may differ in form (views, nullability) from the schema's.
fn states_batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let mut cast = Vec::with_capacity(columns.len());
    for (column, field) in columns.into_iter().zip(schema.fields()) {
        cast.push(if column.data_type() == field.data_type() {
            column
        } else {
            // What does not fit is an error: NULL would be another state.
            cast_with_options(&column, field.data_type(), &CastOptions { safe: false, ..CastOptions::default() })?
        });
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), cast)?)
}

/// Merges batches of states by key, over all panes; the states of aggregates that are not in `aggregates` are left.
fn merge(plan: &FoldPlan, batches: &[RecordBatch], aggregates: &[usize]) -> Result<Merged> {
    let keys = plan.key_fields.len();
    let mut accumulators = accumulators(plan)?;
    let mut rows: Vec<i64> = Vec::new();
    let mut grouped: Option<Box<dyn GroupValues>> = match keys {
        0 => None,
        _ => Some(new_group_values(Arc::new(Schema::new(plan.key_fields.clone())), &GroupOrdering::None)?),
    };
    let mut groups = Vec::new();
    for batch in batches {
        let total = match &mut grouped {
            None => {
                groups = vec![0; batch.num_rows()];
                1
            }
            Some(grouped) => {
                grouped.intern(&batch.columns()[1..=keys], &mut groups)?;
                grouped.len()
            }
        };
        rows.resize(total, 0);
        for (group, count) in groups.iter().zip(batch.column(1 + keys).as_primitive::<Int64Type>().values()) {
            rows[*group] = count.saturating_add(rows[*group]);
        }
        for at in aggregates {
            accumulators[*at].merge_batch(&batch.columns()[plan.computed[*at].state.clone()], &groups, total)?;
        }
    }
    if grouped.is_none() && rows.is_empty() {
        // Without keys there is always one row; an aggregate over nothing needs to know that there is a group.
        rows.push(0);
        for at in aggregates {
            nothing(&plan.computed[*at], accumulators[*at].as_mut(), 1)?;
        }
    }
    let keys = match grouped {
        None => Vec::new(),
        Some(mut grouped) => grouped.emit(EmitTo::All)?,
    };
    Ok(Merged { keys, rows, accumulators })
}

struct Merged {
    keys: Vec<ArrayRef>,
    rows: Vec<i64>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
}

/// States made for other aggregates of the same fold, as this plan has them: what it does not ask for is left, and
/// what was not computed is the state of nothing, which changes no sum that it is merged into.
pub fn conform(plan: &FoldPlan, aggregates: &[String], states: &RecordBatch) -> Result<RecordBatch> {
    let wanted = &plan.states.fields()[..=plan.rows_column()];
    let shared = states.columns().get(..=plan.rows_column()).unwrap_or_default();
    let same = |(field, column): (&Arc<Field>, &ArrayRef)| {
        field.data_type() == column.data_type() && (field.is_nullable() || column.null_count() == 0)
    };
    if shared.len() != wanted.len() || !wanted.iter().zip(shared).all(same) {
        return exec_err!("states of fold {} have other columns than it", plan.fingerprint);
    }
    if aggregates == plan.aggregates {
        return states_batch(&plan.states, states.columns().to_vec());
    }
    let mut columns: Vec<ArrayRef> = shared.to_vec();
    let mut accumulators = accumulators(plan)?;
    for ((computed, wanted), accumulator) in plan.computed.iter().zip(&plan.aggregates).zip(&mut accumulators) {
        match aggregates.iter().position(|known| known == wanted) {
            Some(at) => {
                for part in 0..computed.state.len() {
                    let name = format!("s{at}_{part}");
                    let column = states.column_by_name(&name);
                    columns.push(column.cloned().ok_or_else(|| exec_datafusion_err!("the state `{name}` is missing"))?);
                }
            }
            None => {
                nothing(computed, accumulator.as_mut(), states.num_rows())?;
                columns.extend(accumulator.state(EmitTo::All)?);
            }
        }
    }
    states_batch(&plan.states, columns)
}

/// Makes so many groups in which nothing is: as if a filter had left out their only event. An accumulator that is merely
/// told how many groups there are would answer for those it has not seen with the ends of its type.
fn nothing(computed: &Computed, accumulator: &mut dyn GroupsAccumulator, groups: usize) -> Result<()> {
    if groups == 0 {
        return Ok(());
    }
    let values: Vec<ArrayRef> =
        computed.arguments.iter().map(|kind| arrow::array::new_null_array(kind, groups)).collect();
    let none = BooleanArray::from(vec![false; groups]);
    accumulator.update_batch(&values, &(0..groups).collect::<Vec<_>>(), Some(&none), groups)
}

/// One batch of states of the pane at `pane` from several.
pub fn consolidate(plan: &FoldPlan, pane: Millis, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let all: Vec<usize> = (0..plan.computed.len()).collect();
    survived(|| {
        let mut merged = merge(plan, batches, &all)?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![pane; merged.rows.len()]))];
        columns.append(&mut merged.keys);
        columns.push(Arc::new(Int64Array::from(merged.rows)));
        for accumulator in &mut merged.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        states_batch(&plan.states, columns)
    })
}

/// The finished results of a window from the states of its panes, with how many events it holds: keys, then the
/// given aggregates, as `result` has them.
pub fn finish(
    plan: &FoldPlan,
    batches: &[RecordBatch],
    aggregates: &[usize],
    result: &SchemaRef,
) -> Result<RecordBatch> {
    if batches.is_empty() && !plan.key_fields.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(result)));
    }
    survived(|| {
        let mut merged = merge(plan, batches, aggregates)?;
        let mut columns = merged.keys;
        for at in aggregates {
            columns.push(merged.accumulators[*at].evaluate(EmitTo::All)?);
        }
        if columns.is_empty() {
            let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(merged.rows.len()));
            return Ok(RecordBatch::try_new_with_options(Arc::clone(result), columns, &options)?);
        }
        states_batch(result, columns)
    })
}

/// The results of groups that have no events: what `count(*)` and the others say of nothing.
pub fn finish_nothing(
    plan: &FoldPlan,
    keys: Vec<ArrayRef>,
    aggregates: &[usize],
    result: &SchemaRef,
) -> Result<RecordBatch> {
    let rows = keys.first().map_or(1, Array::len);
    let mut accumulators = accumulators(plan)?;
    let mut columns = keys;
    for at in aggregates {
        nothing(&plan.computed[*at], accumulators[*at].as_mut(), rows)?;
        columns.push(accumulators[*at].evaluate(EmitTo::All)?);
    }
    states_batch(result, columns)
}
