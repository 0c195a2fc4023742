//! `tierwatch test`: rules against the events of their test files.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::Args;

use super::{FOUND, Format, MISUSED, Outcome, by_name, count, print, say};
use crate::{
    config::Config,
    files,
    rule_test::{self, ENDING},
    rules::{Files, diagnostics::Source},
};

/// What `test` was asked for.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// Test files (`*.test.yaml`), rules by name or file, or folders of them [default: rules.path of the configuration]
    paths: Vec<PathBuf>,
    /// Runs only cases whose name, or whose rule's, contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Test {
    pub(super) fn run(self, config: &Config) -> Outcome {
        let paths = if self.paths.is_empty() { vec![config.rules.path.clone()] } else { self.paths.clone() };
        let mut tests: Vec<Arc<Source>> = Vec::new();
        let mut rules = vec![config.rules.path.clone()];
        for path in paths.iter().map(|path| by_name(config, path)) {
            // A rule file stands for the tests beside it.
            let path = match path.extension() {
                Some(kind) if kind == "sql" => path.with_extension("test.yaml"),
                _ => path.clone(),
            };
            if !path.exists() && path.to_string_lossy().ends_with(ENDING) {
                say(&format!("error: there is no test {}; `tierwatch new` writes one with each rule", path.display()));
                return Ok(ExitCode::from(MISUSED));
            }
            tests.extend(files::with_ending(&path, ENDING)?);
            let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")).to_owned() };
            rules.insert(0, folder);
        }
        if tests.is_empty() {
            let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            say(&format!("error: there is no *{ENDING} file in {}", shown.join(", ")));
            return Ok(ExitCode::from(MISUSED));
        }
        rules.retain(|path| path.exists());
        let found = files::read_some(&rules, &config.tables.path, &config.rules.reference)?;
        let outcomes = run_all(&tests, &found);
        let wanted = |outcome: &&rule_test::Outcome| {
            self.only.as_ref().is_none_or(|only| outcome.name.contains(only) || outcome.rule.contains(only))
        };
        let outcomes: Vec<&rule_test::Outcome> = outcomes.iter().filter(wanted).collect();
        if let (true, Some(only)) = (outcomes.is_empty(), &self.only) {
            say(&format!("error: no case and no rule has `{only}` in its name"));
            return Ok(ExitCode::from(MISUSED));
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count();
        for outcome in &outcomes {
            match self.format {
                Format::Json => print(&serde_json::to_string(outcome)?)?,
                Format::Text if outcome.differences.is_empty() => {}
                Format::Text => {
                    print(&format!("FAILED {}: {}", outcome.rule, outcome.name))?;
                    print(&format!("  --> {}:{}", outcome.file, outcome.line))?;
                    for line in &outcome.differences {
                        print(&format!("  {line}"))?;
                    }
                    print("")?;
                }
            }
        }
        let ok = outcomes.len() - failed;
        say(&format!(
            "{} in {}: {ok} passed, {failed} failed",
            count(outcomes.len(), "case"),
            count(tests.len(), "file")
        ));
        Ok(if failed > 0 { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
    }
}

/// Runs all test files, several at a time, and answers in their order.
fn run_all(tests: &[Arc<Source>], files: &Files) -> Vec<rule_test::Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Vec<rule_test::Outcome>>> = tests.iter().map(|_| Mutex::default()).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(tests.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(test) = tests.get(at) else { break };
                    let folder = Path::new(&test.path).parent().unwrap_or(Path::new("."));
                    let read = |name: &str| {
                        let path = folder.join(name);
                        std::fs::read_to_string(&path)
                            .map_err(|error| format!("cannot read {}: {error}", path.display()))
                    };
                    let found = rule_test::run(test, files, &read);
                    *outcomes[at].lock().unwrap_or_else(PoisonError::into_inner) = found;
                }
            });
        }
    });
    outcomes.into_iter().flat_map(|found| found.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}
