//! JUDGE's loop.

use std::time::Duration;

use super::{Edge, Error, Job, Outgoing, Rebalance, TopicPartition, ms};
use crate::{
    judge::{
        output::Notice,
        stage::{Alert, Recorded, Stage, Transaction},
    },
    rules::series::canonical,
};

/// How many records of one partition are taken at a time.
const RECORDS_MAX: usize = 10;

/// Runs until the process ends.
pub async fn run(job: &Job, edge: &mut impl Edge) -> Result<(), Error> {
    let mut stage = Stage::new(ms(job.config.judge.snapshot_interval));
    edge.ready().await?;
    let mut busy = false;
    while !edge.ending() {
        for note in edge.serve(if busy { Duration::ZERO } else { Duration::from_millis(5) }).await? {
            match note {
                Rebalance::Assigned(partitions) => {
                    for partition in partitions {
                        begin(job, &mut stage, edge, &partition).await?;
                    }
                }
                Rebalance::Revoked(partitions) => partitions.iter().for_each(|partition| stage.forget(partition.1)),
            }
        }
        busy = false;
        for partition in edge.reading() {
            if stage.full() {
                break;
            }
            let now = edge.now();
            let mut outcome = Ok(());
            let taken = edge
                .take(&partition, RECORDS_MAX, &mut |messages| {
                    outcome = messages.iter().try_for_each(|message| {
                        let append_ms = message.timestamp.unwrap_or(now);
                        stage.record(partition.1, message.offset, append_ms, message.payload.unwrap_or_default())
                    });
                })
                .await?;
            outcome?;
            busy |= taken > 0;
        }
        if let Some(transaction) = stage.due(edge.now())? {
            write(job, &mut stage, edge, transaction).await?;
        }
    }
    if let Some(transaction) = stage.last(edge.now())? {
        write(job, &mut stage, edge, transaction).await?;
    }
    Ok(())
}

/// Restores a partition from its state topic, and reads on from there.
async fn begin(job: &Job, stage: &mut Stage, edge: &mut impl Edge, partition: &TopicPartition) -> Result<(), Error> {
    let mut recorded = Recorded::default();
    let mut outcome = Ok(());
    edge.read(&(job.config.topics.state.clone(), partition.1), 0, &mut |message| {
        let key = message.key.map(String::from_utf8_lossy).unwrap_or_default();
        if let Err(error) = recorded.take(&key, message.payload) {
            outcome = Err(error);
        }
    })
    .await?;
    outcome?;
    let (low, _) = edge.watermarks(partition).await?;
    let (position, missed) = stage.begin(partition.1, recorded, low, edge.now())?;
    if missed > 0 {
        tracing::error!(
            partition = partition.1,
            records = missed,
            "the log begins after what was judged last: retention was shorter than the pause; keep the partials topic for longer (topics.retention)"
        );
    }
    tracing::info!(partition = partition.1, position, "judging");
    Ok(edge.seek(partition, position).await?)
}

async fn write(job: &Job, stage: &mut Stage, edge: &mut impl Edge, transaction: Transaction) -> Result<(), Error> {
    let topics = &job.config.topics;
    let mut records = Vec::new();
    for (partition, bytes) in &transaction.readings {
        records.push(Outgoing {
            topic: topics.readings.clone(),
            partition: Some(*partition),
            value: Some(bytes.clone()),
            ..Outgoing::default()
        });
    }
    records.extend(transaction.alerts.iter().map(|alert| cloud_event(&topics.alerts, alert)));
    for (partition, key, value) in &transaction.state {
        records.push(Outgoing {
            topic: topics.state.clone(),
            partition: Some(*partition),
            key: Some(key.clone().into_bytes()),
            value: value.clone(),
            ..Outgoing::default()
        });
    }
    let positions: Vec<(String, i32, i64)> = transaction
        .offsets
        .iter()
        .map(|(partition, position)| (topics.partials.clone(), *partition, *position))
        .collect();
    if let Err(error) = edge.write(&records, &positions).await {
        tracing::warn!(%error, "a JUDGE transaction failed; restoring from the state topic");
        return restore(job, stage, edge).await;
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
    if let Some(watcher) = &job.watcher {
        let breaches: Vec<_> = transaction.alerts.iter().map(|alert| alert.event.clone()).collect();
        watcher.judged(&transaction.shown, &breaches, &transaction.notices);
    }
    Ok(())
}

/// After a transaction of which nobody knows whether it was written.
async fn restore(job: &Job, stage: &mut Stage, edge: &mut impl Edge) -> Result<(), Error> {
    edge.ready().await?;
    for partition in edge.reading() {
        stage.forget(partition.1);
        begin(job, stage, edge, &partition).await?;
    }
    Ok(())
}

/// A breach event as CloudEvents has it in Kafka's binary mode: attributes as headers, the event as the value.
fn cloud_event(topic: &str, alert: &Alert) -> Outgoing {
    let event = &alert.event;
    let series = canonical(event.series.clone());
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
