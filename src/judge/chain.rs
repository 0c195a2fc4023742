//! The chain: which ranges of which source partition were counted, and how far time has come for it.
//!
//! Time comes from the unbroken prefix alone. A window closes when every partition of every table its rule reads
//! has come past it; a partition nobody speaks of holds, and so does one whose ranges have a hole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    panes::{Millis, is_time},
    partial::Section,
    position::{Link, Range, RangeSet},
};

/// All source partitions, by table and partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    tables: BTreeMap<String, BTreeMap<i32, Source>>,
    counts: BTreeMap<String, i32>,
    /// When each table was heard of first, by the log's time.
    #[serde(default)]
    heard_ms: BTreeMap<String, Millis>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Source {
    incarnation: String,
    /// How many lives of the topic were counted before.
    #[serde(default)]
    life: u32,
    ranges: RangeSet,
    /// The greatest event time of the prefix, less the out-of-orderness, no later than the append time.
    watermark: Option<Millis>,
    /// When it was first at its end without a new record since.
    quiet_since: Option<Millis>,
    /// The watermark that silence gives.
    idle: Option<Millis>,
    /// For each aggregate of each fold, since when every event is in it; the least time where that is all of them.
    whole_since: BTreeMap<String, BTreeMap<String, Millis>>,
    /// Aggregates that are computed, but since when is not known before the first event: fold and aggregate.
    pending: BTreeSet<(String, String)>,
    /// Sections behind a hole: they are counted, but what they say is not taken yet.
    behind: Vec<Behind>,
    /// One past the last position of which that was taken.
    done: Option<i64>,
    /// When its time moved last, by the log's time.
    #[serde(default)]
    moved_ms: Option<Millis>,
    /// One past the last position that anybody spoke of, counted or not.
    #[serde(default)]
    said_until: i64,
}

/// Positions that somebody spoke of and that were not counted: what held them vanished, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The table.
    pub table: String,
    /// The source partition.
    pub partition: i32,
    /// Which life of the topic.
    pub incarnation: String,
    /// How many were before it.
    pub life: u32,
    /// The positions.
    pub range: Range,
}

/// A section that was counted, with what it says of time and of folds. That is taken in the order of positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Behind {
    range: Range,
    latest_ms: Option<Millis>,
    end_at_ms: Option<Millis>,
    append_ms: Millis,
    lost: bool,
    computed: BTreeMap<String, Vec<String>>,
}

impl Behind {
    /// True where a fold was computed in it, in an aggregate. A fold by itself stands under the empty name, for rules that
    /// only ask which keys there are.
    fn lists(&self, fold: &str, aggregate: &str) -> bool {
        let known = self.computed.get(fold);
        known.is_some_and(|known| aggregate.is_empty() || known.iter().any(|known| known == aggregate))
    }
}

impl Source {
    /// True where a section speaks of another life of the topic. Old brokers don't say which life it is.
    fn is_other(&self, section: &Section) -> bool {
        let named = !self.incarnation.is_empty() && !section.incarnation.is_empty();
        self.life != section.life || (named && self.incarnation != section.incarnation)
    }

    /// True where a section speaks of a later life of the topic, with the word that what is left of this one is lost.
    fn is_followed_by(&self, section: &Section) -> bool {
        section.life > self.life
    }

    /// Where a later life begins, time goes on, and positions begin anew.
    fn follow(&mut self, section: &Section) {
        if self.is_followed_by(section) {
            let Self { watermark, idle, moved_ms, .. } = *self;
            *self = Self { watermark, idle, moved_ms, life: section.life, ..Self::default() };
        }
    }

    /// The next section whose word may be taken.
    fn next_behind(&mut self) -> Option<Behind> {
        let done = self.done?;
        let first = (0..self.behind.len()).min_by_key(|at| self.behind[*at].range.start)?;
        (self.behind[first].range.start <= done).then(|| self.behind.remove(first))
    }

