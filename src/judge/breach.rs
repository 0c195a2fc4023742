//! What people are told: breach events.

use std::collections::BTreeMap;

use datafusion::common::DataFusionError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    diagnosis::{Diagnosis, Found},
    output::{BreachEvent, Output, Reading},
    panes::OVERFLOW,
    series::{Change, Happened, Identity},
    windows::{Window, window_start},
};
use crate::{
    panes::Millis,
    rules::{Rule, hash, levels::Level, series::canonical, template},
    spread::partition_of,
    time::rfc3339,
};

/// Tells changes of the series of one window to people, unless the rule is in shadow.
pub(super) struct Told<'a> {
    window: &'a Window<'a>,
    diagnosis: Diagnosis,
}

impl<'a> Told<'a> {
    /// Nothing told yet.
    pub(super) fn new(window: &'a Window<'a>) -> Self {
        Self { window, diagnosis: Diagnosis::default() }
    }

    /// The breach event of a change.
    pub(super) fn event(&mut self, who: Identity<'_>, reading: Option<&Reading>, change: &Change) -> Option<Output> {
        let Window { rule, end, .. } = *self.window;
        let header = &rule.header;
        if header.shadow {
            return None;
        }
        // Who resolves, or is silent, has no events to look at.
        let found = if reading.is_some() && change.happened != Happened::Resolved {
            self.diagnosis.of(self.window, who.series)
        } else {
            Found::default()
        };
        let series: BTreeMap<String, Value> = serde_json::from_str(who.series).unwrap_or_default();
        // The limit that matters is that of the worse of the two states.
        let limit = header
            .levels
            .get(&change.state.max(change.previous))
            .map(|predicate| predicate.sql.clone())
            .unwrap_or_default();
        let value = reading.and_then(|reading| reading.value);
        let mut known = serde_json::Map::from_iter(series.clone());
        for (name, measure) in reading.iter().flat_map(|reading| &reading.measures) {
            known.insert(name.clone(), json!(measure));
        }
        for (name, text) in reading.iter().flat_map(|reading| &reading.labels) {
            known.insert(name.clone(), json!(text));
        }
        for (name, given) in [
            ("value", json!(value)),
            ("samples", json!(reading.and_then(|reading| reading.samples))),
            ("rule", json!(header.name)),
            ("title", json!(header.title)),
            ("unit", json!(header.unit)),
            ("level", json!(change.state)),
            ("state", json!(change.state)),
            ("previous_level", json!(change.previous)),
            ("limit", json!(limit)),
            ("since", json!(rfc3339(change.episode.since_ms))),
            ("window_end", json!(rfc3339(end))),
        ] {
            known.insert(name.into(), given);
        }
        // Columns that this reading does not have are no mistake of the template.
        for field in rule.output.schema.fields() {
            known.entry(field.name().clone()).or_insert(Value::Null);
        }
        let known = Value::Object(known);
        let mut labels = header.labels.clone();
        labels.extend(
            reading
                .iter()
                .flat_map(|reading| &reading.labels)
                .filter_map(|(name, text)| Some((name.clone(), text.clone()?))),
        );
        Some(Output::Breach(Box::new(BreachEvent {
            happened: change.happened,
            id: change.event_id(who),
            episode: change.episode.id.clone(),
            ordinal: change.episode.events,
            rule: header.name.clone(),
            rule_version: rule.version.clone(),
            title: header.title.clone(),
            tier: header.tier.name().into(),
            kind: header.tier.kind().into(),
            owner: header.owner.clone(),
            series,
            level: change.state,
            previous_level: change.previous,
            value,
            unit: header.unit.clone(),
            limit,
            samples: reading.and_then(|reading| reading.samples),
            window_start: rfc3339(window_start(rule, end)),
            window_end: rfc3339(end),
            since: rfc3339(change.episode.since_ms),
            opened_at: rfc3339(change.episode.opened_ms),
            reason: change.reason.into(),
            summary: template::render(&header.annotations.summary, &known),
            description: template::render(&header.annotations.description, &known),
            runbook_url: header.annotations.runbook_url.clone(),
            labels,
            measures: reading.map(|reading| reading.measures.iter().cloned().collect()).unwrap_or_default(),
            offending: found.offending,
            contributors: found.contributors,
            trace_ids: found.trace_ids,
            delay_ms: None,
        })))
    }
}

/// Why a rule is fenced off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fenced {
    /// It failed in this partition.
    Here(String),
    /// It failed where events are folded, and so in each partition. One of them, by hash, tells.
    Everywhere {
        /// The reason.
        everywhere: String,
    },
}

impl Fenced {
    /// By an error in this partition.
    pub(super) fn here(error: &DataFusionError) -> Self {
        Self::Here(error.strip_backtrace().trim_start_matches("Execution error: ").to_owned())
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        let (Self::Here(reason) | Self::Everywhere { everywhere: reason }) = self;
        reason
    }

