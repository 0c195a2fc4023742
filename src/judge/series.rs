//! One series through time: from readings to levels, from levels to the state, from the state to episodes.
//!
//! Pure: a reading in, what changed out. All times are window ends. See the header's `for`, `keep_firing_for` and
//! `no_data`.

use serde::{Deserialize, Serialize};

use crate::{
    panes::Millis,
    rules::{
        hash,
        header::{Header, Silence},
        levels::Level,
    },
};

/// What is known of one series. Changes only where something happens to it, so that a steady series costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesState {
    /// The level of its last judged reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The level after `for` and `keep_firing_for`.
    #[serde(default)]
    pub state: Level,
    /// The first reading of the unbroken run at this level or worse: warning, critical.
    #[serde(default)]
    at_least: [Option<Millis>; 2],
    /// The first reading of the unbroken run below this level: warning, critical.
    #[serde(default)]
    below: [Option<Millis>; 2],
    /// The last reading before the silence, while it is silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Millis>,
    /// True once its silence has been told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    silence_told: bool,
    /// The breach it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<Episode>,
}

/// One breach, from opening to resolution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// Its identity: of rule, series and opening, not of level or version.
    pub id: String,
    /// The window end at which it opened.
    pub opened_ms: Millis,
    /// The window end since which the level has been outside of healthy.
    pub since_ms: Millis,
    /// How many breach events it has had.
    pub events: u32,
    /// The window end of its last breach event.
    pub told_ms: Millis,
}

/// What a breach event says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// The state left healthy.
    Opened,
    /// From warning to critical.
    Escalated,
    /// From critical to warning.
    Deescalated,
    /// Still open, told again.
    Repeated,
    /// The series is silent while the breach is open.
    NoData,
    /// The state is healthy again, or the series or its rule is gone.
    Resolved,
}

impl Happened {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Deescalated => "deescalated",
            Self::Repeated => "repeated",
            Self::NoData => "no_data",
            Self::Resolved => "resolved",
        }
    }
}

/// A change of a series that people are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub happened: Happened,
    /// The state before.
    pub previous: Level,
    /// The state now.
    pub state: Level,
    /// The breach, as it was when this happened.
    pub episode: Episode,
    /// Why, where it is not the value: `no_data`, `forgotten`, `rule_removed`, `moved`.
    pub reason: &'static str,
}

/// Who a series is, for the identity of its breaches.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// The series as canonical JSON.
    pub series: &'a str,
}

const SEVERE: [Level; 2] = [Level::Warning, Level::Critical];

impl SeriesState {
    /// A series that has not spoken yet, as if its last reading had been at `since`.
    pub fn silent(since: Millis) -> Self {
        Self { silent_since: Some(since), ..Self::default() }
    }

    /// A reading at window end `end`; `level` is `None` where it is not judged.
    pub fn reading(
        &mut self,
        who: Identity<'_>,
        header: &Header,
        slide_ms: i64,
        end: Millis,
        level: Option<Level>,
    ) -> Option<Change> {
        let silent = self.silent_since.take();
        self.silence_told = false;
        let gap =
            if header.no_data.silence == Silence::Zero { 0 } else { silent.map_or(0, |last| end.saturating_sub(last)) };
        for (at, severe) in SEVERE.into_iter().enumerate() {
            let wait = header.for_ms.get(&severe).copied().unwrap_or(0);
            if gap > slide_ms && wait > 0 && gap >= wait {
                self.at_least[at] = None;
            }
        }
        let Some(level) = level else { return self.repeat(header, end) };
        for (at, severe) in SEVERE.into_iter().enumerate() {
            if level >= severe {
                self.at_least[at].get_or_insert(end);
                self.below[at] = None;
            } else {
                self.at_least[at] = None;
                self.below[at].get_or_insert(end);
            }
        }
        self.level = Some(level);
        let mut state = self.state;
        for (at, severe) in SEVERE.into_iter().enumerate() {
            let wait = header.for_ms.get(&severe).copied().unwrap_or(0);
            if severe > state && self.at_least[at].is_some_and(|since| end.saturating_sub(since) >= wait) {
                state = severe;
            }
        }
        if state == self.state {
            // Down, a level at a time, as far as the runs below have lasted.
            for (at, severe) in SEVERE.into_iter().enumerate().rev() {
                if state == severe
                    && self.below[at].is_some_and(|since| end.saturating_sub(since) >= header.keep_firing_ms)
                {
                    state = if at == 0 { Level::Healthy } else { SEVERE[at - 1] };
                }
            }
        }
        let since = self.at_least[0].unwrap_or(end);
        self.turn(who, header, end, since, state, "")
    }

    /// A reading over no events, for a rule to which silence is zero: judged as any other, but the series is silent.
    pub fn zero(
        &mut self,
        who: Identity<'_>,
        header: &Header,
        slide_ms: i64,
        end: Millis,
        level: Option<Level>,
    ) -> Option<Change> {
        let last = self.silent_since.take().unwrap_or(end - slide_ms);
        let change = self.reading(who, header, slide_ms, end, level);
        self.silent_since = Some(last);
        change
    }

