//! Source topics that change while they are read: made anew, cut off, moved, given more partitions, begun at their end;
//! events that are hard to pass on; rules whose limits change. All of it on a real broker, with few events.
//!
//! Silence moves no time here. Events tell it, all of them hours old, so that no window depends on how fast the machine is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use arrow::util::display::array_value_to_string;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{Header, Headers as _, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use tempfile::TempDir;
use tierwatch::{
    judge::output::ReadingsHeader,
    panes::last_end_until,
    partial::{open, read_ipc},
    rules::hash_bytes,
    time::rfc3339,
};

use crate::{
    bed::Kafka,
    end_to_end::{Instance, Numbers, Sent, TABLES, end_cleanly, now, read_all, send, source_topics, wait_for},
};

/// The most that anything may take.
const WAIT: Duration = Duration::from_secs(60);
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
/// The tables that rules read here.
const OPERATIONS: usize = 0;
const REQUESTS: usize = 1;

type Settings = &'static [(&'static str, &'static str)];

/// A broker with source topics and Tierwatch's own, and a folder for rules and logs.
struct Cluster {
    kafka: Kafka,
    client: ClientConfig,
    folder: TempDir,
    settings: Settings,
    /// When the first events happened: hours ago, where a window begins.
    start: i64,
}

impl Cluster {
    /// Source topics with so many partitions, and a rule for each of some tables that counts its events.
    fn start(partitions: i32, tables: &[usize], settings: Settings) -> Self {
        let kafka = Kafka::start();
        let client = source_topics(&kafka, partitions);
        let folder = tempfile::tempdir().expect("a folder");
        let start = last_end_until(now() - 3 * HOUR, 10 * SECOND);
        let cluster = Self { kafka, client, folder, settings, start };
        fs::create_dir(cluster.rules()).expect("a folder");
        for table in tables {
            let name = format!("count_{}", TABLES[*table]);
            cluster.write_rule(&name, &rule(&name, TABLES[*table], "warning: value > 1000000", "day"));
        }
        let migrated = cluster.command().arg("migrate").output().expect("the binary starts");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        cluster
    }

    fn rules(&self) -> PathBuf {
        self.folder.path().join("rules")
    }

    fn write_rule(&self, name: &str, text: &str) {
        fs::write(self.rules().join(format!("{name}.sql")), text).expect("the rule is written");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tierwatch"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command.env("TIERWATCH__RULES__PATH", self.rules());
        let usual = [
            ("KAFKA__BROKERS", self.kafka.brokers.as_str()),
            ("KAFKA__SESSION_TIMEOUT", "3s"),
            ("KAFKA__TRANSACTION_TIMEOUT", "5s"),
            ("TOPICS__PARTITIONS", "1"),
            ("FOLD__START", "earliest"),
            ("FOLD__IDLE_AFTER", "never"),
            ("FOLD__INTERVAL", "200ms"),
            ("JUDGE__SNAPSHOT_INTERVAL", "2s"),
            ("STORE__KIND", "none"),
            ("RUN__STAGES", "fold,judge"),
            ("LOG__FORMAT", "text"),
        ];
        for (key, value) in usual.into_iter().chain(self.settings.iter().copied()) {
            command.env(format!("TIERWATCH__{key}"), value);
        }
        command
    }

    /// An instance of that name. Where it ran before, its log goes on.
    fn run(&self, name: &str, flags: &[&str]) -> Instance {
        let log = self.folder.path().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("the log can be written");
        let mut command = self.command();
        command.arg("run").args(flags).env("TIERWATCH__KAFKA__INSTANCE", name);
        command.stdout(file.try_clone().expect("a handle")).stderr(file);
        Instance { process: command.spawn().expect("the binary starts"), log }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client.create().expect("an admin client")
    }

    /// Sends events by a producer that knows the topics as they are now.
    fn send<const N: usize>(&self, events: [Vec<Sent>; N]) {
        let producer: BaseProducer = self.client.create().expect("a producer");
        events.iter().for_each(|events| send(&producer, events));
    }

