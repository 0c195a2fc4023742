//! The whole system on real parts: a real Kafka broker, the real ClickHouse engine, two instances of the binary, one
//! of them killed in the middle. Every reading in ClickHouse must equal the batch query over the same events, bit for
//! bit, and each alert must be there once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type, Int64Type},
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tierwatch::{
    backtest::{self, Input},
    decode::{Decoder, Event, Limits},
    files,
    judge::output::{BreachEvent, Measure, Output},
    panes::{first_end_after, last_end_until},
    rules::{Files, Rule, RuleSet, Settings, series::canonical},
};

use crate::bed::{ClickHouse, Kafka};

const EVENTS: usize = 210_000;
pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const SPAN_MS: i64 = 8 * 60 * 1000;
pub(crate) const TABLES: [&str; 3] = ["business_operations", "requests", "node_metrics"];

/// An event with its place, as it was sent.
pub(crate) struct Sent {
    pub(crate) table: usize,
    pub(crate) partition: i32,
    pub(crate) payload: String,
    pub(crate) garbage: bool,
}

/// A small deterministic source of numbers (Knuth's MMIX constants).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// How far events are out of order: less than the tables say that they may be.
pub(crate) const OUT_OF_ORDER_MS: i64 = 4_000;

/// The `n`th event, sent at `at`, and its time: up to four seconds before, one in a thousand of them garbage, and bad
/// results for payments while there is trouble.
pub(crate) fn event(numbers: &mut Numbers, n: usize, at: i64, trouble: bool) -> (i64, Sent) {
    let services = ["checkout", "payments", "catalog", "search", "orders"];
    let time = at - i64::try_from(numbers.next(OUT_OF_ORDER_MS.unsigned_abs())).unwrap();
    let service = services[usize::try_from(numbers.next(5)).unwrap()];
    let bad = service == "payments" && trouble;
    let table = match numbers.next(10) {
        0..5 => 0,
        5..9 => 1,
        _ => 2,
    };
    let shown = if n.is_multiple_of(7) { format!("\"{}\"", tierwatch::time::rfc3339(time)) } else { time.to_string() };
    let fraction = numbers.next(1_000_000);
    let slow = if bad { 9 } else { 1 };
    let payload = match table {
        0 => {
            let failed = numbers.next(1000) < if bad { 300 } else { 8 };
            let error = if failed { ",\"error_type\":\"technical\"" } else { "" };
            let outcome = if failed { "failed" } else { "succeeded" };
            let customer = numbers.next(40) * numbers.next(10);
            format!(
                r#"{{"event_time":{shown},"service":"{service}","operation":"pay","operation_id":"o{n}","outcome":"{outcome}"{error},"duration_ms":{}.{fraction:06},"customer_id":"c{customer}","trace_id":"{n:032x}"}}"#,
                numbers.next(300)
            )
        }
        1 => {
            let status = [200, 200, 200, 404, 500][usize::try_from(numbers.next(5)).unwrap()];
            format!(
                r#"{{"service":"{service}","route":"/","method":"GET","status_code":{status},"duration_ms":{}.{fraction:06},"event_time":{shown}}}"#,
                numbers.next(250) * slow
            )
        }
        _ => {
            let node = numbers.next(12);
            format!(
                r#"{{"event_time":{shown},"service":"node-agent","node":"n{node}","cluster":"c{}","cpu_usage":0.{fraction:06},"memory_usage":0.5}}"#,
                node % 2
            )
        }
    };
    let garbage = numbers.next(1000) == 0;
    let payload = match (garbage, n % 4) {
        (false, _) => payload,
        (true, 0) => payload[..payload.len() / 2].to_owned(),
        (true, 1) => payload.replace("event_time", "eventtime"),
        (true, 2) => payload.replacen(&shown, "0", 1),
        (true, _) => payload.replace("\"service\":\"", "\"service\":{\"x\":\"").replacen("\",", "\"},", 1),
    };
    (time, Sent { table, partition: i32::try_from(numbers.next(4)).unwrap(), payload, garbage })
}

