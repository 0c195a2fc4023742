//! The cut: a rule's optimised plan becomes folds and the rest.
//!
//! Each lowest aggregation over a window is a *fold*: it is computed incrementally, pane by pane, from events. In
//! its place the rest of the plan scans the fold's finished result, and is ordinary DataFusion on small data. What
//! cannot be cut so is refused with its place and the reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::{
    common::{
        Column, DFSchema, DFSchemaRef, Result, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    datasource::provider_as_source,
    logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, expr::AggregateFunction},
};

use super::{
    catalog::Table,
    diagnostics::{Diagnostic, Source},
    functions::WINDOW_AT,
    rest::ResultCell,
    session::as_hop,
};
use crate::panes::Hop;

/// A leaf aggregation over one table. Its expressions speak of the table's columns by bare name.
#[derive(Debug, Clone)]
pub struct FoldSpec {
    /// The table it reads.
    pub table: Arc<Table>,
    /// Which events count; all where it is `None`.
    pub filter: Option<Expr>,
    /// What it groups by, beside the pane.
    pub keys: Vec<Expr>,
    /// The types of the keys.
    pub key_fields: Vec<Field>,
    /// What it computes.
    pub aggregates: Vec<Expr>,
    /// The width of its panes, in milliseconds.
    pub pane_ms: i64,
    /// Which keys decide the partials partition; none keeps everything in one.
    pub spread: Vec<usize>,
}

impl FoldSpec {
    /// What makes two folds the same: table, filter, keys, spread and pane width.
    pub fn fingerprint(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        let filter = self.filter.as_ref().map(ToString::to_string);
        // Readings of a rule whose columns change are another table; of a topic, the columns that are read count.
        let columns = match &self.table.rule {
            Some(_) => format!("{:?}", self.table.schema),
            None => self.types(self.filter.iter().chain(&self.keys)),
        };
        super::hash(&format!("{}{columns}|{filter:?}|{keys:?}|{:?}|{}", self.table.name, self.spread, self.pane_ms))
    }

    /// The columns that expressions read, with their types.
    fn types<'a>(&self, exprs: impl Iterator<Item = &'a Expr>) -> String {
        let names: BTreeSet<String> =
            exprs.flat_map(|expr| expr.column_refs().into_iter().map(|column| column.name.clone())).collect();
        let kind = |name: &String| self.table.schema.field_with_name(name).map(|field| field.data_type().clone());
        names.iter().map(|name| format!("{name} {:?},", kind(name).ok())).collect()
    }

    /// The columns of the table that it reads.
    pub fn columns(&self) -> BTreeSet<String> {
        let exprs = self.filter.iter().chain(&self.keys).chain(&self.aggregates);
        exprs
            .flat_map(|expr| expr.column_refs().into_iter().map(|column| column.name.clone()).collect::<Vec<_>>())
            .collect()
    }
}

/// The name of an aggregate: its SQL over the table's columns.
pub fn aggregate_name(aggregate: &Expr) -> String {
    aggregate.to_string()
}

/// What a fold and its aggregates are known by, made once: it is asked for with every section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldIds {
    /// The fold's fingerprint.
    pub fold: String,
    /// The fingerprints of its aggregates, in their order.
    pub aggregates: Vec<String>,
}

impl FoldIds {
    /// The ids of a fold.
    pub fn new(spec: &FoldSpec) -> Self {
        let id = |aggregate: &Expr| {
            super::hash(&format!("{}|{}", aggregate_name(aggregate), spec.types(std::iter::once(aggregate))))
        };
        Self { fold: spec.fingerprint(), aggregates: spec.aggregates.iter().map(id).collect() }
    }
}

/// Where a rule finds out what is behind a breach: samples of the events that count against it.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// The samples of the window.
    pub now: FoldUse,
    /// Those of the window before it.
    pub before: FoldUse,
    /// Which of the rule's series keys each key of the fold is.
    pub keys: Vec<usize>,
    /// The columns by which events are told apart, in the order in which a sample has them.
    pub by: Vec<String>,
    /// Which of them are personal.
    pub masked: Vec<bool>,
    /// How many values of each are named.
    pub top: usize,
}

