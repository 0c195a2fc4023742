//! `tierwatch new`: a rule to begin with, and its test.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::Args;

use super::{FOUND, MISUSED, Outcome, print, say, settings, show};
use crate::{
    config::Config,
    files,
    rule_test::{self, ENDING},
    rules::{Files, RuleSet, diagnostics::Source},
    scaffold::{Answers, Draft, Flag, Known, rule_text, test_text},
};

/// What `new` was asked for.
#[derive(Debug, Args)]
pub(super) struct New {
    /// The rule's name: lower-case letters, digits and _
    name: String,
    /// The table whose events are watched
    #[arg(long)]
    table: Option<String>,
    /// What is measured: ratio, count, rate, sum, average, percentile, maximum or age
    #[arg(long)]
    measure: Option<String>,
    /// The column that is measured
    #[arg(long)]
    column: Option<String>,
    /// Which part of the values a percentile is of [default: 0.95]
    #[arg(long, value_name = "PART")]
    percentile: Option<String>,
    /// Which events count, as SQL over the table's columns: "status_code >= 500"
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// The columns whose values are the series, with commas between; none for a single series
    #[arg(long, value_name = "COLUMN,…")]
    by: Option<String>,
    /// How long the window is [default: 5m or 1m, and at least two reports]
    #[arg(long, value_name = "SPAN")]
    window: Option<String>,
    /// The unit of the value [default: by the measure and the column's name]
    #[arg(long)]
    unit: Option<String>,
    /// The value beyond which it is a warning; less is worse where critical is less, or with '<0.98'
    #[arg(long, value_name = "LIMIT", allow_hyphen_values = true)]
    warning: Option<String>,
    /// The value beyond which it is critical
    #[arg(long, value_name = "LIMIT", allow_hyphen_values = true)]
    critical: Option<String>,
    /// network, hardware, data or business [default: that of the other rules over the table]
    #[arg(long)]
    tier: Option<String>,
    /// Who mends it [default: who owns the other rules over the table]
    #[arg(long)]
    owner: Option<String>,
    /// Where rules lie; the file goes into the folder of its tier there [default: rules.path of the configuration]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl New {
    fn given(&self, flag: Flag) -> Option<&str> {
        let given = match flag {
            Flag::Table => &self.table,
            Flag::Measure => &self.measure,
            Flag::Column => &self.column,
            Flag::Percentile => &self.percentile,
            Flag::Where => &self.condition,
            Flag::By => &self.by,
            Flag::Window => &self.window,
            Flag::Unit => &self.unit,
            Flag::Warning => &self.warning,
            Flag::Critical => &self.critical,
            Flag::Tier => &self.tier,
            Flag::Owner => &self.owner,
        };
        given.as_deref()
    }

