//! The stages as threads: wiring and shutdown. The only place that spawns.
//!
//! Each stage has one thread, which owns its consumer. Where one stops with an error, all stop, and the process ends
//! with that error: whoever runs it starts it again, and it goes on from the log.

pub mod clock;
mod edge;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use self::edge::{KafkaEdge, Target};
use crate::{
    config::{Config, Stage, StoreKind},
    kafka::{self, consumer::GroupConsumer, transaction::Transactions},
    loops::{self, Job, rules::Provenance},
    rules::RuleSet,
    store::{clickhouse::ClickHouse, parquet::Folder},
};

/// Asks all stages to end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<AtomicBool>);

impl Shutdown {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// True once it was asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What every stage of this process has.
#[derive(Clone)]
pub struct Context {
    /// What its loops have.
    pub job: Job,
    /// Settings of every Kafka client.
    pub client: ClientConfig,
    /// Asked when the process is to end.
    pub shutdown: Shutdown,
    /// Whether writers end what hangs of them by a transaction that is aborted. Not with the broker inside the process,
    /// which shows aborted records to everybody.
    pub sweep: bool,
}

/// Why the pipeline stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// A loop.
    #[error(transparent)]
    Loop(#[from] loops::Error),
    /// STORE, to Parquet.
    #[error("STORE: {0}")]
    Parquet(#[from] crate::store::parquet::Error),
    /// The asynchronous runtime.
    #[error("the asynchronous runtime cannot be started: {0}")]
    Runtime(std::io::Error),
    /// A stage ended with a bug.
    #[error("stage {0} ended unexpectedly; this is a bug, please report it with the log")]
    Panicked(&'static str),
}

/// Runs stages until shutdown is asked or one fails.
pub fn run(context: &Context, stages: &BTreeSet<Stage>) -> Result<(), Error> {
    kafka::topics::connect(&context.client, context.job.config.kafka.connect_timeout)?;
    kafka::topics::check(&context.client, &context.job.config.topics)?;
    let mut context = context.clone();
    if stages.contains(&Stage::Fold) {
        announce(&mut context)?;
    }
    let first: Arc<Mutex<Option<Error>>> = Arc::default();
    let mut threads = Vec::new();
    for stage in stages.iter().copied() {
        let (context, first) = (context.clone(), Arc::clone(&first));
        let name = stage.as_str();
        let spawned = thread::Builder::new().name(name.into()).stack_size(16 << 20).spawn(move || {
            if let Err(error) = work(&context, stage) {
                tracing::error!(stage = name, %error, "stopped");
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            context.shutdown.ask();
        });
        threads.push((name, spawned.map_err(Error::Runtime)?));
    }
    let mut panicked = None;
    for (name, thread) in threads {
        if thread.join().is_err() {
            context.shutdown.ask();
            panicked = Some(Error::Panicked(name));
        }
    }
    let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    first.or(panicked).map_or(Ok(()), Err)
}

/// Runs one stage.
fn work(context: &Context, stage: Stage) -> Result<(), Error> {
    let config = &context.job.config;
    let group = format!("{}.{}", config.kafka.group, stage.as_str());
    let topics = match stage {
        Stage::Fold => loops::fold::topics(&context.job.set).into_keys().collect(),
        Stage::Judge => vec![config.topics.partials.clone()],
        Stage::Store if config.store.kind == StoreKind::None => Vec::new(),
        Stage::Store => loops::store::topics(&context.job),
    };
    let target = match (stage, config.store.kind) {
        (Stage::Store, StoreKind::Parquet) => Target::Parquet(Folder::new(&config.store.path)?),
        (Stage::Store, StoreKind::Clickhouse) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
            Target::ClickHouse(Box::new(ClickHouse::new(&config.clickhouse)), runtime)
        }
        _ => Target::None,
    };
    let mut edge = edge(context, &group, &topics, &format!("{group}.{}", context.job.instance))?;
    edge.target = target;
    loops::run(async {
        match stage {
            Stage::Fold => loops::fold::run(&context.job, &mut edge).await,
            Stage::Judge => loops::judge::run(&context.job, &mut edge).await,
            Stage::Store => loops::store::run(&context.job, &mut edge).await,
        }
    })?;
    Ok(())
}

fn edge<'a>(context: &'a Context, group: &str, topics: &[String], writer: &str) -> Result<KafkaEdge<'a>, Error> {
    let config = &context.job.config.kafka;
    let own = &context.job.config.topics;
    // All that somebody writes to: the first one is no place at which a group stops.
    let single = [&own.audit, &own.dead_letters, &own.rules].map(|topic| (topic.clone(), 0));
    let spread = [&own.partials, &own.readings, &own.alerts, &own.state];
    let spread = spread.into_iter().flat_map(|topic| (0..own.partitions).map(|partition| (topic.clone(), partition)));
    let places = single.into_iter().chain(spread).filter(|_| context.sweep).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    Ok(KafkaEdge {
        context,
        consumer: GroupConsumer::join(&context.client, group, &topics, config.session_timeout)?,
        transactions: Transactions::new(&context.client, writer, config.transaction_timeout, places),
        target: Target::None,
    })
}

/// Brings this instance's rules into the log, or takes those in force.
fn announce(context: &mut Context) -> Result<(), Error> {
    let config = Arc::clone(&context.job.config);
    let provenance = Provenance {
        newest_ms: crate::files::newest(&[&config.rules.path, &config.rules.reference, &config.tables.path]),
        commit: crate::files::commit(&config.rules.path),
    };
    let mut job = context.job.clone();
    // One name for all instances: of those who would write at the same time, the last one to be ready may.
    let group = format!("{}.rules", config.kafka.group);
    let mut edge = edge(context, &group, &[], &group)?;
    loops::run(loops::rules::announce(&mut job, &provenance, &mut edge))?;
    drop(edge);
    context.job = job;
    Ok(())
}

/// Stages running in the background.
pub struct Running(thread::JoinHandle<Result<(), Error>>);

impl Running {
    /// True once they have ended.
    pub fn ended(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for them to end.
    pub fn wait(self) -> Result<(), Error> {
        self.0.join().unwrap_or(Err(Error::Panicked("pipeline")))
    }
}

/// Runs stages in the background.
pub fn start(context: Context, stages: BTreeSet<Stage>) -> Result<Running, Error> {
    let spawned = thread::Builder::new().name("pipeline".into()).spawn(move || run(&context, &stages));
    spawned.map(Running).map_err(Error::Runtime)
}

/// Asks for shutdown when the process gets SIGINT or SIGTERM.
pub fn shutdown_on_signal(shutdown: &Shutdown) -> Result<(), Error> {
    let shutdown = shutdown.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let wait = move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("asked to end");
            shutdown.ask();
        });
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(|_| ()).map_err(Error::Runtime)
}

/// A context for the rules in `files`, which must be free of errors.
pub fn context(config: Config, set: RuleSet, shutdown: Shutdown) -> Context {
    let client = kafka::client(&config.kafka);
    // A random name is unique enough: it only has to differ from those of other instances.
    let instance =
        config.kafka.instance.clone().unwrap_or_else(|| format!("{:x}-{:x}", std::process::id(), clock::now()));
    let job = Job {
        config: Arc::new(config),
        set: Arc::new(set),
        number: 0,
        accept_lost: false,
        watcher: None,
        began_ms: 0,
        instance,
    };
    Context { job, client, shutdown, sweep: true }
}

fn offsets(positions: &[(String, i32, i64)]) -> Result<TopicPartitionList, kafka::Error> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, position) in positions {
        list.add_partition_offset(topic, *partition, Offset::Offset(*position))?;
    }
    Ok(list)
}
