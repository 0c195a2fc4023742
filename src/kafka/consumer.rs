//! A group consumer whose partitions are queues of their own, and whose rebalances the loop takes when it is ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata, base_consumer::PartitionQueue},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};

use super::{
    Error, REQUEST,
    reader::{Client, in_background},
    sys,
};
use crate::{
    loops::{Described, Rebalance, TopicPartition},
    panes::Millis,
};

/// How many events about the client are served at a time.
const EVENTS_MAX: usize = 1_000;
/// The longest pause between two heartbeats. A member hears in the answer to one that another has left, however long the
/// session of those who leave without a word.
const HEARTBEAT_MAX: Duration = Duration::from_millis(2_500);

/// After so many session timeouts without a word of the group its member is made anew, where the brokers answer.
const SILENT_SESSIONS: u32 = 3;
/// The longest time after which it is made anew once more: each is twice as long as the one before.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// How long the brokers may take to show that they answer.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// How long a broker may take to tell the ids of topics, and how often one that never does is asked.
const ID_WAIT: Duration = Duration::from_secs(3);
const UNTOLD_MAX: u32 = 2;

/// Notes rebalances for the loop. Assigning is left to the loop, which knows the positions; revoking cannot wait.
#[derive(Default)]
pub struct Notes {
    rebalances: Mutex<Vec<Rebalance>>,
    /// The group as of the last assignment that the loop was told of.
    group: Mutex<Option<Arc<ConsumerGroupMetadata>>>,
}

impl ClientContext for Notes {}

impl ConsumerContext for Notes {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let list: Vec<TopicPartition> =
            partitions.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let note = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            *self.group.lock().unwrap_or_else(PoisonError::into_inner) = consumer.group_metadata().map(Arc::new);
            // The group waits for an answer to an empty assignment too.
            if list.is_empty()
                && let Err(error) = consumer.incremental_assign(partitions)
            {
                tracing::warn!(%error, "an empty assignment could not be taken");
            }
            Rebalance::Assigned(list)
        } else {
            if let Err(error) = consumer.incremental_unassign(partitions) {
                tracing::warn!(%error, "partitions could not be given back; the group will take them after the session timeout");
            }
            Rebalance::Revoked(list)
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

/// A member of a consumer group.
pub struct GroupConsumer {
    consumer: Arc<BaseConsumer<Notes>>,
    /// Asks for what is true of a partition, committed or not.
    ends: Probe,
    /// Asks for what is committed, and for the positions of the group.
    positions: Probe,
    /// How often brokers did not tell the ids of topics, while they never have.
    untold: Option<u32>,
    queues: BTreeMap<TopicPartition, Queue>,
    /// Partitions that the group has given and of which nothing is read.
    held: BTreeSet<TopicPartition>,
    /// Partitions that were held once and not read since: the client keeps them paused, whoever owns them meanwhile.
    paused: BTreeSet<TopicPartition>,
    /// Since when the group has given nothing, not even an empty assignment, and how long that may last.
    without: Option<(Instant, Duration)>,
    silence: Duration,
    settings: ClientConfig,
    topics: Vec<String>,
}

/// A client that only asks, outside of the group's balance. After an error it is made anew: one that has asked while a broker
/// was starting may take a topic to be without partitions for minutes, or not find the group's coordinator again (seen with
/// librdkafka 2.12).
struct Probe {
    settings: ClientConfig,
    client: Option<Client>,
}

impl Probe {
    fn new(settings: &ClientConfig) -> Self {
        Self { settings: settings.clone(), client: None }
    }

    fn ask<T>(&mut self, question: impl FnOnce(&BaseConsumer) -> KafkaResult<T>) -> Result<T, Error> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::new(&self.settings)?,
        };
        let answer = question(&client)?;
        self.client = Some(client);
        Ok(answer)
    }
}

struct Queue {
    queue: PartitionQueue<Notes>,
    /// The high watermark when the end was reached, while nothing has come since.
    end: Option<i64>,
}

/// What a poll of one partition brought.
pub enum Polled<'a> {
    /// Messages, in order.
    Messages(Vec<BorrowedMessage<'a>>),
    /// Nothing now.
    Nothing,
}

