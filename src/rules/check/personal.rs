//! Personal columns must not come out.

use std::sync::Arc;

use datafusion::{
    common::{Column, DFSchemaRef},
    logical_expr::{Expr, JoinType, LogicalPlan},
};

use super::{
    super::{
        Output,
        diagnostics::{Diagnostic, Source},
        plan::Cut,
    },
    find,
};

/// Personal columns may be counted and grouped by inside, but nothing made of them may reach an output.
pub(super) fn masked(cut: &Cut, output: &Output, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
    let shown = personal(&cut.rest, cut);
    let mut problems = Vec::new();
    for (at, column) in shown.iter().enumerate().filter_map(|(at, column)| Some((at, column.as_ref()?))) {
        let name = output.schema.field(at).name();
        let message =
            format!("`{name}` shows `{column}`, which is personal, and would stand in every reading and alert");
        problems.push(Diagnostic::error(
            "masked",
            source,
            find(source, sql_start, column),
            message,
            "group by it in an inner query and count or sum outside; count(DISTINCT …) counts without showing",
        ));
    }
    problems
}

/// For each output column of a plan, the personal column that it shows, where it shows one.
fn personal(plan: &LogicalPlan, cut: &Cut) -> Vec<Option<String>> {
    let counts = |expr: &Expr| matches!(expr, Expr::AggregateFunction(call) if ["count", "approx_distinct"].contains(&call.func.name()));
    let below: Vec<(&DFSchemaRef, Vec<Option<String>>)> =
        plan.inputs().into_iter().map(|input| (input.schema(), personal(input, cut))).collect();
    let of = |expr: &Expr| -> Option<String> {
        let expr = expr.clone().unalias_nested().data;
        if counts(&expr) {
            return None;
        }
        let shown = |column: &Column| {
            below.iter().find_map(|(schema, shown)| shown[schema.index_of_column(column).ok()?].clone())
        };
        expr.column_refs().into_iter().find_map(shown)
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let fold = scan
                .table_name
                .table()
                .strip_prefix("fold_")
                .and_then(|at| at.parse::<usize>().ok())
                .and_then(|at| cut.folds.get(at));
            let shown = |name: &str| -> Option<String> {
                let spec = &fold?.spec;
                let (kind, at) = name.split_at(1);
                let at: usize = at.parse().ok()?;
                let expr = if kind == "k" { spec.keys.get(at)? } else { spec.aggregates.get(at)? };
                let masked = |column: &&Column| spec.table.column(&column.name).is_some_and(|column| column.masked);
                expr.column_refs().into_iter().filter(|_| !counts(expr)).find(masked).map(|column| column.name.clone())
            };
            plan.schema().fields().iter().map(|field| shown(field.name())).collect()
        }
        LogicalPlan::Projection(projection) => projection.expr.iter().map(of).collect(),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().chain(&aggregate.aggr_expr).map(of).collect(),
        LogicalPlan::Window(window) => {
            let mut shown: Vec<Option<String>> = below.iter().flat_map(|(_, shown)| shown.clone()).collect();
            shown.extend(window.window_expr.iter().map(of));
            shown
        }
        _ => {
            let mut shown: Vec<Option<String>> = match plan {
                // A union shows what any of its inputs shows.
                LogicalPlan::Union(_) => (0..plan.schema().fields().len())
                    .map(|at| below.iter().find_map(|(_, shown)| shown.get(at).cloned().flatten()))
                    .collect(),
                // These have the columns of their right side alone.
                LogicalPlan::Join(join)
                    if matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark) =>
                {
                    below.last().map(|(_, shown)| shown.clone()).unwrap_or_default()
                }
                _ => below.iter().flat_map(|(_, shown)| shown.clone()).collect(),
            };
            // Semi joins have the columns of one side alone; whoever comes from the other shows nothing.
            shown.resize(plan.schema().fields().len(), None);
            shown
        }
    }
}
