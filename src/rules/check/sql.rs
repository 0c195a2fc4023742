//! What is wrong with a rule's SQL although it plans.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use datafusion::{
    common::{
        Column, DFSchema, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, ExprSchemable, JoinType, LogicalPlan, Operator},
};

use super::{
    super::{
        Files, Output, Rule,
        diagnostics::{Diagnostic, Severity, Source, did_you_mean},
        functions::WINDOW_AT,
        plan::{Cut, reads_window},
        session::as_hop,
        sql,
    },
    find,
};
use crate::{panes::gcd, time};

/// The slides of several windows must divide each other, so that each window ends where the rule is evaluated.
pub fn slides(parsed: &sql::Parsed, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
    let shortest = parsed.slide_ms();
    let odd = parsed.hops.iter().filter(|(_, hop)| hop.slide_ms % shortest != 0);
    odd.map(|(table, hop)| {
        let message = format!(
            "the slide of {} is no multiple of the shortest slide, {}",
            time::span(hop.slide_ms),
            time::span(shortest)
        );
        let common = time::span(gcd(hop.slide_ms, shortest));
        Diagnostic::error(
            "slides",
            source,
            find(source, sql_start, table),
            message,
            format!("give all windows of a rule the same slide, for example {common}"),
        )
    })
    .collect()
}

/// Whole numbers divided by whole numbers: the fraction is cut off, and 999 of 1000 becomes 0.
pub(super) fn divisions(logical: &LogicalPlan, source: &Arc<Source>, sql_start: usize) -> Option<Diagnostic> {
    let mut found = false;
    let outcome = logical.apply_with_subqueries(|node| {
        let schemas: Vec<_> = node.inputs().into_iter().map(LogicalPlan::schema).collect();
        let whole = |expr: &Expr| schemas.iter().any(|schema| expr.get_type(schema).is_ok_and(|kind| kind.is_integer()));
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(matches!(expr, Expr::BinaryExpr(division) if division.op == Operator::Divide && whole(&division.left) && whole(&division.right))))?;
            Ok(TreeNodeRecursion::Continue)
        })
    });
    (outcome.is_ok() && found).then(|| {
        let place = find(source, sql_start, "/");
        Diagnostic::error(
            "integer-division",
            source,
            place,
            INTEGER_DIVISION,
            "ratio(a, b) is a double, NULL where b is 0, and keeps both as measures",
        )
    })
}

/// A LIMIT lets series come and go with the others: a breach then looks like silence.
pub(super) fn limits(logical: &LogicalPlan, source: &Arc<Source>, sql_start: usize) -> Option<Diagnostic> {
    let limited = logical.exists(|node| Ok(matches!(node, LogicalPlan::Limit(_)))).unwrap_or(false);
    limited.then(|| {
        let place = find(source, sql_start, "LIMIT");
        let hint = "leave it out: levels say which series matter, and who reads the store can sort";
        Diagnostic::warning(
            "limit",
            source,
            place,
            "LIMIT hides series: one that drops out of the first few falls silent",
            hint,
        )
    })
}

