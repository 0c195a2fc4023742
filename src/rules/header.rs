//! A rule file is a YAML header in its leading block comment, then one SELECT. Here the two are parted and the
//! header becomes a checked type; field names follow Prometheus where it has one.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::{
    defaults::Defaults,
    diagnostics::{Diagnostic, Source, offset},
    levels::Level,
    sql, tokens,
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

impl Default for NoData {
    fn default() -> Self {
        Self { silence: Silence::Hold, after_ms: 5 * 60 * 1000, forget_ms: DAY_MS }
    }
}

/// The series that should be there: the rows of a reference table.
#[derive(Debug, Clone)]
pub struct Expect {
    /// The reference table.
    pub table: String,
    /// Its columns, which are the columns of the key.
    pub columns: Vec<String>,
    /// Where it stands.
    pub span: Range<usize>,
}

/// What a breach event says about the events behind it.
#[derive(Debug, Clone)]
pub struct Diagnose {
    /// Which events count against the rule; all of the window where it is `None`.
    pub offending: Option<Predicate>,
    /// The columns by which they are told apart.
    pub by: Vec<String>,
    /// How many values of each column are named.
    pub top: usize,
    /// Where it stands.
    pub span: Range<usize>,
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

/// How many series a rule may have in one partition where it does not say.
const MAX_SERIES: u64 = 100_000;
/// The most that it may say.
const MAX_SERIES_MAX: u64 = 10_000_000;

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
    /// How late events may correct windows that have closed, in milliseconds.
    pub allowed_lateness_ms: i64,
    /// How many series it may have in one partition; what comes beyond is put together in one.
    pub max_series: usize,
    /// Texts for people.
    pub annotations: Annotations,
    /// Evaluates, stores and shows, but does not alert.
    pub shadow: bool,
    /// The series that should be there.
    pub expect: Option<Expect>,
    /// Columns that look back at earlier readings, in the order in which they stand.
    pub history: Vec<(String, Predicate)>,
    /// Where the hours of `expected` and `deviation` are told.
    pub timezone: Tz,
    /// What a breach event says about the events behind it.
    pub diagnose: Option<Diagnose>,
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
    max_series: Option<Spanned<u64>>,
    allowed_lateness: Option<Spanned<String>>,
    #[serde(default)]
    annotations: Annotations,
    mode: Option<Mode>,
    diagnose: Option<Spanned<RawDiagnose>>,
    #[serde(default)]
    history: BTreeMap<String, Spanned<String>>,
    timezone: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Alert,
    Shadow,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDiagnose {
    #[serde(rename = "where")]
    offending: Option<Spanned<String>>,
    #[serde(default)]
    by: Vec<String>,
    top: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLevels {
    healthy: Option<Spanned<String>>,
    warning: Option<Spanned<String>>,
    critical: Option<Spanned<String>>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(super) enum Spans {
    Both(String),
    Each(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNoData {
    #[serde(rename = "as", default)]
    pub(super) silence: Silence,
    pub(super) expect: Option<Spanned<String>>,
    pub(super) after: Option<Spanned<String>>,
    pub(super) forget: Option<Spanned<String>>,
}

/// The bytes of a predicate.
const PREDICATE_MAX: usize = 2_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const SEVERE: [Level; 2] = [Level::Warning, Level::Critical];
const SHAPE: &str = "a rule begins with /* a YAML header */ and goes on with one SELECT";

/// Parts a rule file and checks its header; every mistake that can be told apart is reported at once.
/// What the header leaves open is taken from `defaults`.
pub fn split(source: &Arc<Source>, defaults: &Defaults) -> Result<RuleText, Vec<Diagnostic>> {
    let text = &source.text;
    let one = |code, span, message: &str, hint: &str| Err(vec![Diagnostic::error(code, source, span, message, hint)]);
    if text.len() > sql::BYTES_MAX {
        let message = format!("the file has {} bytes; a rule has at most {}", text.len(), sql::BYTES_MAX);
        return one("too-large", 0..0, &message, "split it into several rules");
    }
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with("/*") {
        return one("no-header", start..start + 1, "the file does not begin with a header", SHAPE);
    }
    let opened = start + 2;
    let Some(length) = text[opened..].find("*/") else {
        return one("open-header", start..opened, "the header's comment is never closed", "end the header with */");
    };
    let closed = opened + length;
    let sql_start = closed + 2;
    // The YAML keeps its place in the file, so that its positions are the file's own.
    let mut yaml: String = text[..opened].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    yaml.push_str(&text[opened..closed]);
    let raw: Raw = serde_saphyr::from_str(&yaml).map_err(|error| vec![broken(source, start, &error)])?;
    check(source, raw, sql_start, defaults)
}

/// What the YAML reader says about a mistake, in our words and at its place.
pub(super) fn broken(source: &Arc<Source>, start: usize, error: &serde_saphyr::Error) -> Diagnostic {
    let text = &source.text;
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
    // What the reader says in words of its own making.
    let plain = [
        (
            "untagged enum Spans",
            "neither a span nor a span for each level",
            "for: {warning: 5m, critical: 1m}, or one span for both",
        ),
        ("expected mapping start", "names with values are expected here", "such as levels: {warning: value > 100}"),
        (
            "expected string scalar",
            "a text is expected here, neither a list nor a map",
            "put a text with special signs in quotes",
        ),
        ("invalid u64", "a whole number is expected here", "such as min_samples: 20"),
        ("expected sequence start", "a list is expected here", "such as key: [service]"),
    ];
    if let Some((_, said, hint)) = plain.into_iter().find(|(theirs, ..)| message.contains(theirs)) {
        let message = format!("the header is not as it should be: {said}");
        return Diagnostic::error("broken-header", source, span, message, hint);
    }
    let hint = hint(&message);
    Diagnostic::error("broken-header", source, span, format!("the header is not as it should be: {message}"), hint)
}

/// "unknown field `x`, expected one of a, b" names the near miss itself.
fn hint(message: &str) -> String {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    if message.contains("unknown field") && message.contains(')') {
        return "put a text with a comma in quotes: expect: \"replicas(database, replica)\"".into();
    }
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

/// Reads spans of a header, and keeps what is wrong with them.
pub(super) struct Spanning<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) problems: Vec<Diagnostic>,
}

impl Spanning<'_> {
    /// A span of time in milliseconds; 0 where it is none.
    pub(super) fn ms(&mut self, value: &Spanned<String>) -> i64 {
        time::parse_span(&value.value).unwrap_or_else(|message| {
            let place = span_of(self.source, value);
            self.problems.push(Diagnostic::error("broken-span", self.source, place, message, ""));
            0
        })
    }

    /// `for`: one span for both levels, or one for each.
    pub(super) fn levels(&mut self, given: &Spanned<Spans>) -> BTreeMap<Level, i64> {
        let spans: BTreeMap<String, String> = match &given.value {
            Spans::Both(both) => SEVERE.into_iter().map(|level| (level.name().to_owned(), both.clone())).collect(),
            Spans::Each(each) => each.clone(),
        };
        let mut for_ms = BTreeMap::new();
        for (name, value) in spans {
            let ms = self.ms(&Spanned::new(value, given.referenced, given.defined));
            match Level::parse(&name) {
                Some(level) if SEVERE.contains(&level) => _ = for_ms.insert(level, ms),
                _ => self.problems.push(Diagnostic::error(
                    "unknown-level",
                    self.source,
                    span_of(self.source, given),
                    format!("`for` knows no level `{name}`"),
                    "for: {warning: 5m, critical: 1m}, or one span for both",
                )),
            }
        }
        for_ms
    }

    /// `no_data`, with what it leaves open as it usually is.
    pub(super) fn no_data(&mut self, given: &RawNoData) -> NoData {
        let usual = NoData::default();
        NoData {
            silence: given.silence,
            after_ms: given.after.as_ref().map_or(usual.after_ms, |span| self.ms(span)),
            forget_ms: given.forget.as_ref().map_or(usual.forget_ms, |span| self.ms(span)),
        }
    }

    /// The time zone of that name.
    pub(super) fn timezone(&mut self, given: &Spanned<String>) -> Tz {
        given.value.parse().unwrap_or_else(|_| {
            let place = text_span(self.source, given);
            let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let near = super::diagnostics::did_you_mean(&given.value, names);
            let hint = if near.is_empty() { "write it like Europe/Berlin, or UTC".to_owned() } else { near };
            let message = format!("`{}` is no time zone", given.value);
            self.problems.push(Diagnostic::error("timezone", self.source, place, message, hint));
            Tz::UTC
        })
    }

    /// `expect: services(service)`.
    fn expect(&mut self, given: &Spanned<String>) -> Option<Expect> {
        let span = text_span(self.source, given);
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
        let parts = given.value.trim().strip_suffix(')').and_then(|text| text.split_once('('));
        if let Some((table, columns)) = parts {
            let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_owned()).collect();
            if word(table.trim()) && columns.iter().all(|column| word(column)) {
                return Some(Expect { table: table.trim().to_owned(), columns, span });
            }
        }
        let message = format!("`{}` is no reference table with its columns", given.value);
        self.problems.push(Diagnostic::error("expect", self.source, span, message, "expect: services(service)"));
        None
    }
}

/// The name, where it is one.
fn named(source: &Arc<Source>, name: &Spanned<String>) -> Option<Diagnostic> {
    let text = &name.value;
    let word = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && text.starts_with(|c: char| c.is_ascii_lowercase());
    (!word || text.len() > 100).then(|| {
        let message = format!("`{text}` is no name for a rule");
        let hint = "lower-case letters, digits and _, at most 100";
        Diagnostic::error("rule-name", source, span_of(source, name), message, hint)
    })
}

/// How many series the rule may have.
fn most_series(source: &Arc<Source>, given: Option<&Spanned<u64>>, problems: &mut Vec<Diagnostic>) -> usize {
    let most = given.map_or(MAX_SERIES, |most| most.value);
    if let Some(given) = given.filter(|_| !(1..=MAX_SERIES_MAX).contains(&most)) {
        problems.push(Diagnostic::error(
            "max-series",
            source,
            span_of(source, given),
            format!("`max_series` is {most}"),
            format!("write a number from 1 to {MAX_SERIES_MAX}"),
        ));
    }
    usize::try_from(most).unwrap_or(usize::MAX)
}

fn check(source: &Arc<Source>, raw: Raw, sql_start: usize, defaults: &Defaults) -> Result<RuleText, Vec<Diagnostic>> {
    let mut read = Spanning { source, problems: Vec::new() };
    let for_ms = raw.for_span.as_ref().map(|given| read.levels(given));
    let keep_firing_ms = raw.keep_firing_for.as_ref().map(|span| read.ms(span));
    let repeat_ms = raw.repeat_interval.as_ref().map(|span| read.ms(span));
    let allowed_lateness_ms = raw.allowed_lateness.as_ref().map_or(0, |span| read.ms(span));
    let no_data = raw.no_data.as_ref().map(|given| read.no_data(given));
    let expect = raw.no_data.as_ref().and_then(|given| given.expect.as_ref()).and_then(|given| read.expect(given));
    let timezone = raw.timezone.as_ref().map(|given| read.timezone(given));
    let mut problems = read.problems;
    problems.extend(named(source, &raw.name));
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
    let max_series = most_series(source, raw.max_series.as_ref(), &mut problems);
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
    let diagnose = raw.diagnose.map(|given| Diagnose {
        span: span_of(source, &given),
        offending: given.value.offending.map(predicate),
        by: given.value.by,
        top: given.value.top.unwrap_or(5).clamp(1, 20),
    });
    // YAML maps have no order, files do.
    let mut history: Vec<(String, Predicate)> =
        raw.history.into_iter().map(|(name, value)| (name, predicate(value))).collect();
    history.sort_by_key(|(_, predicate)| predicate.span.start);
    let until = by_level(raw.until);
    // Deep chains overflow the stack of whoever reads them.
    let long = levels
        .values()
        .chain(judge_when.as_ref())
        .chain(until.values())
        .chain(diagnose.iter().filter_map(|diagnose| diagnose.offending.as_ref()))
        .chain(history.iter().map(|(_, predicate)| predicate))
        .filter(|predicate| predicate.sql.len() > PREDICATE_MAX || tokens::is_long_chain(&predicate.sql));
    problems.extend(long.map(|predicate| {
        let bytes = predicate.sql.len();
        let message = if bytes > PREDICATE_MAX {
            format!("a predicate of {bytes} bytes; at most {PREDICATE_MAX} are allowed")
        } else {
            "a predicate with too many operators in a row".to_owned()
        };
        let hint = "name a column for it in the SELECT list, or join to a reference table";
        Diagnostic::error("too-large", source, predicate.span.start..predicate.span.start, message, hint)
    }));
    let word = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    problems.extend(history.iter().filter(|(name, _)| !word(name)).map(|(name, predicate)| {
        let message = format!("`{name}` is no name for a column");
        Diagnostic::error("history", source, predicate.span.clone(), message, "lower-case letters, digits and _")
    }));
    problems.extend(until.iter().filter(|(level, _)| !levels.contains_key(level)).map(|(level, predicate)| {
        let message = format!("`until` ends {}, which `levels` does not define", level.name());
        let hint = "until: {critical: value < 1200} beside levels: {critical: …}";
        Diagnostic::error("unknown-level", source, predicate.span.clone(), message, hint)
    }));
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut annotations = raw.annotations;
    if annotations.runbook_url.is_empty() {
        annotations.runbook_url = defaults.runbook_url.replace("{name}", &raw.name.value);
    }
    let header = Header {
        title: raw.title.unwrap_or_else(|| raw.name.value.replace('_', " ")),
        name: raw.name.value,
        tier: raw.tier,
        unit: raw.unit,
        owner: if raw.owner.is_empty() { defaults.owner.clone() } else { raw.owner },
        labels: defaults.labels.clone().into_iter().chain(raw.labels).collect(),
        key: raw.key,
        levels,
        until,
        for_ms: for_ms.or_else(|| defaults.for_ms.clone()).unwrap_or_default(),
        keep_firing_ms: keep_firing_ms.or(defaults.keep_firing_ms).unwrap_or(0),
        judge_when,
        no_data: no_data.or(defaults.no_data).unwrap_or_default(),
        repeat_ms: repeat_ms.or(defaults.repeat_ms),
        allowed_lateness_ms,
        max_series,
        annotations,
        shadow: raw.mode.or(defaults.mode) == Some(Mode::Shadow),
        expect,
        history,
        timezone: timezone.or(defaults.timezone).unwrap_or(Tz::UTC),
        diagnose,
    };
    Ok(RuleText { header, sql_start })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RuleText, Vec<Diagnostic>> {
        split(&Arc::new(Source { path: "r.sql".into(), text: text.into() }), &Defaults::default())
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