/// Five megabytes, nothing at all, and a thousand levels of nesting.
pub(crate) fn monsters() -> [Sent; 3] {
    ["x".repeat(5 << 20), String::new(), format!("{{\"x\":{}", "[".repeat(1000))].map(|payload| Sent {
        table: 0,
        partition: 1,
        payload,
        garbage: true,
    })
}

/// So many events over `SPAN_MS` from `start`, with bad times for payments in the middle.
pub(crate) fn events(start: i64, count: usize) -> Vec<Sent> {
    let mut numbers = Numbers(42);
    let mut sent = Vec::with_capacity(count);
    for n in 0..count {
        let at = i64::try_from(n).unwrap() * SPAN_MS / i64::try_from(count).unwrap();
        let trouble = (SPAN_MS / 3..SPAN_MS / 2).contains(&at);
        sent.push(event(&mut numbers, n, start + at, trouble).1);
    }
    for monster in monsters() {
        let at = sent.len() / 2;
        sent.insert(at, monster);
    }
    sent
}

pub(crate) struct Instance {
    pub(crate) process: Child,
    pub(crate) log: PathBuf,
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn command(kafka: &Kafka, clickhouse: &ClickHouse) -> Command {
    command_of(Path::new(env!("CARGO_BIN_EXE_tierwatch")), kafka, clickhouse)
}

/// A command of any binary, with the settings that the tests use.
pub(crate) fn command_of(binary: &Path, kafka: &Kafka, clickhouse: &ClickHouse) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    for (key, value) in [
        ("KAFKA__BROKERS", kafka.brokers.as_str()),
        ("KAFKA__SESSION_TIMEOUT", "3s"),
        ("KAFKA__TRANSACTION_TIMEOUT", "5s"),
        ("TOPICS__PARTITIONS", "4"),
        ("RULES__PATH", "tests/end_to_end/rules"),
        ("FOLD__START", "earliest"),
        ("FOLD__IDLE_AFTER", "6s"),
        ("FOLD__INTERVAL", "200ms"),
        ("JUDGE__SNAPSHOT_INTERVAL", "2s"),
        ("CLICKHOUSE__URL", clickhouse.url.as_str()),
        ("STORE__FLUSH_INTERVAL", "500ms"),
        ("LOG__FORMAT", "text"),
    ] {
        command.env(format!("TIERWATCH__{key}"), value);
    }
    command
}

pub(crate) fn run(kafka: &Kafka, clickhouse: &ClickHouse, folder: &Path, name: &str) -> Instance {
    run_with(kafka, clickhouse, folder, name, &[])
}

/// An instance with some settings of its own.
pub(crate) fn run_with(
    kafka: &Kafka,
    clickhouse: &ClickHouse,
    folder: &Path,
    name: &str,
    settings: &[(&str, &str)],
) -> Instance {
    let mut command = command(kafka, clickhouse);
    command
        .env("TIERWATCH__KAFKA__INSTANCE", name)
        .envs(settings.iter().map(|(key, value)| (format!("TIERWATCH__{key}"), value)));
    start(command, folder, name)
}

/// Starts an instance whose log is called `name`.
pub(crate) fn start(mut command: Command, folder: &Path, name: &str) -> Instance {
    let log = folder.join(format!("{name}.log"));
    let file = File::create(&log).expect("the log can be written");
    let process =
        command.arg("run").stdout(file.try_clone().expect("a handle")).stderr(file).spawn().expect("the binary starts");
    Instance { process, log }
}

/// Asks an instance to end as an orchestrator does; it ends well, and within five seconds. Answers with how long it took.
pub(crate) fn end_cleanly(mut instance: Instance) -> Duration {
    let pid = instance.process.id().to_string();
    let began = Instant::now();
    let kill = Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there");
    assert!(kill.success());
    let log = instance.log.clone();
    wait_for("a clean end", &[&log], Duration::from_secs(5), || {
        let status = instance.process.try_wait().expect("it can be asked");
        status.is_none_or(|status| !status.success()).then(|| format!("{status:?}"))
    });
    began.elapsed()
}