    /// A consumer that knows nothing yet, to ask with.
    fn asking(&self, group: &str) -> BaseConsumer {
        self.client.clone().set("group.id", group).create().expect("a consumer")
    }

    /// Waits until partitions of operations are there, with nothing in them.
    fn wait_until_empty(&self, partitions: &[i32]) {
        wait_for("an empty topic", &[], WAIT, || {
            let consumer = self.asking("test");
            let ends = |at: &i32| consumer.fetch_watermarks(TABLES[OPERATIONS], *at, Duration::from_secs(2));
            let ends: Vec<_> = partitions.iter().map(ends).collect();
            (!ends.iter().all(|ends| *ends == Ok((0, 0)))).then(|| format!("{ends:?}"))
        });
    }

    /// How far FOLD has come with each partition of operations.
    fn folded(&self, partitions: i32) -> Vec<Option<i64>> {
        let mut places = TopicPartitionList::new();
        places.add_partition_range(TABLES[OPERATIONS], 0, partitions - 1);
        let asked = self.asking("tierwatch.fold").committed_offsets(places, Duration::from_secs(10));
        let committed = asked.expect("positions");
        let position = |partition| match committed.find_partition(TABLES[OPERATIONS], partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        (0..partitions).map(position).collect()
    }

    /// Waits until FOLD has come so far with the partitions of operations.
    fn wait_until_folded(&self, wanted: &[i64], logs: &[&Path]) {
        let wanted: Vec<Option<i64>> = wanted.iter().copied().map(Some).collect();
        let partitions = i32::try_from(wanted.len()).unwrap();
        wait_for("what is read", logs, WAIT, || {
            let folded = self.folded(partitions);
            (folded != wanted).then(|| format!("{folded:?}, not {wanted:?}"))
        });
    }

    /// How many events of each service are in the readings.
    fn counted(&self) -> BTreeMap<String, i64> {
        let mut windows = BTreeMap::new();
        for (_, record) in read_all(&self.kafka.brokers, "tierwatch.readings", 1) {
            let (_, rows) = open::<ReadingsHeader>(&record).expect("a readings record");
            let rows = read_ipc(rows).expect("rows");
            for row in 0..rows.num_rows() {
                let text = |name: &str| {
                    let column = rows.column_by_name(name).expect("a column");
                    array_value_to_string(column, row).expect("a text")
                };
                let series: Value = serde_json::from_str(&text("series")).expect("JSON");
                let service = series["service"].as_str().unwrap_or_default().to_owned();
                let count = text("value").parse::<f64>().expect("a number");
                windows.insert((service, text("window_end")), count as i64);
            }
        }
        let mut services = BTreeMap::new();
        for ((service, _), count) in windows {
            *services.entry(service).or_default() += count;
        }
        services
    }

    /// Waits until so many events of these services are in the readings, no more and no fewer.
    fn wait_until_counted(&self, wanted: &[(&str, i64)], logs: &[&Path]) {
        wait_for("what counts", logs, WAIT, || {
            let counted = self.counted();
            let all = wanted.iter().all(|(service, count)| counted.get(*service) == Some(count));
            (!all).then(|| format!("{counted:?}, not {wanted:?}"))
        });
    }

    /// The partitions of operations that the audit calls held, for a reason with these words.
    fn held(&self, words: &str) -> BTreeSet<i64> {
        let is_held = |said: &Value| said["what"] == "source_held" && said["topic"] == TABLES[OPERATIONS];
        let for_it = |said: &Value| said["reason"].as_str().is_some_and(|reason| reason.contains(words));
        let audit = read_all(&self.kafka.brokers, "tierwatch.audit", 1);
        let audit = audit.iter().map(|(_, said)| serde_json::from_slice::<Value>(said).expect("JSON"));
        audit.filter(|said| is_held(said) && for_it(said)).filter_map(|said| said["partition"].as_i64()).collect()
    }

    /// The breach events of a rule.
    fn alerts(&self, rule: &str) -> Vec<Value> {
        let alerts = read_all(&self.kafka.brokers, "tierwatch.alerts", 1);
        let alerts = alerts.iter().map(|(_, event)| serde_json::from_slice::<Value>(event).expect("JSON"));
        alerts.filter(|event| event["rule"] == rule).collect()
    }

    /// The dead letters, in order.
    fn letters(&self) -> Vec<Letter> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka.brokers)
            .set("group.id", "test")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a consumer");
        let mut place = TopicPartitionList::new();
        place.add_partition_offset("tierwatch.dead-letters", 0, Offset::Beginning).expect("an offset");
        consumer.assign(&place).expect("assigned");
        let mut letters = Vec::new();
        loop {
            match consumer.poll(Duration::from_secs(10)) {
                Some(Ok(message)) => {
                    let headers = message.headers().map(|headers| {
                        headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect()
                    });
                    letters.push(Letter {
                        key: message.key().unwrap_or_default().to_vec(),
                        value: message.payload().unwrap_or_default().to_vec(),
                        headers: headers.unwrap_or_default(),
                    });
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return letters,
                other => panic!("the dead letters cannot be read to their end: {other:?}"),
            }
        }
    }
}

