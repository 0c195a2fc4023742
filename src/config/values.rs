//! Single values: from what was typed to what is meant, if it will do.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, UNIX_EPOCH};

use ::config::ValueKind;

use super::{
    show::text_of,
    types::{Stage, Start},
};

pub(super) fn string(kind: &ValueKind) -> Option<String> {
    match kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}

pub(super) fn trimmed(kind: &ValueKind) -> Option<String> {
    string(kind).map(|text| text.trim().to_owned())
}

/// A list, or text with commas.
fn list(kind: &ValueKind) -> Option<Vec<String>> {
    match kind {
        ValueKind::Array(items) => items.iter().map(|item| trimmed(&item.kind)).collect(),
        kind => string(kind).map(|text| text.split(',').map(|item| item.trim().to_owned()).collect()),
    }
}

pub(super) fn duration(kind: &ValueKind, range: &RangeInclusive<Duration>) -> Option<Duration> {
    let duration = humantime::parse_duration(&trimmed(kind)?).ok()?;
    range.contains(&duration).then_some(duration)
}

pub(super) fn span(range: &RangeInclusive<Duration>) -> String {
    let (from, to) = (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
    format!("{from} to {to}")
}

pub(super) const BROKERS: &str = "host:port, or several separated by commas";

pub(super) fn brokers(kind: &ValueKind) -> Option<String> {
    let list = list(kind).filter(|list| !list.is_empty())?;
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    let sound = |(host, port): (&str, &str)| {
        !host.is_empty() && host.chars().all(legal) && port.parse().is_ok_and(|port: u16| port > 0)
    };
    list.iter().all(|broker| broker.rsplit_once(':').is_some_and(sound)).then(|| list.join(","))
}

pub(super) const TOPIC: &str = "the name of a topic: letters, digits, '.', '_' and '-', 249 at most, 200 in a prefix";

pub(super) fn topic(kind: &ValueKind) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let sound = |name: &String| name.chars().all(legal) && !matches!(name.as_str(), "" | "." | "..");
    string(kind).filter(|name| sound(name) && name.len() <= 249)
}

pub(super) const STAGES: &str = "one or more of fold, judge and store, each once, separated by commas";

pub(super) fn stages(kind: &ValueKind) -> Option<BTreeSet<Stage>> {
    let list = list(kind)?;
    let stages: BTreeSet<Stage> = list.iter().map(|stage| find(Stage::WORDS, stage)).collect::<Option<_>>()?;
    (!stages.is_empty() && stages.len() == list.len()).then_some(stages)
}

pub(super) const START: &str = "latest, earliest or a time in UTC such as 2026-01-31T00:00:00Z";

pub(super) fn start(kind: &ValueKind) -> Option<Start> {
    match trimmed(kind)?.as_str() {
        "latest" => Some(Start::Latest),
        "earliest" => Some(Start::Earliest),
        time => {
            let since = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_millis()).ok().map(Start::At)
        }
    }
}

pub(super) const URL: &str =
    "http:// or https:// with a host, perhaps a port and a path, but no user, password or query";

pub(super) fn url(kind: &ValueKind) -> Option<String> {
    let url = trimmed(kind)?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let legal = |c: char| c.is_ascii_graphic() && !"@?#".contains(c);
    (!rest.is_empty() && !rest.starts_with(['/', ':']) && rest.chars().all(legal)).then_some(url)
}

pub(super) const IDENTIFIER: &str = "letters, digits and '_', not starting with a digit";

pub(super) fn identifier(kind: &ValueKind) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    trimmed(kind).filter(|name| name.chars().all(legal) && name.starts_with(|c: char| !c.is_ascii_digit()))
}

pub(super) fn scalar(kind: &ValueKind) -> Option<String> {
    match kind {
        ValueKind::String(_) | ValueKind::I64(_) | ValueKind::Float(_) | ValueKind::Boolean(_) => Some(text_of(kind)),
        _ => None,
    }
}

pub(super) fn find<T: Copy>(words: &[(&'static str, T)], text: &str) -> Option<T> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value)
}
