//! What is checked of a rule beyond that it parses and plans: columns it must have, bands that make sense, people
//! who can act on it.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::{
    Output,
    diagnostics::{Diagnostic, Source, did_you_mean},
    header::{Header, Silence},
    levels::{Bands, Level},
    plan::Cut,
    rest, sql as parsed_sql,
};
use crate::time;

mod personal;
mod sql;
mod suppress;

use self::personal::masked;

pub use self::{
    sql::{forbidden, numbers, refused, slides, unused},
    suppress::suppress,
};

/// The place of a word in the SQL, else its beginning.
pub fn find(source: &Source, sql_start: usize, word: &str) -> Range<usize> {
    let found = source.text[sql_start..].find(word).map(|at| sql_start + at..sql_start + at + word.len());
    found.unwrap_or_else(|| source.first_word(sql_start))
}

/// What is wrong with the series of a rule.
pub fn of_series(cut: &Cut, output: &Output, source: &Arc<Source>, sql_start: usize) -> Vec<Diagnostic> {
    let mut found = sql::cardinality(cut, output, source, sql_start);
    found.extend(sql::unguarded(cut, output, source, sql_start));
    found.extend(masked(cut, output, source, sql_start));
    found
}

/// What is wrong with a rule's SQL although it plans.
pub fn of_sql(
    logical: &LogicalPlan,
    cut: &Cut,
    parsed: &parsed_sql::Parsed,
    source: &Arc<Source>,
    sql_start: usize,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    found.extend(sql::divisions(logical, source, sql_start));
    if found.is_empty() {
        found.extend(sql::divisors(logical, source, sql_start));
    }
    found.extend(sql::products(logical, source, sql_start));
    found.extend(sql::limits(logical, source, sql_start));
    found.extend(sql::having(parsed, source, sql_start));
    found.extend(sql::never(cut, source, sql_start));
    found.extend(sql::reports(cut, source, sql_start));
    found
}

/// Names that readings and breach events use themselves.
const RESERVED: [&str; 9] = ["level", "state", "rule", "title", "unit", "limit", "since", "previous_level", "unjudged"];

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
            Some(keys) => {
                if let Some(hidden) = &keys.hidden {
                    let place = find(source, sql_start, hidden);
                    let message =
                        format!("the query groups by `{hidden}`, which is no output column: series would look alike");
                    let hint = format!("SELECT {hidden} too, or group by what is selected");
                    problems.push(Diagnostic::error("no-key", source, place, message, hint));
                }
                keys.columns
            }
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
        for name in names.iter().filter(|name| RESERVED.contains(&name.as_str())) {
            let message = format!("`{name}` is what every reading has by itself: nobody sees a column of that name");
            let place = find(source, sql_start, &format!("AS {name}"));
            problems.push(Diagnostic::error("reserved", source, place, message, "give the column another name"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
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
        return Ok(Output { of_sql: schema.fields().len(), schema, keys, value, samples, labels, measures });
    }
    Err(problems)
}

/// What the outermost GROUP BY says of the series.
struct GroupKeys {
    /// The output columns that it groups by.
    columns: Vec<usize>,
    /// What it groups by and does not show.
    hidden: Option<String>,
}

/// The output columns that are the outermost GROUP BY; `None` where there is none to be found.
fn group_keys(logical: &LogicalPlan) -> Option<GroupKeys> {
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
                let columns = (0..logical.schema().fields().len())
                    .filter(|at| logical.schema().field(*at).name() != "value")
                    .collect();
                return Some(GroupKeys { columns, hidden: None });
            }
            LogicalPlan::Aggregate(aggregate) => {
                let groups: Vec<Expr> = aggregate.group_expr.iter().map(|expr| expr.clone().unalias()).collect();
                let is_group = |expr: &Expr| match expr {
                    Expr::Column(column) => aggregate.schema.index_of_column(column).is_ok_and(|at| at < groups.len()),
                    other => groups.contains(other),
                };
                let columns = traced.iter().filter(|(_, expr)| is_group(expr)).map(|(at, _)| *at).collect();
                let stands = |at: usize, group: &Expr| {
                    traced.iter().any(|(_, expr)| match expr {
                        Expr::Column(column) => aggregate.schema.index_of_column(column).is_ok_and(|of| of == at),
                        other => other == group,
                    })
                };
                let hidden = groups
                    .iter()
                    .enumerate()
                    .find(|(at, group)| !matches!(group, Expr::Literal(..)) && !stands(*at, group));
                let name = |group: &Expr| match group {
                    Expr::Column(column) => column.name.clone(),
                    other => other.to_string(),
                };
                return Some(GroupKeys { columns, hidden: hidden.map(|(_, group)| name(group)) });
            }
            _ => return None,
        }
    }
}

/// Levels that cannot be reached, and ends of the line that nothing covers.
pub fn levels(
    header: &Header,
    bands: Option<&Bands>,
    parsed: &parsed_sql::Parsed,
    source: &Arc<Source>,
) -> Vec<Diagnostic> {
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
    if let Some((severe, value)) = bands.overlap(header) {
        let place = header.levels[&Level::Healthy].span.clone();
        let message = format!("a value of {value} is healthy and {} at once; the more severe wins", severe.name());
        let hint = "let each value have one level: healthy: value <= 500 beside warning: value > 500";
        found.push(Diagnostic::warning("bands-overlap", source, place, message, hint));
    }
    found.extend(units(header, bands, source));
    if header.no_data.forget_ms < header.no_data.after_ms && header.no_data.silence != Silence::Hold {
        let place = source.text.find("no_data:").map_or(0..0, |at| at..at + 8);
        let message = "a silent series is forgotten before its silence counts";
        found.push(Diagnostic::warning("forget-first", source, place, message, "let forget be longer than after"));
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
        let none = ["value>0", "value>=1", "0<value", "1<=value", "value<>0", "value!=0"];
        let zero =
            header.levels.get(level).is_some_and(|predicate| none.contains(&predicate.sql.replace(' ', "").as_str()));
        if zero && *ms >= size {
            found.push(Diagnostic::warning("for-mutes", source, header.levels[level].span.clone(), format!("{} allows no error at all, but `for` ({}) is no shorter than the window ({}): a single error would never show", level.name(), time::span(*ms), time::span(size)), "for: 0s"));
        }
    }
    found
}

/// Limits that no value of the unit reaches: a ratio of 95 where 0.95 was meant.
fn units(header: &Header, bands: &Bands, source: &Arc<Source>) -> Option<Diagnostic> {
    let limits: Vec<f64> =
        bands.segments.iter().flat_map(|s| [s.low, s.high]).filter(|limit| limit.is_finite()).collect();
    let (message, hint) = match header.unit.as_str() {
        "ratio" if limits.iter().any(|limit| *limit > 1.0 || *limit < -1.0) => {
            ("the unit is a ratio, and a limit lies beyond 1", "0.95 is 95%; or say unit: percent")
        }
        "percent" | "%" if !limits.is_empty() && limits.iter().all(|limit| limit.abs() <= 1.0) => {
            ("the unit is percent, and no limit lies beyond 1", "95 is 95%; or say unit: ratio")
        }
        "" => ("the value has no unit", "unit: ratio, ms, s, count, per_second, x, or what people call it"),
        _ => return None,
    };
    let level = header.levels.values().last()?;
    let place = source.text.find("unit:").map_or_else(|| level.span.clone(), |at| at..at + 5);
    Some(Diagnostic::warning("unit", source, place, message, hint))
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
