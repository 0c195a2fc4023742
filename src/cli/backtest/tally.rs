//! What a backtest found, series by series: time in each level, breaches, flapping.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    judge::{
        output::{BreachEvent, Output, Reading, plain},
        series::Happened,
    },
    panes::Millis,
    rules::levels::Level,
    time::{parse_rfc3339, rfc3339},
};

/// A breach that opens again so soon after it was resolved is flapping.
const FLAPPING_MS: i64 = 10 * 60 * 1000;

/// One breach.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Episode {
    pub(super) opened: String,
    /// None where it was still open at the end.
    pub(super) resolved: Option<String>,
    pub(super) worst: Level,
    #[serde(skip)]
    pub(super) from_ms: Millis,
    #[serde(skip)]
    pub(super) to_ms: Option<Millis>,
    #[serde(skip)]
    pub(super) id: String,
}

/// One series of one rule.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Series {
    /// Readings by level: healthy, warning, critical, unjudged.
    #[serde(skip)]
    pub(super) levels: [u64; 4],
    pub(super) episodes: Vec<Episode>,
    /// How often a breach opened again soon after it was resolved.
    pub(super) flaps: u64,
    /// The value at the worst reading: the first of the worst level.
    pub(super) worst: Option<(Level, Option<f64>)>,
    #[serde(skip)]
    pub(super) slide_ms: i64,
    #[serde(skip)]
    pub(super) points: Vec<(Millis, Option<f64>)>,
    #[serde(skip)]
    shown: Option<Option<Level>>,
}

impl Series {
    /// How long it was in each level: healthy, warning, critical, unjudged, in seconds.
    pub(super) fn seconds(&self) -> [i64; 4] {
        self.levels.map(|count| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(self.slide_ms) / 1000)
    }

    /// How long breaches were open, in milliseconds; what is still open counts up to `last`.
    pub(super) fn open_ms(&self, last: Millis) -> i64 {
        self.episodes.iter().map(|episode| episode.to_ms.unwrap_or(last) - episode.from_ms).sum()
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) readings: usize,
    pub(super) breaches: usize,
    pub(super) first: Option<Millis>,
    pub(super) last: Option<Millis>,
    /// By rule and series, as people read it.
    pub(super) series: BTreeMap<(String, String), Series>,
    pub(super) events: Vec<BreachEvent>,
    /// Whether values are kept for a plot.
    keeps_points: bool,
}

/// A series as people read it: `payments`, `eu-1 node-3`, or `all` where there is but one.
pub(super) fn name<'a>(values: impl Iterator<Item = &'a serde_json::Value>) -> String {
    let parts: Vec<String> = values.map(plain).collect();
    if parts.is_empty() { "all".to_owned() } else { parts.join(" ") }
}

impl Tally {
    pub(super) fn new(keeps_points: bool) -> Self {
        Self { keeps_points, ..Self::default() }
    }

    /// Counts an output; answers with the reading where its level is another than before.
    pub(super) fn count<'a>(&mut self, output: &'a Output) -> Option<&'a Reading> {
        match output {
            Output::Reading(reading) => self.reading(reading),
            Output::Breach(event) => {
                self.breach(event);
                None
            }
            Output::Notice(_) => None,
        }
    }

    fn reading<'a>(&mut self, reading: &'a Reading) -> Option<&'a Reading> {
        self.readings += 1;
        self.first = Some(self.first.map_or(reading.window_end, |first| first.min(reading.window_end)));
        self.last = self.last.max(Some(reading.window_end));
        let key = (reading.rule.header.name.clone(), name(reading.columns.iter().map(|(_, value)| value)));
        let series = self.series.entry(key).or_default();
        series.slide_ms = reading.rule.slide_ms;
        series.levels[reading.level.map_or(3, |level| level as usize)] += 1;
        if let Some(level) = reading.level
            && series.worst.is_none_or(|(worst, _)| level > worst)
        {
            series.worst = Some((level, reading.value));
        }
        if self.keeps_points {
            series.points.push((reading.window_end, reading.value));
        }
        let changed = series.shown != Some(reading.level);
        series.shown = Some(reading.level);
        changed.then_some(reading)
    }

    fn breach(&mut self, event: &BreachEvent) {
        self.breaches += 1;
        self.events.push(event.clone());
        let at = parse_rfc3339(&event.window_end).unwrap_or_default();
        self.last = self.last.max(Some(at));
        let series = self.series.entry((event.rule.clone(), name(event.series.values()))).or_default();
        match series.episodes.iter_mut().find(|episode| episode.id == event.episode) {
            None => {
                let before = series.episodes.iter().filter_map(|episode| episode.to_ms).max();
                series.flaps += u64::from(before.is_some_and(|before| at - before < FLAPPING_MS));
                series.episodes.push(Episode {
                    opened: rfc3339(at),
                    resolved: None,
                    worst: event.level,
                    from_ms: at,
                    to_ms: None,
                    id: event.episode.clone(),
                });
            }
            Some(episode) => {
                episode.worst = episode.worst.max(event.level);
                if event.happened == Happened::Resolved {
                    episode.resolved = Some(rfc3339(at));
                    episode.to_ms = Some(at);
                }
            }
        }
    }
}