/// One use of a fold by a rule: the fold with the aggregates this rule asks for, and the window.
#[derive(Debug, Clone)]
pub struct FoldUse {
    /// The fold.
    pub spec: FoldSpec,
    /// The fold's fingerprint, and those of the aggregates; known once the spread is.
    pub ids: FoldIds,
    /// The window that is put together from its panes.
    pub hop: Hop,
    /// The finished result, as the rest of the plan scans it: keys, then aggregates.
    pub result: SchemaRef,
    /// For each of its keys, which of the rule's series keys it is; empty where some is none.
    pub zero_keys: Vec<usize>,
    /// Where the rest of the plan finds that result.
    pub cell: ResultCell,
}

/// A rule's plan after the cut.
#[derive(Debug, Clone)]
pub struct Cut {
    /// The folds, in the order of their scans `fold_0`, `fold_1`, ….
    pub folds: Vec<FoldUse>,
    /// The rest, over scans of the folds' results.
    pub rest: LogicalPlan,
    /// For each output column, where it comes from: (fold, key) pairs that always agree with it.
    pub lineage: Vec<BTreeSet<(usize, usize)>>,
    /// False where the rest looks over several series at once, so that all must lie in one partition.
    pub by_series: bool,
}

/// The name of the scan that stands for a fold.
pub fn scan_name(fold: usize) -> String {
    format!("fold_{fold}")
}

/// Cuts an optimised plan.
pub fn cut(plan: LogicalPlan, source: &Arc<Source>, sql_start: usize) -> std::result::Result<Cut, Vec<Diagnostic>> {
    let mut cutter = Cutter { source, sql_start, folds: Vec::new(), problems: Vec::new() };
    cutter.refuse_history(&plan);
    let rest = plan.transform_down(|node| cutter.node(node)).map(|cut| cut.data);
    let rest = match rest {
        Ok(rest) => rest,
        Err(error) => {
            let span = cutter.whole();
            cutter.problem("plan", span, error.strip_backtrace(), "");
            return Err(cutter.problems);
        }
    };
    if cutter.problems.is_empty() && cutter.folds.is_empty() {
        let span = cutter.whole();
        cutter.problem(
            "no-aggregate",
            span,
            "nothing is aggregated over the window",
            "group the window's events: SELECT key, count(*) AS value FROM hop(…) GROUP BY key",
        );
    }
    cutter.raw_events(&rest);
    if !cutter.problems.is_empty() {
        return Err(cutter.problems);
    }
    let mut by_series = true;
    let lineage = lineage(&rest, &mut by_series);
    Ok(Cut { folds: cutter.folds, rest, lineage, by_series })
}

/// A window, and what the columns above it are in terms of its table.
type Flat = (Arc<Table>, Hop, Vec<Expr>);

struct Cutter<'a> {
    source: &'a Arc<Source>,
    sql_start: usize,
    folds: Vec<FoldUse>,
    problems: Vec<Diagnostic>,
}