/// Makes the source topics; answers with the settings of a client.
pub(crate) fn source_topics(kafka: &Kafka, partitions: i32) -> ClientConfig {
    let client = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("queue.buffering.max.messages", "500000")
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "10000000")
        .clone();
    let admin: AdminClient<DefaultClientContext> = client.create().expect("an admin client");
    let topics: Vec<NewTopic<'_>> =
        TABLES.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect();
    let made =
        futures::executor::block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("topics are made");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    client
}

/// Now, in epoch milliseconds.
pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis()).expect("a time")
}

pub(crate) fn send(producer: &BaseProducer, events: &[Sent]) {
    for event in events {
        loop {
            let record: BaseRecord<'_, (), str> =
                BaseRecord::to(TABLES[event.table]).partition(event.partition).payload(event.payload.as_str());
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(_), _)) => producer.poll(Duration::from_millis(10)),
                Err((error, _)) => panic!("{error}"),
            }
        }
    }
    producer.flush(Duration::from_secs(60)).expect("the broker takes the events");
}

/// A record's headers and value.
pub(crate) type Read = (BTreeMap<String, String>, Vec<u8>);

/// Every record of a topic for a read-committed consumer: headers and value. A client that asked for a topic just made may
/// take it to be without partitions for minutes, so one that hears nothing is made anew.
pub(crate) fn read_all(brokers: &str, topic: &str, partitions: i32) -> Vec<Read> {
    (0..4)
        .find_map(|_| read_whole(brokers, topic, partitions))
        .unwrap_or_else(|| panic!("{topic} cannot be read to its end"))
}

/// The same; nothing where the client hears no more before the end.
fn read_whole(brokers: &str, topic: &str, partitions: i32) -> Option<Vec<Read>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let everything: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("isolation.level", "read_uncommitted")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        // A commit is answered before its markers are written: what is in the log by now is waited for.
        let end = |consumer: &BaseConsumer| {
            consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).expect("an answer").1
        };
        let written = end(&everything);
        wait_for("open transactions", &[], Duration::from_secs(60), || {
            (end(&consumer) < written)
                .then(|| format!("{topic}/{partition}: readable to {} of {written}", end(&consumer)))
        });
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    let (mut records, mut ends) = (Vec::new(), BTreeSet::new());
    while ends.len() < usize::try_from(partitions).unwrap() {
        match consumer.poll(Duration::from_secs(20)) {
            Some(Ok(message)) => {
                let headers = message.headers().map(|headers| {
                    headers
                        .iter()
                        .map(|h| (h.key.to_owned(), String::from_utf8_lossy(h.value.unwrap_or_default()).into_owned()))
                        .collect()
                });
                records.push((headers.unwrap_or_default(), message.payload().unwrap_or_default().to_vec()));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = ends.insert(partition),
            Some(Err(error)) => panic!("{error}"),
            None => return None,
        }
    }
    Some(records)
}

pub(crate) fn wait_for(what: &str, logs: &[&Path], most: Duration, mut done: impl FnMut() -> Option<String>) {
    let began = Instant::now();
    while let Some(state) = done() {
        if began.elapsed() > most {
            let tail = |path: &&Path| {
                fs::read_to_string(path).unwrap_or_default().lines().rev().take(25).collect::<Vec<_>>().join("\n")
            };
            panic!(
                "{what} did not come about within {most:?}: {state}\n{}",
                logs.iter().map(tail).collect::<Vec<_>>().join("\n--\n")
            );
        }
        thread::sleep(Duration::from_millis(300));
    }
}

/// A reading as text that tells every bit apart: rule, series, window end, value, samples, measures.
pub(crate) type Line = String;

