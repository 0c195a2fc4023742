//! A hostile number of series: each event brings a key of its own. Memory has a bound, the rule that causes it is named,
//! what is too much is put together, and series that were known go on as before.
//!
//! ```text
//! BOUNDS_KEYS=10000000 cargo test --release --test all -- --nocapture bounds::
//! ```

use std::{collections::BTreeSet, path::Path, sync::Arc};

use tierwatch::{
    decode::Limits,
    files,
    fold::{
        Origin, Source,
        stage::{Message, Stage as Fold},
    },
    judge::{
        journal::Recorded,
        output::Reading,
        series::Happened,
        stage::{Alert, Stage as Judge, StateOptions},
    },
    partial::{Record, RecordFormat, RuleSetRecord},
    rules::{Files, RuleSet, RuleSets, Settings, diagnostics},
};

const START: i64 = 1_767_225_600_000;
const MOST: usize = 2_000;
/// Events of one batch; one in ten is of a series that was always there.
const BATCH: i64 = 2_000;
/// A batch is so long in event time.
const BATCH_MS: i64 = 1_000;

fn rules() -> Arc<RuleSet> {
    let rule = |name: &str, header: &str, by: &str| {
        let text = format!(
            "/*\nname: {name}\ntier: business\nowner: tests\nlevels: {{warning: value > 1000000}}\n{header}\nannotations: {{summary: x, runbook_url: \"https://x\"}}\n*/\n\
             SELECT {by}, count(*) AS value, avg(duration_ms) AS ms FROM hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY {by}"
        );
        Arc::new(diagnostics::Source { path: format!("{name}.sql"), text })
    };
    let rules = vec![rule("hostile", &format!("max_series: {MOST}"), "service, route"), rule("honest", "", "service")];
    let base = files::read(&[], Path::new("schemas/tables"), Path::new("sql/reference")).expect("the files are there");
    let (set, problems) = RuleSet::compile(Files { rules, ..base }, Settings { idle_after_ms: Some(20_000) });
    assert!(!RuleSet::broken(&problems), "{problems:?}");
    Arc::new(set)
}

/// The memory of this process at its highest, in MiB.
fn peak_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap_or(0) / 1024
}

fn value(readings: &[Reading], rule: &str, series: &str) -> Vec<(i64, Option<f64>)> {
    let own = readings.iter().filter(|one| one.rule.header.name == rule && one.series.as_ref() == series);
    own.map(|one| (one.window_end, one.value)).collect()
}

