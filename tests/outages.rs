//! What is not there, for a while or for good: brokers, ClickHouse, positions. Each has a message, and nothing is
//! skipped.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};

use tierwatch::panes::last_end_until;

use crate::{
    bed::{ClickHouse, Kafka, free_port},
    end_to_end::{
        Breach, PARTITIONS, SPAN_MS, Sent, TABLES, command, end_cleanly, events, every_reading_is_right, now, read_all,
        run, run_with, send, source_topics, start, told, until, wait_for,
    },
};

/// Operations of one service over two minutes, all of them failed where `failed`.
fn operations(start: i64, failed: bool) -> Vec<Sent> {
    let outcome = if failed { "failed" } else { "succeeded" };
    let one = |n: i64| Sent {
        table: 0,
        partition: 0,
        payload: format!(
            r#"{{"event_time":{},"service":"payments","operation":"pay","operation_id":"o{n}","outcome":"{outcome}","duration_ms":1.5,"customer_id":"c1"}}"#,
            start + n * 100
        ),
        garbage: false,
    };
    (0..1_200).map(one).collect()
}

/// Requests of one service over ten seconds.
fn requests(start: i64) -> Vec<Sent> {
    let one = |n: i64| Sent {
        table: 1,
        partition: 0,
        payload: format!(
            r#"{{"event_time":{},"service":"payments","route":"/","method":"GET","status_code":200,"duration_ms":1.5}}"#,
            start + n * 100
        ),
        garbage: false,
    };
    (0..100).map(one).collect()
}

