//! The SQL of a rule: parsed once, its windows found, its window constants made plain.
//!
//! `window_start`, `window_end` and `window_seconds` are constants of one evaluation, so they need no GROUP BY and
//! belong to no table: each is replaced by what it means for the `hop` in scope. The same walk writes the SQL over
//! all windows that a rule equals ([`Parsed::batch_sql`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{ControlFlow, Range},
    sync::Arc,
};

use datafusion::sql::sqlparser::{
    ast::{
        Expr, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, Interval, Query, Select, SelectItem, SetExpr, Spanned,
        Statement, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
    },
    dialect::GenericDialect,
    parser::Parser,
    tokenizer::{Location, Span, Token, Tokenizer},
};

use super::{
    catalog::OF_RULE,
    diagnostics::{Diagnostic, Source, did_you_mean, offset, word_at},
    functions::WINDOW_AT,
    planner::TOO_DEEP,
    tokens::{CHAIN_MAX, long_chain},
};
use crate::{panes::Hop, time};

/// More than this and a file is no rule but an attack, or a mistake: deep chains overflow the planner's stack.
const TOKENS_MAX: usize = 3_000;
/// Likewise for the bytes of a file.
pub const BYTES_MAX: usize = 64 * 1024;

/// A rule's SELECT after parsing.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The statement with the window constants made plain.
    pub statement: Statement,
    /// The windows it reads: table and hop.
    pub hops: BTreeSet<(String, Hop)>,
    /// The statement as it was written.
    original: Query,
}

/// What the walk puts in the place of windows and their constants.
#[derive(Clone, Copy, PartialEq)]
enum Target {
    /// `window_at(ms)`: evaluated once per window.
    Window,
    /// Columns of the table `w` of all windows, which end every `slide_ms`.
    Batch {
        /// The rule's own slide.
        slide_ms: i64,
    },
}

/// Parses the SQL that begins at `sql_start` of the file.
pub fn parse(source: &Arc<Source>, sql_start: usize) -> Result<Parsed, Vec<Diagnostic>> {
    let one = |code, span: Range<usize>, message: String, hint: &str| {
        vec![Diagnostic::error(code, source, span, message, hint)]
    };
    if source.text.len() > BYTES_MAX {
        return Err(one(
            "too-large",
            0..0,
            format!("the file has {} bytes; a rule has at most {BYTES_MAX}", source.text.len()),
            "split it into several rules",
        ));
    }
    // The header is blanked out, so that positions are the file's own.
    let mut text: String = source.text[..sql_start].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    text.push_str(&source.text[sql_start..]);
    let dialect = GenericDialect {};
    let broken = |message: String| {
        let (message, at) = match message.rsplit_once(" at Line: ") {
            Some((message, place)) => {
                let mut numbers = place.split(", Column: ").map(|n| n.trim().parse().unwrap_or(1));
                (message.to_owned(), offset(&source.text, numbers.next().unwrap_or(1), numbers.next().unwrap_or(1)))
            }
            None => (message, source.text.trim_end().len()),
        };
        let message = message.trim_start_matches("sql parser error: ").to_owned();
        if message.contains("recursion limit exceeded") {
            let hint = "name parts of it in an inner query";
            return one("broken-sql", word_at(&source.text, at), TOO_DEEP.to_owned(), hint);
        }
        one("broken-sql", word_at(&source.text, at), message, "")
    };
    let tokens = Tokenizer::new(&dialect, &text).tokenize_with_location().map_err(|error| broken(error.to_string()))?;
    let count = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).count();
    if count > TOKENS_MAX {
        return Err(one(
            "too-large",
            sql_start..sql_start,
            format!("the SQL has {count} tokens; a rule has at most {TOKENS_MAX}"),
            "join to a reference table instead of listing values",
        ));
    }
    if let Some(at) = long_chain(&tokens) {
        let place =
            offset(&source.text, usize::try_from(at.line).unwrap_or(1), usize::try_from(at.column).unwrap_or(1));
        let message = format!("an expression of more than {CHAIN_MAX} operators in a row");
        let hint = "join to a reference table instead of listing values, or name parts of it in an inner query";
        return Err(one("too-large", word_at(&source.text, place), message, hint));
    }
    let mut statements = Parser::new(&dialect)
        .with_recursion_limit(60)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| broken(error.to_string()))?;
    let query = match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(query)), true) => *query,
        (None, _) => {
            return Err(one(
                "no-sql",
                sql_start..sql_start,
                "there is no SELECT after the header".into(),
                "write one SELECT over hop(…) or tumble(…)",
            ));
        }
        (Some(other), true) => {
            return Err(one(
                "not-a-select",
                place(source, other.span()),
                "a rule is one SELECT, nothing else".into(),
                "write SELECT … FROM hop(…)",
            ));
        }
        (Some(other), false) => {
            return Err(one(
                "several-statements",
                place(source, other.span()),
                "a rule is one SELECT, and here are several statements".into(),
                "one file, one rule, one SELECT",
            ));
        }
    };
    if let Some(with) = &query.with
        && with.recursive
    {
        return Err(one(
            "recursive",
            place(source, with.span()),
            "a recursive query may never end".into(),
            "write it without RECURSIVE",
        ));
    }
    let mut walk = Walk { plain: None, source, target: Target::Window, problems: Vec::new(), hops: BTreeSet::new() };
    let original = query.clone();
    let mut query = query;
    keep_ratios(&mut query);
    walk.query(&mut query, &BTreeMap::new());
    if walk.problems.is_empty() && walk.hops.is_empty() {
        let (place, message, hint) = match walk.plain.take() {
            Some((name, span, true)) => {
                let near = did_you_mean(&name, ["hop", "tumble"]);
                let hint = if near.is_empty() { WINDOW_USAGE.to_owned() } else { near };
                (place(source, span), format!("there is no window function `{name}`"), hint)
            }
            Some((name, span, false)) => {
                let hint = WINDOW_USAGE.replace("table,", &format!("{name},"));
                (place(source, span), format!("`{name}` is read without a window"), hint)
            }
            None => (source.first_word(sql_start), "the rule reads no window".to_owned(), WINDOW_USAGE.to_owned()),
        };
        walk.problems.push(Diagnostic::error("no-window", source, place, message, hint));
    }
    if !walk.problems.is_empty() {
        return Err(walk.problems);
    }
    let hops = walk.hops;
    Ok(Parsed { statement: Statement::Query(Box::new(query)), hops, original })
}

