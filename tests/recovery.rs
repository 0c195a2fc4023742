//! JUDGE is killed after each record of a log, before and after its transaction is written, and goes on from what it
//! wrote: what it says in all must be what it says when nothing happens to it. No Kafka is needed: the loops are
//! state machines.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use arrow::array::RecordBatch;
use tierwatch::{
    decode::{Decoder, Event, Limits},
    files,
    fold::{
        Origin, Source,
        stage::{Message, Stage as Fold},
    },
    judge::{
        journal::Recorded,
        output::{BreachEvent, ReadingsHeader, with_version},
        stage::{Stage as Judge, StateOptions, Transaction},
    },
    partial::{Failure, Record, RecordFormat, RuleSetRecord, open, read_ipc},
    rules::{Files, RuleSet, RuleSets, Settings, diagnostics},
    store::stage::{Insert, Table},
};

use crate::{
    end_to_end::{Line, batch_lines},
    simulator::store::Store,
};

pub(crate) const START: i64 = 1_767_225_600_000;

pub(crate) fn rule(name: &str, header: &str, sql: &str) -> Arc<diagnostics::Source> {
    let text = format!(
        "/*\nname: {name}\ntier: business\nowner: tests\n{header}\nannotations: {{summary: \"{{{{ value }}}}\", runbook_url: \"https://x\"}}\n*/\n{sql}"
    );
    Arc::new(diagnostics::Source { path: format!("{name}.sql"), text })
}

/// Rules of every kind that JUDGE remembers something for.
pub(crate) fn rules() -> Vec<Arc<diagnostics::Source>> {
    let window = "hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds')";
    vec![
        rule(
            "failures",
            "levels: {warning: value > 0.2, critical: value > 0.6}\nfor: {warning: 10s, critical: 5s}\nkeep_firing_for: 5s\nno_data: {after: 10s, forget: 40s}\nallowed_lateness: 40s",
            &format!(
                "SELECT service, ratio(count(*) FILTER (WHERE status_code >= 500), count(*)) AS value, count(*) AS samples FROM {window} GROUP BY service"
            ),
        ),
        rule(
            "slower",
            "levels: {warning: value > 1.5}\nkey: [service]",
            &format!(
                "SELECT a.service, ratio(a.ms, b.ms) AS value FROM (SELECT service, avg(duration_ms) AS ms FROM {window} GROUP BY service) AS a \
                 JOIN (SELECT service, avg(duration_ms) AS ms FROM hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '30 seconds') GROUP BY service) AS b ON a.service = b.service"
            ),
        ),
        rule(
            "all",
            "levels: {warning: value > 100000}",
            &format!("SELECT count(*) AS value, approx_percentile_cont(duration_ms, 0.9) AS p90 FROM {window}"),
        ),
        // Looks back over several windows, expects a series that never speaks, and says what is behind a breach.
        rule(
            "recurring",
            "levels: {critical: again AND value > 0}\nhistory: {again: \"recurs(value > 0, 3, 6)\", usual: \"expected(value)\"}\nno_data: {as: zero, after: 20s, expect: services(service)}\nfor: 0s\ndiagnose: {where: status_code >= 500, by: [route, customer_id], top: 2}",
            &format!(
                "SELECT service, count(*) FILTER (WHERE status_code >= 500) AS value, count(*) AS samples FROM {window} GROUP BY service"
            ),
        ),
        // Reads the readings of two others.
        rule(
            "together",
            "levels: {warning: value > 0, critical: value > 1}\nkey: [service]",
            "SELECT service, count(*) FILTER (WHERE failing > 0) + count(*) FILTER (WHERE slow > 0) AS value FROM (\
             SELECT f.service, f.failing, s.slow FROM \
             (SELECT service, count(*) FILTER (WHERE state <> 'healthy') AS failing FROM hop(rule.failures, window_end, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY service) AS f \
             JOIN (SELECT service, count(*) FILTER (WHERE level = 'warning') AS slow FROM hop(rule.slower, window_end, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY service) AS s ON f.service = s.service) AS both_of GROUP BY service",
        ),
    ]
}

