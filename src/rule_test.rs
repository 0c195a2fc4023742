//! Tests of rules as data: events in with relative times; readings, levels and breach events out. Time, order and clock
//! are part of the test, not of the machine.
//!
//! A file is YAML (`file`), its events are played through the same stages as in production ([`crate::backtest`]), and
//! what comes out is compared with what is expected (`compare`).

mod compare;
mod events;
mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;

use self::{
    compare::{Outcomes, differences},
    file::{Case, TestFile},
};
use crate::{
    backtest::{self, Options},
    decode::Limits,
    judge::output::{BreachEvent, Output, Reading},
    rules::{Files, RuleSet, diagnostics::Diagnostic, diagnostics::Source},
};

/// The ending of a test file.
pub const ENDING: &str = ".test.yaml";

/// How one case ended.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The test file.
    pub file: String,
    /// The line at which the case begins.
    pub line: usize,
    /// The rule.
    pub rule: String,
    /// What the case is called; empty where the file itself cannot be run.
    pub name: String,
    /// What is not as expected, line by line; nothing where all is.
    pub differences: Vec<String>,
}

/// A text beside a test file, such as rows in CSV.
pub type ReadBeside<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The names of the cases of a test file, in their order; what is wrong with it where it cannot be read.
pub fn names(source: &Arc<Source>) -> Result<Vec<String>, String> {
    let test = file::parse(source).map_err(|wrong| format!("{}:{}: {}", source.path, wrong.line, wrong.message))?;
    Ok(test.tests.into_iter().map(|case| case.name).collect())
}

/// Runs all cases of a test file against `files`, of which only the rule under test and those it reads are used.
/// `read` reads a file that lies beside the test file.
pub fn run(source: &Arc<Source>, files: &Files, read: ReadBeside<'_>) -> Vec<Outcome> {
    let whole = |rule: &str, line: usize, differences: Vec<String>| {
        vec![Outcome { file: source.path.clone(), line, rule: rule.to_owned(), name: String::new(), differences }]
    };
    let mut test = match file::parse(source) {
        Ok(test) => test,
        Err(wrong) => return whole("", wrong.line, vec![wrong.message]),
    };
    let rule = test.rule.clone();
    let set = match rule_set(&test, files) {
        Ok(set) => Arc::new(set),
        Err(differences) => return whole(&rule, 1, differences),
    };
    let cases = std::mem::take(&mut test.tests);
    let mut names = BTreeSet::new();
    let one = |case: Case| {
        let line = case.line;
        let name = case.name.clone();
        let mut differences =
            if names.insert(name.clone()) { Vec::new() } else { vec![format!("another case is called `{name}`")] };
        match play(&test, &case, &set, read) {
            Ok(found) => differences.extend(found),
            Err(message) => differences.push(message),
        }
        Outcome { file: source.path.clone(), line, rule: rule.clone(), name, differences }
    };
    cases.into_iter().map(one).collect()
}

/// The rule under test with those it reads, over the test's own reference rows and what it has learnt.
fn rule_set(test: &TestFile, files: &Files) -> Result<RuleSet, Vec<String>> {
    let named = |source: &&Arc<Source>, name: &str| {
        source.path.rsplit('/').next().and_then(|file| file.strip_suffix(".sql")) == Some(name)
    };
    let mut rules: Vec<Arc<Source>> = Vec::new();
    let mut wanted = vec![test.rule.clone()];
    while let Some(name) = wanted.pop() {
        let Some(rule) = files.rules.iter().find(|source| named(source, &name)) else {
            return Err(vec![format!("there is no rule file `{name}.sql`: `rule:` names the rule under test")]);
        };
        if !rules.contains(rule) {
            wanted.extend(crate::rules::sql::reads(&rule.text));
            rules.push(Arc::clone(rule));
        }
    }
    let mut own = Files { rules, ..files.clone() };
    for (table, csv) in events::references(test)? {
        let path = own
            .references
            .iter()
            .map(|source| source.path.clone())
            .find(|path| path.ends_with(&format!("{table}.csv")));
        let Some(path) = path else { return Err(vec![format!("there is no reference table `{table}`")]) };
        own.references.retain(|source| source.path != path);
        own.references.push(Arc::new(Source { path, text: csv }));
    }
    if !test.learnt.is_empty() {
        let beside = own.rules.iter().find(|source| named(source, &test.rule)).map(|source| source.path.clone());
        let path = format!("{}.learnt.csv", beside.unwrap_or_default().trim_end_matches(".sql"));
        own.beside.retain(|source| source.path != path);
        own.beside.push(Arc::new(Source { path, text: events::learnt(test)? }));
    }
    let (set, problems) = RuleSet::compile(own, backtest::SETTINGS);
    if RuleSet::broken(&problems) {
        let shown = |problem: &Diagnostic| {
            let (line, column) = problem.position();
            format!("{}:{line}:{column}: {} ({})", problem.source.path, problem.message, problem.code)
        };
        return Err(problems
            .iter()
            .filter(|problem| RuleSet::broken(std::slice::from_ref(problem)))
            .map(shown)
            .collect());
    }
    Ok(set)
}

/// Plays one case; answers with how it differs from what is expected.
fn play(test: &TestFile, case: &Case, set: &Arc<RuleSet>, read: ReadBeside<'_>) -> Result<Vec<String>, String> {
    let (inputs, end) = events::inputs(test, case, set, read)?;
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let mut readings: Vec<Reading> = Vec::new();
    let mut breaches: Vec<BreachEvent> = Vec::new();
    let options = Options { limits, batch_rows: 8192, until: Some(end) };
    let (summary, _) = backtest::run(set, inputs, options, |output| match output {
        Output::Reading(reading) if reading.rule.header.name == test.rule => readings.push(reading.as_ref().clone()),
        Output::Breach(event) if event.rule == test.rule => breaches.push(event.as_ref().clone()),
        _ => {}
    })
    .map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for (rule, reason) in &summary.fenced {
        found.push(format!("{rule} failed and was not evaluated further: {reason}"));
    }
    if summary.rejected_count != case.rejected {
        found.push(format!("events that did not count: expected {}, got {}", case.rejected, summary.rejected_count));
        let shown = summary.rejected.iter().take(3);
        found.extend(shown.map(|(table, rejected)| format!("  {table}: {} ({})", rejected.detail, rejected.reason)));
    }
    let rule = set.rule(&test.rule).ok_or("the rule is not there")?;
    let outcomes = Outcomes { rule, start_ms: test.start_ms, readings: &readings, breaches: &breaches };
    found.extend(differences(case, &outcomes, read)?);
    Ok(found)
}

/// Columns and what they hold, as people write them in YAML or CSV.
type Row = BTreeMap<String, serde_json::Value>;
