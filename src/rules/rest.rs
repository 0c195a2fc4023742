//! The rest of a rule's plan: made once, run once per window over the folds' finished results.
//!
//! The same running serves the batch query that a rule equals, where the windows are scanned from all events.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch},
    compute::{SortColumn, cast, filter_record_batch, lexsort_to_indices, take_record_batch},
    datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimestampMillisecondType},
};
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    common::{Result, exec_err},
    datasource::provider_as_source,
    execution::{SendableRecordBatchStream, TaskContext, session_state::SessionState},
    logical_expr::{LogicalPlan, TableSource},
    physical_plan::{
        ExecutionPlan, collect, execution_plan::reset_plan_states, memory::MemoryStream, streaming::PartitionStream,
    },
};

use super::{budget::Budget, catalog::Table, functions::WindowCell, session::Windows};
use crate::panes::{Hop, Millis};

/// The place where a plan finds the finished result of one fold.
#[derive(Clone)]
pub struct ResultCell {
    schema: SchemaRef,
    batch: Arc<Mutex<Option<RecordBatch>>>,
}

impl fmt::Debug for ResultCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResultCell")
    }
}

impl ResultCell {
    /// An empty cell for results of that schema.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, batch: Arc::default() }
    }

    /// A table that scans whatever the cell holds when the plan is run.
    pub fn table(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(self.clone())])?))
    }

    fn set(&self, batch: RecordBatch) {
        *self.batch.lock().unwrap_or_else(PoisonError::into_inner) = Some(batch);
    }
}

impl PartitionStream for ResultCell {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stream(batch, &self.schema)
    }
}

fn stream(batch: Option<RecordBatch>, schema: &SchemaRef) -> SendableRecordBatchStream {
    match MemoryStream::try_new(batch.into_iter().collect(), Arc::clone(schema), None) {
        Ok(stream) => Box::pin(stream),
        Err(error) => {
            let failed = futures::stream::once(async move { Err(error) });
            Box::pin(datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(Arc::clone(schema), failed))
        }
    }
}

/// What comes out of work in the query engine; a panic there is an error of the rule, and no end of the process.
pub fn survived<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        exec_err!("the query engine gave up ({text}): write the query another way")
    })
}

/// A plan that is run once per window.
pub struct Rest {
    plan: Arc<dyn ExecutionPlan>,
    budget: Budget,
    state: SessionState,
    cell: WindowCell,
    folds: Vec<ResultCell>,
    keys: Vec<usize>,
    value: usize,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("folds", &self.folds.len()).finish_non_exhaustive()
    }
}

impl Rest {
    /// Makes an optimised plan ready to run. `keys` and `value` are columns of its output.
    pub fn new(
        rest: &LogicalPlan,
        state: SessionState,
        cell: WindowCell,
        folds: Vec<ResultCell>,
        keys: Vec<usize>,
        value: usize,
    ) -> Result<Self> {
        let plan = futures::executor::block_on(state.query_planner().create_physical_plan(rest, &state))?;
        let budget = Budget::default();
        let plan = budget.bound(plan)?;
        Ok(Self { plan, budget, state, cell, folds, keys, value })
    }

    /// The rows of one window, sorted by key: the finished results of the folds in, the rule's output out, with
    /// `value` as a double that is finite or NULL.
    pub fn run(&self, end: Millis, results: Vec<RecordBatch>) -> Result<RecordBatch> {
        self.cell.set(end);
        self.budget.begin();
        for (cell, batch) in self.folds.iter().zip(results) {
            cell.set(batch);
        }
        let plan = reset_plan_states(Arc::clone(&self.plan))?;
        let schema = plan.schema();
        let batches = survived(|| futures::executor::block_on(collect(plan, self.state.task_ctx())))?;
        let rows = arrow::compute::concat_batches(&schema, &batches)?;
        self.sorted(&self.with_clean_value(&rows)?)
    }

    fn with_clean_value(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
        for (at, column) in columns.iter_mut().enumerate() {
            if at == self.value {
                *column = cast(column, &DataType::Float64)?;
                fields[at] = Arc::new(Field::new(fields[at].name(), DataType::Float64, true));
            }
            if column.data_type() == &DataType::Float64 {
                let clean: Float64Array = column
                    .as_primitive::<Float64Type>()
                    .iter()
                    .map(|value| value.filter(|v| v.is_finite()).map(|v| v + 0.0))
                    .collect();
                *column = Arc::new(clean);
                fields[at] = Arc::new(Field::new(fields[at].name(), DataType::Float64, true));
            }
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    fn sorted(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        if self.keys.is_empty() || rows.num_rows() < 2 {
            return Ok(rows.clone());
        }
        let columns: Vec<SortColumn> =
            self.keys.iter().map(|at| SortColumn { values: Arc::clone(rows.column(*at)), options: None }).collect();
        Ok(take_record_batch(rows, &lexsort_to_indices(&columns, None)?)?)
    }
}

/// The output schema as [`Rest::run`] gives it: `value` and every double nullable, `value` a double.
pub fn output_schema(plan: &LogicalPlan, value: usize) -> SchemaRef {
    let fields = plan.schema().fields().iter().enumerate().map(|(at, field)| match field.data_type() {
        _ if at == value => Field::new(field.name(), DataType::Float64, true),
        DataType::Float64 => Field::new(field.name(), DataType::Float64, true),
        other => Field::new(field.name(), other.clone(), field.is_nullable()),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Windows over all events of each table, filtered when the plan is run: the batch query, without folds.
#[derive(Debug)]
pub struct AllEvents {
    /// All events, by table.
    pub tables: BTreeMap<String, RecordBatch>,
    /// The window end.
    pub cell: WindowCell,
}

impl Windows for AllEvents {
    fn source(&self, table: &Arc<Table>, hop: Hop) -> Result<Arc<dyn TableSource>> {
        let events =
            self.tables.get(&table.name).cloned().unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&table.schema)));
        let window = EventsWindow {
            schema: Arc::clone(&table.schema),
            events,
            hop,
            cell: self.cell.clone(),
            event_time: table.event_time.clone(),
        };
        Ok(provider_as_source(Arc::new(StreamingTable::try_new(Arc::clone(&table.schema), vec![Arc::new(window)])?)))
    }
}

#[derive(Debug)]
struct EventsWindow {
    schema: SchemaRef,
    events: RecordBatch,
    event_time: String,
    hop: Hop,
    cell: WindowCell,
}

impl PartitionStream for EventsWindow {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (start, end) = self.hop.window(self.cell.get());
        let inside = |time: Option<i64>| time.is_some_and(|time| start <= time && time < end);
        let times: Option<&ArrayRef> = self.events.column_by_name(&self.event_time);
        let mask: Option<BooleanArray> = times
            .and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>())
            .map(|times| times.iter().map(|time| Some(inside(time))).collect());
        let batch = mask.and_then(|mask| filter_record_batch(&self.events, &mask).ok());
        stream(batch, &self.schema)
    }
}