pub(crate) fn set(rules: Vec<Arc<diagnostics::Source>>) -> RuleSet {
    let base = files::read(&[], Path::new("schemas/tables"), Path::new("sql/reference")).expect("the files are there");
    let (set, problems) = RuleSet::compile(Files { rules, ..base }, Settings { idle_after_ms: Some(20_000) });
    assert!(!RuleSet::broken(&problems), "{problems:?}");
    set
}

fn announce(number: u64, set: &RuleSet, partitions: i32) -> Vec<u8> {
    let record = RuleSetRecord::new(number, &set.hash, None, partitions, (0, 0), set.settings, &set.files);
    Record::RuleSet(record).encode(RecordFormat::newest()).expect("it encodes")
}

/// Two minutes of requests: one service fails for a while, one falls silent, one comes late.
pub(crate) fn requests() -> Vec<String> {
    let mut lines = Vec::new();
    for n in 0..1_200_i64 {
        let at = n * 100;
        let service = ["checkout", "payments", "search"][usize::try_from(n % 3).unwrap()];
        if service == "search" && !(20_000..50_000).contains(&at) && at < 100_000 {
            continue;
        }
        let failing = service == "payments" && (30_000..70_000).contains(&at);
        let status = if failing && n % 4 != 0 { 503 } else { 200 };
        // Some come too late for their windows, and correct them.
        let late = if n % 97 == 0 { 17_000 } else { 0 };
        let time = START + at - (n * 7919 % 4000) - late;
        let ms = (n * 31 % 97) + if failing { 300 } else { 0 };
        lines.push(format!(r#"{{"event_time":{time},"service":"{service}","route":"/","method":"GET","status_code":{status},"duration_ms":{ms}.{}}}"#, n % 10));
    }
    lines
}

/// The partials log that FOLD makes of the requests.
fn log(sets: &[RuleSet]) -> Vec<Vec<u8>> {
    log_of(sets, &requests(), (0, 1))
}

/// One partition of so many of the partials log that FOLD makes of events, 40 at a time: a part of them by each set and
/// those before.
pub(crate) fn log_of(sets: &[RuleSet], lines: &[String], (partition, partitions): (i32, i32)) -> Vec<Vec<u8>> {
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let source = Source { table: "requests".into(), partition: 0 };
    let origin = Origin { topic: "requests".into(), incarnation: String::new(), partitions: 1, begun: None, life: 0 };
    let part = lines.len().div_ceil(sets.len());
    let mut records = Vec::new();
    for ((number, set), lines) in (1..).zip(sets).zip(lines.chunks(part)) {
        records.push(announce(number, set, partitions));
        // As FOLD does, by every set that is still needed.
        let numbered =
            |(set, number): (&RuleSet, u64)| (Arc::new(RuleSet::compile(set.files.clone(), set.settings).0), number);
        let needed: Vec<_> = sets.iter().zip(1..=number).map(numbered).collect();
        let first = i64::try_from(part).unwrap() * (i64::try_from(number).unwrap() - 1);
        let mut fold = Fold::new(&needed, limits, partitions, 100, 4 << 20).expect("a fold");
        fold.begin(&source, origin.clone(), first).expect("begun");
        for (at, lines) in lines.chunks(40).enumerate() {
            let start = first + i64::try_from(at * 40).unwrap();
            let messages: Vec<Message<'_>> = (start..)
                .zip(lines)
                .map(|(offset, line)| Message {
                    offset,
                    timestamp: None,
                    key: None,
                    payload: Some(line.as_bytes()),
                    headers: Vec::new(),
                })
                .collect();
            fold.events(&source, &messages).expect("folded");
            let transaction = fold.due(i64::try_from(at).unwrap() * 200).expect("due").expect("something to say");
            let own = transaction.records.into_iter().filter(|(to, _)| *to == partition);
            records.extend(own.map(|(_, bytes)| bytes));
        }
    }
    records
}

/// When the process dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Crash {
    Never,
    /// After a record, before what it gave is written.
    Before(usize),
    /// After a record, when what it gave is written.
    After(usize),
    /// After so many steps of those in which many windows are closed.
    Between(usize),
}

/// What Kafka holds of JUDGE's work.
#[derive(Default)]
pub(crate) struct Written {
    state: BTreeMap<String, Option<Vec<u8>>>,
    pub(crate) readings: Vec<String>,
    pub(crate) breaches: Vec<String>,
    /// The blocks of readings, as STORE gets them.
    blocks: Vec<RecordBatch>,
    /// In how many further steps windows were closed.
    pub(crate) steps: usize,
}

impl Written {
    fn write(&mut self, transaction: Transaction) {
        for (_, bytes) in &transaction.readings {
            let (_, rest) = open::<ReadingsHeader>(bytes).expect("a readings record");
            let batch = read_ipc(rest).expect("rows");
            let names = [
                "rule",
                "series",
                "window_end",
                "value",
                "samples",
                "level",
                "state",
                "unjudged",
                "measures",
                "corrected",
                "retracted",
            ];
            for row in 0..batch.num_rows() {
                let cell = |name: &&str| {
                    arrow::util::display::array_value_to_string(batch.column_by_name(name).expect("a column"), row)
                        .expect("a text")
                };
                self.readings.push(names.iter().map(cell).collect::<Vec<_>>().join("|"));
            }
            self.blocks.push(batch);
        }
        let line = |event: &BreachEvent| {
            format!("{} {} {} {} {}", event.window_end, event.rule, event.happened.name(), event.id, event.since)
        };
        self.breaches.extend(transaction.alerts.iter().map(|alert| line(&alert.event)));
        self.state.extend(transaction.state.into_iter().map(|(_, key, value)| (key, value)));
    }

    fn begin(&self, snapshot_ms: i64, now: i64) -> (Judge, usize) {
        let mut recorded = Recorded::default();
        for (key, value) in &self.state {
            recorded.take(key, value.as_deref());
        }
        let mut judge =
            Judge::new(StateOptions { snapshot_interval_ms: snapshot_ms, part_bytes_max: 4_096 }, RuleSets::default());
        let (position, missed) = judge.begin(0, recorded, 0, "one", now).expect("restored");
        assert_eq!(missed, 0);
        (judge, usize::try_from(position).unwrap())
    }
}

pub(crate) fn play(log: &[Vec<u8>], snapshot_ms: i64, crash: Crash) -> Written {
    play_by(log, snapshot_ms, crash, 100)
}

/// Plays a log of which a record comes every `step` milliseconds.
fn play_by(log: &[Vec<u8>], snapshot_ms: i64, crash: Crash, step: i64) -> Written {
    let mut written = Written::default();
    let (mut judge, mut at) = written.begin(snapshot_ms, 0);
    let mut crash = crash;
    let mut now = 0;
    while at < log.len() {
        now += step;
        judge.record(0, i64::try_from(at).unwrap(), i64::MAX / 2, &log[at]).expect("judged");
        let mut due = judge.due(now).expect("due");
        let mut died = false;
        while judge.is_unfinished() {
            due.into_iter().for_each(|transaction| written.write(transaction));
            written.steps += 1;
            if crash == Crash::Between(written.steps) {
                (crash, died, due) = (Crash::Never, true, None);
                break;
            }
            judge.go_on().expect("closed");
            due = judge.due(now).expect("due");
        }
        if died {
            (judge, at) = written.begin(snapshot_ms, now);
            continue;
        }
        if crash == Crash::Before(at) {
            crash = Crash::Never;
            (judge, at) = written.begin(snapshot_ms, now);
            continue;
        }
        if let Some(transaction) = due {
            written.write(transaction);
        }
        if crash == Crash::After(at) {
            crash = Crash::Never;
            (judge, at) = written.begin(snapshot_ms, now);
            continue;
        }
        at += 1;
    }
    if let Some(transaction) = judge.last(now).expect("due") {
        written.write(transaction);
    }
    written
}

/// A crash around every so many records of a log changes nothing that is said.
pub(crate) fn survives(log: &[Vec<u8>], every: usize, at_least: usize) {
    let undisturbed = play(log, 400, Crash::Never);
    assert!(undisturbed.readings.len() > at_least && undisturbed.breaches.len() > 2, "{:#?}", undisturbed.breaches);
    for snapshot_ms in [400, 1_000_000] {
        for record in (0..log.len()).step_by(every) {
            for crash in [Crash::Before(record), Crash::After(record)] {
                let disturbed = play(log, snapshot_ms, crash);
                let what = format!("{crash:?}, snapshots every {snapshot_ms} ms");
                assert_eq!(disturbed.breaches, undisturbed.breaches, "{what}");
                let first = undisturbed.readings.iter().zip(&disturbed.readings).find(|(a, b)| a != b);
                assert!(disturbed.readings == undisturbed.readings, "{what}: {first:#?}");
            }
        }
    }
}

#[test]
fn a_crash_after_any_record_changes_nothing_that_is_said() {
    survives(&log(&[set(rules())]), 1, 60);
}

#[test]
fn nor_does_one_around_a_change_of_rules() {
    let before = set(rules());
    let gone = |rule: &Arc<diagnostics::Source>| rule.path.starts_with("slower") || rule.path.starts_with("together");
    let fewer = set(rules().into_iter().filter(|rule| !gone(rule)).collect());
    let changed: Vec<_> = rules()
        .into_iter()
        .map(|rule| {
            Arc::new(diagnostics::Source {
                path: rule.path.clone(),
                text: rule.text.replace("value > 0.2", "value > 0.3"),
            })
        })
        .collect();
    survives(&log(&[before, fewer, set(changed)]), 1, 40);
}

#[test]
fn a_rule_more_does_not_disturb_those_that_share_its_fold() {
    let mut more = rules();
    more.push(rule(
        "slowest",
        "levels: {warning: value > 100000}",
        "SELECT service, max(duration_ms) AS value FROM hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY service",
    ));
    let written = play(&log(&[set(rules()), set(more)]), 400, Crash::Never);
    let of = |rule: &str| -> Vec<&String> { written.readings.iter().filter(|line| line.starts_with(rule)).collect() };
    let partial = |lines: &[&String]| lines.iter().filter(|line| line.contains("|partial|")).count();
    let alone = play(&log(&[set(rules())]), 400, Crash::Never);
    let same: Vec<&String> = alone.readings.iter().filter(|line| line.starts_with("failures")).collect();
    assert_eq!(of("failures"), same, "as if nothing had been added");
    let new = of("slowest");
    assert!(partial(&new) > 0 && partial(&new) < new.len(), "partial at first, then whole: {new:#?}");
}

/// Also where every record is written by itself, that of a change of rules too.
#[test]
fn nor_does_one_right_after_a_change_of_rules() {
    let gone = |rule: &Arc<diagnostics::Source>| rule.path.starts_with("slower") || rule.path.starts_with("together");
    let fewer = set(rules().into_iter().filter(|rule| !gone(rule)).collect());
    let log = log(&[set(rules()), fewer, set(rules())]);
    let undisturbed = play_by(&log, 400, Crash::Never, 2_000);
    for record in 0..log.len() {
        let disturbed = play_by(&log, 1_000_000, Crash::After(record), 2_000);
        assert_eq!(disturbed.breaches, undisturbed.breaches, "after {record}");
        assert!(disturbed.readings == undisturbed.readings, "after {record}");
    }
}

#[test]
fn corrections_come_to_what_all_events_say_and_make_nothing_flap() {
    let corrected = set(vec![rules().swap_remove(0)]);
    let never = |rule: Arc<diagnostics::Source>| {
        let text = rule.text.replace("allowed_lateness: 40s", "");
        Arc::new(diagnostics::Source { path: rule.path.clone(), text })
    };
    let uncorrected = set(vec![never(rules().swap_remove(0))]);
    let with = play(&log(&[corrected]), 400, Crash::Never);
    let without = play(&log(&[uncorrected]), 400, Crash::Never);
    assert_eq!(with.breaches, without.breaches, "a correction makes no alert flap");
    let first = |line: &&String| line.ends_with("|false|false");
    assert!(with.readings.iter().filter(first).eq(&without.readings), "first readings are the same");
    assert!(with.readings.len() > without.readings.len() + 10, "some are corrected");

    let mut store = Store::default();
    for (version, block) in (0..).zip(&with.blocks) {
        let rows = with_version(block, version).expect("a version");
        store.insert(&Insert { table: Table::Readings, rows, token: String::new() });
    }
    // Windows to which nothing more can come.
    let until = START + 1_200 * 100 - 10_000 - 40_000;
    let set = set(vec![rules().swap_remove(0)]);
    let table = &set.catalog.tables["requests"];
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let all = table.columns.iter().map(|column| column.name.clone()).collect();
    let lines = requests();
    let event = |(offset, line)| Event { offset, timestamp: None, payload: Some(str::as_bytes(line)) };
    let decoded = Decoder::new(table, &all, limits).decode((0..).zip(lines.iter().map(String::as_str)).map(event));
    let from = tierwatch::panes::last_end_until(START - 20_000, 5_000);
    let expected = batch_lines(&set, &BTreeMap::from([("requests".to_owned(), decoded.batch)]), from, until);
    let found: BTreeSet<Line> = store.readings(until).map(|(line, _)| line.clone()).collect();
    let missing: Vec<_> = expected.difference(&found).take(3).collect();
    let added: Vec<_> = found.difference(&expected).take(3).collect();
    assert!(expected.len() > 20 && missing.is_empty() && added.is_empty(), "missing {missing:#?}, added {added:#?}");
}

fn changed(rules: Vec<Arc<diagnostics::Source>>, from: &str, to: &str) -> Vec<Arc<diagnostics::Source>> {
    let change = |rule: Arc<diagnostics::Source>| {
        Arc::new(diagnostics::Source { path: rule.path.clone(), text: rule.text.replace(from, to) })
    };
    rules.into_iter().map(change).collect()
}

/// The cells of the readings of a rule: series, end, value, samples, reason for having no level, corrected.
fn cells<'a>(written: &'a Written, rule: &str) -> Vec<[&'a str; 6]> {
    let of_rule = written.readings.iter().map(|line| line.split('|').collect::<Vec<_>>());
    of_rule.filter(|line| line[0] == rule).map(|line| [line[1], line[2], line[3], line[4], line[7], line[9]]).collect()
}

