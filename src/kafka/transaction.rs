//! A transactional producer. A transaction is opened only when all of its content is encoded, so that it lives for
//! milliseconds; after anything but a clean commit or abort the producer is made anew, which fences the old one.
//!
//! A broker may call a transaction done although some of its partitions were never told how it ended: Kafka 4 does so
//! where a partition has no leader at that moment, as while its only broker stops. What was written there hangs: readers
//! of committed records wait at it, positions cannot be asked for, and the next transaction of this writer ends it
//! together with its own. So whoever begins to write first aborts a transaction over all places that it may write to,
//! which ends whatever hangs there.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::{Error, REQUEST};
use crate::loops::{Outgoing, TopicPartition};

/// Writes transactions under one id.
pub struct Transactions {
    settings: ClientConfig,
    producer: Option<BaseProducer>,
    /// All places that it may write to.
    places: Vec<TopicPartition>,
}

impl Transactions {
    /// A producer under the given id, which may write to `places`; `timeout` is how long the broker waits for a
    /// transaction whose writer died.
    pub fn new(client: &ClientConfig, id: &str, timeout: Duration, places: Vec<TopicPartition>) -> Self {
        let mut settings = client.clone();
        settings
            .set("transactional.id", id)
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            .set("message.max.bytes", "8388608")
            .set("compression.type", "lz4")
            .set("linger.ms", "0")
            .set("queue.buffering.max.messages", "1000000")
            .set("retry.backoff.ms", "5");
        Self { settings, producer: None, places }
    }

    /// Writes all of it or nothing, together with source positions of a group. After an error nobody knows whether
    /// it was written: the caller asks the group for its positions.
    pub fn write(
        &mut self,
        records: &[Outgoing],
        offsets: &TopicPartitionList,
        group: Option<&ConsumerGroupMetadata>,
    ) -> Result<(), Error> {
        let outcome = self.try_write(records, offsets, group);
        if outcome.is_err() {
            self.reset();
        }
        outcome
    }

    /// Makes sure that a producer is there, that no other of the same id writes any more, and that nothing hangs which
    /// an earlier one has written, positions of the group among it.
    pub fn ready(&mut self, group: Option<&ConsumerGroupMetadata>) -> Result<&BaseProducer, Error> {
        if self.producer.is_none() {
            let producer: BaseProducer = self.settings.create().map_err(Error::Client)?;
            producer.init_transactions(Duration::from_secs(30))?;
            self.sweep(&producer, group)?;
            self.producer = Some(producer);
        }
        self.producer.as_ref().ok_or_else(|| Error::Admin("no producer".into()))
    }

    /// Ends whatever hangs, by a transaction that is aborted.
    fn sweep(&self, producer: &BaseProducer, group: Option<&ConsumerGroupMetadata>) -> Result<(), Error> {
        let Some((topic, partition)) = self.places.first() else { return Ok(()) };
        producer.begin_transaction()?;
        for (topic, partition) in &self.places {
            // Nobody ever reads it. The key is for topics that are compacted.
            let record = BaseRecord::to(topic).partition(*partition).key("sweep").payload("");
            producer.send(record).map_err(|(error, _)| error)?;
        }
        drain(producer)?;
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

    fn reset(&mut self) {
        if let Some(producer) = self.producer.take() {
            // Best effort: the next producer of this id ends what is left.
            if let Err(error) = producer.abort_transaction(Duration::from_secs(5)) {
                tracing::debug!(%error, "the transaction could not be aborted; the next producer ends it");
            }
        }
    }

    fn try_write(
        &mut self,
        records: &[Outgoing],
        offsets: &TopicPartitionList,
        group: Option<&ConsumerGroupMetadata>,
    ) -> Result<(), Error> {
        let producer = self.ready(group)?;
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
        drain(producer)?;
        if let Some(group) = group {
            producer.send_offsets_to_transaction(offsets, group, REQUEST)?;
        }
        producer.commit_transaction(REQUEST)?;
        Ok(())
    }
}

/// Waits until the broker has all records. Flushing by the wrapper waits 100 ms at least; this takes as long as the
/// broker does. There is an end to it: what belongs to a transaction that the broker has ended meanwhile may wait for
/// good, without ever timing out.
#[expect(clippy::disallowed_methods, reason = "waiting is what this does")]
fn drain(producer: &BaseProducer) -> Result<(), Error> {
    let began = Instant::now();
    while producer.in_flight_count() > 0 {
        if began.elapsed() >= REQUEST {
            return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut).into());
        }
        producer.poll(Duration::from_millis(1));
    }
    Ok(())
}