/// How far FOLD has come with the first partition of a table.
fn folded(client: &rdkafka::ClientConfig, table: usize) -> Option<i64> {
    let mut settings = client.clone();
    settings.set("group.id", "tierwatch.fold");
    let consumer: BaseConsumer = settings.create().expect("a consumer");
    let mut place = TopicPartitionList::new();
    place.add_partition(TABLES[table], 0);
    let committed = consumer.committed_offsets(place, Duration::from_secs(5)).expect("positions");
    match committed.elements()[0].offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

#[test]
fn a_broker_that_is_not_there_is_an_error_after_a_while() {
    let broker = format!("127.0.0.1:{}", free_port());
    let output = Command::new(env!("CARGO_BIN_EXE_tierwatch"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "run",
            "--set",
            &format!("kafka.brokers={broker}"),
            "--set",
            "kafka.connect_timeout=3s",
            "--set",
            "log.format=text",
        ])
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [broker.as_str(), "kafka.connect_timeout", "trying again"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn who_waits_for_a_broker_ends_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tierwatch"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command.env("TIERWATCH__KAFKA__BROKERS", format!("127.0.0.1:{}", free_port()));
    let instance = start(command, folder.path(), "one");
    wait_for("a first try", &[&instance.log], Duration::from_secs(30), || {
        let said = fs::read_to_string(&instance.log).unwrap_or_default();
        (!said.contains("trying again")).then_some(said)
    });
    end_cleanly(instance);
}

#[test]
fn a_clickhouse_that_is_down_delays_nothing_but_itself_and_catches_up() {
    let kafka = Kafka::start();
    let mut clickhouse = ClickHouse::start();
    let folder = tempfile::tempdir().expect("a folder");
    let migrated = command(&kafka, &clickhouse).arg("migrate").output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let again = command(&kafka, &clickhouse).arg("migrate").output().expect("the binary starts");
    assert!(String::from_utf8_lossy(&again.stdout).contains("tables: all there"), "migrating twice changes nothing");
    let producer: BaseProducer = source_topics(&kafka, 1).create().expect("a producer");
    clickhouse.stop();
    let instance = run(&kafka, &clickhouse, folder.path(), "one");
    let start = now() - 200_000;
    send(&producer, &operations(start, true));
    wait_for("an alert", &[&instance.log], Duration::from_secs(60), || {
        let alerts = read_all(&kafka.brokers, "tierwatch.alerts", 4);
        alerts.is_empty().then(|| "no alerts".to_owned())
    });
    clickhouse.start_again();
    wait_for("what waited in Kafka", &[&instance.log], Duration::from_secs(60), || {
        let rows = clickhouse.rows("SELECT rule, countIf(type = 'opened') FROM tierwatch.breach_events WHERE rule = 'success_ratio' GROUP BY rule");
        (rows.first().map(String::as_str) != Some("success_ratio\t1")).then(|| format!("{rows:?}"))
    });
    let mut rows = Vec::new();
    wait_for("all windows", &[&instance.log], Duration::from_secs(60), || {
        rows = clickhouse
            .rows("SELECT count() = uniqExact(rule, series, window_end), count() > 30 FROM tierwatch.readings_latest");
        (!rows.iter().any(|row| row.ends_with("\t1"))).then(|| format!("{rows:?}"))
    });
    assert_eq!(rows, ["1\t1"], "each reading once");
}

#[test]
fn what_a_writer_left_open_that_is_gone_for_good_is_ended() {
    const WRITER: &str = "tierwatch.fold.gone";
    let kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let folder = tempfile::tempdir().expect("a folder");
    let migrated = command(&kafka, &clickhouse).arg("migrate").output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let mut client = source_topics(&kafka, 1);
    let producer: BaseProducer = client.create().expect("a producer");
    let key = format!("writer\u{1f}{WRITER}");
    let note = BaseRecord::to("tierwatch.state").partition(0).key(&key).payload("tierwatch.fold");
    producer.send(note).map_err(|(error, _)| error).expect("the note is sent");
    producer.flush(Duration::from_secs(10)).expect("the note arrives");
    // Open for longer than the test: records before the readers of each partition, and a position of the group.
    let group: BaseConsumer = client.clone().set("group.id", "tierwatch.fold").create().expect("a consumer");
    let gone: BaseProducer =
        client.set("transactional.id", WRITER).set("transaction.timeout.ms", "600000").create().expect("a producer");
    gone.init_transactions(Duration::from_secs(20)).expect("it begins");
    gone.begin_transaction().expect("it begins");
    for partition in 0..4 {
        let record = BaseRecord::<str, str>::to("tierwatch.partials").partition(partition).payload("never ended");
        gone.send(record).map_err(|(error, _)| error).expect("it is sent");
    }
    let mut positions = TopicPartitionList::new();
    positions.add_partition_offset(TABLES[0], 0, Offset::Offset(0)).expect("a position");
    let metadata = group.group_metadata().expect("the group");
    gone.send_offsets_to_transaction(&positions, &metadata, Duration::from_secs(20)).expect("they are sent");
    while gone.in_flight_count() > 0 {
        gone.poll(Duration::from_millis(5));
    }

    let instance = run(&kafka, &clickhouse, folder.path(), "one");
    send(&producer, &operations(now() - 200_000, true));
    wait_for("an alert", &[&instance.log], Duration::from_secs(90), || {
        let alerts = read_all(&kafka.brokers, "tierwatch.alerts", 4);
        alerts.is_empty().then(|| "no alerts".to_owned())
    });
    let log = std::fs::read_to_string(&instance.log).expect("a log");
    assert!(log.contains("a transaction hangs"), "{log}");
}

/// The partitions that an instance has begun, by its log.
fn begun(log: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.contains("no longer"));
    let found = lines.filter_map(|line| {
        let (stage, place) =
            [" folding ", " judging "].iter().find_map(|stage| Some((stage, line.split_once(stage)?.1)))?;
        Some(format!("{stage}{}", place.split(" position=").next()?))
    });
    found.collect()
}

#[test]
fn an_instance_that_is_asked_to_end_while_busy_leaves_at_once_and_its_work_goes_on_elsewhere() {
    const EVENTS: usize = 20_000;
    const CHUNKS: usize = 100;
    const SESSION: Duration = Duration::from_secs(30);
    /// Partitions of three tables to be folded, and those to be judged.
    const ALL: usize = 4 * 4;
    let kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let folder = tempfile::tempdir().expect("a folder");
    let migrated = command(&kafka, &clickhouse).arg("migrate").output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let client = source_topics(&kafka, PARTITIONS);
    let producer: BaseProducer = client.create().expect("a producer");
    let start = last_end_until(now() - SPAN_MS - 60_000, 1000);
    let sent = events(start, EVENTS);
    // Whoever dies without a word would be missed for this long.
    let settings = [("KAFKA__SESSION_TIMEOUT", "30s")];
    let (taken_over, left) = (AtomicBool::new(false), AtomicUsize::new(CHUNKS));
    let stream = || {
        for events in sent.chunks(sent.len().div_ceil(CHUNKS)) {
            send(&producer, events);
            left.fetch_sub(1, Ordering::SeqCst);
            if !taken_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(300));
            }
        }
    };
    let (ending, other) = thread::scope(|scope| {
        // From the start: where there is nothing to read, time goes on without events.
        scope.spawn(stream);
        let leaves = run_with(&kafka, &clickhouse, folder.path(), "one", &settings);
        wait_for("work for the first", &[&leaves.log], Duration::from_secs(60), || {
            let begun = begun(&leaves.log);
            (begun.len() < ALL).then(|| format!("{begun:?}"))
        });
        let stays = run_with(&kafka, &clickhouse, folder.path(), "two", &settings);
        wait_for("work for both", &[&leaves.log, &stays.log], Duration::from_secs(60), || {
            let begun = begun(&stays.log);
            let has = |stage: &str| begun.iter().any(|place| place.starts_with(stage));
            (!has(" folding ") || !has(" judging ")).then(|| format!("{begun:?}"))
        });
        let before = begun(&stays.log).len();
        assert!(before < ALL, "the one that leaves has nothing left to leave");
        let ending = end_cleanly(leaves);
        let gone = Instant::now();
        wait_for("its partitions elsewhere", &[&stays.log], SESSION / 2, || {
            let begun = begun(&stays.log);
            (begun.len() < ALL).then(|| format!("{begun:?}"))
        });
        let busy = left.load(Ordering::SeqCst);
        assert!(busy > 0, "events came in all the while");
        taken_over.store(true, Ordering::SeqCst);
        (
            format!(
                "ended after {ending:?}, all taken over {:?} later, {busy} of {CHUNKS} still to come",
                gone.elapsed()
            ),
            stays,
        )
    });
    let breaches = every_reading_is_right(&clickhouse, &sent, start, &[&other.log]);
    let alerts = read_all(&kafka.brokers, "tierwatch.alerts", PARTITIONS);
    let alerts: Vec<Breach> = alerts
        .iter()
        .filter_map(|(_, value)| told(&serde_json::from_slice(value).expect("a breach event"), until(start)))
        .collect();
    assert_eq!(alerts.iter().cloned().collect::<BTreeSet<_>>(), breaches);
    assert_eq!(alerts.len(), breaches.len(), "each breach event is told once; {ending}");
    // Nor does an end wait for a store that stands still.
    clickhouse.stand_still();
    send(&producer, &events(start + SPAN_MS, 2_000));
    thread::sleep(Duration::from_secs(3));
    let last = end_cleanly(other);
    // What retention takes before it is stored is not passed over in silence.
    let admin: AdminClient<DefaultClientContext> = client.create().expect("an admin client");
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset("tierwatch.readings", partition, Offset::End).expect("an offset");
    }
    futures::executor::block_on(admin.delete_records(&all, &AdminOptions::new())).expect("records are deleted");
    let output = command(&kafka, &clickhouse).args(["run", "--stages", "store"]).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("tierwatch.readings[") && said.contains("--accept-lost"), "{said}");
    writeln!(std::io::stderr(), "{ending}; with a store that stands still, ended after {last:?}").expect("stderr");
}

