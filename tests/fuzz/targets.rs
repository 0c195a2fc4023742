//! What fuzzers call, and what they begin with. None may panic, hang or take memory without bound; errors are fine.
//!
//! Shared by the fuzzers in `bin/` and by `tests/fuzz_regressions.rs`. Records are envelopes: a header in JSON whose
//! length stands before it, then blobs whose lengths stand in the header. Since a mutation would break those lengths
//! and be refused for nothing else, an input that is no envelope is made one: up to its first zero byte it is the
//! header, and lengths are mended.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tierwatch::{
    backtest::{self, Input, Options},
    config,
    decode::{Decoder, Event, Limits},
    files,
    fold::{
        Origin, Source,
        stage::{Message, Stage as Fold},
    },
    judge::{
        Active, Compiled, Judge as Machine, Mode,
        journal::Recorded,
        stage::{Stage as Judge, StateOptions, Transaction},
    },
    panes::is_time,
    partial::{Record, RecordFormat, RuleSetRecord, envelope, open},
    rule_test,
    rules::{Files, RuleSet, RuleSets, Settings, diagnostics},
    store::stage::{Place, Stage as Store},
};

/// A fuzzer: what it runs on an input, and which inputs it begins with.
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: &'static str,
    /// One run.
    pub(crate) run: fn(&[u8]),
    /// Names and texts of its first inputs.
    pub(crate) seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// All of them.
pub(crate) const ALL: [Target; 7] = [
    Target { name: "decoder", run: decoder, seeds: decoder_seeds },
    Target { name: "rules", run: rules, seeds: rules_seeds },
    Target { name: "rule_test", run: rule_tests, seeds: rule_test_seeds },
    Target { name: "partials", run: partials, seeds: partials_seeds },
    Target { name: "state", run: state, seeds: state_seeds },
    Target { name: "readings", run: readings, seeds: readings_seeds },
    Target { name: "config", run: configuration, seeds: configuration_seeds },
];

/// A Monday at midnight.
const START: i64 = 1_767_571_200_000;
/// No record of these fuzzers is appended later, nor does any end of a test lie farther ahead: each window is work.
const SPAN_MS: i64 = 10 * 60 * 1000;

fn root() -> PathBuf {
    // The package of the fuzzers lies in that of the tests.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if here.ends_with("tests/fuzz") { here.join("../..") } else { here.to_owned() }
}

/// The schemas and reference data of the repository.
fn base() -> &'static Files {
    static BASE: OnceLock<Files> = OnceLock::new();
    BASE.get_or_init(|| {
        let (tables, references) = (root().join("schemas/tables"), root().join("sql/reference"));
        files::read(&[], &tables, &references).expect("the files are there")
    })
}

/// Few of them, since each rule set reads them all anew.
fn few() -> Files {
    let wanted = |source: &Arc<diagnostics::Source>| {
        ["/requests.json", "/queue_metrics.json", "/services.json", "/services.csv"]
            .iter()
            .any(|name| source.path.ends_with(name))
    };
    let some = |sources: &[Arc<diagnostics::Source>]| sources.iter().filter(|one| wanted(one)).cloned().collect();
    Files { tables: some(&base().tables), references: some(&base().references), ..Files::default() }
}

/// The texts at or below a folder of the repository whose names end so.
fn texts(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut places = vec![root().join(folder)];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(&place).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if place.to_string_lossy().ends_with(ending) {
            let name = place.file_name().expect("a name").to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(place).expect("a text")));
        }
    }
    found.sort();
    found
}

/// A record from an input, with its lengths mended where it is not one.
fn record_of(input: &[u8]) -> Vec<u8> {
    if input.starts_with(b"TWP") {
        return input.to_vec();
    }
    let at = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (header, blobs) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let Ok(mut header) = serde_json::from_slice::<serde_json::Value>(header) else {
        return [b"TWP\x01", &u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes()[..], header, blobs].concat();
    };
    for list in ["partials", "panes"] {
        let Some(list) = header.get_mut(list).and_then(|list| list.as_array_mut()) else { continue };
        let bytes = |one: &serde_json::Value| one.get("bytes").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let others = list.iter().rev().skip(1).map(bytes).fold(0, u64::saturating_add);
        if let Some(last) = list.last_mut().and_then(serde_json::Value::as_object_mut) {
            last.insert("bytes".into(), (blobs.len() as u64).saturating_sub(others).into());
        }
    }
    envelope(RecordFormat::newest(), &header, &[blobs.to_vec()])
}

