//! STORE's loop. What cannot be inserted is tried again for as long as it takes: the backlog waits in Kafka.

use std::{collections::BTreeMap, time::Duration};

use super::{Edge, Error, Job, Rebalance, TopicPartition, ms};
use crate::{
    config::StoreKind,
    store::stage::{Flush, Place, Stage},
};

/// How many records of one partition are taken at a time.
const RECORDS_MAX: usize = 500;
/// The first pause after an insert that failed, in milliseconds; each further one is twice as long.
const PAUSE_MS: i64 = 250;
/// The pause after a commit that failed, in milliseconds.
const COMMIT_AGAIN_MS: i64 = 1_000;
/// The longest pause.
const PAUSE_MS_MAX: i64 = 10_000;

/// Runs until the process ends.
pub async fn run(job: &Job, edge: &mut impl Edge) -> Result<(), Error> {
    let config = &job.config;
    if config.store.kind == StoreKind::None {
        while !edge.ending() {
            edge.pause(Duration::from_millis(50)).await;
        }
        return Ok(());
    }
    edge.subscribe(&[config.topics.readings.clone(), config.topics.alerts.clone()])?;
    let mut stage = Stage::new(&config.topics.readings, ms(config.store.flush_interval), config.store.max_rows);
    let mut waiting: Option<Flush> = None;
    let mut try_at = 0;
    let mut pause_ms = PAUSE_MS;
    // What was inserted, and is not committed yet.
    let mut done: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let mut commit_at = 0;
    loop {
        let ending = edge.ending();
        for note in edge.serve(Duration::from_millis(10)).await? {
            match note {
                Rebalance::Assigned(partitions) => {
                    for partition in partitions {
                        let position = position(job, edge, &partition).await?;
                        edge.seek(&partition, position).await?;
                    }
                }
                // What is held of it is inserted all the same: inserting twice is replacing.
                Rebalance::Revoked(_) => {}
            }
        }
        if waiting.is_none() && !stage.full() {
            for partition in edge.reading() {
                let now = edge.now();
                let mut outcome = Ok(());
                edge.take(&partition, RECORDS_MAX, &mut |messages| {
                    for message in messages {
                        let place = Place {
                            partition: partition.1,
                            offset: message.offset,
                            append_ms: message.timestamp.unwrap_or_default(),
                        };
                        match stage.record(&partition.0, place, message.payload.unwrap_or_default(), now) {
                            // Somebody else's record in our topic stops nobody.
                            Err(error) if error.is_foreign() => tracing::error!(%error, "a record was passed over"),
                            Err(error) => outcome = Err(error),
                            Ok(()) => {}
                        }
                    }
                })
                .await?;
                outcome?;
            }
        }
        if waiting.is_none() {
            // On the way out, what is held is flushed whether its time has come or not.
            waiting = if ending { stage.rest()? } else { stage.due(edge.now())? };
        }
        let now = edge.now();
        if let Some(flush) = waiting.take_if(|_| now >= try_at || ending) {
            match insert(edge, &flush).await {
                Ok(()) => {
                    pause_ms = PAUSE_MS;
                    let places = flush.offsets.into_iter();
                    done.extend(places.map(|(topic, partition, position)| ((topic, partition), position)));
                    commit_at = 0;
                }
                Err(error) => {
                    tracing::warn!(%error, retry_in_ms = pause_ms, "the store did not take rows; they wait in Kafka");
                    try_at = edge.now() + pause_ms;
                    pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
                    waiting = (!ending).then_some(flush);
                }
            }
        }
        let reading = edge.reading();
        done.retain(|place, _| reading.contains(place));
        if !done.is_empty() && (edge.now() >= commit_at || ending) {
            let positions: Vec<_> =
                done.iter().map(|((topic, partition), position)| (topic.clone(), *partition, *position)).collect();
            match edge.commit(&positions).await {
                Ok(()) => done.clear(),
                Err(error) => {
                    tracing::warn!(%error, "positions could not be committed, trying again; until then these rows may be inserted again, which replaces them");
                    commit_at = edge.now() + COMMIT_AGAIN_MS;
                }
            }
        }
        if ending {
            return Ok(());
        }
    }
}

/// Where to begin with a partition: where the group stopped, else at its beginning. A position that is gone is an error,
/// never a silent reset; so is a beginning that is gone, which a group has forgotten or never came to.
async fn position(job: &Job, edge: &mut impl Edge, partition: &TopicPartition) -> Result<i64, Error> {
    let (topic, number) = (partition.0.clone(), partition.1);
    let committed = edge.committed(partition).await?;
    let (low, high) = edge.watermarks(partition).await?;
    match committed {
        Some(committed) if (low..=high).contains(&committed) => Ok(committed),
        None if low == 0 => Ok(low),
        _ if job.accept_lost => {
            tracing::warn!(topic, partition = number, committed, low, high, "rows are gone; storing what is there");
            Ok(low)
        }
        None => Err(Error::Unstored { topic, partition: number, low }),
        Some(committed) if committed < low => Err(Error::Gone { topic, partition: number, committed, low, high }),
        Some(committed) => Err(Error::Recreated { topic, partition: number, committed, low, high }),
    }
}

async fn insert(edge: &mut impl Edge, flush: &Flush) -> Result<(), String> {
    for insert in &flush.inserts {
        edge.insert(insert).await?;
    }
    Ok(())
}