#[test]
fn who_hears_nothing_of_the_group_for_long_asks_it_with_a_new_client() {
    let (kafka, clickhouse) = (Kafka::start(), ClickHouse::start());
    source_topics(&kafka, 2);
    let folder = tempfile::tempdir().expect("a folder");
    assert!(command(&kafka, &clickhouse).arg("migrate").output().expect("the binary starts").status.success());
    // The group waits for a member that stands still, as long as its session goes.
    let still = run_with(&kafka, &clickhouse, folder.path(), "still", &[("KAFKA__SESSION_TIMEOUT", "60s")]);
    let says = |log: &Path, words: &[&str]| {
        let said = fs::read_to_string(log).unwrap_or_default();
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).copied().collect();
        (!missing.is_empty()).then(|| format!("it does not say {missing:?}"))
    };
    wait_for("the first member", &[&still.log], Duration::from_secs(60), || {
        says(&still.log, &["folding", "judging partition=3"])
    });
    let signal = |name: &str| {
        let pid = still.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill is there").success());
    };
    signal("-STOP");
    let second = run_with(&kafka, &clickhouse, folder.path(), "second", &[("KAFKA__SESSION_TIMEOUT", "1s")]);
    wait_for("a new client", &[&second.log], Duration::from_secs(40), || {
        says(&second.log, &["asking it with a new client", r#"group="tierwatch.fold""#, r#"group="tierwatch.judge""#])
    });
    signal("-CONT");
    wait_for("its share of the partitions", &[&still.log, &second.log], Duration::from_secs(40), || {
        says(&second.log, &["folding", "judging"])
    });
    end_cleanly(second);
    end_cleanly(still);
}

#[test]
fn positions_that_are_gone_hold_their_partition_until_the_loss_is_accepted() {
    let kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let folder = tempfile::tempdir().expect("a folder");
    let migrated = command(&kafka, &clickhouse).args(["migrate", "--no-tables"]).output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let client = source_topics(&kafka, 1);
    let producer: BaseProducer = client.create().expect("a producer");
    let start = now() - 600_000;
    send(&producer, &operations(start, false));
    let mut instance = run(&kafka, &clickhouse, folder.path(), "one");
    wait_for("the first readings", &[&instance.log], Duration::from_secs(60), || {
        read_all(&kafka.brokers, "tierwatch.readings", 4).is_empty().then(|| "no readings".to_owned())
    });
    instance.process.kill().expect("it runs");
    instance.process.wait().expect("it ends");

    // Retention takes what nobody has read.
    send(&producer, &operations(start + 120_000, false));
    let admin: AdminClient<DefaultClientContext> = client.create().expect("an admin client");
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(TABLES[0], 0, Offset::Offset(1_500)).expect("an offset");
    futures::executor::block_on(admin.delete_records(&until, &AdminOptions::new())).expect("records are deleted");

    // The partition is held, and says why; what else there is goes on, however often somebody begins again.
    for name in ["held", "held-again"] {
        let mut held = run(&kafka, &clickhouse, folder.path(), name);
        for part in ["business_operations[0] was read up to 1200", "holds only 1500 to 2400", "--accept-lost"] {
            wait_for(part, &[&held.log], Duration::from_secs(60), || {
                let text = fs::read_to_string(&held.log).unwrap_or_default();
                (!text.contains(part)).then(|| "not said".to_owned())
            });
        }
        let before = folded(&client, 1);
        send(&producer, &requests(start + 120_000));
        wait_for("another table is folded", &[&held.log], Duration::from_secs(60), || {
            let now = folded(&client, 1);
            (now < Some(before.unwrap_or(0) + 100)).then(|| format!("{before:?}, then {now:?}"))
        });
        assert_eq!(folded(&client, 0), Some(1_200), "nothing is skipped");
        assert!(held.process.try_wait().expect("it can be asked").is_none(), "it goes on");
        end_cleanly(held);
    }
    let held: Vec<_> = audited(&kafka).into_iter().filter(|said| said["what"] == "source_held").collect();
    assert_eq!(held.len(), 2, "each owner says so once: {held:?}");
    assert_eq!((&held[0]["topic"], &held[0]["partition"]), (&serde_json::json!(TABLES[0]), &serde_json::json!(0)));

    let log = folder.path().join("two.log");
    let file = std::fs::File::create(&log).expect("the log can be written");
    let mut accepting = command(&kafka, &clickhouse);
    accepting
        .args(["run", "--accept-lost"])
        .env("TIERWATCH__KAFKA__INSTANCE", "one")
        .stdout(Stdio::null())
        .stderr(file);
    let mut process = accepting.spawn().expect("the binary starts");
    wait_for("the loss in the log", &[&log], Duration::from_secs(60), || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (!text.contains("business_operations[0] 1200..1500 is lost")).then(|| "not yet".to_owned())
    });
    let mut lost = Vec::new();
    wait_for("the loss in the alerts", &[&log], Duration::from_secs(60), || {
        let alerts = read_all(&kafka.brokers, "tierwatch.alerts", 4).into_iter().map(|(_, event)| event);
        let of_loss = |event: &serde_json::Value| event["rule"] == "tierwatch_events_lost";
        lost = alerts.filter_map(|event| serde_json::from_slice(&event).ok()).filter(of_loss).collect();
        lost.is_empty().then(|| "no breach".to_owned())
    });
    let series = serde_json::json!({"topic": "business_operations", "partition": 0});
    assert_eq!((&lost[0]["type"], &lost[0]["series"]), (&serde_json::json!("opened"), &series));
    assert!(
        lost.iter().filter(|event| event["type"] == "opened").count() == 1,
        "one of all partitions tells: {lost:?}"
    );
    process.kill().expect("it runs");
    process.wait().expect("it ends");
}

