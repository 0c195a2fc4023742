//! A bound on the work of one evaluation: how many rows joins may give. Memory alone is no bound, since what is aggregated
//! above a join takes none, and a clock would let two machines disagree. And an order: what a union unites is read one after
//! the other, in no task of its own.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{
        Result, exec_datafusion_err, exec_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        coalesce_partitions::CoalescePartitionsExec, stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

/// How many rows the joins of one evaluation may give together.
const ROWS_MAX: usize = 5_000_000;

/// The rows that are left for one evaluation.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// A new evaluation begins.
    pub(super) fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Puts the bound on every join of a plan, and an order on every union.
    pub(super) fn bound(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let one = |node: Arc<dyn ExecutionPlan>| {
            if node.name() == "CoalescePartitionsExec"
                && let [input] = node.children().as_slice()
            {
                let input = Arc::clone(input);
                let in_order = InOrder { input, properties: Arc::clone(node.properties()) };
                return Ok(Transformed::yes(Arc::new(in_order) as Arc<dyn ExecutionPlan>));
            }
            if node.name().contains("Join") {
                let properties = Arc::clone(node.properties());
                let bounded = Bounded { input: node, properties, budget: self.clone() };
                return Ok(Transformed::yes(Arc::new(bounded) as Arc<dyn ExecutionPlan>));
            }
            Ok(Transformed::no(node))
        };
        let plan = plan.transform_up(one)?.data;
        if plan.output_partitioning().partition_count() < 2 {
            return Ok(plan);
        }
        // A union that nothing stands above.
        let properties = Arc::clone(CoalescePartitionsExec::new(Arc::clone(&plan)).properties());
        Ok(Arc::new(InOrder { input: plan, properties }))
    }
}

#[derive(Debug)]
struct Bounded {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    budget: Budget,
}

impl DisplayAs for Bounded {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {ROWS_MAX} rows")
    }
}

impl ExecutionPlan for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) else {
            return exec_err!("a bound has one input");
        };
        let properties = Arc::clone(input.properties());
        Ok(Arc::new(Self { input, properties, budget: self.budget.clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let budget = self.budget.clone();
        let rows = self.input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            let used = budget.0.fetch_add(batch.num_rows(), Ordering::Relaxed) + batch.num_rows();
            if used > ROWS_MAX {
                return Err(exec_datafusion_err!(
                    "a join gives more than {ROWS_MAX} rows for one window: join by more columns, or aggregate before"
                ));
            }
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

/// The partitions of its input one after the other.
#[derive(Debug)]
struct InOrder {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for InOrder {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("in order")
    }
}

impl ExecutionPlan for InOrder {
    fn name(&self) -> &'static str {
        "InOrder"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) else {
            return exec_err!("an order has one input");
        };
        Ok(Arc::new(Self { input, properties: Arc::clone(&self.properties) }))
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let count = self.input.output_partitioning().partition_count();
        let parts: Result<Vec<SendableRecordBatchStream>> =
            (0..count).map(|partition| self.input.execute(partition, Arc::clone(&context))).collect();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), futures::stream::iter(parts?).flatten())))
    }
}
