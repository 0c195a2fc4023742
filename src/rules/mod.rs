//! Rules: `(path, text)` in, checked rules or every problem out. Reads no file and knows no clock.
//!
//! A file is parted ([`header`]), parsed ([`sql`]), planned ([`session`]), cut into folds and the rest ([`plan`]),
//! and its levels are read ([`levels`]). Rules that ask for the same fold share it.

pub mod aggregates;
mod budget;
pub mod catalog;
pub mod check;
pub mod checked;
mod compile;
pub mod defaults;
pub mod diagnostics;
pub mod functions;
pub mod header;
pub mod history;
pub mod levels;
pub mod ordered;
pub mod plan;
pub mod planner;
pub mod rest;
pub mod samples;
pub mod series;
pub mod session;
pub mod sql;
pub mod template;
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::datatypes::SchemaRef;
use datafusion::{common::Result as QueryResult, physical_expr::PhysicalExpr};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::{
    catalog::Catalog,
    diagnostics::{Diagnostic, Severity, Source},
    functions::WindowCell,
    header::Header,
    history::History,
    levels::{Bands, Level},
    plan::{Diagnosis, FoldSpec, FoldUse},
    rest::Rest,
};

/// Every file that a rule set consists of: what enters the log, so that whoever reads the log needs no files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Rules, `*.sql`.
    pub rules: Vec<Arc<Source>>,
    /// Table schemas, `*.json`.
    pub tables: Vec<Arc<Source>>,
    /// Reference tables, pairs of `*.json` and `*.csv`.
    pub references: Vec<Arc<Source>>,
    /// What lies beside rules: `_defaults.yaml` of folders, and `*.learnt.csv` with what rules have learnt elsewhere.
    pub beside: Vec<Arc<Source>>,
}

/// Settings that change what a reading is, and so belong to the rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How long a partition must be at its end before it counts as idle, in milliseconds; `None` is never.
    pub idle_after_ms: Option<i64>,
}

/// Rules in force together, with the folds they share.
#[derive(Debug)]
pub struct RuleSet {
    /// The hash of everything it consists of.
    pub hash: String,
    /// What it consists of.
    pub files: Files,
    /// Settings that belong to it.
    pub settings: Settings,
    /// The tables its rules read.
    pub catalog: Arc<Catalog>,
    /// Its rules, by name.
    pub rules: Vec<Arc<Rule>>,
    /// Its folds, by fingerprint.
    pub folds: BTreeMap<String, FoldSpec>,
}

/// A checked rule, ready to run.
#[derive(Debug)]
pub struct Rule {
    /// Its header.
    pub header: Header,
    /// Its file.
    pub source: Arc<Source>,
    /// The hash of what it consists of: its file, its tables, its reference tables.
    pub version: String,
    /// The hash of what its readings follow from: two versions of which this is the same come to the same readings of the
    /// same events, however they judge them.
    pub says: String,
    /// Its SQL.
    pub sql: sql::Parsed,
    /// How often it is evaluated, in milliseconds.
    pub slide_ms: i64,
    /// The windows it reads, with the folds they are put together from.
    pub folds: Vec<FoldUse>,
    /// The tables it reads; readings of rules are none.
    pub tables: BTreeSet<String>,
    /// The rules whose readings it reads.
    pub reads: BTreeSet<String>,
    /// The reference tables it reads.
    pub references: BTreeSet<String>,
    /// True where another rule reads its readings.
    pub is_read: bool,
    /// Its output: what its SQL says, and behind it the columns of its history.
    pub output: Output,
    /// What it remembers.
    pub history: History,
    /// The series that should be there.
    pub expected: Vec<Expected>,
    /// How it finds out what is behind a breach.
    pub diagnosis: Option<Diagnosis>,
    /// True where its series are spread over partitions; false keeps them in partition 0.
    pub spread: bool,
    /// The bands of its levels, where its predicates are intervals of `value`.
    pub bands: Option<Bands>,
    /// The predicates over the output.
    pub predicates: Predicates,
    /// The rest of its plan, for people.
    pub rest_plan: String,
    /// The rest of its plan. One window is evaluated at a time.
    pub rest: Mutex<Rest>,
}

/// A series that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The series as canonical JSON.
    pub series: Arc<str>,
    /// What decides its partition: see [`crate::spread`].
    pub home: String,
}

/// What the columns of a rule's output are for.
#[derive(Debug, Clone)]
pub struct Output {
    /// The output as Arrow sees it.
    pub schema: SchemaRef,
    /// The columns that name a series.
    pub keys: Vec<usize>,
    /// How many columns the SQL gives; those of the history stand behind them.
    pub of_sql: usize,
    /// The column `value`.
    pub value: usize,
    /// The column `samples`.
    pub samples: Option<usize>,
    /// Other texts.
    pub labels: Vec<usize>,
    /// Other numbers.
    pub measures: Vec<usize>,
}

/// Predicates over the output, ready to run.
#[derive(Debug, Clone, Default)]
pub struct Predicates {
    /// When a reading is of a level.
    pub levels: BTreeMap<Level, Arc<dyn PhysicalExpr>>,
    /// When a level is left.
    pub until: BTreeMap<Level, Arc<dyn PhysicalExpr>>,
    /// Which readings are judged.
    pub judge_when: Option<Arc<dyn PhysicalExpr>>,
}

