//! What is taken where nothing is said: from the table's schema, and from how the other rules do it.

use std::{collections::BTreeMap, sync::Arc};

use super::{Draft, Known, MINUTE_MS, Measure, endless, find_tier, limits, numbers};
use crate::rules::{
    Rule,
    catalog::{Column, Kind, Table},
    header::Tier,
};

impl Draft {
    /// Which values there are.
    pub(super) fn range(&self, measure: Measure) -> limits::Range {
        match (measure, &self.column) {
            (Measure::Ratio, _) => limits::Range { what: "a ratio".into(), low: 0.0, high: 1.0 },
            (Measure::Count | Measure::Rate, _) => {
                limits::Range { what: format!("a {}", measure.name()), low: 0.0, high: f64::INFINITY }
            }
            (Measure::Sum, Some(column)) => {
                let least = if column.minimum.is_some_and(|least| least >= 0.0) { 0.0 } else { f64::NEG_INFINITY };
                limits::Range { what: format!("the sum of `{}`", column.name), low: least, high: f64::INFINITY }
            }
            (_, column) => limits::Range {
                what: column.as_ref().map_or_else(String::new, |column| format!("`{}`", column.name)),
                low: column.as_ref().and_then(|column| column.minimum).unwrap_or(f64::NEG_INFINITY),
                high: column.as_ref().and_then(|column| column.maximum).unwrap_or(f64::INFINITY),
            },
        }
    }

    /// The column that a measure is most likely of.
    pub(super) fn default_column(&self, measure: Measure) -> Option<&Column> {
        let table = self.table.as_ref()?;
        let time = |column: &&Column| column.name.ends_with("_ms") || column.name.ends_with("_s");
        let age = |column: &&Column| time(column) && (column.name.contains("age") || column.name.contains("lag"));
        let share = |column: &&Column| column.maximum == Some(1.0);
        let whole = |column: &&Column| column.kind == Kind::Integer;
        let first = |wanted: &dyn Fn(&&Column) -> bool| {
            // What every event has is likelier to be meant.
            numbers(table).filter(|c| wanted(c)).find(|c| c.required).or_else(|| numbers(table).find(|c| wanted(c)))
        };
        match measure {
            Measure::Ratio | Measure::Count | Measure::Rate => None,
            Measure::Percentile => first(&time).or_else(|| first(&|_| true)),
            Measure::Age => first(&age).or_else(|| first(&time)),
            Measure::Average => first(&share).or_else(|| first(&time)).or_else(|| first(&|_| true)),
            Measure::Sum | Measure::Maximum => first(&whole).or_else(|| first(&|_| true)),
        }
    }

    pub(super) fn unit_of(&self, measure: Measure) -> String {
        if let Some(unit) = &self.unit {
            return unit.clone();
        }
        let of_column = |column: &Column| {
            let ending = column.name.rsplit('_').next().unwrap_or_default();
            match ending {
                "ms" | "s" | "bytes" | "percent" => ending.to_owned(),
                _ if column.maximum == Some(1.0) => "ratio".to_owned(),
                _ if column.kind == Kind::Integer => "count".to_owned(),
                _ => column.name.clone(),
            }
        };
        match (measure, &self.column) {
            (Measure::Ratio, _) => "ratio".to_owned(),
            (Measure::Rate, _) => "per_second".to_owned(),
            (Measure::Count, _) | (_, None) => "count".to_owned(),
            (_, Some(column)) => of_column(column),
        }
    }

