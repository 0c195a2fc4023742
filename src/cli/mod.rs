//! The commands, one file each. Each prints for people by default and JSON with `--format json`; the exit code is 0
//! where all is well (warnings included), 1 where errors were found, 2 for wrong use.

mod backtest;
mod check;
mod config;
mod demo;
mod docs;
mod explain;
mod generate;
mod migrate;
mod new;
mod restore;
mod run;
mod sql;
mod test;
mod upgrade;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    config::{Config, Sources, load},
    files,
    rules::{
        Files, RuleSet, Settings,
        diagnostics::{Diagnostic, Severity, Source},
    },
};

/// Watches business and technical telemetry on Kafka with SQL rules, exactly once.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Configuration file [default: tierwatch.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key of the configuration, over file and environment: --set kafka.brokers=localhost:9092
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the stages: events in, readings and alerts out
    Run(run::Run),
    /// Shows it all in one process, with events that go wrong on purpose; needs nothing else
    Demo(demo::Demo),
    /// Checks rules: every problem of every file, with file, line and column
    Check(check::Check),
    /// Runs the tests of rules: events in; readings, levels and breach events out
    Test(test::Test),
    /// Shows what a rule does: its folds, what is shared, what runs per window
    Explain(explain::Explain),
    /// Begins a rule: writes it and its test, from a table and a few answers
    New(Box<new::New>),
    /// Writes a readable catalogue of the rules: an index, and a page for each
    Docs(docs::Docs),
    /// Plays events from files through rules: what they would have said
    Backtest(backtest::Backtest),
    /// Writes made-up events of all tables to files, healthy or with an incident
    Generate(generate::Generate),
    /// Makes Tierwatch's topics, and ClickHouse's tables and views
    Migrate(migrate::Migrate),
    /// The last step of an upgrade: from here on records are written in the newest format
    ///
    /// Run it once, when every instance runs this version: it does not look whether they do. Older binaries stop at such
    /// records, so there is no way back.
    Upgrade(upgrade::Upgrade),
    /// Writes readings and breaches from Kafka into ClickHouse again, where that was lost
    Restore(restore::Restore),
    /// Queries stored readings and breaches, or files of events
    Sql(sql::Sql),
    /// Prints the configuration in force, and where each value comes from
    Config(config::Show),
}

/// A command's outcome: its exit code, or an error to be shown.
type Outcome = anyhow::Result<ExitCode>;

/// Errors were found.
const FOUND: u8 = 1;
/// The command was used wrongly.
const MISUSED: u8 = 2;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { MISUSED } else { 0 });
        }
    };
    let outcome = match configuration(&cli.global) {
        Ok(config) => run(cli.command, config),
        Err(error) => {
            say(&format!("{error}"));
            return ExitCode::from(MISUSED);
        }
    };
    outcome.unwrap_or_else(|error| {
        // A reader that has gone, such as `head`, is no error of ours.
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        say(&format!("error: {error:#}"));
        ExitCode::from(FOUND)
    })
}

fn run(command: Command, config: Config) -> Outcome {
    match command {
        Command::Run(command) => command.run(config),
        Command::Demo(command) => command.run(config),
        Command::Migrate(command) => command.run(&config),
        Command::Upgrade(command) => command.run(config),
        Command::Restore(command) => command.run(&config),
        Command::Sql(command) => command.run(&config),
        Command::Test(command) => command.run(&config),
        Command::Generate(command) => command.run(),
        Command::Check(command) => command.run(&config),
        Command::Explain(command) => command.run(&config),
        Command::Docs(command) => command.run(&config),
        Command::New(command) => command.run(&config),
        Command::Backtest(command) => command.run(&config),
        Command::Config(command) => command.run(&config),
    }
}

fn configuration(global: &Global) -> anyhow::Result<Config> {
    let mut flags = Vec::new();
    for flag in &global.set {
        let Some((key, value)) = flag.split_once('=') else {
            anyhow::bail!(
                "error: --set {flag} has no value: write --set KEY=VALUE, such as --set kafka.brokers=localhost:9092"
            );
        };
        flags.push((key.to_owned(), value.to_owned()));
    }
    Ok(load(&Sources::from_process(global.config.clone(), flags))?)
}

/// Prints a line for people on stderr.
fn say(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

/// Prints a line of the result.
fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}

/// The file of a rule of the configuration's that is called by its name; anything else as it is.
fn by_name(config: &Config, rule: &Path) -> PathBuf {
    let is_name = rule.extension().is_none() && rule.components().count() == 1 && !rule.exists();
    let found = if is_name { files::with_ending(&config.rules.path, ".sql").unwrap_or_default() } else { Vec::new() };
    let own = |source: &&Arc<Source>| Path::new(&source.path).file_stem() == Some(rule.as_os_str());
    found.iter().find(own).map_or_else(|| rule.to_owned(), |source| PathBuf::from(&source.path))
}

/// Reads the rule files that were named, or all of the configuration's.
fn read_files(config: &Config, rules: &[PathBuf]) -> anyhow::Result<Files> {
    let mut named: Vec<PathBuf> = rules.iter().map(|rule| by_name(config, rule)).collect();
    if named.is_empty() {
        named.push(config.rules.path.clone());
    }
    let mut found = files::read(&named, &config.tables.path, &config.rules.reference)?;
    // Rules that are read but were not named come from the pack.
    if !rules.is_empty() && config.rules.path.exists() {
        let pack =
            files::read_some(std::slice::from_ref(&config.rules.path), &config.tables.path, &config.rules.reference)?;
        files::complete(&mut found, &pack);
    }
    Ok(found)
}

/// Settings that belong to a rule set.
fn settings(config: &Config) -> Settings {
    Settings { idle_after_ms: config.fold.idle_after.map(|span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX)) }
}

/// Compiles files; where they have errors, shows them all and answers `None`.
fn compile(files: Files, settings: Settings) -> Option<RuleSet> {
    let (set, problems) = RuleSet::compile(files, settings);
    if RuleSet::broken(&problems) {
        show_errors(&problems);
        return None;
    }
    Some(set)
}

/// Shows those findings that are errors.
fn show_errors(problems: &[Diagnostic]) {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    show(&errors.cloned().collect::<Vec<_>>());
}

/// Shows findings on stderr as rustc does.
fn show(problems: &[Diagnostic]) {
    let color = std::io::stderr().is_terminal();
    for problem in problems {
        say(&problem.render(color));
        say("");
    }
}

/// Progress on a terminal; nothing elsewhere.
fn progress_bar() -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {elapsed} gone, {eta} to go");
    ProgressBar::with_draw_target(Some(0), target).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `1 rule`, `2 rules`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
