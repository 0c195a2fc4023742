//! What one stage of one simulated instance asks of the world. Each call lets everybody else go on first, and each may be
//! the last: the instance dies by its future being dropped.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use tierwatch::{
    fold::stage::Message,
    judge::breadcrumb::LastWords,
    loops::{Described, Edge, EdgeError, Outgoing, Rebalance, TopicPartition, rules::Provenance},
    planted::{self, Bug},
    position::Range,
    rules::Files,
    store::stage::Insert,
};

use super::{
    World,
    kafka::{End, Entry, Place, Refused},
};

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Refused {}

fn refused(error: Refused) -> EdgeError {
    EdgeError::Other(Box::new(error))
}

struct Queue {
    position: i64,
    /// The end of the log when nothing was left.
    end: Option<i64>,
}

pub(crate) struct SimulatedEdge {
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) ending: Rc<Cell<bool>>,
    /// How far the clock of this instance is off.
    pub(crate) skew: Rc<Cell<i64>>,
    group: String,
    topics: Vec<String>,
    /// How far each tail was read.
    tails: BTreeMap<Place, i64>,
    member: Option<u64>,
    queues: BTreeMap<Place, Queue>,
    writer: String,
    epoch: Option<u64>,
    instance: String,
    /// The version of the rule files that was looked at last.
    pub(crate) seen: usize,
}

/// Where a version of the rule files comes from: a later one is newer.
pub(crate) fn provenance(version: usize) -> Provenance {
    Provenance { newest_ms: i64::try_from(version).unwrap_or(i64::MAX), commit: None }
}

/// Everybody else goes on.
async fn turn() {
    let mut before = true;
    poll_fn(move |_| if std::mem::take(&mut before) { Poll::Pending } else { Poll::Ready(()) }).await;
}

fn message(entry: &Entry) -> Message<'_> {
    Message {
        offset: entry.offset,
        timestamp: Some(entry.append_ms),
        key: entry.record.key.as_deref(),
        payload: entry.record.value.as_deref(),
        headers: entry
            .record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().into(), Some(value.as_slice())))
            .collect(),
    }
}

impl SimulatedEdge {
    pub(crate) fn new(
        world: &Rc<RefCell<World>>,
        ending: &Rc<Cell<bool>>,
        skew: &Rc<Cell<i64>>,
        group: &str,
        writer: &str,
        instance: &str,
    ) -> Self {
        Self {
            world: Rc::clone(world),
            ending: Rc::clone(ending),
            skew: Rc::clone(skew),
            group: group.to_owned(),
            topics: Vec::new(),
            tails: BTreeMap::new(),
            member: None,
            queues: BTreeMap::new(),
            writer: writer.to_owned(),
            epoch: None,
            instance: instance.to_owned(),
            seen: 0,
        }
    }

    async fn append_all(
        &mut self,
        epoch: u64,
        records: &[Outgoing],
        offsets: Option<&[(String, i32, i64)]>,
    ) -> Result<(), Refused> {
        turn().await;
        while self.world.borrow().kafka.is_ending(&self.writer) {
            turn().await;
        }
        self.world.borrow_mut().kafka.begin(&self.writer, epoch)?;
        // Records are sent one behind the other, not one after the other: many take no longer than some.
        let pause = (records.len() / 8).max(4);
        for record in records {
            if self.world.borrow_mut().random.once_in(pause) {
                turn().await;
            }
            self.world.borrow_mut().kafka.append(&self.writer, epoch, record)?;
        }
        turn().await;
        if let Some(offsets) = offsets {
            let member = (self.group.as_str(), self.member.ok_or(Refused("no member"))?);
            self.world.borrow_mut().kafka.offsets(&self.writer, epoch, member, offsets)?;
            turn().await;
        }
        self.end(epoch)
    }

    /// The commit, and what may come of it.
    fn end(&self, epoch: u64) -> Result<(), Refused> {
        let world = &mut *self.world.borrow_mut();
        let faults = world.faults;
        let now = world.kafka.now;
        let torn = world.random.once_in(faults.torn);
        if torn || world.random.once_in(faults.late) {
            let random = &mut world.random;
            let outcome = if random.once_in(4) { End::Aborted } else { End::Committed };
            world.kafka.finish_torn(&self.writer, epoch, || {
                let end = if !torn {
                    outcome
                } else if random.once_in(3) {
                    End::Aborted
                } else {
                    End::Committed
                };
                (now + random.between(0, 3_000), end)
            })?;
            let answered = outcome == End::Committed && random.once_in(2);
            world.note(if torn { "torn transaction" } else { "late transaction" });
            return if answered { Ok(()) } else { Err(Refused("timed out")) };
        }
        if world.random.once_in(faults.unknown) {
            let end = if world.random.once_in(2) { End::Aborted } else { End::Committed };
            world.kafka.finish(&self.writer, epoch, end)?;
            world.note("unknown outcome");
            return Err(Refused("timed out"));
        }
        world.kafka.finish(&self.writer, epoch, End::Committed)
    }