/// Good events of a table as the batch query takes them.
pub(crate) fn decoded<'a>(set: &RuleSet, table: &str, payloads: impl Iterator<Item = &'a [u8]>) -> RecordBatch {
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let table = &set.catalog.tables[table];
    let all = table.columns.iter().map(|column| column.name.clone()).collect();
    let decoded = Decoder::new(table, &all, limits).decode((0..).zip(payloads).map(|(offset, payload)| Event {
        offset,
        timestamp: None,
        payload: Some(payload),
    }));
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected.first());
    decoded.batch
}

fn expected(set: &RuleSet, sent: &[Sent], from: i64, until: i64) -> BTreeSet<Line> {
    let table = |(at, name): (usize, &&str)| {
        let good = sent.iter().filter(|event| event.table == at && !event.garbage);
        ((*name).to_owned(), decoded(set, name, good.map(|event| event.payload.as_bytes())))
    };
    batch_lines(set, &TABLES.iter().enumerate().map(table).collect(), from, until)
}

/// What the batch query over all events of each table says of every window.
pub(crate) fn batch_lines(
    set: &RuleSet,
    tables: &BTreeMap<String, RecordBatch>,
    from: i64,
    until: i64,
) -> BTreeSet<Line> {
    let mut lines = BTreeSet::new();
    for rule in batchable(set) {
        let ends: Vec<i64> = (0..)
            .map(|n| first_end_after(from, rule.slide_ms) + n * rule.slide_ms)
            .take_while(|end| *end <= until)
            .collect();
        lines.extend(rule_lines(set, rule, tables, &ends));
    }
    lines
}

/// Rules that look back, or that read readings, have no query over events that they equal.
pub(crate) fn batchable(set: &RuleSet) -> impl Iterator<Item = &Rule> {
    set.rules.iter().map(Arc::as_ref).filter(|rule| rule.reads.is_empty() && rule.history.is_empty())
}

/// What the batch query of one rule says at each window end.
pub(crate) fn rule_lines(
    set: &RuleSet,
    rule: &Rule,
    tables: &BTreeMap<String, RecordBatch>,
    ends: &[i64],
) -> Vec<Line> {
    let mut lines = Vec::new();
    let batches = tierwatch::rules::batch(rule, &set.catalog, tables.clone(), ends).expect("the batch query runs");
    for (end, rows) in ends.iter().zip(batches) {
        for row in 0..rows.num_rows() {
            let text = |at: &usize| arrow::util::display::array_value_to_string(rows.column(*at), row).expect("a text");
            let name = |at: &usize| rule.output.schema.field(*at).name().clone();
            let series =
                canonical(rule.output.keys.iter().map(|at| (name(at), serde_json::Value::String(text(at)))).collect());
            let number = |at: &usize| -> Option<f64> {
                let column = arrow::compute::cast(rows.column(*at), &DataType::Float64).expect("a number");
                let column = column.as_primitive::<Float64Type>();
                column.is_valid(row).then(|| column.value(row))
            };
            let samples = rule.output.samples.and_then(|at| {
                let column = arrow::compute::cast(rows.column(at), &DataType::Int64).expect("a whole number");
                let column = column.as_primitive::<Int64Type>();
                column.is_valid(row).then(|| column.value(row))
            });
            let measures: BTreeMap<String, u64> =
                rule.output.measures.iter().filter_map(|at| Some((name(at), number(at)?.to_bits()))).collect();
            let value = number(&rule.output.value).map(f64::to_bits);
            lines.push(line(&rule.header.name, &series, *end, value, samples, &measures));
        }
    }
    lines
}

pub(crate) fn line(
    rule: &str,
    series: &str,
    end: i64,
    value: Option<u64>,
    samples: Option<i64>,
    measures: &BTreeMap<String, u64>,
) -> Line {
    format!("{rule} {series} {end} {value:?} {samples:?} {measures:?}")
}