    /// True where a series has been silent for so long by window end `end` that it is to be forgotten.
    pub fn forgettable(&self, header: &Header, end: Millis) -> bool {
        self.silent_since.is_some_and(|last| end.saturating_sub(last) >= header.no_data.forget_ms)
    }

    /// A window without a reading at window end `end`. `None` where nothing is to be told; the second part is true
    /// where the series is to be forgotten, as one that is `expected` never is.
    pub fn silence(
        &mut self,
        who: Identity<'_>,
        header: &Header,
        slide_ms: i64,
        end: Millis,
        expected: bool,
    ) -> (Option<Change>, bool) {
        let last = *self.silent_since.get_or_insert(end - slide_ms);
        let silent_ms = end.saturating_sub(last);
        if silent_ms >= header.no_data.forget_ms && !expected {
            return (self.turn(who, header, end, end, Level::Healthy, "forgotten"), true);
        }
        if silent_ms < header.no_data.after_ms || self.silence_told {
            return (self.repeat(header, end), false);
        }
        self.silence_told = true;
        let since = last.saturating_add(slide_ms);
        let change = match header.no_data.silence {
            Silence::Hold | Silence::Zero => self.tell(end, Happened::NoData, self.state, "no_data"),
            // Silence makes nothing better, unless it is said to be health.
            Silence::Warning if self.state == Level::Critical => {
                self.tell(end, Happened::NoData, self.state, "no_data")
            }
            Silence::Healthy => self.turn_level(who, header, end, since, Level::Healthy),
            Silence::Warning => self.turn_level(who, header, end, since, Level::Warning),
            Silence::Critical => self.turn_level(who, header, end, since, Level::Critical),
        };
        (change, false)
    }

    /// The series or its rule is gone.
    pub fn gone(&mut self, who: Identity<'_>, header: &Header, end: Millis, reason: &'static str) -> Option<Change> {
        self.turn(who, header, end, end, Level::Healthy, reason)
    }

    fn turn_level(
        &mut self,
        who: Identity<'_>,
        header: &Header,
        end: Millis,
        since: Millis,
        level: Level,
    ) -> Option<Change> {
        self.level = Some(level);
        for (at, severe) in SEVERE.into_iter().enumerate() {
            let holds = level >= severe;
            self.at_least[at] = holds.then(|| self.at_least[at].unwrap_or(since));
            self.below[at] = (!holds).then(|| self.below[at].unwrap_or(since));
        }
        self.turn(who, header, end, since, level, "no_data")
    }

    fn turn(
        &mut self,
        who: Identity<'_>,
        header: &Header,
        end: Millis,
        since: Millis,
        state: Level,
        reason: &'static str,
    ) -> Option<Change> {
        let previous = std::mem::replace(&mut self.state, state);
        let happened = match (previous, state) {
            (before, now) if before == now => return self.repeat(header, end),
            (Level::Healthy, _) => Happened::Opened,
            (_, Level::Healthy) => Happened::Resolved,
            (before, now) if now > before => Happened::Escalated,
            _ => Happened::Deescalated,
        };
        if happened == Happened::Opened {
            let id = hash(&format!("{}\u{1f}{}\u{1f}{end}", who.rule, who.series));
            self.episode = Some(Episode { id, opened_ms: end, since_ms: since, events: 0, told_ms: end });
        }
        let change = self.tell(end, happened, previous, reason);
        if happened == Happened::Resolved {
            self.episode = None;
        }
        change
    }

    fn repeat(&mut self, header: &Header, end: Millis) -> Option<Change> {
        let due = self.episode.as_ref()?.told_ms.saturating_add(header.repeat_ms?);
        if end >= due { self.tell(end, Happened::Repeated, self.state, "") } else { None }
    }

    fn tell(&mut self, end: Millis, happened: Happened, previous: Level, reason: &'static str) -> Option<Change> {
        let episode = self.episode.as_mut()?;
        episode.events = episode.events.saturating_add(1);
        episode.told_ms = end;
        Some(Change { happened, previous, state: self.state, episode: episode.clone(), reason })
    }
}