/// The input that [`record_of`] makes this record of.
fn input_of(record: &[u8]) -> Vec<u8> {
    let (header, blobs) = open::<serde_json::Value>(record).expect("a record");
    [header.to_string().as_bytes(), b"\0", blobs].concat()
}

// Events: a byte for the table, then the event.

fn tables() -> &'static Vec<Arc<tierwatch::rules::catalog::Table>> {
    static TABLES: OnceLock<Vec<Arc<tierwatch::rules::catalog::Table>>> = OnceLock::new();
    TABLES.get_or_init(|| {
        RuleSet::compile(base().clone(), backtest::SETTINGS).0.catalog.tables.values().cloned().collect()
    })
}

fn decoder(input: &[u8]) {
    let Some((which, payload)) = input.split_first() else { return };
    let table = &tables()[usize::from(*which) % tables().len()];
    let limits = Limits { event_bytes_max: 1 << 16, ahead_ms_max: 60_000, age_ms_max: 3_600_000 };
    let all: BTreeSet<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    let whole = serde_json::from_slice::<serde_json::Value>(payload).is_ok_and(|value| value.is_object());
    for used in [all, BTreeSet::new()] {
        let decoder = Decoder::new(table, &used, limits);
        let event = |offset, timestamp| Event { offset, timestamp, payload: Some(payload) };
        let events = [event(0, None), event(1, Some(START)), event(2, Some(i64::MIN)), event(3, Some(i64::MAX))];
        let decoded = decoder.decode(events);
        assert_eq!(decoded.offsets.len() + decoded.rejected.len(), 4, "each event counts or is rejected");
        assert_eq!(decoded.batch.num_rows(), decoded.offsets.len());
        assert_eq!(decoded.batch.schema().as_ref(), decoder.schema().as_ref());
        assert!(whole || decoded.offsets.is_empty(), "what counts is a JSON object");
    }
}

fn decoder_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let events = texts("tests/backtest", ".ndjson");
    for (which, table) in tables().iter().enumerate() {
        let which = u8::try_from(which).expect("few tables");
        let of_table = events.iter().filter(|(file, _)| file.split('.').next() == Some(table.name.as_str()));
        for (file, text) in of_table {
            for (line, event) in text.lines().enumerate().take(4) {
                seeds.push((format!("{file}.{line}"), [&[which], event.as_bytes()].concat()));
            }
        }
        // Every column that the schema names, as a time, a number and a text.
        for (kind, value) in
            [("time", "\"2026-01-05T00:00:10.5+01:00\""), ("number", "-12.5e1"), ("text", "\"a\\u00e9\"")]
        {
            let column = |name: &String| format!("\"{name}\":{value}");
            let names = table.columns.iter().map(|one| &one.name).filter(|name| **name != table.event_time);
            let columns: Vec<String> = names.map(column).collect();
            let event = format!("{{\"{}\":{START},{}}}", table.event_time, columns.join(","));
            seeds.push((format!("{}.{kind}", table.name), [&[which], event.as_bytes()].concat()));
        }
    }
    seeds
}

// Rule files.