/// A dead letter as it lies in its topic.
struct Letter {
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Letter {
    /// What Tierwatch says of it.
    fn says(&self, what: &str) -> Option<String> {
        let name = format!("tierwatch_{what}");
        let (_, value) = self.headers.iter().find(|(known, _)| *known == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The headers that it came with.
    fn own(&self) -> Vec<(String, Vec<u8>)> {
        self.headers.iter().filter(|(name, _)| !name.starts_with("tierwatch_")).cloned().collect()
    }

    /// How many bytes it has in all.
    fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.len() + self.value.len() + headers
    }
}

/// A rule that counts the events of each service of a table, in windows of ten seconds.
fn rule(name: &str, table: &str, levels: &str, team: &str) -> String {
    format!(
        r#"/*
name: {name}
title: Events in ten seconds
tier: business
unit: count
owner: tests
labels: {{team: {team}}}
levels: {{{levels}}}
annotations: {{summary: "{team} has {{{{ value }}}}", runbook_url: "https://runbooks.example/x"}}
*/
SELECT service, count(*) AS value
FROM tumble({table}, event_time, INTERVAL '10 seconds')
GROUP BY service
"#
    )
}

/// An event that is right for each of the tables.
fn event(service: &str, at: i64) -> String {
    format!(r#"{{"event_time":{at},"service":"{service}","outcome":"succeeded","status_code":200,"duration_ms":1.5}}"#)
}

/// One event a second of a service from a time on, in these partitions by turns.
fn each_second(table: usize, service: &str, from: i64, count: usize, partitions: &[i32]) -> Vec<Sent> {
    let one = |(n, at): (usize, i64)| Sent {
        table,
        partition: partitions[n % partitions.len()],
        payload: event(service, at),
        garbage: false,
    };
    (0..count).zip((0..).map(|n| from + n * SECOND)).map(one).collect()
}

/// An event in each of these partitions after which all windows until a while before it are over.
fn until(table: usize, at: i64, partitions: &[i32]) -> Vec<Sent> {
    let one = |partition: &i32| Sent { table, partition: *partition, payload: event("until", at), garbage: false };
    partitions.iter().map(one).collect()
}

/// Waits until an instance has said something so many times.
fn wait_until_said(instance: &Instance, words: &str, times: usize) {
    wait_for(words, &[&instance.log], WAIT, || {
        let said = fs::read_to_string(&instance.log).unwrap_or_default().matches(words).count();
        (said < times).then(|| format!("said {said} times"))
    });
}

const WRITTEN: &str = "the rule set was written to the log";

/// Its new life has more records than were read of the old one, so that no position tells. Both partitions are held, each
/// says why, and nothing of the new life counts until somebody accepts that the old one is over.
#[test]
fn a_topic_that_is_made_anew_is_noticed_by_its_id() {
    const BOTH: &[i32] = &[0, 1];
    let cluster = Cluster::start(2, &[OPERATIONS, REQUESTS], &[]);
    let at = |second: i64| cluster.start + second * SECOND;
    let mut instance = cluster.run("one", &[]);
    let log = instance.log.clone();
    cluster.send([each_second(OPERATIONS, "old", at(0), 30, BOTH), until(OPERATIONS, at(60), BOTH)]);
    cluster.wait_until_counted(&[("old", 30)], &[&log]);
    assert_eq!(cluster.folded(2), [Some(16), Some(16)]);

    let (admin, options) = (cluster.admin(), AdminOptions::new());
    let deleted = futures::executor::block_on(admin.delete_topics(&[TABLES[OPERATIONS]], &options));
    let anew = NewTopic::new(TABLES[OPERATIONS], 2, TopicReplication::Fixed(1));
    let made = futures::executor::block_on(admin.create_topics([&anew], &options));
    for outcomes in [deleted, made] {
        let outcomes = outcomes.expect("the broker answers");
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    cluster.wait_until_empty(BOTH);
    cluster.send([each_second(OPERATIONS, "new", at(100), 60, BOTH), until(OPERATIONS, at(200), BOTH)]);
    wait_for("both partitions held", &[&log], WAIT, || {
        let held = cluster.held("the topic was made anew");
        (held.len() < 2).then(|| format!("{held:?}"))
    });

    // What is sent later to another topic counts; this does not.
    cluster.send([each_second(REQUESTS, "others", at(0), 30, BOTH), until(REQUESTS, at(60), BOTH)]);
    cluster.wait_until_counted(&[("others", 30)], &[&log]);
    let counted = cluster.counted();
    assert_eq!((counted.get("old"), counted.get("new")), (Some(&30), None), "{counted:?}");
    let folded = cluster.folded(2);
    // The broker may have forgotten positions together with the topic.
    assert!(folded.iter().all(|position| position.is_none_or(|position| position == 16)), "{folded:?}");
    assert!(instance.process.try_wait().expect("it can be asked").is_none(), "it goes on");
    end_cleanly(instance);

    let accepting = cluster.run("two", &["--accept-lost"]);
    cluster.wait_until_counted(&[("old", 30), ("new", 60), ("others", 30)], &[&accepting.log]);
    let lost = cluster.alerts("tierwatch_events_lost");
    let opened = lost.iter().filter(|event| event["type"] == "opened");
    let partitions: Vec<Option<i64>> = opened.map(|event| event["series"]["partition"].as_i64()).collect();
    let told: BTreeSet<&Option<i64>> = partitions.iter().collect();
    assert_eq!((told.len(), partitions.len()), (2, 2), "each partition is told of once: {lost:?}");
}

/// Of four partitions whose positions are gone another instance gets two, accepts the loss, and ends. The first one, which
/// held all of them, gets these back and reads them.
#[test]
fn a_held_partition_that_moves_and_comes_back_is_read() {
    const ALL: &[i32] = &[0, 1, 2, 3];
    let cluster = Cluster::start(4, &[OPERATIONS], &[]);
    let at = |second: i64| cluster.start + second * SECOND;
    let first = cluster.run("first", &[]);
    cluster.send([each_second(OPERATIONS, "old", at(0), 44, ALL)]);
    cluster.wait_until_folded(&[11; 4], &[&first.log]);
    end_cleanly(first);

    cluster.send([each_second(OPERATIONS, "gone", at(100), 80, ALL)]);
    let mut before = TopicPartitionList::new();
    for partition in ALL {
        before.add_partition_offset(TABLES[OPERATIONS], *partition, Offset::Offset(21)).expect("an offset");
    }
    futures::executor::block_on(cluster.admin().delete_records(&before, &AdminOptions::new())).expect("deleted");

    let mut stays = cluster.run("stays", &[]);
    let log = stays.log.clone();
    wait_for("all partitions held", &[&log], WAIT, || {
        let held = cluster.held("was read up to 11, but holds only 21 to 31");
        (held.len() < ALL.len()).then(|| format!("{held:?}"))
    });
    let moves = cluster.run("moves", &["--accept-lost"]);
    let mut accepted = Vec::new();
    wait_for("a loss that is accepted", &[&log, &moves.log], WAIT, || {
        let folded = cluster.folded(4);
        accepted = (0..ALL.len()).filter(|partition| folded[*partition] == Some(31)).collect();
        (accepted.len() < 2).then(|| format!("{folded:?}"))
    });
    end_cleanly(moves);

    cluster.send([each_second(OPERATIONS, "after", at(200), 40, ALL)]);
    wait_for("partitions that came back", &[&log], WAIT, || {
        let folded = cluster.folded(4);
        let read = accepted.iter().all(|partition| folded[*partition] == Some(41));
        (!read).then(|| format!("{folded:?}, where {accepted:?} were accepted"))
    });
    for (partition, position) in cluster.folded(4).into_iter().enumerate() {
        let wanted = if accepted.contains(&partition) { 41 } else { 11 };
        assert_eq!(position, Some(wanted), "of partition {partition}; {accepted:?} were accepted");
    }
    assert!(stays.process.try_wait().expect("it can be asked").is_none(), "it goes on");
}

/// A record as no client would send it: the names of its headers are any bytes.
struct ByHand<'a> {
    value: &'a str,
    headers: Vec<(&'a [u8], &'a [u8])>,
}

/// A length or a distance as it stands in a record.
fn varint(out: &mut Vec<u8>, value: usize) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len());
    out.extend(bytes);
}

/// A number as it stands everywhere else.
fn number(value: usize) -> [u8; 4] {
    i32::try_from(value).unwrap().to_be_bytes()
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

/// A batch of records without keys, in the format that brokers keep.
fn batch(records: &[ByHand<'_>], at: i64) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (n, record) in records.iter().enumerate() {
        // Attributes, the distances from the first timestamp and the first position, and -1 for no key.
        let mut bytes = vec![0, 0];
        varint(&mut bytes, n);
        bytes.push(1);
        sized(&mut bytes, record.value.as_bytes());
        varint(&mut bytes, record.headers.len());
        for (name, value) in &record.headers {
            sized(&mut bytes, name);
            sized(&mut bytes, value);
        }
        sized(&mut encoded, &bytes);
    }
    let (count, last, at) = (number(records.len()), number(records.len() - 1), at.to_be_bytes());
    // Attributes, the last position, the first and the last timestamp, no producer, how many.
    let parts: [&[u8]; 7] = [&[0; 2], &last, &at, &at, &[0xff; 14], &count, &encoded];
    let body = parts.concat();
    let (length, crc) = (number(body.len() + 9), crc32c(&body).to_be_bytes());
    // The first position, the length of what follows, no epoch of a leader, the format.
    let parts: [&[u8]; 6] = [&[0; 8], &length, &[0xff; 4], &[2], &crc, &body];
    parts.concat()
}

/// Sends records to the first partition of a topic in the words of the protocol (Produce, version 3): clients take only names
/// that are UTF-8.
fn send_by_hand(broker: &str, topic: &str, records: &[ByHand<'_>]) {
    let (batch, one, seconds) = (batch(records, now()), number(1), number(10_000));
    let (length, name) = (number(batch.len()), i16::try_from(topic.len()).unwrap().to_be_bytes());
    // What it is, its version and number, no name of a client; no transaction, all replicas, for how long; one topic, one
    // partition of it, the first.
    let first: [&[u8]; 8] = [&[0, 0, 0, 3], &one, &[0xff; 2], &[0xff; 4], &seconds, &one, &name, topic.as_bytes()];
    let second: [&[u8]; 4] = [&one, &[0; 4], &length, &batch];
    let request = [first.concat(), second.concat()].concat();
    let mut stream = TcpStream::connect(broker).expect("the broker listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    stream.write_all(&number(request.len())).expect("sent");
    stream.write_all(&request).expect("sent");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
    stream.read_exact(&mut answer).expect("an answer");
    // The number of the request, one topic by its name, one partition by its number.
    let error = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[error..error + 2], [0, 0], "the broker takes the records: {answer:?}");
}

#[test]
fn header_names_that_are_not_utf8_stop_nobody() {
    let cluster = Cluster::start(1, &[OPERATIONS], &[]);
    let at = |second: i64| cluster.start + second * SECOND;
    let mut instance = cluster.run("one", &[]);
    let headers = || vec![(b"\xff\xfe".as_slice(), b"1".as_slice()), (b"plain".as_slice(), b"kept".as_slice())];
    let good = event("named", at(5));
    let records = [ByHand { value: &good, headers: headers() }, ByHand { value: "{", headers: headers() }];
    send_by_hand(&cluster.kafka.brokers, TABLES[OPERATIONS], &records);
    cluster.send([each_second(OPERATIONS, "later", at(20), 10, &[0]), until(OPERATIONS, at(60), &[0])]);
    cluster.wait_until_counted(&[("named", 1), ("later", 10)], &[&instance.log]);

    let letters = cluster.letters();
    let [letter] = letters.as_slice() else { panic!("{} dead letters", letters.len()) };
    assert_eq!(letter.says("id").as_deref(), Some("business_operations/0/1"));
    assert_eq!(letter.says("reason").as_deref(), Some("broken_json"));
    assert_eq!(letter.value, b"{");
    let own = letter.own();
    assert!(own.contains(&("plain".to_owned(), b"kept".to_vec())), "{own:?}");
    assert!(own.iter().any(|(name, value)| name != "plain" && value == b"1"), "{own:?}");
    assert!(instance.process.try_wait().expect("it can be asked").is_none(), "it goes on");
}

/// Bytes that no compression makes fewer.
fn noise(count: usize) -> Vec<u8> {
    let mut numbers = Numbers(7);
    (0..count).map(|_| numbers.next(256) as u8).collect()
}

/// What goes to the dead letters is cut so that topics with the smallest limit that may be set take it.
#[test]
fn a_dead_letter_of_a_huge_key_and_headers_is_cut_and_told() {
    const KEY_MAX: usize = 64 << 10;
    const PAYLOAD_MAX: usize = 512 << 10;
    const RECORD_MAX: usize = 1 << 20;
    let cluster = Cluster::start(1, &[OPERATIONS], &[("TOPICS__MAX_RECORD_BYTES", "1048576")]);
    let at = |second: i64| cluster.start + second * SECOND;
    let instance = cluster.run("one", &[]);
    let noise = noise(900_000);
    let (key, value) = (&noise[..600_000], &noise[..10_000]);
    let payload = [b"{".as_slice(), &noise[1..]].concat();
    let name = |n: usize| format!("h{n:02}");
    let headers = |count: usize| {
        (0..count).fold(OwnedHeaders::new(), |all, n| all.insert(Header { key: &name(n), value: Some(value) }))
    };
    let producer: BaseProducer = cluster.client.create().expect("a producer");
    let sent = [
        (Some(key), payload.as_slice(), headers(40)),
        (Some(key), b"{".as_slice(), headers(1)),
        (None, b"{".as_slice(), headers(40)),
        (None, b"{".as_slice(), headers(0)),
    ];
    for (key, payload, headers) in sent {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(TABLES[OPERATIONS]).partition(0);
        record = record.payload(payload).headers(headers);
        record.key = key;
        producer.send(record).map_err(|(error, _)| error).expect("it is sent");
    }
    producer.flush(Duration::from_secs(20)).expect("the broker takes them");
    cluster.send([each_second(OPERATIONS, "after", at(0), 10, &[0]), until(OPERATIONS, at(60), &[0])]);
    cluster.wait_until_counted(&[("after", 10)], &[&instance.log]);

    let letters = cluster.letters();
    let ids: Vec<Option<String>> = letters.iter().map(|letter| letter.says("id")).collect();
    let wanted: Vec<Option<String>> = (0..4).map(|offset| Some(format!("business_operations/0/{offset}"))).collect();
    assert_eq!(ids, wanted, "each is there, once");
    let sizes: Vec<usize> = letters.iter().map(Letter::size).collect();
    assert!(sizes.iter().all(|size| *size < RECORD_MAX), "{sizes:?}");
    let cut: Vec<Option<String>> = letters.iter().map(|letter| letter.says("cut")).collect();
    let wanted = [Some("key,headers,payload"), Some("key"), Some("headers"), None];
    assert_eq!(cut, wanted.map(|cut| cut.map(str::to_owned)));
    let lengths: Vec<usize> = letters.iter().map(|letter| letter.key.len()).collect();
    assert_eq!(lengths, [KEY_MAX, KEY_MAX, 0, 0]);
    assert!(letters.iter().all(|letter| noise.starts_with(&letter.key)), "the first of each key is kept");
    // As many as there is room for, the first of them, whole.
    for (letter, kept) in letters.iter().zip([13, 1, 13, 0]) {
        let first: Vec<(String, Vec<u8>)> = (0..kept).map(|n| (name(n), value.to_vec())).collect();
        assert!(letter.own() == first, "{} headers instead of {kept}", letter.own().len());
    }
    assert!(letters[0].value == payload[..PAYLOAD_MAX], "{} bytes of the payload", letters[0].value.len());
    assert_eq!(letters[0].says("bytes").as_deref(), Some("900000"));
    assert_eq!(letters[0].says("sha256"), Some(hash_bytes(&payload)));
    for whole in &letters[1..] {
        assert_eq!((whole.value.as_slice(), whole.says("sha256")), (b"{".as_slice(), None));
    }
}

/// Also where reading begins with what comes: what is in a new partition came after that, and windows wait for it.
#[test]
fn a_partition_that_is_added_is_read_from_its_beginning() {
    let cluster = Cluster::start(1, &[OPERATIONS, REQUESTS], &[("FOLD__START", "latest")]);
    let at = |second: i64| cluster.start + second * SECOND;
    let one = cluster.run("one", &[]);
    wait_until_said(&one, WRITTEN, 1);
    cluster.send([each_second(OPERATIONS, "first", at(0), 30, &[0]), until(OPERATIONS, at(60), &[0])]);
    cluster.wait_until_counted(&[("first", 30)], &[&one.log]);

    let more = NewPartitions::new(TABLES[OPERATIONS], 2);
    let added = futures::executor::block_on(cluster.admin().create_partitions([&more], &AdminOptions::new()));
    let added = added.expect("the broker answers");
    assert!(added.iter().all(Result::is_ok), "{added:?}");
    cluster.wait_until_empty(&[1]);
    // Nobody reads it yet. Whoever shares partitions out looks how many there are: a second instance makes it do so now.
    cluster.send([each_second(OPERATIONS, "early", at(70), 10, &[1])]);
    let two = cluster.run("two", &[]);
    let logs: [&Path; 2] = [&one.log, &two.log];
    cluster.wait_until_folded(&[31, 10], &logs);

    // Windows that the old partition has passed wait for the new one, though all that was sent was judged.
    cluster.send([each_second(OPERATIONS, "second", at(100), 30, &[0]), until(OPERATIONS, at(200), &[0])]);
    cluster.wait_until_folded(&[62, 10], &logs);
    cluster.send([each_second(REQUESTS, "others", at(0), 30, &[0]), until(REQUESTS, at(60), &[0])]);
    cluster.wait_until_counted(&[("others", 30)], &logs);
    let counted = cluster.counted();
    let waiting = ["early", "second"].map(|service| counted.get(service));
    assert_eq!((counted.get("first"), waiting), (Some(&30), [None, None]), "{counted:?}");

    cluster.send([each_second(OPERATIONS, "third", at(100), 30, &[1]), until(OPERATIONS, at(200), &[1])]);
    cluster.wait_until_counted(&[("first", 30), ("early", 10), ("second", 30), ("third", 30)], &logs);
}

/// The first start of all, not that of each instance: the first one is killed before it has read anything.
#[test]
fn start_latest_reads_what_comes_after_the_first_start() {
    let cluster = Cluster::start(1, &[OPERATIONS], &[("FOLD__START", "latest")]);
    let at = |second: i64| cluster.start + second * SECOND;
    cluster.send([each_second(OPERATIONS, "before", at(0), 30, &[0])]);
    let killed = cluster.run("one", &[]);
    wait_until_said(&killed, WRITTEN, 1);
    drop(killed);
    cluster.send([each_second(OPERATIONS, "down", at(100), 30, &[0])]);
    let again = cluster.run("one", &[]);
    cluster.send([each_second(OPERATIONS, "up", at(200), 30, &[0]), until(OPERATIONS, at(300), &[0])]);
    cluster.wait_until_counted(&[("down", 30), ("up", 30)], &[&again.log]);
    let counted = cluster.counted();
    assert_eq!(counted.get("before"), None, "{counted:?}");
}

/// The value is the same all the time, its limits are not. Events are hours old, and breaches say so.
#[test]
fn a_new_limit_acts_on_the_next_window_and_the_breach_keeps_its_identity() {
    let cluster = Cluster::start(1, &[], &[("RULES__WATCH_INTERVAL", "300ms")]);
    let at = |second: i64| cluster.start + second * SECOND;
    // Ten events in each window.
    let busy = |critical: u32, team: &str| {
        let levels =
            format!("healthy: value < 5, warning: value >= 5 AND value < {critical}, critical: value >= {critical}");
        rule("busy", TABLES[OPERATIONS], &levels, team)
    };
    let steps = [
        (busy(100, "day"), at(0), at(10), "opened", ("healthy", "warning"), "value >= 5 AND value < 100", "day"),
        (busy(8, "day"), at(60), at(60), "escalated", ("warning", "critical"), "value >= 8", "day"),
        (busy(50, "night"), at(120), at(120), "deescalated", ("critical", "warning"), "value >= 50", "night"),
    ];
    cluster.write_rule("busy", &steps[0].0);
    let instance = cluster.run("one", &[]);
    let mut events: Vec<Value> = Vec::new();
    for (n, (text, from, end, happened, levels, limit, team)) in steps.iter().enumerate() {
        // The first version is there already. Each begins with the window that the events before have left open.
        if n > 0 {
            cluster.write_rule("busy", text);
        }
        wait_until_said(&instance, WRITTEN, n + 1);
        let sent = now();
        cluster.send([each_second(OPERATIONS, "payments", *from, 60, &[0])]);
        wait_for(happened, &[&instance.log], WAIT, || {
            events = cluster.alerts("busy");
            (events.len() <= n).then(|| format!("{events:#?}"))
        });
        let judged = now();
        let event = &events[n];
        let told = ["type", "window_end", "previous_level", "level", "limit"].map(|field| event[field].clone());
        assert_eq!(told, [*happened, rfc3339(*end).as_str(), levels.0, levels.1, *limit].map(Value::from), "{event:#}");
        assert_eq!((&event["labels"]["team"], &event["ordinal"]), (&Value::from(*team), &Value::from(n + 1)));
        let summary = event["summary"].as_str().unwrap_or_default();
        assert!(summary.starts_with(&format!("{team} has 10")), "{summary}");
        let delay = event["delay_ms"].as_i64().expect("a delay");
        assert!((sent - end..=judged - end).contains(&delay) && delay > HOUR, "{delay}: {event:#}");
    }
    assert_eq!(events.len(), steps.len(), "{events:#?}");
    let distinct = |field: &str| events.iter().map(|event| event[field].to_string()).collect::<BTreeSet<_>>().len();
    assert_eq!((distinct("episode"), distinct("opened_at")), (1, 1), "one breach: {events:#?}");
    assert_eq!((distinct("rule_version"), distinct("id")), (3, 3), "{events:#?}");
    let schema = fs::read_to_string("schemas/breach.schema.json").expect("the schema");
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).expect("JSON")).expect("a schema");
    for event in &events {
        let problems: Vec<String> = schema.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?} in {event:#}");
    }
}