/// Texts that a column is compared with and never has.
pub(super) fn never(cut: &Cut, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
    let mut found = std::collections::BTreeMap::new();
    for spec in cut.folds.iter().map(|fold| &fold.spec) {
        for expr in spec.filter.iter().chain(&spec.keys).chain(&spec.aggregates) {
            let outcome = expr.apply(|expr| {
                if let Expr::BinaryExpr(compared) = expr
                    && let (Expr::Column(column), Expr::Literal(ScalarValue::Utf8(Some(text)), _)) =
                        (compared.left.as_ref(), compared.right.as_ref())
                    && let Some(column) = spec.table.column(&column.name)
                    && !column.allowed.is_empty()
                    && !column.allowed.contains(text)
                {
                    found.insert((column.name.clone(), text.clone()), column.allowed.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            });
            debug_assert!(outcome.is_ok(), "a walk that refuses nothing");
        }
    }
    let one = |((column, text), allowed): ((String, String), Vec<String>)| {
        let near = did_you_mean(&text, allowed.iter().map(String::as_str));
        let hint = if near.is_empty() { format!("it is one of {}", allowed.join(", ")) } else { near };
        let place = find(source, sql_start, &format!("'{text}'"));
        Diagnostic::warning("never", source, place, format!("`{column}` is never '{text}'"), hint)
    };
    found.into_iter().map(one).collect()
}

/// HAVING lets healthy series come and go: one that it drops looks silent.
pub(super) fn having(parsed: &sql::Parsed, source: &Arc<Source>, sql_start: usize) -> Option<Diagnostic> {
    parsed.has_outer_having().then(|| {
        let place = find(source, sql_start, "HAVING");
        let message =
            "HAVING hides series: one that it drops falls silent, so it neither recovers nor is seen as healthy";
        Diagnostic::warning(
            "having",
            source,
            place,
            message,
            "judge_when: samples >= 20 keeps the reading and judges it not",
        )
    })
}

/// Divisions of doubles whose divisor may be 0: infinite, or no number at all, which compares as greater than any.
pub(super) fn divisors(logical: &LogicalPlan, source: &Arc<Source>, sql_start: usize) -> Option<Diagnostic> {
    let mut found: Option<String> = None;
    each_expression(logical, |_, expr| {
        if let Expr::BinaryExpr(division) = expr
            && matches!(division.op, Operator::Divide | Operator::Modulo)
            && !never_zero(&division.right)
        {
            found.get_or_insert_with(|| zero_divisor(&division.right));
        }
    });
    let message = found?;
    let sign = [" / ", " % ", "/", "%"].into_iter().find(|sign| source.text[sql_start..].contains(sign)).unwrap_or("/");
    let place = find(source, sql_start, sign);
    let place = if sign.len() == 3 { place.start + 1..place.end - 1 } else { place };
    let hint = ZERO_HINT;
    Some(Diagnostic::warning("division-by-zero", source, place, message, hint))
}

fn is_zero(value: &ScalarValue) -> bool {
    value.cast_to(&arrow::datatypes::DataType::Float64).is_ok_and(|value| value == ScalarValue::Float64(Some(0.0)))
}

/// Calls `f` for each expression of the plan, with whether the plan's inputs say it is a whole number.
fn each_expression(logical: &LogicalPlan, mut f: impl FnMut(&dyn Fn(&Expr) -> bool, &Expr)) {
    let outcome = logical.apply_with_subqueries(|node| {
        let schemas: Vec<_> = node.inputs().into_iter().map(LogicalPlan::schema).collect();
        let whole =
            |expr: &Expr| schemas.iter().any(|schema| expr.get_type(schema).is_ok_and(|kind| kind.is_integer()));
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                f(&whole, expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    debug_assert!(outcome.is_ok(), "a walk that refuses nothing");
}

/// Products of whole numbers: they may not fit 64 bits, and then the rule fails.
pub(super) fn products(logical: &LogicalPlan, source: &Arc<Source>, sql_start: usize) -> Option<Diagnostic> {
    let mut found = false;
    let small = |expr: &Expr| matches!(expr, Expr::Literal(..));
    each_expression(logical, |whole, expr| {
        if let Expr::BinaryExpr(product) = expr
            && product.op == Operator::Multiply
            && whole(&product.left)
            && whole(&product.right)
            && !small(&product.left)
            && !small(&product.right)
        {
            found = true;
        }
    });
    found.then(|| {
        let place = find(source, sql_start, " * ");
        let place = if source.text[place.clone()] == *" * " { place.start + 1..place.end - 1 } else { place };
        let message = "the product of two whole numbers may not fit 64 bits: the rule would fail and be fenced off";
        Diagnostic::warning("overflow", source, place, message, "multiply doubles: CAST(a AS DOUBLE) * b")
    })
}

/// Windows of reports that are shorter than two reports: one that is late makes the window empty.
pub(super) fn reports(cut: &Cut, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
    let mut found: BTreeMap<String, Diagnostic> = BTreeMap::new();
    for fold in &cut.folds {
        let table = &fold.spec.table;
        if let Some(interval) = table.interval_ms.filter(|interval| fold.hop.size_ms < 2 * interval) {
            let message = format!(
                "a window of {} holds less than two reports of `{}`, which come every {}",
                time::span(fold.hop.size_ms),
                table.name,
                time::span(interval)
            );
            let place = find(source, sql_start, &table.name);
            let hint = format!("windows of {} or more", time::span(2 * interval));
            found.insert(table.name.clone(), Diagnostic::warning("short-window", source, place, message, hint));
        }
    }
    found.into_values().collect()
}

/// Series by columns that have ever new values: ids, times, measured numbers.
pub(super) fn cardinality(cut: &Cut, output: &Output, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
    use super::super::catalog::Kind;
    let mut found = Vec::new();
    for key in &output.keys {
        let unbounded = cut.lineage[*key].iter().find_map(|(at, key)| {
            let spec = &cut.folds[*at].spec;
            let Expr::Column(column) = &spec.keys[*key] else { return None };
            let column = spec.table.column(&column.name)?;
            let many = matches!(column.kind, Kind::Number | Kind::Time) || column.name.ends_with("_id");
            (many && !column.masked).then(|| column.name.clone())
        });
        if let Some(column) = unbounded {
            let place = find(source, sql_start, &column);
            let message = format!("`{column}` has ever new values, so the series have no bound");
            let hint = "group by it in an inner query and aggregate outside, or by something that stays";
            found.push(Diagnostic::warning("cardinality", source, place, message, hint));
        }
    }
    found
}

/// Ids whose events span windows need a guard: those that have only just begun would count as unfinished, and those
/// that began before the window as half.
pub(super) fn unguarded(cut: &Cut, output: &Output, source: &Arc<Source>, sql_start: usize) -> Option<Diagnostic> {
    let guarded = cut
        .rest
        .exists(|node| {
            let LogicalPlan::Filter(filter) = node else { return Ok(false) };
            filter.predicate.exists(|expr| Ok(matches!(expr, Expr::ScalarFunction(call) if call.name() == WINDOW_AT)))
        })
        .unwrap_or(false);
    if guarded {
        return None;
    }
    cut.folds.iter().enumerate().find_map(|(at, fold)| {
        let spec = &fold.spec;
        let shown = |key: usize| output.keys.iter().any(|column| cut.lineage[*column].contains(&(at, key)));
        let id = spec.keys.iter().enumerate().find_map(|(key, expr)| match expr {
            Expr::Column(column) if column.name.ends_with("_id") && !shown(key) => Some(column.name.clone()),
            _ => None,
        })?;
        // Only where the events of one id are told apart: by time, or by a condition on each.
        let spans = spec.aggregates.iter().any(|aggregate| {
            let Expr::AggregateFunction(call) = aggregate else { return false };
            aggregate.column_refs().iter().any(|column| column.name == spec.table.event_time)
                || call.params.filter.is_some()
                || matches!(call.func.name(), "bool_or" | "bool_and")
        });
        spans.then(|| {
            let place = find(source, sql_start, &id);
            let message = format!("the events of one `{id}` may lie in several windows, and nothing says which ids count");
            let hint = "keep the ids that began in the window and had time to end: WHERE began >= window_start AND began < window_end - INTERVAL '10 minutes'";
            Diagnostic::warning("unguarded-ids", source, place, message, hint)
        })
    })
}

/// The scalar functions that a rule may call: each gives the same for the same, at a cost in proportion to its input.
const FUNCTIONS: [&str; 76] = [
    "abs",
    "acos",
    "asin",
    "atan",
    "atan2",
    "btrim",
    "cbrt",
    "ceil",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "contains",
    "cos",
    "date_bin",
    "date_part",
    "date_trunc",
    "datepart",
    "datetrunc",
    "degrees",
    "ends_with",
    "exp",
    "floor",
    "greatest",
    "ifnull",
    "initcap",
    "instr",
    "isnan",
    "iszero",
    "least",
    "left",
    "length",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "md5",
    "mod",
    "nanvl",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "pi",
    "position",
    "pow",
    "power",
    "radians",
    "ratio",
    "regexp_like",
    "reverse",
    "right",
    "round",
    "rtrim",
    "sign",
    "signum",
    "sin",
    "split_part",
    "sqrt",
    "starts_with",
    "strpos",
    "substr",
    "substring",
    "tan",
    "to_timestamp",
    "to_timestamp_millis",
    "to_timestamp_seconds",
    "to_unixtime",
    "trim",
    "trunc",
    "upper",
    "window_at",
    "get_field",
];

/// What no rule may do: operations and functions that are not known to be bounded, and joins that multiply.
pub fn refused(
    logical: &LogicalPlan,
    references: &dyn Fn(&str) -> bool,
    source: &Arc<Source>,
    sql_start: usize,
) -> Vec<Diagnostic> {
    let mut found: BTreeMap<String, Diagnostic> = BTreeMap::new();
    if many_nodes(logical) {
        let message =
            format!("the query has more than {NODES_MAX} parts: each query in WITH counts wherever it is read");
        let hint = "let each query read those before it once";
        return vec![Diagnostic::error("too-large", source, source.first_word(sql_start), message, hint)];
    }
    let outcome = logical.apply_with_subqueries(|node| {
        if let Some((what, place, hint)) = operation(node) {
            let place = find(source, sql_start, place);
            let are = if what.contains(',') { "are" } else { "is" };
            let message = format!("{what} {are} not allowed in a rule");
            found.entry(what.to_owned()).or_insert_with(|| Diagnostic::error("not-allowed", source, place, message, hint));
        }
        if let LogicalPlan::TableScan(scan) = node
            && as_hop(&scan.source).is_none()
            && !references(scan.table_name.table())
        {
            let place = find(source, sql_start, "generate_series");
            let message = "a table that is neither a window nor a reference table is not allowed in a rule";
            let hint = "FROM hop(…), or a reference table of sql/reference";
            found.entry("table".into()).or_insert_with(|| Diagnostic::error("not-allowed", source, place, message, hint));
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::AggregateFunction(call) = expr
                    && call.params.distinct
                    && (call.func.name() != "count" || call.params.args.len() > 1)
                {
                    let name = call.func.name().to_owned();
                    let place = find(source, sql_start, &name);
                    let (message, hint) = if name == "count" {
                        ("`count(DISTINCT …)` takes one column".to_owned(), "count(DISTINCT concat_ws('/', a, b))")
                    } else {
                        (format!("`{name}(DISTINCT …)` is not supported"), "group by it in an inner query first; count(DISTINCT …) is exact")
                    };
                    found.entry(name).or_insert_with(|| Diagnostic::error("aggregate", source, place, message, hint));
                }
                if let Expr::ScalarFunction(call) = expr
                    && !FUNCTIONS.contains(&call.name())
                {
                    let name = call.name().to_owned();
                    let text = source.text[sql_start..].to_lowercase();
                    let place = text.find(&format!("{name}(")).map(|at| sql_start + at..sql_start + at + name.len());
                    let place = place.unwrap_or_else(|| source.first_word(sql_start));
                    let message = format!("`{name}` is not allowed in a rule: the same events must always give the same reading, at a bounded cost");
                    let hint = "window_end, in the SELECT list or an outer query, is the time of the evaluation";
                    found.entry(name).or_insert_with(|| Diagnostic::error("function", source, place, message, hint));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    debug_assert!(outcome.is_ok(), "a walk that refuses nothing");
    found.into_values().collect()
}

/// More parts than this and planning takes longer than anybody waits.
const NODES_MAX: usize = 1_000;

/// True where a plan has too many nodes; looks at no more than it takes to know.
fn many_nodes(plan: &LogicalPlan) -> bool {
    let mut seen = 0;
    let outcome = plan.apply_with_subqueries(|_| {
        seen += 1;
        Ok(if seen > NODES_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    outcome.is_err() || seen > NODES_MAX
}

/// What is wrong with the numbers of an expression of the header.
pub fn numbers(expr: &Expr, schema: &DFSchema) -> Option<(Severity, &'static str, String, &'static str)> {
    let whole = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_integer());
    let mut found = None;
    let outcome = expr.apply(|expr| {
        if let Expr::BinaryExpr(division) = expr
            && matches!(division.op, Operator::Divide | Operator::Modulo)
        {
            if division.op == Operator::Divide && whole(&division.left) && whole(&division.right) {
                found = Some((
                    Severity::Error,
                    "integer-division",
                    INTEGER_DIVISION.to_owned(),
                    "ratio(a, b) is a double, NULL where b is 0",
                ));
            } else if !never_zero(&division.right) && found.is_none() {
                let message = zero_divisor(&division.right);
                found = Some((Severity::Warning, "division-by-zero", message, ZERO_HINT));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(outcome.is_ok(), "a walk that refuses nothing");
    found
}

const INTEGER_DIVISION: &str = "a whole number divided by a whole number is cut to a whole number: 999 / 1000 is 0";
const ZERO_HINT: &str = "ratio(a, b) is NULL where b is 0, which is unjudged; or divide by nullif(b, 0)";

fn zero_divisor(divisor: &Expr) -> String {
    // Columns by their own names, without their tables.
    let bare = divisor.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::from_name(column.name))),
            other => Transformed::no(other),
        })
    });
    let name = bare.map_or_else(|_| divisor.to_string(), |bare| bare.data.to_string());
    format!("`{name}` may be 0, as on thin traffic, and then the quotient is no number")
}

fn never_zero(expr: &Expr) -> bool {
    match &expr.clone().unalias_nested().data {
        Expr::Literal(value, _) => !is_zero(value),
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Literal(value, _) if !is_zero(value)),
        Expr::ScalarFunction(call) => matches!(call.name(), "nullif" | "greatest" | "exp"),
        _ => false,
    }
}

/// A function that an expression of the header calls and may not.
pub fn forbidden(expr: &Expr) -> Option<String> {
    let mut found = None;
    let outcome = expr.apply(|expr| {
        match expr {
            Expr::ScalarFunction(call) if !FUNCTIONS.contains(&call.name()) => {
                found.get_or_insert_with(|| call.name().to_owned());
            }
            Expr::AggregateFunction(call) => _ = found.get_or_insert_with(|| call.func.name().to_owned()),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(outcome.is_ok(), "a walk that refuses nothing");
    found
}

/// What a plan node is called, where it stands and what to write instead, if a rule may not have it.
fn operation(node: &LogicalPlan) -> Option<(&'static str, &'static str, &'static str)> {
    match node {
        LogicalPlan::Join(join) => {
            let multiplies = join.on.is_empty()
                && matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full)
                && !equality(join.filter.as_ref())
                && !(few_rows(&join.left) || few_rows(&join.right));
            let hint = "join by the columns that both sides have: JOIN … USING (service)";
            multiplies.then_some(("a join that pairs every row with every other", "JOIN", hint))
        }
        LogicalPlan::RecursiveQuery(_) => Some(("a recursive query", "WITH", "write it without RECURSIVE")),
        LogicalPlan::Unnest(_) => Some(("unnest", "unnest", "aggregate the window's events")),
        LogicalPlan::Values(_) => Some(("VALUES", "VALUES", "put small facts into a reference table")),
        LogicalPlan::Aggregate(aggregate)
            if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) =>
        {
            Some(("GROUPING SETS, CUBE and ROLLUP", "GROUP BY", "write a rule for each grouping"))
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_) => None,
        _ => Some(("this operation", "SELECT", "write one SELECT over hop(…)")),
    }
}

/// True where a join's condition demands that something be equal: the optimiser then joins by it.
fn equality(filter: Option<&Expr>) -> bool {
    match filter {
        Some(Expr::BinaryExpr(both)) if both.op == Operator::And => {
            equality(Some(&both.left)) || equality(Some(&both.right))
        }
        Some(Expr::BinaryExpr(compared)) => {
            compared.op == Operator::Eq && compared.left.column_refs() != compared.right.column_refs()
        }
        _ => false,
    }
}

/// True where a plan gives one row at most, or those of reference tables alone.
fn few_rows(plan: &LogicalPlan) -> bool {
    one_row(plan) || !reads_window(plan)
}

fn one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) | LogicalPlan::Sort(_) => {
            plan.inputs().into_iter().all(one_row)
        }
        _ => false,
    }
}

/// Reference tables that nothing reads.
pub fn unused(rules: &[Arc<Rule>], files: &Files) -> Vec<Diagnostic> {
    let read: BTreeSet<&str> = rules.iter().flat_map(|rule| rule.references.iter().map(String::as_str)).collect();
    let stem = |path: &str| path.rsplit('/').next().unwrap_or(path).trim_end_matches(".csv").to_owned();
    let one = |source: &Arc<Source>| {
        let name = stem(&source.path);
        let message = format!("no rule reads the reference table `{name}`");
        Diagnostic::warning("unused-reference", source, 0..0, message, "remove it, with its schema, or use it")
    };
    let tables = files.references.iter().filter(|source| source.path.ends_with(".csv"));
    tables.filter(|source| !read.contains(stem(&source.path).as_str())).map(one).collect()
}
