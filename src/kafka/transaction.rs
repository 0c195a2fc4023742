//! A transactional producer. A transaction is opened only when all of its content is encoded, so that it lives for
//! milliseconds; after anything but a clean commit or abort the producer is made anew, which fences the old one.
//!
//! A broker may call a transaction done although some of its partitions were never told how it ended: Kafka 4 does so
//! where a partition has no leader at that moment, as while its only broker stops. What was written there hangs: readers
//! of committed records wait at it, positions cannot be asked for, and the next transaction of this writer ends it
//! together with its own. So whoever begins to write first aborts a transaction over all places that it may write to,
//! which ends whatever hangs there.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::{Error, REQUEST, hanging};
use crate::loops::{Outgoing, TopicPartition};

/// How long a producer may take to begin.
const BEGIN: Duration = Duration::from_secs(30);
/// A transaction that takes longer was perhaps sent for its end twice, and what is delayed of it must not end the next one:
/// the producer is made anew.
const SLOW: Duration = Duration::from_secs(1);
/// How long a producer that is given up may take to abort what it left open.
const ABORT: Duration = Duration::from_secs(5);

/// Writes transactions under one id.
pub struct Transactions {
    settings: ClientConfig,
    producer: Option<Arc<BaseProducer>>,
    /// How long one request of a transaction may take. Where the broker waits no longer for a transaction whose writer died,
    /// to wait for longer is of no use here either.
    timeout: Duration,
    /// All places that it may write to.
    places: Vec<TopicPartition>,
    /// Where it notes itself and its group, so that others may end what it left open.
    notes: Option<(TopicPartition, String)>,
    id: String,
    noted: bool,
}

impl Transactions {
    /// A producer under the given id, which may write to `places`; `timeout` is how long the broker waits for a
    /// transaction whose writer died; `notes` is the partition of the state topic where it notes itself, and its group.
    pub fn new(
        client: &ClientConfig,
        id: &str,
        timeout: Duration,
        places: Vec<TopicPartition>,
        notes: Option<(TopicPartition, String)>,
    ) -> Self {
        let mut settings = client.clone();
        settings
            .set("transactional.id", id)
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            // What is too large the broker refuses: it knows what its topics take.
            .set("message.max.bytes", "67108864")
            .set("compression.type", "lz4")
            .set("linger.ms", "0")
            .set("queue.buffering.max.messages", "1000000")
            .set("retry.backoff.ms", "5");
        let (id, timeout) = (id.to_owned(), timeout.min(REQUEST));
        Self { settings, producer: None, timeout, places, notes, id, noted: false }
    }

    /// Writes all of it or nothing, together with source positions of a group. After an error nobody knows whether
    /// it was written: the caller asks the group for its positions.
    #[expect(clippy::disallowed_methods, reason = "how long it took decides by which producer the next one is written")]
    pub fn write(
        &mut self,
        records: Vec<Outgoing>,
        offsets: TopicPartitionList,
        group: Option<Arc<ConsumerGroupMetadata>>,
    ) -> Result<(), Error> {
        let producer = self.ready(group.clone())?;
        let timeout = self.timeout;
        // Three requests, each with this timeout.
        let began = Instant::now();
        let outcome =
            within(timeout * 3 + ABORT, move || send(&producer, &records, &offsets, group.as_deref(), timeout));
        if outcome.is_err() || began.elapsed() > SLOW {
            self.reset();
        }
        outcome
    }

    /// Makes sure that a producer is there, that no other of the same id writes any more, and that nothing hangs which
    /// an earlier one has written, positions of the group among it.
    pub fn ready(&mut self, group: Option<Arc<ConsumerGroupMetadata>>) -> Result<Arc<BaseProducer>, Error> {
        if let Some(producer) = &self.producer {
            return Ok(Arc::clone(producer));
        }
        let note = self.notes.clone().filter(|_| !self.noted).map(|((topic, partition), group)| Outgoing {
            topic,
            partition: Some(partition),
            key: Some(hanging::key(&self.id).into_bytes()),
            value: Some(group.into_bytes()),
            headers: Vec::new(),
        });
        let (settings, places, timeout) = (self.settings.clone(), self.places.clone(), self.timeout);
        let producer = within(BEGIN + REQUEST * 3, move || {
            let producer = begin(&settings, &places, group.as_deref())?;
            if let Some(note) = note {
                send(&producer, &[note], &TopicPartitionList::new(), None, timeout)?;
            }
            Ok(Arc::new(producer))
        })?;
        self.noted = true;
        self.producer = Some(Arc::clone(&producer));
        Ok(producer)
    }