impl GroupConsumer {
    /// A member of `group` that reads nothing yet.
    #[expect(clippy::disallowed_methods, reason = "how long nothing is heard is told, and changes nothing else")]
    pub fn join(client: &ClientConfig, group: &str, session_timeout: Duration) -> Result<Self, Error> {
        let session = session_timeout.as_millis().to_string();
        let heartbeat = (session_timeout / 4).min(HEARTBEAT_MAX);
        let mut settings = client.clone();
        settings
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", &session)
            .set("heartbeat.interval.ms", heartbeat.as_millis().to_string())
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.message.max.bytes", "8388608")
            .set("topic.metadata.refresh.interval.ms", "30000");
        let silence = session_timeout * SILENT_SESSIONS;
        let probe =
            |isolation: &str| Probe::new(client.clone().set("group.id", group).set("isolation.level", isolation));
        let (ends, positions) = (probe("read_uncommitted"), probe("read_committed"));
        Ok(Self {
            consumer: member(&settings)?,
            ends,
            positions,
            untold: Some(0),
            queues: BTreeMap::new(),
            held: BTreeSet::new(),
            paused: BTreeSet::new(),
            without: Some((Instant::now(), silence)),
            silence,
            settings,
            topics: Vec::new(),
        })
    }

    /// Says which topics are read; partitions come with rebalances.
    pub fn subscribe(&mut self, topics: &[&str]) -> Result<(), Error> {
        self.topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Ok(self.consumer.subscribe(topics)?)
    }

    /// Serves the group for up to `wait`, and answers with its rebalances.
    pub fn serve(&mut self, wait: Duration) -> Result<Vec<Rebalance>, Error> {
        let rebalances = &self.consumer.context().rebalances;
        let told = || !rebalances.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        // A rebalance may stand behind any number of errors. The loop takes one at a time.
        let mut wait = wait;
        for _ in 0..EVENTS_MAX {
            if told() {
                break;
            }
            match self.consumer.poll(std::mem::take(&mut wait)) {
                None => break,
                // Partitions are queues of their own: what comes here is about the client.
                Some(Ok(_)) => {}
                Some(Err(error)) => note_error(&error)?,
            }
        }
        let mut notes = std::mem::take(&mut *rebalances.lock().unwrap_or_else(PoisonError::into_inner));
        if self.is_silent(notes.last()) {
            notes.extend(self.renew()?);
        }
        for note in &notes {
            if let Rebalance::Revoked(partitions) = note {
                for partition in partitions {
                    self.queues.remove(partition);
                    self.held.remove(partition);
                }
            }
        }
        Ok(notes)
    }

    /// True where the group has given nothing for too long although the brokers answer. What nobody reads would look like a
    /// world without events, so it is told in any case.
    #[expect(clippy::disallowed_methods, reason = "how long nothing is heard decides only when a client is made anew")]
    fn is_silent(&mut self, last: Option<&Rebalance>) -> bool {
        match last {
            Some(Rebalance::Assigned(_)) => self.without = None,
            Some(Rebalance::Revoked(_)) => self.without = Some((Instant::now(), self.silence)),
            None => {}
        }
        let over = |(since, wait): &(Instant, Duration)| !self.topics.is_empty() && since.elapsed() >= *wait;
        let Some((since, wait)) = self.without.filter(over) else { return false };
        let answers =
            self.ends.ask(|client| client.fetch_metadata(self.topics.first().map(String::as_str), ANSWER_WAIT)).is_ok();
        let group = self.settings.get("group.id");
        let seconds = since.elapsed().as_secs();
        if answers {
            tracing::warn!(
                group,
                seconds,
                "the group has given no partitions for long although the brokers answer; asking it with a new client. If this \
                 goes on, look whether the broker that coordinates the group answers (kafka-consumer-groups --describe \
                 --group), and restart it if it does not"
            );
        } else {
            tracing::warn!(group, seconds, "waiting for the group to give out partitions; the brokers do not answer");
        }
        let wait = if answers { (wait * 2).min(SILENCE_MAX) } else { self.silence };
        self.without = Some((Instant::now(), wait));
        answers
    }

    /// Becomes another member of the group: a client that has lost its coordinator while a broker started may never ask for
    /// it again (seen with librdkafka 2.12). Answers with what is no longer read.
    fn renew(&mut self) -> Result<Option<Rebalance>, Error> {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let consumer = member(&self.settings)?;
        consumer.subscribe(&topics)?;
        let lost: Vec<TopicPartition> = self.queues.keys().chain(&self.held).cloned().collect();
        self.queues.clear();
        self.held.clear();
        self.paused.clear();
        in_background(std::mem::replace(&mut self.consumer, consumer));
        Ok((!lost.is_empty()).then_some(Rebalance::Revoked(lost)))
    }

