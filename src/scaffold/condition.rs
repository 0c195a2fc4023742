//! Which events: a condition in SQL over the columns of one event, and events for which it holds and does not hold.

use std::{collections::BTreeSet, fmt, ops::ControlFlow, sync::Arc};

use arrow::array::{Array, AsArray};
use datafusion::{
    arrow::datatypes::DataType,
    common::{DFSchema, Result as QueryResult, plan_err},
    sql::sqlparser::{
        ast::{BinaryOperator, Expr, Value as Literal, visit_expressions},
        dialect::GenericDialect,
        parser::Parser,
    },
};
use serde_json::{Map, Value, json};

use super::column_of;
use crate::{
    decode::{Decoder, Event, Limits},
    rules::{
        catalog::{Catalog, Column, Kind, Table},
        check, checked,
        diagnostics::did_you_mean,
        functions::WindowCell,
        planner,
        session::{ToBeCut, session},
    },
};

/// The columns of an event, or of what is special about it.
pub(super) type Row = Map<String, Value>;

/// More combinations of values than this are not tried.
const TRIES_MAX: usize = 20_000;
/// A Monday at midnight: when made-up events happen.
const START_MS: i64 = 1_767_571_200_000;

/// A condition that is known to hold of some events and not of others.
#[derive(Clone)]
pub struct Condition {
    /// As it was written.
    pub(super) sql: String,
    /// True where it is several conditions of which one is enough.
    pub(super) loose: bool,
    /// The columns that it speaks of.
    pub(super) columns: BTreeSet<String>,
    /// What makes the usual event one for which it holds.
    pub(super) holds: Row,
    /// What makes the usual event one for which it does not.
    pub(super) fails: Row,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql)
    }
}

impl Condition {
    /// Reads a condition over the columns of a table.
    pub fn new(text: &str, table: &Arc<Table>, catalog: &Arc<Catalog>) -> Result<Self, String> {
        let sql = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if sql.contains("*/") || sql.contains("--") || sql.contains(';') {
            return Err("a condition has no comment and no `;` in it".into());
        }
        let expr = Parser::new(&GenericDialect {})
            .with_recursion_limit(60)
            .try_with_sql(&sql)
            .and_then(|mut parser| {
                let expr = parser.parse_expr()?;
                parser.expect_token(&datafusion::sql::sqlparser::tokenizer::Token::EOF)?;
                Ok(expr)
            })
            .map_err(|error| {
                let message = error.to_string();
                let message = message
                    .trim_start_matches("sql parser error: ")
                    .split(" at Line")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                format!("`{sql}` is no condition in SQL: {message}; write it like status_code >= 500")
            })?;
        let columns = columns(&expr, table)?;
        known_words(&expr, table)?;
        let of = |column: &String| table.column(column).map(|column| (column.clone(), values(column, &expr)));
        let tries = rows(table, columns.iter().filter_map(of).collect());
        let held = held(&sql, table, catalog, &tries)?;
        let first =
            |wanted: bool| tries.iter().zip(&held).find(|(_, held)| **held == Some(wanted)).map(|(row, _)| row.clone());
        let Some(holds) = first(true) else {
            return Err(format!(
                "no event was found for which `{sql}` holds: look at what its columns may hold, or begin with a simpler \
                 condition, and change the rule and its test then"
            ));
        };
        let Some(fails) = first(false) else {
            return Err(format!("no event was found for which `{sql}` does not hold; leave it out"));
        };
        let loose = matches!(&expr, Expr::BinaryOp { op: BinaryOperator::Or | BinaryOperator::Xor, .. });
        Ok(Self { sql, loose, columns, holds, fails })
    }
}

/// The columns that a condition speaks of.
fn columns(expr: &Expr, table: &Table) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    let outcome = visit_expressions(expr, |expr| {
        let name = match expr {
            Expr::Identifier(name) if name.quote_style.is_none() => name.value.to_lowercase(),
            Expr::Identifier(name) => name.value.clone(),
            Expr::CompoundIdentifier(_) => {
                return ControlFlow::Break(format!("write `{expr}` as the column's name alone"));
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                return ControlFlow::Break("a condition looks at one event, so it has no SELECT in it".to_owned());
            }
            _ => return ControlFlow::Continue(()),
        };
        match column_of(table, &name) {
            Ok(_) => {
                found.insert(name);
                ControlFlow::Continue(())
            }
            Err(message) => ControlFlow::Break(message),
        }
    });
    match outcome {
        ControlFlow::Break(message) => Err(message),
        ControlFlow::Continue(()) if found.is_empty() => Err("the condition speaks of no column".to_owned()),
        ControlFlow::Continue(()) => Ok(found),
    }
}