    pub(super) fn run(self, config: &Config) -> Outcome {
        let folder = self.out.clone().unwrap_or_else(|| config.rules.path.clone());
        let mut places = vec![config.rules.path.clone(), folder.clone()];
        places.retain(|path| path.exists());
        let found = files::read_some(&places, &config.tables.path, &config.rules.reference)?;
        // What is wrong with other rules is no reason not to write one.
        let (set, _) = RuleSet::compile(found, settings(config));
        let taken = taken(&set);
        let known = Known { catalog: &set.catalog, rules: &set.rules, taken: &taken };
        let draft = match self.draft(&known) {
            Ok(draft) => draft,
            Err(message) => {
                say(&format!("error: {message}"));
                return Ok(ExitCode::from(MISUSED));
            }
        };
        let draft = if std::io::stdin().is_terminal() {
            ask(draft, &known, &mut std::io::stdin().lock(), &mut std::io::stderr().lock())?
        } else {
            unasked(draft, &known)
        };
        let answers = match draft.and_then(|draft| draft.finish(&known)) {
            Ok(answers) => answers,
            Err(message) => {
                say(&format!("error: {message}"));
                return Ok(ExitCode::from(MISUSED));
            }
        };
        let path = folder.join(answers.tier.name()).join(format!("{}.sql", self.name));
        let rule = Source { path: path.display().to_string(), text: rule_text(&answers) };
        let test = match test_text(&answers) {
            Ok(text) => Source { path: format!("{}{ENDING}", rule.path.trim_end_matches(".sql")), text },
            Err(message) => {
                say(&format!("error: {message}; nothing was written"));
                return Ok(ExitCode::from(FOUND));
            }
        };
        for file in [&rule, &test] {
            if Path::new(&file.path).exists() {
                say(&format!("error: {} is there already and is not written over; choose another name", file.path));
                return Ok(ExitCode::from(MISUSED));
            }
        }
        let beside = if folder.exists() { files::beside(&rule, &[])? } else { Vec::new() };
        let files = Files { rules: vec![Arc::new(rule.clone())], beside, ..set.files.clone() };
        if !passes(&files, &test, config) {
            return Ok(ExitCode::from(FOUND));
        }
        write(&rule)?;
        write(&test)?;
        report(&rule.path, &test.path, &answers)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What was said on the command line.
    fn draft(&self, known: &Known<'_>) -> Result<Draft, String> {
        let mut draft = Draft::new(&self.name, known)?;
        for flag in Flag::ALL {
            let Some(answer) = self.given(flag) else { continue };
            draft.take(flag, answer, known).map_err(|message| format!("{} {answer}: {message}", flag.name()))?;
        }
        Ok(draft)
    }
}

/// The names of rules and of files, each with its file.
fn taken(set: &RuleSet) -> BTreeMap<String, String> {
    let stem =
        |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let files = set.files.rules.iter().map(|source| (stem(&source.path), source.path.clone()));
    files.chain(set.rules.iter().map(|rule| (rule.header.name.clone(), rule.source.path.clone()))).collect()
}

/// Without anybody to ask: what has a default takes it, and what has none is missing.
fn unasked(mut draft: Draft, known: &Known<'_>) -> Result<Draft, String> {
    let missing = draft.missing();
    if !missing.is_empty() {
        let half = if missing.contains(&"--critical") { " (one of the last two is enough)" } else { "" };
        return Err(format!(
            "stdin is no terminal, so nothing can be asked; give {} too{half}, as in\n  tierwatch new checkout_errors --table \
             requests --measure ratio --where 'status_code >= 500' --warning 0.01 --critical 0.05",
            missing.join(", ")
        ));
    }
    while let Some(question) = draft.question(known) {
        let Some(answer) = Draft::unasked(&question) else {
            return Err(format!("{} is missing", question.flag.name()));
        };
        draft.take(question.flag, &answer, known)?;
    }
    Ok(draft)
}

/// Asks for what is not known, a line each; an empty line takes the default, and a wrong answer is asked for again.
fn ask(
    mut draft: Draft,
    known: &Known<'_>,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> anyhow::Result<Result<Draft, String>> {
    while let Some(question) = draft.question(known) {
        let default = question.default.as_ref().map(|default| format!(" [{default}]")).unwrap_or_default();
        write!(out, "{}{default}: ", question.text)?;
        out.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            writeln!(out)?;
            return Ok(Err("the answers ended before the last question; nothing was written".into()));
        }
        let answer = match (line.trim(), &question.default) {
            ("", Some(default)) => default.clone(),
            ("", None) => {
                writeln!(out, "  this has no default")?;
                continue;
            }
            (answer, _) => answer.to_owned(),
        };
        if let Err(message) = draft.take(question.flag, &answer, known) {
            writeln!(out, "  {message}")?;
        }
    }
    Ok(Ok(draft))
}

