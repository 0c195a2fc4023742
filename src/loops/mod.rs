//! The loops of the stages: join, take, fold or judge, write, go on after what failed. They are written against
//! [`Edge`], what one stage of one instance asks of the world, and name no Kafka and no clock.
//!
//! The loops are `async` so that each call of an edge is a point at which an instance may stand still or die: the
//! compiler makes a state machine of them, whose requests go out and whose answers come in at its `await`s. In
//! production the answers are there at once ([`run`]); the simulator lets everybody else go on in between.

pub mod fold;
pub mod judge;
mod letters;
pub mod rules;
pub mod store;

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    config::Config,
    fold::stage::Message,
    judge::breadcrumb::LastWords,
    judge::output::{BreachEvent, Notice, Reading},
    panes::Millis,
    position::Range,
    rules::{Files, RuleSets, Settings},
    store::stage::Insert,
};

/// A topic and a partition of it.
pub type TopicPartition = (String, i32);

/// What a rebalance said.
#[derive(Debug, Clone)]
pub enum Rebalance {
    /// These are ours from now on; reading has not begun.
    Assigned(Vec<TopicPartition>),
    /// These are no longer ours.
    Revoked(Vec<TopicPartition>),
}

/// A record to be written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A topic as the broker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The id of this life of the topic; empty where the broker does not say.
    pub id: String,
    /// How many partitions it has.
    pub partitions: i32,
}

/// An error of the edge: what the client said, for people. Requests were tried again before it came to this.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// There is no such topic.
    #[error("there is no topic `{0}`")]
    NoTopic(String),
    /// What is read next of a partition is not there any more, or not yet.
    #[error("{0}")]
    OutOfRange(String),
    /// Anything else.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// What one stage of one instance asks of the world: a member of a consumer group, its transactions, and the time.
