//! Built-in rules about source partitions: events that were lost, and time that stands still and holds windows back.
//!
//! All judge partitions hear of all source partitions; one of them, by hash, tells. Time is that of the log: when the
//! record was appended stands for the end of a window.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Active, Judge,
    breach::{Technical, technical},
    output::Output,
    reach_ms,
    series::Happened,
};
use crate::{panes::Millis, partial::Section, rules::hash, spread::partition_of, time};

/// How long time may stand still, beyond the time after which a quiet partition counts as idle.
const STILL_MS: i64 = 5 * 60_000;

const LOST: &str = "tierwatch_events_lost";
const LOST_TITLE: &str = "Events were lost";
const STILL: &str = "tierwatch_time_stands_still";
const STILL_TITLE: &str = "The time of a source partition stands still";

/// A breach of a built-in rule that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// When it was opened, by the log's time.
    pub since_ms: Millis,
}

/// A source partition as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its number.
    pub partition: i32,
    /// Its event time, as far as it has any.
    pub time: Option<Millis>,
    /// When that moved last, by the log's time.
    pub moved_ms: Millis,
    /// How long its time may stand still where it is quiet.
    pub idle_after_ms: i64,
    /// From which event time on all windows over its table are whole, where that is known.
    pub whole_at: Option<Millis>,
}

/// What was told and is not over, by built-in rule, topic and partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources(BTreeMap<String, Opened>);

/// Where it is told, when, and what has happened to what.
struct Case<'a> {
    name: &'static str,
    topic: &'a str,
    partition: i32,
}

impl Case<'_> {
    fn key(&self) -> String {
        format!("{}\u{1f}{}\u{1f}{}", self.name, self.topic, self.partition)
    }

    fn output(
        &self,
        opened: Opened,
        now_ms: Millis,
        happened: Happened,
        title: &'static str,
        summary: String,
    ) -> Output {
        let series = BTreeMap::from([
            ("topic".to_owned(), serde_json::json!(self.topic)),
            ("partition".to_owned(), serde_json::json!(self.partition)),
        ]);
        let text = Technical { name: self.name, title, summary, reason: "", owner: "", runbook_url: "" };
        technical(
            series,
            &hash(self.name),
            (opened.since_ms, now_ms, now_ms),
            happened,
            &opened.since_ms.to_string(),
            text,
        )
    }
}

impl Sources {
    /// True where nothing is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Events before a position are gone.
    pub fn lost(
        &mut self,
        place: (&str, i32),
        position: i64,
        now_ms: Millis,
        (home, homes): (i32, i32),
        out: &mut Vec<Output>,
    ) {
        let case = Case { name: LOST, topic: place.0, partition: place.1 };
        if partition_of(&case.key(), homes) != home {
            return;
        }
        let opened = Opened { since_ms: now_ms };
        // More that is lost before the first is over belongs to it.
        if let std::collections::btree_map::Entry::Vacant(new) = self.0.entry(case.key()) {
            new.insert(opened);
            let summary = format!(
                "events of {}[{}] before position {position} are gone: windows over them are partial and not judged",
                place.0, place.1
            );
            out.push(case.output(opened, now_ms, Happened::Opened, LOST_TITLE, summary));
        }
    }

    /// Tells what begins and what is over.
    pub fn look(
        &mut self,
        standing: &[Standing<'_>],
        now_ms: Millis,
        (home, homes): (i32, i32),
        out: &mut Vec<Output>,
    ) {
        for at in standing {
            let Standing { topic, partition, .. } = *at;
            let place = format!("{topic}[{partition}]");
            let case = Case { name: LOST, topic, partition };
            if let Some(opened) = self.0.get(&case.key()).copied()
                && at.whole_at.is_some_and(|whole_at| at.time.is_some_and(|time| time >= whole_at))
            {
                self.0.remove(&case.key());
                let summary = format!("windows over {place} are whole again");
                out.push(case.output(opened, now_ms, Happened::Resolved, LOST_TITLE, summary));
            }
            let case = Case { name: STILL, topic, partition };
            if partition_of(&case.key(), homes) != home {
                continue;
            }
            let limit_ms = STILL_MS + at.idle_after_ms;
            match self.0.get(&case.key()).copied() {
                None if now_ms - at.moved_ms > limit_ms => {
                    let opened = Opened { since_ms: now_ms };
                    self.0.insert(case.key(), opened);
                    let summary = format!(
                        "the time of {place} has stood still for {}, and rules that read it wait: nobody reads it, its producer has stopped and fold.idle_after is never, or positions of it are missing",
                        time::span((now_ms - at.moved_ms) / 1_000 * 1_000)
                    );
                    out.push(case.output(opened, now_ms, Happened::Opened, STILL_TITLE, summary));
                }
                Some(opened) if at.moved_ms >= opened.since_ms => {
                    self.0.remove(&case.key());
                    out.push(case.output(
                        opened,
                        now_ms,
                        Happened::Resolved,
                        STILL_TITLE,
                        format!("the time of {place} goes on"),
                    ));
                }
                _ => {}
            }
        }
        // Of a source that no rule reads any more nothing is said.
        let read: BTreeSet<(&str, i32)> = standing.iter().map(|at| (at.topic, at.partition)).collect();
        self.0.retain(|key, opened| {
            let mut words = key.split('\u{1f}');
            let (name, topic) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let partition = words.next().and_then(|partition| partition.parse().ok()).unwrap_or(0);
            if read.contains(&(topic, partition)) {
                return true;
            }
            let (name, title) = if name == LOST { (LOST, LOST_TITLE) } else { (STILL, STILL_TITLE) };
            let summary = format!("no rule reads {topic} any more");
            out.push(Case { name, topic, partition }.output(*opened, now_ms, Happened::Resolved, title, summary));
            false
        });
    }
}

impl Judge {
    /// Tells that events of a source partition are gone.
    pub(super) fn tell_lost(&mut self, section: &Section, append_ms: Millis, out: &mut Vec<Output>) {
        let Some(active) = &self.rules else { return };
        let home = (self.partition, active.record.partitions);
        self.sources.lost((&section.topic, section.partition), section.range.end, append_ms, home, out);
    }

