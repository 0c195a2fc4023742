//! Laws that hold for any input, tried on many: window arithmetic, ranges of positions, the chain, bands, series, the
//! records of the log, and a restart at any record. Each is compared with a model that is slow and plain.
//!
//! What needs the inside of a module stands beside it: sums and sketches in `rules/aggregates/tests.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use proptest::prelude::*;
use tierwatch::{
    judge::{
        chain::Chain,
        journal::Recorded,
        series::{Happened, Identity, SeriesState},
        stage::{Stage, StateOptions, Transaction},
    },
    panes::{Hop, first_end_after, last_end_until, pane_start},
    partial::{Partials, Record, RecordFormat, Section, Sections},
    position::{Link, Range, RangeSet},
    rules::{
        defaults::Defaults,
        diagnostics::Source,
        header,
        levels::{Bands, Level},
    },
};

use crate::fuzz_regressions::targets;

const MINUTE: i64 = 60_000;

// Windows.

/// A hop whose size is a multiple of its slide, as times go in rules.
fn hops() -> impl Strategy<Value = Hop> {
    (1..200_i64, 1..40_i64, 0..50_i64).prop_map(|(slide, times, ago)| Hop {
        slide_ms: slide,
        size_ms: slide * times,
        ago_ms: ago * 7,
    })
}

proptest! {
    #[test]
    fn an_event_lies_in_size_by_slide_windows(hop in hops(), time in -1_000_000..1_000_000_i64) {
        let now = Hop { ago_ms: 0, ..hop };
        let first = first_end_after(time, hop.slide_ms);
        let ends: Vec<i64> = (-2..2 + hop.size_ms / hop.slide_ms).map(|n| first + n * hop.slide_ms).collect();
        let holding = ends.iter().filter(|end| {
            let (from, to) = now.window(**end);
            from <= time && time < to
        });
        prop_assert_eq!(holding.count(), usize::try_from(hop.size_ms / hop.slide_ms).unwrap());
        // The first of them is the first that can.
        let (from, to) = now.window(first);
        prop_assert!(from <= time && time < to && now.window(first - hop.slide_ms).1 <= time);
    }

    #[test]
    fn panes_divide_windows(
        slide in 1..500_i64, size in 1..5_000_i64, ago in 0..5_000_i64,
        end in -1_000_000_000..1_000_000_000_i64, time in -1_000_000_000..1_000_000_000_i64,
    ) {
        let hop = Hop { slide_ms: slide, size_ms: size, ago_ms: ago };
        let pane = hop.pane_ms();
        let (from, to) = hop.window(end);
        prop_assert_eq!((from.rem_euclid(pane), to.rem_euclid(pane), to - from), (0, 0, size));
        prop_assert!(to <= end - ago && end - ago - to < slide && from >= end - hop.reach_ms());
        // An event is in a window exactly where its pane is.
        let start = pane_start(time, pane);
        prop_assert!(start <= time && time < start + pane && start.rem_euclid(pane) == 0);
        prop_assert_eq!(from <= time && time < to, from <= start && start < to);
        prop_assert_eq!(last_end_until(time, slide), first_end_after(time, slide) - slide);
    }

    #[test]
    fn no_time_breaks_the_arithmetic(
        time in any::<i64>(), slide in 1..i64::MAX, size in 1..i64::MAX, ago in 0..i64::MAX,
    ) {
        let hop = Hop { slide_ms: slide, size_ms: size, ago_ms: ago };
        let _ = (hop.window(time), hop.reach_ms(), pane_start(time, slide), first_end_after(time, slide), hop.pane_ms());
    }
}

// Ranges of positions, against the set of positions that they hold.

/// Cuts `[from, to)` at the given places.
fn cut(from: i64, to: i64, cuts: &[i64]) -> Vec<Range> {
    let mut ends: BTreeSet<i64> = cuts.iter().copied().filter(|cut| from < *cut && *cut < to).collect();
    ends.insert(to);
    let mut start = from;
    ends.into_iter().map(|end| Range { start: std::mem::replace(&mut start, end), end }).collect()
}

fn shuffled_cuts() -> impl Strategy<Value = Vec<Range>> {
    (0..20_i64, 1..60_i64, prop::collection::vec(0..80_i64, 0..8))
        .prop_flat_map(|(from, length, cuts)| Just(cut(from, from + length, &cuts)).prop_shuffle())
}