fn rules(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let source = |path: &str, text: &str| Arc::new(diagnostics::Source { path: path.into(), text: text.into() });
    let files = Files { rules: vec![source("data/r.sql", text)], ..few() };
    let (set, problems) = RuleSet::compile(files, backtest::SETTINGS);
    for problem in &problems {
        assert!(!problem.render(false).is_empty());
        let _ = problem.to_json();
        let _ = problem.position();
    }
    let Some(rule) = set.rules.first().filter(|_| !RuleSet::broken(&problems)) else { return };
    // A rule that is accepted is played, where that is no long work.
    let spans = rule.all_folds().map(|fold| fold.hop.reach_ms()).max().unwrap_or(0);
    if rule.slide_ms < 5_000 || spans > 3_600_000 {
        return;
    }
    let input = |table: &str, lines: Vec<String>| Input {
        table: table.into(),
        name: table.into(),
        lines: Box::new(lines.into_iter().map(|line| Ok(line.into_bytes()))),
    };
    let inputs = [("requests", requests(20)), ("queue_metrics", queues(20))]
        .into_iter()
        .filter(|(table, _)| set.tables().contains(*table))
        .map(|(table, lines)| input(table, lines))
        .collect();
    let options = Options { limits: ANY, batch_rows: 8, until: Some(START + 60_000) };
    let _ = backtest::run(&Arc::new(set), inputs, options, |_| {});
}

fn rules_seeds() -> Vec<(String, Vec<u8>)> {
    let of_few = |text: &str| ["requests", "queue_metrics"].iter().any(|table| text.contains(&format!("({table},")));
    let pack = texts("sql/rules", ".sql").into_iter().chain(texts("tests/rules", ".sql"));
    let broken = texts("tests/check", ".sql");
    let named = |(name, text): (String, String)| (name, text.into_bytes());
    pack.filter(|(_, text)| of_few(text) && text.len() < 2_500).chain(broken).map(named).collect()
}

// Test files of rules.

fn rule_tests(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let source = |path: &str, text: &str| Arc::new(diagnostics::Source { path: path.into(), text: text.into() });
    let test = source("fuzzed.test.yaml", text);
    let _ = rule_test::names(&test);
    let files = Files { rules: vec![source("fuzzed.sql", FUZZED)], ..few() };
    let beside = |name: &str| match name {
        "rows.csv" => Ok("at,service,repeat\n10s,checkout,3\n20s,,\n".to_owned()),
        other => Err(format!("there is no {other}")),
    };
    let _ = rule_test::run(&test, &files, &beside);
}

/// A rule that test files of the fuzzer test.
const FUZZED: &str = "/*\nname: fuzzed\ntier: data\nlevels: {warning: value > 3, critical: value > 9}\nfor: 10s\nno_data: {as: zero}\n*/\nSELECT service, count(*) AS value, max(duration_ms) AS slowest FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds') GROUP BY service";

fn rule_test_seeds() -> Vec<(String, Vec<u8>)> {
    let own = "rule: fuzzed\nstart: 2026-01-05T10:00:00Z\ndefaults:\n  requests: {service: checkout, route: /, method: GET, status_code: 200, duration_ms: 12.5}\nreferences:\n  services: [{service: checkout}]\ntests:\n  - name: one\n    events:\n      requests:\n        - {at: [0s, 15s], repeat: 5}\n        - {every: 10s, from: 5s, until: 1m, duration_ms: {first: 1, step: 2}, late: 3s}\n        - {at: 1m, status_code: [200, 500], service: \"s{n}\", repeat: 3}\n    end: 2m\n    readings:\n      - {at: 20s, service: checkout, value: 10, level: critical, state: healthy}\n    breaches:\n      - {at: 30s, type: opened}\n    rejected: 0\n  - name: csv\n    events: {requests: rows.csv}\n    readings: rows.csv\n";
    let mut seeds = vec![("own".to_owned(), own.as_bytes().to_vec())];
    for (name, text) in
        texts("tests/rules", ".test.yaml").into_iter().filter(|(_, text)| text.contains("requests:")).take(12)
    {
        let text = format!(
            "rule: fuzzed\n{}",
            text.lines().filter(|line| !line.starts_with("rule:")).collect::<Vec<_>>().join("\n")
        );
        seeds.push((name, text.into_bytes()));
    }
    seeds
}

// The log, the state and the readings: a small rule set of every kind, and what the stages made of some requests.

const ANY: Limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };

/// So many requests, a second apart.
fn requests(count: i64) -> Vec<String> {
    let line = |n: i64| {
        let service = ["checkout", "payments"][usize::try_from(n % 2).unwrap_or(0)];
        let status = if n % 3 == 0 && n > 10 { 503 } else { 200 };
        format!(
            r#"{{"event_time":{},"service":"{service}","route":"/","method":"GET","status_code":{status},"duration_ms":{n}.5}}"#,
            START + n * 1000
        )
    };
    (0..count).map(line).collect()
}

