//! FOLD's edge: carries between Kafka and [`crate::fold::stage`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rdkafka::Message;

use super::{Context, Error, clock, offsets, retry};
use crate::{
    config::Start,
    decode::Limits,
    fold::{
        Origin, Source,
        stage::{DeadLetter, Stage, Transaction},
    },
    kafka::{
        self,
        consumer::{GroupConsumer, Polled, Rebalance, TopicPartition, parts, read_all},
        transaction::{Outgoing, Transactions},
    },
    position::Range,
    rules::catalog::Catalog,
};

/// How many events of one partition are taken at a time.
const EVENTS_MAX: usize = 2_000;
/// How often quiet partitions are asked whether their end is still there.
const ASK_END_MS: i64 = 1_000;

pub(super) fn run(context: &Context) -> Result<(), Error> {
    let config = &context.config;
    let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let limits = Limits {
        event_bytes_max: config.fold.max_event_bytes,
        ahead_ms_max: ms(config.fold.max_ahead),
        age_ms_max: ms(config.fold.max_age),
    };
    let mut stage = Stage::new(&context.set, limits, config.topics.partitions, ms(config.fold.interval))?;
    let tables = context.set.tables();
    let topics: BTreeMap<String, String> = context
        .set
        .catalog
        .tables
        .values()
        .filter(|table| tables.contains(&table.name))
        .map(|table| (table.topic.clone(), table.name.clone()))
        .collect();
    let names: Vec<&str> = topics.keys().map(String::as_str).collect();
    let group = format!("{}.fold", config.kafka.group);
    let mut consumer = GroupConsumer::join(&context.client, &group, &names, config.kafka.session_timeout)?;
    for topic in &names {
        if let Err(kafka::Error::NoTopic(topic)) = consumer.partitions(topic) {
            tracing::warn!(topic, "there is no such topic; rules that read it wait until it is there");
        }
    }
    let mut transactions =
        Transactions::new(&context.client, &format!("{group}.{}", context.instance), config.kafka.transaction_timeout);
    retry(context, "no transactional producer", || transactions.ready().map(|_| ()))?;
    let mut edge = Edge { context, topics: &topics, begun: BTreeMap::new(), known: known(context)?, new: Vec::new() };
    let mut failures = 0;
    let mut asked_ms = 0;
    let mut busy = false;
    while !context.shutdown.asked() {
        for note in consumer.serve(if busy { Duration::ZERO } else { Duration::from_millis(5) })? {
            match note {
                Rebalance::Assigned(partitions) => {
                    for partition in partitions {
                        edge.begin(&mut stage, &mut consumer, &partition)?;
                    }
                }
                Rebalance::Revoked(partitions) => {
                    for partition in &partitions {
                        tracing::info!(topic = partition.0, partition = partition.1, "no longer folding");
                        stage.forget(&edge.source(partition));
                    }
                }
            }
        }
        busy = false;
        let now = clock::now();
        let mut ask = now - asked_ms >= ASK_END_MS;
        for partition in consumer.reading() {
            let source = edge.source(&partition);
            if let Polled::Messages(messages) = consumer.take(&partition, EVENTS_MAX)? {
                busy = true;
                let messages: Vec<_> = messages.iter().map(parts).collect();
                stage.events(&source, &messages)?;
            } else if ask {
                let at_end = consumer.at_end(&partition).unwrap_or_else(|error| {
                    // A broker that does not answer would be waited for again for each partition.
                    tracing::warn!(%error, "the end of partitions cannot be asked for; their time stands still");
                    ask = false;
                    false
                });
                stage.set_at_end(&source, at_end);
            }
        }
        if now - asked_ms >= ASK_END_MS {
            asked_ms = now;
        }
        let failed = stage.failed();
        if failed.len() > failures {
            failures = failed.len();
            for rule in &context.set.rules {
                for fold in &rule.folds {
                    if let Some(reason) = failed.get(&fold.ids.fold) {
                        tracing::error!(
                            rule = rule.header.name,
                            reason,
                            "the rule failed on an event; its readings are partial until it changes"
                        );
                    }
                }
            }
        }
        if let Some(transaction) = stage.due(clock::now())? {
            edge.write(&mut stage, &mut consumer, &mut transactions, &transaction)?;
        }
    }
    Ok(())
}