    /// Limits that are not absurd, to begin with.
    pub(super) fn usual_limits(&self, measure: Measure, unit: &str) -> (Option<String>, Option<String>) {
        // Where the usual event meets the condition, the others are the bad ones.
        let good = self.condition.as_ref().is_some_and(|of| of.as_ref().is_some_and(|of| of.holds.is_empty()));
        let (warning, critical) = match (measure, unit) {
            (Measure::Ratio, _) if good => ("0.99", "0.95"),
            (Measure::Ratio, _) => ("0.01", "0.05"),
            (Measure::Average | Measure::Percentile | Measure::Maximum, "ratio") => ("0.8", "0.9"),
            (Measure::Percentile | Measure::Average, "ms") => ("500", "1000"),
            (Measure::Percentile | Measure::Average, "s") => ("1", "5"),
            (Measure::Age, "s") => ("60", "300"),
            _ => return (None, None),
        };
        (Some(warning.to_owned()), Some(critical.to_owned()))
    }

    /// The tier of most rules that read the table.
    pub(super) fn usual_tier(&self, known: &Known<'_>) -> Tier {
        let of_table = self.readers(known).map(|rule| rule.header.tier.name());
        most(of_table).and_then(|name| find_tier(&name).ok()).unwrap_or(Tier::Business)
    }

    /// The owner of most rules of the tier that read the table, else of most of the tier.
    pub(super) fn usual_owner(&self, known: &Known<'_>) -> Option<String> {
        let of_tier = |rule: &&Arc<Rule>| Some(rule.header.tier) == self.tier && !rule.header.owner.is_empty();
        let owner = |rule: &'_ Arc<Rule>| rule.header.owner.clone();
        most(self.readers(known).filter(of_tier).map(owner))
            .or_else(|| most(known.rules.iter().filter(of_tier).map(owner)))
    }

    pub(super) fn readers<'a>(&'a self, known: &'a Known<'_>) -> impl Iterator<Item = &'a Arc<Rule>> {
        let name = self.table.as_ref().map(|table| table.name.as_str()).unwrap_or_default();
        known.rules.iter().filter(move |rule| rule.tables.contains(name))
    }
}

/// The word that comes most often, of several the first by name.
pub(super) fn most<S: Into<String>>(words: impl Iterator<Item = S>) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in words {
        *counts.entry(word.into()).or_default() += 1;
    }
    let best = counts.values().copied().max()?;
    counts.into_iter().find(|(_, count)| *count == best).map(|(word, _)| word)
}

/// Where the runbooks of the other rules lie, by what stands before their names.
pub(super) fn runbooks(known: &Known<'_>) -> String {
    let of = |rule: &Arc<Rule>| {
        let url = rule.header.annotations.runbook_url.as_str();
        url.strip_suffix(&rule.header.name.replace('_', "-")).map(str::to_owned)
    };
    most(known.rules.iter().filter_map(of)).unwrap_or_else(|| "https://runbooks.example/".to_owned())
}

/// How often a rule over a table is evaluated: reports that come more seldom need no more.
pub(super) fn slide_ms(table: &Table) -> i64 {
    match table.interval_ms {
        Some(interval) if interval > MINUTE_MS => interval,
        _ => 10_000,
    }
}

/// What the series of a table are: its services, or what it reports about.
pub(super) fn default_by(table: &Table) -> Vec<String> {
    let service = table.column("service");
    if service.is_some_and(|column| column.required) {
        return vec!["service".to_owned()];
    }
    let named = |column: &&Column| {
        column.required && column.kind == Kind::Text && !column.masked && !endless(column) && column.allowed.is_empty()
    };
    let names: Vec<String> = table.columns.iter().filter(named).map(|column| column.name.clone()).collect();
    if names.is_empty() { service.iter().map(|column| column.name.clone()).collect() } else { names }
}

/// The condition that most likely means failure.
pub(super) fn bad_events(table: &Table) -> Option<String> {
    let failed = |column: &&Column| column.allowed.iter().any(|word| word == "failed");
    if let Some(column) = table.columns.iter().find(failed) {
        return Some(format!("{} = 'failed'", column.name));
    }
    if table.column("status_code").is_some() {
        return Some("status_code >= 500".to_owned());
    }
    table.column("error_type").map(|column| format!("{} IS NOT NULL", column.name))
}
