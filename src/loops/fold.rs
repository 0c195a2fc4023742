//! FOLD's loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Described, Edge, EdgeError, Error, Job, Outgoing, Rebalance, TopicPartition, letters::Letters, ms, rules::Sets,
};
use crate::{
    config::Start,
    decode::Limits,
    fold::{
        NumberedSet, Origin, Source,
        stage::{Message, Stage, Transaction},
    },
    partial::{Failure, RuleSetRecord},
    position::Range,
    rules::{RuleSet, catalog::Catalog},
};

/// How many events of one partition are taken at a time.
const EVENTS_MAX: usize = 2_000;
/// How often the rules topic is read on, in milliseconds.
const LEARN_MS: i64 = 500;
/// How often quiet partitions are asked whether their end is still there, in milliseconds.
const ASK_END_MS: i64 = 1_000;
/// How often it is asked whether source topics are still the same, in milliseconds.
const ASK_LIFE_MS: i64 = 5_000;

/// The source topics that a rule set reads, and the table of each.
pub fn topics(set: &RuleSet) -> BTreeMap<String, String> {
    let used = set.tables();
    let tables = set.catalog.tables.values().filter(|table| used.contains(&table.name));
    tables.map(|table| (table.topic.clone(), table.name.clone())).collect()
}

/// The limits on events.
pub fn limits(job: &Job) -> Limits {
    let fold = &job.config.fold;
    Limits { event_bytes_max: fold.max_event_bytes, ahead_ms_max: ms(fold.max_ahead), age_ms_max: ms(fold.max_age) }
}