proptest! {
    #[test]
    fn ranges_are_the_positions_that_they_hold(
        offered in prop::collection::vec((0..40_i64, 0..12_i64), 1..30),
    ) {
        let mut set = RangeSet::default();
        let mut model: BTreeSet<i64> = BTreeSet::new();
        for (start, length) in offered {
            let range = Range { start, end: start + length };
            let known = (range.start..range.end).filter(|at| model.contains(at)).count();
            // An empty first range says where a partition begins; the model has no word for it.
            if model.is_empty() && range.is_empty() {
                continue;
            }
            let prefix = |model: &BTreeSet<i64>| {
                let first = *model.first()?;
                (first..).find(|at| !model.contains(at))
            };
            let hole = prefix(&model).is_some_and(|end| range.start > end);
            let expected = match known {
                0 => Link::Joins { hole },
                all if all == usize::try_from(length).unwrap() => Link::Known,
                _ => Link::Overlaps,
            };
            prop_assert_eq!(set.link(range), expected, "{:?} of {:?}", range, set);
            if matches!(expected, Link::Joins { .. }) {
                set.insert(range);
                model.extend(range.start..range.end);
            }
            let end = prefix(&model);
            let next = end.and_then(|end| model.range(end..).next().copied());
            prop_assert_eq!((set.start(), set.prefix_end()), (model.first().copied(), end));
            prop_assert_eq!(set.hole(), end.zip(next).map(|(start, end)| Range { start, end }));
            prop_assert!(set.is_sound());
        }
    }

    #[test]
    fn pieces_join_to_the_whole_in_any_order(pieces in shuffled_cuts()) {
        let mut set = RangeSet::default();
        for piece in &pieces {
            set.insert(*piece);
        }
        let mut whole = RangeSet::default();
        let start = pieces.iter().map(|piece| piece.start).min().unwrap();
        let end = pieces.iter().map(|piece| piece.end).max().unwrap();
        whole.insert(Range { start, end });
        prop_assert_eq!(set, whole);
    }
}

// The chain.

/// What a section says of a source partition whose event at a position has the time of that position, out of order by a few.
fn section(range: Range) -> Section {
    Section {
        table: "t".into(),
        topic: "t".into(),
        incarnation: String::new(),
        partition: 0,
        partitions: 1,
        range,
        latest_ms: (range.start..range.end).map(|at| at * 10 + (at * 7919) % 50).max(),
        end_at_ms: None,
        lost: false,
        begun: None,
        life: 0,
        letters: 0,
    }
}

/// Offers sections to a chain; answers with it and with what was counted.
fn counted(sections: &[Range]) -> (Chain, Vec<i64>) {
    let mut chain = Chain::default();
    let mut counted = Vec::new();
    for range in sections {
        let section = section(*range);
        if matches!(chain.link(&section), Link::Joins { .. }) {
            chain.accept(&section, &BTreeMap::new(), 1_000_000, |_| Some((5, None)));
            counted.extend(range.start..range.end);
        }
    }
    counted.sort_unstable();
    (chain, counted)
}

proptest! {
    #[test]
    fn the_chain_counts_each_position_once_in_any_order(
        cuts in prop::collection::vec(1..60_i64, 0..8),
        disturbing in prop::collection::vec((0..60_i64, 1..20_i64, any::<prop::sample::Index>()), 0..8),
        order in any::<u64>(),
    ) {
        let pieces = cut(0, 60, &cuts);
        let tables = BTreeSet::from(["t".to_owned()]);
        let (in_order, all) = counted(&pieces);
        prop_assert_eq!(&all, &(0..60).collect::<Vec<i64>>());
        // The same in another order, each piece twice, others that overlap between, and again what may have been
        // refused because of them: whoever was refused reads on from where the chain is.
        let mut offered: Vec<Range> = [pieces.clone(), pieces.clone()].concat();
        let mut state = order | 1;
        for at in (1..offered.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            offered.swap(at, usize::try_from(state >> 33).unwrap() % (at + 1));
        }
        let (shuffled, once) = counted(&offered);
        prop_assert_eq!(&once, &all);
        prop_assert_eq!(shuffled.watermark(&tables), in_order.watermark(&tables));
        prop_assert!(shuffled.is_sound());
        for (start, length, at) in disturbing {
            offered.insert(at.index(offered.len()), Range { start, end: (start + length).min(60) });
        }
        // Reading begins at the beginning.
        offered.insert(0, pieces[0]);
        offered.retain(|range| !range.is_empty());
        let (disturbed, some) = counted(&offered);
        prop_assert!(some.windows(2).all(|pair| pair[0] < pair[1]), "nothing is counted twice: {:?}", some);
        let unbroken = (0..60).take_while(|at| some.contains(at)).count();
        // Time never passes what is missing: each later position is later by less than the disorder allows.
        let of_prefix = (0..i64::try_from(unbroken).unwrap()).map(|at| at * 10 + (at * 7919) % 50).max();
        prop_assert!(disturbed.watermark(&tables) <= of_prefix.map(|latest| latest - 5));
    }
}

