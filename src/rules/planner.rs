//! What the planner says about a mistake, in our words and at its place.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Location};

use super::{
    catalog::Catalog,
    diagnostics::{Diagnostic, Source, did_you_mean},
    history, sql,
};

/// What DataFusion puts before its messages.
const PREFIXES: [&str; 5] = [
    "Error during planning: ",
    "Schema error: ",
    "SQL error: ",
    "type_coercion\ncaused by\n",
    "This feature is not implemented: ",
];

/// The functions that rules mostly use, for near misses: DataFusion's own guess knows hundreds.
const USUAL: [&str; 17] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "approx_percentile_cont",
    "approx_distinct",
    "bool_and",
    "bool_or",
    "ratio",
    "coalesce",
    "least",
    "greatest",
    "abs",
    "round",
    "percentile_cont",
    "nullif",
];

/// What the parser calls a recursion limit.
pub const TOO_DEEP: &str = "parentheses are nested too deeply";

/// What the planner says of one expression, without what stands around it.
pub fn short(error: &DataFusionError) -> String {
    said(&error.strip_backtrace())
}

/// The same of a message.
pub fn said(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let message = PREFIXES.iter().fold(message, |text, prefix| text.trim_start_matches(prefix));
    let message = message.split("ParserError(\"").last().unwrap_or(message);
    let message = message.split(" at Line:").next().unwrap_or(message).trim_start_matches("sql parser error: ");
    if message.to_lowercase().replace(' ', "").contains("recursionlimitexceeded") {
        return TOO_DEEP.to_owned();
    }
    message.split(" Valid fields are").next().unwrap_or(message).trim_end_matches('.').to_owned()
}

/// A planning error as a finding.
pub fn problem(error: &DataFusionError, source: &Arc<Source>, sql_start: usize, catalog: &Catalog) -> Diagnostic {
    let text = error.strip_backtrace();
    let text = PREFIXES.iter().fold(text.as_str(), |text, prefix| text.trim_start_matches(prefix));
    let message = text.split("Valid fields are").next().unwrap_or(text).lines().next().unwrap_or_default();
    // What a function says of its arguments comes wrapped twice.
    let message = message.rsplit("Error during planning: ").next().unwrap_or(message);
    let message = message.split(" No function matches").next().unwrap_or(message);
    let message = message.trim_end().trim_end_matches('.').replace("datafusion.public.", "");
    // A name in quotes or backticks that stands in the SQL is the best place there is.
    let named = message.split(['`', '\'', '"']).nth(1).and_then(|name| name.rsplit('.').next());
    let named = named.filter(|name| !name.is_empty());
    let diagnostic = error.diagnostic();
    let at = |location: Location| (location.line, location.column);
    let place = diagnostic
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| source.between(at(span.start), at(span.end)))
        .or_else(|| {
            let named = named?;
            let start = sql_start + source.text[sql_start..].find(named)?;
            Some(start..start + named.len())
        })
        .unwrap_or_else(|| source.first_word(sql_start));
    let said: Vec<&str> =
        diagnostic.iter().flat_map(|diagnostic| &diagnostic.helps).map(|help| help.message.as_str()).collect();
    let columns = catalog.tables.values().flat_map(|table| table.columns.iter().map(|column| column.name.as_str()));
    let names = columns.chain(catalog.tables.keys().map(String::as_str));
    let (code, hint) = if let Some(wrong) = between(&message, "Invalid function '", "'") {
        let hint = match history::FUNCTIONS.iter().find(|name| wrong.eq_ignore_ascii_case(name)) {
            Some(name) => format!("{name} belongs into `history:` of the header"),
            None => did_you_mean(wrong, USUAL),
        };
        ("plan", hint)
    } else if message.contains("is not the event time of") {
        let right = message.rsplit('`').nth(1).unwrap_or_default();
        ("plan", format!("write {right}"))
    } else if let Some(wrong) = between(&message, "table '", "' not found") {
        ("plan", did_you_mean(wrong, catalog.references.keys().map(String::as_str)))
    } else {
        // DataFusion's own guess, where it has one: `'"table".column'`.
        let guess = message.split(" Did you mean '").nth(1).and_then(|guess| guess.split("'?").next());
        let guess = guess.map(|guess| guess.rsplit('.').next().unwrap_or(guess).trim_matches('"').to_owned());
        let hint = if let Some(guess) = guess {
            format!("did you mean `{guess}`?")
        } else if said.is_empty() {
            named.map(|named| did_you_mean(named, names)).unwrap_or_default()
        } else {
            said.join("; ")
        };
        let code = match &message {
            message if message.contains("No field named") => "unknown-column",
            message if message.contains("no table") || message.contains("no rule") => "unknown-table",
            _ => "plan",
        };
        (code, hint)
    };
    // The hint says it, and better.
    let (message, hint) = match message.split_once("; did you mean ") {
        Some((message, guess)) => (message.to_owned(), format!("did you mean {guess}")),
        None => (message, hint),
    };
    let message = if hint.is_empty() {
        message.as_str()
    } else {
        message.split(" Did you mean").next().unwrap_or(&message).trim_end_matches('.')
    };
    Diagnostic::error(code, source, place, message, hint)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.split_once(after).map(|(between, _)| between)
}

/// The parts of a statement that DataFusion would answer wrongly.
pub fn refused_joins(parsed: &sql::Parsed, source: &Arc<Source>) -> Vec<Diagnostic> {
    let refuse = |span| {
        Diagnostic::error(
            "full-join-using",
            source,
            sql::place(source, span),
            "FULL JOIN … USING loses the keys that only the right side has",
            "write FULL JOIN … ON a.k = b.k and SELECT coalesce(a.k, b.k) AS k",
        )
    };
    sql::full_joins_using(parsed).into_iter().map(refuse).collect()
}