#[test]
fn the_demo_ends_by_itself_and_shows_what_it_is_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = Command::new(env!("CARGO_BIN_EXE_tierwatch"))
        .current_dir(folder.path())
        .args(["demo", "--for", "56s"])
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{said}\n{}", String::from_utf8_lossy(&demo.stderr));
    for part in ["OPENED", "ESCALATED", "RESOLVED", "tierwatch sql", "kcat"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let query = "SELECT DISTINCT type FROM breaches ORDER BY type";
    let sql = Command::new(env!("CARGO_BIN_EXE_tierwatch"))
        .current_dir(folder.path())
        .args(["sql", "--store", ".tierwatch/demo", query, "--format", "json"])
        .output()
        .expect("the binary starts");
    let rows = String::from_utf8_lossy(&sql.stdout);
    let types: BTreeSet<&str> = rows.lines().collect();
    assert!(
        types.contains(r#"{"type":"opened"}"#) && types.contains(r#"{"type":"resolved"}"#),
        "{rows}\n{}",
        String::from_utf8_lossy(&sql.stderr)
    );
}

#[test]
fn an_older_rule_set_does_not_take_the_log_back() {
    let kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let migrated = command(&kafka, &clickhouse).args(["migrate", "--no-tables"]).output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let said = String::from_utf8_lossy(&migrated.stdout);
    assert_eq!(said.lines().count(), 1, "topics that are as they should be are not worth a word: {said}");
    // Settings that somebody has changed are.
    let admin: AdminClient<DefaultClientContext> = source_topics(&kafka, 1).create().expect("an admin client");
    let changed = AlterConfig::new(ResourceSpecifier::Topic("tierwatch.audit")).set("cleanup.policy", "compact");
    futures::executor::block_on(admin.alter_configs([&changed], &AdminOptions::new())).expect("it is changed");
    let again = command(&kafka, &clickhouse).args(["migrate", "--no-tables"]).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&again.stdout);
    let change = "--entity-name tierwatch.audit --add-config cleanup.policy=delete";
    assert!(said.contains("warning: tierwatch.audit: cleanup.policy is compact") && said.contains(change), "{said}");
    let restored = changed.set("cleanup.policy", "delete").set("message.timestamp.type", "LogAppendTime");
    futures::executor::block_on(admin.alter_configs([&restored], &AdminOptions::new())).expect("it is changed");
    let folder = tempfile::tempdir().expect("a folder");
    // A number of partitions that the topics don't have stops whoever starts with it.
    let log = folder.path().join("partitions.log");
    let mut other = command(&kafka, &clickhouse);
    other.arg("run").env("TIERWATCH__TOPICS__PARTITIONS", "3").stdout(Stdio::null());
    let mut process =
        other.stderr(std::fs::File::create(&log).expect("the log can be written")).spawn().expect("the binary starts");
    wait_for("an end", &[&log], Duration::from_secs(60), || {
        let ended = process.try_wait().expect("it can be asked");
        assert!(ended.is_none_or(|status| !status.success()), "it started");
        ended.is_none().then(|| "it runs".to_owned())
    });
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.contains("has 4 partitions") && text.contains("set topics.partitions = 4"), "{text}");
    let mut said = Vec::new();
    for (name, rule, wanted) in [
        ("newer", "success_ratio.sql", "the rule set was written to the log"),
        ("older", "operations_all.sql", "newer than these files"),
    ] {
        let rules = folder.path().join(name);
        std::fs::create_dir(&rules).expect("a folder");
        let text = std::fs::read(format!("tests/end_to_end/rules/{rule}")).expect("the rule is there");
        std::fs::write(rules.join(rule), text).expect("written");
        if name == "older" {
            let file = std::fs::File::options().append(true).open(rules.join(rule)).expect("the rule");
            file.set_modified(std::time::UNIX_EPOCH).expect("a time");
        }
        let log = folder.path().join(format!("{name}.log"));
        let mut running = command(&kafka, &clickhouse);
        running.arg("run").env("TIERWATCH__RULES__PATH", &rules).env("TIERWATCH__STORE__KIND", "none");
        let file = std::fs::File::create(&log).expect("the log can be written");
        let mut process = running.stdout(Stdio::null()).stderr(file).spawn().expect("the binary starts");
        wait_for(wanted, &[&log], Duration::from_secs(60), || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            (!text.contains(wanted)).then(|| "not yet".to_owned())
        });
        process.kill().expect("it runs");
        process.wait().expect("it ends");
        said.push(std::fs::read_to_string(&log).unwrap_or_default());
    }
    assert!(!said[1].contains("was written to the log"), "{}", said[1]);
    let audit = audited(&kafka);
    assert_eq!(audit.len(), 2, "{audit:?}");
    assert_eq!(audit[1]["what"], "rule_set_refused");
    assert!(audit[1]["problems"][0].as_str().is_some_and(|why| why.contains("is newer")), "{audit:?}");
}