/// So many reports of queues, a second apart.
fn queues(count: i64) -> Vec<String> {
    (0..count)
        .map(|n| {
            let time = START + n * 1000;
            format!(r#"{{"event_time":{time},"queue":"q{}","depth":{n},"oldest_message_age_s":1}}"#, n % 2)
        })
        .collect()
}

struct World {
    /// The rule set, as the log begins with it.
    announcement: Vec<u8>,
    record: RuleSetRecord,
    set: Arc<RuleSet>,
    /// The sections of the requests.
    sections: Vec<Vec<u8>>,
    /// What JUDGE wrote.
    transactions: Vec<Transaction>,
}

impl World {
    fn compiled(&self) -> Compiled {
        Compiled::knowing(Active::of(self.record.clone(), Arc::clone(&self.set)).expect("it runs"))
    }

    fn sets(&self) -> RuleSets {
        let sets = RuleSets::default();
        sets.add(&self.set);
        sets
    }

    /// JUDGE, with the rules compiled before and this state.
    fn judge(&self, recorded: Recorded, log_start: i64) -> Option<Judge> {
        let mut judge = Judge::new(StateOptions { snapshot_interval_ms: 1_000, part_bytes_max: 4 << 20 }, self.sets());
        judge.begin(0, recorded, log_start, "one", 0).inspect_err(|error| println!("{error}")).ok().map(|_| judge)
    }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let window = "hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds')";
        let rule = |name: &str, header: &str, sql: &str| {
            let text = format!("/*\nname: {name}\ntier: data\n{header}\n*/\n{sql}");
            Arc::new(diagnostics::Source { path: format!("{name}.sql"), text })
        };
        let rules = vec![
            rule(
                "failures",
                "levels: {warning: value > 0, critical: value > 2}\nfor: {warning: 0s, critical: 5s}\nhistory: {again: \"recurs(value > 0, 2, 4)\", usual: \"expected(value)\", before: \"growing(value, INTERVAL '1 minute')\"}\nno_data: {as: zero, after: 20s, expect: services(service)}\ndiagnose: {where: status_code >= 500, by: [route], top: 2}",
                &format!("SELECT service, count(*) FILTER (WHERE status_code >= 500) AS value, count(*) AS samples FROM {window} GROUP BY service"),
            ),
            rule(
                "latency",
                "levels: {warning: value > 5}\nno_data: {after: 10s, forget: 30s}",
                &format!("SELECT approx_percentile_cont(duration_ms, 0.9) AS value, avg(duration_ms) AS mean, sum(status_code) AS codes, count(DISTINCT route) AS routes, max_by(service, event_time) AS latest, increase(duration_ms, event_time) AS rise, min(event_time) AS first FROM {window}"),
            ),
            rule(
                "visitors",
                "levels: {warning: value > 5}",
                &format!("SELECT approx_distinct(route) AS value FROM {window}"),
            ),
            rule(
                "together",
                "levels: {warning: value > 0}",
                "SELECT service, max(value) AS value FROM hop(rule.failures, window_end, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY service",
            ),
        ];
        let (set, problems) = RuleSet::compile(Files { rules, ..few() }, Settings { idle_after_ms: Some(20_000) });
        assert!(!RuleSet::broken(&problems), "{}", problems.iter().map(|one| one.render(false)).collect::<String>());
        let record = RuleSetRecord::new(1, &set.hash, None, 1, (0, 0), set.settings, &set.files);
        let announcement = Record::RuleSet(record.clone()).encode(RecordFormat::newest()).expect("it encodes");
        let set = Arc::new(set);
        let sections = sections(&set);
        let mut world = World { announcement, record, set, sections, transactions: Vec::new() };
        let mut judge = world.judge(Recorded::default(), 0).expect("begun");
        for (at, record) in (0..).zip([&world.announcement].into_iter().chain(&world.sections)) {
            judge.record(0, at, START + SPAN_MS, record).expect("judged");
            world.transactions.extend(judge.due(at * 2_000).expect("due"));
        }
        world
    })
}