/// Versions that follow each other, each with other windows in the place of those of five seconds: what is wrong with that.
fn follow(windows: [&str; 3], steps: [u32; 3]) {
    let five = "INTERVAL '5 seconds', INTERVAL '10 seconds'";
    let own = || rules().into_iter().filter(|rule| rule.path == "all.sql" || rule.path == "failures.sql").collect();
    let sets = windows.map(|window| set(changed(own(), five, window)));
    let log_of_all = log(&sets);
    let written = play(&log_of_all, 400, Crash::Never);
    let alone = sets.map(|set| play(&log(&[set]), 400, Crash::Never));

    // No gap, no window twice, none that is partial but the first ones, none that lacks events.
    let all = cells(&written, "all");
    let seconds = |end: &str| end[14..16].parse::<u32>().unwrap() * 60 + end[17..19].parse::<u32>().unwrap();
    let found: Vec<u32> =
        all.windows(2).map(|pair| (seconds(pair[1][1]) + 3600 - seconds(pair[0][1])) % 3600).collect();
    assert!(found.iter().all(|step| *step <= *steps.iter().max().unwrap() && *step > 0), "{found:?}");
    assert!(steps.iter().all(|step| found.contains(step)), "{found:?}");
    for [_, end, value, _, unjudged, _] in all.iter().skip(2) {
        assert_ne!(*unjudged, "partial", "{end}");
        let value: f64 = value.parse().unwrap();
        let by_itself = |alone: &Written| -> Option<f64> {
            cells(alone, "all").into_iter().find(|other| other[1] == *end).map(|other| other[2].parse().unwrap())
        };
        let fits = |expected: f64| (expected..=expected + 3.0).contains(&value);
        assert!(alone.iter().filter_map(by_itself).any(fits), "{end}: {value}");
    }
    // What was said of a window is corrected as the version that said it would, or not at all.
    let corrected = |written: &Written| -> BTreeSet<String> {
        let corrected = cells(written, "failures").into_iter().filter(|line| line[5] == "true");
        corrected.map(|[series, end, value, samples, ..]| format!("{series} {end} {value} {samples}")).collect()
    };
    let expected: BTreeSet<String> = alone.iter().flat_map(corrected).collect();
    let wrong: Vec<String> = corrected(&written).into_iter().filter(|line| !expected.contains(line)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!corrected(&written).is_empty());

    survives(&log_of_all, 5, 40);
}