/// What the audit has.
fn audited(kafka: &Kafka) -> Vec<serde_json::Value> {
    let audit = read_all(&kafka.brokers, "tierwatch.audit", 1);
    audit.iter().map(|(_, value)| serde_json::from_slice(value).expect("JSON")).collect()
}

/// Commits a folder by itself, at a time in epoch seconds; answers with the commit.
fn commit(folder: &Path, at_s: i64) -> String {
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(folder).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words);
        let output = git.env("GIT_COMMITTER_DATE", format!("@{at_s} +0000")).output().expect("git is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for words in [&["init", "-q"] as &[&str], &["add", "."], &["commit", "-qm", "rules"]] {
        git(words);
    }
    git(&["rev-parse", "HEAD"])
}

#[test]
fn changed_rules_take_effect_without_a_restart_and_broken_ones_change_nothing() {
    let kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let migrated = command(&kafka, &clickhouse).args(["migrate", "--no-tables"]).output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let producer: BaseProducer = source_topics(&kafka, 1).create().expect("a producer");
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules");
    // A checkout behind a symbolic link, as those have it who bring new ones beside the old.
    let checkout = |name: &str, text: &str, at_s: i64| {
        let made = folder.path().join(name);
        std::fs::create_dir(&made).expect("a folder");
        std::fs::write(made.join("success_ratio.sql"), text).expect("written");
        let commit = commit(&made, at_s);
        let link = folder.path().join(format!("{name}.link"));
        std::os::unix::fs::symlink(&made, &link).expect("linked");
        std::fs::rename(&link, &rules).expect("swapped");
        commit
    };
    let text = std::fs::read_to_string("tests/end_to_end/rules/success_ratio.sql").expect("the rule is there");
    let wrong = text.replace("SELECT", "SELEKT");
    let settings =
        [("RULES__PATH", rules.to_str().expect("a path")), ("RULES__WATCH_INTERVAL", "300ms"), ("STORE__KIND", "none")];
    // Where no rules are in force yet there is nothing to go on with.
    checkout("none", &wrong, 1_000);
    let mut none = run_with(&kafka, &clickhouse, folder.path(), "none", &settings);
    assert_eq!(none.process.wait().expect("it ends").code(), Some(1));
    let said = fs::read_to_string(&none.log).unwrap_or_default();
    assert!(said.contains("no rule set is in force"), "{said}");

    // What was written to disk later may be of an earlier commit.
    let first = checkout("first", &text, 3_000);
    let mut instance = run_with(&kafka, &clickhouse, folder.path(), "one", &settings);
    let log = instance.log.clone();
    let says = |part: &'static str| {
        wait_for(part, &[&log], Duration::from_secs(60), || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            (!log.contains(part)).then(|| "not yet".to_owned())
        });
    };
    let start = now() - 200_000;
    send(&producer, &operations(start, true));
    says("opened");

    let broken = checkout("broken", &wrong, 4_000);
    says("changed rules are refused as a whole");
    let earlier = checkout("earlier", &text.replace("GROUP BY", "/* once */ GROUP BY"), 2_000);
    says("newer than these files");
    let second = checkout("second", &text.replace("GROUP BY", "/* as before */ GROUP BY"), 5_000);
    says("folding by other rule sets");

    // Nor does it end anything that somebody starts again while they are broken.
    let still = checkout("still", &wrong, 6_000);
    instance.process.kill().expect("it runs");
    instance.process.wait().expect("it ends");
    let mut again = run_with(&kafka, &clickhouse, folder.path(), "again", &settings);
    for part in ["going on with the rules in force", "judging"] {
        wait_for(part, &[&again.log], Duration::from_secs(60), || {
            let log = std::fs::read_to_string(&again.log).unwrap_or_default();
            (!log.contains(part)).then(|| "not yet".to_owned())
        });
    }
    assert!(again.process.try_wait().expect("it can be asked").is_none(), "it goes on");
    let told: Vec<(String, String, usize)> = audited(&kafka)
        .iter()
        .map(|said| {
            let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
            (text("what"), text("commit"), said["problems"].as_array().map_or(0, Vec::len))
        })
        .collect();
    let expected = [
        ("rule_set", first, 0),
        ("rule_set_refused", broken, 1),
        ("rule_set_refused", earlier, 1),
        ("rule_set", second, 0),
        ("rule_set_refused", still, 1),
    ];
    assert_eq!(told, expected.map(|(what, commit, problems)| (what.to_owned(), commit, problems)));
    let upgraded = command(&kafka, &clickhouse).arg("upgrade").output().expect("the binary starts");
    let said = String::from_utf8_lossy(&upgraded.stdout);
    assert_eq!(said, "format 1 is written, and this binary knows no newer one: nothing to do\n", "{upgraded:?}");
}

