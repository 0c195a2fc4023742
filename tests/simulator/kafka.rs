//! A model of Kafka: partitions, transactions with markers and the last stable position, fencing, groups.
//!
//! It does what the real one does where that matters to exactly-once, and what the real one is known to do wrongly where
//! the seed says so: a transaction that ends differently in each partition, late, or without anybody knowing how.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use tierwatch::loops::Outgoing;

/// A topic and a partition of it.
pub(crate) type Place = (String, i32);

/// How a transaction ended in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) offset: i64,
    pub(crate) append_ms: i64,
    pub(crate) record: Rc<Outgoing>,
    transaction: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) low: i64,
    pub(crate) high: i64,
    entries: Vec<Entry>,
    /// The positions of records whose transaction is open.
    open: BTreeSet<i64>,
}

impl Log {
    /// The first position at or after a time, committed or not; the end where there is none.
    pub(crate) fn position_at(&self, time: i64) -> i64 {
        self.entries.iter().find(|entry| entry.append_ms >= time).map_or(self.high, |entry| entry.offset)
    }

    /// The values of all its records.
    pub(crate) fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(|entry| entry.record.value.as_deref())
    }
}

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: String,
    pub(crate) partitions: Vec<Log>,
}

#[derive(Debug, Default)]
struct Transaction {
    logs: BTreeMap<Place, End>,
    /// Positions of groups that come with it, and how that ended.
    offsets: BTreeMap<(String, Place), (i64, End)>,
    began_ms: i64,
    /// How and when what is still open ends, where that is decided.
    decided: Vec<(i64, Part, End)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Log(Place),
    Offset((String, Place)),
}

#[derive(Debug, Default)]
struct Writer {
    epoch: u64,
    open: Option<u64>,
    /// The open one is being ended.
    ending: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Member {
    topics: Vec<String>,
    seen_ms: i64,
    generation: u64,
    pub(crate) assigned: BTreeSet<Place>,
    /// The group's generation and changes when there was nothing to be done for this member.
    settled: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Group {
    generation: u64,
    /// How many times partitions were given or taken.
    changes: u64,
    pub(crate) members: BTreeMap<u64, Member>,
    offsets: BTreeMap<Place, i64>,
}

/// Why a request failed, as far as a client can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

/// While a transaction is being ended its writer cannot begin another; clients ask again.
pub(crate) const CONCURRENT: Refused = Refused("concurrent transactions");

#[derive(Debug, Default)]
pub(crate) struct Kafka {
    pub(crate) now: i64,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) groups: BTreeMap<String, Group>,
    writers: BTreeMap<String, Writer>,
    transactions: BTreeMap<u64, Transaction>,
    next: u64,
}

/// How long a member may be silent.
pub(crate) const SESSION_MS: i64 = 6_000;
/// How long a transaction may be open.
pub(crate) const TRANSACTION_MS: i64 = 5_000;

impl Kafka {
    pub(crate) fn create(&mut self, topic: &str, partitions: i32) {
        self.next += 1;
        let id = format!("life{}", self.next);
        let partitions = (0..partitions).map(|_| Log::default()).collect();
        self.topics.insert(topic.to_owned(), Topic { id, partitions });
    }

    /// A topic is deleted and made anew.
    pub(crate) fn recreate(&mut self, topic: &str) {
        let count = self.topics.get(topic).map_or(0, |topic| topic.partitions.len());
        self.create(topic, i32::try_from(count).unwrap());
    }

    /// Retention takes the records of a partition before a position.
    pub(crate) fn retain(&mut self, place: &Place, from: i64) {
        let Some(log) = self.log_mut(place) else { return };
        log.low = from.clamp(log.low, log.high);
        let low = log.low;
        log.entries.retain(|entry| entry.offset >= low);
        log.open.retain(|offset| *offset >= low);
    }