// Levels.

/// A condition over `value` with whole limits, as SQL and as what it means.
#[derive(Debug, Clone)]
enum Condition {
    Compare(&'static str, i32),
    Between(i32, i32, bool),
    Not(Box<Condition>),
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
}

impl Condition {
    fn sql(&self) -> String {
        match self {
            Self::Compare(op, limit) if limit % 2 == 0 || *op == "<>" => format!("value {op} {limit}"),
            Self::Compare(op, limit) => {
                format!("{limit} {} value", op.replace('<', "!").replace('>', "<").replace('!', ">"))
            }
            Self::Between(low, high, no) => format!("value {}BETWEEN {low} AND {high}", if *no { "NOT " } else { "" }),
            Self::Not(inner) => format!("NOT ({})", inner.sql()),
            Self::Both(a, b) => format!("({}) AND ({})", a.sql(), b.sql()),
            Self::Either(a, b) => format!("({}) OR ({})", a.sql(), b.sql()),
        }
    }

    fn holds(&self, value: f64) -> bool {
        match self {
            Self::Compare(op, limit) => {
                let limit = f64::from(*limit);
                match *op {
                    "<" => value < limit,
                    "<=" => value <= limit,
                    ">" => value > limit,
                    ">=" => value >= limit,
                    "=" => value == limit,
                    _ => value != limit,
                }
            }
            Self::Between(low, high, no) => (f64::from(*low) <= value && value <= f64::from(*high)) != *no,
            Self::Not(inner) => !inner.holds(value),
            Self::Both(a, b) => a.holds(value) && b.holds(value),
            Self::Either(a, b) => a.holds(value) || b.holds(value),
        }
    }
}

fn conditions() -> impl Strategy<Value = Condition> {
    let compare = (prop::sample::select(vec!["<", "<=", ">", ">=", "=", "<>"]), -20..20_i32)
        .prop_map(|(op, limit)| Condition::Compare(op, limit));
    let between = (-20..20_i32, -20..20_i32, any::<bool>()).prop_map(|(a, b, no)| Condition::Between(a, b, no));
    prop_oneof![compare, between].prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| Condition::Not(Box::new(one))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Condition::Both(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Condition::Either(Box::new(a), Box::new(b))),
        ]
    })
}

proptest! {
    #[test]
    fn bands_say_what_the_conditions_say(
        given in prop::collection::btree_map(prop::sample::select(Level::ALL.to_vec()), conditions(), 1..=3),
        halves in prop::collection::vec(-50..50_i32, 1..20),
        present in prop::option::of(prop::sample::select(Level::ALL.to_vec())),
    ) {
        let texts: BTreeMap<Level, String> = given.iter().map(|(level, condition)| (*level, condition.sql())).collect();
        let bands = Bands::new(&texts.iter().map(|(level, sql)| (*level, sql.as_str())).collect()).unwrap();
        // What the conditions alone say: the most severe that holds, else healthy where that is left out.
        let plain = |value: f64| {
            let severe = given.iter().rev().find(|(_, condition)| condition.holds(value)).map(|(level, _)| *level);
            severe.or((!given.contains_key(&Level::Healthy)).then_some(Level::Healthy))
        };
        // The segments cut the whole line, without holes between them.
        prop_assert_eq!((bands.segments[0].low, bands.segments.last().unwrap().high), (f64::NEG_INFINITY, f64::INFINITY));
        prop_assert!(bands.segments.windows(2).all(|pair| pair[0].high == pair[1].low));
        for half in halves {
            let value = f64::from(half) / 2.0;
            let level = bands.level(value, present);
            match plain(value) {
                Some(plain) => prop_assert_eq!(level, plain, "{} in {:?}", value, texts),
                None => {
                    // A gap, between the next values on either side that have a level. Limits are whole.
                    let side = |step: f64| (1..120_i32).find_map(|n| plain(value + step * f64::from(n)));
                    let sides: Vec<Level> = [side(-0.5), side(0.5)].into_iter().flatten().collect();
                    prop_assert_eq!(bands.neighbours(value), Some((side(-0.5), side(0.5))));
                    let expected = match present {
                        _ if sides.is_empty() => present.unwrap_or_default(),
                        Some(present) if sides.contains(&present) => present,
                        Some(present) => {
                            let far = |level: &Level| (*level as i8).abs_diff(present as i8);
                            *sides.iter().min_by_key(|level| (far(level), **level)).unwrap()
                        }
                        None => *sides.iter().min().unwrap(),
                    };
                    prop_assert_eq!(level, expected, "{} in {:?} after {:?}", value, texts, present);
                }
            }
        }
    }
}

