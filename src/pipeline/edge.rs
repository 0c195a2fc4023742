//! What the loops ask of the world, asked of Kafka, ClickHouse and the clock. Requests that fail are tried again for as
//! long as brokers may be away.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use rdkafka::{Message as _, TopicPartitionList, error::RDKafkaErrorCode};

use super::{Context, Shutdown, clock, offsets};
use crate::{
    files::watch::Watched,
    fold::stage::Message,
    judge::breadcrumb::LastWords,
    kafka::{
        self,
        consumer::{GroupConsumer, Polled, Tail, parts},
        reader::Reader,
        transaction::Transactions,
    },
    loops::{Described, Edge, EdgeError, Outgoing, Rebalance, TopicPartition, rules::Provenance},
    panes::Millis,
    position::Range,
    rules::Files,
    store::{clickhouse::ClickHouse, parquet::Folder, stage::Insert},
};

/// Where inserts go.
pub(super) enum Target {
    /// Nowhere.
    None,
    /// ClickHouse, with a runtime for its client.
    ClickHouse(Box<ClickHouse>, tokio::runtime::Runtime),
    /// Parquet files.
    Parquet(Folder),
}

/// The world of one stage of this process.
pub(super) struct KafkaEdge<'a> {
    pub(super) context: &'a Context,
    pub(super) consumer: GroupConsumer,
    pub(super) transactions: Transactions,
    pub(super) reader: Reader,
    pub(super) target: Target,
    pub(super) tails: BTreeMap<TopicPartition, Tail>,
    pub(super) watched: Watched,
}

impl From<kafka::Error> for EdgeError {
    fn from(error: kafka::Error) -> Self {
        match error {
            kafka::Error::NoTopic(topic) => Self::NoTopic(topic),
            kafka::Error::Kafka(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                Self::OutOfRange(error.to_string())
            }
            other => Self::Other(Box::new(other)),
        }
    }
}