impl Parsed {
    /// The shortest slide of its windows, in milliseconds: how often the rule is evaluated.
    pub fn slide_ms(&self) -> i64 {
        self.hops.iter().map(|(_, hop)| hop.slide_ms).min().unwrap_or(1)
    }

    /// True where the outermost SELECT leaves groups out.
    pub fn has_outer_having(&self) -> bool {
        matches!(self.original.body.as_ref(), SetExpr::Select(select) if select.having.is_some())
    }

    /// The SQL over all windows that the rule equals, to be run by any engine with LATERAL joins over the tables
    /// of events and a table `w(window_end)`.
    pub fn batch_sql(&self, source: &Arc<Source>) -> String {
        let mut query = self.original.clone();
        keep_ratios(&mut query);
        let mut walk = Walk {
            plain: None,
            source,
            target: Target::Batch { slide_ms: self.slide_ms() },
            problems: Vec::new(),
            hops: BTreeSet::new(),
        };
        walk.query(&mut query, &BTreeMap::new());
        as_division(&mut query);
        let seconds = time::span(self.slide_ms());
        let tables: BTreeSet<&str> = self.hops.iter().map(|(table, _)| table.as_str()).collect();
        let time = |table: &str| if table.starts_with(OF_RULE) { "window_end AS event_time" } else { "event_time" };
        let times: Vec<String> = tables.iter().map(|table| format!("SELECT {} FROM {table}", time(table))).collect();
        let slide = self.slide_ms();
        format!(
            "-- Evaluated every {seconds}, from the first event to the last. approx_ functions are sketches: another engine agrees within 1%.\n\
             WITH times AS ({}),\n\
             w AS (\n  SELECT unnest(generate_series(\n    make_timestamp_ms(((epoch_ms(min(event_time)) // {slide}) + 1) * {slide}),\n    max(event_time),\n    INTERVAL '{slide} milliseconds')) AS window_end\n  FROM times\n)\n\
             SELECT w.window_end AS evaluated_at, r.*\nFROM w CROSS JOIN LATERAL (\n{query:#}\n) AS r\nORDER BY evaluated_at\n",
            times.join(" UNION ALL "),
        )
    }
}