    fn reset(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        // Best effort: the next producer of this id ends what is left.
        let aborted = within(ABORT + ABORT, move || Ok(producer.abort_transaction(ABORT)?));
        if let Err(error) = aborted {
            tracing::debug!(%error, "the transaction could not be aborted; the next producer ends it");
        }
    }
}

/// Does it on a thread of its own, which is left to itself when it takes longer: librdkafka 2.12 heeds no timeout while the
/// group's coordinator is away (librdkafka#5456, #5511), and closing a client may hang. Whatever it does later is fenced by
/// the next producer.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let spawned = thread::Builder::new().name("transaction".into()).spawn(move || drop(sender.send(work())));
    spawned.map_err(|error| Error::Admin(format!("no thread for a transaction: {error}")))?;
    receiver.recv_timeout(limit).unwrap_or(Err(Error::Stuck(limit)))
}

/// A producer that is the only one of its id.
fn begin(
    settings: &ClientConfig,
    places: &[TopicPartition],
    group: Option<&ConsumerGroupMetadata>,
) -> Result<BaseProducer, Error> {
    let producer: BaseProducer = settings.create().map_err(Error::Client)?;
    producer.init_transactions(BEGIN)?;
    sweep(&producer, places, group)?;
    Ok(producer)
}

/// Begins once as the writer of the given id, which ends whatever hangs of it.
pub(super) fn begin_once(
    client: &ClientConfig,
    id: &str,
    places: Vec<TopicPartition>,
    group: Option<Arc<ConsumerGroupMetadata>>,
) -> Result<(), Error> {
    let settings = Transactions::new(client, id, ABORT, Vec::new(), None).settings;
    within(BEGIN + REQUEST * 3, move || begin(&settings, &places, group.as_deref()).map(drop))
}

/// Ends whatever hangs, by a transaction that is aborted.
fn sweep(
    producer: &BaseProducer,
    places: &[TopicPartition],
    group: Option<&ConsumerGroupMetadata>,
) -> Result<(), Error> {
    let Some((topic, partition)) = places.first() else { return Ok(()) };
    producer.begin_transaction()?;
    for (topic, partition) in places {
        // Nobody ever reads it. The key is for topics that are compacted.
        let record = BaseRecord::to(topic).partition(*partition).key("sweep").payload("");
        producer.send(record).map_err(|(error, _)| error)?;
    }
    drain(producer, REQUEST)?;
    if let Some(group) = group {
        // What counts is that the positions of the group are a part of it, whether or not the group takes this one.
        let mut nothing = TopicPartitionList::new();
        nothing.add_partition_offset(topic, *partition, Offset::Offset(0))?;
        if let Err(error) = producer.send_offsets_to_transaction(&nothing, group, REQUEST) {
            tracing::debug!(%error, "the group did not take a position that is aborted anyway");
        }
    }
    Ok(producer.abort_transaction(REQUEST)?)
}

/// One transaction.
fn send(
    producer: &BaseProducer,
    records: &[Outgoing],
    offsets: &TopicPartitionList,
    group: Option<&ConsumerGroupMetadata>,
    timeout: Duration,
) -> Result<(), Error> {
    producer.begin_transaction()?;
    for record in records {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let mut outgoing: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&record.topic).headers(headers);
        if let Some(partition) = record.partition {
            outgoing = outgoing.partition(partition);
        }
        if let Some(key) = &record.key {
            outgoing = outgoing.key(key.as_slice());
        }
        if let Some(value) = &record.value {
            outgoing = outgoing.payload(value.as_slice());
        }
        loop {
            match producer.send(outgoing) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    outgoing = back;
                    producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
    drain(producer, timeout)?;
    if let Some(group) = group {
        producer.send_offsets_to_transaction(offsets, group, timeout)?;
    }
    producer.commit_transaction(timeout)?;
    Ok(())
}

/// Waits until the broker has all records. Flushing by the wrapper waits 100 ms at least; this takes as long as the
/// broker does. There is an end to it: what belongs to a transaction that the broker has ended meanwhile may wait for
/// good, without ever timing out.
#[expect(clippy::disallowed_methods, reason = "waiting is what this does")]
fn drain(producer: &BaseProducer, timeout: Duration) -> Result<(), Error> {
    let began = Instant::now();
    while producer.in_flight_count() > 0 {
        if began.elapsed() >= timeout {
            return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut).into());
        }
        producer.poll(Duration::from_millis(1));
    }
    Ok(())
}
