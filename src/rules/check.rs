//! What is checked of a rule beyond that it parses and plans: columns it must have, bands that make sense, people
//! who can act on it.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        Column, DFSchemaRef, ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator},
};

use super::{
    Output,
    diagnostics::{Diagnostic, Source, did_you_mean},
    header::Header,
    levels::{Bands, Level},
    plan::Cut,
    rest, sql,
};
use crate::{panes::gcd, time};

/// The place of a word in the SQL, else its beginning.
fn find(source: &Source, sql_start: usize, word: &str) -> Range<usize> {
    let found = source.text[sql_start..].find(word).map(|at| sql_start + at..sql_start + at + word.len());
    found.unwrap_or_else(|| source.first_word(sql_start))
}

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

/// Says which output column is what.
pub fn output(
    header: &Header,
    logical: &LogicalPlan,
    source: &Arc<Source>,
    sql_start: usize,
) -> Result<Output, Vec<Diagnostic>> {
    let names: Vec<String> = logical.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for name in names.iter().filter(|name| !seen.insert((*name).clone())) {
        problems.push(Diagnostic::error(
            "column-twice",
            source,
            find(source, sql_start, name),
            format!("two output columns are called `{name}`"),
            "give each a name of its own with AS",
        ));
    }
    let value = names.iter().position(|name| name == "value");
    match value.map(|at| (at, logical.schema().field(at).data_type().clone())) {
        None => problems.push(Diagnostic::error(
            "no-value",
            source,
            source.first_word(sql_start),
            "no output column is called `value`",
            {
                let hint = did_you_mean("value", names.iter().map(String::as_str));
                if hint.is_empty() { "name what is judged: … AS value".to_owned() } else { hint }
            },
        )),
        Some((_, kind)) if !kind.is_numeric() && kind != DataType::Null => {
            problems.push(Diagnostic::error(
                "value-type",
                source,
                find(source, sql_start, "value"),
                format!("`value` is {kind}, not a number"),
                "judge a number: a count, a ratio, a percentile",
            ));
        }
        Some(_) => {}
    }
    let keys: Vec<usize> = match &header.key {
        Some(key) => {
            let mut keys = Vec::new();
            for name in key {
                match names.iter().position(|other| other == name) {
                    Some(at) => keys.push(at),
                    None => problems.push(Diagnostic::error(
                        "unknown-key",
                        source,
                        source.text.find("key:").map_or(0..0, |at| at..at + 4),
                        format!("the key `{name}` is no output column"),
                        did_you_mean(name, names.iter().map(String::as_str)),
                    )),
                }
            }
            keys
        }
        None => match group_keys(logical) {
            Some(keys) => keys,
            None => {
                problems.push(Diagnostic::error(
                    "no-key",
                    source,
                    source.first_word(sql_start),
                    "nothing says which columns name a series: there is no outer GROUP BY",
                    "add `key: [service]` to the header, with the columns that are unique together",
                ));
                Vec::new()
            }
        },
    };
    if let (true, Some(value)) = (problems.is_empty(), value) {
        let schema = rest::output_schema(logical, value);
        let kind = |at: &usize| schema.field(*at).data_type();
        let others: Vec<usize> = (0..names.len()).filter(|at| *at != value && !keys.contains(at)).collect();
        let samples = others.iter().copied().find(|at| names[*at] == "samples" && kind(at).is_numeric());
        let text = |at: &usize| {
            matches!(
                kind(at),
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Timestamp(..) | DataType::Date32
            )
        };
        let labels = others.iter().copied().filter(|at| text(at)).collect();
        let measures = others
            .iter()
            .copied()
            .filter(|at| Some(*at) != samples && (kind(at).is_numeric() || *kind(at) == DataType::Boolean))
            .collect();
        return Ok(Output { schema, keys, value, samples, labels, measures });
    }
    Err(problems)
}

/// The output columns that are the outermost GROUP BY; `None` where there is none to be found.
fn group_keys(logical: &LogicalPlan) -> Option<Vec<usize>> {
    let mut traced: Vec<(usize, Expr)> = logical.schema().columns().into_iter().map(Expr::Column).enumerate().collect();
    let mut plan = logical;
    loop {
        match plan {
            LogicalPlan::Projection(projection) => {
                for (_, expr) in &mut traced {
                    if let Expr::Column(column) = expr
                        && let Ok(at) = projection.schema.index_of_column(column)
                    {
                        *expr = projection.expr[at].clone().unalias();
                    }
                }
                plan = &projection.input;
            }
            LogicalPlan::SubqueryAlias(alias) => {
                for (_, expr) in &mut traced {
                    if let Expr::Column(column) = expr
                        && let Ok(at) = alias.schema.index_of_column(column)
                    {
                        *expr = Expr::Column(alias.input.schema().columns()[at].clone());
                    }
                }
                plan = &alias.input;
            }
            LogicalPlan::Filter(filter) => plan = &filter.input,
            LogicalPlan::Sort(sort) => plan = &sort.input,
            LogicalPlan::Limit(limit) => plan = &limit.input,
            LogicalPlan::Window(window) => plan = &window.input,
            LogicalPlan::Distinct(_) => {
                return Some(
                    (0..logical.schema().fields().len())
                        .filter(|at| logical.schema().field(*at).name() != "value")
                        .collect(),
                );
            }
            LogicalPlan::Aggregate(aggregate) => {
                let groups: Vec<Expr> = aggregate.group_expr.iter().map(|expr| expr.clone().unalias()).collect();
                let is_group = |expr: &Expr| match expr {
                    Expr::Column(column) => aggregate.schema.index_of_column(column).is_ok_and(|at| at < groups.len()),
                    other => groups.contains(other),
                };
                return Some(traced.iter().filter(|(_, expr)| is_group(expr)).map(|(at, _)| *at).collect());
            }
            _ => return None,
        }
    }
}