fn sections(set: &Arc<RuleSet>) -> Vec<Vec<u8>> {
    let source = Source { table: "requests".into(), partition: 0 };
    let mut fold = Fold::new(&[(Arc::clone(set), 1)], ANY, 1, 100, 4 << 20).expect("a fold");
    fold.begin(
        &source,
        Origin { topic: "requests".into(), incarnation: String::new(), partitions: 1, begun: None, life: 0 },
        0,
    )
    .expect("begun");
    let mut records = Vec::new();
    let lines = requests(60);
    for (at, lines) in (0..).zip(lines.chunks(10)) {
        let message = |(offset, line): (i64, &'_ String)| (at * 10 + offset, line.clone());
        let lines: Vec<(i64, String)> = (0..).zip(lines).map(message).collect();
        let messages: Vec<Message<'_>> = lines
            .iter()
            .map(|(offset, line)| Message {
                offset: *offset,
                timestamp: None,
                key: None,
                payload: Some(line.as_bytes()),
                headers: Vec::new(),
            })
            .collect();
        fold.events(&source, &messages).expect("folded");
        let transaction = fold.due(at * 200).expect("due").expect("something to say");
        records.extend(transaction.records.into_iter().map(|(_, bytes)| bytes));
    }
    assert_eq!(fold.failed(), Vec::new(), "no fold fails");
    records
}

/// The log that JUDGE reads in these fuzzers.
#[allow(dead_code, reason = "property tests play it too")]
pub(crate) fn log() -> Vec<&'static Vec<u8>> {
    [&world().announcement].into_iter().chain(&world().sections).collect()
}

/// Its rule set, compiled.
#[allow(dead_code, reason = "property tests play it too")]
pub(crate) fn sets() -> RuleSets {
    world().sets()
}

/// True where all times of a record lie near those of the requests: time that leaps closes windows one by one, and
/// how far it may leap is a matter of FOLD's limits.
fn is_near(record: &Record) -> bool {
    let near = |at: &i64| (START - SPAN_MS..START + SPAN_MS).contains(at);
    let Record::Sections(sections) = record else { return true };
    let times = sections.sections.iter().flat_map(|one| one.latest_ms.iter().chain(&one.end_at_ms));
    let panes = sections.partials.iter().flat_map(|one| {
        let panes =
            one.batch.columns().get(1).and_then(|column| column.as_any().downcast_ref::<arrow::array::Int64Array>());
        panes.map(|panes| panes.values().to_vec()).unwrap_or_default()
    });
    times.copied().chain(panes).all(|at| near(&at))
}

fn partials(input: &[u8]) {
    let record = record_of(input);
    match Record::decode(&record) {
        Err(_) => return,
        Ok(decoded) if !is_near(&decoded) => return,
        // Compiling rules has a fuzzer of its own.
        Ok(Record::RuleSet(set)) if set.hash != world().record.hash => return,
        Ok(decoded) => {
            let again = decoded.encode(RecordFormat::newest()).expect("what was read can be written");
            assert!(Record::decode(&again).is_ok(), "and read again");
        }
    }
    let world = world();
    let Some(mut judge) = world.judge(Recorded::default(), 0) else { return };
    let log = [&world.announcement, &world.sections[0], &record, &world.sections[2]];
    for (at, record) in (0..).zip(log) {
        // An error ends the work, as it ends that of the stage.
        if judge.record(0, at, START + SPAN_MS, record).is_err() {
            return;
        }
    }
    let Ok(Some(transaction)) = judge.last(10_000) else { return };
    let mut recorded = Recorded::default();
    for (_, key, value) in &transaction.state {
        recorded.take(key, value.as_deref());
    }
    let _ = world.judge(recorded, 0).expect("and begun with");
}

