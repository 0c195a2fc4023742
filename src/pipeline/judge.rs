//! JUDGE's edge: carries between Kafka and [`crate::judge::stage`].

use std::time::Duration;

use rdkafka::Message;

use super::{Context, Error, clock, offsets, retry};
use crate::{
    judge::{
        output::Notice,
        stage::{Alert, Recorded, Stage, Transaction},
    },
    kafka::{
        self,
        consumer::{GroupConsumer, Polled, Rebalance, TopicPartition, read_all},
        transaction::{Outgoing, Transactions},
    },
};

/// How many records of one partition are taken at a time.
const RECORDS_MAX: usize = 10;

pub(super) fn run(context: &Context) -> Result<(), Error> {
    let config = &context.config;
    let mut stage = Stage::new(i64::try_from(config.judge.snapshot_interval.as_millis()).unwrap_or(i64::MAX));
    let group = format!("{}.judge", config.kafka.group);
    let mut consumer =
        GroupConsumer::join(&context.client, &group, &[&config.topics.partials], config.kafka.session_timeout)?;
    let mut transactions =
        Transactions::new(&context.client, &format!("{group}.{}", context.instance), config.kafka.transaction_timeout);
    retry(context, "no transactional producer", || transactions.ready().map(|_| ()))?;
    let mut busy = false;
    while !context.shutdown.asked() {
        for note in consumer.serve(if busy { Duration::ZERO } else { Duration::from_millis(5) })? {
            match note {
                Rebalance::Assigned(partitions) => {
                    for partition in partitions {
                        let position = begin(context, &mut stage, &consumer, &partition)?;
                        consumer.assign(&partition, position)?;
                    }
                }
                Rebalance::Revoked(partitions) => partitions.iter().for_each(|partition| stage.forget(partition.1)),
            }
        }
        busy = false;
        for partition in consumer.reading() {
            if stage.full() {
                break;
            }
            if let Polled::Messages(messages) = consumer.take(&partition, RECORDS_MAX)? {
                busy = true;
                for message in &messages {
                    let append_ms = message.timestamp().to_millis().unwrap_or_else(clock::now);
                    stage.record(partition.1, message.offset(), append_ms, message.payload().unwrap_or_default())?;
                }
            }
        }
        if let Some(transaction) = stage.due(clock::now())? {
            write(context, &mut stage, &mut consumer, &mut transactions, transaction)?;
        }
    }
    if let Some(transaction) = stage.last(clock::now())? {
        write(context, &mut stage, &mut consumer, &mut transactions, transaction)?;
    }
    Ok(())
}

/// Restores a partition from its state topic; answers with where to read on.
fn begin(
    context: &Context,
    stage: &mut Stage,
    consumer: &GroupConsumer,
    partition: &TopicPartition,
) -> Result<i64, Error> {
    let mut recorded = Recorded::default();
    retry(context, "the state topic cannot be read", || {
        recorded = Recorded::default();
        read_all(&context.client, &context.config.topics.state, partition.1, |message| {
            let key = message.key().map(String::from_utf8_lossy).unwrap_or_default();
            recorded
                .take(&key, message.payload())
                .map_err(|error| kafka::Error::Admin(format!("the state of partition {}: {error}", partition.1)))
        })
    })?;
    let (low, _) = retry(context, "the log cannot be read", || consumer.watermarks(partition))?;
    let (position, missed) = stage.begin(partition.1, recorded, low, clock::now())?;
    if missed > 0 {
        tracing::error!(
            partition = partition.1,
            records = missed,
            "the log begins after what was judged last: retention was shorter than the pause; keep the partials topic for longer (topics.retention)"
        );
    }
    tracing::info!(partition = partition.1, position, "judging");
    Ok(position)
}

fn write(
    context: &Context,
    stage: &mut Stage,
    consumer: &mut GroupConsumer,
    transactions: &mut Transactions,
    transaction: Transaction,
) -> Result<(), Error> {
    let topics = &context.config.topics;
    let mut records = Vec::new();
    for (partition, bytes) in &transaction.readings {
        records.push(Outgoing {
            topic: topics.readings.clone(),
            partition: Some(*partition),
            key: None,
            value: Some(bytes.clone()),
            headers: Vec::new(),
        });
    }
    records.extend(transaction.alerts.iter().map(|alert| cloud_event(&topics.alerts, alert)));
    for (partition, key, value) in &transaction.state {
        records.push(Outgoing {
            topic: topics.state.clone(),
            partition: Some(*partition),
            key: Some(key.clone().into_bytes()),
            value: value.clone(),
            headers: Vec::new(),
        });
    }
    let positions =
        transaction.offsets.iter().map(|(partition, position)| (topics.partials.clone(), *partition, *position));
    let outcome = match consumer.metadata() {
        Some(metadata) => {
            offsets(positions).and_then(|offsets| transactions.write(&records, &offsets, Some(&metadata)))
        }
        None => Err(kafka::Error::Admin("this instance is no member of its group just now".into())),
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, "a JUDGE transaction failed; restoring from the state topic");
        retry(context, "no transactional producer", || transactions.ready().map(|_| ()))?;
        for partition in consumer.reading() {
            stage.forget(partition.1);
            let position = begin(context, stage, consumer, &partition)?;
            consumer.rewind(&partition, position)?;
        }
        return Ok(());
    }
    for notice in &transaction.notices {
        match notice {
            Notice::RuleSet { .. } => tracing::info!("{notice}"),
            Notice::Late { .. } | Notice::Hole { .. } | Notice::Known { .. } => tracing::warn!("{notice}"),
            _ => tracing::error!("{notice}"),
        }
    }
    for alert in &transaction.alerts {
        let event = &alert.event;
        tracing::info!(
            rule = event.rule,
            happened = event.happened.name(),
            level = event.level.name(),
            episode = event.episode,
            "{}",
            event.summary
        );
    }
    if let Some(watcher) = &context.watcher {
        let breaches: Vec<_> = transaction.alerts.iter().map(|alert| alert.event.clone()).collect();
        watcher.judged(&transaction.shown, &breaches, &transaction.notices);
    }
    Ok(())
}

/// A breach event as CloudEvents has it in Kafka's binary mode: attributes as headers, the event as the value.
fn cloud_event(topic: &str, alert: &Alert) -> Outgoing {
    let event = &alert.event;
    let series = crate::rules::series::canonical(event.series.clone());
    // A trace of its own for each breach; ids are the first half of the hashes, which are never zero in practice.
    let traceparent = format!("00-{0}{0}-{1}-01", event.episode, event.id);
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", event.id.clone()),
        ("ce_type", format!("dev.tierwatch.breach.{}", event.happened.name())),
        ("ce_source", format!("/tierwatch/rules/{}", event.rule)),
        ("ce_subject", series.clone()),
        ("ce_time", event.window_end.clone()),
        ("ce_dataschema", "https://tierwatch.dev/schemas/breach.schema.json".to_owned()),
        ("ce_episode", event.episode.clone()),
        ("ce_kind", event.kind.clone()),
        ("ce_ordinal", alert.ordinal.to_string()),
        ("content-type", "application/json".to_owned()),
        ("traceparent", traceparent),
    ];
    Outgoing {
        topic: topic.to_owned(),
        partition: Some(alert.partition),
        key: Some(series.into_bytes()),
        value: Some(serde_json::to_vec(event).unwrap_or_default()),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect(),
    }
}