/// Refuses texts that a column is compared with and never has.
fn known_words(expr: &Expr, table: &Table) -> Result<(), String> {
    let word = |name: &Expr, text: &Expr| -> Option<String> {
        let (Expr::Identifier(name), Expr::Value(text)) = (name, text) else { return None };
        let column = table.column(&name.value)?;
        let text = text.value.clone().into_string()?;
        if column.allowed.is_empty() || column.allowed.contains(&text) {
            return None;
        }
        let near = did_you_mean(&text, column.allowed.iter().map(String::as_str));
        let hint = if near.is_empty() { format!("it is one of {}", column.allowed.join(", ")) } else { near };
        Some(format!("`{}` is never '{text}'; {hint}", column.name))
    };
    let outcome = visit_expressions(expr, |expr| {
        let wrong = match expr {
            Expr::BinaryOp { left, right, .. } => word(left, right).or_else(|| word(right, left)),
            Expr::InList { expr, list, .. } => list.iter().find_map(|text| word(expr, text)),
            _ => None,
        };
        wrong.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    });
    match outcome {
        ControlFlow::Break(message) => Err(message),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Values of a column that may make a difference to a condition, the usual one first.
fn values(column: &Column, expr: &Expr) -> Vec<Value> {
    let mut found = vec![usual(column)];
    let mut literals: Vec<Literal> = Vec::new();
    let outcome = visit_expressions(expr, |expr| {
        if let Expr::Value(value) = expr {
            literals.push(value.value.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(outcome.is_continue(), "nothing ends this walk");
    match column.kind {
        Kind::Text => {
            found.extend(column.allowed.iter().map(|word| json!(word)));
            if column.allowed.is_empty() {
                for literal in literals {
                    if let Some(text) = literal.into_string() {
                        found.extend([json!(text.replace(['%', '_'], "")), json!(text)]);
                    }
                }
                found.extend([json!("another"), json!("")]);
            }
        }
        Kind::Boolean => found.extend([json!(true), json!(false)]),
        Kind::Integer => {
            let numbers = literals.iter().filter_map(|literal| literal.to_string().parse::<i64>().ok());
            found.extend(
                numbers
                    .flat_map(|number| [number, number.saturating_add(1), number.saturating_sub(1), -number])
                    .map(Value::from),
            );
            found.extend([0, 1].map(Value::from));
        }
        Kind::Number | Kind::Decimal(..) => {
            let numbers = literals.iter().filter_map(|literal| literal.to_string().parse::<f64>().ok());
            let near = |number: f64| [number, number * 1.5, number * 0.5, number + 1.0, number - 1.0, -number];
            found.extend(numbers.flat_map(near).chain([0.0, 1.0]).map(plain));
            found.extend(column.minimum.into_iter().chain(column.maximum).map(plain));
        }
        Kind::Time => {}
    }
    let fits = |value: &Value| {
        value.as_f64().is_none_or(|number| {
            column.minimum.is_none_or(|least| least <= number) && column.maximum.is_none_or(|most| number <= most)
        })
    };
    found.retain(fits);
    if !column.required {
        found.push(Value::Null);
    }
    let mut seen = BTreeSet::new();
    found.retain(|value| seen.insert(value.to_string()));
    found
}

/// A number, without a point where it is whole.
pub(super) fn plain(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        format!("{number:.0}").parse::<i64>().map_or_else(|_| json!(number), Value::from)
    } else {
        json!(number)
    }
}

/// What stands in a column of an event about which nothing else was said.
pub(super) fn usual(column: &Column) -> Value {
    let inside = match (column.minimum, column.maximum) {
        (Some(least), Some(most)) => f64::midpoint(least, most),
        (Some(least), None) => least.max(1.0),
        (None, Some(most)) => most.min(1.0),
        (None, None) => 1.0,
    };
    match column.kind {
        Kind::Text if !column.allowed.is_empty() => json!(column.allowed[0]),
        Kind::Text => match column.name.as_str() {
            "service" => json!("checkout"),
            "route" => json!("/orders"),
            "method" => json!("POST"),
            name if name.ends_with("_id") => json!(format!("{}-{{n}}", name.trim_end_matches("_id"))),
            name => json!(format!("{name}-1")),
        },
        // What a status code usually is lies not in the middle.
        Kind::Integer if column.name == "status_code" => json!(200),
        Kind::Integer => plain(inside.ceil()),
        Kind::Number | Kind::Decimal(..) => plain(inside),
        Kind::Boolean => json!(true),
        Kind::Time => json!("2026-01-05T00:00:00Z"),
    }
}

/// The columns that every event has, but for its time.
pub(super) fn usual_row(table: &Table) -> Row {
    let has = |column: &&Column| column.required && column.name != table.event_time;
    table.columns.iter().filter(has).map(|column| (column.name.clone(), usual(column))).collect()
}

/// What is special about events with those values: all combinations, those with the usual values first.
fn rows(table: &Table, columns: Vec<(Column, Vec<Value>)>) -> Vec<Row> {
    let mut rows = vec![Row::new()];
    for (column, values) in columns {
        if column.name == table.event_time {
            continue;
        }
        let mut next = Vec::new();
        for value in &values {
            for row in &rows {
                let mut row = row.clone();
                let unsaid = if column.required { *value == usual(&column) } else { value.is_null() };
                if !unsaid {
                    row.insert(column.name.clone(), value.clone());
                }
                if next.len() < TRIES_MAX {
                    next.push(row);
                }
            }
        }
        rows = next;
    }
    // The less is special about an event, the better it shows what matters.
    rows.sort_by_key(Map::len);
    rows
}

/// Whether the condition holds of each row: `None` where there can be no such event.
fn held(sql: &str, table: &Arc<Table>, catalog: &Arc<Catalog>, rows: &[Row]) -> Result<Vec<Option<bool>>, String> {
    let used: BTreeSet<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let base = usual_row(table);
    let lines: Vec<Vec<u8>> = rows
        .iter()
        .map(|row| {
            let mut event = base.clone();
            event.extend(row.clone());
            event.insert(table.event_time.clone(), json!(START_MS));
            Value::Object(event).to_string().into_bytes()
        })
        .collect();
    let events = (0..).zip(&lines).map(|(offset, line)| Event { offset, timestamp: None, payload: Some(line) });
    let decoded = Decoder::new(table, &used, limits).decode(events);
    let evaluate = || -> QueryResult<Option<Vec<bool>>> {
        let state = session(catalog, Arc::new(ToBeCut), &WindowCell::default())?;
        let schema = DFSchema::try_from(decoded.batch.schema().as_ref().clone())?;
        let expr = state.create_logical_expr(sql, &schema)?;
        if let Some(name) = check::forbidden(&expr) {
            return plan_err!("`{name}` is not allowed in a rule");
        }
        let expr = checked::rewrite(expr, &schema)?.data;
        let physical = state.create_physical_expr(expr, &schema)?;
        if physical.data_type(decoded.batch.schema_ref())? != DataType::Boolean {
            return Ok(None);
        }
        let found = physical.evaluate(&decoded.batch)?.into_array(decoded.batch.num_rows())?;
        let found = found.as_boolean();
        Ok(Some((0..found.len()).map(|row| found.is_valid(row) && found.value(row)).collect()))
    };
    let found = evaluate().map_err(|error| format!("`{sql}` cannot be computed: {}", planner::short(&error)))?;
    let Some(found) = found else { return Err(format!("`{sql}` is not true or false; write a comparison")) };
    let mut held = vec![None; rows.len()];
    for (offset, found) in decoded.offsets.iter().zip(found) {
        if let Some(slot) = usize::try_from(*offset).ok().and_then(|at| held.get_mut(at)) {
            *slot = Some(found);
        }
    }
    Ok(held)
}