/// `ratio(a, b) AS value` in the outermost list keeps its parts as the measures `numerator` and `denominator`.
fn keep_ratios(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    if select.distinct.is_some() {
        return;
    }
    let mut parts = Vec::new();
    for item in &select.projection {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            SelectItem::UnnamedExpr(expr) => (expr, "ratio".to_owned()),
            _ => continue,
        };
        let Expr::Function(function) = expr else { continue };
        if !function.name.to_string().eq_ignore_ascii_case("ratio") {
            continue;
        }
        let datafusion::sql::sqlparser::ast::FunctionArguments::List(list) = &function.args else { continue };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(a)), FunctionArg::Unnamed(FunctionArgExpr::Expr(b))] =
            list.args.as_slice()
        else {
            continue;
        };
        let prefix = if name == "value" { String::new() } else { format!("{name}_") };
        parts.push((format!("{prefix}numerator"), a.clone()));
        parts.push((format!("{prefix}denominator"), b.clone()));
    }
    for (name, expr) in parts {
        let taken = select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.value == name));
        if !taken {
            select.projection.push(SelectItem::ExprWithAlias { expr, alias: Ident::new(name) });
        }
    }
}

/// The end of a walk that never breaks off.
fn done(outcome: ControlFlow<()>) {
    debug_assert!(outcome.is_continue(), "no visitor here breaks off");
}

/// Writes `ratio(a, b)` as the division that it is.
fn as_division(query: &mut Query) {
    use datafusion::sql::sqlparser::ast::{FunctionArguments, visit_expressions_mut};
    done(visit_expressions_mut(query, |expr| {
        if let Expr::Function(function) = expr
            && function.name.to_string().eq_ignore_ascii_case("ratio")
            && let FunctionArguments::List(list) = &function.args
            && let [a, b] = list.args.as_slice()
        {
            *expr = expression(&format!("(CAST({a} AS DOUBLE) / nullif(CAST({b} AS DOUBLE), 0))"));
        }
        ControlFlow::Continue(())
    }));
}

/// The windows that a name in scope stands for.
type Scope = BTreeMap<String, BTreeSet<Hop>>;

/// How a window is written.
const WINDOW_USAGE: &str = "FROM hop(table, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')";

struct Walk<'a> {
    /// The first table or table function that is no window: its name, where it stands, and whether it is a function.
    plain: Option<(String, Span, bool)>,
    source: &'a Arc<Source>,
    target: Target,
    problems: Vec<Diagnostic>,
    hops: BTreeSet<(String, Hop)>,
}