/// Runs until the process ends.
pub async fn run(job: &Job, edge: &mut impl Edge) -> Result<(), Error> {
    let config = &job.config;
    let mut rules = Sets::default();
    let mut sets = learn(job, &mut rules, edge).await?;
    while sets.is_empty() {
        if edge.ending() {
            return Ok(());
        }
        edge.pause(Duration::from_millis(50)).await;
        sets = learn(job, &mut rules, edge).await?;
    }
    let mut stage = Stage::new(
        &sets,
        limits(job),
        config.topics.partitions,
        ms(config.fold.interval),
        config.topics.part_bytes_max(),
    )?;
    let mut work = Fold::new(job, &sets);
    work.subscribe(edge, &rules).await?;
    edge.ready().await?;
    let mut failures = 0;
    let mut asked_ms = 0;
    let mut learnt_ms = 0;
    let mut lives_ms = edge.now();
    let mut busy = false;
    while !edge.ending() {
        if edge.now() - learnt_ms >= LEARN_MS {
            learnt_ms = edge.now();
            let now = learn(job, &mut rules, edge).await?;
            stage.write_in(rules.format());
            // What is open was folded by the sets before.
            if now.iter().map(|(_, number)| number).ne(sets.iter().map(|(_, number)| number))
                && work.conclude(&mut stage, edge).await?
            {
                stage.switch(&now)?;
                tracing::info!(sets = ?now.iter().map(|(_, number)| number).collect::<Vec<_>>(), "folding by other rule sets");
                sets = now;
                work.follow(&sets);
                work.subscribe(edge, &rules).await?;
                failures = 0;
            }
        }
        for note in edge.serve(if busy { Duration::ZERO } else { Duration::from_millis(5) }).await? {
            match note {
                Rebalance::Assigned(partitions) => {
                    // A note of the owner before may be on its way: no position is told before it has ended.
                    for partition in &partitions {
                        edge.committed(partition).await?;
                    }
                    if !partitions.is_empty() {
                        work.known = known(job, edge).await?;
                    }
                    for partition in partitions {
                        work.begin(&mut stage, edge, &partition).await?;
                    }
                }
                Rebalance::Revoked(partitions) => {
                    for partition in &partitions {
                        tracing::info!(topic = partition.0, partition = partition.1, "no longer folding");
                        stage.forget(&work.source(partition));
                        work.new.remove(partition);
                        work.held.remove(partition);
                    }
                }
            }
        }
        if edge.now() - lives_ms >= ASK_LIFE_MS {
            work.notice_new_lives(&mut stage, edge).await?;
            for partition in work.held.keys().cloned().collect::<Vec<_>>() {
                work.begin(&mut stage, edge, &partition).await?;
            }
            lives_ms = edge.now();
        }
        busy = false;
        if !work.note(&mut stage, edge).await? {
            // The group is heard first: who has lost a partition notes nothing of it.
            continue;
        }
        let now = edge.now();
        let asking = now - asked_ms >= ASK_END_MS;
        let mut answers = true;
        for partition in edge.reading() {
            let source = work.source(&partition);
            let mut outcome = Ok(());
            let mut then = |messages: &[Message<'_>]| outcome = stage.events(&source, messages);
            let taken = match edge.take(&partition, EVENTS_MAX, &mut then).await {
                Err(EdgeError::OutOfRange(_)) => {
                    work.begin(&mut stage, edge, &partition).await?;
                    continue;
                }
                taken => taken?,
            };
            outcome?;
            if stage.is_full() {
                work.conclude(&mut stage, edge).await?;
            }
            if taken > 0 {
                busy = true;
            } else if asking {
                // A broker that does not answer would be waited for again for each partition.
                let at_end = answers
                    && edge.at_end(&partition).await.unwrap_or_else(|error| {
                        tracing::warn!(%error, "the end of partitions cannot be asked for; their time stands still");
                        answers = false;
                        false
                    });
                stage.set_at_end(&source, at_end.then_some(now));
            }
        }
        if asking {
            asked_ms = now;
        }
        let failed = stage.failed();
        if failed.len() > failures {
            failures = failed.len();
            sets.last().into_iter().for_each(|(set, _)| tell_failed(set, &failed));
        }
        if stage.is_due(edge.now()) {
            work.conclude(&mut stage, edge).await?;
        }
    }
    Ok(())
}

/// Reads on in the rules topic; answers with the sets whose folds are needed, as far as this binary can run them.
async fn learn(job: &Job, rules: &mut Sets, edge: &mut impl Edge) -> Result<Vec<NumberedSet>, Error> {
    let place = (job.config.topics.rules.clone(), 0);
    edge.tail(&place, &mut |message| rules.take(message.key, message.payload)).await?;
    rules.check()?;
    let mut sets = Vec::new();
    let mut refused = None;
    for record in rules.needed(job.config.topics.partitions) {
        match job.sets.get(&record.hash, || record.files(), record.settings) {
            Ok(set) => sets.push((set, record.number)),
            Err(reason) => refused = Some(Error::NewerRules { hash: record.hash.clone(), reason }),
        }
    }
    match refused {
        Some(error) if sets.is_empty() => Err(error),
        Some(error) => {
            tracing::error!(%error, "folding by the rules before");
            Ok(sets)
        }
        None => Ok(sets),
    }
}

fn tell_failed(set: &Arc<RuleSet>, failed: &[Failure]) {
    for rule in &set.rules {
        for Failure { reason, .. } in failed.iter().filter(|failure| failure.is_of(rule)) {
            tracing::error!(
                rule = rule.header.name,
                reason,
                "the rule failed on an event; it is fenced off until it changes"
            );
        }
    }
}

/// Says, in the log of the process and in the audit, that a partition is not read.
async fn tell_held(
    job: &Job,
    edge: &mut impl Edge,
    (topic, partition): &TopicPartition,
    reason: &str,
) -> Result<(), Error> {
    tracing::error!(
        topic,
        partition,
        reason,
        "this partition is not folded, and windows over it wait; all others go on"
    );
    let said = serde_json::json!({
        "what": "source_held", "topic": topic, "partition": partition, "reason": reason, "instance": job.instance,
    });
    if let Err(error) = edge.publish(vec![super::audit(job, &said)]).await {
        tracing::warn!(%error, "it could not be written to the audit");
        edge.ready().await?;
    }
    Ok(())
}

struct Fold<'a> {
    job: &'a Job,
    /// The table of each topic.
    topics: BTreeMap<String, String>,
    catalog: Arc<Catalog>,
    /// The rule set in force when topics were subscribed to: it says when each of them was read first.
    began: Option<RuleSetRecord>,
    /// Where reading began, for partitions of which nothing is committed yet, and in which life of the topic.
    begun: BTreeMap<TopicPartition, Known>,
    /// Partitions that were ever read: that the group knows nothing of them is no first start.
    known: BTreeMap<TopicPartition, Known>,
    /// Partitions read for the first time, to be noted before anything of them is written.
    new: BTreeMap<TopicPartition, Known>,
    /// Partitions that are not read, and why: what changes of it while somebody writes to the topic does not count.
    held: BTreeMap<TopicPartition, (&'static str, i64)>,
    letters: Letters,
}

/// What the state topic notes of a source partition that is being read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Which life of the topic.
    #[serde(default)]
    id: String,
    /// Where reading began.
    #[serde(default)]
    from: i64,
    /// How many lives of the topic were read before.
    #[serde(default)]
    life: u32,
}