/// Checks and tests what was made; where it does not pass, says why.
fn passes(files: &Files, test: &Source, config: &Config) -> bool {
    let (set, problems) = RuleSet::compile(files.clone(), settings(config));
    let own: Vec<_> = problems
        .into_iter()
        .filter(|problem| files.rules.iter().any(|rule| rule.path == problem.source.path))
        .collect();
    if !own.is_empty() || set.rules.is_empty() {
        show(&own);
        say("error: no rule can be made of these answers as they are; nothing was written");
        return false;
    }
    if set.rules.iter().any(|rule| rule.header.shadow) {
        say(
            "error: a _defaults.yaml above the rule says mode: shadow, and what is in shadow has no breaches to test; nothing \
             was written. Choose another --out, or take the line out for now",
        );
        return false;
    }
    let read = |name: &str| Err(format!("{name} is not read"));
    let failed: Vec<_> = rule_test::run(&Arc::new(test.clone()), files, &read)
        .into_iter()
        .filter(|outcome| !outcome.differences.is_empty())
        .collect();
    for outcome in &failed {
        say(&format!("{}: {}", outcome.name, outcome.differences.join("\n")));
    }
    if !failed.is_empty() {
        say(
            "error: the test that was made of these answers does not pass; nothing was written. Begin with simpler answers, \
             and change the rule and its test then",
        );
    }
    failed.is_empty()
}

/// Writes a file that is not there yet.
fn write(file: &Source) -> anyhow::Result<()> {
    let path = Path::new(&file.path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    out.write_all(file.text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn report(rule: &str, test: &str, answers: &Answers) -> anyhow::Result<()> {
    let (table, worst) = (answers.table_name(), answers.worst());
    print(&format!(
        "{rule}\n{test}\n\n\
         The direction comes from the limits: {worst}.\n\
         Both pass as they are. What next?\n  \
         look at title, limits, owner, description and runbook_url, then\n  \
         tierwatch check {rule}\n  \
         tierwatch test {rule}\n  \
         tierwatch explain {rule}\n  \
         tierwatch backtest {rule} --events {table}=FILE.ndjson    # what it would have said about events of yours"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rules::catalog, scaffold::test_text};

    const TABLE: &str = r#"{"properties": {"event_time": {"type": "string", "format": "date-time"},
        "service": {"type": "string"}, "outcome": {"type": "string", "enum": ["done", "failed"]}},
        "required": ["service", "outcome"]}"#;

    #[test]
    fn a_conversation_takes_defaults_and_asks_again() {
        let table = Arc::new(Source { path: "t/jobs.json".into(), text: TABLE.into() });
        let (catalog, problems) = catalog::load(&[table], &[]);
        assert!(problems.is_empty(), "{problems:?}");
        let (catalog, taken) = (Arc::new(catalog), BTreeMap::new());
        let known = Known { catalog: &catalog, rules: &[], taken: &taken };
        let draft = || Draft::new("failing", &known).unwrap();
        let mut said = Vec::new();
        let mut lines: &[u8] = b"jbos\n\njobs\n\n\n\n\n\n\nthe team\n";
        let done = ask(draft(), &known, &mut lines, &mut said).unwrap().unwrap().finish(&known).unwrap();
        let said = String::from_utf8(said).unwrap();
        for part in [
            "did you mean `jobs`?",
            "this has no default",
            "[ratio]",
            "[outcome = 'failed']",
            "[service]",
            "[0.01]",
            "[0.05]",
            "[business]",
        ] {
            assert!(said.contains(part), "{part} in\n{said}");
        }
        let rule = rule_text(&done);
        assert!(
            rule.contains("count(*) FILTER (WHERE outcome = 'failed')") && rule.contains("owner: the team"),
            "{rule}"
        );
        assert!(test_text(&done).unwrap().contains("outcome: failed"));
        let ended = ask(draft(), &known, &mut &b"jobs\n"[..], &mut Vec::new()).unwrap();
        assert!(ended.unwrap_err().contains("nothing was written"));
        let missing = unasked(draft(), &known).unwrap_err();
        assert!(missing.contains("give --table, --measure, --warning, --critical too"), "{missing}");
    }
}