/// What the store says of every window until then.
pub(crate) fn stored(clickhouse: &ClickHouse, until: i64) -> Vec<Line> {
    let rows = clickhouse.rows(&format!(
        "SELECT rule, series, toUnixTimestamp64Milli(window_end), if(isNull(value), '', toString(reinterpretAsUInt64(assumeNotNull(value)))), \
         if(isNull(samples), '', toString(samples)), toJSONString(mapApply((k, v) -> (k, toString(reinterpretAsUInt64(v))), measures)) \
         FROM tierwatch.readings_latest WHERE toUnixTimestamp64Milli(window_end) <= {until} FORMAT TabSeparatedRaw"
    ));
    let parse = |row: &String| {
        let columns: Vec<&str> = row.split('\t').collect();
        let measures: BTreeMap<String, String> = serde_json::from_str(columns[5]).expect("a map");
        let measures = measures.into_iter().map(|(name, bits)| (name, bits.parse().expect("bits"))).collect();
        line(
            columns[0],
            columns[1],
            columns[2].parse().expect("a time"),
            columns[3].parse().ok(),
            columns[4].parse().ok(),
            &measures,
        )
    };
    rows.iter().filter(|row| !row.is_empty()).map(parse).collect()
}

/// What is missing until every rule has judged all windows until then in each of its partitions.
pub(crate) fn unfinished(clickhouse: &ClickHouse, set: &RuleSet, until: i64) -> Option<String> {
    let rows = clickhouse.rows(&format!(
        "SELECT count() FROM (SELECT rule, partitions, partition, max(watermark) AS watermark FROM tierwatch.progress GROUP BY ALL) WHERE toUnixTimestamp64Milli(watermark) >= {until}"
    ));
    let wanted: usize = set.rules.iter().map(|rule| if rule.spread { 4 } else { 1 }).sum();
    (rows.first() != Some(&wanted.to_string())).then(|| format!("{rows:?} of {wanted}"))
}

/// The end of the last windows that [`events`] from `start` fill.
pub(crate) fn until(start: i64) -> i64 {
    last_end_until(start + SPAN_MS - 4000, 10_000)
}

/// The rules of these tests.
pub(crate) fn rules() -> (Files, RuleSet) {
    let files =
        files::read(&["tests/end_to_end/rules".into()], Path::new("schemas/tables"), Path::new("sql/reference"))
            .expect("the files are there");
    let (set, problems) = RuleSet::compile(files.clone(), Settings { idle_after_ms: Some(6_000) });
    assert!(!RuleSet::broken(&problems), "{problems:?}");
    (files, set)
}

/// Waits until ClickHouse has every window that ends until then.
pub(crate) fn wait_for_windows(clickhouse: &ClickHouse, set: &RuleSet, until: i64, logs: &[&Path]) {
    wait_for("the last window", logs, Duration::from_secs(180), || unfinished(clickhouse, set, until));
}

/// Waits for the last window of [`events`] from `start`, and compares what ClickHouse has with what the batch queries
/// say, and with a backtest. Answers with the breach events that there should be.
pub(crate) fn every_reading_is_right(
    clickhouse: &ClickHouse,
    sent: &[Sent],
    start: i64,
    logs: &[&Path],
) -> BTreeSet<Breach> {
    let until = until(start);
    let (files, set) = rules();
    let (breaches, replayed) = replayed(&files, inputs(sent), until);
    let mut expected = expected(&set, sent, start - 4000, until);
    assert!(replayed.len() > 100, "{}", replayed.len());
    expected.extend(replayed);
    wait_for_windows(clickhouse, &set, until, logs);
    let stored = stored(clickhouse, until);
    let once: BTreeSet<&Line> = stored.iter().collect();
    assert_eq!(once.len(), stored.len(), "each reading is there once");
    let missing: Vec<&Line> = expected.iter().filter(|line| !once.contains(line)).take(5).collect();
    let added: Vec<&&Line> = once.iter().filter(|line| !expected.contains(**line)).take(5).collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "of {} readings, missing: {missing:#?}\nadded: {added:#?}",
        expected.len()
    );
    assert!(expected.len() > 1000, "{}", expected.len());
    breaches
}

