//! A rule file is a YAML header in its leading block comment, then one SELECT. Here the two are parted and the
//! header becomes a checked type; field names follow Prometheus where it has one.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::{
    diagnostics::{Diagnostic, Source, offset},
    levels::Level,
};
use crate::time;

/// Which people a rule is for, and which layer of the system it watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Requests, balancers, scaling.
    Network,
    /// Nodes and disks.
    Hardware,
    /// Databases, queues, caches.
    Data,
    /// What the business sells.
    Business,
}

impl Tier {
    /// The word as it stands in the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Hardware => "hardware",
            Self::Data => "data",
            Self::Business => "business",
        }
    }

    /// `business`, or `technical` for the other three: whom a breach concerns.
    pub fn kind(self) -> &'static str {
        if self == Self::Business { "business" } else { "technical" }
    }
}

/// What silence of a series means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Silence {
    /// The rule's own SQL over no rows: count 0, sum NULL.
    Zero,
    /// The state stays as it is.
    #[default]
    Hold,
    /// Silence is health: the breach resolves.
    Healthy,
    /// Silence is a warning.
    Warning,
    /// Silence is critical.
    Critical,
}

/// What to do about silence, and after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoData {
    /// What it means.
    pub silence: Silence,
    /// How long a series must be silent, in milliseconds.
    pub after_ms: i64,
    /// After how long a silent series is forgotten, in milliseconds.
    pub forget_ms: i64,
}

/// Texts for people, rendered for each breach event.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotations {
    /// One line: a Jinja template over the columns of the reading.
    #[serde(default)]
    pub summary: String,
    /// More lines, likewise.
    #[serde(default)]
    pub description: String,
    /// Where the way to mend it is written.
    #[serde(default)]
    pub runbook_url: String,
}

/// A predicate of the header with its place in the file.
#[derive(Debug, Clone)]
pub struct Predicate {
    /// SQL over the output columns.
    pub sql: String,
    /// Where it stands.
    pub span: Range<usize>,
}

