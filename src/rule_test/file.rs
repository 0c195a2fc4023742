//! The form of a test file.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{ENDING, Row};
use crate::{panes::Millis, rules::diagnostics::Source, time::parse_rfc3339};

/// What 0 seconds means where a file says nothing: a Monday at midnight.
const START: &str = "2026-01-05T00:00:00Z";

/// What is wrong with a file, and where.
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) message: String,
}

/// A test file.
#[derive(Debug)]
pub(super) struct TestFile {
    /// The rule under test.
    pub(super) rule: String,
    /// What 0 seconds means.
    pub(super) start_ms: Millis,
    /// Columns that every row of a table has, unless it says otherwise.
    pub(super) defaults: BTreeMap<String, Row>,
    /// Rows of reference tables, in place of the shipped ones.
    pub(super) references: BTreeMap<String, Vec<Row>>,
    /// What the rule has learnt before.
    pub(super) learnt: Vec<Row>,
    /// The cases.
    pub(super) tests: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) events: BTreeMap<String, Rows>,
    pub(super) end: Option<String>,
    pub(super) readings: Option<Rows>,
    pub(super) breaches: Option<Rows>,
    pub(super) rejected: u64,
}

/// Rows in the file itself, or the name of a CSV file beside it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Rows {
    Csv(String),
    Here(Vec<Row>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    rule: Option<String>,
    start: Option<String>,
    #[serde(default)]
    defaults: BTreeMap<String, Row>,
    #[serde(default)]
    references: BTreeMap<String, Vec<Row>>,
    #[serde(default)]
    learnt: Vec<Row>,
    tests: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: Spanned<String>,
    #[serde(default)]
    events: BTreeMap<String, Rows>,
    end: Option<Value>,
    readings: Option<Rows>,
    breaches: Option<Rows>,
    #[serde(default)]
    rejected: u64,
}

/// Reads a test file.
pub(super) fn parse(source: &Arc<Source>) -> Result<TestFile, Wrong> {
    let raw: RawFile = serde_saphyr::from_str(&source.text).map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().map_or(1, |at| usize::try_from(at.line()).unwrap_or(1));
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        Wrong { line, message: format!("this is not a test file: {message}") }
    })?;
    let wrong = |message: String| Wrong { line: 1, message };
    let start = raw.start.as_deref().unwrap_or(START);
    let start_ms =
        parse_rfc3339(start).ok_or_else(|| wrong(format!("start: `{start}` is no time: write it like {START}")))?;
    let file = source.path.rsplit('/').next().unwrap_or_default();
    let rule = raw.rule.unwrap_or_else(|| file.trim_end_matches(ENDING).to_owned());
    if raw.tests.is_empty() {
        return Err(wrong("there is no case: list some under `tests`".into()));
    }
    let mut tests = Vec::new();
    for case in raw.tests {
        let line = usize::try_from(case.name.defined.line()).unwrap_or(1);
        let name = case.name.value;
        if case.readings.is_none() && case.breaches.is_none() {
            return Err(Wrong { line, message: format!("`{name}` expects nothing: give it readings or breaches") });
        }
        let end = case.end.map(|end| end.as_str().map_or_else(|| end.to_string(), str::to_owned));
        tests.push(Case {
            name,
            line,
            events: case.events,
            end,
            readings: case.readings,
            breaches: case.breaches,
            rejected: case.rejected,
        });
    }
    Ok(TestFile { rule, start_ms, defaults: raw.defaults, references: raw.references, learnt: raw.learnt, tests })
}