/// A breach event: rule, series, window end, what happened, and its id.
pub(crate) type Breach = (String, String, String, String, String);

/// The same events as the files of a backtest, one for each partition.
fn inputs(sent: &[Sent]) -> Vec<Input> {
    let mut inputs = Vec::new();
    for (at, name) in TABLES.iter().enumerate() {
        for partition in 0..PARTITIONS {
            let lines: Vec<std::io::Result<Vec<u8>>> = sent
                .iter()
                .filter(|event| event.table == at && event.partition == partition)
                .map(|event| Ok(event.payload.clone().into_bytes()))
                .collect();
            inputs.push(Input {
                table: (*name).to_owned(),
                name: format!("{name}-{partition}"),
                lines: Box::new(lines.into_iter()),
            });
        }
    }
    inputs
}

/// What the same events give without Kafka: the breach events (rule, series, window end, what happened), and the readings
/// of rules that look back or read readings.
pub(crate) fn replayed(files: &Files, inputs: Vec<Input>, until: i64) -> (BTreeSet<Breach>, BTreeSet<Line>) {
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let mut found = BTreeSet::new();
    let mut lines = BTreeSet::new();
    let (set, _) = RuleSet::compile(files.clone(), backtest::SETTINGS);
    let options = backtest::Options { limits, batch_rows: 4096, until: None };
    let (summary, _) = backtest::run(&Arc::new(set), inputs, options, |output| match output {
        Output::Breach(event) => found.extend(told(event, until)),
        Output::Reading(reading) if reading.window_end <= until => {
            let rule = &reading.rule;
            if rule.reads.is_empty() && rule.history.is_empty() {
                return;
            }
            let bits = |(name, measure): &(String, Option<Measure>)| {
                Some((name.clone(), measure.as_ref()?.as_f64().to_bits()))
            };
            let measures = reading.measures.iter().filter_map(bits).collect();
            let value = reading.value.map(f64::to_bits);
            lines.insert(line(
                &rule.header.name,
                &reading.series,
                reading.window_end,
                value,
                reading.samples,
                &measures,
            ));
        }
        _ => {}
    })
    .expect("the backtest runs");
    assert!(summary.late.is_empty(), "events are out of order only as far as they may be: {:?}", summary.late);
    (found, lines)
}

pub(crate) fn told(event: &BreachEvent, until: i64) -> Option<Breach> {
    let end = tierwatch::time::parse_rfc3339(&event.window_end).expect("a time");
    (end <= until).then(|| {
        (
            event.rule.clone(),
            canonical(event.series.clone()),
            event.window_end.clone(),
            event.happened.name().to_owned(),
            event.id.clone(),
        )
    })
}