/// A checked header.
#[derive(Debug, Clone)]
pub struct Header {
    /// The rule's name: its identity through all versions.
    pub name: String,
    /// What it watches, for people.
    pub title: String,
    /// Its tier.
    pub tier: Tier,
    /// The unit of `value`.
    pub unit: String,
    /// Who mends it.
    pub owner: String,
    /// Fixed labels of every breach event.
    pub labels: BTreeMap<String, String>,
    /// The series key where the SQL has no outer GROUP BY.
    pub key: Option<Vec<String>>,
    /// The predicate of each level, mildest first.
    pub levels: BTreeMap<Level, Predicate>,
    /// When a level is left, for predicates that are no intervals.
    pub until: BTreeMap<Level, Predicate>,
    /// How long a level must hold to become the state, in milliseconds.
    pub for_ms: BTreeMap<Level, i64>,
    /// How long a milder level must hold to become the state, in milliseconds.
    pub keep_firing_ms: i64,
    /// Which readings are judged.
    pub judge_when: Option<Predicate>,
    /// What silence means.
    pub no_data: NoData,
    /// After how long an open breach is told again, in milliseconds.
    pub repeat_ms: Option<i64>,
    /// Texts for people.
    pub annotations: Annotations,
    /// Evaluates, stores and shows, but does not alert.
    pub shadow: bool,
    /// Fields that are read but do nothing yet, and where they stand.
    pub without_effect: Vec<(&'static str, Range<usize>)>,
}

/// A rule file parted into its header and where its SQL begins.
#[derive(Debug, Clone)]
pub struct RuleText {
    /// The checked header.
    pub header: Header,
    /// The byte at which the SQL begins.
    pub sql_start: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    title: Option<String>,
    tier: Tier,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    key: Option<Vec<String>>,
    levels: RawLevels,
    #[serde(default)]
    until: RawLevels,
    #[serde(rename = "for")]
    for_span: Option<Spanned<Spans>>,
    keep_firing_for: Option<Spanned<String>>,
    min_samples: Option<Spanned<u64>>,
    judge_when: Option<Spanned<String>>,
    no_data: Option<RawNoData>,
    repeat_interval: Option<Spanned<String>>,
    #[serde(default)]
    annotations: Annotations,
    mode: Option<Mode>,
    diagnose: Option<Spanned<serde::de::IgnoredAny>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Alert,
    Shadow,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLevels {
    healthy: Option<Spanned<String>>,
    warning: Option<Spanned<String>>,
    critical: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Spans {
    Both(String),
    Each(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNoData {
    #[serde(rename = "as", default)]
    silence: Silence,
    expect: Option<Spanned<String>>,
    after: Option<Spanned<String>>,
    forget: Option<Spanned<String>>,
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const SEVERE: [Level; 2] = [Level::Warning, Level::Critical];
const SHAPE: &str = "a rule begins with /* a YAML header */ and goes on with one SELECT";

/// Parts a rule file and checks its header; every mistake that can be told apart is reported at once.
pub fn split(source: &Arc<Source>) -> Result<RuleText, Vec<Diagnostic>> {
    let text = &source.text;
    let one = |code, span, message: &str, hint: &str| Err(vec![Diagnostic::error(code, source, span, message, hint)]);
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with("/*") {
        return one("no-header", start..start + 1, "the file does not begin with a header", SHAPE);
    }
    let Some(length) = text[start..].find("*/") else {
        return one("open-header", start..start + 2, "the header's comment is never closed", "end the header with */");
    };
    let sql_start = start + length + 2;
    // The YAML keeps its place in the file, so that its positions are the file's own.
    let mut yaml: String = text[..start + 2].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    yaml.push_str(&text[start + 2..start + length]);
    let raw: Raw = match serde_saphyr::from_str(&yaml) {
        Ok(raw) => raw,
        Err(error) => {
            let error = error.without_snippet();
            let at = error.location().map_or(start, |at| place(text, at.line(), at.column()));
            let message = error.to_string();
            let message = message
                .split(" at line ")
                .next()
                .unwrap_or(&message)
                .split(", set DuplicateKeyPolicy")
                .next()
                .unwrap_or_default()
                .to_owned();
            let span = super::diagnostics::word_at(text, at);
            let hint = hint(&message);
            return Err(vec![Diagnostic::error(
                "broken-header",
                source,
                span,
                format!("the header is not as it should be: {message}"),
                hint,
            )]);
        }
    };
    check(source, raw, sql_start)
}

/// "unknown field `x`, expected one of a, b" names the near miss itself.
fn hint(message: &str) -> String {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    if let Some((wrong, expected)) = message.split_once("expected ")
        && let Some(wrong) = words(wrong).pop()
        && message.contains("unknown")
    {
        let near = super::diagnostics::did_you_mean(&wrong, words(expected).iter().map(String::as_str));
        return if near.is_empty() { format!("write {expected}") } else { near };
    }
    if message.contains("missing field") {
        return "a rule needs at least name, tier and levels".into();
    }
    if message.contains("duplicate") {
        return "write each field once".into();
    }
    "the header is YAML; indent by spaces, and put texts with `: ` or `{{` in quotes".into()
}

fn place(text: &str, line: u64, column: u64) -> usize {
    offset(text, usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1))
}

fn span_of<T>(source: &Source, value: &Spanned<T>) -> Range<usize> {
    let start = place(&source.text, value.defined.line(), value.defined.column());
    let line_end = source.text[start..].find('\n').map_or(source.text.len(), |length| start + length);
    start..line_end.max(start)
}

/// The place of a text, without what stands around it on its line.
fn text_span(source: &Source, value: &Spanned<String>) -> Range<usize> {
    let line = span_of(source, value);
    source.text[line.clone()]
        .find(&value.value)
        .map_or(line.clone(), |at| line.start + at..line.start + at + value.value.len())
}

fn check(source: &Arc<Source>, raw: Raw, sql_start: usize) -> Result<RuleText, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut read = |value: &Spanned<String>| match time::parse_span(&value.value) {
        Ok(ms) => ms,
        Err(message) => {
            problems.push(Diagnostic::error("broken-span", source, span_of(source, value), message, ""));
            0
        }
    };
    let mut for_ms = BTreeMap::new();
    let mut unknown = Vec::new();
    if let Some(given) = &raw.for_span {
        let spans = match &given.value {
            Spans::Both(both) => SEVERE.into_iter().map(|level| (level.name().to_owned(), both.clone())).collect(),
            Spans::Each(each) => each.clone(),
        };
        for (name, value) in spans {
            let ms = read(&Spanned::new(value, given.referenced, given.defined));
            match Level::parse(&name) {
                Some(level) if SEVERE.contains(&level) => _ = for_ms.insert(level, ms),
                _ => unknown.push((name, span_of(source, given))),
            }
        }
    }
    let keep_firing_ms = raw.keep_firing_for.as_ref().map_or(0, &mut read);
    let repeat_ms = raw.repeat_interval.as_ref().map(&mut read);
    let no_data = raw.no_data.unwrap_or(RawNoData { silence: Silence::Hold, expect: None, after: None, forget: None });
    let mut without_effect = Vec::new();
    without_effect.extend(no_data.expect.as_ref().map(|expect| ("expect", text_span(source, expect))));
    without_effect.extend(raw.diagnose.as_ref().map(|diagnose| ("diagnose", span_of(source, diagnose))));
    let no_data = NoData {
        silence: no_data.silence,
        after_ms: no_data.after.as_ref().map_or(5 * 60 * 1000, &mut read),
        forget_ms: no_data.forget.as_ref().map_or(DAY_MS, &mut read),
    };
    for (name, span) in unknown {
        problems.push(Diagnostic::error(
            "unknown-level",
            source,
            span,
            format!("`for` knows no level `{name}`"),
            "for: {warning: 5m, critical: 1m}, or one span for both",
        ));
    }
    let name = &raw.name.value;
    let word = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_lowercase());
    if !word || name.len() > 100 {
        problems.push(Diagnostic::error(
            "rule-name",
            source,
            span_of(source, &raw.name),
            format!("`{name}` is no name for a rule"),
            "lower-case letters, digits and _, at most 100",
        ));
    }
    let predicate = |value: Spanned<String>| Predicate { span: text_span(source, &value), sql: value.value };
    let by_level = |raw: RawLevels| -> BTreeMap<Level, Predicate> {
        [(Level::Healthy, raw.healthy), (Level::Warning, raw.warning), (Level::Critical, raw.critical)]
            .into_iter()
            .filter_map(|(level, value)| value.map(|value| (level, predicate(value))))
            .collect()
    };
    let levels = by_level(raw.levels);
    if !levels.keys().any(|level| *level > Level::Healthy) {
        problems.push(Diagnostic::error(
            "no-levels",
            source,
            span_of(source, &raw.name),
            "neither `warning` nor `critical` is defined: this rule can never fire",
            "levels: {warning: value > 1}",
        ));
    }
    let judge_when = match (raw.min_samples, raw.judge_when) {
        (Some(least), Some(_)) => {
            problems.push(Diagnostic::error(
                "judge-twice",
                source,
                span_of(source, &least),
                "`min_samples` and `judge_when` are both given",
                "write one predicate: judge_when: samples >= 20 AND …",
            ));
            None
        }
        (Some(least), None) => {
            Some(Predicate { sql: format!("samples >= {}", least.value), span: span_of(source, &least) })
        }
        (None, when) => when.map(predicate),
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let header = Header {
        title: raw.title.unwrap_or_else(|| raw.name.value.replace('_', " ")),
        name: raw.name.value,
        tier: raw.tier,
        unit: raw.unit,
        owner: raw.owner,
        labels: raw.labels,
        key: raw.key,
        levels,
        until: by_level(raw.until),
        for_ms,
        keep_firing_ms,
        judge_when,
        no_data,
        repeat_ms,
        annotations: raw.annotations,
        shadow: raw.mode == Some(Mode::Shadow),
        without_effect,
    };
    Ok(RuleText { header, sql_start })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RuleText, Vec<Diagnostic>> {
        split(&Arc::new(Source { path: "r.sql".into(), text: text.into() }))
    }

    #[test]
    fn a_header_becomes_a_checked_type() {
        let rule = read(
            "/*\nname: a_b\ntier: data\nmin_samples: 3\nlevels: {warning: value > 1}\nfor: {warning: 5m}\n*/\nSELECT 1",
        )
        .unwrap();
        assert_eq!(rule.header.for_ms[&Level::Warning], 300_000);
        assert_eq!(rule.header.judge_when.unwrap().sql, "samples >= 3");
        assert_eq!(rule.header.tier.kind(), "technical");
        assert_eq!(rule.header.title, "a b");
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, code, line) in [
            ("SELECT 1", "no-header", 1),
            ("/*\nname: x", "open-header", 1),
            ("/*\nname: x\ntier: data\nlevels: {warning: value > 1}\nfro: 5m\n*/ SELECT 1", "broken-header", 5),
            ("/*\nname: x\ntier: date\nlevels: {warning: value > 1}\n*/ SELECT 1", "broken-header", 3),
            ("/*\nname: x\ntier: data\nlevels: {warning: value > 1}\nfor: soon\n*/ SELECT 1", "broken-span", 5),
            ("/*\nname: X y\ntier: data\nlevels: {warning: value > 1}\n*/ SELECT 1", "rule-name", 2),
            ("/*\nname: x\ntier: data\nlevels: {healthy: value > 1}\n*/ SELECT 1", "no-levels", 2),
            (
                "/*\nname: x\ntier: data\nlevels: {warning: value > 1}\nfor: {healthy: 5m}\n*/ SELECT 1",
                "unknown-level",
                5,
            ),
        ] {
            let problems = read(text).unwrap_err();
            assert_eq!((problems[0].code, problems[0].position().0), (code, line), "{text}: {}", problems[0].message);
        }
    }
}
