//! STORE's edge: carries between Kafka and [`crate::store::stage`]. What cannot be inserted is tried again for as long
//! as it takes: the backlog waits in Kafka.

use std::{thread, time::Duration};

use rdkafka::Message;

use super::{Context, Error, clock, offsets, retry};
use crate::{
    config::{Start, StoreKind},
    kafka::consumer::{GroupConsumer, Polled, Rebalance},
    store::{
        clickhouse::ClickHouse,
        parquet::Folder,
        stage::{Flush, Insert, Place, Stage},
    },
};

enum Target {
    ClickHouse(Box<ClickHouse>, tokio::runtime::Runtime),
    Parquet(Folder),
}

impl Target {
    fn insert(&self, insert: &Insert) -> Result<(), String> {
        match self {
            Self::ClickHouse(server, runtime) => {
                runtime.block_on(server.insert(insert)).map_err(|error| error.to_string())
            }
            Self::Parquet(folder) => folder.insert(insert).map_err(|error| error.to_string()),
        }
    }
}

pub(super) fn run(context: &Context) -> Result<(), Error> {
    let config = &context.config;
    let target = match config.store.kind {
        StoreKind::None => return wait(context),
        StoreKind::Parquet => Target::Parquet(Folder::new(&config.store.path)?),
        StoreKind::Clickhouse => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
            Target::ClickHouse(Box::new(ClickHouse::new(&config.clickhouse)), runtime)
        }
    };
    let ms = i64::try_from(config.store.flush_interval.as_millis()).unwrap_or(i64::MAX);
    let mut stage = Stage::new(&config.topics.readings, ms, config.store.max_rows);
    let group = format!("{}.store", config.kafka.group);
    let topics = [config.topics.readings.as_str(), config.topics.alerts.as_str()];
    let mut consumer = GroupConsumer::join(&context.client, &group, &topics, config.kafka.session_timeout)?;
    let mut waiting: Option<Flush> = None;
    let mut try_at = 0;
    let mut pause_ms = 250;
    loop {
        let ending = context.shutdown.asked();
        for note in consumer.serve(Duration::from_millis(10))? {
            match note {
                Rebalance::Assigned(partitions) => {
                    for partition in partitions {
                        let position = retry(context, "a position cannot be read", || {
                            consumer.position(&partition, None, Start::Earliest)
                        })?;
                        consumer.assign(&partition, position)?;
                    }
                }
                // What is held of it is inserted all the same: inserting twice is replacing.
                Rebalance::Revoked(_) => {}
            }
        }
        if waiting.is_none() && !stage.full() {
            for partition in consumer.reading() {
                if let Polled::Messages(messages) = consumer.take(&partition, 500)? {
                    for message in &messages {
                        let place = Place {
                            partition: partition.1,
                            offset: message.offset(),
                            append_ms: message.timestamp().to_millis().unwrap_or_default(),
                        };
                        let payload = message.payload().unwrap_or_default();
                        match stage.record(&partition.0, place, payload, clock::now()) {
                            // Somebody else's record in our topic stops nobody.
                            Err(error) if error.is_foreign() => {
                                tracing::error!(%error, "a record was passed over");
                            }
                            outcome => outcome?,
                        }
                    }
                }
            }
        }
        if waiting.is_none() {
            // On the way out, what is held is flushed whether its time has come or not.
            waiting = stage.due(if ending { i64::MAX / 2 } else { clock::now() })?;
        }
        if let Some(flush) = waiting.take_if(|_| clock::now() >= try_at || ending) {
            match insert(&target, &flush) {
                Ok(()) => {
                    pause_ms = 250;
                    let mine: Vec<_> = flush
                        .offsets
                        .into_iter()
                        .filter(|(topic, partition, _)| consumer.reading().contains(&(topic.clone(), *partition)))
                        .collect();
                    if !mine.is_empty()
                        && let Err(error) = consumer.commit(&offsets(mine)?)
                    {
                        tracing::warn!(%error, "positions could not be committed; these rows may be inserted again, which replaces them");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, retry_in_ms = pause_ms, "the store did not take rows; they wait in Kafka");
                    try_at = clock::now() + pause_ms;
                    pause_ms = (pause_ms * 2).min(10_000);
                    waiting = (!ending).then_some(flush);
                }
            }
        }
        if ending {
            return Ok(());
        }
    }
}

fn insert(target: &Target, flush: &Flush) -> Result<(), String> {
    flush.inserts.iter().try_for_each(|insert| target.insert(insert))
}

fn wait(context: &Context) -> Result<(), Error> {
    while !context.shutdown.asked() {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