/// Its text becomes a gigabyte, three times over.
const BOMB: &str = r#"/*
name: bomb
title: More memory than there is
tier: data
unit: count
owner: tests
levels: {warning: value < 0}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
WITH once AS (
  SELECT service, count(*) AS samples, min(service) AS t
  FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
),
a AS (SELECT service, samples, concat(TIMES) AS t FROM once),
b AS (SELECT service, samples, concat(TIMES) AS t FROM a),
c AS (SELECT service, samples, concat(TIMES) AS t FROM b),
d AS (SELECT service, samples, concat(TIMES) AS t FROM c),
e AS (SELECT service, samples, concat(t, t, t, t, '1') AS x, concat(t, t, t, t, '2') AS y, concat(t, t, t, t, '3') AS z FROM d)
SELECT service, samples, octet_length(x) + char_length(x) + octet_length(y) + char_length(y) + octet_length(z) + char_length(z) AS value
FROM e
"#;

/// What a process may have, in KiB: more than it needs, and less than the bomb does.
const MEMORY: &str = "4000000";

#[test]
fn a_rule_that_takes_the_process_with_it_is_fenced_off_and_the_others_go_on() {
    let (kafka, clickhouse) = (Kafka::start(), ClickHouse::start());
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules");
    fs::create_dir(&rules).expect("a folder");
    fs::copy("tests/end_to_end/rules/success_ratio.sql", rules.join("success_ratio.sql")).expect("the rule is copied");
    fs::write(rules.join("bomb.sql"), BOMB.replace("TIMES", &["t"; 72].join(", "))).expect("the rule is written");
    let migrated = command(&kafka, &clickhouse).arg("migrate").output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let producer: BaseProducer = source_topics(&kafka, 1).create().expect("a producer");
    send(&producer, &operations(now() - 200_000, true));
    let mut deaths = 0;
    let instance = loop {
        let usual = command(&kafka, &clickhouse);
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_tierwatch")]);
        limited.envs(usual.get_envs().filter_map(|(key, value)| Some((key, value?))));
        limited.current_dir(env!("CARGO_MANIFEST_DIR")).env("TIERWATCH__RULES__PATH", &rules);
        let mut instance = start(limited, folder.path(), &format!("{deaths}"));
        let log = instance.log.clone();
        let (mut died, mut alerts) = (false, Vec::new());
        wait_for("an alert, or death", &[&log], Duration::from_secs(90), || {
            died = instance.process.try_wait().expect("it can be asked").is_some();
            alerts = read_all(&kafka.brokers, "tierwatch.alerts", 4);
            (!died && alerts.len() < 2).then(|| format!("{} alerts", alerts.len()))
        });
        if !died {
            let events: Vec<serde_json::Value> =
                alerts.iter().map(|(_, value)| serde_json::from_slice(value).expect("an event")).collect();
            let of =
                |rule: &str| events.iter().filter(|event| event["rule"] == rule && event["type"] == "opened").count();
            assert_eq!((of("tierwatch_rule_fenced"), of("success_ratio")), (1, 1), "{events:#?}");
            break instance;
        }
        let said = fs::read_to_string(&log).expect("a log");
        assert!(said.contains("memory allocation of"), "{said}");
        deaths += 1;
        assert!(deaths < 7, "it dies on and on");
    };
    // Once without care, and twice over the window that was noted; who comes further first begins to count anew.
    assert!(deaths >= 3, "{deaths}");
    end_cleanly(instance);
}