/// A version whose windows end at other times takes over where its first whole window does, without a gap, and a crash does
/// not change where that is.
#[test]
fn nor_does_one_while_versions_of_other_slides_follow_each_other() {
    let (five, two) = ("INTERVAL '5 seconds', INTERVAL '10 seconds'", "INTERVAL '2 seconds', INTERVAL '10 seconds'");
    follow([five, two, "INTERVAL '10 seconds', INTERVAL '20 seconds'"], [5, 2, 10]);
}

/// Its windows may also be shorter than the slide before, or longer with the same panes.
#[test]
fn nor_does_one_while_versions_of_other_sizes_follow_each_other() {
    let (twenty, five) = ("INTERVAL '20 seconds', INTERVAL '20 seconds'", "INTERVAL '5 seconds', INTERVAL '5 seconds'");
    follow([twenty, five, "INTERVAL '5 seconds', INTERVAL '15 seconds'"], [20, 5, 5]);
}

/// What is open of a rule ends with it.
#[test]
fn a_rule_that_is_removed_resolves_its_breaches() {
    let failing = rule("once", "levels: {warning: value > 1}\nfor: 0s", ONCE);
    let failures = rules().swap_remove(0);
    let log = log(&[set(vec![failing, failures, rules().swap_remove(2)]), set(vec![rules().swap_remove(2)])]);
    let written = play(&log, 400, Crash::Never);
    for name in ["tierwatch_rule_fenced", "failures"] {
        let of_rule = written.breaches.iter().filter(|line| line.contains(&format!(" {name} ")));
        let happened: Vec<&str> = of_rule.map(|line| line.split(' ').nth(2).unwrap()).collect();
        assert_eq!(happened, ["opened", "resolved"], "{name}: {:#?}", written.breaches);
    }
    assert!(!written.breaches.iter().any(|line| line.starts_with("2026-01-01T00:01:1")), "{:#?}", written.breaches);
}