#[test]
fn every_reading_equals_the_batch_query_and_each_alert_is_there_once_though_an_instance_is_killed() {
    let kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let folder = tempfile::tempdir().expect("a folder");
    let migrated = command(&kafka, &clickhouse).arg("migrate").output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let client = source_topics(&kafka, PARTITIONS);
    let start = last_end_until(now() - SPAN_MS - 60_000, 1000);
    let sent = events(start, EVENTS);
    let garbage = sent.iter().filter(|event| event.garbage).count();
    assert!(garbage > 100, "{garbage}");
    let producer: BaseProducer = client.create().expect("a producer");

    // These events are minutes old, and come in three parts: on a busy machine the pause between two of them must not be
    // taken for silence, after which they would be late.
    let patient = [("FOLD__IDLE_AFTER", "20s")];
    let doomed = run_with(&kafka, &clickhouse, folder.path(), "one", &patient);
    let other = run_with(&kafka, &clickhouse, folder.path(), "two", &patient);
    let logs = [doomed.log.clone(), other.log.clone()];
    let logs: Vec<&Path> = logs.iter().map(PathBuf::as_path).collect();
    let (first, second) = sent.split_at(EVENTS / 2);
    send(&producer, first);
    wait_for("the first readings", &logs, Duration::from_secs(90), || {
        let rows = clickhouse.rows("SELECT count() FROM tierwatch.readings");
        (rows.first().is_none_or(|count| count == "0")).then(|| format!("{rows:?}"))
    });
    // In the middle of it all: events are coming in while one of two owners dies.
    let (third, fourth) = second.split_at(second.len() / 2);
    send(&producer, third);
    drop(doomed);
    send(&producer, fourth);

    let until = until(start);
    let breaches = every_reading_is_right(&clickhouse, &sent, start, &logs);
    let alerts = read_all(&kafka.brokers, "tierwatch.alerts", 4);
    let schema: serde_json::Value =
        serde_json::from_str(&fs::read_to_string("schemas/breach.schema.json").expect("the schema")).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let mut told_once = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (headers, value) in &alerts {
        let json: serde_json::Value = serde_json::from_slice(value).expect("JSON");
        let problems: Vec<String> = schema.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?} in {json}");
        let event: BreachEvent = serde_json::from_value(json).expect("a breach event");
        assert_eq!(headers["ce_specversion"], "1.0");
        assert_eq!(headers["ce_id"], event.id);
        assert!(ids.insert(event.id.clone()), "twice: {event:?}");
        told_once.extend(told(&event, until));
    }
    assert!(!told_once.is_empty());
    assert_eq!(told_once, breaches);

    // The same binary explores the store, and replays what still lies in Kafka.
    let count = clickhouse.rows("SELECT count() FROM tierwatch.readings_latest WHERE rule = 'success_ratio'");
    let query = "SELECT count(*) AS n FROM readings WHERE rule = 'success_ratio'";
    let explored = command(&kafka, &clickhouse).args(["sql", query, "--format", "json"]).output().expect("it starts");
    let explored =
        format!("{}{}", String::from_utf8_lossy(&explored.stdout), String::from_utf8_lossy(&explored.stderr));
    assert_eq!(explored.trim(), format!("{{\"n\":{}}}", count[0]));
    let rule = "tests/end_to_end/rules/success_ratio.sql";
    let again = command(&kafka, &clickhouse)
        .args(["backtest", rule, "--kafka", "--format", "json"])
        .output()
        .expect("it starts");
    let lines = String::from_utf8_lossy(&again.stdout).into_owned();
    let replay: BTreeSet<Breach> =
        lines.lines().filter_map(|line| told(&serde_json::from_str::<BreachEvent>(line).ok()?, until)).collect();
    let own: BTreeSet<Breach> = breaches.into_iter().filter(|breach| breach.0 == "success_ratio").collect();
    assert_eq!(replay, own, "{}", String::from_utf8_lossy(&again.stderr));

    let letters = read_all(&kafka.brokers, "tierwatch.dead-letters", 1);
    let origins: BTreeSet<&String> = letters.iter().map(|(headers, _)| &headers["tierwatch_id"]).collect();
    assert_eq!((origins.len(), letters.len()), (garbage, garbage), "each broken event is there once");
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (headers, value) in &letters {
        *reasons.entry(headers["tierwatch_reason"].as_str()).or_default() += 1;
        // What was too large is cut, and told by its length and hash.
        let cut = headers.contains_key("tierwatch_sha256");
        assert!(cut == (headers["tierwatch_bytes"] != value.len().to_string()), "{headers:?}");
    }
    for (reason, count) in [("too_large", 1), ("empty_value", 1), ("nested_too_deep", 1)] {
        assert_eq!(reasons.get(reason), Some(&count), "{reasons:?}");
    }
    for reason in ["broken_json", "missing_event_time", "absurd_event_time", "wrong_type"] {
        assert!(reasons.contains_key(reason), "{reason} in {reasons:?}");
    }
    end_cleanly(other);
}