    /// Takes what a section says, when everything before it was said.
    fn take(&mut self, section: &Behind, out_of_orderness_ms: i64, idle_after_ms: Option<i64>) {
        let done = self.done.unwrap_or(section.range.end).max(section.range.end);
        let before = self.watermark.max(self.idle);
        self.done = Some(done);
        self.take_folds(section, out_of_orderness_ms);
        // No event moves time further than the log itself has come.
        let time = section.latest_ms.map(|latest| latest.min(section.append_ms).saturating_sub(out_of_orderness_ms));
        self.watermark = self.watermark.max(time);
        if !section.range.is_empty() {
            self.quiet_since = None;
        }
        if let (Some(at), true) = (section.end_at_ms, section.range.end == done && self.behind.is_empty()) {
            let at = at.min(section.append_ms);
            let since = *self.quiet_since.get_or_insert(at);
            if let Some(after) = idle_after_ms.map(|after| after.max(out_of_orderness_ms))
                && at.saturating_sub(since) >= after
            {
                self.idle = self.idle.max(Some(at.saturating_sub(after)));
            }
        }
        if self.watermark.max(self.idle) > before {
            self.moved_ms = self.moved_ms.max(Some(section.append_ms));
        }
    }

    /// Since when each fold has every event. What is lost is in none.
    fn take_folds(&mut self, section: &Behind, out_of_orderness_ms: i64) {
        if section.lost {
            self.whole_since.clear();
        }
        let listed = |fold: &str, aggregate: &str| section.lists(fold, aggregate);
        self.whole_since.retain(|fold, aggregates| {
            aggregates.retain(|aggregate, _| listed(fold, aggregate));
            !aggregates.is_empty()
        });
        self.pending.retain(|(fold, aggregate)| listed(fold, aggregate));
        // What a life before had is not all there.
        let from_the_beginning = section.range.start == 0 && !section.lost && self.life == 0;
        for (fold, aggregates) in &section.computed {
            let known = self.whole_since.entry(fold.clone()).or_default();
            for aggregate in aggregates.iter().map(String::as_str).chain([""]) {
                if known.contains_key(aggregate) {
                    continue;
                }
                if from_the_beginning {
                    known.insert(aggregate.to_owned(), Millis::MIN);
                } else {
                    self.pending.insert((fold.clone(), aggregate.to_owned()));
                }
            }
        }
        let known_from = section.latest_ms.or(section.end_at_ms.map(|t| t.min(section.append_ms)));
        if let Some(from) = known_from {
            for (fold, aggregate) in std::mem::take(&mut self.pending) {
                let since = from.saturating_add(out_of_orderness_ms);
                self.whole_since.entry(fold).or_default().insert(aggregate, since);
            }
        }
    }
}

impl Chain {
    /// How a section relates to what was counted.
    pub fn link(&self, section: &Section) -> Link {
        let source = self.tables.get(&section.table).and_then(|partitions| partitions.get(&section.partition));
        match source {
            None => Link::Joins { hole: false },
            // A topic made anew counts from zero again: its ranges say nothing about the old ones.
            Some(source) if source.is_followed_by(section) => Link::Joins { hole: false },
            Some(source) if source.is_other(section) => Link::Overlaps,
            Some(source) => source.ranges.link(section.range),
        }
    }

    /// Notes how far a section speaks, whether it is counted or not.
    pub fn heard(&mut self, section: &Section) {
        let count = self.counts.entry(section.table.clone()).or_default();
        *count = section.partitions.max(*count);
        let source = self.tables.entry(section.table.clone()).or_default().entry(section.partition).or_default();
        if source.ranges.start().is_none() && source.incarnation.is_empty() {
            source.life = section.life;
        }
        source.follow(section);
        if source.is_other(section) {
            return;
        }
        if source.ranges.start().is_none() {
            // The first word of its owner: here its ranges begin.
            source.incarnation.clone_from(&section.incarnation);
            let start = section.begun.unwrap_or(section.range.start).min(section.range.start);
            source.ranges.insert(Range { start, end: start });
        }
        source.said_until = source.said_until.max(section.range.end);
    }