/// A rule that fails once requests do.
pub(crate) const ONCE: &str = "SELECT service, count(*) % (1 - least(count(*) FILTER (WHERE status_code >= 500), 1)) AS value FROM hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '30 seconds') GROUP BY service";

/// Replay evaluates nothing, so it does not see why a version that waited took over early.
#[test]
fn nor_does_one_after_a_version_that_was_fenced_off_was_followed() {
    let failing = rule("once", "levels: {warning: value > 1}\nfor: 0s", ONCE);
    let mended = changed(
        vec![Arc::clone(&failing)],
        "count(*) % (1 - least(count(*) FILTER (WHERE status_code >= 500), 1))",
        "count(*) FILTER (WHERE status_code >= 500)",
    );
    let mended = changed(mended, "INTERVAL '5 seconds'", "INTERVAL '2 seconds'");
    let with = |rule: Vec<Arc<diagnostics::Source>>| set(rules().into_iter().take(1).chain(rule).collect());
    let log = log(&[with(vec![failing]), with(mended)]);
    let written = play(&log, 400, Crash::Never);
    let fenced = written.breaches.iter().filter(|line| line.contains("tierwatch_rule_fenced"));
    assert_eq!(fenced.count(), 2, "opened and resolved: {:#?}", written.breaches);
    let once = written.readings.iter().filter(|line| line.starts_with("once|"));
    assert_eq!(
        once.filter(|line| line.contains("T00:00:52Z") && line.contains("|partial|")).count(),
        1,
        "not waited for"
    );
    survives(&log, 5, 40);
}

