//! From files to rules: each is parsed and planned, in an order in which a rule comes after those whose readings it
//! reads, and then all are spread so that what is read together lies together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use arrow::datatypes::DataType;
use datafusion::{
    common::{DFSchema, DataFusionError, plan_err},
    execution::session_state::SessionState,
    logical_expr::Expr,
    physical_expr::PhysicalExpr,
};

use super::{
    Expected, Files, Output, Predicates, Rule, RuleSet,
    catalog::{self, Catalog, OF_RULE},
    check, checked, defaults,
    diagnostics::{Diagnostic, Source, did_you_mean},
    functions::WindowCell,
    hash,
    header::{self, Header, Silence},
    history,
    levels::{Bands, Level},
    plan, planner,
    rest::Rest,
    samples,
    series::{canonical, key_value},
    session, sql, template,
};
use crate::spread::key_text;

/// How many bytes all files of a rule set may have: it travels as one record, which compressed is well below what topics take.
const SET_BYTES_MAX: usize = 4 << 20;

/// A rule that was parsed but not planned.
struct Draft {
    source: Arc<Source>,
    header: Header,
    sql_start: usize,
    parsed: sql::Parsed,
    defaults: String,
}

/// Compiles all files: the catalog, the rules that have no error, and every problem.
pub(super) fn all(files: &Files) -> (Arc<Catalog>, Vec<Arc<Rule>>, Vec<Diagnostic>) {
    let (mut catalog, mut problems) = catalog::load(&files.tables, &files.references);
    let (folders, found) = defaults::load(&files.beside);
    problems.extend(found);
    let mut drafts: Vec<Draft> = Vec::new();
    for source in &files.rules {
        match draft(source, &folders) {
            Ok(draft) => match drafts.iter().find(|other| other.header.name == draft.header.name) {
                Some(other) => {
                    let message = format!("the name `{}` is taken by {}", draft.header.name, other.source.path);
                    let at = source.text.find("name:").map_or(0..0, |at| at..at + 5);
                    let hint = "a rule's name is its identity: give each its own";
                    problems.push(Diagnostic::error("name-twice", source, at, message, hint));
                }
                None => drafts.push(draft),
            },
            Err(found) => problems.extend(found),
        }
    }
    let (drafts, found) = in_order(drafts);
    problems.extend(found);
    let mut rules: Vec<Rule> = Vec::new();
    let mut compiled: Vec<Compiled> = Vec::new();
    for draft in drafts {
        let now = Arc::new(catalog.clone());
        match compile(draft, &now, files) {
            Ok((rule, spreadable, warnings)) => {
                problems.extend(warnings);
                let readings = catalog::readings_of(&rule.header.name, &rule.output.schema);
                catalog.readings.insert(readings.name.clone(), Arc::new(readings));
                compiled.push(Compiled { spread: spreadable.keys().cloned().collect(), spreadable });
                rules.push(rule);
            }
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(too_large(files));
    spread(&mut rules, &mut compiled);
    let rules = rules.into_iter().map(Arc::new).collect();
    check::suppress(&mut problems, &files.rules);
    (Arc::new(catalog), rules, problems)
}

/// A rule set is one record of the log.
fn too_large(files: &Files) -> Option<Diagnostic> {
    let all = || [&files.rules, &files.tables, &files.references, &files.beside].into_iter().flatten();
    let bytes: usize = all().map(|source| source.text.len()).sum();
    let largest = all().max_by_key(|source| source.text.len()).filter(|_| bytes > SET_BYTES_MAX)?;
    let message = format!(
        "all files together have {bytes} bytes, and a rule set has at most {SET_BYTES_MAX}; this one is the largest"
    );
    let hint = "leave out what no rule uses, and keep large reference data where events come from";
    Some(Diagnostic::error("too-large", largest, 0..0, message, hint))
}

fn draft(source: &Arc<Source>, folders: &defaults::Folders) -> Result<Draft, Vec<Diagnostic>> {
    let defaults = defaults::of(&source.path, folders);
    let (header, sql_start) = match header::split(source, &defaults) {
        Ok(header::RuleText { header, sql_start }) => (header, sql_start),
        Err(mut problems) => {
            // A mistake in the header does not hide those of the SQL.
            if source.text.len() <= sql::BYTES_MAX
                && let Some(sql_start) = source.text.find("*/").map(|at| at + 2)
            {
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
    Ok(Draft { source: Arc::clone(source), header, sql_start, parsed, defaults: format!("{defaults:?}") })
}

impl Draft {
    /// The rules whose readings it reads.
    fn reads(&self) -> BTreeSet<String> {
        self.parsed.hops.iter().filter_map(|(table, _)| table.strip_prefix(OF_RULE)).map(str::to_owned).collect()
    }
}

/// Rules after those they read, otherwise by name. Those that read each other in a circle are refused.
fn in_order(mut drafts: Vec<Draft>) -> (Vec<Draft>, Vec<Diagnostic>) {
    drafts.sort_by(|a, b| a.header.name.cmp(&b.header.name));
    let mut ordered: Vec<Draft> = Vec::new();
    loop {
        let names: BTreeSet<String> = drafts.iter().map(|draft| draft.header.name.clone()).collect();
        let (ready, waiting): (Vec<Draft>, Vec<Draft>) =
            drafts.into_iter().partition(|draft| draft.reads().is_disjoint(&names));
        drafts = waiting;
        if ready.is_empty() {
            break;
        }
        ordered.extend(ready);
    }
    let names: Vec<String> = drafts.iter().map(|draft| draft.header.name.clone()).collect();
    let one = |draft: &Draft| {
        let message = format!("rules read each other in a circle: {}", names.join(", "));
        let read = draft.reads().into_iter().find(|read| names.contains(read)).unwrap_or_default();
        let place = check::find(&draft.source, draft.sql_start, &format!("{OF_RULE}{read}"));
        Diagnostic::error("circle", &draft.source, place, message, "let one of them read tables alone")
    };
    let problems = drafts.iter().map(one).collect();
    (ordered, problems)
}

/// For output columns that can spread a rule: the key of each of its folds, diagnosis last.
type Spreadable = BTreeMap<String, Vec<usize>>;

struct Compiled {
    spreadable: Spreadable,
    /// The columns that spread it, by name.
    spread: BTreeSet<String>,
}

fn compile(
    draft: Draft,
    catalog: &Arc<Catalog>,
    files: &Files,
) -> Result<(Rule, Spreadable, Vec<Diagnostic>), Vec<Diagnostic>> {
    let Draft { source, header, sql_start, parsed, defaults } = draft;
    let source = &source;
    let reads: BTreeSet<String> =
        parsed.hops.iter().filter_map(|(table, _)| table.strip_prefix(OF_RULE)).map(str::to_owned).collect();
    let planning = |error: &DataFusionError| vec![planner::problem(error, source, sql_start, catalog)];
    let cell = WindowCell::default();
    let state = session::session(catalog, Arc::new(session::ToBeCut), &cell).map_err(|error| planning(&error))?;
    let statement = datafusion::sql::parser::Statement::Statement(Box::new(parsed.statement.clone()));
    let logical = futures::executor::block_on(state.statement_to_plan(statement)).map_err(|error| planning(&error))?;
    let references = |name: &str| catalog.references.contains_key(name);
    let refused = check::refused(&logical, &references, source, sql_start);
    if !refused.is_empty() {
        return Err(refused);
    }
    let optimised = state.optimize(&logical).map_err(|error| planning(&error))?;
    let mut cut = plan::cut(optimised, source, sql_start)?;
    let mut problems = check::of_sql(&logical, &cut, &parsed, source, sql_start);

    let mut output = check::output(&header, &logical, source, sql_start)?;
    problems.extend(check::of_series(&cut, &output, source, sql_start));
    problems.extend(zero_keys(&header, &mut cut, &output, source));
    let size_ms = cut.folds.iter().map(|fold| fold.hop.size_ms).max().unwrap_or(1);
    let (mut history, with_history, found) =
        history::compile(&header, &output.schema, parsed.slide_ms(), size_ms, &state, source);
    problems.extend(found);
    output.measures.extend(output.of_sql..with_history.fields().len());
    output.schema = with_history;
    let (predicates, found) = predicates(&header, &output, &state, source);
    problems.extend(found);
    let texts = header.levels.iter().map(|(level, predicate)| (*level, predicate.sql.as_str())).collect();
    let bands = Bands::new(&texts);
    problems.extend(check::levels(&header, bands.as_ref(), &parsed, source));
    problems.extend(check::people(&header, source));
    problems.extend(template::check(&header, &output, source));
    let (expected, found) = expected(&header, &output, catalog, source);
    problems.extend(found);
    let diagnosis = match samples::diagnosis(&header, &cut, &output, &state, source) {
        Ok(diagnosis) => diagnosis,
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    let beside = format!("{}{}", source.path.trim_end_matches(".sql"), history::LEARNT);
    if let Some(file) = files.beside.iter().find(|file| file.path == beside) {
        match history::learnt(file) {
            Ok(learnt) => history.learnt = learnt,
            Err(problem) => problems.push(problem),
        }
    }
    if RuleSet::broken(&problems) {
        return Err(problems);
    }
    let cells = cut.folds.iter().map(|fold| fold.cell.clone()).collect();
    let rest = Rest::new(&cut.rest, state, cell, cells, output.keys.clone(), output.value)
        .map_err(|error| planning(&error))?;
    let spreadable = spreadable(&cut, &output, diagnosis.as_ref());
    let mut scanned = plan::scans(&logical);
    scanned.extend(header.expect.as_ref().map(|expect| expect.table.clone()));
    let used = cut.folds.iter().map(|fold| &fold.spec.table);
    let tables: BTreeSet<String> = used.filter(|table| table.rule.is_none()).map(|table| table.name.clone()).collect();
    let references: BTreeSet<String> =
        scanned.into_iter().filter(|name| catalog.references.contains_key(name)).collect();
    let facts: String = references.iter().map(|name| format!("{:?}", catalog.references[name].batch)).collect();
    let schemas: String =
        tables.iter().filter_map(|name| catalog.tables.get(name)).map(|table| format!("{:?}", table.columns)).collect();
    let learnt = if history.learnt.is_empty() { String::new() } else { format!("{:?}", history.learnt) };
    let silence = (&header.key, header.no_data.silence, &expected, header.allowed_lateness_ms, header.max_series);
    let rule = Rule {
        says: hash(&format!("{}|{schemas}|{facts}|{silence:?}", &source.text[sql_start..])),
        version: hash(&format!("{}|{schemas}|{facts}|{defaults}|{learnt}", source.text)),
        slide_ms: parsed.slide_ms(),
        sql: parsed,
        header,
        source: Arc::clone(source),
        folds: cut.folds,
        tables,
        reads,
        references,
        is_read: false,
        output,
        history,
        expected,
        diagnosis,
        spread: false,
        bands,
        predicates,
        rest_plan: cut.rest.display_indent().to_string(),
        rest: Mutex::new(rest),
    };
    Ok((rule, spreadable, problems))
}

/// The output columns that can spread a rule: keys of the series that every fold has.
fn spreadable(cut: &plan::Cut, output: &Output, diagnosis: Option<&plan::Diagnosis>) -> Spreadable {
    if !cut.by_series {
        return Spreadable::new();
    }
    let mut columns = Spreadable::new();
    for key in &output.keys {
        let name = output.schema.field(*key).name();
        let mut keys: Vec<Option<usize>> = cut
            .folds
            .iter()
            .enumerate()
            .map(|(at, fold)| {
                let (_, key) = cut.lineage[*key].iter().find(|(of, _)| *of == at)?;
                // Readings lie where their own rule put them: by a column of the same name.
                let same = match &fold.spec.keys[*key] {
                    Expr::Column(column) => column.name == *name,
                    _ => false,
                };
                (fold.spec.table.rule.is_none() || same).then_some(*key)
            })
            .collect();
        keys.extend(diagnosis.map(|diagnosis| diagnosis.keys.iter().position(|of| of == key)));
        if let Some(keys) = keys.into_iter().collect::<Option<Vec<usize>>>() {
            columns.insert(name.clone(), keys);
        }
    }
    columns
}

/// Spreads the series of all rules. A rule that reads readings lies where these lie, so they may be spread only by
/// columns that it has as keys too.
fn spread(rules: &mut [Rule], compiled: &mut [Compiled]) {
    let at: BTreeMap<String, usize> =
        rules.iter().enumerate().map(|(at, rule)| (rule.header.name.clone(), at)).collect();
    loop {
        let mut changed = false;
        for reader in 0..rules.len() {
            let read: Vec<usize> = rules[reader].reads.iter().filter_map(|name| at.get(name)).copied().collect();
            let mut common = compiled[reader].spread.clone();
            for one in &read {
                common.retain(|column| compiled[*one].spread.contains(column));
            }
            for one in read.iter().chain([&reader]) {
                changed |= compiled[*one].spread != common && !read.is_empty();
                if !read.is_empty() {
                    compiled[*one].spread.clone_from(&common);
                }
            }
        }
        if !changed {
            break;
        }
    }
    let read: BTreeSet<String> = rules.iter().flat_map(|rule| rule.reads.clone()).collect();
    for (rule, compiled) in rules.iter_mut().zip(compiled) {
        rule.is_read = read.contains(&rule.header.name);
        rule.spread = !compiled.spread.is_empty();
        let mut folds: Vec<&mut plan::FoldUse> = rule.folds.iter_mut().collect();
        if let Some(diagnosis) = &mut rule.diagnosis {
            folds.extend([&mut diagnosis.now, &mut diagnosis.before]);
        }
        let own = rule_folds(&compiled.spreadable);
        for (fold_at, fold) in folds.into_iter().enumerate() {
            // Both windows of a diagnosis have the same keys.
            let place = fold_at.min(own.saturating_sub(1));
            fold.spec.spread = compiled.spread.iter().map(|column| compiled.spreadable[column][place]).collect();
            fold.ids = plan::FoldIds::new(&fold.spec);
        }
        let columns: Vec<usize> = rule
            .output
            .keys
            .iter()
            .copied()
            .filter(|key| compiled.spread.contains(rule.output.schema.field(*key).name()))
            .collect();
        homes(rule, &columns);
    }
}

/// How many folds a rule has, a diagnosis counted once.
fn rule_folds(spreadable: &Spreadable) -> usize {
    spreadable.values().next().map_or(0, Vec::len)
}

/// Where the expected series lie, by the columns that spread the rule.
fn homes(rule: &mut Rule, columns: &[usize]) {
    let mut names: Vec<String> = columns.iter().map(|at| rule.output.schema.field(*at).name().clone()).collect();
    names.sort();
    for expected in &mut rule.expected {
        let json: BTreeMap<String, serde_json::Value> = serde_json::from_str(&expected.series).unwrap_or_default();
        let keys: Vec<arrow::array::ArrayRef> = names
            .iter()
            .map(|name| {
                let text = json.get(name).and_then(|value| match value {
                    serde_json::Value::Null => None,
                    serde_json::Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                });
                Arc::new(arrow::array::StringArray::from(vec![text])) as arrow::array::ArrayRef
            })
            .collect();
        expected.home = key_text(&keys, 0).unwrap_or_default();
    }
}

/// The series that should be there.
fn expected(
    header: &Header,
    output: &Output,
    catalog: &Catalog,
    source: &Arc<Source>,
) -> (Vec<Expected>, Option<Diagnostic>) {
    let Some(expect) = &header.expect else { return (Vec::new(), None) };
    let wrong = |message: String, hint: String| {
        (Vec::new(), Some(Diagnostic::error("expect", source, expect.span.clone(), message, hint)))
    };
    let Some(reference) = catalog.references.get(&expect.table) else {
        let hint = did_you_mean(&expect.table, catalog.references.keys().map(String::as_str));
        return wrong(format!("there is no reference table `{}`", expect.table), hint);
    };
    let keys: Vec<&str> = output.keys.iter().map(|at| output.schema.field(*at).name().as_str()).collect();
    let named: BTreeSet<&str> = expect.columns.iter().map(String::as_str).collect();
    if named != keys.iter().copied().collect() {
        let message = format!("`expect` names {}, and a series is {}", expect.columns.join(", "), keys.join(", "));
        return wrong(message, format!("expect: {}({})", expect.table, keys.join(", ")));
    }
    let mut columns = Vec::new();
    for (at, name) in output.keys.iter().zip(&keys) {
        let Some(column) = reference.batch.column_by_name(name) else {
            let schema = reference.batch.schema();
            let hint = did_you_mean(name, schema.fields().iter().map(|field| field.name().as_str()));
            return wrong(format!("`{}` has no column `{name}`", expect.table), hint);
        };
        match arrow::compute::cast(column, output.schema.field(*at).data_type()) {
            Ok(column) => columns.push(((*name).to_owned(), column)),
            Err(error) => return wrong(error.to_string(), String::new()),
        }
    }
    let mut seen = BTreeSet::new();
    for row in 0..reference.batch.num_rows() {
        let one = |(name, column): &(String, arrow::array::ArrayRef)| {
            (name.clone(), key_value(column, row).unwrap_or_default())
        };
        seen.insert(canonical(columns.iter().map(one).collect()));
    }
    let expected = seen.into_iter().map(|series| Expected { series: series.into(), home: String::new() });
    (expected.collect(), None)
}

/// Where silence is zero, each fold must be keyed by the series alone, so that a silent series has a row of nothing.
fn zero_keys(header: &Header, cut: &mut plan::Cut, output: &Output, source: &Arc<Source>) -> Option<Diagnostic> {
    if header.no_data.silence != Silence::Zero {
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
    let of_sql = Arc::new(arrow::datatypes::Schema::new(output.schema.fields()[..output.of_sql].to_vec()));
    let mut compile = |predicate: &header::Predicate,
                       schema: &arrow::datatypes::SchemaRef|
     -> Option<Arc<dyn PhysicalExpr>> {
        let named = DFSchema::try_from(schema.as_ref().clone()).unwrap_or_else(|_| DFSchema::empty());
        let mut numbers = None;
        let mut physical = || -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
            let expr = state.create_logical_expr(&predicate.sql, &named)?;
            if let Some(name) = check::forbidden(&expr) {
                return plan_err!("`{name}` is not allowed here");
            }
            numbers = check::numbers(&expr, &named);
            state.create_physical_expr(checked::rewrite(expr, &named)?.data, &named)
        };
        let compiled = physical();
        if let Some((severity, code, message, hint)) = numbers {
            let problem = Diagnostic::warning(code, source, predicate.span.clone(), message, hint);
            problems.push(Diagnostic { severity, ..problem });
        }
        match compiled {
            Ok(expr) if expr.data_type(schema).is_ok_and(|kind| kind == DataType::Boolean) => Some(expr),
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
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let of_history = header.history.iter().any(|(name, _)| {
                    schema.fields().len() == output.of_sql && planner::short(&error).contains(&format!("named {name}"))
                });
                let called = history::FUNCTIONS.iter().find(|name| predicate.sql.contains(&format!("{name}(")));
                let hint = match called {
                    _ if of_history => {
                        "judge_when cannot ask the history: what is not judged teaches it nothing".to_owned()
                    }
                    Some(name) => format!("{name} belongs into `history:`, and its name here"),
                    None => format!("a predicate is SQL over the output columns: {}", columns.join(", ")),
                };
                let message = planner::short(&error);
                problems.push(Diagnostic::error("predicate", source, predicate.span.clone(), message, hint));
                None
            }
        }
    };
    let mut all = |predicates: &BTreeMap<Level, header::Predicate>| {
        predicates.iter().filter_map(|(level, p)| Some((*level, compile(p, &output.schema)?))).collect()
    };
    let levels = all(&header.levels);
    let until = all(&header.until);
    // Whether a reading is judged decides whether it teaches anything, so it cannot ask the history.
    let judge_when = header.judge_when.as_ref().and_then(|predicate| compile(predicate, &of_sql));
    (Predicates { levels, until, judge_when }, problems)
}