#[expect(async_fn_in_trait, reason = "a loop lives in one thread; nobody sends its futures")]
pub trait Edge {
    /// Now.
    fn now(&self) -> Millis;
    /// True once the process was asked to end.
    fn ending(&self) -> bool;
    /// The partitions being read.
    fn reading(&self) -> Vec<TopicPartition>;
    /// Says which topics are read as a member of the group; partitions come with rebalances.
    fn subscribe(&mut self, topics: &[String]) -> Result<(), EdgeError>;
    /// Serves the group for up to `wait`, and answers with its rebalances.
    async fn serve(&mut self, wait: Duration) -> Result<Vec<Rebalance>, EdgeError>;
    /// Begins to read a partition at a position; where it is read already, what was fetched is dropped.
    async fn seek(&mut self, partition: &TopicPartition, position: i64) -> Result<(), EdgeError>;
    /// Keeps a partition that the group has given, and reads nothing of it until it is sought.
    async fn hold(&mut self, partition: &TopicPartition) -> Result<(), EdgeError>;
    /// Hands up to `most` records of a partition that are there now to `then`, once, and answers with their number.
    async fn take(
        &mut self,
        partition: &TopicPartition,
        most: usize,
        then: &mut dyn FnMut(&[Message<'_>]),
    ) -> Result<usize, EdgeError>;
    /// Whether a partition was read to its end and the end is still there.
    async fn at_end(&mut self, partition: &TopicPartition) -> Result<bool, EdgeError>;
    /// Where the group stopped, where it ever began.
    async fn committed(&mut self, partition: &TopicPartition) -> Result<Option<i64>, EdgeError>;
    /// The first position there is, and one past the last.
    async fn watermarks(&mut self, partition: &TopicPartition) -> Result<(i64, i64), EdgeError>;
    /// The first position at or after a time; the end where there is none.
    async fn position_at(&mut self, partition: &TopicPartition, time: Millis) -> Result<i64, EdgeError>;
    /// Which of these topics are there now, and in which life; none where brokers never tell.
    async fn lives(&mut self, topics: &[&str]) -> Result<BTreeMap<String, String>, EdgeError>;
    /// A topic as it is now.
    async fn describe(&mut self, topic: &str) -> Result<Described, EdgeError>;
    /// Makes sure that transactions can be written, and that no older instance of this name writes any more.
    async fn ready(&mut self) -> Result<(), EdgeError>;
    /// Writes all of it or nothing, together with positions of the group. After an error nobody knows whether it was
    /// written: the caller asks the group for its positions.
    async fn write(&mut self, records: Vec<Outgoing>, offsets: &[(String, i32, i64)]) -> Result<(), EdgeError>;
    /// Writes records that belong to no position of the group.
    async fn publish(&mut self, records: Vec<Outgoing>) -> Result<(), EdgeError>;
    /// Something that writes notes into a partition at once, outside of any transaction: what may be the last words of this
    /// process.
    fn last_words(&mut self, place: &TopicPartition) -> Result<LastWords, EdgeError>;
    /// Commits positions by themselves.
    async fn commit(&mut self, offsets: &[(String, i32, i64)]) -> Result<(), EdgeError>;
    /// Reads the committed records in a range of a partition, as far as it is there when asked; transactions that are
    /// open then are waited for.
    async fn read(
        &mut self,
        partition: &TopicPartition,
        range: Range,
        then: &mut dyn FnMut(&Message<'_>),
    ) -> Result<(), EdgeError>;
    /// Hands on the committed records of a partition that came since this was asked last; the first time, all there are.
    async fn tail(&mut self, partition: &TopicPartition, then: &mut dyn FnMut(&Message<'_>)) -> Result<(), EdgeError>;
    /// The rule files of this instance, where they have changed since this was asked last.
    async fn changed_files(&mut self) -> Option<Result<(Files, rules::Provenance), String>>;
    /// Takes the rule files for changed.
    fn look_again(&mut self);
    /// Puts a block into the store. The error says why not.
    async fn insert(&mut self, insert: &Insert) -> Result<(), String>;
    /// Waits.
    async fn pause(&mut self, wait: Duration);
}

/// Runs a loop on an edge whose answers are there at once.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(outcome) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome;
        }
    }
}

/// Somebody who wants to see what happens as it happens: the demo's screen.
pub trait Watcher: Send + Sync {
    /// Readings and breach events of one judge transaction, once it is committed.
    fn judged(&self, readings: &[Reading], breaches: &[BreachEvent], notices: &[Notice]);
    /// Events folded and rejected in one fold transaction, once it is committed.
    fn folded(&self, events: u64, rejected: u64);
}

/// What every loop of an instance has.
#[derive(Clone)]
pub struct Job {
    /// The configuration.
    pub config: Arc<Config>,
    /// The rule sets that were compiled in this process.
    pub sets: RuleSets,
    /// The settings of rule sets made of this instance's files.
    pub settings: Settings,
    /// Whether positions that are gone may be recorded as lost.
    pub accept_lost: bool,
    /// Who watches.
    pub watcher: Option<Arc<dyn Watcher>>,
    /// A name that no other instance has.
    pub instance: String,
}

/// Why a loop stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The world.
    #[error(transparent)]
    Edge(#[from] EdgeError),
    /// FOLD.
    #[error("FOLD: {0}")]
    Fold(#[from] crate::fold::stage::StageError),
    /// JUDGE.
    #[error("JUDGE: {0}")]
    Judge(#[from] crate::judge::stage::StageError),
    /// STORE.
    #[error("STORE: {0}")]
    Store(#[from] crate::store::stage::StageError),
    /// A record.
    #[error(transparent)]
    Format(#[from] crate::partial::FormatError),
    /// A plan.
    #[error("a plan cannot be made: {0}")]
    Plan(#[from] datafusion::common::DataFusionError),
    /// None of the rule sets in the log can be run here.
    #[error(
        "the rule set in force ({hash}) cannot be run by this binary ({reason}): upgrade this instance, or commit rules that it can run"
    )]
    NewerRules {
        /// The hash of the set.
        hash: String,
        /// The first problem.
        reason: String,
    },
    /// The rule files have errors, and there are no rules before them.
    #[error(
        "the rule files have errors, and no rule set is in force to go on with: mend them, `tierwatch check` shows each"
    )]
    NoRules,
    /// A position is gone.
    #[error(
        "{topic}[{partition}] was read up to {committed}, but holds only {low} to {high}: its retention was shorter than the pause. \
         Nothing was skipped. To record what is gone as lost and go on from {low}, run\n  tierwatch run --accept-lost"
    )]
    Gone {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The position that was committed.
        committed: i64,
        /// The first position there is.
        low: i64,
        /// One past the last.
        high: i64,
    },
    /// The first records are gone, and nobody knows whether they were stored.
    #[error(
        "{topic}[{partition}] begins at {low}, and the group knows of no position: either its positions have expired, or it never read \
         what was there before. Nothing was skipped. To store from {low} on, run\n  tierwatch run --accept-lost"
    )]
    Unstored {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The first position there is.
        low: i64,
    },
    /// The transaction that brought a rule set ended only in part.
    #[error("the rule set that was written is not in the rules topic; it is written again")]
    RulesVanished,
    /// A topic holds less than was read of it, or is another by the same name.
    #[error(
        "{topic}[{partition}] was read up to {committed}, but holds {low} to {high} of another life: the topic was made anew. Nothing was skipped or counted. \
         To record what was not read of the old one as lost and read the new one from its beginning, run\n  tierwatch run --accept-lost"
    )]
    Recreated {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The position that was committed.
        committed: i64,
        /// The first position there is.
        low: i64,
        /// One past the last.
        high: i64,
    },
}

/// What is said in the audit topic.
fn audit(job: &Job, said: &serde_json::Value) -> Outgoing {
    Outgoing {
        topic: job.config.topics.audit.clone(),
        partition: Some(0),
        value: Some(said.to_string().into_bytes()),
        ..Outgoing::default()
    }
}

/// A partition from a position to its end.
pub(crate) fn from(start: i64) -> Range {
    Range { start, end: i64::MAX }
}

/// A span in milliseconds.
pub(crate) fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
