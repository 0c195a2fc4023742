//! JUDGE's loop.

use std::{sync::Arc, time::Duration};

use super::{
    Described, Edge, EdgeError, Error, Job, Outgoing, Rebalance, TopicPartition,
    letters::{self, Letters},
    ms,
    rules::for_partition,
};
use crate::{
    fold::{self, Origin, Source},
    judge::{
        breadcrumb::Breadcrumb,
        chain::Need,
        journal::{Owed, Recorded, StateRecord},
        output::{BreachEvent, Notice},
        stage::{Alert, Arrived, Stage, StateOptions, Transaction},
    },
    position::Range,
    rules::{catalog::Catalog, hash_bytes, series::canonical},
};

/// How many records of one partition are taken at a time.
const RECORDS_MAX: usize = 10;

/// How many positions are folded again at a time.
const REFOLD_POSITIONS_MAX: i64 = 20_000;
/// How long dead letters are looked for that cannot be written again now.
const OWED_MAX_MS: i64 = 600_000;

/// Runs until the process ends.
pub async fn run(job: &Job, edge: &mut impl Edge) -> Result<(), Error> {
    edge.subscribe(std::slice::from_ref(&job.config.topics.partials))?;
    let options = StateOptions {
        snapshot_interval_ms: ms(job.config.judge.snapshot_interval),
        part_bytes_max: job.config.topics.part_bytes_max(),
    };
    let mut stage = Stage::new(options, job.sets.clone());
    edge.ready().await?;
    let mut busy = false;
    while !edge.ending() {
        for note in edge.serve(if busy { Duration::ZERO } else { Duration::from_millis(5) }).await? {
            match note {
                Rebalance::Assigned(partitions) => {
                    for partition in &partitions {
                        begin(job, &mut stage, edge, partition).await?;
                    }
                    take_over(job, &mut stage, edge, &partitions).await?;
                }
                Rebalance::Revoked(partitions) => {
                    for (_, partition) in &partitions {
                        tracing::info!(partition, "no longer judging");
                        stage.forget(*partition);
                    }
                }
            }
        }
        busy = false;
        stage.go_on()?;
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
        if let Some(partition) = stage.wants_rules(edge.now()) {
            append_rules(job, &mut stage, edge, partition).await?;
        }
        if let Some((partition, need)) = stage.need(edge.now()) {
            refold(job, &mut stage, edge, partition, &need).await?;
        }
        if let Some(partition) = stage.check_due(edge.now())
            && let Some(letters) = look_after_letters(job, &mut stage, edge, partition).await?
        {
            check(job, &mut stage, edge, partition, letters).await?;
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
    edge.read(&(job.config.topics.state.clone(), partition.1), super::from(0), &mut |message| {
        let key = message.key.map(String::from_utf8_lossy).unwrap_or_default();
        recorded.take(&key, message.payload);
    })
    .await?;
    let (low, _) = edge.watermarks(partition).await?;
    let (position, missed) = stage.begin(partition.1, recorded, low, &job.instance, edge.now())?;
    let letters = stage.letters(partition.1).to_vec();
    check(job, stage, edge, partition.1, letters).await?;
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

/// Notes who owns these partitions now. Where the owner before came to nothing, evaluations are noted before they are made.
async fn take_over(
    job: &Job,
    stage: &mut Stage,
    edge: &mut impl Edge,
    partitions: &[TopicPartition],
) -> Result<(), Error> {
    let topic = &job.config.topics.state;
    let mut records = Vec::new();
    for place in partitions {
        let Some(breadcrumb) = stage.breadcrumb(place.1) else { continue };
        records.push(of_state(topic, place.1, breadcrumb.record()));
        be_wary(job, stage, edge, place)?;
    }
    if !records.is_empty()
        && let Err(error) = edge.publish(records).await
    {
        tracing::warn!(%error, "who judges these partitions could not be noted");
        edge.ready().await?;
    }
    Ok(())
}

/// Notes what is evaluated of a partition from now on, where owners before came to nothing.
fn be_wary(job: &Job, stage: &mut Stage, edge: &mut impl Edge, partition: &TopicPartition) -> Result<(), Error> {
    if stage.breadcrumb(partition.1).is_some_and(Breadcrumb::is_wary) {
        let words = edge.last_words(&(job.config.topics.state.clone(), partition.1))?;
        stage.be_wary(partition.1, words);
    }
    Ok(())
}

fn of_state(topic: &str, partition: i32, (key, value): StateRecord) -> Outgoing {
    Outgoing {
        topic: topic.to_owned(),
        partition: Some(partition),
        key: Some(key.into_bytes()),
        value,
        headers: Vec::new(),
    }
}

/// Appends the rule set in force to a partials partition that has missed it.
async fn append_rules(job: &Job, stage: &mut Stage, edge: &mut impl Edge, partition: i32) -> Result<(), Error> {
    let sets = super::rules::read(job, edge).await?;
    let (Some(published), Some(record)) = (stage.published(partition), sets.in_force()) else { return Ok(()) };
    if let Err(reason) = job.sets.get(&record.hash, || record.files(), record.settings) {
        let error = Error::NewerRules { hash: record.hash.clone(), reason };
        tracing::error!(%error, partition, "what was folded by these rules waits");
        return Ok(());
    }
    let topics = &job.config.topics;
    tracing::warn!(partition, number = record.number, "the rule set in force is missing in the log; appending it");
    let record = for_partition(&topics.partials, partition, record)?;
    if let Err(error) = edge.write(vec![record], &[(topics.partials.clone(), partition, published)]).await {
        tracing::warn!(%error, "the rule set could not be written; restoring from the state topic");
        return restore(job, stage, edge).await;
    }
    Ok(())
}

/// What was folded again.
struct FoldedAgain {
    transaction: fold::stage::Transaction,
    catalog: Arc<Catalog>,
    place: TopicPartition,
    /// Up to here.
    until: i64,
    /// How many of the first positions the source no longer has.
    lost: i64,
}

/// Folds positions again for a partials partition; `None` where that must wait.
async fn fold_again(
    job: &Job,
    stage: &Stage,
    edge: &mut impl Edge,
    partition: i32,
    need: &Need,
) -> Result<Option<FoldedAgain>, Error> {
    let sets = stage.sets(partition);
    let catalog = sets.last().map(|(set, _)| Arc::clone(&set.catalog)).unwrap_or_default();
    let Some(table) = catalog.tables.get(&need.table) else { return Ok(None) };
    let topics = &job.config.topics;
    let place = (table.topic.clone(), need.partition);
    let Described { id, partitions } = match edge.describe(&table.topic).await {
        Err(EdgeError::NoTopic(topic)) => {
            let Range { start, end } = need.range;
            tracing::warn!(
                topic,
                start,
                end,
                "there is no such topic now; what is missing of it waits until it is there"
            );
            return Ok(None);
        }
        described => described?,
    };
    let other = !id.is_empty() && !need.incarnation.is_empty() && id != need.incarnation;
    // Of another life nothing is asked: it may have fewer partitions.
    let (low, high) = if other { (need.range.end, need.range.end) } else { edge.watermarks(&place).await? };
    if high < need.range.end {
        tracing::warn!(
            topic = place.0,
            partition = place.1,
            until = need.range.end,
            high,
            "positions that somebody has folded are not there any more; waiting for who reads the topic to tell of its new life"
        );
        return Ok(None);
    }
    let gone = low.clamp(need.range.start, need.range.end);
    let source = Source { table: need.table.clone(), partition: need.partition };
    let (topic, incarnation, life) = (table.topic.clone(), need.incarnation.clone(), need.life);
    let origin = Origin { topic, incarnation, partitions, begun: None, life };
    let mut fold =
        fold::stage::Stage::new(&sets, super::fold::limits(job), topics.partitions, 0, topics.part_bytes_max())?;
    fold.write_in(stage.format(partition));
    fold.begin(&source, origin.clone(), gone)?;
    if gone > need.range.start {
        fold.lost(&source, &origin, Range { start: need.range.start, end: gone });
    }
    // What is more than that comes with the next round.
    let left = Range { start: gone, end: need.range.end.min(gone.saturating_add(REFOLD_POSITIONS_MAX)) };
    if !left.is_empty() {
        let mut outcome = Ok(());
        edge.read(&place, left, &mut |message| {
            if outcome.is_ok() {
                outcome = fold.events(&source, std::slice::from_ref(message));
            }
        })
        .await?;
        outcome?;
        let lives = edge.lives(&[&place.0]).await?;
        if lives.get(&place.0).is_some_and(|now| !need.incarnation.is_empty() && *now != need.incarnation) {
            // What was read may be of another life of the topic. The next round knows it.
            return Ok(None);
        }
        fold.until(&source, left.end)?;
    }
    let Some(transaction) = fold.due(edge.now())? else { return Ok(None) };
    let (until, lost) = (left.end, gone - need.range.start);
    Ok(Some(FoldedAgain { transaction, catalog: Arc::clone(&catalog), place, until, lost }))
}

/// Folds again what is missing in a partials partition, for that partition alone. What the source no longer has is
/// recorded as lost, never waited for.
async fn refold(job: &Job, stage: &mut Stage, edge: &mut impl Edge, partition: i32, need: &Need) -> Result<(), Error> {
    let Some(published) = stage.published(partition) else { return Ok(()) };
    let Some(again) = fold_again(job, stage, edge, partition, need).await? else { return Ok(()) };
    let FoldedAgain { transaction, catalog, place, until, lost } = again;
    let topics = &job.config.topics;
    let mut records: Vec<Outgoing> = transaction
        .records
        .into_iter()
        .filter(|(of, _)| *of == partition)
        .map(|(_, bytes)| Outgoing {
            topic: topics.partials.clone(),
            partition: Some(partition),
            value: Some(bytes),
            ..Outgoing::default()
        })
        .collect();
    if partition == 0 {
        // Every partials partition folds what it misses; one is enough to say what is garbage.
        let letters = &transaction.dead_letters;
        let mut written = Letters::default();
        written.again(&place, need.range.end);
        records.extend(written.records(edge, &topics.dead_letters, letters, &catalog).await?);
    }
    tracing::warn!(
        partition,
        topic = place.0,
        source = place.1,
        from = need.range.start,
        until,
        lost,
        "positions are missing; folding them again"
    );
    if let Err(error) = edge.write(records, &[(topics.partials.clone(), partition, published)]).await {
        tracing::warn!(%error, "what was missing could not be written; restoring from the state topic");
        return restore(job, stage, edge).await;
    }
    Ok(())
}

/// Looks which dead letters have arrived that sections speak of, and writes those that have not. Answers with those that are
/// to be looked for again; `None` where the partition is begun anew.
async fn look_after_letters(
    job: &Job,
    stage: &mut Stage,
    edge: &mut impl Edge,
    partition: i32,
) -> Result<Option<Vec<Owed>>, Error> {
    let topic = &job.config.topics.dead_letters;
    let missing = letters::missing(edge, topic, stage.letters(partition)).await?;
    let mut owed = Vec::new();
    for mut missing in missing {
        let Some(published) = stage.published(partition) else { return Ok(None) };
        let (mut rest, mut records) = (missing.of.clone(), Vec::new());
        let (mut written, mut waits) = (Letters::default(), false);
        while !rest.range.is_empty() && !waits {
            match fold_again(job, stage, edge, partition, &rest).await? {
                Some(again) if again.until > rest.range.start => {
                    if again.lost > 0 {
                        let Need { table, partition, range, .. } = &rest;
                        tracing::error!(
                            table,
                            partition,
                            start = range.start,
                            lost = again.lost,
                            "dead letters are missing whose events are gone"
                        );
                    }
                    written.again(&again.place, missing.of.range.end);
                    let letters = &again.transaction.dead_letters;
                    records.extend(written.records(edge, topic, letters, &again.catalog).await?);
                    rest.range.start = again.until;
                }
                _ => waits = true,
            }
        }
        if !records.is_empty() {
            tracing::warn!(
                letters = records.len(),
                "dead letters vanished with a transaction that ended only in part; they are written again"
            );
            let offsets = [(job.config.topics.partials.clone(), partition, published)];
            if let Err(error) = edge.write(records, &offsets).await {
                tracing::warn!(%error, "dead letters could not be written; restoring from the state topic");
                restore(job, stage, edge).await?;
                return Ok(None);
            }
            // These are where what is written now is.
            missing.append_ms = edge.now();
            owed.push(missing);
        } else if waits && edge.now() - missing.append_ms < OWED_MAX_MS {
            owed.push(missing);
        } else if waits {
            let Need { table, partition, range, .. } = &missing.of;
            tracing::error!(
                table,
                partition,
                start = range.start,
                end = range.end,
                "dead letters of these positions are missing, and their events cannot be had"
            );
        }
    }
    Ok(Some(owed))
}

/// Looks which outputs have arrived: a transaction may end in one partition and not in another. The dead letters are looked
/// for again.
async fn check(
    job: &Job,
    stage: &mut Stage,
    edge: &mut impl Edge,
    partition: i32,
    letters: Vec<Owed>,
) -> Result<(), Error> {
    let Some((readings_from, alerts_from)) = stage.unchecked(partition) else { return Ok(()) };
    let topics = &job.config.topics;
    let (readings, alerts) = ((topics.readings.clone(), partition), (topics.alerts.clone(), partition));
    let until = (edge.watermarks(&readings).await?.1, edge.watermarks(&alerts).await?.1);
    let state = (topics.state.clone(), partition);
    let state_until = edge.watermarks(&state).await?.1;
    let mut arrived = Arrived { letters, until, state_until, ..Arrived::default() };
    if let Some(from) = stage.unconfirmed(partition) {
        edge.read(&state, super::from(from), &mut |message| {
            let key = message.key.map(String::from_utf8_lossy).unwrap_or_default();
            arrived.state.take(&key, message.payload);
        })
        .await?;
    }
    edge.read(&readings, super::from(readings_from), &mut |message| {
        arrived.blocks.extend(message.payload.map(hash_bytes));
    })
    .await?;
    edge.read(&alerts, super::from(alerts_from), &mut |message| {
        let event = message.payload.and_then(|payload| serde_json::from_slice::<BreachEvent>(payload).ok());
        arrived.alerts.extend(event.map(|event| event.id));
    })
    .await?;
    stage.checked(partition, arrived, edge.now());
    Ok(())
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
    let state = transaction.state.iter();
    records
        .extend(state.map(|(partition, key, value)| of_state(&topics.state, *partition, (key.clone(), value.clone()))));
    let needs = transaction.needs.iter();
    records.extend(needs.map(|(partition, number)| super::rules::needs(&topics.rules, *partition, *number)));
    let positions: Vec<(String, i32, i64)> = transaction
        .offsets
        .iter()
        .map(|(partition, position)| (topics.partials.clone(), *partition, *position))
        .collect();
    if let Err(error) = edge.write(records, &positions).await {
        tracing::warn!(%error, "a JUDGE transaction failed; restoring from the state topic");
        return restore(job, stage, edge).await;
    }
    transaction.offsets.iter().for_each(|(partition, position)| stage.came_to(*partition, *position));
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
        be_wary(job, stage, edge, &partition)?;
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
