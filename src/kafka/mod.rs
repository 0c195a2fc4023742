//! Kafka: the settings that matter, consumers whose rebalances are told to the loop, transactions, topics.
//!
//! Every consumer reads committed and never resets by itself. One thread owns a consumer, since rebalances happen
//! inside its polls and transactions block.

pub mod consumer;
pub mod hanging;
pub mod range;
pub mod reader;
pub mod topics;
pub mod transaction;

#[expect(unsafe_code, reason = "three calls that rdkafka does not wrap")]
mod sys;

use std::{sync::mpsc, time::Duration};

use rdkafka::{
    ClientConfig,
    client::ClientContext,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};

use crate::{config, judge::breadcrumb::LastWords, loops::TopicPartition};

/// Why Kafka cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A client cannot be made.
    #[error("a Kafka client cannot be made: {0}; check the [kafka] section of the configuration")]
    Client(KafkaError),
    /// The brokers did not answer in time.
    #[error(
        "no answer from the Kafka brokers {brokers} for {waited}: {error}; check kafka.brokers, or wait longer with kafka.connect_timeout"
    )]
    Unreachable {
        /// The brokers.
        brokers: String,
        /// How long was waited.
        waited: String,
        /// The last error.
        error: String,
    },
    /// A topic is not there.
    #[error(
        "there is no topic `{0}`; `tierwatch migrate` makes Tierwatch's own topics, source topics are made by whoever writes to them"
    )]
    NoTopic(String),
    /// The partials topic has another number of partitions than the records in it say.
    #[error(
        "`{topic}` has {found} partitions and topics.partitions is {wanted}: the number is fixed when the topic is made; set topics.partitions = {found}"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// What it has.
        found: i32,
        /// What is configured.
        wanted: i32,
    },
    /// Topics cannot be made or described.
    #[error("topics cannot be made or described: {0}")]
    Admin(String),
    /// The group has given the partitions to others, or is about to.
    #[error("this instance is no member of its group just now")]
    NoMember,
    /// The client did not come back with an answer, whatever it was told about how long it may take.
    #[error("the Kafka client was stuck for {0:?}; a new one takes its place")]
    Stuck(Duration),
    /// Anything else the client says.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
}

/// How long a note that may be the last words of the process is waited for.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What writes records into a partition at once, outside of any transaction. A record that is not written is told of.
pub fn last_words(client: &ClientConfig, (topic, partition): &TopicPartition) -> Result<LastWords, Error> {
    let mut client = client.clone();
    client
        .set("message.timeout.ms", LAST_WORDS.as_millis().to_string())
        .set("enable.idempotence", "true")
        .set("linger.ms", "0");
    let (tell, told) = mpsc::channel();
    // Its own thread hears at once of what was delivered; a flush would wait for the end of a poll, a tenth of a second.
    let producer: ThreadedProducer<Delivered> = client.create_with_context(Delivered(tell)).map_err(Error::Client)?;
    let (topic, partition) = (topic.clone(), *partition);
    Ok(Box::new(move |(key, value)| {
        let mut record = BaseRecord::to(&topic).partition(partition).key(&key);
        record.payload = value.as_deref();
        let sent = producer.send(record).map_err(|(error, _)| error);
        // The client itself gives up; who is never told would be a fault of it.
        let written = sent.and_then(|()| told.recv_timeout(2 * LAST_WORDS).unwrap_or(Err(KafkaError::Canceled)));
        if let Err(error) = &written {
            tracing::warn!(%error, topic, partition, "what is about to be evaluated could not be noted; no more notes");
        }
        written.is_ok()
    }))
}

/// Tells whether a record was delivered.
struct Delivered(mpsc::Sender<Result<(), KafkaError>>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let delivered = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        // Nobody listens any more where the partition was given up.
        drop(self.0.send(delivered));
    }
}

/// The settings every client shares.
pub fn client(config: &config::Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers);
    client.set("client.id", config.instance.as_deref().unwrap_or("tierwatch"));
    client.set("security.protocol", config.security_protocol.as_str());
    client.set("reconnect.backoff.max.ms", "2000");
    if let Some(mechanism) = config.sasl_mechanism {
        client.set("sasl.mechanism", mechanism.as_str());
    }
    if let Some(username) = &config.sasl_username {
        client.set("sasl.username", username);
    }
    if let Some(password) = &config.sasl_password {
        client.set("sasl.password", password.expose());
    }
    if let Some(location) = &config.ssl_ca_location {
        client.set("ssl.ca.location", location.display().to_string());
    }
    for (key, value) in &config.properties {
        client.set(key, value.expose());
    }
    client
}

/// How long a single request may take before it is tried again.
pub const REQUEST: Duration = Duration::from_secs(10);
