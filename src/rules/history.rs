//! The `history:` section of a header, compiled: named expressions over a reading and over those before it.
//!
//! Functions of history step by *window size*, not by slide: one error lies in thirty overlapping readings of 5 minutes
//! by 10 seconds, and must not count as recurring. What each call remembers is part of JUDGE's state; here is only
//! what is to be computed.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono_tz::Tz;
use datafusion::{
    common::{DFSchema, plan_err},
    execution::session_state::SessionState,
    physical_expr::PhysicalExpr,
    sql::sqlparser::{
        ast::{
            Expr, Function as SqlFunction, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, UnaryOperator,
            Value, visit_expressions_mut,
        },
        dialect::GenericDialect,
        parser::Parser,
    },
};

use super::{
    check, checked,
    diagnostics::{Diagnostic, Severity, Source, did_you_mean},
    hash,
    header::{Header, Predicate},
    planner, sql,
};
use crate::time;

/// The functions that look back.
pub const FUNCTIONS: [&str; 7] = ["growing", "trend", "recurs", "share", "ago", "expected", "deviation"];

/// How many readings of one series a call may remember.
const POINTS_MAX: i64 = 20_000;
/// How many readings `growing` and `trend` may compare with each other.
const PAIRED_MAX: i64 = 200;

/// A function of history with its constants. Spans are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// True where x rises over the span beyond noise, and by more than `min_rise`.
    Growing {
        /// How far back.
        span_ms: i64,
        /// The least rise that matters, in x's unit.
        min_rise: f64,
    },
    /// The rise of x over the span.
    Trend {
        /// How far back.
        span_ms: i64,
    },
    /// True where the predicate held in at least `least` of the last `windows` windows.
    Recurs {
        /// How many it takes.
        least: i64,
        /// Of how many.
        windows: i64,
    },
    /// The fraction of judged readings at which the predicate held.
    Share {
        /// How far back.
        span_ms: i64,
    },
    /// x, that long before.
    Ago {
        /// How far back.
        span_ms: i64,
    },
    /// What x usually is at this hour of the week.
    Expected,
    /// How far x is from that, in units of how far it usually is.
    Deviation,
}

/// One call of a function of history.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which function.
    pub function: Function,
    /// Its first argument as SQL: what a season is known by.
    pub of: String,
    /// What its memory is known by: a change of the call forgets.
    pub id: String,
    /// Its first argument, over the columns so far.
    pub argument: Arc<dyn PhysicalExpr>,
}

/// One named column.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// The calls in it; their results stand behind the columns so far.
    pub calls: Vec<Call>,
    /// It itself, over the columns so far and the results of its calls.
    pub expr: Arc<dyn PhysicalExpr>,
    /// The columns so far and the results of its calls.
    pub schema: SchemaRef,
    /// Its type: a double, or true and false.
    pub kind: DataType,
}

/// What one series does at one hour of the week, as it was learnt elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learnt {
    /// 0 is Monday from 00:00 to 01:00, local time.
    pub hour: i64,
    /// The median over the hour.
    pub median: f64,
    /// The typical distance from it.
    pub spread: f64,
}

/// The `history:` section of one rule.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Its columns in order.
    pub steps: Vec<Step>,
    /// The distance from one window to the one before it, in milliseconds: the longest size, rounded up to the slide.
    pub step_ms: i64,
    /// How often the rule is evaluated, in milliseconds.
    pub slide_ms: i64,
    /// Where hours are told.
    pub timezone: Tz,
    /// What is known before the first reading: by series as canonical JSON, and by the argument.
    pub learnt: BTreeMap<(String, String), Vec<Learnt>>,
}

impl History {
    /// True where there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many readings of one series are remembered at most.
    pub fn points(&self) -> i64 {
        let of = |call: &Call| match call.function {
            Function::Growing { span_ms, .. }
            | Function::Trend { span_ms }
            | Function::Share { span_ms }
            | Function::Ago { span_ms } => span_ms / self.slide_ms,
            Function::Recurs { windows, .. } => windows * self.step_ms / self.slide_ms,
            Function::Expected | Function::Deviation => 5 * 168,
        };
        self.steps.iter().flat_map(|step| &step.calls).map(of).sum()
    }
}

