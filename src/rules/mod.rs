//! Rules: `(path, text)` in, checked rules or every problem out. Reads no file and knows no clock.
//!
//! A file is parted ([`header`]), parsed ([`sql`]), planned ([`session`]), cut into folds and the rest ([`plan`]),
//! and its levels are read ([`levels`]). Rules that ask for the same fold share it.

pub mod aggregates;
pub mod catalog;
pub mod check;
pub mod diagnostics;
pub mod functions;
pub mod header;
pub mod levels;
pub mod plan;
pub mod planner;
pub mod rest;
pub mod session;
pub mod sql;
pub mod template;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{DFSchema, Result as QueryResult},
    execution::session_state::SessionState,
    physical_expr::PhysicalExpr,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::{
    catalog::Catalog,
    diagnostics::{Diagnostic, Severity, Source},
    functions::WindowCell,
    header::Header,
    levels::{Bands, Level},
    plan::{FoldSpec, FoldUse},
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
    /// Its SQL.
    pub sql: sql::Parsed,
    /// How often it is evaluated, in milliseconds.
    pub slide_ms: i64,
    /// The windows it reads, with the folds they are put together from.
    pub folds: Vec<FoldUse>,
    /// The tables it reads.
    pub tables: BTreeSet<String>,
    /// Its output.
    pub output: Output,
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

/// What the columns of a rule's output are for.
#[derive(Debug, Clone)]
pub struct Output {
    /// The output as Arrow sees it.
    pub schema: SchemaRef,
    /// The columns that name a series.
    pub keys: Vec<usize>,
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
    /// that have none.
    pub fn compile(files: Files, settings: Settings) -> (Self, Vec<Diagnostic>) {
        let (catalog, mut problems) = catalog::load(&files.tables, &files.references);
        let catalog = Arc::new(catalog);
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        for source in &files.rules {
            match compile_rule(source, &catalog) {
                Ok((rule, warnings)) => {
                    problems.extend(warnings);
                    if let Some(other) = rules.iter().find(|other| other.header.name == rule.header.name) {
                        let message = format!("the name `{}` is taken by {}", rule.header.name, other.source.path);
                        let at = source.text.find("name:").map_or(0..0, |at| at..at + 5);
                        problems.push(Diagnostic::error(
                            "name-twice",
                            source,
                            at,
                            message,
                            "a rule's name is its identity: give each its own",
                        ));
                    } else {
                        rules.push(Arc::new(rule));
                    }
                }
                Err(found) => problems.extend(found),
            }
        }
        rules.sort_by(|a, b| a.header.name.cmp(&b.header.name));
        let folds = plan::share(rules.iter().flat_map(|rule| &rule.folds));
        let mut content = format!("{settings:?}");
        for source in files.rules.iter().chain(&files.tables).chain(&files.references) {
            content += &format!("\n{}\n{}", source.path, source.text);
        }
        (Self { hash: hash(&content), files, settings, catalog, rules, folds }, problems)
    }

    /// The widths of all panes together: sections are cut on multiples of this.
    pub fn pane_ms(&self) -> i64 {
        self.folds.values().map(|fold| fold.pane_ms).fold(0, crate::panes::gcd)
    }

    /// The tables that some rule reads.
    pub fn tables(&self) -> BTreeSet<String> {
        self.folds.values().map(|fold| fold.table.name.clone()).collect()
    }

    /// True where one of the problems keeps the set from running.
    pub fn broken(problems: &[Diagnostic]) -> bool {
        problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

/// Compiles one rule against the catalog; warnings come beside it.
pub fn compile_rule(source: &Arc<Source>, catalog: &Arc<Catalog>) -> Result<(Rule, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (header, sql_start) = match header::split(source) {
        Ok(header::RuleText { header, sql_start }) => (header, sql_start),
        Err(mut problems) => {
            // A mistake in the header does not hide those of the SQL.
            if let Some(sql_start) = source.text.find("*/").map(|at| at + 2) {
                problems.extend(sql::parse(source, sql_start).err().into_iter().flatten());
            }
            return Err(problems);
        }
    };
    let parsed = sql::parse(source, sql_start)?;
    let mut problems = planner::refused_joins(&parsed, source);
    problems.extend(check::slides(&parsed, source, sql_start));
    if !problems.is_empty() {
        return Err(problems);
    }
    let planning =
        |error: &datafusion::common::DataFusionError| vec![planner::problem(error, source, sql_start, catalog)];
    let cell = WindowCell::default();
    let state = session::session(catalog, Arc::new(session::ToBeCut), &cell).map_err(|error| planning(&error))?;
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(parsed.statement.clone()));
    let logical = futures::executor::block_on(state.statement_to_plan(statement)).map_err(|error| planning(&error))?;
    let optimised = state.optimize(&logical).map_err(|error| planning(&error))?;
    let mut cut = plan::cut(optimised, source, sql_start)?;
    problems.extend(check::divisions(&logical, source, sql_start));
    problems.extend(check::limits(&logical, source, sql_start));
    problems.extend(check::never(&cut, source, sql_start));

    let output = check::output(&header, &logical, source, sql_start)?;
    problems.extend(check::masked(&cut, &output, source, sql_start));
    let spread = spread(&mut cut, &output);
    problems.extend(zero_keys(&header, &mut cut, &output, source));
    let (predicates, found) = predicates(&header, &output, &state, source);
    problems.extend(found);
    let texts = header.levels.iter().map(|(level, predicate)| (*level, predicate.sql.as_str())).collect();
    let bands = Bands::new(&texts);
    problems.extend(check::levels(&header, bands.as_ref(), &parsed, source));
    problems.extend(check::people(&header, source));
    problems.extend(check::without_effect(&header, source));
    problems.extend(template::check(&header, &output, source));
    if RuleSet::broken(&problems) {
        return Err(problems);
    }
    let cells = cut.folds.iter().map(|fold| fold.cell.clone()).collect();
    let rest = Rest::new(&cut.rest, state, cell, cells, output.keys.clone(), output.value)
        .map_err(|error| planning(&error))?;
    let tables: BTreeSet<String> = cut.folds.iter().map(|fold| fold.spec.table.name.clone()).collect();
    let references: String = catalog.references.values().map(|reference| format!("{:?}", reference.batch)).collect();
    let schemas: String =
        tables.iter().filter_map(|name| catalog.tables.get(name)).map(|table| format!("{:?}", table.columns)).collect();
    let rule = Rule {
        version: hash(&format!("{}|{schemas}|{references}", source.text)),
        slide_ms: parsed.slide_ms(),
        sql: parsed,
        header,
        source: Arc::clone(source),
        folds: cut.folds,
        tables,
        output,
        spread,
        bands,
        predicates,
        rest_plan: cut.rest.display_indent().to_string(),
        rest: Mutex::new(rest),
    };
    Ok((rule, problems))
}

/// Spreads the series by the key columns that every fold has; answers whether there are any.
fn spread(cut: &mut plan::Cut, output: &Output) -> bool {
    if !cut.by_series {
        return false;
    }
    let mut by_fold: Vec<Vec<usize>> = vec![Vec::new(); cut.folds.len()];
    for key in &output.keys {
        let keys: Vec<Option<usize>> = (0..cut.folds.len())
            .map(|fold| cut.lineage[*key].iter().find(|(of, _)| *of == fold).map(|(_, key)| *key))
            .collect();
        if keys.iter().all(Option::is_some) {
            for (spread, key) in by_fold.iter_mut().zip(keys.into_iter().flatten()) {
                spread.push(key);
            }
        }
    }
    let any = by_fold.first().is_some_and(|spread| !spread.is_empty());
    if any {
        for (fold, spread) in cut.folds.iter_mut().zip(by_fold) {
            fold.spec.spread = spread;
            fold.ids = plan::FoldIds::new(&fold.spec);
        }
    }
    any
}

/// Where silence is zero, each fold must be keyed by the series alone, so that a silent series has a row of nothing.
fn zero_keys(header: &Header, cut: &mut plan::Cut, output: &Output, source: &Arc<Source>) -> Option<Diagnostic> {
    if header.no_data.silence != header::Silence::Zero {
        return None;
    }
    for (at, fold) in cut.folds.iter_mut().enumerate() {
        let of = |key: usize| output.keys.iter().position(|column| cut.lineage[*column].contains(&(at, key)));
        match (0..fold.spec.keys.len()).map(of).collect::<Option<Vec<usize>>>() {
            Some(keys) => fold.zero_keys = keys,
            None => {
                let place = source.text.find("no_data:").map_or(0..0, |at| at..at + 8);
                return Some(Diagnostic::error(
                    "zero",
                    source,
                    place,
                    "silence cannot be zero here: the rule groups by more than the series' key",
                    "use as: hold, warning or critical",
                ));
            }
        }
    }
    None
}

fn predicates(
    header: &Header,
    output: &Output,
    state: &SessionState,
    source: &Arc<Source>,
) -> (Predicates, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let schema = DFSchema::try_from(output.schema.as_ref().clone()).unwrap_or_else(|_| DFSchema::empty());
    let mut compile = |predicate: &header::Predicate| -> Option<Arc<dyn PhysicalExpr>> {
        let physical = || -> QueryResult<Arc<dyn PhysicalExpr>> {
            let expr = state.create_logical_expr(&predicate.sql, &schema)?;
            state.create_physical_expr(expr, &schema)
        };
        match physical() {
            Ok(expr)
                if expr.data_type(&output.schema).is_ok_and(|kind| kind == arrow::datatypes::DataType::Boolean) =>
            {
                Some(expr)
            }
            Ok(_) => {
                problems.push(Diagnostic::error(
                    "predicate",
                    source,
                    predicate.span.clone(),
                    format!("`{}` is not true or false", predicate.sql),
                    "write a comparison, such as value > 1",
                ));
                None
            }
            Err(error) => {
                let message = error.strip_backtrace();
                let message = message
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .trim_start_matches("Schema error: ")
                    .trim_start_matches("SQL error: ");
                let message = message
                    .split("ParserError(\"")
                    .last()
                    .unwrap_or(message)
                    .split(" at Line:")
                    .next()
                    .unwrap_or(message);
                let message = message.split(" Valid fields are").next().unwrap_or(message).to_owned();
                let columns: Vec<&str> = output.schema.fields().iter().map(|field| field.name().as_str()).collect();
                let hint = format!("a predicate is SQL over the output columns: {}", columns.join(", "));
                problems.push(Diagnostic::error("predicate", source, predicate.span.clone(), message, hint));
                None
            }
        }
    };
    let mut all = |predicates: &BTreeMap<Level, header::Predicate>| {
        predicates.iter().filter_map(|(level, p)| Some((*level, compile(p)?))).collect()
    };
    let levels = all(&header.levels);
    let until = all(&header.until);
    let judge_when = header.judge_when.as_ref().and_then(&mut compile);
    (Predicates { levels, until, judge_when }, problems)
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