/// Personal columns may be counted and grouped by inside, but nothing made of them may reach an output.
pub fn masked(cut: &Cut, output: &Output, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
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
                LogicalPlan::Union(_) => below.first().map(|(_, shown)| shown.clone()).unwrap_or_default(),
                _ => below.iter().flat_map(|(_, shown)| shown.clone()).collect(),
            };
            // Semi joins have the columns of one side alone; whoever comes from the other shows nothing.
            shown.resize(plan.schema().fields().len(), None);
            shown
        }
    }
}

/// Levels that cannot be reached, and ends of the line that nothing covers.
pub fn levels(header: &Header, bands: Option<&Bands>, parsed: &sql::Parsed, source: &Arc<Source>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let Some(bands) = bands else {
        if header.levels.contains_key(&Level::Healthy) && header.until.is_empty() {
            let place = header.levels[&Level::Healthy].span.clone();
            found.push(Diagnostic::warning(
                "levels-not-intervals",
                source,
                place,
                "these levels are no intervals of `value`: a reading that matches none keeps the level before it",
                "leave `healthy` out, so that it means neither of the others, or say with `until` when a level ends",
            ));
        }
        return found;
    };
    for (level, predicate) in &header.levels {
        if !bands.reachable(*level) {
            found.push(Diagnostic::error(
                "level-unreachable",
                source,
                predicate.span.clone(),
                format!(
                    "no value is {}: `{}` never holds, or a more severe level always holds with it",
                    level.name(),
                    predicate.sql
                ),
                "a level needs values of its own: critical: value > 10 beside warning: value > 5 AND value <= 10",
            ));
        }
    }
    let (low, high) = bands.open_ends();
    if let (true, Some(predicate)) = (low || high, header.levels.values().next()) {
        let side = if low { "small" } else { "large" };
        found.push(Diagnostic::warning(
            "line-uncovered",
            source,
            predicate.span.clone(),
            format!("no level covers very {side} values; they take the nearest level"),
            "let the outermost bands be open: value > 2000 without an upper limit",
        ));
    }
    let size = parsed.hops.iter().map(|(_, hop)| hop.size_ms).max().unwrap_or(0);
    for (level, ms) in &header.for_ms {
        let zero = header.levels.get(level).is_some_and(|predicate| predicate.sql.replace(' ', "") == "value>0");
        if zero && *ms >= size {
            found.push(Diagnostic::warning("for-mutes", source, header.levels[level].span.clone(), format!("{} allows no error at all, but `for` ({}) is no shorter than the window ({}): a single error would never show", level.name(), time::span(*ms), time::span(size)), "for: 0s"));
        }
    }
    found
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

/// Fields that a later version will act on: better said than silently passed over.
pub fn without_effect(header: &Header, source: &Arc<Source>) -> Vec<Diagnostic> {
    let one = |(field, place): &(&'static str, Range<usize>)| {
        let hint = match *field {
            "expect" => "series are known from their traffic; one that never spoke is not missed yet",
            _ => "breach events carry the measures and labels of the reading; select what helps",
        };
        Diagnostic::warning("without-effect", source, place.clone(), format!("`{field}` has no effect yet"), hint)
    };
    header.without_effect.iter().map(one).collect()
}

/// A breach that nobody owns, or that nobody knows how to mend.
pub fn people(header: &Header, source: &Arc<Source>) -> Vec<Diagnostic> {
    let name = source.text.find("name:").map_or(0..0, |at| at..at + 5);
    let mut found = Vec::new();
    for (missing, what, hint) in [
        (header.owner.is_empty(), "nobody owns this rule", "owner: the team that mends it"),
        (header.annotations.runbook_url.is_empty(), "the rule has no runbook", "annotations: {runbook_url: https://…}"),
        (
            header.annotations.summary.is_empty(),
            "the rule has no summary",
            "annotations: {summary: \"{{ service }}: {{ value }}\"}",
        ),
    ] {
        if missing {
            found.push(Diagnostic::warning("people", source, name.clone(), what, hint));
        }
    }
    found
}
