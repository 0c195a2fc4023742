//! Reads stretches of partitions outside of any group: state, outputs, rule sets, what is folded again, history.

use std::{ops::Deref, sync::Arc, thread, time::Duration};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};

use super::{Error, REQUEST, consumer::note_error};
use crate::{loops::TopicPartition, position::Range};

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(500);
/// After so many polls that brought nothing, although something is there, the client is taken to be stuck.
const EMPTY_MAX: u32 = 10;
/// How long is waited between two looks at an open transaction, and after how many of them it is told.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS_TOLD: u32 = 500;

/// A client that shares no partitions with others. It is closed in the background: a client that lost track of a
/// partition while its broker was away waits for ever to be closed (seen with librdkafka 2.12).
pub(super) struct Client(Option<Arc<BaseConsumer>>);

impl Client {
    /// A client with the given settings, which name a group for the client's own sake.
    pub(super) fn new(settings: &ClientConfig) -> Result<Self, Error> {
        Ok(Self(Some(Arc::new(settings.create().map_err(Error::Client)?))))
    }
}

impl Deref for Client {
    type Target = Arc<BaseConsumer>;

    fn deref(&self) -> &Arc<BaseConsumer> {
        self.0.as_ref().unwrap_or_else(|| unreachable!("taken only when dropped"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        in_background(self.0.take());
    }
}

/// Closes a client without waiting for it.
pub(super) fn in_background(client: impl Send + 'static) {
    if let Err(error) = thread::Builder::new().name("closing".into()).spawn(move || drop(client)) {
        tracing::warn!(%error, "no thread for closing a client; it was closed at once");
    }
}

/// Reads one stretch after the other. Clients are kept, since making them takes longer than most reads.
pub struct Reader {
    settings: ClientConfig,
    /// What `isolation.level` is.
    isolation: &'static str,
    clients: Option<Clients>,
}

struct Clients {
    /// Reads records: committed ones, where that was asked for.
    reads: Client,
    /// Sees the true ends of partitions.
    ends: Client,
}

impl Reader {
    /// Makes clients only when something is read.
    pub fn new(client: &ClientConfig) -> Self {
        let mut settings = client.clone();
        settings
            .set("group.id", "tierwatch.reader")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50")
            .set("fetch.message.max.bytes", "8388608");
        Self { settings, isolation: "read_committed", clients: None }
    }

    /// Reads records whether they are committed or not, and waits for nobody.
    pub(super) fn of_everything(client: &ClientConfig) -> Self {
        Self { isolation: "read_uncommitted", ..Self::new(client) }
    }

    /// Hands on the committed records in a range of one partition, as far as it is there. Waits for transactions that
    /// were still open when it began: the last stable position may lie behind them. After an error the next read has new
    /// clients.
    pub fn read(
        &mut self,
        partition: &TopicPartition,
        range: Range,
        take: &mut dyn FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), Error> {
        let clients = match self.clients.take() {
            Some(clients) => clients,
            None => Clients {
                reads: Client::new(self.settings.clone().set("isolation.level", self.isolation))?,
                ends: Client::new(self.settings.clone().set("isolation.level", "read_uncommitted"))?,
            },
        };
        clients.read(partition, range, take)?;
        self.clients = Some(clients);
        Ok(())
    }
}

impl Clients {
    fn read(
        &self,
        partition: &TopicPartition,
        range: Range,
        take: &mut dyn FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), Error> {
        let (topic, partition) = (partition.0.as_str(), partition.1);
        let (low, high) = self.ends.fetch_watermarks(topic, partition, REQUEST)?;
        let (from, target) = (range.start.max(low), range.end.min(high));
        if from >= target {
            return Ok(());
        }
        until_stable(&self.reads, topic, partition, target)?;
        // A queue of its own: nothing that is left of an earlier read is taken for this one's.
        let Some(queue) = self.reads.split_partition_queue(topic, partition) else {
            return Err(Error::NoTopic(topic.to_owned()));
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(from))?;
        self.reads.assign(&list)?;
        let mut empty = 0;
        loop {
            // What is about the client comes by another queue.
            while let Some(Err(error)) = self.reads.poll(Duration::ZERO) {
                note_error(&error)?;
            }
            match queue.poll(POLL) {
                None => {
                    empty += 1;
                    if empty == EMPTY_MAX {
                        return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into());
                    }
                    continue;
                }
                Some(Ok(message)) if message.offset() >= target => break,
                Some(Ok(message)) => take(&message),
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => note_error(&error)?,
            }
            empty = 0;
        }
        Ok(self.reads.unassign()?)
    }
}

/// Waits until no transaction is open before `end`, as a consumer that reads committed sees it. Whoever reads the partition
/// after that finds all that was committed before `end`; whoever asks only once the end was met does not know whether the
/// transaction was over before or after.
pub(super) fn until_stable(consumer: &BaseConsumer, topic: &str, partition: i32, end: i64) -> Result<(), Error> {
    let mut looks = 0;
    loop {
        let stable = consumer.fetch_watermarks(topic, partition, REQUEST)?.1;
        if stable >= end {
            return Ok(());
        }
        looks += 1;
        if looks % LOOKS_TOLD == 0 {
            tracing::warn!(
                topic,
                partition,
                position = stable,
                "waiting for an open transaction; one that stays open for longer than kafka.transaction_timeout hangs in the broker: find it with kafka-transactions.sh find-hanging, and abort it there"
            );
        }
        thread::sleep(LOOK);
    }
}