impl Cutter<'_> {
    fn whole(&self) -> Range<usize> {
        self.source.first_word(self.sql_start)
    }

    fn problem(&mut self, code: &'static str, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Diagnostic::error(code, self.source, span, message, hint));
    }

    /// The place of the first column that an expression names, else the whole statement.
    fn place(&self, expr: &Expr) -> Range<usize> {
        let mut found = None;
        expr.apply(|expr| {
            if let Expr::Column(column) = expr
                && found.is_none()
            {
                found = column.spans().first();
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .ok();
        let at = |location: datafusion::common::Location| (location.line, location.column);
        found.map_or_else(|| self.whole(), |span| self.source.between(at(span.start), at(span.end)))
    }

    /// A window function sees the series of one window, not other windows.
    fn refuse_history(&mut self, plan: &LogicalPlan) {
        let mut found = None;
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Expr::WindowFunction(call) = expr
                        && call.params.order_by.iter().any(|sort| mentions_window(&sort.expr))
                    {
                        found = Some(expr.clone());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })
        .ok();
        if let Some(expr) = found {
            let text = &self.source.text[self.sql_start..];
            let place = text
                .find(" OVER")
                .map_or_else(|| self.place(&expr), |at| self.sql_start + at + 1..self.sql_start + at + 5);
            self.problem(
                "over-windows",
                place,
                "OVER (ORDER BY window_end) sees one window at a time, so it has nothing to look back at",
                "a longer hop, or a second one with ago => INTERVAL '1 hour', looks back",
            );
        }
    }

    fn node(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &node else {
            return Ok(Transformed::no(node));
        };
        if !reads_window(&aggregate.input) || has_aggregate(&aggregate.input) {
            return Ok(Transformed::no(node));
        }
        let Some(fold) = self.leaf(aggregate)? else {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        };
        let scan = fold_scan(self.folds.len(), &fold, &aggregate.schema)?;
        self.folds.push(fold);
        Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
    }

    /// What an aggregation right over a window computes; `None` where it was refused.
    fn leaf(&mut self, aggregate: &Aggregate) -> Result<Option<FoldUse>> {
        let known = self.problems.len();
        let mut filters = Vec::new();
        let Some((table, hop, columns)) = self.flatten(&aggregate.input, &mut filters)? else {
            return Ok(None);
        };
        let schema = aggregate.input.schema();
        let mut keys = Vec::new();
        for expr in &aggregate.group_expr {
            if matches!(expr, Expr::GroupingSet(_)) {
                self.problem(
                    "grouping-sets",
                    self.whole(),
                    "GROUPING SETS, CUBE and ROLLUP are not computed incrementally",
                    "write a rule for each grouping",
                );
                continue;
            }
            keys.push(resolve(expr, schema, &columns)?);
        }
        let mut aggregates = Vec::new();
        for expr in &aggregate.aggr_expr {
            let resolved = resolve(expr, schema, &columns)?.unalias_nested().data;
            self.check_aggregate(expr, &resolved, schema);
            aggregates.push(resolved);
        }
        for expr in keys.iter().chain(&filters).chain(&aggregates) {
            if mentions_window(expr) {
                self.problem("window-in-fold", self.place(expr), "window_start, window_end and window_seconds cannot be used below the aggregation: an event lies in many windows", "use them in the SELECT list or HAVING, or aggregate the event time first and compare in an outer query");
            }
        }
        if self.problems.len() > known {
            return Ok(None);
        }
        let nkeys = keys.len();
        let fields = aggregate.schema.fields();
        let result = fields.iter().enumerate().map(|(at, field)| {
            let name = if at < nkeys { format!("k{at}") } else { format!("a{}", at - nkeys) };
            Field::new(name, field.data_type().clone(), field.is_nullable())
        });
        let key_fields = fields
            .iter()
            .take(nkeys)
            .enumerate()
            .map(|(at, field)| Field::new(format!("k{at}"), field.data_type().clone(), true))
            .collect();
        let spec = FoldSpec {
            table,
            filter: filters.into_iter().reduce(Expr::and),
            keys,
            key_fields,
            aggregates,
            pane_ms: hop.pane_ms(),
            spread: Vec::new(),
        };
        let result: SchemaRef = Arc::new(Schema::new(result.collect::<Vec<_>>()));
        let ids = FoldIds::new(&spec);
        Ok(Some(FoldUse { ids, zero_keys: Vec::new(), cell: ResultCell::new(Arc::clone(&result)), result, spec, hop }))
    }

    fn check_aggregate(&mut self, written: &Expr, resolved: &Expr, schema: &DFSchema) {
        const ALLOWED: [&str; 13] = [
            "count",
            "sum",
            "avg",
            "min",
            "max",
            "approx_percentile_cont",
            "approx_distinct",
            "bool_and",
            "bool_or",
            "max_by",
            "min_by",
            "increase",
            super::samples::NAME,
        ];
        let Expr::AggregateFunction(AggregateFunction { func, params }) = resolved else {
            self.problem(
                "aggregate",
                self.place(written),
                format!("`{written}` is no aggregate that can be computed incrementally"),
                "",
            );
            return;
        };
        let name = func.name();
        let hint = match name {
            "percentile_cont" | "median" | "approx_median" | "quantile_cont" => {
                "approx_percentile_cont(x, 0.95) is mergeable; above an inner GROUP BY percentile_cont is exact"
            }
            "array_agg" | "string_agg" | "first_value" | "last_value" | "nth_value" => {
                "its result depends on the order in which events come; min, max or count(DISTINCT …) do not"
            }
            "stddev" | "stddev_pop" | "var_samp" | "var_pop" | "corr" | "covar_samp" => {
                "aggregate sum(x), sum(x * x) and count(x), and compute it above"
            }
            _ => {
                "count, sum, avg, min, max, count(DISTINCT …), approx_percentile_cont, approx_distinct, bool_and, bool_or, max_by, min_by and increase are"
            }
        };
        if name == "approx_percentile_cont"
            && !params.args.get(1).is_some_and(is_fraction)
            && params.order_by.is_empty()
        {
            self.problem(
                "aggregate",
                self.place(written),
                "the second argument of approx_percentile_cont is a fraction from 0 to 1, written as a number",
                "approx_percentile_cont(duration_ms, 0.95)",
            );
        } else if !ALLOWED.contains(&name) {
            self.problem(
                "aggregate",
                self.place(written),
                format!("`{name}` over raw events has no state that is mergeable in any order"),
                hint,
            );
        } else if name == "approx_distinct" && has_double(written, schema) {
            self.problem(
                "aggregate",
                self.place(written),
                "approx_distinct cannot tell numbers with fractions apart",
                "count(DISTINCT x) can, or round them: approx_distinct(CAST(x AS BIGINT))",
            );
        } else if params.distinct && name != "count" {
            self.problem(
                "aggregate",
                self.place(written),
                format!("`{name}(DISTINCT …)` over raw events is not supported"),
                "count(DISTINCT …) is exact",
            );
        } else if !params.order_by.is_empty() {
            self.problem(
                "aggregate",
                self.place(written),
                format!("ORDER BY inside `{name}` means nothing here: events have no order that survives merging"),
                if name == "approx_percentile_cont" {
                    "approx_percentile_cont(duration_ms, 0.95), without WITHIN GROUP"
                } else {
                    "leave the ORDER BY out"
                },
            );
        }
    }

    /// Walks from an aggregation's input down to the window: filters and projections only. Answers with the window
    /// and, for each column of `plan`, the expression over the table's columns that it is.
    fn flatten(&mut self, plan: &LogicalPlan, filters: &mut Vec<Expr>) -> Result<Option<Flat>> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let Some(hop) = as_hop(&scan.source) else { return Ok(None) };
                let columns: Vec<Expr> =
                    plan.schema().fields().iter().map(|field| Expr::Column(Column::from_name(field.name()))).collect();
                for filter in &scan.filters {
                    filters.push(resolve(filter, plan.schema(), &columns)?);
                }
                Ok(Some((Arc::clone(&hop.table), hop.hop, columns)))
            }
            LogicalPlan::SubqueryAlias(alias) => self.flatten(&alias.input, filters),
            LogicalPlan::Filter(filter) => {
                let below = self.flatten(&filter.input, filters)?;
                if let Some((_, _, columns)) = &below {
                    filters.push(resolve(&filter.predicate, filter.input.schema(), columns)?);
                }
                Ok(below)
            }
            LogicalPlan::Projection(projection) => {
                let Some((table, hop, columns)) = self.flatten(&projection.input, filters)? else { return Ok(None) };
                let exprs: Result<Vec<Expr>> =
                    projection.expr.iter().map(|expr| resolve(expr, projection.input.schema(), &columns)).collect();
                Ok(Some((table, hop, exprs?)))
            }
            other => {
                let (what, hint) = match other {
                    LogicalPlan::Join(_) => (
                        "a join of raw events",
                        "aggregate each window by the join's keys first, then join the results",
                    ),
                    LogicalPlan::Window(_) => (
                        "a window function over raw events",
                        "aggregate first; window functions may run over the series of one window",
                    ),
                    LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
                        ("an order or a limit of raw events", "leave it out, or aggregate first")
                    }
                    LogicalPlan::Union(_) => {
                        ("a union of raw events", "aggregate each window first, then unite the results")
                    }
                    _ => ("this operation on raw events", "aggregate the window's events first"),
                };
                self.problem("not-incremental", self.whole(), format!("{what} cannot be computed incrementally"), hint);
                Ok(None)
            }
        }
    }

    /// Raw events must not reach the result: a window that no aggregation covers.
    fn raw_events(&mut self, rest: &LogicalPlan) {
        let mut raw = false;
        rest.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && as_hop(&scan.source).is_some()
            {
                raw = true;
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .ok();
        if raw && self.problems.is_empty() {
            self.problem(
                "not-incremental",
                self.whole(),
                "raw events of a window reach the result without being aggregated",
                "aggregate each window by its keys first, then join or compare the results",
            );
        }
    }
}