/// How many compiled rule sets are kept.
const RULE_SETS_MAX: usize = 32;

/// A short hash of a text, in hexadecimal.
pub fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The full SHA-256 of bytes, in hexadecimal.
pub fn hash_bytes(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl RuleSet {
    /// Checks and plans all files together. Every problem of every file is in the answer; the set holds the rules
    /// that have none. Rules come after those whose readings they read.
    pub fn compile(files: Files, settings: Settings) -> (Self, Vec<Diagnostic>) {
        let (catalog, rules, problems) = compile::all(&files);
        let folds = plan::share(rules.iter().flat_map(|rule| rule.all_folds()));
        let mut content = format!("{settings:?}");
        for source in files.rules.iter().chain(&files.tables).chain(&files.references).chain(&files.beside) {
            // The same files are the same set wherever they are mounted.
            let path: Vec<&str> = source.path.rsplit(['/', '\\']).take(2).collect();
            content += &format!("\n{path:?}\n{}", source.text);
        }
        (Self { hash: hash(&content), files, settings, catalog, rules, folds }, problems)
    }

    /// The widths of all panes together: sections are cut on multiples of this.
    pub fn pane_ms(&self) -> i64 {
        self.folds.values().map(|fold| fold.pane_ms).fold(0, crate::panes::gcd)
    }

    /// The tables that some rule reads; readings of rules are none.
    pub fn tables(&self) -> BTreeSet<String> {
        let tables = self.folds.values().map(|fold| &fold.table).filter(|table| table.rule.is_none());
        tables.map(|table| table.name.clone()).collect()
    }

    /// True where one of the problems keeps the set from running.
    pub fn broken(problems: &[Diagnostic]) -> bool {
        problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The rule of that name.
    pub fn rule(&self, name: &str) -> Option<&Arc<Rule>> {
        self.rules.iter().find(|rule| rule.header.name == name)
    }
}

/// Compiled rule sets by hash: what runs in one process shares them.
#[derive(Debug, Clone, Default)]
pub struct RuleSets(Arc<Mutex<Vec<Arc<RuleSet>>>>);

impl RuleSets {
    /// Adds a set.
    pub fn add(&self, set: &Arc<RuleSet>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().all(|other| other.hash != set.hash) {
            // Those that were in force long ago can be compiled again.
            let needless = known.len().saturating_sub(RULE_SETS_MAX);
            known.drain(..needless);
            known.push(Arc::clone(set));
        }
    }

    /// The set of that hash, compiled from files where it is not known. The error is the first problem.
    pub fn get(
        &self,
        hash: &str,
        files: impl FnOnce() -> Files,
        settings: Settings,
    ) -> std::result::Result<Arc<RuleSet>, String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = known.iter().find(|set| set.hash == hash) {
            return Ok(Arc::clone(set));
        }
        drop(known);
        let (set, problems) = RuleSet::compile(files(), settings);
        if let Some(problem) = problems.iter().find(|problem| problem.severity == Severity::Error) {
            return Err(format!("{}: {}", problem.source.path, problem.message));
        }
        let set = Arc::new(set);
        self.add(&set);
        Ok(set)
    }
}

impl Rule {
    /// The windows it reads, and those that say what is behind a breach.
    pub fn all_folds(&self) -> impl Iterator<Item = &FoldUse> {
        self.folds.iter().chain(self.diagnosis.iter().flat_map(|diagnosis| [&diagnosis.now, &diagnosis.before]))
    }

    /// The longest of its windows, in milliseconds.
    pub fn size_ms(&self) -> i64 {
        self.folds.iter().map(|fold| fold.hop.size_ms).max().unwrap_or(self.slide_ms)
    }

    /// True where a series should be there.
    pub fn expects(&self, series: &str) -> bool {
        self.expected.binary_search_by(|expected| expected.series.as_ref().cmp(series)).is_ok()
    }

    /// True where its readings are remembered beyond their window: by its own history, or by a rule that reads them.
    pub fn remembered(&self) -> bool {
        self.is_read || !self.history.is_empty()
    }
}

/// The rows of a rule at each window end by the batch query over all events, without folds: what every other way of
/// evaluating the rule must equal.
pub fn batch(
    rule: &Rule,
    catalog: &Arc<Catalog>,
    tables: BTreeMap<String, arrow::array::RecordBatch>,
    ends: &[i64],
) -> QueryResult<Vec<arrow::array::RecordBatch>> {
    let cell = WindowCell::default();
    let windows = rest::AllEvents { tables, cell: cell.clone() };
    let state = session::session(catalog, Arc::new(windows), &cell)?;
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(rule.sql.statement.clone()));
    let logical = futures::executor::block_on(state.statement_to_plan(statement))?;
    let optimised = state.optimize(&logical)?;
    let rest = Rest::new(&optimised, state, cell, Vec::new(), rule.output.keys.clone(), rule.output.value)?;
    ends.iter().map(|end| rest.run(*end, Vec::new())).collect()
}
