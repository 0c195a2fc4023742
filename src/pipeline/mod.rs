//! The stages as threads: wiring and shutdown. The only place that spawns.
//!
//! Each stage has one thread, which owns its consumer. Where one stops with an error, all stop, and the process ends
//! with that error: whoever runs it starts it again, and it goes on from the log.

pub mod clock;
mod edge;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use self::edge::{KafkaEdge, Target};
use crate::{
    config::{Config, Stage, StoreKind, Topics},
    files::watch::Watched,
    kafka::{self, consumer::GroupConsumer, hanging::Hanging, reader::Reader, transaction::Transactions},
    loops::{self, Job, TopicPartition, rules::Provenance},
    partial::RecordFormat,
    rules::{RuleSet, RuleSets, diagnostics::Diagnostic},
    store::{clickhouse::ClickHouse, parquet::Folder},
};

/// How often a rule set is tried to be written at the start.
const ANNOUNCE_TRIES: u32 = 20;

/// How long stages may take to end. It is safe to leave them as they are: the log knows what they have done, and the
/// group takes their partitions after the session timeout.
const END_MAX: Duration = Duration::from_secs(4);

/// How often it is looked whether a transaction hangs.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long it is not looked again after what hung was ended.
const AGAIN: Duration = Duration::from_secs(30);

/// What a thread does until the process ends.
type Work = Box<dyn FnOnce(&Context) -> Result<(), Error> + Send>;

/// Asks all stages to end. Knows when that was; 0 before.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<AtomicI64>);

impl Shutdown {
    /// Asks.
    pub fn ask(&self) {
        self.0.compare_exchange(0, clock::now(), Ordering::SeqCst, Ordering::SeqCst).ok();
    }

    /// True once it was asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }

    /// True once it was asked so long ago.
    pub fn asked_for(&self, wait: Duration) -> bool {
        self.asked() && clock::now() - self.0.load(Ordering::SeqCst) >= loops::ms(wait)
    }
}