impl Walk<'_> {
    fn problem(&mut self, code: &'static str, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Diagnostic::error(code, self.source, place(self.source, span), message, hint));
    }

    /// Rewrites a query; answers with the windows it reads.
    fn query(&mut self, query: &mut Query, outer: &Scope) -> BTreeSet<Hop> {
        let mut names = outer.clone();
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                let hops = self.query(&mut cte.query, &names);
                names.insert(cte.alias.name.value.to_lowercase(), hops);
            }
        }
        let hops = self.body(&mut query.body, &names);
        let scope = Scope::from([(String::new(), hops.clone())]);
        if let Some(order_by) = &mut query.order_by {
            self.constants(order_by, &scope);
        }
        hops
    }

    fn body(&mut self, body: &mut SetExpr, names: &Scope) -> BTreeSet<Hop> {
        match body {
            SetExpr::Select(select) => self.select(select, names),
            SetExpr::Query(query) => self.query(query, names),
            SetExpr::SetOperation { left, right, .. } => {
                let mut hops = self.body(left, names);
                hops.extend(self.body(right, names));
                hops
            }
            _ => BTreeSet::new(),
        }
    }

    fn select(&mut self, select: &mut Select, names: &Scope) -> BTreeSet<Hop> {
        let mut scope = Scope::new();
        for from in &mut select.from {
            self.table_with_joins(from, names, &mut scope);
        }
        // Queries inside expressions have scopes of their own.
        let mut inner = Subqueries { walk: self, names };
        done(VisitMut::visit(&mut select.selection, &mut inner));
        done(VisitMut::visit(&mut select.having, &mut inner));
        done(VisitMut::visit(&mut select.projection, &mut inner));
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some((_, name)) = constant(expr)
            {
                let alias = Ident::new(name);
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.retain(|expr| constant(expr).is_none());
        }
        self.constants(select, &scope);
        scope.into_values().flatten().collect()
    }

    fn table_with_joins(&mut self, from: &mut TableWithJoins, names: &Scope, scope: &mut Scope) {
        self.factor(&mut from.relation, names, scope);
        for join in &mut from.joins {
            self.factor(&mut join.relation, names, scope);
        }
    }

    fn factor(&mut self, factor: &mut TableFactor, names: &Scope, scope: &mut Scope) {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let function = name.to_string().to_lowercase();
                let hops = if args.is_some() && is_window(&function) {
                    match window(factor) {
                        Ok((table, hop)) => {
                            self.hops.insert((table.clone(), hop));
                            keep_time_column(factor);
                            let label = label(factor, &table);
                            if let Target::Batch { slide_ms } = self.target {
                                *factor = batch_window(&table, hop, slide_ms, &label);
                            }
                            _ = scope.insert(label, BTreeSet::from([hop]));
                            return;
                        }
                        Err((span, message)) => {
                            let span = if span == Span::empty() { factor.span() } else { span };
                            self.problem("window-arguments", span, message, "hop(table, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') or tumble(table, event_time, INTERVAL '1 minute')");
                            return;
                        }
                    }
                } else {
                    if !names.contains_key(&function) && self.plain.is_none() {
                        self.plain = Some((function.clone(), name.span(), args.is_some()));
                    }
                    names.get(&function).cloned().unwrap_or_default()
                };
                let label = alias.as_ref().map_or(function, |alias| alias.name.value.to_lowercase());
                scope.insert(label, hops);
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let hops = self.query(subquery, names);
                let label =
                    alias.as_ref().map_or_else(|| format!("#{}", scope.len()), |alias| alias.name.value.to_lowercase());
                scope.insert(label, hops);
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.table_with_joins(table_with_joins, names, scope),
            _ => {}
        }
    }

    /// Replaces the window constants in `node`, whose names mean what `scope` says.
    fn constants(&mut self, node: &mut impl VisitMut, scope: &Scope) {
        let mut constants = Constants { walk: self, scope };
        done(VisitMut::visit(node, &mut constants));
    }
}

struct Subqueries<'a, 'b> {
    walk: &'a mut Walk<'b>,
    names: &'a Scope,
}

impl VisitorMut for Subqueries<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.walk.query(query, self.names);
        ControlFlow::Continue(())
    }
}

struct Constants<'a, 'b> {
    walk: &'a mut Walk<'b>,
    scope: &'a Scope,
}

impl VisitorMut for Constants<'_, '_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some((qualifier, name)) = constant(expr) else { return ControlFlow::Continue(()) };
        let hops: BTreeSet<Hop> = match &qualifier {
            Some(qualifier) => self.scope.get(qualifier).cloned().unwrap_or_default(),
            None => self.scope.values().flatten().copied().collect(),
        };
        let differs: BTreeSet<(i64, i64)> = hops
            .iter()
            .map(|hop| match name {
                "window_end" => (0, hop.ago_ms),
                "window_start" => (hop.size_ms, hop.ago_ms),
                _ => (hop.size_ms, 0),
            })
            .collect();
        match (hops.first(), differs.len()) {
            (Some(hop), 1) => *expr = replacement(self.walk.target, name, *hop),
            (Some(_), _) => self.walk.problem(
                "ambiguous-window",
                expr.span(),
                format!("`{name}` is not the same in the windows that stand here"),
                format!("name the window: alias.{name}"),
            ),
            // Not a window's: perhaps a column of a reference table; the planner will tell.
            (None, _) => {}
        }
        ControlFlow::Continue(())
    }
}

/// The window constant that an expression is, with its qualifier.
fn constant(expr: &Expr) -> Option<(Option<String>, &'static str)> {
    let name = |ident: &Ident| {
        ["window_start", "window_end", "window_seconds"].into_iter().find(|name| ident.value.eq_ignore_ascii_case(name))
    };
    match expr {
        Expr::Identifier(ident) => Some((None, name(ident)?)),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [qualifier, ident] => Some((Some(qualifier.value.to_lowercase()), name(ident)?)),
            _ => None,
        },
        _ => None,
    }
}