#[test]
fn a_hostile_number_of_keys_costs_only_the_rule_that_groups_by_them() {
    let keys: i64 = std::env::var("BOUNDS_KEYS").map_or(60_000, |text| text.parse().expect("a number"));
    let set = rules();
    let sets = RuleSets::default();
    sets.add(&set);
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let source = Source { table: "requests".into(), partition: 0 };
    let origin = Origin { topic: "requests".into(), incarnation: String::new(), partitions: 1, begun: None, life: 0 };
    let mut fold = Fold::new(&[(Arc::clone(&set), 1)], limits, 1, 0, 4 << 20).expect("a fold");
    fold.begin(&source, origin, 0).expect("begun");
    let mut judge = Judge::new(StateOptions { snapshot_interval_ms: i64::MAX / 4, part_bytes_max: 4 << 20 }, sets);
    judge.begin(0, Recorded::default(), 0, "one", 0).expect("begun");
    let announced = RuleSetRecord::new(1, &set.hash, None, 1, (0, 0), set.settings, &set.files);
    let mut log = vec![Record::RuleSet(announced).encode(RecordFormat::newest()).expect("it encodes")];
    let (mut at, mut readings, mut alerts): (i64, Vec<Reading>, Vec<Alert>) = (0, Vec::new(), Vec::new());
    let before = peak_mib();
    let batches = keys / BATCH;
    // After the flood, a calm in which only the honest speak.
    for batch in 0..batches + 40 {
        let lines: Vec<String> = (0..BATCH)
            .filter(|n| batch < batches || n % 10 == 0)
            .map(|n| {
                let time = START + batch * BATCH_MS + n * BATCH_MS / BATCH;
                let route = if n % 10 == 0 { "/".to_owned() } else { format!("/{}", batch * BATCH + n) };
                format!(r#"{{"event_time":{time},"service":"checkout","route":"{route}","method":"GET","status_code":200,"duration_ms":{n}}}"#)
            })
            .collect();
        let start = batch * BATCH;
        let messages: Vec<Message<'_>> = (start..).zip(&lines).map(|(offset, line)| message(offset, line)).collect();
        fold.events(&source, &messages).expect("folded");
        fold.until(&source, start + BATCH).expect("folded");
        let now = batch * BATCH_MS;
        let transaction = fold.due(now).expect("due").unwrap_or_default();
        log.extend(transaction.records.into_iter().map(|(_, bytes)| bytes));
        for record in log.drain(..) {
            judge.record(0, at, START + now + 60_000, &record).expect("judged");
            at += 1;
        }
        if let Some(transaction) = judge.due(now).expect("due") {
            let kept = |one: &Reading| {
                one.series.contains("\"/\"") || one.series.contains("overflow") || one.rule.header.name == "honest"
            };
            let count = |name: &str| transaction.shown.iter().filter(|one| one.rule.header.name == name).count();
            assert!(count("hostile") <= 4 * (MOST + 1), "{} readings at once", count("hostile"));
            readings.extend(transaction.shown.into_iter().filter(kept));
            alerts.extend(transaction.alerts);
        }
    }
    let honest = value(&readings, "honest", r#"{"service":"checkout"}"#);
    let known = value(&readings, "hostile", r#"{"route":"/","service":"checkout"}"#);
    let over = value(&readings, "hostile", r#"{"route":"(overflow)","service":"(overflow)"}"#);
    assert!(honest.len() > 8, "{honest:?}");
    // A window of ten batches in the flood: all events, those of the known series, and those that were too much.
    let (end, all) = honest[3];
    assert_eq!(all, Some(10.0 * f64::from(i32::try_from(BATCH).unwrap())));
    assert!(known.contains(&(end, Some(10.0 * 200.0))), "{known:?}");
    let much = over.iter().find(|(at, _)| *at == end).and_then(|(_, value)| *value).unwrap_or_default();
    assert!(
        much >= 10.0 * 1_800.0 - f64::from(i32::try_from(MOST).unwrap()),
        "{much}: what is too much is counted together"
    );
    let told: BTreeSet<(&str, Happened)> =
        alerts.iter().map(|one| (one.event.rule.as_str(), one.event.happened)).collect();
    assert_eq!(
        told,
        BTreeSet::from([
            ("tierwatch_series_overflow", Happened::Opened),
            ("tierwatch_series_overflow", Happened::Resolved)
        ])
    );
    assert!(alerts.iter().all(|one| one.event.summary.contains("hostile")), "the rule is named: {alerts:?}");
    let grown = peak_mib().saturating_sub(before);
    println!("{keys} keys: {grown} MiB more than before");
    assert!(grown < 600, "{grown} MiB");
}

/// Keys as long as they may be, each of them new: what is written is cut, so that the broker takes it.
#[test]
fn long_keys_make_no_record_that_is_too_large() {
    const MOST: usize = 256 << 10;
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let source = Source { table: "requests".into(), partition: 0 };
    let origin = Origin { topic: "requests".into(), incarnation: String::new(), partitions: 1, begun: None, life: 0 };
    let mut fold = Fold::new(&[(rules(), 1)], limits, 1, 0, MOST).expect("a fold");
    fold.begin(&source, origin, 0).expect("begun");
    let long = "x".repeat(8_000);
    let lines: Vec<String> = (0..1_000)
        .map(|n| {
            format!(r#"{{"event_time":{},"service":"{n}{long}","route":"{long}{n}","method":"GET","status_code":200,"duration_ms":1}}"#, START + n)
        })
        .collect();
    let messages: Vec<Message<'_>> = (0..).zip(&lines).map(|(offset, line)| message(offset, line)).collect();
    fold.events(&source, &messages).expect("folded");
    let transaction = fold.due(1).expect("due").expect("something");
    let (mut next, mut states) = (0, 0);
    for (_, bytes) in &transaction.records {
        assert!(bytes.len() < 2 * MOST, "a record of {} bytes", bytes.len());
        let Ok(Record::Sections(sections)) = Record::decode(bytes) else { panic!("sections") };
        for section in &sections.sections {
            assert_eq!(section.range.start, next, "each begins where the one before ended");
            next = section.range.end;
        }
        states += sections.partials.iter().map(|partials| partials.batch.num_rows()).sum::<usize>();
    }
    // Both rules group by a key that is new with each event.
    assert_eq!((next, states), (1_000, 2_000));
}

fn message(offset: i64, line: &str) -> Message<'_> {
    Message { offset, timestamp: None, key: None, payload: Some(line.as_bytes()), headers: Vec::new() }
}

/// Events that cannot be read are written in pieces that a producer takes, whatever the clock says, and sections say how
/// many there were.
#[test]
fn a_flood_of_garbage_is_written_in_pieces() {
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let source = Source { table: "requests".into(), partition: 0 };
    let origin = Origin { topic: "requests".into(), incarnation: String::new(), partitions: 1, begun: None, life: 0 };
    let mut fold = Fold::new(&[(rules(), 1)], limits, 1, i64::MAX / 4, 4 << 20).expect("a fold");
    fold.begin(&source, origin, 0).expect("begun");
    fold.close(0).expect("the first word");
    let garbage = "x".repeat(100 << 10);
    let (mut letters, mut said, mut pieces) = (0, 0, 0);
    for offset in 0..300 {
        fold.events(&source, &[message(offset, &garbage)]).expect("folded");
        if fold.is_full() {
            let transaction = fold.due(0).expect("due").expect("what is full is due");
            let bytes: usize = transaction.dead_letters.iter().map(|letter| letter.bytes).sum();
            assert!(bytes < 9 << 20, "{bytes} bytes at once");
            letters += transaction.dead_letters.len();
            for (_, record) in transaction.records {
                let Ok(Record::Sections(sections)) = Record::decode(&record) else { panic!("sections are written") };
                said += sections.sections.iter().map(|section| section.letters).sum::<u32>();
            }
            pieces += 1;
        }
    }
    assert_eq!((pieces, letters, said), (3, 246, 246), "30 MB in pieces of 8 MiB, the rest waits");
}
