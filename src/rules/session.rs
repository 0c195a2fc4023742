//! The query engine as rules see it: DataFusion with our functions in place, our windows planned, and nothing that
//! depends on the machine.

use std::{any::Any, fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{Result, TableReference, plan_datafusion_err, plan_err},
    execution::{
        SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
        session_state::SessionState,
    },
    logical_expr::{
        LogicalPlanBuilder, TableSource,
        planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning},
    },
    optimizer::{Optimizer, OptimizerRule},
    prelude::SessionConfig,
    sql::sqlparser::ast::TableFactor,
};

use super::{
    aggregates,
    catalog::{Catalog, OF_RULE, Table},
    checked::CheckedArithmetic,
    diagnostics::did_you_mean,
    functions::{self, WindowCell},
    ordered, samples, sql,
};
use crate::panes::Hop;

/// Makes a scan of one window: the events of `table` that `hop` asks for.
pub trait Windows: fmt::Debug + Send + Sync {
    /// What a plan scans for that window.
    fn source(&self, table: &Arc<Table>, hop: Hop) -> Result<Arc<dyn TableSource>>;
}

/// A scan of a window that will never be run: the cut puts a fold in its place.
#[derive(Debug)]
pub struct HopSource {
    /// The table read.
    pub table: Arc<Table>,
    /// The window read.
    pub hop: Hop,
}

impl TableSource for HopSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.schema)
    }
}

/// The windows of a rule that is to be cut into folds.
#[derive(Debug)]
pub struct ToBeCut;

impl Windows for ToBeCut {
    fn source(&self, table: &Arc<Table>, hop: Hop) -> Result<Arc<dyn TableSource>> {
        Ok(Arc::new(HopSource { table: Arc::clone(table), hop }))
    }
}

/// The window scan behind a table source, where it is one.
pub fn as_hop(source: &Arc<dyn TableSource>) -> Option<&HopSource> {
    let any: &dyn Any = source.as_ref();
    any.downcast_ref::<HopSource>()
}

/// A session in which rules are planned and run: `windows` says what `hop(…)` scans, `cell` is the window end.
pub fn session(catalog: &Arc<Catalog>, windows: Arc<dyn Windows>, cell: &WindowCell) -> Result<SessionState> {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.enable_ident_normalization = true;
    options.optimizer.enable_dynamic_filter_pushdown = false;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(optimizer_rules())
        .with_runtime_env(runtime()?)
        .with_relation_planners(vec![Arc::new(WindowPlanner { catalog: Arc::clone(catalog), windows })])
        .build();
    state.add_analyzer_rule(Arc::new(CheckedArithmetic));
    {
        use datafusion::execution::FunctionRegistry;
        for aggregate in aggregates::all() {
            state.register_udaf(aggregate)?;
        }
        state.register_udaf(Arc::new(samples::aggregate()))?;
        for aggregate in ordered::all() {
            state.register_udaf(aggregate)?;
        }
        state.register_udf(Arc::new(functions::ratio()))?;
        state.register_udf(Arc::new(functions::window_at(cell.clone())))?;
    }
    let schema = state.schema_for_ref(TableReference::bare("x"))?;
    for (name, reference) in &catalog.references {
        let table =
            datafusion::datasource::MemTable::try_new(reference.batch.schema(), vec![vec![reference.batch.clone()]])?;
        schema.register_table(name.clone(), Arc::new(table))?;
    }
    Ok(state)
}

/// How much memory one evaluation may take, in bytes.
const MEMORY_MAX: usize = 512 << 20;

/// What plans run in: a bound on memory, and no files.
fn runtime() -> Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    RuntimeEnvBuilder::new().with_memory_limit(MEMORY_MAX, 1.0).with_disk_manager_builder(disk).build_arc()
}

/// DataFusion's rules without those that would take a fold apart or spread what it computes over several nodes.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let unwanted = [
        "single_distinct_aggregation_to_group_by",
        "common_sub_expression_eliminate",
        "extract_leaf_expressions",
        "push_down_leaf_projections",
    ];
    Optimizer::new().rules.into_iter().filter(|rule| !unwanted.contains(&rule.name())).collect()
}

#[derive(Debug)]
struct WindowPlanner {
    catalog: Arc<Catalog>,
    windows: Arc<dyn Windows>,
}

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (alias, name) = match &relation {
            TableFactor::Table { name, args: Some(_), alias, .. } => (alias.clone(), name.to_string().to_lowercase()),
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        if !sql::is_window(&name) {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        let (table, hop) = sql::window(&relation).map_err(|(_, message)| plan_datafusion_err!("{message}"))?;
        let Some(table) = self.catalog.tables.get(&table).or_else(|| self.catalog.readings.get(&table)) else {
            if let Some(rule) = table.strip_prefix(OF_RULE) {
                let known = self.catalog.readings.keys().filter_map(|name| name.strip_prefix(OF_RULE));
                let hint = did_you_mean(rule, known);
                return plan_err!("there is no rule `{rule}`{}{hint}", if hint.is_empty() { "" } else { "; " });
            }
            let hint = did_you_mean(&table, self.catalog.tables.keys().map(String::as_str));
            return plan_err!("there is no table `{table}`{}{hint}", if hint.is_empty() { "" } else { "; " });
        };
        if let Some(column) = sql::window_column(&relation).filter(|column| column.value != table.event_time) {
            return plan_err!(
                "`{}` is not the event time of `{}`: that is `{}`",
                column.value,
                table.name,
                table.event_time
            );
        }
        let plan =
            LogicalPlanBuilder::scan(TableReference::bare(table.name.clone()), self.windows.source(table, hop)?, None)?
                .build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}