/// What the keys of notes of source partitions begin with.
const SOURCE: &str = "source\u{1f}";

/// The key under which the state topic notes that a source partition is being read.
fn source_key(partition: &TopicPartition) -> String {
    format!("{SOURCE}{}\u{1f}{}", partition.0, partition.1)
}

/// The source partitions that were ever read.
async fn known(job: &Job, edge: &mut impl Edge) -> Result<BTreeMap<TopicPartition, Known>, EdgeError> {
    let (mut known, mut unread) = (BTreeMap::new(), None);
    edge.read(&(job.config.topics.state.clone(), 0), super::from(0), &mut |message| {
        let key = message.key.map(String::from_utf8_lossy).unwrap_or_default();
        let place = key.strip_prefix(SOURCE).and_then(|rest| rest.split_once('\u{1f}'));
        if let Some((topic, partition)) = place
            && let Ok(partition) = partition.parse()
        {
            let place = (topic.to_owned(), partition);
            match message.payload.map(serde_json::from_slice::<Known>) {
                Some(Ok(note)) => _ = known.insert(place, note),
                Some(Err(error)) => unread = Some((key.clone().into_owned(), error)),
                None => _ = known.remove(&place),
            }
        }
    })
    .await?;
    match unread {
        // Where reading began is not guessed.
        Some((key, error)) => Err(EdgeError::Other(
            format!(
                "the note {key:?} in {}[0] cannot be read ({error}): a later binary wrote it, upgrade this instance",
                job.config.topics.state
            )
            .into(),
        )),
        None => Ok(known),
    }
}

impl Known {
    /// True where the topic was made anew since.
    fn is_other(&self, origin: &Origin) -> bool {
        !self.id.is_empty() && !origin.incarnation.is_empty() && self.id != origin.incarnation
    }
}

impl<'a> Fold<'a> {
    fn new(job: &'a Job, sets: &[NumberedSet]) -> Self {
        let mut work = Self {
            job,
            topics: BTreeMap::new(),
            catalog: Arc::default(),
            began: None,
            begun: BTreeMap::new(),
            known: BTreeMap::new(),
            new: BTreeMap::new(),
            held: BTreeMap::new(),
            letters: Letters::default(),
        };
        work.follow(sets);
        work
    }

    /// The tables of these sets; of a table that several have, the topic of the last.
    fn follow(&mut self, sets: &[NumberedSet]) {
        self.topics = sets.iter().flat_map(|(set, _)| topics(set)).collect();
        self.catalog = sets.last().map(|(set, _)| Arc::clone(&set.catalog)).unwrap_or_default();
    }