    /// From when on every window over a table is whole; `None` where that is not known yet.
    fn whole_at(&self, active: &Active, table: &str) -> Option<Millis> {
        let rules = active.set.rules.iter().filter(|rule| rule.tables.contains(table));
        let mut latest = Millis::MIN;
        for (rule, fold) in rules.flat_map(|rule| rule.all_folds().map(move |fold| (rule, fold))) {
            if fold.spec.table.name == table {
                let since = self.chain.whole_since(table, &fold.ids.fold, &fold.ids.aggregates)?;
                latest = latest.max(since.saturating_add(reach_ms(rule, fold)));
            }
        }
        Some(latest)
    }

    pub(super) fn look_at_sources(&mut self, append_ms: Millis, out: &mut Vec<Output>) {
        let Some(active) = &self.rules else { return };
        let mut standing = Vec::new();
        for table in active.set.tables() {
            let Some(known) = active.set.catalog.tables.get(&table) else { continue };
            let whole_at = self.whole_at(active, &table);
            let idle_after_ms = active.set.settings.idle_after_ms.unwrap_or(0).max(known.out_of_orderness_ms);
            for partition in 0..self.chain.count(&table) {
                let Some((time, moved_ms)) = self.chain.standing(&table, partition) else { continue };
                standing.push(Standing { topic: &known.topic, partition, time, moved_ms, idle_after_ms, whole_at });
            }
        }
        self.sources.look(&standing, append_ms, (self.partition, active.record.partitions), out);
    }

    /// What was told of source partitions and is not over.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(out: &mut Vec<Output>) -> Vec<String> {
        let event = |output: Output| match output {
            Output::Breach(event) => format!("{} {} {}", event.rule, event.happened.name(), event.ordinal),
            _ => unreachable!("only breach events are told"),
        };
        out.drain(..).map(event).collect()
    }

    #[test]
    fn time_that_stands_still_is_told_once_and_so_is_its_going_on() {
        let (mut sources, mut out) = (Sources::default(), Vec::new());
        let at = |moved_ms| Standing {
            topic: "t",
            partition: 3,
            time: Some(7),
            moved_ms,
            idle_after_ms: 30_000,
            whole_at: None,
        };
        for (now_ms, moved_ms, expected) in [
            (300_000, 0, vec![]),
            (330_001, 0, vec!["tierwatch_time_stands_still opened 1"]),
            (400_000, 0, vec![]),
            (410_000, 405_000, vec!["tierwatch_time_stands_still resolved 2"]),
            (420_000, 405_000, vec![]),
        ] {
            sources.look(&[at(moved_ms)], now_ms, (0, 1), &mut out);
            assert_eq!(said(&mut out), expected, "at {now_ms}");
        }
        assert!(sources.is_empty());
    }

    #[test]
    fn lost_events_are_told_until_no_window_has_them() {
        let (mut sources, mut out) = (Sources::default(), Vec::new());
        sources.lost(("t", 0), 90, 1_000, (0, 1), &mut out);
        sources.lost(("t", 0), 95, 1_100, (0, 1), &mut out);
        assert_eq!(said(&mut out), ["tierwatch_events_lost opened 1"], "more of the same");
        for (time, whole_at, expected) in [
            (None, None, vec![]),
            (Some(9_000), None, vec![]),
            (Some(9_000), Some(9_500), vec![]),
            (Some(9_500), Some(9_500), vec!["tierwatch_events_lost resolved 2"]),
        ] {
            let standing = Standing { topic: "t", partition: 0, time, moved_ms: 2_000, idle_after_ms: 0, whole_at };
            sources.look(&[standing], 2_000, (0, 1), &mut out);
            assert_eq!(said(&mut out), expected);
        }
    }

    #[test]
    fn one_of_all_partitions_tells() {
        let mut out = Vec::new();
        for home in 0..8 {
            Sources::default().lost(("t", 2), 9, 10, (home, 8), &mut out);
        }
        assert_eq!(out.len(), 1);
    }
}