impl KafkaEdge<'_> {
    /// Tries again what the broker may yet answer, with growing pauses.
    fn retry<T>(
        &mut self,
        what: &str,
        mut work: impl FnMut(&mut Self) -> Result<T, kafka::Error>,
    ) -> Result<T, EdgeError> {
        let wait = i64::try_from(self.context.job.config.kafka.connect_timeout.as_millis()).unwrap_or(i64::MAX);
        let until = clock::now().saturating_add(wait);
        let mut pause = Duration::from_millis(50);
        loop {
            match work(self) {
                Err(error @ (kafka::Error::Kafka(_) | kafka::Error::Stuck(_)))
                    if clock::now() < until && !self.context.shutdown.asked() =>
                {
                    tracing::warn!(%error, "{what}; trying again");
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(3));
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}

/// How long ClickHouse is waited for once the process was asked to end, for all inserts together.
const GRACE: Duration = Duration::from_secs(2);

/// Waits until the process was asked to end, and a little longer.
async fn ended(shutdown: &Shutdown) {
    while !shutdown.asked_for(GRACE) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Edge for KafkaEdge<'_> {
    fn now(&self) -> Millis {
        clock::now()
    }

    fn ending(&self) -> bool {
        self.context.shutdown.asked()
    }

    fn reading(&self) -> Vec<TopicPartition> {
        self.consumer.reading()
    }

    fn subscribe(&mut self, topics: &[String]) -> Result<(), EdgeError> {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        Ok(self.consumer.subscribe(&topics)?)
    }

    async fn serve(&mut self, wait: Duration) -> Result<Vec<Rebalance>, EdgeError> {
        Ok(self.consumer.serve(wait)?)
    }

    async fn seek(&mut self, partition: &TopicPartition, position: i64) -> Result<(), EdgeError> {
        Ok(self.consumer.seek(partition, position)?)
    }

    async fn hold(&mut self, partition: &TopicPartition) -> Result<(), EdgeError> {
        Ok(self.consumer.hold(partition)?)
    }

    async fn take(
        &mut self,
        partition: &TopicPartition,
        most: usize,
        then: &mut dyn FnMut(&[Message<'_>]),
    ) -> Result<usize, EdgeError> {
        let Polled::Messages(messages) = self.consumer.take(partition, most)? else { return Ok(0) };
        let messages: Vec<Message<'_>> = messages.iter().map(parts).collect();
        then(&messages);
        Ok(messages.len())
    }

    async fn at_end(&mut self, partition: &TopicPartition) -> Result<bool, EdgeError> {
        Ok(self.consumer.at_end(partition)?)
    }

    async fn committed(&mut self, partition: &TopicPartition) -> Result<Option<i64>, EdgeError> {
        self.retry("a position cannot be read", |edge| edge.consumer.committed(partition))
    }

    async fn watermarks(&mut self, partition: &TopicPartition) -> Result<(i64, i64), EdgeError> {
        self.retry("the ends of a partition cannot be read", |edge| edge.consumer.watermarks(partition))
    }

    async fn position_at(&mut self, partition: &TopicPartition, time: Millis) -> Result<i64, EdgeError> {
        self.retry("a position cannot be read", |edge| edge.consumer.position_at(partition, time))
    }

    async fn lives(&mut self, topics: &[&str]) -> Result<BTreeMap<String, String>, EdgeError> {
        self.retry("the lives of topics cannot be asked for", |edge| edge.consumer.lives(topics))
    }

    async fn describe(&mut self, topic: &str) -> Result<Described, EdgeError> {
        self.retry("a topic cannot be described", |edge| edge.consumer.describe(topic))
    }

    async fn ready(&mut self) -> Result<(), EdgeError> {
        self.retry("no transactional producer", |edge| {
            let group = edge.consumer.group().map(Arc::new);
            edge.transactions.ready(group).map(|_| ())
        })
    }

    async fn write(&mut self, records: Vec<Outgoing>, positions: &[(String, i32, i64)]) -> Result<(), EdgeError> {
        let Some(metadata) = self.consumer.metadata() else {
            return Err(kafka::Error::NoMember.into());
        };
        Ok(self.transactions.write(records, offsets(positions)?, Some(metadata))?)
    }

    async fn publish(&mut self, records: Vec<Outgoing>) -> Result<(), EdgeError> {
        Ok(self.transactions.write(records, TopicPartitionList::new(), None)?)
    }

    fn last_words(&mut self, place: &TopicPartition) -> Result<LastWords, EdgeError> {
        Ok(kafka::last_words(&self.context.client, place)?)
    }

    async fn commit(&mut self, positions: &[(String, i32, i64)]) -> Result<(), EdgeError> {
        Ok(self.consumer.commit(&offsets(positions)?)?)
    }

    async fn read(
        &mut self,
        partition: &TopicPartition,
        range: Range,
        then: &mut dyn FnMut(&Message<'_>),
    ) -> Result<(), EdgeError> {
        // What was handed on once is not handed on again by a second try.
        let mut left = range;
        self.retry("a topic cannot be read", |edge| {
            edge.reader.read(partition, left, &mut |message| {
                left.start = message.offset() + 1;
                then(&parts(message));
            })
        })
    }

    async fn tail(&mut self, partition: &TopicPartition, then: &mut dyn FnMut(&Message<'_>)) -> Result<(), EdgeError> {
        if !self.tails.contains_key(partition) {
            self.tails.insert(partition.clone(), Tail::new(&self.context.client, partition)?);
        }
        let Some(tail) = self.tails.get(partition) else { return Ok(()) };
        Ok(tail.take(&mut |message| then(&parts(message)))?)
    }

    async fn changed_files(&mut self) -> Option<Result<(Files, Provenance), String>> {
        self.watched.changed(&self.context.job.config)
    }

    fn look_again(&mut self) {
        self.watched.look_again();
    }

    async fn insert(&mut self, insert: &Insert) -> Result<(), String> {
        match &self.target {
            Target::None => Ok(()),
            Target::ClickHouse(server, runtime) => runtime.block_on(async {
                tokio::select! {
                    outcome = server.insert(insert) => outcome.map_err(|error| error.to_string()),
                    () = ended(&self.context.shutdown) => {
                        Err("no answer, and the process was asked to end; the rows stay in Kafka".to_owned())
                    }
                }
            }),
            Target::Parquet(folder) => folder.insert(insert).map_err(|error| error.to_string()),
        }
    }

    async fn pause(&mut self, wait: Duration) {
        thread::sleep(wait);
    }
}
