//! The stages as threads: wiring and shutdown. The only place that spawns.
//!
//! Each stage has one thread, which owns its consumer. Where one stops with an error, all stop, and the process ends
//! with that error: whoever runs it starts it again, and it goes on from the log.

pub mod clock;
mod fold;
mod judge;
mod rules;
mod store;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::{
    config::{Config, Stage},
    judge::output::{BreachEvent, Notice, Reading},
    kafka,
    panes::Millis,
    rules::RuleSet,
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

/// Somebody who wants to see what happens as it happens: the demo's screen.
pub trait Watcher: Send + Sync {
    /// Readings and breach events of one judge transaction, once it is committed.
    fn judged(&self, readings: &[Reading], breaches: &[BreachEvent], notices: &[Notice]);
    /// Events folded and rejected in one fold transaction, once it is committed.
    fn folded(&self, events: u64, rejected: u64);
}

/// What every stage has.
#[derive(Clone)]
pub struct Context {
    /// The configuration.
    pub config: Arc<Config>,
    /// Settings of every Kafka client.
    pub client: ClientConfig,
    /// The rules of this instance.
    pub set: Arc<RuleSet>,
    /// Asked when the process is to end.
    pub shutdown: Shutdown,
    /// Whether positions that are gone may be recorded as lost.
    pub accept_lost: bool,
    /// Who watches.
    pub watcher: Option<Arc<dyn Watcher>>,
    /// A name that no other instance has.
    pub instance: String,
    /// When the first rule set of all was written to the log.
    pub began_ms: Millis,
}

/// Why the pipeline stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// FOLD.
    #[error("FOLD: {0}")]
    Fold(#[from] crate::fold::stage::StageError),
    /// JUDGE.
    #[error("JUDGE: {0}")]
    Judge(#[from] crate::judge::stage::StageError),
    /// STORE.
    #[error("STORE: {0}")]
    Store(#[from] crate::store::stage::StageError),
    /// STORE, to Parquet.
    #[error("STORE: {0}")]
    Parquet(#[from] crate::store::parquet::Error),
    /// A plan.
    #[error("a plan cannot be made: {0}")]
    Plan(#[from] datafusion::common::DataFusionError),
    /// The asynchronous runtime.
    #[error("the asynchronous runtime cannot be started: {0}")]
    Runtime(std::io::Error),
    /// The rule set in force cannot be run here.
    #[error(
        "the rule set in force ({0}) is newer than these files, and this binary cannot run it: upgrade this instance, or write the rules anew"
    )]
    NewerRules(String),
    /// A stage ended with a bug.
    #[error("stage {0} ended unexpectedly; this is a bug, please report it with the log")]
    Panicked(&'static str),
}

/// One stage's loop.
type Work = fn(&Context) -> Result<(), Error>;

/// Runs stages until shutdown is asked or one fails.
pub fn run(context: &Context, stages: &BTreeSet<Stage>) -> Result<(), Error> {
    kafka::topics::connect(&context.client, context.config.kafka.connect_timeout)?;
    kafka::topics::check(&context.client, &context.config.topics)?;
    let mut context = context.clone();
    if stages.contains(&Stage::Fold) {
        rules::announce(&mut context)?;
    }
    let first: Arc<Mutex<Option<Error>>> = Arc::default();
    let mut threads = Vec::new();
    for stage in stages {
        let (context, first) = (context.clone(), Arc::clone(&first));
        let (name, work): (&'static str, Work) = match stage {
            Stage::Fold => ("fold", fold::run),
            Stage::Judge => ("judge", judge::run),
            Stage::Store => ("store", store::run),
        };
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
    for (name, thread) in threads {
        if thread.join().is_err() {
            context.shutdown.ask();
            panicked = Some(Error::Panicked(name));
        }
    }
    let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    first.or(panicked).map_or(Ok(()), Err)
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
    Context {
        config: Arc::new(config),
        client,
        set: Arc::new(set),
        shutdown,
        accept_lost: false,
        watcher: None,
        began_ms: 0,
        instance,
    }
}

/// Tries again what the broker may yet answer, with growing pauses, for as long as brokers may be away.
fn retry<T>(
    context: &Context,
    what: &str,
    mut work: impl FnMut() -> Result<T, kafka::Error>,
) -> Result<T, kafka::Error> {
    let until = clock::now() + i64::try_from(context.config.kafka.connect_timeout.as_millis()).unwrap_or(i64::MAX);
    let mut pause = Duration::from_millis(50);
    loop {
        match work() {
            Err(kafka::Error::Kafka(error)) if clock::now() < until && !context.shutdown.asked() => {
                tracing::warn!(%error, "{what}; trying again");
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(3));
            }
            outcome => return outcome,
        }
    }
}

fn offsets(positions: impl IntoIterator<Item = (String, i32, i64)>) -> Result<TopicPartitionList, kafka::Error> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, position) in positions {
        list.add_partition_offset(&topic, partition, Offset::Offset(position))?;
    }
    Ok(list)
}
