//! STORE's loop. What cannot be inserted is tried again for as long as it takes: the backlog waits in Kafka.

use std::time::Duration;

use super::{Edge, Error, Job, Rebalance, ms};
use crate::{
    config::StoreKind,
    store::stage::{Flush, Place, Stage},
};

/// How many records of one partition are taken at a time.
const RECORDS_MAX: usize = 500;
/// The first pause after an insert that failed, in milliseconds; each further one is twice as long.
const PAUSE_MS: i64 = 250;
/// The longest pause.
const PAUSE_MS_MAX: i64 = 10_000;

/// The topics that it reads.
pub fn topics(job: &Job) -> Vec<String> {
    vec![job.config.topics.readings.clone(), job.config.topics.alerts.clone()]
}

/// Runs until the process ends.
pub async fn run(job: &Job, edge: &mut impl Edge) -> Result<(), Error> {
    let config = &job.config;
    if config.store.kind == StoreKind::None {
        while !edge.ending() {
            edge.pause(Duration::from_millis(50)).await;
        }
        return Ok(());
    }
    let mut stage = Stage::new(&config.topics.readings, ms(config.store.flush_interval), config.store.max_rows);
    let mut waiting: Option<Flush> = None;
    let mut try_at = 0;
    let mut pause_ms = PAUSE_MS;
    loop {
        let ending = edge.ending();
        for note in edge.serve(Duration::from_millis(10)).await? {
            match note {
                Rebalance::Assigned(partitions) => {
                    for partition in partitions {
                        let position = match edge.committed(&partition).await? {
                            Some(position) => position,
                            None => edge.watermarks(&partition).await?.0,
                        };
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
            waiting = stage.due(if ending { i64::MAX / 2 } else { edge.now() })?;
        }
        let now = edge.now();
        if let Some(flush) = waiting.take_if(|_| now >= try_at || ending) {
            match insert(edge, &flush).await {
                Ok(()) => {
                    pause_ms = PAUSE_MS;
                    let reading = edge.reading();
                    let mine: Vec<_> = flush
                        .offsets
                        .into_iter()
                        .filter(|(topic, partition, _)| reading.contains(&(topic.clone(), *partition)))
                        .collect();
                    if !mine.is_empty()
                        && let Err(error) = edge.commit(&mine).await
                    {
                        tracing::warn!(%error, "positions could not be committed; these rows may be inserted again, which replaces them");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, retry_in_ms = pause_ms, "the store did not take rows; they wait in Kafka");
                    try_at = edge.now() + pause_ms;
                    pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
                    waiting = (!ending).then_some(flush);
                }
            }
        }
        if ending {
            return Ok(());
        }
    }
}

async fn insert(edge: &mut impl Edge, flush: &Flush) -> Result<(), String> {
    for insert in &flush.inserts {
        edge.insert(insert).await?;
    }
    Ok(())
}