// Series: what the whole of the past says, told anew at each reading.

const SLIDE: i64 = 10_000;

/// The state after some judged readings, by the words of the reference for rule authors.
fn told_anew(levels: &[(i64, Level)], wait: &BTreeMap<Level, i64>, keep: i64) -> Level {
    let mut state = Level::Healthy;
    for at in 0..levels.len() {
        let (end, _) = levels[at];
        // The first reading of the unbroken run up to here for which something holds.
        let since = |holds: &dyn Fn(Level) -> bool| {
            levels[..=at].iter().rev().take_while(|(_, level)| holds(*level)).last().map(|(end, _)| *end)
        };
        let lasts = |severe: Level| since(&|level| level >= severe).is_some_and(|first| end - first >= wait[&severe]);
        let below = |severe: Level| since(&|level| level < severe).is_some_and(|first| end - first >= keep);
        let up = [Level::Critical, Level::Warning].into_iter().find(|severe| *severe > state && lasts(*severe));
        state = match (up, state) {
            (Some(up), _) => up,
            // Down by one level at a time, as far as each run has lasted.
            (None, Level::Critical) if below(Level::Critical) && below(Level::Warning) => Level::Healthy,
            (None, Level::Critical) if below(Level::Critical) => Level::Warning,
            (None, Level::Warning) if below(Level::Warning) => Level::Healthy,
            (None, same) => same,
        };
    }
    state
}

proptest! {
    #[test]
    fn a_series_is_what_its_past_says(
        readings in prop::collection::vec(prop::option::weighted(0.85, prop::sample::select(Level::ALL.to_vec())), 1..60),
        (warning, critical, keep) in (0..6_i64, 0..6_i64, 0..6_i64),
    ) {
        let text = format!(
            "/*\nname: r\ntier: data\nlevels: {{warning: value > 1, critical: value > 2}}\nfor: {{warning: {}s, critical: {}s}}\nkeep_firing_for: {}s\n*/ SELECT 1",
            warning * 10, critical * 10, keep * 10,
        );
        let header = header::split(&Arc::new(Source { path: "r.sql".into(), text }), &Defaults::default()).unwrap().header;
        let wait = BTreeMap::from([(Level::Warning, warning * SLIDE), (Level::Critical, critical * SLIDE)]);
        let who = Identity { rule: "r", series: "{}" };
        let mut series = SeriesState::default();
        let mut judged = Vec::new();
        let mut open = None;
        for (at, level) in (1..).zip(readings) {
            let end = at * SLIDE;
            judged.extend(level.map(|level| (end, level)));
            let before = series.state;
            let change = series.reading(who, &header, SLIDE, end, level);
            prop_assert_eq!(series.state, told_anew(&judged, &wait, keep * SLIDE), "after {:?}", judged);
            // A change is told exactly where the state changes, and names the breach that it belongs to.
            prop_assert_eq!(change.is_some(), before != series.state);
            prop_assert_eq!(series.episode.is_some(), series.state != Level::Healthy);
            if let Some(change) = change {
                match change.happened {
                    Happened::Opened => open = Some(change.episode.id.clone()),
                    _ => prop_assert_eq!(Some(&change.episode.id), open.as_ref()),
                }
            }
            // Written down and read again it is the same.
            let written = serde_json::to_string(&series).unwrap();
            prop_assert_eq!(&serde_json::from_str::<SeriesState>(&written).unwrap(), &series);
        }
    }
}

// Records.