/// Where the format is another from here on, the rules are the same: what FOLD reports of them under the number before counts.
#[test]
fn a_failure_under_the_number_before_an_upgrade_counts() {
    let set = set(rules());
    let mut log = log(std::slice::from_ref(&set));
    let Ok(Record::RuleSet(record)) = Record::decode(&log[0]) else { panic!("a rule set") };
    let upgraded = record.upgraded(2, RecordFormat::newest()).upgraded(3, RecordFormat::newest());
    assert_eq!((upgraded.number, upgraded.since()), (3, 1));
    let at = log.len() / 2;
    let Ok(Record::Sections(mut sections)) = Record::decode(&log[at]) else { panic!("sections") };
    let fold = set.rule("all").expect("it is there").folds[0].ids.fold.clone();
    sections.failed.push(Failure { fold, aggregate: None, reason: "made up".into() });
    log[at] = Record::Sections(sections).encode(RecordFormat::newest()).expect("it encodes");
    log.insert(1, Record::RuleSet(upgraded).encode(RecordFormat::newest()).expect("it encodes"));
    let written = play(&log, 400, Crash::Never);
    let fenced: Vec<&String> =
        written.breaches.iter().filter(|line| line.contains("tierwatch_rule_fenced opened")).collect();
    assert_eq!(fenced.len(), 1, "{:#?}", written.breaches);
}