fn replacement(target: Target, name: &str, hop: Hop) -> Expr {
    let (start, end) = hop.window(0);
    let sql = match (name, target) {
        ("window_seconds", _) => format_seconds(hop.size_ms),
        ("window_end", Target::Window) => format!("{WINDOW_AT}({}, {end})", hop.slide_ms),
        ("window_end", Target::Batch { slide_ms }) => batch_time(hop, slide_ms, end),
        (_, Target::Window) => format!("{WINDOW_AT}({}, {start})", hop.slide_ms),
        (_, Target::Batch { slide_ms }) => batch_time(hop, slide_ms, start),
    };
    expression(&sql)
}

/// Seconds as a literal that is a double in every engine.
#[expect(clippy::cast_precision_loss, reason = "window sizes are far below 2^53 ms")]
fn format_seconds(ms: i64) -> String {
    format!("{:e}", ms as f64 / 1000.0)
}

/// An expression from SQL of our own making.
fn expression(sql: &str) -> Expr {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
    parsed.unwrap_or_else(|error| unreachable!("`{sql}` is our own SQL: {error}"))
}

/// The window end of a hop, moved by `offset`, as SQL over the table `w`.
fn batch_time(hop: Hop, slide_ms: i64, offset: i64) -> String {
    let end = if hop.slide_ms == slide_ms {
        "w.window_end".to_owned()
    } else {
        format!("time_bucket(INTERVAL '{} milliseconds', w.window_end, TIMESTAMP '1970-01-01')", hop.slide_ms)
    };
    if offset == 0 { end } else { format!("({end} - INTERVAL '{} milliseconds')", -offset) }
}

fn batch_window(table: &str, hop: Hop, slide_ms: i64, alias: &str) -> TableFactor {
    let (start, end) = hop.window(0);
    let (start, end) = (batch_time(hop, slide_ms, start), batch_time(hop, slide_ms, end));
    let alias = alias.rsplit('.').next().unwrap_or(alias);
    let sql = if table.starts_with(OF_RULE) {
        // A reading that ends where the window ends is in it.
        format!("SELECT 1 FROM (SELECT * FROM {table} WHERE window_end > {start} AND window_end <= {end}) AS {alias}")
    } else {
        format!("SELECT 1 FROM (SELECT * FROM {table} WHERE event_time >= {start} AND event_time < {end}) AS {alias}")
    };
    let parsed = Parser::parse_sql(&GenericDialect {}, &sql).ok().and_then(|mut statements| statements.pop());
    if let Some(Statement::Query(query)) = parsed
        && let SetExpr::Select(mut select) = *query.body
        && let Some(from) = select.from.pop()
    {
        return from.relation;
    }
    unreachable!("`{sql}` is our own SQL")
}

/// The rules whose readings a rule's text reads.
pub fn reads(text: &str) -> Vec<String> {
    let word =
        |rest: &str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    text.match_indices(OF_RULE)
        .filter(|(at, _)| text[..*at].trim_end().ends_with('('))
        .map(|(at, _)| word(&text[at + OF_RULE.len()..]))
        .collect()
}

/// True of the table functions that make windows.
pub fn is_window(name: &str) -> bool {
    name == "hop" || name == "tumble"
}

/// The name by which SQL knows a window.
pub fn label(factor: &TableFactor, table: &str) -> String {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } => alias.name.value.to_lowercase(),
        _ => table.to_owned(),
    }
}

/// The time column of a window over readings is called as a window constant is, and is none.
fn keep_time_column(factor: &mut TableFactor) {
    let TableFactor::Table { args: Some(args), .. } = factor else { return };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) = args.args.get_mut(1)
        && let Some((None, name)) = constant(expr)
    {
        *expr = Expr::Identifier(Ident::new(format!("{KEPT}{name}")));
    }
}

/// What marks such a column.
const KEPT: &str = "__";