    /// True where a section speaks of a later life of its topic than the one counted.
    pub fn is_new_life(&self, section: &Section) -> bool {
        let source = self.tables.get(&section.table).and_then(|partitions| partitions.get(&section.partition));
        source.is_some_and(|source| source.is_followed_by(section))
    }

    /// What is missing.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        for (table, partitions) in &self.tables {
            for (partition, source) in partitions {
                needs.extend(source.ranges.missing(source.said_until).into_iter().map(|range| Need {
                    table: table.clone(),
                    partition: *partition,
                    incarnation: source.incarnation.clone(),
                    life: source.life,
                    range,
                }));
            }
        }
        needs
    }

    /// One past the unbroken prefix of a section's partition, where there is one.
    pub fn prefix_end(&self, section: &Section) -> Option<i64> {
        let source = self.tables.get(&section.table)?.get(&section.partition)?;
        if source.is_other(section) { None } else { source.ranges.prefix_end() }
    }

    /// Counts a section that [`link`](Self::link) said joins. `settings` tells a table's out-of-orderness and the
    /// time after which a quiet partition is idle.
    pub fn accept(
        &mut self,
        section: &Section,
        computed: &BTreeMap<String, Vec<String>>,
        append_ms: Millis,
        settings: impl Fn(&str) -> Option<(i64, Option<i64>)>,
    ) {
        let Some((out_of_orderness_ms, idle_after_ms)) = settings(&section.table) else { return };
        // A topic only ever gains partitions; an owner that does not know of the new ones yet takes none away.
        let count = self.counts.entry(section.table.clone()).or_default();
        *count = section.partitions.max(*count);
        self.heard_ms.entry(section.table.clone()).or_insert(append_ms);
        let source = self.tables.entry(section.table.clone()).or_default().entry(section.partition).or_default();
        source.follow(section);
        if !section.incarnation.is_empty() {
            source.incarnation.clone_from(&section.incarnation);
        }
        source.ranges.insert(section.range);
        source.said_until = source.said_until.max(section.range.end);
        // Where its ranges begin, and with them what is said.
        let start = source.ranges.start().unwrap_or(section.range.start);
        let done = *source.done.get_or_insert(start);
        if section.range.is_empty() && section.range.start > done {
            // A tick behind a hole says nothing yet, and will be said again.
            return;
        }
        source.behind.push(Behind {
            range: section.range,
            latest_ms: section.latest_ms,
            end_at_ms: section.end_at_ms,
            append_ms,
            lost: section.lost,
            computed: computed.clone(),
        });
        while let Some(next) = source.next_behind() {
            source.take(&next, out_of_orderness_ms, idle_after_ms);
        }
    }

    /// How far time has come for all of `tables`; `None` while a partition of one has not spoken.
    pub fn watermark(&self, tables: &BTreeSet<String>) -> Option<Millis> {
        let mut least: Option<Millis> = None;
        for table in tables {
            let count = *self.counts.get(table)?;
            let partitions = self.tables.get(table)?;
            for partition in 0..count {
                let source = partitions.get(&partition)?;
                let time = source.watermark.max(source.idle)?;
                least = Some(least.map_or(time, |least| least.min(time)));
            }
        }
        least
    }

    /// How many partitions a table has, as far as is known.
    pub fn count(&self, table: &str) -> i32 {
        self.counts.get(table).copied().unwrap_or(0)
    }

    /// The event time of a source partition, as far as it has any, and when that moved last by the log's time.
    pub fn standing(&self, table: &str, partition: i32) -> Option<(Option<Millis>, Millis)> {
        let heard = *self.heard_ms.get(table)?;
        let source = self.tables.get(table).and_then(|partitions| partitions.get(&partition));
        let time = source.and_then(|source| source.watermark.max(source.idle));
        Some((time, source.and_then(|source| source.moved_ms).unwrap_or(heard)))
    }

    /// Since when a fold has every event of a table in the given aggregates; `None` while that is not known.
    pub fn whole_since(&self, table: &str, fold: &str, aggregates: &[String]) -> Option<Millis> {
        let count = *self.counts.get(table)?;
        let partitions = self.tables.get(table)?;
        let mut latest = Millis::MIN;
        for partition in 0..count {
            let since = partitions.get(&partition)?.whole_since.get(fold)?;
            for aggregate in aggregates.iter().map(String::as_str).chain([""]) {
                latest = latest.max(*since.get(aggregate)?);
            }
        }
        Some(latest)
    }

    /// True where all that is known already of positions behind holes has a fold in the given aggregates, too: what fills a
    /// hole may have more than what follows it.
    pub fn goes_on(&self, table: &str, fold: &str, aggregates: &[String]) -> bool {
        let sources = self.tables.get(table).into_iter().flat_map(BTreeMap::values);
        sources.flat_map(|source| &source.behind).filter(|section| !section.lost).all(|section| {
            aggregates.iter().map(String::as_str).chain([""]).all(|aggregate| section.lists(fold, aggregate))
        })
    }

    /// True where positions and times are such; what was read from a record may be anything.
    pub fn is_sound(&self) -> bool {
        let known = |at: &Option<Millis>| at.is_none_or(is_time);
        self.tables.values().flat_map(BTreeMap::values).all(|source| {
            let behind =
                source.behind.iter().all(|one| one.range.start >= 0 && known(&one.latest_ms) && known(&one.end_at_ms));
            let times = [source.watermark, source.quiet_since, source.idle];
            source.ranges.is_sound() && behind && times.iter().all(known)
        })
    }

    /// A fold that begins anew: nothing of it is whole.
    pub fn forget_fold(&mut self, fold: &str) {
        for source in self.tables.values_mut().flat_map(BTreeMap::values_mut) {
            source.whole_since.remove(fold);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(partition: i32, start: i64, end: i64, latest_ms: Option<i64>, end_at_ms: Option<i64>) -> Section {
        Section {
            table: "t".into(),
            topic: "t".into(),
            incarnation: "a".into(),
            partition,
            partitions: 2,
            range: Range { start, end },
            latest_ms,
            end_at_ms,
            lost: false,
            begun: None,
            life: 0,
            letters: 0,
        }
    }

    fn accept(chain: &mut Chain, section: &Section, append_ms: i64) {
        let computed = BTreeMap::from([("f".to_owned(), Vec::new())]);
        chain.accept(section, &computed, append_ms, |_| Some((5, Some(30))));
    }

    fn watermark(chain: &Chain) -> Option<i64> {
        chain.watermark(&BTreeSet::from(["t".to_owned()]))
    }

    #[test]
    fn time_waits_for_every_partition() {
        let mut chain = Chain::default();
        accept(&mut chain, &section(0, 0, 10, Some(100), None), 1000);
        assert_eq!(watermark(&chain), None, "partition 1 has not spoken");
        accept(&mut chain, &section(1, 0, 0, None, None), 1000);
        assert_eq!(watermark(&chain), None, "partition 1 has no time");
        accept(&mut chain, &section(1, 0, 5, Some(50), None), 1000);
        assert_eq!(watermark(&chain), Some(45));
    }

    #[test]
    fn time_waits_at_a_hole_and_goes_on_when_it_is_filled() {
        let mut chain = Chain::default();
        accept(&mut chain, &section(1, 0, 5, Some(1000), None), 1000);
        accept(&mut chain, &section(0, 0, 10, Some(100), None), 1000);
        accept(&mut chain, &section(0, 20, 30, Some(300), None), 1000);
        assert_eq!(watermark(&chain), Some(95));
        accept(&mut chain, &section(0, 10, 20, Some(200), None), 1000);
        assert_eq!(watermark(&chain), Some(295));
    }

    #[test]
    fn what_fills_a_hole_may_have_more_than_what_follows_it() {
        let mut chain = Chain::default();
        accept(&mut chain, &section(0, 0, 5, Some(100), None), 1000);
        accept(&mut chain, &section(0, 10, 20, Some(300), None), 1000);
        assert!(
            chain.goes_on("t", "f", &[]) && !chain.goes_on("t", "g", &[]) && !chain.goes_on("t", "f", &["sum".into()])
        );
        accept(&mut chain, &section(0, 5, 10, Some(200), None), 1000);
        assert!(chain.goes_on("t", "g", &[]), "nothing is behind a hole any more");
    }

    #[test]
    fn a_fast_clock_moves_time_no_further_than_the_log() {
        let mut chain = Chain::default();
        accept(&mut chain, &section(1, 0, 5, Some(9_000), None), 400);
        accept(&mut chain, &section(0, 0, 5, Some(9_000), None), 500);
        assert_eq!(watermark(&chain), Some(395));
    }

    #[test]
    fn a_quiet_partition_is_idle_only_after_a_while_at_its_end() {
        let mut chain = Chain::default();
        accept(&mut chain, &section(1, 0, 5, Some(10_000), None), 20_000);
        for (section, expected) in [
            (section(0, 0, 5, Some(100), Some(200)), Some(95)),
            (section(0, 5, 5, None, Some(229)), Some(95)),
            (section(0, 5, 5, None, Some(230)), Some(200)),
            (section(0, 5, 5, None, Some(300)), Some(270)),
            // A new record ends the silence; time does not go back.
            (section(0, 5, 6, Some(280), Some(310)), Some(275)),
            (section(0, 6, 6, None, Some(320)), Some(275)),
        ] {
            accept(&mut chain, &section, 20_000);
            assert_eq!(watermark(&chain), expected, "{section:?}");
        }
    }

    #[test]
    fn windows_are_whole_from_the_beginning_or_from_where_reading_began() {
        let mut chain = Chain::default();
        accept(&mut chain, &section(0, 0, 5, Some(100), None), 1000);
        accept(&mut chain, &section(1, 7, 9, Some(120), None), 1000);
        assert_eq!(chain.whole_since("t", "f", &[]), Some(125));
        assert_eq!(chain.whole_since("t", "g", &[]), None);
    }

    #[test]
    fn a_recreated_topic_is_refused() {
        let mut chain = Chain::default();
        accept(&mut chain, &section(0, 0, 5, Some(100), None), 1000);
        let again = Section { incarnation: "b".into(), ..section(0, 5, 9, Some(200), None) };
        assert_eq!(chain.link(&again), Link::Overlaps);
        // Until somebody says that the rest of the old one is lost, which every section of the new one does.
        let first = Section { incarnation: "b".into(), life: 1, begun: Some(0), ..section(0, 2, 4, Some(200), None) };
        assert!(chain.is_new_life(&first));
        assert_eq!(chain.link(&first), Link::Joins { hole: false });
        chain.heard(&first);
        accept(&mut chain, &first, 1000);
        let missing = chain.needs();
        assert_eq!((missing[0].range, missing[0].life), (Range { start: 0, end: 2 }, 1), "the first of it vanished");
        accept(&mut chain, &Section { incarnation: "b".into(), life: 1, ..section(0, 0, 2, Some(150), None) }, 1000);
        assert_eq!(chain.link(&section(0, 5, 9, Some(200), None)), Link::Overlaps, "of the old one");
        accept(&mut chain, &section(1, 0, 9, Some(300), None), 1000);
        assert_eq!(chain.whole_since("t", "f", &[]), Some(155), "what the old one had is not all there");
    }
}
