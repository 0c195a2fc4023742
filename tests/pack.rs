//! The whole pack over all twelve tables on the real parts: two instances, an incident, and what a backtest of the same
//! events says.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tierwatch::{
    backtest::{self, Input, Options},
    decode::Limits,
    demo::generator::{Event, Generator, incident_for},
    files,
    judge::output::{BreachEvent, Output},
    panes::last_end_until,
    rules::RuleSet,
};

use crate::{
    bed::{ClickHouse, Kafka},
    end_to_end::{command, now, read_all, run_with, wait_for},
};

const MINUTE: i64 = 60_000;
const SPAN: i64 = 12 * MINUTE;

/// What makes one breach event the same as another.
fn told(event: &BreachEvent) -> (String, String, String, String) {
    (event.rule.clone(), event.window_end.clone(), event.happened.name().to_owned(), event.id.clone())
}

#[test]
fn the_whole_pack_says_on_kafka_what_it_says_in_a_backtest() {
    let kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let folder = tempfile::tempdir().expect("a folder");
    let set =
        files::read(&["sql/rules".into()], Path::new("schemas/tables"), Path::new("sql/reference")).expect("the pack");
    let (set, problems) = RuleSet::compile(set, backtest::SETTINGS);
    assert!(problems.is_empty(), "{problems:?}");
    let set = Arc::new(set);

    let start = last_end_until(now() - SPAN - 2 * MINUTE, 10 * MINUTE);
    let wrong =
        incident_for("business_success_ratio", true, start + 5 * MINUTE, start + 9 * MINUTE).expect("an incident");
    let mut generator = Generator::new(3, start, wrong).with_scale(0.1);
    let events: Vec<Event> = generator.advance(start + SPAN).into_iter().filter(|event| !event.garbage).collect();

    // Idempotent, so that a batch that is sent again does not come after later ones: its events would be late.
    let client: ClientConfig =
        ClientConfig::new().set("bootstrap.servers", &kafka.brokers).set("enable.idempotence", "true").clone();
    let admin: AdminClient<DefaultClientContext> = client.create().expect("an admin client");
    let tables: Vec<String> = set.tables().into_iter().collect();
    assert_eq!(tables.len(), 12);
    let topics: Vec<NewTopic<'_>> =
        tables.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
    futures::executor::block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("topics are made");
    let producer: BaseProducer = client.create().expect("a producer");
    for event in &events {
        let record = BaseRecord::to(event.table).key(&event.key).payload(&event.json).timestamp(event.arrival_ms);
        producer.send(record).map_err(|(error, _)| error).expect("it is taken");
    }
    producer.flush(Duration::from_secs(60)).expect("the broker takes the events");

    let pack = [("RULES__PATH", "sql/rules")];
    let migrated = command(&kafka, &clickhouse).arg("migrate").output().expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let instances = [
        run_with(&kafka, &clickhouse, folder.path(), "one", &pack),
        run_with(&kafka, &clickhouse, folder.path(), "two", &pack),
    ];
    let logs: Vec<PathBuf> = instances.iter().map(|instance| instance.log.clone()).collect();
    let logs: Vec<&Path> = logs.iter().map(PathBuf::as_path).collect();
    let until = start + SPAN - MINUTE;
    wait_for("the last window", &logs, Duration::from_secs(120), || {
        let rows = clickhouse.rows(&format!(
            "SELECT count() FROM (SELECT rule, partitions, partition, max(watermark) AS watermark FROM tierwatch.progress GROUP BY ALL) WHERE toUnixTimestamp64Milli(watermark) >= {until}"
        ));
        let wanted: usize = set.rules.iter().map(|rule| if rule.spread { 4 } else { 1 }).sum();
        (rows.first() != Some(&wanted.to_string())).then(|| format!("{rows:?} of {wanted}"))
    });

    let inputs = tables.iter().map(|table| {
        let own = events.iter().filter(|event| event.table == table);
        let lines: Vec<std::io::Result<Vec<u8>>> = own.map(|event| Ok(event.json.clone().into_bytes())).collect();
        Input { table: table.clone(), name: table.clone(), lines: Box::new(lines.into_iter()) }
    });
    let limits = Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let mut breaches = BTreeSet::new();
    let options = Options { limits, batch_rows: 4096, until: None };
    let in_time =
        |event: &BreachEvent| tierwatch::time::parse_rfc3339(&event.window_end).is_some_and(|end| end <= until);
    backtest::run(&set, inputs.collect(), options, |output| {
        if let Output::Breach(event) = output
            && in_time(event)
        {
            breaches.insert(told(event));
        }
    })
    .expect("it runs");
    assert!(breaches.iter().any(|(rule, ..)| rule == "business_success_ratio"), "{breaches:?}");
    let alerts: Vec<BreachEvent> = read_all(&kafka.brokers, "tierwatch.alerts", 4)
        .into_iter()
        .map(|(_, value)| serde_json::from_slice(&value).expect("a breach event"))
        .collect();
    assert!(alerts.iter().all(|event| event.rule != "tierwatch_rule_fenced"), "{alerts:?}");
    let opened = alerts.iter().find(|event| event.rule == "business_success_ratio").expect("it is there");
    assert!(!opened.contributors.is_empty() && !opened.trace_ids.is_empty(), "{opened:?}");
    let said: BTreeSet<_> = alerts.iter().filter(|event| in_time(event)).map(told).collect();
    assert_eq!(said, breaches);
}