    async fn transaction(
        &mut self,
        records: &[Outgoing],
        offsets: Option<&[(String, i32, i64)]>,
    ) -> Result<(), EdgeError> {
        if self.epoch.is_none() {
            self.ready().await?;
        }
        let epoch = self.epoch.unwrap_or_default();
        let outcome = self.append_all(epoch, records, offsets).await;
        if outcome.is_err() {
            self.epoch = None;
            turn().await;
            let world = &mut *self.world.borrow_mut();
            if !world.random.once_in(3) {
                // Best effort, as with the real client: what is left open the next of the name ends.
                drop(world.kafka.finish(&self.writer, epoch, End::Aborted));
            }
        }
        outcome.map_err(refused)
    }
}

impl Edge for SimulatedEdge {
    fn now(&self) -> i64 {
        self.world.borrow().kafka.now + self.skew.get()
    }

    fn ending(&self) -> bool {
        self.ending.get()
    }

    fn reading(&self) -> Vec<TopicPartition> {
        self.queues.keys().cloned().collect()
    }

    fn subscribe(&mut self, topics: &[String]) -> Result<(), EdgeError> {
        self.topics = topics.to_vec();
        if let Some(member) = self.member {
            self.world.borrow_mut().kafka.subscribe(&self.group, member, topics);
        }
        Ok(())
    }

    async fn serve(&mut self, _wait: Duration) -> Result<Vec<Rebalance>, EdgeError> {
        turn().await;
        let kafka = &mut self.world.borrow_mut().kafka;
        let heard = self.member.and_then(|member| kafka.heartbeat(&self.group, member));
        let Some((revoked, assigned)) = heard else {
            // Put out of the group, or never in it.
            self.member = Some(kafka.join(&self.group, &self.topics));
            let lost: Vec<Place> = std::mem::take(&mut self.queues).into_keys().collect();
            return Ok(if lost.is_empty() { Vec::new() } else { vec![Rebalance::Revoked(lost)] });
        };
        for place in &revoked {
            self.queues.remove(place);
        }
        let mut notes = Vec::new();
        if !revoked.is_empty() {
            notes.push(Rebalance::Revoked(revoked));
        }
        if !assigned.is_empty() {
            notes.push(Rebalance::Assigned(assigned));
        }
        Ok(notes)
    }

    async fn seek(&mut self, partition: &TopicPartition, position: i64) -> Result<(), EdgeError> {
        self.queues.insert(partition.clone(), Queue { position, end: None });
        Ok(())
    }

    async fn hold(&mut self, partition: &TopicPartition) -> Result<(), EdgeError> {
        self.queues.remove(partition);
        Ok(())
    }