    /// True where a committed record of a partition has that key.
    pub(crate) fn has_key(&self, place: &Place, key: &str) -> bool {
        self.fetch(place, 0, usize::MAX).iter().any(|entry| entry.record.key.as_deref() == Some(key.as_bytes()))
    }

    /// A group forgets where it stopped in a topic.
    pub(crate) fn forget_topic(&mut self, group: &str, topic: &str) {
        if let Some(group) = self.groups.get_mut(group) {
            group.offsets.retain(|place, _| place.0 != topic);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn log(&self, place: &Place) -> Option<&Log> {
        self.topics.get(&place.0)?.partitions.get(usize::try_from(place.1).ok()?)
    }

    fn log_mut(&mut self, place: &Place) -> Option<&mut Log> {
        self.topics.get_mut(&place.0)?.partitions.get_mut(usize::try_from(place.1).ok()?)
    }

    /// Time passes: transactions whose time is up are aborted, what was decided happens, silent members are put out.
    pub(crate) fn advance(&mut self, now: i64) {
        self.now = now;
        let mut marks = Vec::new();
        let mut late = Vec::new();
        for (id, transaction) in &mut self.transactions {
            let due = |at: i64| at <= now;
            marks.extend(
                transaction.decided.iter().filter(|(at, ..)| due(*at)).map(|(_, part, end)| (*id, part.clone(), *end)),
            );
            transaction.decided.retain(|(at, ..)| !due(*at));
            if transaction.decided.is_empty() && now - transaction.began_ms > TRANSACTION_MS {
                late.push(*id);
            }
        }
        for (id, part, end) in marks {
            self.mark(id, &part, end);
        }
        for id in late {
            self.end(id, End::Aborted);
        }
        self.transactions.retain(|_, transaction| transaction.is_open());
        for group in self.groups.values_mut() {
            let before = group.members.len();
            group.members.retain(|_, member| now - member.seen_ms <= SESSION_MS);
            group.generation += u64::from(group.members.len() != before);
        }
        let open: BTreeSet<u64> = self.transactions.keys().copied().collect();
        for writer in self.writers.values_mut() {
            if writer.open.is_some_and(|id| !open.contains(&id)) {
                writer.open = None;
                // Ended by the broker, not by its writer: whoever began it is fenced.
                writer.epoch += u64::from(!std::mem::take(&mut writer.ending));
            }
        }
    }

    // Writers.

    /// A writer of this name begins anew: older ones of the name are fenced, what they left open is ended.
    pub(crate) fn init(&mut self, name: &str) -> Result<u64, Refused> {
        let writer = self.writers.entry(name.to_owned()).or_default();
        if writer.ending {
            return Err(CONCURRENT);
        }
        writer.epoch += 1;
        let (epoch, open) = (writer.epoch, writer.open.take());
        if let Some(id) = open {
            self.end(id, End::Aborted);
            self.transactions.remove(&id);
        }
        Ok(epoch)
    }

    /// True while a transaction of this writer is being ended.
    pub(crate) fn is_ending(&self, name: &str) -> bool {
        self.writers.get(name).is_some_and(|writer| writer.ending)
    }

    fn writer(&mut self, name: &str, epoch: u64) -> Result<&mut Writer, Refused> {
        let writer = self.writers.get_mut(name).ok_or(Refused("no such writer"))?;
        if writer.epoch == epoch { Ok(writer) } else { Err(Refused("fenced")) }
    }

    pub(crate) fn begin(&mut self, name: &str, epoch: u64) -> Result<u64, Refused> {
        let id = self.number();
        let now = self.now;
        let writer = self.writer(name, epoch)?;
        if writer.ending {
            return Err(CONCURRENT);
        }
        if writer.open.is_some() {
            return Err(Refused("a transaction is open"));
        }
        writer.open = Some(id);
        self.transactions.insert(id, Transaction { began_ms: now, ..Transaction::default() });
        Ok(id)
    }

    /// Appends a record as part of a transaction.
    pub(crate) fn append(&mut self, name: &str, epoch: u64, record: &Outgoing) -> Result<(), Refused> {
        let id = self.writer(name, epoch)?.open.ok_or(Refused("no transaction is open"))?;
        let place = (record.topic.clone(), record.partition.unwrap_or_default());
        self.push(&place, record.clone(), Some(id))?;
        let transaction = self.transactions.get_mut(&id).ok_or(Refused("the transaction is over"))?;
        transaction.logs.insert(place, End::Open);
        Ok(())
    }

    /// Appends a record outside of any transaction, at a time that its producer says.
    pub(crate) fn produce(&mut self, place: &Place, value: &[u8]) {
        let record = Outgoing { topic: place.0.clone(), value: Some(value.to_vec()), ..Outgoing::default() };
        self.push(place, record, None).expect("the topic is there");
    }

    /// Appends a record with a key outside of any transaction.
    pub(crate) fn note(&mut self, place: &Place, key: &[u8], value: &[u8]) {
        let (key, value) = (Some(key.to_vec()), Some(value.to_vec()));
        let record = Outgoing { topic: place.0.clone(), key, value, ..Outgoing::default() };
        self.push(place, record, None).expect("the topic is there");
    }

    fn push(&mut self, place: &Place, record: Outgoing, transaction: Option<u64>) -> Result<(), Refused> {
        let now = self.now;
        let log = self.log_mut(place).ok_or(Refused("no such partition"))?;
        if transaction.is_some() {
            log.open.insert(log.high);
        }
        log.entries.push(Entry { offset: log.high, append_ms: now, record: Rc::new(record), transaction });
        log.high += 1;
        Ok(())
    }

    /// Adds positions of a group to a transaction: the member must be of the group as it is now.
    pub(crate) fn offsets(
        &mut self,
        name: &str,
        epoch: u64,
        (group, member): (&str, u64),
        offsets: &[(String, i32, i64)],
    ) -> Result<(), Refused> {
        let id = self.writer(name, epoch)?.open.ok_or(Refused("no transaction is open"))?;
        let known = self.groups.get(group).ok_or(Refused("no such group"))?;
        let current = known.members.get(&member).is_some_and(|member| member.generation == known.generation);
        if !current {
            return Err(Refused("illegal generation"));
        }
        let transaction = self.transactions.get_mut(&id).ok_or(Refused("the transaction is over"))?;
        for (topic, partition, position) in offsets {
            let key = (group.to_owned(), (topic.clone(), *partition));
            transaction.offsets.insert(key, (*position, End::Open));
        }
        Ok(())
    }

    /// Commits or aborts the open transaction of a writer, all of it at once.
    pub(crate) fn finish(&mut self, name: &str, epoch: u64, end: End) -> Result<(), Refused> {
        let writer = self.writer(name, epoch)?;
        if writer.ending {
            return Err(CONCURRENT);
        }
        let id = writer.open.take().ok_or(Refused("no transaction is open"))?;
        self.end(id, end);
        self.transactions.remove(&id);
        Ok(())
    }

    /// Ends the open transaction of a writer in each place by itself, `choose` says when and how.
    pub(crate) fn finish_torn(
        &mut self,
        name: &str,
        epoch: u64,
        mut choose: impl FnMut() -> (i64, End),
    ) -> Result<(), Refused> {
        let writer = self.writer(name, epoch)?;
        let id = writer.open.ok_or(Refused("no transaction is open"))?;
        writer.ending = true;
        let transaction = self.transactions.get_mut(&id).ok_or(Refused("the transaction is over"))?;
        let parts: Vec<Part> = transaction
            .logs
            .keys()
            .map(|place| Part::Log(place.clone()))
            .chain(transaction.offsets.keys().map(|key| Part::Offset(key.clone())))
            .collect();
        for part in parts {
            let (at, end) = choose();
            transaction.decided.push((at, part, end));
        }
        Ok(())
    }

    fn end(&mut self, id: u64, end: End) {
        let Some(transaction) = self.transactions.get(&id) else { return };
        let parts: Vec<Part> = transaction
            .logs
            .iter()
            .filter(|(_, end)| **end == End::Open)
            .map(|(place, _)| Part::Log(place.clone()))
            .chain(
                transaction
                    .offsets
                    .iter()
                    .filter(|(_, (_, end))| *end == End::Open)
                    .map(|(key, _)| Part::Offset(key.clone())),
            )
            .collect();
        for part in parts {
            self.mark(id, &part, end);
        }
    }

    fn mark(&mut self, id: u64, part: &Part, end: End) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        match part {
            Part::Log(place) => {
                transaction.logs.insert(place.clone(), end);
                let Some(log) = self.log_mut(place) else { return };
                // What is open stands near the end: nothing before the first of it is looked at.
                let open = log.open.first().copied().unwrap_or(log.high);
                let first = log.entries.partition_point(|entry| entry.offset < open);
                for entry in log.entries[first..].iter().filter(|entry| entry.transaction == Some(id)) {
                    log.open.remove(&entry.offset);
                }
                if end == End::Aborted {
                    let tail = log.entries.split_off(first);
                    log.entries.extend(tail.into_iter().filter(|entry| entry.transaction != Some(id)));
                } else {
                    for entry in log.entries[first..].iter_mut().filter(|entry| entry.transaction == Some(id)) {
                        entry.transaction = None;
                    }
                }
                // The marker takes a position of its own.
                log.high += 1;
            }
            Part::Offset(key) => {
                let Some((position, ended)) = transaction.offsets.get_mut(key) else { return };
                *ended = end;
                let position = *position;
                if end == End::Committed {
                    let group = self.groups.entry(key.0.clone()).or_default();
                    group.offsets.insert(key.1.clone(), position);
                }
            }
        }
    }

    // Readers.

    /// One past the last position that a read-committed reader may see.
    pub(crate) fn stable(&self, place: &Place) -> i64 {
        let Some(log) = self.log(place) else { return 0 };
        log.open.first().copied().unwrap_or(log.high)
    }

    /// Up to `most` committed records from a position.
    pub(crate) fn fetch(&self, place: &Place, from: i64, most: usize) -> Vec<Entry> {
        let Some(log) = self.log(place) else { return Vec::new() };
        let stable = self.stable(place);
        let first = log.entries.partition_point(|entry| entry.offset < from);
        let entries = log.entries[first..].iter();
        entries.take_while(|entry| entry.offset < stable).take(most).cloned().collect()
    }

    // Groups.

    pub(crate) fn join(&mut self, group: &str, topics: &[String]) -> u64 {
        let id = self.number();
        let now = self.now;
        let group = self.groups.entry(group.to_owned()).or_default();
        group.generation += 1;
        group.members.insert(id, Member { topics: topics.to_vec(), seen_ms: now, ..Member::default() });
        id
    }

    pub(crate) fn subscribe(&mut self, group: &str, member: u64, topics: &[String]) {
        if let Some(group) = self.groups.get_mut(group)
            && let Some(member) = group.members.get_mut(&member)
            && member.topics != topics
        {
            member.topics = topics.to_vec();
            group.generation += 1;
        }
    }

    /// A sign of life: answers with the partitions that are no longer the member's and those that now are; `None` where
    /// the group no longer knows it.
    pub(crate) fn heartbeat(&mut self, group: &str, id: u64) -> Option<(Vec<Place>, Vec<Place>)> {
        let now = self.now;
        let group = self.groups.get_mut(group)?;
        let state = (group.generation, group.changes);
        if let Some(member) = group.members.get_mut(&id).filter(|member| member.settled == Some(state)) {
            member.seen_ms = now;
            return Some((Vec::new(), Vec::new()));
        }
        let places: BTreeSet<Place> = group
            .members
            .values()
            .flat_map(|member| &member.topics)
            .flat_map(|topic| {
                let count = self.topics.get(topic).map_or(0, |topic| topic.partitions.len());
                (0..i32::try_from(count).unwrap()).map(move |partition| (topic.clone(), partition))
            })
            .collect();
        let ids: Vec<u64> = group.members.keys().copied().collect();
        let own: BTreeSet<Place> = places
            .into_iter()
            .enumerate()
            .filter(|(at, _)| ids[at % ids.len()] == id)
            .map(|(_, place)| place)
            .collect();
        let others: BTreeSet<Place> = group
            .members
            .iter()
            .filter(|(other, _)| **other != id)
            .flat_map(|(_, member)| member.assigned.iter().cloned())
            .collect();
        let generation = group.generation;
        let member = group.members.get_mut(&id)?;
        member.seen_ms = now;
        member.generation = generation;
        let revoked: Vec<Place> = member.assigned.difference(&own).cloned().collect();
        // Cooperative: what another still has is taken when it has let go.
        let assigned: Vec<Place> =
            own.iter().filter(|place| !member.assigned.contains(*place) && !others.contains(*place)).cloned().collect();
        member.assigned.retain(|place| own.contains(place));
        member.assigned.extend(assigned.iter().cloned());
        if revoked.is_empty() && assigned.is_empty() {
            member.settled = Some(state);
        } else {
            group.changes += 1;
        }
        Some((revoked, assigned))
    }

    /// The committed position; an error while a transaction that would change it is open.
    pub(crate) fn committed(&self, group: &str, place: &Place) -> Result<Option<i64>, Refused> {
        let key = (group.to_owned(), place.clone());
        let pending = self
            .transactions
            .values()
            .any(|transaction| transaction.offsets.get(&key).is_some_and(|(_, end)| *end == End::Open));
        if pending {
            return Err(Refused("unstable offset"));
        }
        Ok(self.groups.get(group).and_then(|group| group.offsets.get(place)).copied())
    }

    /// True where a group has come to the end of every partition of a topic, and no transaction there is open.
    pub(crate) fn is_read(&self, group: &str, topic: &str) -> bool {
        let count = self.topics.get(topic).map_or(0, |topic| topic.partitions.len());
        (0..count).all(|partition| {
            let place = (topic.to_owned(), i32::try_from(partition).unwrap());
            let committed = self.groups.get(group).and_then(|group| group.offsets.get(&place)).copied();
            let ended = self.log(&place).is_some_and(|log| log.open.is_empty());
            ended && self.fetch(&place, committed.unwrap_or(0), 1).is_empty()
        })
    }

    pub(crate) fn commit(&mut self, group: &str, member: u64, offsets: &[(String, i32, i64)]) -> Result<(), Refused> {
        let group = self.groups.get_mut(group).ok_or(Refused("no such group"))?;
        let current = group.members.get(&member).is_some_and(|member| member.generation == group.generation);
        if !current {
            return Err(Refused("illegal generation"));
        }
        for (topic, partition, position) in offsets {
            group.offsets.insert((topic.clone(), *partition), *position);
        }
        Ok(())
    }

    /// Expired: the group has forgotten where it stopped, and who was in it.
    pub(crate) fn forget(&mut self, group: &str) {
        if let Some(group) = self.groups.get_mut(group) {
            group.offsets.clear();
            group.members.clear();
            group.generation += 1;
        }
        let of_group = |key: &(String, Place)| key.0 == group;
        for transaction in self.transactions.values_mut() {
            transaction.offsets.retain(|key, _| !of_group(key));
            transaction.decided.retain(|(_, part, _)| !matches!(part, Part::Offset(key) if of_group(key)));
        }
    }
}

impl Transaction {
    fn is_open(&self) -> bool {
        let open = self.logs.values().any(|end| *end == End::Open)
            || self.offsets.values().any(|(_, end)| *end == End::Open)
            || !self.decided.is_empty();
        open || (self.logs.is_empty() && self.offsets.is_empty())
    }
}