fn partials_seeds() -> Vec<(String, Vec<u8>)> {
    let world = world();
    let mut seeds = vec![("rule_set".to_owned(), input_of(&world.announcement))];
    for (at, record) in world.sections.iter().enumerate() {
        seeds.push((format!("sections.{at}"), input_of(record)));
        // One fold at a time, since a small input is mutated better.
        let Ok(Record::Sections(sections)) = Record::decode(record) else { continue };
        for (fold, one) in sections.partials.iter().enumerate().filter(|_| at == 1) {
            let alone = tierwatch::partial::Sections { partials: vec![one.clone()], ..sections.clone() };
            let alone = Record::Sections(alone).encode(RecordFormat::newest()).expect("it encodes");
            seeds.push((format!("fold.{fold}"), input_of(&alone)));
            seeds.push((format!("record.{fold}"), alone));
        }
    }
    seeds
}

// State records: a byte for the kind, then the value: the state of a judge, an entry of the journal, a manifest.

/// True where every time of a state record up to which windows are closed lies near those of the requests, or is none.
fn ends_near(name: &str, value: &serde_json::Value) -> bool {
    use serde_json::Value;
    let ends = ["next_end", "next_ends", "watermark", "idle", "quiet_since"];
    match value {
        Value::Object(fields) => {
            fields.iter().all(|(inner, value)| ends_near(if ends.contains(&name) { name } else { inner }, value))
        }
        Value::Array(values) => values.iter().all(|value| ends_near(name, value)),
        Value::Number(number) if ends.contains(&name) => {
            let at = number.as_i64().unwrap_or(i64::MAX);
            (START - SPAN_MS..START + SPAN_MS).contains(&at) || !is_time(at)
        }
        _ => true,
    }
}

fn state(input: &[u8]) {
    let Some((kind, value)) = input.split_first() else { return };
    let value = record_of(value);
    let Ok((header, _)) = open::<serde_json::Value>(&value) else { return };
    if !ends_near("", &header) {
        return;
    }
    let world = world();
    if kind % 3 == 0 {
        let mut compiled = world.compiled();
        let Ok((mut judge, _)) = Machine::from_snapshot(&value, &mut compiled) else { return };
        for record in world.sections.iter().skip(3).take(2) {
            let record = Record::decode(record).expect("a good record");
            if judge.step(record, START + SPAN_MS, Mode::Live, &mut compiled, &mut Vec::new()).is_err() {
                return;
            }
        }
        let _ = judge.snapshot(7);
        return;
    }
    // Over the good records that were written first.
    let mut recorded = Recorded::default();
    let good = world.transactions.iter().take(4).flat_map(|one| &one.state);
    let mut key = "manifest\u{1f}0";
    for (_, known, good) in good {
        recorded.take(known, good.as_deref());
        if kind % 3 == 1 && known.starts_with("journal") {
            key = known;
        }
    }
    recorded.take(key, Some(&value));
    let mut judge = Judge::new(StateOptions { snapshot_interval_ms: 1_000, part_bytes_max: 4 << 20 }, world.sets());
    let Ok((position, _)) = judge.begin(0, recorded, 0, "one", 0) else { return };
    let log = [&world.announcement].into_iter().chain(&world.sections);
    for (at, record) in (0..).zip(log).skip_while(|(at, _)| *at < position).take(2) {
        if judge.record(0, at, START + SPAN_MS, record).is_err() {
            return;
        }
    }
    let _ = judge.last(10_000);
}

fn state_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = BTreeMap::new();
    for (_, key, value) in world().transactions.iter().flat_map(|one| &one.state) {
        let Some(value) = value else { continue };
        let (kind, value) = match key.split('\u{1f}').next() {
            // An entry stands before the state of the judge, and its length before it.
            Some("snapshot") => {
                let (length, rest) = value.split_first_chunk::<8>().expect("a length");
                (0, rest[usize::try_from(u64::from_le_bytes(*length)).expect("a length")..].to_vec())
            }
            Some("journal") => (1, value.clone()),
            Some("manifest") => (2, value.clone()),
            _ => continue,
        };
        // The last few of each.
        seeds.insert((kind, seeds.len() % 5), [&[kind], &input_of(&value)[..]].concat());
    }
    seeds.into_iter().map(|((kind, number), value)| (format!("{kind}.{number}"), value)).collect()
}

