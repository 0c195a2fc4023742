//! A transactional producer. A transaction is opened only when all of its content is encoded, so that it lives for
//! milliseconds; after anything but a clean commit or abort the producer is made anew, which fences the old one.

use std::time::Duration;

use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::{Error, REQUEST};
use crate::loops::Outgoing;

/// Writes transactions under one id.
pub struct Transactions {
    settings: ClientConfig,
    producer: Option<BaseProducer>,
}

impl Transactions {
    /// A producer under the given id; `timeout` is how long the broker waits for a transaction whose writer died.
    pub fn new(client: &ClientConfig, id: &str, timeout: Duration) -> Self {
        let mut settings = client.clone();
        settings
            .set("transactional.id", id)
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            .set("message.max.bytes", "8388608")
            .set("compression.type", "lz4")
            .set("linger.ms", "0")
            .set("queue.buffering.max.messages", "1000000")
            .set("retry.backoff.ms", "5");
        Self { settings, producer: None }
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

    /// Makes sure that a producer is there and that no other of the same id writes any more.
    pub fn ready(&mut self) -> Result<&BaseProducer, Error> {
        if self.producer.is_none() {
            let producer: BaseProducer = self.settings.create().map_err(Error::Client)?;
            producer.init_transactions(Duration::from_secs(30))?;
            self.producer = Some(producer);
        }
        self.producer.as_ref().ok_or_else(|| Error::Admin("no producer".into()))
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
        let producer = self.ready()?;
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
        // Flushing by the wrapper waits 100 ms at least; draining first takes as long as the broker does.
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        if let Some(group) = group {
            producer.send_offsets_to_transaction(offsets, group, REQUEST)?;
        }
        producer.commit_transaction(REQUEST)?;
        Ok(())
    }
}