struct Edge<'a> {
    context: &'a Context,
    topics: &'a BTreeMap<String, String>,
    /// Where reading began, for partitions of which nothing is committed yet.
    begun: BTreeMap<TopicPartition, i64>,
    /// Partitions that were read before this process began: that the group knows nothing of them is no first start.
    known: BTreeSet<TopicPartition>,
    /// Partitions read for the first time, to be noted with the next transaction.
    new: Vec<TopicPartition>,
}

/// The key under which the state topic notes that a source partition is being read.
fn source_key(partition: &TopicPartition) -> String {
    format!("source\u{1f}{}\u{1f}{}", partition.0, partition.1)
}

/// The source partitions that were ever read.
fn known(context: &Context) -> Result<BTreeSet<TopicPartition>, Error> {
    let mut known = BTreeSet::new();
    retry(context, "the state topic cannot be read", || {
        read_all(&context.client, &context.config.topics.state, 0, |message| {
            let key = message.key().map(String::from_utf8_lossy).unwrap_or_default();
            if let Some((topic, partition)) =
                key.strip_prefix("source\u{1f}").and_then(|rest| rest.split_once('\u{1f}'))
            {
                known.extend(partition.parse().map(|partition| (topic.to_owned(), partition)));
            }
            Ok(())
        })
    })?;
    Ok(known)
}

