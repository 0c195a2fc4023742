//! The demo: everything in one process, with events that go wrong on purpose. It needs nothing but the binary: the
//! broker is librdkafka's mock cluster, which any Kafka client can attach to, and the store is a folder of Parquet.

pub mod generator;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use rdkafka::{
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};

use self::generator::{Generator, demo_incidents};
use crate::{
    config::{Config, Stage, Start, StoreKind},
    kafka::{self, topics},
    loops::{Watcher, rules::Provenance},
    pipeline::{self, Context, Shutdown, clock},
    rules::{Files, RuleSet, Settings, diagnostics::Source},
};

/// Where the demo stores what it saw; emptied at each start.
pub const STORE: &str = ".tierwatch/demo";
/// The topic of its breach events.
pub const ALERTS: &str = "tierwatch.alerts";

/// How far out of order the demo's events come: the generator promises two seconds.
const OUT_OF_ORDERNESS: &str = "2s";
const PARTITIONS: i32 = 2;

/// A demo that is set up.
pub struct Demo {
    cluster: MockCluster<'static, DefaultProducerContext>,
    brokers: String,
    context: Context,
}

/// Why a demo cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker inside the process.
    #[error("the broker inside the process failed: {0}")]
    Broker(#[from] rdkafka::error::KafkaError),
    /// The pipeline.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// The folder.
    #[error("cannot empty {STORE}: {0}")]
    Store(std::io::Error),
    /// Its own rules.
    #[error("the demo's own rules are broken: {0}")]
    Rules(String),
}

fn files() -> Files {
    let source = |path: &str, text: &str| Arc::new(Source { path: path.to_owned(), text: text.to_owned() });
    let rules = [
        ("sql/demo/success_ratio.sql", include_str!("../../sql/demo/success_ratio.sql")),
        ("sql/demo/latency_p95.sql", include_str!("../../sql/demo/latency_p95.sql")),
        ("sql/demo/node_cpu.sql", include_str!("../../sql/demo/node_cpu.sql")),
    ];
    let tables = [
        ("schemas/tables/business_operations.json", include_str!("../../schemas/tables/business_operations.json")),
        ("schemas/tables/requests.json", include_str!("../../schemas/tables/requests.json")),
        ("schemas/tables/node_metrics.json", include_str!("../../schemas/tables/node_metrics.json")),
    ];
    let quick = |text: &str| {
        text.replace("\"x-out-of-orderness\": \"5s\"", &format!("\"x-out-of-orderness\": \"{OUT_OF_ORDERNESS}\""))
    };
    Files {
        rules: rules.iter().map(|(path, text)| source(path, text)).collect(),
        tables: tables.iter().map(|(path, text)| source(path, &quick(text))).collect(),
        references: Vec::new(),
        beside: Vec::new(),
    }
}

impl Demo {
    /// Starts the broker, with its topics, and sets up the pipeline.
    pub fn new(mut config: Config, shutdown: Shutdown, watcher: Arc<dyn Watcher>) -> Result<Self, Error> {
        let cluster = MockCluster::new(1)?;
        let brokers = cluster.bootstrap_servers();
        config.kafka.brokers.clone_from(&brokers);
        "demo".clone_into(&mut config.kafka.group);
        config.topics.partitions = PARTITIONS;
        ALERTS.clone_into(&mut config.topics.alerts);
        config.fold.start = Start::Earliest;
        config.fold.interval = Duration::from_millis(200);
        config.store.kind = StoreKind::Parquet;
        config.store.path = PathBuf::from(STORE);
        // Its rules are in the binary.
        config.rules.watch_interval = None;
        if Path::new(STORE).exists() {
            std::fs::remove_dir_all(STORE).map_err(Error::Store)?;
        }
        let (set, problems) = RuleSet::compile(files(), Settings { idle_after_ms: Some(5_000) });
        if RuleSet::broken(&problems) {
            return Err(Error::Rules(problems.iter().map(|problem| problem.render(false)).collect()));
        }
        for topic in topics::wanted(&config.topics) {
            cluster.create_topic(&topic.name, topic.partitions, 1)?;
        }
        for table in set.catalog.tables.values() {
            cluster.create_topic(&table.topic, PARTITIONS, 1)?;
        }
        let mut context = pipeline::context(config, (set, &[]), Provenance::default(), shutdown);
        context.job.watcher = Some(watcher);
        context.sweep = false;
        Ok(Self { cluster, brokers, context })
    }

    /// Where the broker listens.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Sends events and runs all stages, for a span or until shutdown is asked.
    pub fn run(self, span: Option<Duration>) -> Result<(), Error> {
        let shutdown = self.context.shutdown.clone();
        let tables: BTreeSet<String> = self.context.set.tables();
        let producer: BaseProducer = kafka::client(&self.context.job.config.kafka).create()?;
        let running = pipeline::start(self.context, BTreeSet::from([Stage::Fold, Stage::Judge, Stage::Store]))?;
        let began = clock::now();
        let until = span.map(|span| began + i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
        let read: Vec<&str> = tables.iter().map(String::as_str).collect();
        let mut generator = Generator::new(7, began, demo_incidents(began)).with_tables(&read);
        while !shutdown.asked() && !running.ended() && until.is_none_or(|until| clock::now() < until) {
            for event in generator.advance(clock::now()) {
                let record =
                    BaseRecord::to(event.table).key(&event.key).payload(&event.json).timestamp(event.arrival_ms);
                if let Err((error, _)) = producer.send(record) {
                    tracing::warn!(%error, "an event could not be sent");
                }
            }
            producer.poll(Duration::ZERO);
            thread::sleep(Duration::from_millis(50));
        }
        shutdown.ask();
        let outcome = running.wait();
        producer.flush(Duration::from_secs(2))?;
        drop(self.cluster);
        Ok(outcome?)
    }
}