/// The names of all tables that a plan scans.
pub fn scans(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let outcome = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(outcome.is_ok(), "a walk that refuses nothing");
    found
}

/// True of an aggregate of a double.
fn has_double(written: &Expr, schema: &DFSchema) -> bool {
    let Expr::AggregateFunction(AggregateFunction { params, .. }) = written.clone().unalias() else { return false };
    params.args.iter().any(|argument| argument.get_type(schema).is_ok_and(|kind| kind.is_floating()))
}

/// True of a number from 0 to 1 that stands there as such.
fn is_fraction(expr: &Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    let value = value.cast_to(&arrow::datatypes::DataType::Float64);
    matches!(value, Ok(ScalarValue::Float64(Some(p))) if (0.0..=1.0).contains(&p))
}

fn mentions_window(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::ScalarFunction(call) if call.name() == WINDOW_AT))).unwrap_or(false)
}

pub(super) fn reads_window(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::TableScan(scan) if as_hop(&scan.source).is_some())))
        .unwrap_or(false)
}

fn has_aggregate(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_)) && reads_window(node))).unwrap_or(false)
}

/// Puts into `expr` what its columns are.
fn resolve(expr: &Expr, schema: &DFSchemaRef, columns: &[Expr]) -> Result<Expr> {
    let resolved = expr.clone().transform_up(|expr| {
        Ok(match &expr {
            Expr::Column(column) => {
                let at = schema.index_of_column(column)?;
                let mut found = columns[at].clone();
                if let Expr::Column(inner) = &mut found {
                    inner.spans = column.spans.clone();
                }
                Transformed::yes(found)
            }
            _ => Transformed::no(expr),
        })
    })?;
    Ok(resolved.data.unalias())
}

