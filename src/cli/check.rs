//! `tierwatch check`: every problem of every file in one run.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{FOUND, Format, Outcome, count, print, read_files, say, settings, show};
use crate::{
    config::Config,
    rules::{RuleSet, check, diagnostics::Severity},
};

/// What `check` was asked for.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Rules by name or file, or folders of them [default: rules.path of the configuration]
    rules: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Check {
    pub(super) fn run(self, config: &Config) -> Outcome {
        let (set, mut problems) = RuleSet::compile(read_files(config, &self.rules)?, settings(config));
        // Of a part of the pack, nobody knows what the rest reads.
        if self.rules.is_empty() && !RuleSet::broken(&problems) {
            problems.extend(check::unused(&set.rules, &set.files));
        }
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        match self.format {
            Format::Json => {
                for problem in &problems {
                    print(&problem.to_json().to_string())?;
                }
            }
            Format::Text => {
                show(&problems);
                let files = count(set.files.rules.len(), "rule file");
                say(&format!(
                    "{files} checked: {}, {}",
                    count(errors, "error"),
                    count(problems.len() - errors, "warning")
                ));
            }
        }
        Ok(if errors > 0 { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
    }
}