/// What every stage of this process has.
#[derive(Clone)]
pub struct Context {
    /// What its loops have.
    pub job: Job,
    /// The rules it starts with, as far as they are right.
    pub set: Arc<RuleSet>,
    /// What is wrong with them: where anything is, the rules in force go on.
    pub errors: Vec<String>,
    /// Where they come from.
    pub provenance: Provenance,
    /// The files as they were then: what differs has changed since.
    pub watched: Watched,
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
    if !begin(context, stages.contains(&Stage::Fold))? {
        return Ok(());
    }
    let first: Arc<Mutex<Option<Error>>> = Arc::default();
    let mut threads = Vec::new();
    let mut works: Vec<(&'static str, Work)> = Vec::new();
    for stage in stages.iter().copied() {
        works.push((stage.as_str(), Box::new(move |context| work(context, stage))));
    }
    if stages.contains(&Stage::Fold) {
        works.push(("rules", Box::new(watch)));
    }
    if context.sweep {
        works.push(("hanging", Box::new(sweep)));
    }
    for (name, work) in works {
        let (context, first) = (context.clone(), Arc::clone(&first));
        let spawned = thread::Builder::new().name(name.into()).stack_size(16 << 20).spawn(move || {
            let outcome = work(&context);
            if let Err(error) = outcome {
                tracing::error!(stage = name, %error, "stopped");
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            context.shutdown.ask();
        });
        threads.push((name, spawned.map_err(Error::Runtime)?));
    }
    let mut panicked = None;
    while !threads.is_empty() {
        let (over, going): (Vec<_>, Vec<_>) = threads.into_iter().partition(|(_, thread)| thread.is_finished());
        for (name, thread) in over {
            if thread.join().is_err() {
                context.shutdown.ask();
                panicked = Some(Error::Panicked(name));
            }
        }
        threads = going;
        if context.shutdown.asked_for(END_MAX) {
            for (stage, _) in &threads {
                tracing::warn!(stage, "did not end in time; what it was doing is done again from the log");
            }
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    first.or(panicked).map_or(Ok(()), Err)
}

/// Waits for brokers and topics, and brings the rules into the log. False where the process was asked to end meanwhile.
fn begin(context: &Context, rules: bool) -> Result<bool, Error> {
    const NAME: &str = "start";
    let own = context.clone();
    let start = move || {
        kafka::topics::connect(&own.client, own.job.config.kafka.connect_timeout)?;
        kafka::topics::check(&own.client, &own.job.config.topics)?;
        if own.sweep {
            advise(&own);
        }
        if rules { announce(&own) } else { Ok(()) }
    };
    let thread = thread::Builder::new().name(NAME.into()).stack_size(16 << 20).spawn(start).map_err(Error::Runtime)?;
    while !thread.is_finished() {
        if context.shutdown.asked_for(END_MAX) {
            tracing::warn!("asked to end before a broker answered");
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let outcome = thread.join().unwrap_or(Err(Error::Panicked(NAME)));
    if context.shutdown.asked() { Ok(false) } else { outcome.map(|()| true) }
}

/// Tells of settings of topics that are not as they should be: nothing that must keep it from running.
fn advise(context: &Context) {
    let sources: Vec<String> = loops::fold::topics(&context.set).into_keys().collect();
    match kafka::topics::advise(&context.client, &context.job.config.topics, &sources) {
        Ok(advice) => {
            let (of_sources, of_own): (Vec<_>, Vec<_>) =
                advice.into_iter().partition(|advice| sources.contains(&advice.topic));
            of_own.iter().for_each(|advice| tracing::warn!("{advice}"));
            if !of_sources.is_empty() {
                let topics: Vec<String> = of_sources.into_iter().map(|advice| advice.topic).collect();
                tracing::info!(
                    topics = topics.join(" "),
                    "source topics have the times of their producers (message.timestamp.type): while a backlog is caught up \
                     with, a producer whose clock is ahead can make others late; LogAppendTime prevents it"
                );
            }
        }
        Err(error) => tracing::debug!(%error, "the settings of topics cannot be read"),
    }
}

/// Runs one stage.
fn work(context: &Context, stage: Stage) -> Result<(), Error> {
    let config = &context.job.config;
    let group = format!("{}.{}", config.kafka.group, stage.as_str());
    let target = match (stage, config.store.kind) {
        (Stage::Store, StoreKind::Parquet) => Target::Parquet(Folder::new(&config.store.path)?),
        (Stage::Store, StoreKind::Clickhouse) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
            Target::ClickHouse(Box::new(ClickHouse::new(&config.clickhouse)), runtime)
        }
        _ => Target::None,
    };
    let mut edge = edge(context, &group, &format!("{group}.{}", context.job.instance))?;
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

fn edge<'a>(context: &'a Context, group: &str, writer: &str) -> Result<KafkaEdge<'a>, Error> {
    let config = &context.job.config.kafka;
    let own = &context.job.config.topics;
    let places = if context.sweep { places(own) } else { Vec::new() };
    let notes = context.sweep.then(|| ((own.state.clone(), 0), group.to_owned()));
    Ok(KafkaEdge {
        context,
        consumer: GroupConsumer::join(&context.client, group, config.session_timeout)?,
        transactions: Transactions::new(&context.client, writer, config.transaction_timeout, places, notes),
        reader: Reader::new(&context.client),
        target: Target::None,
        tails: BTreeMap::new(),
        watched: Watched::default(),
    })
}

/// All that somebody writes to: the first one is no place at which a group stops.
fn places(own: &Topics) -> Vec<TopicPartition> {
    let single = [&own.audit, &own.dead_letters, &own.rules].map(|topic| (topic.clone(), 0));
    let spread = [&own.partials, &own.readings, &own.alerts, &own.state];
    let spread = spread.into_iter().flat_map(|topic| (0..own.partitions).map(|partition| (topic.clone(), partition)));
    single.into_iter().chain(spread).collect()
}

/// Looks for transactions that hang because their writer is gone, and ends them.
fn sweep(context: &Context) -> Result<(), Error> {
    let (own, config) = (&context.job.config.topics, &context.job.config.kafka);
    let group = |stage: Stage| format!("{}.{}", config.group, stage.as_str());
    let groups = vec![
        (group(Stage::Fold), loops::fold::topics(&context.set).into_keys().collect()),
        (group(Stage::Judge), vec![own.partials.clone()]),
    ];
    let mut hanging = Hanging::new(&context.client, places(own), groups, config.transaction_timeout)?;
    let mut next_ms = clock::now();
    while !context.shutdown.asked() {
        thread::sleep(Duration::from_millis(50));
        if clock::now() < next_ms {
            continue;
        }
        next_ms = clock::now() + loops::ms(LOOK_INTERVAL);
        let open = match hanging.look(clock::now()) {
            Ok(open) => open,
            Err(error) => {
                tracing::debug!(%error, "brokers do not answer; looking again for what hangs");
                continue;
            }
        };
        if open.is_empty() {
            continue;
        }
        tracing::warn!(
            ?open,
            "a transaction hangs whose writer does not come back; beginning once as each known writer to end it"
        );
        // Where it did not help, live writers are not to be fenced all the time.
        next_ms = clock::now() + loops::ms(AGAIN);
        match hanging.end(&(own.state.clone(), 0)) {
            Ok(left) if left.is_empty() => {}
            Ok(left) => tracing::warn!(?left, "these writers could not be asked; trying again"),
            Err(error) => tracing::warn!(%error, "the writers could not be read; trying again"),
        }
    }
    Ok(())
}

/// The edge of whoever brings rules into the log. One name for all instances: of those who would write at the same time,
/// the last one to be ready may.
fn rules_edge(context: &Context) -> Result<KafkaEdge<'_>, Error> {
    let group = format!("{}.rules", context.job.config.kafka.group);
    edge(context, &group, &group)
}

/// Brings this instance's rules into the log, where those in force are not newer. Several instances may try at once: one
/// that is fenced tries again.
fn announce(context: &Context) -> Result<(), Error> {
    let Context { job, set, provenance, errors, .. } = context;
    at_rules(context, async |edge| {
        if errors.is_empty() {
            return loops::rules::announce(job, set, provenance, edge).await.map(|_| ());
        }
        loops::rules::refuse(job, &set.hash, provenance, errors, edge).await
    })
}

/// Says that every instance runs a binary like this one: from here on its newest format is written. Answers with the format
/// before, and the one in force now.
pub fn upgrade(context: &Context) -> Result<(Option<RecordFormat>, Option<RecordFormat>), Error> {
    let topics = &context.job.config.topics;
    kafka::topics::connect(&context.client, context.job.config.kafka.connect_timeout)?;
    kafka::topics::check(&context.client, topics)?;
    let format = || at_rules(context, async |edge| loops::rules::format(&context.job, edge).await);
    let before = format()?;
    at_rules(context, async |edge| loops::rules::upgrade(&context.job, edge).await)?;
    Ok((before, format()?))
}

/// Writes to the rules topic, or tries again.
fn at_rules<T>(
    context: &Context,
    work: impl AsyncFn(&mut KafkaEdge<'_>) -> Result<T, loops::Error>,
) -> Result<T, Error> {
    let mut edge = rules_edge(context)?;
    let mut tries = 0;
    loop {
        match loops::run(work(&mut edge)) {
            Ok(done) => return Ok(done),
            Err(error)
                if tries < ANNOUNCE_TRIES
                    && !context.shutdown.asked()
                    && !matches!(error, loops::Error::Format(_) | loops::Error::NoRules) =>
            {
                tries += 1;
                tracing::warn!(%error, "the rule set could not be written; trying again");
                thread::sleep(Duration::from_millis(200) * tries);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Watches the rule files.
fn watch(context: &Context) -> Result<(), Error> {
    let mut edge = rules_edge(context)?;
    edge.watched = context.watched.clone();
    Ok(loops::run(loops::rules::watch(&context.job, &mut edge))?)
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

/// A context for a rule set, what is wrong with it, and where it comes from.
pub fn context(
    config: Config,
    (set, problems): (RuleSet, &[Diagnostic]),
    provenance: Provenance,
    shutdown: Shutdown,
) -> Context {
    let client = kafka::client(&config.kafka);
    // A random name is unique enough: it only has to differ from those of other instances.
    let instance =
        config.kafka.instance.clone().unwrap_or_else(|| format!("{:x}-{:x}", std::process::id(), clock::now()));
    let (settings, sets, set) = (set.settings, RuleSets::default(), Arc::new(set));
    let errors = loops::rules::errors(problems);
    if errors.is_empty() {
        sets.add(&set);
    }
    let job = Job { config: Arc::new(config), sets, settings, accept_lost: false, watcher: None, instance };
    let watched = Watched::in_use(&job.config);
    Context { job, set, errors, provenance, watched, client, shutdown, sweep: true }
}

fn offsets(positions: &[(String, i32, i64)]) -> Result<TopicPartitionList, kafka::Error> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, position) in positions {
        list.add_partition_offset(topic, *partition, Offset::Offset(*position))?;
    }
    Ok(list)
}