prop_compose! {
    fn sections()(
        number in 1..5_u32,
        rows in prop::collection::vec((0..5_u32, -MINUTE..MINUTE, prop::option::of("\\PC{0,9}"), 1..1000_i64, prop::collection::vec(any::<u8>(), 0..20)), 0..20),
        times in prop::collection::vec((prop::option::of(-MINUTE..MINUTE), prop::option::of(0..MINUTE), any::<bool>(), 0..1_000_i64), 5),
        name in "\\PC{0,12}",
        aggregates in prop::collection::vec("[a-f0-9]{8}", 0..4),
    ) -> Sections {
        let section = |(at, (latest_ms, end_at_ms, lost, length)): (i64, (Option<i64>, Option<i64>, bool, i64))| Section {
            table: name.clone(),
            topic: format!("{name}.topic"),
            incarnation: String::new(),
            partition: 3,
            partitions: 7,
            range: Range { start: at * 1_000, end: at * 1_000 + length },
            latest_ms,
            end_at_ms,
            lost,
            begun: None,
            life: 0,
            letters: 0,
        };
        let sections: Vec<Section> = (0..i64::from(number)).zip(times).map(section).collect();
        let columns: [(&str, ArrayRef, bool); 5] = [
            ("section", Arc::new(rows.iter().map(|row| Some(row.0 % number)).collect::<UInt32Array>()), false),
            ("pane", Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()), false),
            ("k0", Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringArray>()), true),
            ("rows", Arc::new(rows.iter().map(|row| Some(row.3)).collect::<Int64Array>()), false),
            ("s0_0", Arc::new(rows.iter().map(|row| Some(&row.4)).collect::<BinaryArray>()), true),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        Sections {
            rules: 1,
            partition: 1,
            partitions: 4,
            computed: BTreeMap::from([("fold".to_owned(), aggregates.clone())]),
            failed: Vec::new(),
            sections,
            partials: vec![Partials { fold: "fold".into(), aggregates, batch }],
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_are_read_as_they_were_written(sections in sections(), cut in any::<prop::sample::Index>()) {
        let record = Record::Sections(sections);
        let bytes = record.encode(RecordFormat::newest()).unwrap();
        prop_assert_eq!(&Record::decode(&bytes).unwrap(), &record);
        // The last eight bytes are Arrow's own mark of an end, which it does without.
        let cut = cut.index(bytes.len() - 8);
        prop_assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {} of {}", cut, bytes.len());
    }
}

// A restart at any record, with a snapshot after any: the same is said from there on.

/// What a transaction says, but for the state that it leaves and how its readings were put into records.
fn said(transaction: Transaction) -> (Vec<String>, Vec<String>) {
    let readings = transaction.shown.iter().map(|reading| reading.to_json()).collect();
    let alerts = transaction.alerts.iter().map(|alert| format!("{} {:?}", alert.ordinal, alert.event)).collect();
    (readings, alerts)
}

/// Plays the log of the fuzzers; restarts before each of the given records from what was written. With `snapshot_ms`
/// of time between snapshots.
fn played(restarts: &BTreeSet<usize>, snapshot_ms: i64) -> (Vec<String>, Vec<String>) {
    let log = targets::log();
    let mut written: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
    let (mut readings, mut alerts) = (Vec::new(), Vec::new());
    let begin = |written: &BTreeMap<String, Option<Vec<u8>>>, now| {
        let mut recorded = Recorded::default();
        for (key, value) in written {
            recorded.take(key, value.as_deref());
        }
        let mut stage =
            Stage::new(StateOptions { snapshot_interval_ms: snapshot_ms, part_bytes_max: 1 << 20 }, targets::sets());
        let (position, _) = stage.begin(0, recorded, 0, "one", now).unwrap();
        (stage, usize::try_from(position).unwrap())
    };
    let (mut stage, mut at) = begin(&written, 0);
    let mut restarts = restarts.clone();
    let mut now = 0;
    while at < log.len() {
        now += 1_000;
        if restarts.remove(&at) {
            (stage, at) = begin(&written, now);
        }
        stage.record(0, i64::try_from(at).unwrap(), i64::MAX / 2, log[at]).unwrap();
        at += 1;
        if let Some(transaction) = stage.due(now).unwrap() {
            written.extend(transaction.state.iter().map(|(_, key, value)| (key.clone(), value.clone())));
            let (more_readings, more_alerts) = said(transaction);
            readings.extend(more_readings);
            alerts.extend(more_alerts);
        }
    }
    (readings, alerts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_restart_from_a_snapshot_changes_nothing(
        restarts in prop::collection::btree_set(1..6_usize, 0..4),
        snapshot_ms in prop::sample::select(vec![0, 2_000, 3_000, i64::MAX]),
    ) {
        let undisturbed = played(&BTreeSet::new(), i64::MAX);
        prop_assert!(undisturbed.0.len() > 10 && !undisturbed.1.is_empty());
        prop_assert_eq!(played(&restarts, snapshot_ms), undisturbed);
    }
}