    /// Says which topics are read, and warns of those that are not there.
    async fn subscribe(&mut self, edge: &mut impl Edge, rules: &Sets) -> Result<(), Error> {
        self.began = rules.in_force().cloned();
        let names: Vec<String> = self.topics.keys().cloned().collect();
        for topic in &names {
            if let Err(EdgeError::NoTopic(topic)) = edge.describe(topic).await {
                tracing::warn!(topic, "there is no such topic; rules that read it wait until it is there");
            }
        }
        Ok(edge.subscribe(&names)?)
    }

    fn source(&self, partition: &TopicPartition) -> Source {
        Source { table: self.topics.get(&partition.0).cloned().unwrap_or_default(), partition: partition.1 }
    }

    async fn origin(&self, edge: &mut impl Edge, topic: &str) -> Result<Origin, Error> {
        let Described { id, partitions } = edge.describe(topic).await?;
        Ok(Origin { topic: topic.to_owned(), incarnation: id, partitions, begun: None, life: 0 })
    }

    /// Begins a partition where the group stopped, or where a first start begins. One whose position is gone is held: it is
    /// not read, windows over it wait, and everything else goes on.
    async fn begin(
        &mut self,
        stage: &mut Stage,
        edge: &mut impl Edge,
        partition: &TopicPartition,
    ) -> Result<(), Error> {
        match self.begin_or_fail(stage, edge, partition).await {
            Ok(()) => _ = self.held.remove(partition),
            Err(error @ (Error::Gone { .. } | Error::Recreated { .. } | Error::Edge(EdgeError::NoTopic(_)))) => {
                self.new.remove(partition);
                stage.forget(&self.source(partition));
                edge.hold(partition).await?;
                let why = match &error {
                    Error::Gone { committed, .. } => ("gone", *committed),
                    Error::Recreated { committed, .. } => ("recreated", *committed),
                    _ => ("absent", 0),
                };
                if self.held.insert(partition.clone(), why) != Some(why) {
                    tell_held(self.job, edge, partition, &error.to_string()).await?;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn begin_or_fail(
        &mut self,
        stage: &mut Stage,
        edge: &mut impl Edge,
        partition: &TopicPartition,
    ) -> Result<(), Error> {
        loop {
            let mut origin = self.origin(edge, &partition.0).await?;
            self.new.remove(partition);
            if origin.incarnation.is_empty()
                && let Some(known) = self.known.get(partition).or(self.begun.get(partition))
            {
                // A broker that does not say which life it is says nothing against the one that is known.
                origin.incarnation.clone_from(&known.id);
            }
            let id = origin.incarnation.clone();
            let position = self.begin_life(stage, edge, partition, origin).await?;
            // What was asked of a topic that was made anew meanwhile says nothing of the one that is there now.
            let now = edge.describe(&partition.0).await?.id;
            if now == id || now.is_empty() {
                self.letters.again(partition, edge.watermarks(partition).await?.1);
                return Ok(edge.seek(partition, position).await?);
            }
        }
    }

    /// Begins again with the partitions of topics that were made anew since.
    async fn notice_new_lives(&mut self, stage: &mut Stage, edge: &mut impl Edge) -> Result<(), Error> {
        let reading = edge.reading();
        let topics: BTreeSet<&str> = reading.iter().map(|(topic, _)| topic.as_str()).collect();
        let lives = edge.lives(&topics.into_iter().collect::<Vec<_>>()).await?;
        for partition in &reading {
            let (begun, now) = (self.begun.get(partition), lives.get(&partition.0));
            if let (Some(begun), Some(now)) = (begun, now)
                && !begun.id.is_empty()
                && begun.id != *now
            {
                self.begin(stage, edge, partition).await?;
            }
        }
        Ok(())
    }

    /// Notes lives of topics that nobody has noted before; answers whether all are. A note goes with positions of the
    /// group, so that the group refuses those of an owner that has lost the partition meanwhile. It may
    /// vanish alone, and whoever came next would take the next life for this one: so it is read again, before anything of
    /// this life is taken.
    async fn note(&mut self, stage: &mut Stage, edge: &mut impl Edge) -> Result<bool, Error> {
        if self.new.is_empty() {
            return Ok(true);
        }
        let (mut notes, mut positions) = (Vec::new(), Vec::new());
        for (partition, note) in &self.new {
            let begun = self.begun.get(partition).map_or(note.from, |begun| begun.from);
            // Brokers that don't say which life it is show a new one by a position that is not there: it stays until then.
            let committed = if note.id.is_empty() { edge.committed(partition).await? } else { None };
            let position = committed.unwrap_or(begun);
            positions.push((partition.0.clone(), partition.1, position));
            notes.push(Outgoing {
                topic: self.job.config.topics.state.clone(),
                partition: Some(0),
                key: Some(source_key(partition).into_bytes()),
                value: Some(serde_json::to_vec(note).unwrap_or_default()),
                headers: Vec::new(),
            });
        }
        if let Err(error) = edge.write(notes, &positions).await {
            tracing::warn!(%error, "which topics are read could not be noted; trying again");
            edge.ready().await?;
        }
        self.known = known(self.job, edge).await?;
        for (partition, note) in std::mem::take(&mut self.new) {
            if self.known.get(&partition) != Some(&note) {
                // It vanished, or another owner knows better.
                self.begin(stage, edge, &partition).await?;
            }
        }
        Ok(self.new.is_empty())
    }

    /// Writes what is open; answers whether nothing is open any more. A client reads on where a topic was made anew and has
    /// outgrown the position, and does not tell: what was read before the topic was seen in the life that is known was of
    /// that life.
    async fn conclude(&mut self, stage: &mut Stage, edge: &mut impl Edge) -> Result<bool, Error> {
        self.notice_new_lives(stage, edge).await?;
        if !self.note(stage, edge).await? {
            return Ok(false);
        }
        if let Some(transaction) = stage.close(edge.now())? {
            self.write(stage, edge, &transaction).await?;
        }
        Ok(true)
    }

    /// Begins a partition of one life of its topic; answers with the position.
    async fn begin_life(
        &mut self,
        stage: &mut Stage,
        edge: &mut impl Edge,
        partition: &TopicPartition,
        mut origin: Origin,
    ) -> Result<i64, Error> {
        let source = self.source(partition);
        let outcome = self.position(edge, partition, &origin).await;
        let anew = matches!(outcome, Err(Error::Recreated { .. }));
        let (position, lost) = match outcome {
            Ok(position) => (position, None),
            Err(Error::Gone { committed, low, .. }) if self.job.accept_lost => (low, Some((committed, low))),
            // The new life of a topic begins where it begins, with an empty range that says so.
            Err(Error::Recreated { low, .. }) if self.job.accept_lost => (low, Some((low, low))),
            Err(error) => return Err(error),
        };
        // Brokers that don't say which life it is show it by positions that are not there.
        let before = self.known.get(partition).or(self.begun.get(partition));
        let other = |known: &Known| anew || known.is_other(&origin);
        let life = before.map_or(u32::from(anew), |known| known.life + u32::from(other(known)));
        let known = self.known.get(partition).filter(|known| !other(known)).cloned();
        origin.life = life;
        // Where reading began: sections say so, since the first of them may vanish.
        let from = match (&known, lost) {
            (Some(known), _) => known.from,
            (None, Some(_)) => position,
            (None, None) => self.first_position(edge, partition).await?.min(position),
        };
        origin.begun = Some(from);
        if known.is_none_or(|known| known.id != origin.incarnation || known.life != origin.life) {
            self.new.insert(partition.clone(), Known { id: origin.incarnation.clone(), from, life: origin.life });
        }
        stage.begin(&source, origin.clone(), position)?;
        if let Some((start, end)) = lost {
            stage.lost(&source, &origin, Range { start, end });
            tracing::warn!(
                topic = partition.0,
                partition = partition.1,
                start,
                end,
                "positions are gone; recorded as lost"
            );
        } else {
            tracing::info!(topic = partition.0, partition = partition.1, position, "folding");
        }
        self.begun.insert(partition.clone(), Known { id: origin.incarnation, from: position, life: origin.life });
        Ok(position)
    }

    /// Where to begin with a partition: where the group stopped, else where it began before, else where a first start
    /// begins. A position that is gone is an error, never a silent reset.
    async fn position(&self, edge: &mut impl Edge, partition: &TopicPartition, origin: &Origin) -> Result<i64, Error> {
        let (topic, number) = (partition.0.clone(), partition.1);
        let committed = edge.committed(partition).await?;
        let (low, high) = edge.watermarks(partition).await?;
        let (known, begun) = (self.known.get(partition), self.begun.get(partition));
        if known.or(begun).is_some_and(|known| known.is_other(origin)) {
            let committed = committed.unwrap_or_default();
            return Err(Error::Recreated { topic, partition: number, committed, low, high });
        }
        if let Some(committed) = committed {
            if committed > high {
                return Err(Error::Recreated { topic, partition: number, committed, low, high });
            }
            if committed < low {
                return Err(Error::Gone { topic, partition: number, committed, low, high });
            }
            return Ok(committed);
        }
        // A partition that is begun again begins where it began, not where its end is by now.
        if let Some(begun) = begun {
            return Ok(begun.from);
        }
        if let Some(known) = known {
            // The group has forgotten where it stopped. What is read again from the beginning the chain drops, and what
            // is no longer there leaves a hole that it sees: slow, and safe.
            tracing::warn!(
                topic,
                partition = number,
                from = known.from,
                "the group's position is gone; reading again from where reading began"
            );
            return Ok(known.from.max(low));
        }
        self.first_position(edge, partition).await
    }

    /// Where a first start begins.
    async fn first_position(&self, edge: &mut impl Edge, partition: &TopicPartition) -> Result<i64, Error> {
        Ok(match self.job.config.fold.start {
            Start::Earliest => edge.watermarks(partition).await?.0,
            // `latest` is what came since the topic was read first: a partition that appears later is read from its
            // beginning.
            Start::Latest => {
                let began_ms = self.began.as_ref().map_or(0, |record| record.began_ms(&partition.0));
                edge.position_at(partition, began_ms).await?
            }
            Start::At(time) => edge.position_at(partition, time).await?,
        })
    }

    async fn write(&mut self, stage: &mut Stage, edge: &mut impl Edge, transaction: &Transaction) -> Result<(), Error> {
        let topics = &self.job.config.topics;
        let mut records: Vec<Outgoing> = Vec::new();
        for (partition, bytes) in &transaction.records {
            records.push(Outgoing {
                topic: topics.partials.clone(),
                partition: Some(*partition),
                value: Some(bytes.clone()),
                ..Outgoing::default()
            });
        }
        let letters = &transaction.dead_letters;
        let letters = self.letters.records(edge, &topics.dead_letters, letters, &self.catalog).await?;
        let rejected = u64::try_from(letters.len()).unwrap_or_default();
        records.extend(letters);
        if let Err(error) = edge.write(records, &transaction.offsets).await {
            tracing::warn!(%error, "a FOLD transaction failed; reading again from the last one that did not");
            edge.ready().await?;
            for partition in edge.reading() {
                self.begin(stage, edge, &partition).await?;
            }
            return Ok(());
        }
        tracing::debug!(events = transaction.events, records = transaction.records.len(), "folded");
        if let Some(watcher) = &self.job.watcher {
            watcher.folded(transaction.events, rejected);
        }
        if rejected > 0 {
            tracing::warn!(events = rejected, topic = topics.dead_letters, "events went to the dead letters");
        }
        Ok(())
    }
}