/// What fails where events are folded fails in each partition, and one of them tells.
#[test]
fn a_failure_everywhere_is_one_breach() {
    const PARTITIONS: i32 = 4;
    let all = log(std::slice::from_ref(&set(rules())));
    let Ok(Record::RuleSet(mut record)) = Record::decode(&all[0]) else { panic!("a rule set") };
    record.partitions = PARTITIONS;
    let at = all.len() / 2;
    let mut told: Vec<String> = Vec::new();
    for name in ["all", "failures"] {
        for partition in 0..PARTITIONS {
            let mut log = all.clone();
            log[0] = Record::RuleSet(record.clone()).encode(RecordFormat::newest()).expect("it encodes");
            let Ok(Record::Sections(mut sections)) = Record::decode(&log[at]) else { panic!("sections") };
            let fold = set(rules()).rule(name).expect("it is there").folds[0].ids.fold.clone();
            sections.failed.push(Failure { fold, aggregate: None, reason: "made up".into() });
            log[at] = Record::Sections(sections).encode(RecordFormat::newest()).expect("it encodes");
            let options = StateOptions { snapshot_interval_ms: i64::MAX / 4, part_bytes_max: 4 << 20 };
            let mut judge = Judge::new(options, RuleSets::default());
            judge.begin(partition, Recorded::default(), 0, "one", 0).expect("begun");
            for (position, record) in (0..).zip(&log) {
                judge.record(partition, position, i64::MAX / 2, record).expect("judged");
            }
            let due = judge.due(1_000).expect("due").expect("outputs");
            let fenced = due.alerts.iter().filter(|alert| alert.event.rule == "tierwatch_rule_fenced");
            told.extend(fenced.map(|alert| format!("{name} {}", serde_json::json!(alert.event.series))));
        }
    }
    // Three rules share the fold of `failures`.
    told.sort();
    let expected = ["all all", "failures failures", "failures recurring", "failures slower"];
    assert_eq!(told, expected.map(|line| line.replace(' ', " {\"rule\":\"") + "\"}"));
}