    /// Begins to read a partition at a position; where it is read already, what was fetched is dropped.
    pub fn seek(&mut self, partition: &TopicPartition, position: i64) -> Result<(), Error> {
        let held = self.held.remove(partition);
        let list = only(partition);
        if self.queues.remove(partition).is_some() || held {
            self.consumer.incremental_unassign(&list)?;
        }
        let Some(queue) = self.consumer.split_partition_queue(&partition.0, partition.1) else {
            return Err(Error::NoTopic(partition.0.clone()));
        };
        self.queues.insert(partition.clone(), Queue { queue, end: None });
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(&partition.0, partition.1, Offset::Offset(position))?;
        self.consumer.incremental_assign(&at)?;
        if self.paused.remove(partition) {
            self.consumer.resume(&list)?;
        }
        Ok(())
    }

    /// Takes a partition from the group, or keeps it, without reading of it.
    pub fn hold(&mut self, partition: &TopicPartition) -> Result<(), Error> {
        let list = only(partition);
        self.paused.insert(partition.clone());
        if self.queues.remove(partition).is_none() && !self.held.contains(partition) {
            // Paused before it is assigned, nothing of it is fetched or asked for: the position is none that counts. Its
            // queue is asked for because the client knows the partition from then on.
            drop(self.consumer.split_partition_queue(&partition.0, partition.1));
            self.consumer.pause(&list)?;
            let mut at = TopicPartitionList::new();
            at.add_partition_offset(&partition.0, partition.1, Offset::Offset(0))?;
            self.consumer.incremental_assign(&at)?;
        }
        self.held.insert(partition.clone());
        self.consumer.pause(&list)?;
        Ok(())
    }

    /// The partitions being read.
    pub fn reading(&self) -> Vec<TopicPartition> {
        self.queues.keys().cloned().collect()
    }

    /// Takes up to `most` messages of a partition that are there now.
    pub fn take(&mut self, partition: &TopicPartition, most: usize) -> Result<Polled<'_>, Error> {
        let Some(queue) = self.queues.get_mut(partition) else { return Ok(Polled::Nothing) };
        let mut messages = Vec::new();
        while messages.len() < most {
            match queue.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    queue.end = None;
                    messages.push(message);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    queue.end = sys::cached_high_watermark(self.consumer.as_ref(), &partition.0, partition.1)
                }
                Some(Err(error)) => note_error(&error)?,
            }
        }
        Ok(if messages.is_empty() { Polled::Nothing } else { Polled::Messages(messages) })
    }

    /// Whether a partition was read to its end and the end is still there: asked of the broker, so that a stale
    /// connection is not taken for silence, and of both the committed and the true end, so that an open transaction
    /// is not either.
    pub fn at_end(&mut self, partition: &TopicPartition) -> Result<bool, Error> {
        let Some(end) = self.queues.get(partition).and_then(|queue| queue.end) else { return Ok(false) };
        let wait = Duration::from_secs(1);
        let (_, high) = self.ends.ask(|client| client.fetch_watermarks(&partition.0, partition.1, wait))?;
        let (_, stable) = self.positions.ask(|client| client.fetch_watermarks(&partition.0, partition.1, wait))?;
        Ok(high == end && stable == end)
    }

    /// The group's metadata, to go with the offsets of a transaction; `None` where this is no member of it. It is of the
    /// generation whose assignment the loop was told of: the client may be a member of the next one already, in which
    /// others own the partitions that the loop still reads, and what is written then must be refused.
    pub fn metadata(&self) -> Option<Arc<ConsumerGroupMetadata>> {
        let group = self.consumer.context().group.lock().unwrap_or_else(PoisonError::into_inner).clone();
        group.filter(|_| sys::is_member(self.consumer.as_ref()))
    }

    /// The group, whether this is a member of it or not.
    pub fn group(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// A topic as it is now.
    pub fn describe(&mut self, topic: &str) -> Result<Described, Error> {
        let metadata = self.ends.ask(|client| client.fetch_metadata(Some(topic), REQUEST))?;
        let count =
            metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |topic| topic.partitions().len());
        if count == 0 {
            return Err(Error::NoTopic(topic.to_owned()));
        }
        let id = self.lives(&[topic])?.remove(topic).unwrap_or_default();
        Ok(Described { id, partitions: i32::try_from(count).unwrap_or(i32::MAX) })
    }

    /// The ids of those of these topics that are there, which say in which life they are; none where brokers never tell.
    pub fn lives(&mut self, topics: &[&str]) -> Result<BTreeMap<String, String>, Error> {
        if self.untold == Some(UNTOLD_MAX) || topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let no_answer = KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut);
        let ids = self.ends.ask(|client| sys::topic_ids(client, topics, ID_WAIT).ok_or(no_answer.clone()));
        match (ids, self.untold) {
            (Ok(ids), _) => {
                self.untold = None;
                Ok(ids)
            }
            (Err(error), None) => Err(error),
            (Err(_), Some(untold)) => {
                self.untold = Some(untold + 1);
                Ok(BTreeMap::new())
            }
        }
    }

    /// The first position there is, and one past the last.
    pub fn watermarks(&mut self, partition: &TopicPartition) -> Result<(i64, i64), Error> {
        self.ends.ask(|client| client.fetch_watermarks(&partition.0, partition.1, REQUEST))
    }

    /// Commits positions by themselves, where nothing is written together with them.
    pub fn commit(&self, offsets: &TopicPartitionList) -> Result<(), Error> {
        Ok(self.consumer.commit(offsets, rdkafka::consumer::CommitMode::Sync)?)
    }

    /// Where the group stopped, where it ever began.
    pub fn committed(&mut self, partition: &TopicPartition) -> Result<Option<i64>, Error> {
        let committed = self.positions.ask(|client| client.committed_offsets(only(partition), REQUEST))?;
        Ok(committed.elements().first().and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    /// The first position at or after a time; the end where there is none.
    pub fn position_at(&mut self, partition: &TopicPartition, time: Millis) -> Result<i64, Error> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.0, partition.1, Offset::Offset(time))?;
        let found = self.ends.ask(|client| client.offsets_for_times(list.clone(), REQUEST))?;
        match found.elements().first().map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => Ok(offset),
            _ => Ok(self.watermarks(partition)?.1),
        }
    }
}

