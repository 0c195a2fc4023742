//! `_defaults.yaml`: what all rules of a folder have in common, where their headers say nothing else. The nearest
//! folder wins, field by field.

use std::{collections::BTreeMap, sync::Arc};

use chrono_tz::Tz;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    diagnostics::{Diagnostic, Source},
    header::{Mode, NoData, RawNoData, Spanning, Spans, broken},
    levels::Level,
};

/// The name of such a file.
pub const FILE: &str = "_defaults.yaml";

/// The fields that a folder gives to its rules; see [`super::header::Header`].
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// Who mends it.
    pub owner: String,
    /// Fixed labels; a rule's own win, name by name.
    pub labels: BTreeMap<String, String>,
    /// How long a level must hold, in milliseconds.
    pub for_ms: Option<BTreeMap<Level, i64>>,
    /// How long a milder level must hold, in milliseconds.
    pub keep_firing_ms: Option<i64>,
    /// What silence means.
    pub no_data: Option<NoData>,
    /// After how long an open breach is told again, in milliseconds.
    pub repeat_ms: Option<i64>,
    /// Where the way to mend it is written; `{name}` stands for the rule's name.
    pub runbook_url: String,
    /// Where hours are told.
    pub timezone: Option<Tz>,
    pub(super) mode: Option<Mode>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    owner: String,
    labels: BTreeMap<String, String>,
    #[serde(rename = "for")]
    for_span: Option<Spanned<Spans>>,
    keep_firing_for: Option<Spanned<String>>,
    no_data: Option<RawNoData>,
    repeat_interval: Option<Spanned<String>>,
    annotations: Annotations,
    timezone: Option<Spanned<String>>,
    mode: Option<Mode>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Annotations {
    runbook_url: String,
}

/// The defaults of each folder that has some, by the folder's path.
pub type Folders = BTreeMap<String, Defaults>;

/// Reads every `_defaults.yaml` among the files beside the rules.
pub fn load(beside: &[Arc<Source>]) -> (Folders, Vec<Diagnostic>) {
    let mut folders = Folders::new();
    let mut problems = Vec::new();
    for source in beside {
        let Some(folder) = source.path.strip_suffix(FILE) else { continue };
        let raw: Raw = match serde_saphyr::from_str(&source.text) {
            Ok(raw) => raw,
            Err(error) => {
                problems.push(broken(source, 0, &error));
                continue;
            }
        };
        let mut read = Spanning { source, problems: Vec::new() };
        let defaults = Defaults {
            owner: raw.owner,
            labels: raw.labels,
            for_ms: raw.for_span.as_ref().map(|given| read.levels(given)),
            keep_firing_ms: raw.keep_firing_for.as_ref().map(|span| read.ms(span)),
            no_data: raw.no_data.as_ref().map(|given| read.no_data(given)),
            repeat_ms: raw.repeat_interval.as_ref().map(|span| read.ms(span)),
            runbook_url: raw.annotations.runbook_url,
            timezone: raw.timezone.as_ref().map(|given| read.timezone(given)),
            mode: raw.mode,
        };
        if let Some(expect) = raw.no_data.as_ref().and_then(|given| given.expect.as_ref()) {
            let place = source.text.find("expect:").map_or(0..0, |at| at..at + 6);
            let message = format!("`expect: {}` belongs into the rule itself", expect.value);
            let hint = "each rule has a series key of its own, and expects the series of its own";
            read.problems.push(Diagnostic::error("expect", source, place, message, hint));
        }
        problems.append(&mut read.problems);
        folders.insert(folder.trim_end_matches('/').to_owned(), defaults);
    }
    (folders, problems)
}

/// What the folders above a file give it.
pub fn of(path: &str, folders: &Folders) -> Defaults {
    let above = folders.iter().filter(|(folder, _)| {
        folder.is_empty() || path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
    });
    // A folder stands before those within it, so the nearest comes last.
    above.fold(Defaults::default(), |outer, (_, inner)| Defaults {
        owner: if inner.owner.is_empty() { outer.owner } else { inner.owner.clone() },
        labels: outer.labels.into_iter().chain(inner.labels.clone()).collect(),
        for_ms: inner.for_ms.clone().or(outer.for_ms),
        keep_firing_ms: inner.keep_firing_ms.or(outer.keep_firing_ms),
        no_data: inner.no_data.or(outer.no_data),
        repeat_ms: inner.repeat_ms.or(outer.repeat_ms),
        runbook_url: if inner.runbook_url.is_empty() { outer.runbook_url } else { inner.runbook_url.clone() },
        timezone: inner.timezone.or(outer.timezone),
        mode: inner.mode.or(outer.mode),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_wins_field_by_field() {
        let source = |path: &str, text: &str| Arc::new(Source { path: path.into(), text: text.into() });
        let (folders, problems) = load(&[
            source(
                "sql/_defaults.yaml",
                "owner: all\nfor: 5m\nlabels: {a: x, b: x}\nannotations: {runbook_url: 'https://r/{name}'}",
            ),
            source("sql/data/_defaults.yaml", "owner: data\nlabels: {b: y}\nno_data: {as: zero}"),
            source("sql/database/_defaults.yaml", "fr: 5m"),
        ]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].code, problems[0].hint.as_str()), ("broken-header", "did you mean `for`?"));
        let found = of("sql/data/x.sql", &folders);
        assert_eq!(
            (found.owner.as_str(), found.for_ms.as_ref().map(|each| each[&Level::Warning])),
            ("data", Some(300_000))
        );
        assert_eq!(found.labels, BTreeMap::from([("a".into(), "x".into()), ("b".into(), "y".into())]));
        assert_eq!(of("sql/datax/x.sql", &folders).owner, "all", "a folder is no prefix of a name");
        assert_eq!(of("other/x.sql", &folders).owner, "");
    }
}
