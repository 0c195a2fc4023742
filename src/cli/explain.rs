//! `tierwatch explain`: what a rule does, before it runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{FOUND, MISUSED, Outcome, compile, count, print, read_files, say, settings};
use crate::{
    config::Config,
    rules::{Rule, RuleSet, diagnostics::did_you_mean, header::Predicate, levels::Level, plan::aggregate_name},
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
    /// For how many series the cost is estimated
    #[arg(long, default_value = "1000", value_name = "COUNT")]
    series: usize,
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
            explain(rule, &set, self.series)?;
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

fn explain(rule: &Rule, set: &RuleSet, series: usize) -> anyhow::Result<()> {
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
    if !rule.reads.is_empty() {
        let read: Vec<&str> = rule.reads.iter().map(String::as_str).collect();
        print(&format!("  reads the readings of {}", read.join(", ")))?;
    }
    let readers: Vec<&str> = set
        .rules
        .iter()
        .filter(|other| other.reads.contains(&rule.header.name))
        .map(|other| other.header.name.as_str())
        .collect();
    if !readers.is_empty() {
        print(&format!("  is read by {}", readers.join(", ")))?;
    }
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
    levels(rule)?;
    let header = &rule.header;
    if let Some(when) = &header.judge_when {
        print(&format!("  judged when {}", when.sql))?;
    }
    if header.keep_firing_ms > 0 {
        print(&format!("  a milder level must last {}", time::span(header.keep_firing_ms)))?;
    }
    let silence = format!("{:?}", header.no_data.silence).to_lowercase();
    print(&format!(
        "  silence is {silence} after {}, and forgotten after {}{}",
        time::span(header.no_data.after_ms),
        time::span(header.no_data.forget_ms),
        if rule.expected.is_empty() { "" } else { ", unless the series is expected" }
    ))?;
    if header.shadow {
        print("  in shadow: stored and shown, but no alerts")?;
    }
    for (level, ms) in &rule.header.for_ms {
        print(&format!("  {} after {} at that level or worse", level.name(), time::span(*ms)))?;
    }
    looks_back(rule)?;
    cost(rule, series)
}

/// The predicates of the levels, as a picture where they are intervals of the value.
fn levels(rule: &Rule) -> anyhow::Result<()> {
    let predicates = |kind: &str, predicates: &BTreeMap<Level, Predicate>| -> anyhow::Result<()> {
        for (level, predicate) in predicates {
            print(&format!("  {kind}{:<10} {}", level.name(), predicate.sql))?;
        }
        Ok(())
    };
    match &rule.bands {
        Some(bands) => {
            print(&bands.picture(&rule.header.unit))?;
            print("  (┤ the limit itself belongs to the left, ├ to the right)")?;
            if bands.pieces().iter().any(|(_, _, level)| level.is_none()) {
                print("  in a gap the present level holds")?;
            }
        }
        None => {
            predicates("", &rule.header.levels)?;
            let open = !rule.header.levels.contains_key(&Level::Healthy);
            print(if open { "  healthy where neither holds" } else { "  the present level holds where none does" })?;
        }
    }
    predicates("until ", &rule.header.until)
}

/// History, expected series, diagnosis.
fn looks_back(rule: &Rule) -> anyhow::Result<()> {
    if !rule.history.is_empty() {
        print(&format!("\nhistory, in steps of {}:", time::span(rule.history.step_ms)))?;
        for (name, predicate) in &rule.header.history {
            print(&format!("  {name:<12} {}", predicate.sql))?;
        }
        print(&format!("  at most {} readings of each series are remembered", rule.history.points()))?;
    }
    if let Some(expect) = &rule.header.expect {
        let (table, many) = (&expect.table, count(rule.expected.len(), "series"));
        print(&format!("\nexpects {many} from {table}, heard of or not").replace("seriess", "series"))?;
    }
    if let Some(diagnosis) = &rule.diagnosis {
        let offending = rule.header.diagnose.as_ref().and_then(|asked| asked.offending.as_ref());
        let which = offending.map_or("all events".to_owned(), |predicate| format!("events where {}", predicate.sql));
        let by = diagnosis.by.join(", ");
        print(&format!("\na breach names the top {} by {by} among {which}, from a sample of 100", diagnosis.top))?;
    }
    Ok(())
}

/// What the states of an aggregate take, in bytes: what is typical, and whether it grows with the data.
fn state_bytes(aggregate: &str) -> (usize, &'static str) {
    let name = aggregate.split('(').next().unwrap_or_default();
    match name {
        "approx_percentile_cont" => (2_000, "up to 17 kB where values spread widely"),
        "approx_distinct" => (16_384, ""),
        "count" if aggregate.contains("DISTINCT") => (1_000, "grows with the distinct values"),
        "sum" | "avg" => (48, ""),
        "max_by" | "min_by" => (64, ""),
        "increase" => (160, "grows with the reports"),
        "sample_events" => (2_000, "up to 20 kB, and nothing where no event counts against the rule"),
        _ => (16, ""),
    }
}

/// What the rule costs: what is kept, and what each window does.
fn cost(rule: &Rule, series: usize) -> anyhow::Result<()> {
    print(&format!(
        "\ncost, estimated for {} (--series says how many):",
        count(series, "series").replace("seriess", "series")
    ))?;
    let mut bytes = 0_usize;
    let mut merged = 0_usize;
    let mut seen = std::collections::BTreeSet::new();
    for fold in rule.all_folds() {
        // Panes are kept as long as the window that reaches furthest back needs them.
        let same = rule.all_folds().filter(|other| other.ids.fold == fold.ids.fold);
        let reach = same.map(|other| other.hop.reach_ms()).max().unwrap_or(0);
        let panes = usize::try_from(reach / fold.spec.pane_ms.max(1)).unwrap_or(usize::MAX);
        let of_window = usize::try_from(fold.hop.size_ms / fold.spec.pane_ms.max(1)).unwrap_or(usize::MAX);
        if rule.folds.iter().any(|own| std::ptr::eq(own, fold)) {
            merged = merged.saturating_add(of_window.saturating_mul(series));
        }
        if !seen.insert(&fold.ids.fold) {
            continue;
        }
        let state: usize = fold.spec.aggregates.iter().map(|one| state_bytes(&aggregate_name(one)).0).sum();
        bytes = bytes.saturating_add(panes.saturating_mul(series).saturating_mul(state + 64));
        for aggregate in &fold.spec.aggregates {
            let text = aggregate_name(aggregate);
            let (_, note) = state_bytes(&text);
            if !note.is_empty() {
                print(&format!("  {}: {note}", plain(text.split(" FILTER").next().unwrap_or(&text))))?;
            }
        }
    }
    let looked = usize::try_from(rule.history.points()).unwrap_or(usize::MAX).saturating_mul(series).saturating_mul(16);
    let inner = rule.folds.iter().any(|fold| fold.spec.keys.len() > rule.output.keys.len());
    print(&format!(
        "  memory      about {} of panes{}",
        size(bytes),
        if looked > 0 { format!(", {} of history", size(looked)) } else { String::new() }
    ))?;
    if inner {
        print("              times the groups within a series, since the SQL groups by more than the series' key")?;
    }
    print(&format!("  per window  {merged} states are merged, every {}", time::span(rule.slide_ms)))?;
    let columns: usize = rule.folds.iter().map(|fold| fold.spec.columns().len()).sum();
    print(&format!("  per event   {} decoded, {} updated", count(columns, "column"), count(rule.folds.len(), "fold")))
}

/// Bytes as people read them.
fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