fn fold_scan(at: usize, fold: &FoldUse, schema: &DFSchemaRef) -> Result<LogicalPlan> {
    let source = provider_as_source(fold.cell.table()?);
    let name = scan_name(at);
    let exprs = schema.iter().zip(fold.result.fields()).map(|((qualifier, field), inner)| {
        Expr::Column(Column::new(Some(name.clone()), inner.name())).alias_qualified(qualifier.cloned(), field.name())
    });
    LogicalPlanBuilder::scan(name.clone(), source, None)?.project(exprs.collect::<Vec<_>>())?.build()
}

/// For each output column of the rest, the fold keys that always agree with it.
fn lineage(plan: &LogicalPlan, by_series: &mut bool) -> Vec<BTreeSet<(usize, usize)>> {
    let none = || vec![BTreeSet::new(); plan.schema().fields().len()];
    let of = |expr: &Expr, schema: &DFSchemaRef, below: &[BTreeSet<(usize, usize)>]| match expr
        .clone()
        .unalias_nested()
        .data
    {
        Expr::Column(column) => schema.index_of_column(&column).map(|at| below[at].clone()).unwrap_or_default(),
        _ => BTreeSet::new(),
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            *by_series &= scan.fetch.is_none();
            let Some(fold) = scan.table_name.table().strip_prefix("fold_").and_then(|at| at.parse().ok()) else {
                return none();
            };
            let key = |field: &Arc<Field>| field.name().strip_prefix('k').and_then(|at| at.parse().ok());
            plan.schema().fields().iter().map(|field| key(field).map(|key| (fold, key)).into_iter().collect()).collect()
        }
        LogicalPlan::Projection(projection) => {
            let below = lineage(&projection.input, by_series);
            projection.expr.iter().map(|expr| of(expr, projection.input.schema(), &below)).collect()
        }
        LogicalPlan::Aggregate(aggregate) => {
            let below = lineage(&aggregate.input, by_series);
            let keys = aggregate.group_expr.iter().map(|expr| of(expr, aggregate.input.schema(), &below));
            keys.chain(aggregate.aggr_expr.iter().map(|_| BTreeSet::new())).collect()
        }
        LogicalPlan::Filter(filter) => lineage(&filter.input, by_series),
        LogicalPlan::Sort(sort) => {
            // The first of all series is not the first of each partition.
            *by_series &= sort.fetch.is_none();
            lineage(&sort.input, by_series)
        }
        LogicalPlan::SubqueryAlias(alias) => lineage(&alias.input, by_series),
        LogicalPlan::Join(join) => {
            let left = lineage(&join.left, by_series);
            let right = lineage(&join.right, by_series);
            let (mut left_out, mut right_out) = (left.clone(), right.clone());
            for (a, b) in &join.on {
                let index = |expr: &Expr, schema: &DFSchemaRef| match expr {
                    Expr::Column(column) => schema.index_of_column(column).ok(),
                    _ => None,
                };
                if let (Some(a), Some(b)) = (index(a, join.left.schema()), index(b, join.right.schema())) {
                    let both: BTreeSet<_> = left[a].union(&right[b]).copied().collect();
                    left_out[a].extend(&both);
                    right_out[b].extend(&both);
                }
            }
            // A side that is kept whole and has no fold would show up in every partition.
            use datafusion::common::JoinType;
            let kept = match join.join_type {
                JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => false,
                JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => !reads_fold(&join.left),
                JoinType::Right | JoinType::RightAnti | JoinType::RightMark => !reads_fold(&join.right),
                JoinType::Full => !reads_fold(&join.left) || !reads_fold(&join.right),
            };
            *by_series &= !kept;
            let out = plan.schema().fields().len();
            if out == left.len() + right.len() {
                left_out.into_iter().chain(right_out).collect()
            } else if out == left.len() {
                left_out
            } else {
                right_out
            }
        }
        LogicalPlan::Window(window) => {
            // A window function sees all series of its partition at once.
            *by_series = false;
            let mut below = lineage(&window.input, by_series);
            below.extend(window.window_expr.iter().map(|_| BTreeSet::new()));
            below
        }
        _ => {
            *by_series = false;
            for input in plan.inputs() {
                lineage(input, by_series);
            }
            none()
        }
    }
}

fn reads_fold(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table().starts_with("fold_"))))
        .unwrap_or(false)
}

/// Folds that several rules share: the same table, filter, keys, spread and pane, with the union of the aggregates.
pub fn share<'a>(uses: impl IntoIterator<Item = &'a FoldUse>) -> BTreeMap<String, FoldSpec> {
    unite(uses.into_iter().map(|fold| (fold.ids.fold.as_str(), &fold.spec)))
}

/// Folds by fingerprint, each with the union of the aggregates.
pub fn unite<'a>(folds: impl IntoIterator<Item = (&'a str, &'a FoldSpec)>) -> BTreeMap<String, FoldSpec> {
    let mut united: BTreeMap<String, FoldSpec> = BTreeMap::new();
    for (fingerprint, fold) in folds {
        let spec =
            united.entry(fingerprint.to_owned()).or_insert_with(|| FoldSpec { aggregates: Vec::new(), ..fold.clone() });
        for aggregate in &fold.aggregates {
            if !spec.aggregates.iter().any(|known| aggregate_name(known) == aggregate_name(aggregate)) {
                spec.aggregates.push(aggregate.clone());
            }
        }
        spec.aggregates.sort_by_key(aggregate_name);
    }
    united
}