impl Edge<'_> {
    fn source(&self, partition: &TopicPartition) -> Source {
        Source { table: self.topics.get(&partition.0).cloned().unwrap_or_default(), partition: partition.1 }
    }

    fn origin(&self, consumer: &GroupConsumer, topic: &str) -> Result<Origin, Error> {
        let partitions = retry(self.context, "a topic cannot be described", || consumer.partitions(topic))?;
        Ok(Origin { topic: topic.to_owned(), incarnation: String::new(), partitions })
    }

    /// Begins a partition where the group stopped, or where a first start begins.
    fn begin(
        &mut self,
        stage: &mut Stage,
        consumer: &mut GroupConsumer,
        partition: &TopicPartition,
    ) -> Result<(), Error> {
        let origin = self.origin(consumer, &partition.0)?;
        let source = self.source(partition);
        let position = match self.position(consumer, partition) {
            Err(Error::Kafka(kafka::Error::Gone { committed, low, .. }))
                if self.context.accept_lost && committed < low =>
            {
                stage.begin(&source, origin.clone(), low)?;
                stage.lost(&source, &origin, Range { start: committed, end: low });
                tracing::warn!(
                    topic = partition.0,
                    partition = partition.1,
                    committed,
                    low,
                    "positions are gone; recorded as lost"
                );
                return Ok(consumer.assign(partition, low)?);
            }
            Err(Error::Kafka(kafka::Error::Expired { high, .. })) if self.context.accept_lost => {
                stage.begin(&source, origin.clone(), high)?;
                stage.lost(&source, &origin, Range { start: 0, end: high });
                tracing::warn!(
                    topic = partition.0,
                    partition = partition.1,
                    high,
                    "the position is gone; recorded as lost"
                );
                return Ok(consumer.assign(partition, high)?);
            }
            outcome => outcome?,
        };
        tracing::info!(topic = partition.0, partition = partition.1, position, "folding");
        self.begun.insert(partition.clone(), position);
        if !self.known.contains(partition) {
            self.new.push(partition.clone());
        }
        stage.begin(&source, origin, position)?;
        Ok(consumer.assign(partition, position)?)
    }

    fn position(&self, consumer: &GroupConsumer, partition: &TopicPartition) -> Result<i64, Error> {
        // A partition that is begun again begins where it began, not where its end is by now.
        let began = self.begun.get(partition).copied();
        if began.is_none() && self.known.contains(partition) {
            let committed = retry(self.context, "a position cannot be read", || consumer.committed(partition))?;
            if committed.is_none() {
                let (_, high) = retry(self.context, "a position cannot be read", || consumer.watermarks(partition))?;
                return Err(kafka::Error::Expired { topic: partition.0.clone(), partition: partition.1, high }.into());
            }
        }
        // `latest` is what came since the first start of all: a partition that appears later is read from its beginning.
        let start = match self.context.config.fold.start {
            Start::Latest => Start::At(self.context.began_ms),
            other => other,
        };
        Ok(retry(self.context, "a position cannot be read", || consumer.position(partition, began, start))?)
    }

    fn write(
        &mut self,
        stage: &mut Stage,
        consumer: &mut GroupConsumer,
        transactions: &mut Transactions,
        transaction: &Transaction,
    ) -> Result<(), Error> {
        let topics = &self.context.config.topics;
        let mut records: Vec<Outgoing> = transaction
            .records
            .iter()
            .map(|(partition, bytes)| Outgoing {
                topic: topics.partials.clone(),
                partition: Some(*partition),
                key: None,
                value: Some(bytes.clone()),
                headers: Vec::new(),
            })
            .collect();
        records.extend(
            transaction
                .dead_letters
                .iter()
                .map(|letter| dead_letter(&topics.dead_letters, letter, &self.context.set.catalog)),
        );
        records.extend(self.new.iter().map(|partition| Outgoing {
            topic: topics.state.clone(),
            partition: Some(0),
            key: Some(source_key(partition).into_bytes()),
            value: Some(b"{}".to_vec()),
            headers: Vec::new(),
        }));
        let rejected = u64::try_from(transaction.dead_letters.len()).unwrap_or_default();
        let outcome = match consumer.metadata() {
            Some(metadata) => offsets(transaction.offsets.iter().cloned())
                .and_then(|offsets| transactions.write(&records, &offsets, Some(&metadata))),
            None => Err(kafka::Error::Admin("this instance is no member of its group just now".into())),
        };
        match outcome {
            Ok(()) => {
                self.new.clear();
                tracing::debug!(events = transaction.events, records = transaction.records.len(), "folded");
                if let Some(watcher) = &self.context.watcher {
                    watcher.folded(transaction.events, rejected);
                }
                if rejected > 0 {
                    tracing::warn!(events = rejected, topic = topics.dead_letters, "events went to the dead letters");
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a FOLD transaction failed; reading again from the last one that did not");
                retry(self.context, "no transactional producer", || transactions.ready().map(|_| ()))?;
                for partition in consumer.reading() {
                    let source = self.source(&partition);
                    let origin = self.origin(consumer, &partition.0)?;
                    let position = self.position(consumer, &partition)?;
                    stage.begin(&source, origin, position)?;
                    consumer.rewind(&partition, position)?;
                }
                Ok(())
            }
        }
    }
}

fn dead_letter(topic: &str, letter: &DeadLetter, catalog: &Catalog) -> Outgoing {
    let table = catalog
        .tables
        .values()
        .find(|table| table.topic == letter.topic)
        .map(|table| table.name.clone())
        .unwrap_or_default();
    let mut headers: Vec<(String, Vec<u8>)> =
        letter.headers.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect();
    let mut add = |name: &str, value: String| headers.push((format!("tierwatch_{name}"), value.into_bytes()));
    add("id", format!("{}/{}/{}", letter.topic, letter.partition, letter.offset));
    add("reason", letter.reason.to_owned());
    add("detail", letter.detail.clone());
    add("table", table);
    add("topic", letter.topic.clone());
    add("partition", letter.partition.to_string());
    add("offset", letter.offset.to_string());
    add("bytes", letter.bytes.to_string());
    if let Some(timestamp) = letter.timestamp {
        add("timestamp", crate::time::rfc3339(timestamp));
    }
    if let Some(sha256) = &letter.sha256 {
        add("sha256", sha256.clone());
    }
    Outgoing {
        topic: topic.to_owned(),
        partition: Some(0),
        key: letter.key.clone(),
        value: letter.payload.clone(),
        headers,
    }
}
