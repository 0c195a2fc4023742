//! What is wrong with a rule's SQL although it plans.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use datafusion::{
    common::{
        ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, ExprSchemable, JoinType, LogicalPlan, Operator},
};

use super::{
    super::{
        Output,
        diagnostics::{Diagnostic, Source, did_you_mean},
        functions::{self, WINDOW_AT},
        plan::Cut,
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
pub fn divisions(logical: &LogicalPlan, source: &Arc<Source>, sql_start: usize) -> Option<Diagnostic> {
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
            "a whole number divided by a whole number is cut to a whole number: 999 / 1000 is 0",
            "ratio(a, b) is a double, NULL where b is 0, and keeps both as measures",
        )
    })
}

/// A LIMIT lets series come and go with the others: a breach then looks like silence.
pub fn limits(logical: &LogicalPlan, source: &Arc<Source>, sql_start: usize) -> Option<Diagnostic> {
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
pub fn never(cut: &Cut, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
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


/// What no rule may do.
pub fn refused(logical: &LogicalPlan, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
    let _ = (logical, source, sql_start);
    Vec::new()
}