// What STORE takes: a byte for the topic, then the record.

fn readings(input: &[u8]) {
    let Some((which, value)) = input.split_first() else { return };
    let (topic, value) = if which % 2 == 0 { ("readings", record_of(value)) } else { ("alerts", value.to_vec()) };
    let good = world().transactions.iter().flat_map(|one| &one.readings).map(|(_, bytes)| bytes).take(1);
    for rows_max in [1, 1_000_000] {
        let mut store = Store::new("readings", 1_000, rows_max);
        let place = |offset| Place { partition: 0, offset, append_ms: START };
        for (at, record) in (0..).zip(good.clone()) {
            store.record("readings", place(at), record, 0).expect("a good record");
        }
        if store.record(topic, place(1), &value, 0).is_err() {
            continue;
        }
        let _ = store.full();
        store.due(10_000).expect("what was taken can be inserted");
    }
}

fn readings_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (at, transaction) in world().transactions.iter().enumerate() {
        for (_, bytes) in transaction.readings.iter().take(1) {
            seeds.push((format!("readings.{at}"), [&b"\0"[..], &input_of(bytes)].concat()));
        }
        for (number, alert) in transaction.alerts.iter().enumerate().take(2) {
            let event = serde_json::to_vec(&alert.event).expect("plain data");
            seeds.push((format!("alerts.{at}.{number}"), [&b"\x01"[..], &event].concat()));
        }
    }
    seeds
}

// Configuration: a file, then after a zero byte pairs of lines, as flags and variables.

fn configuration(input: &[u8]) {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder"));
    let mut parts = input.splitn(2, |byte| *byte == 0);
    // The name of the thread, since tests run beside each other.
    let file = folder.path().join(format!("{:?}.toml", std::thread::current().id()));
    fs::write(&file, parts.next().unwrap_or_default()).expect("written");
    let rest = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let pairs: Vec<(String, String)> =
        rest.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let environment = pairs.iter().map(|(name, value)| (format!("TIERWATCH__{name}"), value.clone())).collect();
    for sources in [
        config::Sources { file: Some(file.clone()), environment, flags: Vec::new() },
        config::Sources { file: Some(file.clone()), environment: Vec::new(), flags: pairs },
    ] {
        match config::load(&sources) {
            Ok(config) => assert!(!config.describe().is_empty()),
            Err(problems) => assert!(!problems.to_string().is_empty()),
        }
    }
}

fn configuration_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vec![("defaults".to_owned(), config::DEFAULTS.as_bytes().to_vec())];
    seeds.extend(
        texts("compose", ".toml")
            .into_iter()
            .chain(texts("deploy", ".toml"))
            .map(|(name, text)| (name, text.into_bytes())),
    );
    let mut section = String::new();
    for (number, line) in config::DEFAULTS.lines().map(|line| line.trim_start_matches("# ")).enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let value = value.split('#').next().unwrap_or_default().trim();
            seeds.push((format!("file.{number}"), format!("[{section}]\n{line}\n").into_bytes()));
            let flag = format!("\0{section}.{key}={value}\n{section}__{key}={value}\n");
            seeds.push((format!("flag.{number}"), flag.into_bytes()));
        }
    }
    seeds
}

/// Words that mutations put in.
pub(crate) fn words() -> BTreeSet<String> {
    let mut words: BTreeSet<String> = BTreeSet::new();
    for (_, text) in texts("sql/rules", ".sql")
        .into_iter()
        .chain(texts("tests/rules", ".test.yaml"))
        .chain(texts("tests/rules", ".sql"))
    {
        let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '\'';
        words.extend(
            text.split(|c| !inside(c))
                .filter(|word| (2..=24).contains(&word.len()) && word.is_ascii())
                .map(str::to_owned),
        );
    }
    words.extend(
        [
            "/*",
            "*/",
            "\\u0000",
            "1e999",
            "-9223372036854775808",
            "9223372036854775807",
            "null",
            "${{",
            "{{ value }}",
            "'''",
        ]
        .map(str::to_owned),
    );
    words
}