/// Reads `hop(table, event_time, slide, size [, ago => span])` and `tumble(table, event_time, size)`; the error has
/// its place and says what is wrong.
pub fn window(factor: &TableFactor) -> Result<(String, Hop), (Span, String)> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else {
        return Err((Span::empty(), "a window is hop(…) or tumble(…)".into()));
    };
    let function = name.to_string().to_lowercase();
    let mut plain = Vec::new();
    let mut ago_ms = 0;
    for arg in &args.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => plain.push(expr),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. }
                if name.value.eq_ignore_ascii_case("ago") =>
            {
                ago_ms = span(expr)?
            }
            FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(expr), .. }
                if name.to_string().eq_ignore_ascii_case("ago") =>
            {
                ago_ms = span(expr)?
            }
            other => return Err((other.span(), format!("`{other}` is no argument of {function}"))),
        }
    }
    let wanted = if function == "hop" { 4 } else { 3 };
    if plain.len() != wanted {
        return Err((Span::empty(), format!("{function} takes {wanted} arguments, and here are {}", plain.len())));
    }
    let table = match plain[0] {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join("."),
        other => return Err((other.span(), format!("the first argument of {function} is a table, not `{other}`"))),
    };
    if !matches!(plain[1], Expr::Identifier(_)) {
        return Err((
            plain[1].span(),
            format!("the second argument of {function} is the event-time column, not `{}`", plain[1]),
        ));
    }
    let size_ms = span(plain[wanted - 1])?;
    let slide_ms = if function == "hop" { span(plain[2])? } else { size_ms };
    if [slide_ms, size_ms, ago_ms].iter().any(|span| span % 1000 != 0) {
        return Err((plain[2].span(), "the spans of a window are whole seconds".into()));
    }
    if slide_ms > size_ms {
        return Err((
            plain[2].span(),
            format!(
                "the slide ({}) is longer than the window ({}), so events between would be seen by no window: are they swapped?",
                time::span(slide_ms),
                time::span(size_ms)
            ),
        ));
    }
    if size_ms / slide_ms > 100_000 {
        return Err((
            plain[2].span(),
            format!("a window of {} holds more than 100,000 slides of {}", time::span(size_ms), time::span(slide_ms)),
        ));
    }
    Ok((table, Hop { slide_ms, size_ms, ago_ms }))
}

/// The column a window names as its time.
pub fn window_column(factor: &TableFactor) -> Option<Ident> {
    let TableFactor::Table { args: Some(args), .. } = factor else { return None };
    match args.args.get(1) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident)))) => {
            Some(Ident::new(ident.value.trim_start_matches(KEPT)))
        }
        _ => None,
    }
}

/// Reads `INTERVAL '10 seconds'`, in milliseconds.
pub fn span(expr: &Expr) -> Result<i64, (Span, String)> {
    let bad = |what: &str| (expr.span(), format!("`{expr}` is not a fixed span of time{what}"));
    let Expr::Interval(Interval { value, leading_field, .. }) = expr else {
        return Err(bad(": write INTERVAL '1 minute'"));
    };
    let Expr::Value(value) = value.as_ref() else { return Err(bad("")) };
    let mut text = match &value.value {
        Value::SingleQuotedString(text) | Value::Number(text, _) => text.clone(),
        _ => return Err(bad("")),
    };
    if let Some(field) = leading_field {
        text = format!("{text} {}", field.to_string().to_lowercase());
    }
    // Months and years have no fixed length; everything else is read as people write spans.
    if text.to_lowercase().contains("month") || text.to_lowercase().contains("year") {
        return Err(bad(": months and years have no fixed length"));
    }
    match time::parse_span(&text) {
        Ok(ms) if ms > 0 => Ok(ms),
        _ => Err(bad(": write it like INTERVAL '90 seconds'")),
    }
}

/// A parser's span as bytes of the file.
pub fn place(source: &Source, span: Span) -> Range<usize> {
    if span == Span::empty() {
        return 0..0;
    }
    let at = |location: Location| (location.line, location.column);
    source.between(at(span.start), at(span.end))
}

/// The joins of a statement that DataFusion answers wrongly: FULL JOIN … USING loses the keys of the right side.
pub fn full_joins_using(parsed: &Parsed) -> Vec<Span> {
    struct Joins(Vec<Span>);
    impl Visitor for Joins {
        type Break = ();
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            use datafusion::sql::sqlparser::ast::{JoinConstraint, JoinOperator};
            for join in select.from.iter().flat_map(|from| &from.joins) {
                if matches!(
                    &join.join_operator,
                    JoinOperator::FullOuter(JoinConstraint::Using(_) | JoinConstraint::Natural)
                ) {
                    self.0.push(join.relation.span());
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut joins = Joins(Vec::new());
    done(parsed.original.visit(&mut joins));
    joins.0
}

#[cfg(test)]
mod tests;