    /// The built-in technical breach about a rule that failed: opened when it is fenced off, resolved when it has changed.
    /// `None` where another partition tells. `came_with`: the number of the rule set that brought the version.
    pub(super) fn tell(
        &self,
        rule: &Rule,
        came_with: u64,
        (partition, partitions): (i32, i32),
        end: Millis,
        happened: Happened,
    ) -> Option<Output> {
        let (name, reason) = (&rule.header.name, self.reason());
        let series = match self {
            Self::Here(_) => of_rule(rule, partition),
            Self::Everywhere { .. } => {
                let home = if rule.spread { partition_of(name, partitions) } else { 0 };
                if home != partition {
                    return None;
                }
                BTreeMap::from([("rule".to_owned(), json!(name))])
            }
        };
        let summary = if happened == Happened::Opened {
            format!("{name} is not evaluated until it changes: {reason}")
        } else {
            format!("{name} has changed and is evaluated again")
        };
        let text = Technical {
            name: "tierwatch_rule_fenced",
            title: "A rule failed and is fenced off",
            summary,
            reason,
            owner: &rule.header.owner,
            runbook_url: &rule.header.annotations.runbook_url,
        };
        // What tells one failure from the next is the version and the set that brought it, as it may be put back as it was;
        // not the window, because a replay may find it at another one.
        let mut which = rule.version.clone();
        if came_with > 0 {
            which += &format!("\u{1f}{came_with}");
        }
        Some(technical(series, &rule.version, (end, end - rule.slide_ms, end), happened, &which, text))
    }
}

/// The built-in technical breach about a rule that has more series in one partition than it may, since a window end.
pub(super) fn overflowing(rule: &Rule, partition: i32, (since, end): (Millis, Millis), happened: Happened) -> Output {
    let (name, most) = (&rule.header.name, rule.header.max_series);
    let summary = if happened == Happened::Opened {
        format!(
            "{name} has more than {most} series in partition {partition}: new ones are put together as {OVERFLOW}; \
             group by fewer values, or raise max_series"
        )
    } else {
        format!("{name} has no more than {most} series in partition {partition} again")
    };
    let text = Technical {
        name: "tierwatch_series_overflow",
        title: "A rule has too many series",
        summary,
        reason: "max_series",
        owner: &rule.header.owner,
        runbook_url: &rule.header.annotations.runbook_url,
    };
    let (series, times) = (of_rule(rule, partition), (since, end - rule.slide_ms, end));
    technical(series, &rule.version, times, happened, &since.to_string(), text)
}

/// What a technical breach says.
pub(super) struct Technical<'a> {
    /// The name of the built-in rule.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) summary: String,
    pub(super) reason: &'a str,
    pub(super) owner: &'a str,
    pub(super) runbook_url: &'a str,
}

fn of_rule(rule: &Rule, partition: i32) -> BTreeMap<String, Value> {
    BTreeMap::from([("rule".to_owned(), json!(rule.header.name)), ("partition".to_owned(), json!(partition))])
}

/// An event of a built-in rule, which opens and resolves; `which` tells one breach of a series from the next. Times: since
/// when, and the window.
pub(super) fn technical(
    series: BTreeMap<String, Value>,
    version: &str,
    (since, start, end): (Millis, Millis, Millis),
    happened: Happened,
    which: &str,
    text: Technical<'_>,
) -> Output {
    let Technical { name, title, summary, reason, owner, runbook_url } = text;
    let episode = hash(&format!("{name}\u{1f}{}\u{1f}{}", canonical(series.clone()), which));
    let open = happened == Happened::Opened;
    let ordinal = if open { 1 } else { 2 };
    let levels = if open { (Level::Critical, Level::Healthy) } else { (Level::Healthy, Level::Critical) };
    Output::Breach(Box::new(BreachEvent {
        happened,
        id: hash(&format!("{episode}\u{1f}{ordinal}")),
        episode,
        ordinal,
        rule: name.into(),
        rule_version: version.to_owned(),
        title: title.into(),
        tier: "data".into(),
        kind: "technical".into(),
        owner: owner.to_owned(),
        series,
        level: levels.0,
        previous_level: levels.1,
        value: None,
        unit: String::new(),
        limit: String::new(),
        samples: None,
        window_start: rfc3339(start),
        window_end: rfc3339(end),
        since: rfc3339(since),
        opened_at: rfc3339(since),
        reason: reason.into(),
        summary,
        description: String::new(),
        runbook_url: runbook_url.to_owned(),
        labels: BTreeMap::new(),
        measures: BTreeMap::new(),
        offending: None,
        contributors: Vec::new(),
        trace_ids: Vec::new(),
        delay_ms: None,
    }))
}