impl Change {
    /// The id of this breach event: a replay gives it again.
    pub fn event_id(&self, who: Identity<'_>) -> String {
        hash(&format!("{}\u{1f}{}\u{1f}{}\u{1f}{}", who.rule, who.series, self.episode.opened_ms, self.episode.events))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rules::{defaults::Defaults, diagnostics::Source, header};

    const WHO: Identity<'static> = Identity { rule: "r", series: "{}" };

    fn header(extra: &str) -> Header {
        let text = format!(
            "/*\nname: r\ntier: data\nlevels: {{warning: value > 1, critical: value > 2}}\n{extra}\n*/ SELECT 1"
        );
        header::split(&Arc::new(Source { path: "r.sql".into(), text }), &Defaults::default()).unwrap().header
    }

    /// Plays readings ten seconds apart: h, w, c are levels, u is unjudged, . is silence. Answers with what was told.
    fn play(extra: &str, readings: &str) -> String {
        let header = header(extra);
        let mut series = SeriesState::default();
        let mut told = Vec::new();
        for (at, reading) in (1i64..).zip(readings.chars()) {
            let end = at * 10_000;
            let change = match reading {
                '.' => {
                    let (change, forgotten) = series.silence(WHO, &header, 10_000, end, false);
                    if forgotten {
                        told.push(format!("{at}:forgotten"));
                    }
                    change
                }
                'u' => series.reading(WHO, &header, 10_000, end, None),
                other => {
                    let level = match other {
                        'h' => Level::Healthy,
                        'w' => Level::Warning,
                        _ => Level::Critical,
                    };
                    series.reading(WHO, &header, 10_000, end, Some(level))
                }
            };
            told.extend(change.map(|change| format!("{at}:{}", change.happened.name())));
        }
        told.join(" ")
    }

    #[test]
    fn states_follow_levels_as_the_header_says() {
        for (extra, readings, told) in [
            ("", "hwch", "2:opened 3:escalated 4:resolved"),
            ("", "hcwh", "2:opened 3:deescalated 4:resolved"),
            // `for` counts from the first reading of the run: 30 s is the fourth.
            ("for: 30s", "wwww", "4:opened"),
            ("for: 30s", "wwhwwww", "7:opened"),
            // Worse than warning is warning too, for the run of warning.
            ("for: {warning: 20s, critical: 30s}", "wcwcccc", "3:opened 7:escalated"),
            ("for: {warning: 5m, critical: 10s}", "wwcc", "4:opened"),
            // Down waits for nothing but keep_firing_for.
            ("for: 20s", "cccwh", "3:opened 4:deescalated 5:resolved"),
            ("keep_firing_for: 20s", "whhh", "1:opened 4:resolved"),
            ("keep_firing_for: 20s", "whhwhhh", "1:opened 7:resolved"),
            ("keep_firing_for: 20s", "cwhhh", "1:opened 4:deescalated 5:resolved"),
            // Unjudged readings neither extend nor break a run.
            ("for: 20s", "wuw", "3:opened"),
            ("for: 20s", "wuuuh", ""),
            // Silence as long as `for` breaks it; a single missing window does not where `for` is longer.
            ("for: 30s", "ww.w", "4:opened"),
            ("for: 30s", "ww...w", ""),
            ("for: 30s", "ww...uw", ""),
            // Silence, held by default and told once while a breach is open.
            ("no_data: {after: 20s}", "w...h", "1:opened 3:no_data 5:resolved"),
            ("no_data: {after: 20s}", "h....", ""),
            ("no_data: {as: critical, after: 20s}", "h...h", "3:opened 5:resolved"),
            ("no_data: {as: warning, after: 20s}", "c...h", "1:opened 3:no_data 5:resolved"),
            ("no_data: {as: healthy, after: 20s}", "c..", "1:opened 3:resolved"),
            ("no_data: {after: 20s, forget: 40s}", "w....", "1:opened 3:no_data 5:forgotten 5:resolved"),
            ("repeat_interval: 20s", "wwwwwh", "1:opened 3:repeated 5:repeated 6:resolved"),
        ] {
            assert_eq!(play(extra, readings), told, "{extra:?} {readings}");
        }
    }

    #[test]
    fn an_event_has_the_same_id_in_every_replay_and_no_other() {
        let header = header("");
        let run = || {
            let mut series = SeriesState::default();
            let mut ids = Vec::new();
            for (end, level) in
                [(10, Level::Warning), (20, Level::Critical), (30, Level::Healthy), (40, Level::Warning)]
            {
                ids.extend(
                    series
                        .reading(WHO, &header, 10, end, Some(level))
                        .map(|change| (change.episode.id.clone(), change.event_id(WHO))),
                );
            }
            ids
        };
        let ids = run();
        assert_eq!(ids, run());
        assert_eq!(ids[0].0, ids[2].0, "one episode");
        assert_ne!(ids[0].0, ids[3].0, "another episode");
        let events: std::collections::BTreeSet<&String> = ids.iter().map(|(_, event)| event).collect();
        assert_eq!(events.len(), 4);
    }

    #[test]
    fn a_steady_series_changes_nothing() {
        let header = header("");
        let mut series = SeriesState::default();
        series.reading(WHO, &header, 10, 10, Some(Level::Healthy));
        let before = series.clone();
        series.reading(WHO, &header, 10, 20, Some(Level::Healthy));
        series.reading(WHO, &header, 10, 30, None);
        assert_eq!(series, before);
    }
}