    async fn take(
        &mut self,
        partition: &TopicPartition,
        most: usize,
        then: &mut dyn FnMut(&[Message<'_>]),
    ) -> Result<usize, EdgeError> {
        let Some(queue) = self.queues.get_mut(partition) else { return Ok(0) };
        let entries = {
            let world = &mut *self.world.borrow_mut();
            if world.is_dark(partition) {
                return Ok(0);
            }
            let Some(log) = world.kafka.log(partition) else { return Ok(0) };
            // A topic made anew is read on, where it has come that far: the client does not tell.
            if queue.position < log.low || queue.position > log.high {
                return Err(EdgeError::OutOfRange("offset out of range".into()));
            }
            let most = 1 + world.random.below(most.min(world.faults.batch_max));
            let entries = world.kafka.fetch(partition, queue.position, most);
            let done = entries.is_empty() && world.kafka.stable(partition) == log.high;
            queue.end = done.then_some(log.high);
            entries
        };
        let Some(last) = entries.last() else { return Ok(0) };
        queue.position = last.offset + 1;
        let messages: Vec<Message<'_>> = entries.iter().map(message).collect();
        then(&messages);
        Ok(messages.len())
    }

    async fn at_end(&mut self, partition: &TopicPartition) -> Result<bool, EdgeError> {
        turn().await;
        let Some(end) = self.queues.get(partition).and_then(|queue| queue.end) else { return Ok(false) };
        if self.world.borrow().is_dark(partition) {
            return Err(refused(Refused("leader not available")));
        }
        let kafka = &self.world.borrow().kafka;
        Ok(kafka.log(partition).is_some_and(|log| log.high == end) && kafka.stable(partition) == end)
    }

    async fn committed(&mut self, partition: &TopicPartition) -> Result<Option<i64>, EdgeError> {
        loop {
            turn().await;
            // As with the real client: an unstable offset is asked for again until it is stable.
            if let Ok(committed) = self.world.borrow().kafka.committed(&self.group, partition) {
                return Ok(committed);
            }
        }
    }

    async fn watermarks(&mut self, partition: &TopicPartition) -> Result<(i64, i64), EdgeError> {
        turn().await;
        while self.world.borrow().is_dark(partition) {
            turn().await;
        }
        let world = self.world.borrow();
        let log = world.kafka.log(partition).ok_or_else(|| EdgeError::NoTopic(partition.0.clone()))?;
        Ok((log.low, log.high))
    }

    async fn position_at(&mut self, partition: &TopicPartition, time: i64) -> Result<i64, EdgeError> {
        turn().await;
        Ok(self.world.borrow().kafka.log(partition).map_or(0, |log| log.position_at(time)))
    }

    async fn lives(&mut self, topics: &[&str]) -> Result<BTreeMap<String, String>, EdgeError> {
        // Whoever is asked does not answer while its broker is away.
        while topics.iter().any(|topic| self.world.borrow().is_dark(&((*topic).to_owned(), 0))) {
            turn().await;
        }
        turn().await;
        let known = &self.world.borrow().kafka.topics;
        let there = topics.iter().filter_map(|topic| Some((topic.to_string(), known.get(*topic)?.id.clone())));
        Ok(there.collect())
    }

    async fn describe(&mut self, topic: &str) -> Result<Described, EdgeError> {
        turn().await;
        let world = self.world.borrow();
        let known = world.kafka.topics.get(topic).ok_or_else(|| EdgeError::NoTopic(topic.to_owned()))?;
        Ok(Described { id: known.id.clone(), partitions: i32::try_from(known.partitions.len()).unwrap() })
    }

    async fn ready(&mut self) -> Result<(), EdgeError> {
        while self.epoch.is_none() {
            turn().await;
            // As with the real client: while a transaction is being ended it asks again.
            self.epoch = self.world.borrow_mut().kafka.init(&self.writer).ok();
        }
        Ok(())
    }

    async fn write(&mut self, records: Vec<Outgoing>, offsets: &[(String, i32, i64)]) -> Result<(), EdgeError> {
        if planted::is(Bug::OffsetsFirst) && self.group == "fold" {
            self.commit(offsets).await?;
        }
        self.transaction(&records, Some(offsets)).await
    }

    async fn publish(&mut self, records: Vec<Outgoing>) -> Result<(), EdgeError> {
        self.transaction(&records, None).await
    }

    fn last_words(&mut self, place: &TopicPartition) -> Result<LastWords, EdgeError> {
        let (world, place) = (Rc::clone(&self.world), place.clone());
        Ok(Box::new(move |(key, value)| {
            world.borrow_mut().kafka.note(&place, key.as_bytes(), value.as_deref().unwrap_or_default());
            true
        }))
    }

    async fn commit(&mut self, offsets: &[(String, i32, i64)]) -> Result<(), EdgeError> {
        turn().await;
        let member = self.member.unwrap_or_default();
        self.world.borrow_mut().kafka.commit(&self.group, member, offsets).map_err(refused)
    }

    async fn read(
        &mut self,
        partition: &TopicPartition,
        range: Range,
        then: &mut dyn FnMut(&Message<'_>),
    ) -> Result<(), EdgeError> {
        let high = self.world.borrow().kafka.log(partition).map_or(0, |log| log.high);
        let target = high.min(range.end);
        while self.world.borrow().kafka.stable(partition) < target {
            turn().await;
        }
        let entries = self.world.borrow().kafka.fetch(partition, range.start, usize::MAX);
        entries.iter().filter(|entry| entry.offset < target).for_each(|entry| then(&message(entry)));
        Ok(())
    }

    async fn tail(&mut self, partition: &TopicPartition, then: &mut dyn FnMut(&Message<'_>)) -> Result<(), EdgeError> {
        turn().await;
        let next = self.tails.entry(partition.clone()).or_default();
        let entries = self.world.borrow().kafka.fetch(partition, *next, usize::MAX);
        entries.iter().for_each(|entry| then(&message(entry)));
        *next = entries.last().map_or(*next, |entry| entry.offset + 1);
        Ok(())
    }

    async fn changed_files(&mut self) -> Option<Result<(Files, Provenance), String>> {
        turn().await;
        let world = self.world.borrow();
        let mounted = *world.mounted.get(&self.instance).unwrap_or(&0);
        if std::mem::replace(&mut self.seen, mounted) == mounted {
            return None;
        }
        Some(Ok((world.versions[mounted].files.clone(), provenance(mounted))))
    }

    fn look_again(&mut self) {
        self.seen = usize::MAX;
    }

    async fn insert(&mut self, insert: &Insert) -> Result<(), String> {
        turn().await;
        let world = &mut *self.world.borrow_mut();
        let (fails, arrives) = (world.random.once_in(world.faults.insert), world.random.once_in(2));
        if !fails || arrives {
            world.store.insert(insert);
        }
        if fails {
            world.note("failed or ambiguous insert");
            return Err("the connection was reset".into());
        }
        Ok(())
    }

    async fn pause(&mut self, _wait: Duration) {
        turn().await;
    }
}