/// Compiles the section over the columns of `base`. The second part is these columns with the new ones behind them.
pub fn compile(
    header: &Header,
    base: &SchemaRef,
    slide_ms: i64,
    size_ms: i64,
    state: &SessionState,
    source: &Arc<Source>,
) -> (History, SchemaRef, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut fields: Vec<Arc<Field>> = base.fields().iter().cloned().collect();
    let step_ms = (size_ms + slide_ms - 1) / slide_ms * slide_ms;
    let mut history =
        History { steps: Vec::new(), step_ms, slide_ms, timezone: header.timezone, learnt: BTreeMap::new() };
    for (name, predicate) in &header.history {
        if fields.iter().any(|field| field.name() == name) {
            let message = format!("`{name}` is an output column already");
            problems.push(Diagnostic::error(
                "history",
                source,
                predicate.span.clone(),
                message,
                "give it another name",
            ));
            continue;
        }
        match step(name, predicate, &fields, &history, state) {
            Ok(step) => {
                fields.push(Arc::new(Field::new(name, step.kind.clone(), true)));
                history.steps.push(step);
            }
            Err((message, hint)) => {
                problems.push(Diagnostic::error("history", source, predicate.span.clone(), message, hint));
            }
        }
    }
    if problems.is_empty() && history.points() > POINTS_MAX {
        let message =
            format!("the history keeps {} readings of each series; at most {POINTS_MAX} are allowed", history.points());
        let place = header.history.first().map_or(0..0, |(_, predicate)| predicate.span.clone());
        problems.push(Diagnostic::error("history", source, place, message, "a longer slide or a shorter span"));
    }
    (history, Arc::new(Schema::new(fields)), problems)
}

/// What is wrong, and what to do.
type Wrong = (String, String);

fn step(
    name: &str,
    predicate: &Predicate,
    fields: &[Arc<Field>],
    history: &History,
    state: &SessionState,
) -> Result<Step, Wrong> {
    let hint = || "a history column is SQL over the output columns and functions of history".to_owned();
    let mut expr = Parser::new(&GenericDialect {})
        .with_recursion_limit(60)
        .try_with_sql(&predicate.sql)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|error| (planner::said(&error.to_string()), hint()))?;
    let so_far: SchemaRef = Arc::new(Schema::new(fields.to_vec()));
    let mut calls = Vec::new();
    let mut with_calls = fields.to_vec();
    let outcome = visit_expressions_mut(&mut expr, |expr| {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let called = function.name.to_string().to_lowercase();
        if !FUNCTIONS.contains(&called.as_str()) {
            return ControlFlow::Continue(());
        }
        match call(&called, function, &so_far, history, state) {
            Ok(call) => {
                let column = format!("__call_{}", calls.len());
                let kind = match call.function {
                    Function::Growing { .. } | Function::Recurs { .. } => DataType::Boolean,
                    _ => DataType::Float64,
                };
                with_calls.push(Arc::new(Field::new(&column, kind, true)));
                calls.push(call);
                *expr = Expr::Identifier(Ident::new(column));
                ControlFlow::Continue(())
            }
            Err(wrong) => ControlFlow::Break(wrong),
        }
    });
    if let ControlFlow::Break(wrong) = outcome {
        return Err(wrong);
    }
    let schema: SchemaRef = Arc::new(Schema::new(with_calls));
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    let expr = physical(&expr.to_string(), &schema, state, &names)?;
    let kind = match expr.data_type(&schema) {
        Ok(DataType::Boolean) => DataType::Boolean,
        Ok(kind) if kind.is_numeric() => DataType::Float64,
        Ok(kind) => {
            return Err((format!("`{name}` is {kind}"), "a history column is a number, or true or false".into()));
        }
        Err(error) => return Err((error.strip_backtrace(), hint())),
    };
    Ok(Step { name: name.to_owned(), calls, expr, schema, kind })
}

/// An expression over columns; the hint names them.
fn physical(
    text: &str,
    schema: &SchemaRef,
    state: &SessionState,
    names: &[&str],
) -> Result<Arc<dyn PhysicalExpr>, Wrong> {
    let named = DFSchema::try_from(schema.as_ref().clone()).unwrap_or_else(|_| DFSchema::empty());
    let logical = state.create_logical_expr(text, &named).and_then(|expr| match check::forbidden(&expr) {
        Some(name) => plan_err!("`{name}` is not allowed here"),
        None if check::numbers(&expr, &named).is_some_and(|found| found.0 == Severity::Error) => {
            plan_err!("a whole number divided by a whole number is cut to a whole number: ratio(a, b) is a double")
        }
        None => state.create_physical_expr(checked::rewrite(expr, &named)?.data, &named),
    });
    logical.map_err(|error| {
        let message = planner::short(&error);
        let wrong = message.split(['`', '\'', '"']).nth(1).unwrap_or_default();
        let known = names.iter().copied().chain(FUNCTIONS);
        let near = did_you_mean(wrong.rsplit('.').next().unwrap_or_default(), known);
        let hint = if near.is_empty() {
            format!("the columns are {}; the functions of history {}", names.join(", "), FUNCTIONS.join(", "))
        } else {
            near
        };
        (message, hint)
    })
}

