//! `tierwatch explain`: what a rule does, before it runs.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{FOUND, MISUSED, Outcome, compile, print, read_files, say, settings};
use crate::{
    config::Config,
    rules::{Rule, RuleSet, diagnostics::did_you_mean, plan::aggregate_name},
    time,
};

/// What `explain` was asked for.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A rule's name, or its file
    rule: String,
    /// Prints the SQL over all windows that the rule equals (DuckDB runs it as it stands, but for the sketches)
    #[arg(long)]
    batch: bool,
}

impl Explain {
    pub(super) fn run(self, config: &Config) -> Outcome {
        let path = PathBuf::from(&self.rule);
        let mut rules = vec![config.rules.path.clone()];
        if path.is_file() && !path.starts_with(&config.rules.path) {
            rules = vec![path.clone()];
        }
        let Some(set) = compile(read_files(config, &rules)?, settings(config)) else {
            return Ok(ExitCode::from(FOUND));
        };
        let found = set
            .rules
            .iter()
            .find(|rule| rule.header.name == self.rule || (path.is_file() && Path::new(&rule.source.path) == path));
        let Some(rule) = found else {
            let hint = did_you_mean(&self.rule, set.rules.iter().map(|rule| rule.header.name.as_str()));
            say(format!("error: there is no rule `{}`; {hint}", self.rule).trim_end_matches([';', ' ']));
            for rule in &set.rules {
                say(&format!("  {:<32} {}", rule.header.name, rule.header.title));
            }
            return Ok(ExitCode::from(MISUSED));
        };
        if self.batch {
            print(rule.sql.batch_sql(&rule.source).trim_end())?;
        } else {
            explain(rule, &set)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A plan's expression as people write it: count(*) for count(Int64(1)), 'x' for Utf8("x").
fn plain(expr: &str) -> String {
    let mut text = expr.replace("count(Int64(1))", "count(*)").replace("count(*) AS count(*)", "count(*)");
    for (kind, open, close) in
        [("Utf8(\"", "\")", "'"), ("Int64(", ")", ""), ("Float64(", ")", ""), ("Boolean(", ")", "")]
    {
        while let Some(start) = text.find(kind) {
            let rest = &text[start + kind.len()..];
            let Some(end) = rest.find(open) else { break };
            text = format!("{}{close}{}{close}{}", &text[..start], &rest[..end], &rest[end + open.len()..]);
        }
    }
    text
}

fn explain(rule: &Rule, set: &RuleSet) -> anyhow::Result<()> {
    let names = |columns: &[usize]| {
        columns.iter().map(|at| rule.output.schema.field(*at).name().as_str()).collect::<Vec<_>>().join(", ")
    };
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    print(&format!("{} ({})", rule.header.name, rule.source.path))?;
    print(&format!(
        "  {}; tier {}, owner {}",
        rule.header.title,
        rule.header.tier.name(),
        or_none(rule.header.owner.clone())
    ))?;
    print(&format!("  evaluated every {}; version {}", time::span(rule.slide_ms), rule.version))?;
    print(&format!(
        "  series: {}; measures: {}; labels: {}",
        or_none(names(&rule.output.keys)),
        or_none(names(&rule.output.measures)),
        or_none(names(&rule.output.labels))
    ))?;
    let spread = if rule.spread {
        "spread over all partitions"
    } else {
        "together in partition 0, since the rule looks at them at once"
    };
    print(&format!("  its series are {spread}\n"))?;
    print("folds, computed from events as they come:")?;
    for fold in &rule.folds {
        let spec = &fold.spec;
        let ago = if fold.hop.ago_ms > 0 { format!(", {} ago", time::span(fold.hop.ago_ms)) } else { String::new() };
        print(&format!(
            "  {} over {}: windows of {}{ago}, panes of {}",
            fold.ids.fold,
            spec.table.name,
            time::span(fold.hop.size_ms),
            time::span(spec.pane_ms)
        ))?;
        if let Some(filter) = &spec.filter {
            print(&format!("    where      {}", plain(&filter.to_string())))?;
        }
        for key in &spec.keys {
            print(&format!("    key        {}", plain(&key.to_string())))?;
        }
        for aggregate in &spec.aggregates {
            print(&format!("    aggregate  {}", plain(&aggregate_name(aggregate))))?;
        }
        let columns: Vec<String> = spec.columns().into_iter().collect();
        print(&format!("    decodes    {}", columns.join(", ")))?;
        let sharing: Vec<&str> = set
            .rules
            .iter()
            .filter(|other| {
                other.header.name != rule.header.name && other.folds.iter().any(|other| other.ids.fold == fold.ids.fold)
            })
            .map(|other| other.header.name.as_str())
            .collect();
        print(&format!("    shared with {}", or_none(sharing.join(", "))))?;
    }
    print("\nper window, over the folds' finished results:")?;
    for line in rule.rest_plan.lines() {
        print(&format!("  {}", plain(line)))?;
    }
    print("\nlevels:")?;
    match &rule.bands {
        Some(bands) => print(&bands.picture())?,
        None => {
            for (level, predicate) in &rule.header.levels {
                print(&format!("  {:<10} {}", level.name(), predicate.sql))?;
            }
        }
    }
    let header = &rule.header;
    if let Some(when) = &header.judge_when {
        print(&format!("  judged when {}", when.sql))?;
    }
    if header.keep_firing_ms > 0 {
        print(&format!("  a milder level must last {}", time::span(header.keep_firing_ms)))?;
    }
    let silence = format!("{:?}", header.no_data.silence).to_lowercase();
    print(&format!(
        "  silence is {silence} after {}, and forgotten after {}",
        time::span(header.no_data.after_ms),
        time::span(header.no_data.forget_ms)
    ))?;
    if header.shadow {
        print("  in shadow: stored and shown, but no alerts")?;
    }
    for (level, ms) in &rule.header.for_ms {
        print(&format!("  {} after {} at that level or worse", level.name(), time::span(*ms)))?;
    }
    Ok(())
}