/// A new member of the group that the settings name.
fn member(settings: &ClientConfig) -> Result<Arc<BaseConsumer<Notes>>, Error> {
    settings.create_with_context(Notes::default()).map(Arc::new).map_err(Error::Client)
}

fn only(partition: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(&partition.0, partition.1);
    list
}

/// What was told lately, and when. While brokers are away each client says so many times a second.
static TOLD: Mutex<Vec<(KafkaError, Instant)>> = Mutex::new(Vec::new());
/// How long the same error is not told again.
const TOLD_FOR: Duration = Duration::from_secs(5);

/// Errors that librdkafka mends by itself are told and passed over; the rest stop the loop.
#[expect(clippy::disallowed_methods, reason = "how often something is told changes nothing else")]
pub(super) fn note_error(error: &KafkaError) -> Result<(), Error> {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed,
        ) => Err(Error::Kafka(error.clone())),
        _ => {
            let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
            told.retain(|(_, at)| at.elapsed() < TOLD_FOR);
            if !told.iter().any(|(known, _)| known == error) {
                tracing::warn!(%error, "Kafka; trying again");
                told.push((error.clone(), Instant::now()));
            }
            Ok(())
        }
    }
}

/// The parts of a message that the core reads.
pub fn parts<'a>(message: &'a BorrowedMessage<'_>) -> crate::fold::stage::Message<'a> {
    crate::fold::stage::Message {
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key(),
        payload: message.payload(),
        headers: sys::headers(message),
    }
}

/// Reads one partition as it grows, without a group.
pub struct Tail {
    consumer: BaseConsumer,
}

impl Tail {
    /// From the beginning of a partition.
    pub fn new(client: &ClientConfig, partition: &TopicPartition) -> Result<Self, Error> {
        let mut settings = client.clone();
        settings
            .set("group.id", "tierwatch.tail")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.message.max.bytes", "8388608");
        let consumer: BaseConsumer = settings.create().map_err(Error::Client)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.0, partition.1, Offset::Beginning)?;
        consumer.assign(&list)?;
        Ok(Self { consumer })
    }

    /// Hands on what is there.
    pub fn take(&self, then: &mut dyn FnMut(&BorrowedMessage<'_>)) -> Result<(), Error> {
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            match polled {
                Ok(message) => then(&message),
                Err(error) => note_error(&error)?,
            }
        }
        Ok(())
    }
}