fn call(
    name: &str,
    function: &SqlFunction,
    so_far: &SchemaRef,
    history: &History,
    state: &SessionState,
) -> Result<Call, Wrong> {
    let usage = match name {
        "growing" => "growing(value, INTERVAL '10 minutes') or growing(value, INTERVAL '10 minutes', 5)",
        "trend" => "trend(value, INTERVAL '1 hour')",
        "recurs" => "recurs(value > 0, 3, 12)",
        "share" => "share(value > 0.5, INTERVAL '1 hour')",
        "ago" => "ago(value, INTERVAL '1 hour')",
        "expected" => "expected(value)",
        _ => "deviation(value)",
    };
    let wrong = |what: String| (what, format!("write {usage}"));
    let args: Vec<&Expr> = match &function.args {
        FunctionArguments::List(list) => list
            .args
            .iter()
            .filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let [first, rest @ ..] = args.as_slice() else { return Err(wrong(format!("{name} has no arguments"))) };
    let span = |expr: &Expr| {
        let ms = sql::span(expr).map_err(|(_, message)| wrong(message))?;
        if ms < history.step_ms {
            let message = format!(
                "{name} looks back {}, which is less than a window ({})",
                time::span(ms),
                time::span(history.step_ms)
            );
            return Err((message, "functions of history step by window size: look back over several windows".into()));
        }
        Ok(ms)
    };
    let number = |expr: &Expr| sql_number(expr).ok_or_else(|| wrong(format!("`{expr}` is not a number")));
    let paired = |ms: i64| {
        let windows = ms / history.step_ms;
        if !(4..=PAIRED_MAX).contains(&windows) {
            let message = format!("{name} over {} compares {windows} windows", time::span(ms));
            return Err((message, format!("between 4 and {PAIRED_MAX} windows of {}", time::span(history.step_ms))));
        }
        Ok(ms)
    };
    let function = match (name, rest) {
        ("growing", [back]) => Function::Growing { span_ms: paired(span(back)?)?, min_rise: 0.0 },
        ("growing", [back, rise]) => Function::Growing { span_ms: paired(span(back)?)?, min_rise: number(rise)? },
        ("trend", [back]) => Function::Trend { span_ms: paired(span(back)?)? },
        ("recurs", [least, windows]) => {
            let whole = |value: f64| value.to_string().parse::<i64>().ok();
            match (whole(number(least)?), whole(number(windows)?)) {
                (Some(least), Some(windows)) if 1 <= least && least <= windows && windows <= 1_000 => {
                    Function::Recurs { least, windows }
                }
                _ => return Err(wrong(format!("`{least}` of `{windows}` windows can never be"))),
            }
        }
        ("share", [back]) => Function::Share { span_ms: span(back)? },
        ("ago", [back]) => {
            let ms = sql::span(back).map_err(|(_, message)| wrong(message))?;
            if ms % history.slide_ms != 0 {
                let slide = time::span(history.slide_ms);
                return Err((
                    format!("there is no reading {} ago", time::span(ms)),
                    format!("a multiple of the slide, {slide}"),
                ));
            }
            Function::Ago { span_ms: ms }
        }
        ("expected", []) => Function::Expected,
        ("deviation", []) => Function::Deviation,
        _ => return Err(wrong(format!("{name} does not take {} arguments", args.len()))),
    };
    let of = first.to_string();
    if of.contains("__call_") {
        let message = format!("{name} of another function of history");
        return Err((message, "name the inner one in a line of its own, and use the name".into()));
    }
    let names: Vec<&str> = so_far.fields().iter().map(|field| field.name().as_str()).collect();
    let argument = physical(&of, so_far, state, &names)?;
    let predicate = matches!(function, Function::Recurs { .. } | Function::Share { .. });
    match argument.data_type(so_far) {
        Ok(DataType::Boolean) if predicate => {}
        Ok(kind) if kind.is_numeric() && !predicate => {}
        Ok(kind) => {
            let wanted = if predicate { "a condition" } else { "a number" };
            return Err(wrong(format!("the first argument of {name} is {kind}, not {wanted}")));
        }
        Err(error) => return Err(wrong(error.strip_backtrace())),
    }
    Ok(Call { function, id: hash(&format!("{function:?}|{of}")), of, argument })
}

fn sql_number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => sql_number(expr).map(|number| -number),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The ending of files that say what a rule has learnt elsewhere.
pub const LEARNT: &str = ".learnt.csv";

/// Reads such a file: `series` as canonical JSON, `of`, `hour`, `median`, `spread`.
pub fn learnt(source: &Arc<Source>) -> Result<BTreeMap<(String, String), Vec<Learnt>>, Diagnostic> {
    let wrong = |line: usize, message: String| {
        let at = super::diagnostics::offset(&source.text, line, 1);
        let hint =
            "the columns are series, of, hour, median and spread; `tierwatch backtest --learn` writes such a file";
        Diagnostic::error("learnt", source, at..at, message, hint)
    };
    let mut learnt: BTreeMap<(String, String), Vec<Learnt>> = BTreeMap::new();
    let mut reader = csv::Reader::from_reader(source.text.as_bytes());
    for (row, record) in reader.deserialize::<(String, String, i64, f64, f64)>().enumerate() {
        let (series, of, hour, median, spread) = record.map_err(|error| wrong(row + 2, error.to_string()))?;
        if !(0..168).contains(&hour) || !median.is_finite() || !spread.is_finite() {
            return Err(wrong(row + 2, format!("hour {hour} of a week of 168, or a number that is none")));
        }
        learnt.entry((series, of)).or_default().push(Learnt { hour, median, spread });
    }
    Ok(learnt)
}
