//! Ends transactions that hang because whoever wrote them does not come back.
//!
//! Each writer ends what hangs of its own when it begins (see [`transaction`](super::transaction)). What a process left
//! behind that has gone for good would stay open for ever, and all readers with it. So writers are noted in the state topic,
//! and every process looks whether something stays open for longer than any transaction may: then it begins once as each
//! of them. Writers that are alive are fenced by that, and begin again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    Error, REQUEST,
    reader::{Client, Reader},
    transaction::begin_once,
};
use crate::{loops::TopicPartition, panes::Millis, position::Range};

/// What the keys of notes of writers begin with.
const WRITER: &str = "writer\u{1f}";
/// How long the broker may take beyond a transaction's own time: it looks for those that are over every ten seconds.
const SLACK_MS: i64 = 12_000;
/// How long the positions of a group may take to be told.
const POSITIONS: Duration = Duration::from_secs(2);

/// The key under which the state topic notes a writer; the value is its group.
pub(super) fn key(id: &str) -> String {
    format!("{WRITER}{id}")
}

/// Something that stays open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Open {
    /// A partition, whose readers of committed records wait.
    Partition(TopicPartition),
    /// The position of a group in a partition.
    Position(String, TopicPartition),
}

/// Looks for what hangs.
pub struct Hanging {
    settings: ClientConfig,
    committed: Client,
    uncommitted: Client,
    /// A client of each group, and the topics whose positions it keeps.
    groups: Vec<(String, Client, Vec<String>)>,
    places: Vec<TopicPartition>,
    limit_ms: i64,
    /// Since when something has stood at the same position.
    since: BTreeMap<Open, (i64, Millis)>,
}

impl Hanging {
    /// Looks at `places` and at the positions of groups in topics; `timeout` is that of transactions.
    pub fn new(
        client: &ClientConfig,
        places: Vec<TopicPartition>,
        groups: Vec<(String, Vec<String>)>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let settings = |group: &str, isolation: &str| {
            let mut settings = client.clone();
            settings.set("group.id", group).set("isolation.level", isolation).set("enable.auto.commit", "false");
            settings
        };
        let mut clients = Vec::new();
        for (group, topics) in groups {
            clients.push((group.clone(), Client::new(&settings(&group, "read_committed"))?, topics));
        }
        Ok(Self {
            settings: client.clone(),
            committed: Client::new(&settings("tierwatch.hanging", "read_committed"))?,
            uncommitted: Client::new(&settings("tierwatch.hanging", "read_uncommitted"))?,
            groups: clients,
            places,
            limit_ms: crate::loops::ms(timeout) + SLACK_MS,
            since: BTreeMap::new(),
        })
    }

    /// What has stayed open for too long at `now`.
    pub fn look(&mut self, now: Millis) -> Result<Vec<Open>, Error> {
        let before = std::mem::take(&mut self.since);
        let mut open = BTreeMap::new();
        for place in &self.places {
            let stable = self.committed.fetch_watermarks(&place.0, place.1, REQUEST)?.1;
            // What was written after that is no older.
            if stable < self.uncommitted.fetch_watermarks(&place.0, place.1, REQUEST)?.1 {
                open.insert(Open::Partition(place.clone()), stable);
            }
        }
        for (group, client, topics) in &self.groups {
            if let Some(place) = untold(client, topics)? {
                open.insert(Open::Position(group.clone(), place), 0);
            }
        }
        for (what, at) in open {
            let since = before.get(&what).filter(|(known, _)| *known == at).map_or(now, |(_, since)| *since);
            self.since.insert(what, (at, since));
        }
        let hangs = self.since.iter().filter(|(_, (_, since))| now - since > self.limit_ms);
        Ok(hangs.map(|(what, _)| what.clone()).collect())
    }

    /// Ends whatever writers left open that are noted in the given partition of the state topic; answers with those that
    /// could not be asked.
    pub fn end(&mut self, state: &TopicPartition) -> Result<BTreeSet<String>, Error> {
        let mut writers: BTreeMap<String, String> = BTreeMap::new();
        let mut reader = Reader::of_everything(&self.settings);
        reader.read(state, Range { start: 0, end: i64::MAX }, &mut |message| {
            use rdkafka::Message as _;
            let key = message.key().map(String::from_utf8_lossy).unwrap_or_default();
            let group = message.payload().map(String::from_utf8_lossy);
            if let (Some(id), Some(group)) = (key.strip_prefix(WRITER), group) {
                writers.insert(id.to_owned(), group.into_owned());
            }
        })?;
        let mut left = BTreeSet::new();
        for (id, group) in writers {
            let metadata = self.groups.iter().find(|(name, ..)| *name == group);
            let metadata = metadata.and_then(|(_, client, _)| client.group_metadata()).map(Arc::new);
            if let Err(error) = begin_once(&self.settings, &id, self.places.clone(), metadata) {
                tracing::debug!(%error, writer = id, "what it left open could not be ended");
                left.insert(id);
            }
        }
        self.since.clear();
        Ok(left)
    }
}

/// A partition in which a group does not tell its position: it does not while a transaction is open that brings another.
fn untold(client: &BaseConsumer, topics: &[String]) -> Result<Option<TopicPartition>, Error> {
    let mut places = Vec::new();
    for topic in topics {
        let metadata = client.fetch_metadata(Some(topic), REQUEST)?;
        let found = metadata.topics().iter().find(|known| known.name() == topic);
        let count = i32::try_from(found.map_or(0, |topic| topic.partitions().len())).unwrap_or(i32::MAX);
        places.extend((0..count).map(|partition| (topic.clone(), partition)));
    }
    // Where many write, one of many is always open for a moment: then each is asked for by itself.
    if places.is_empty() || is_told(client, &places)? {
        return Ok(None);
    }
    for place in places {
        if !is_told(client, std::slice::from_ref(&place))? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn is_told(client: &BaseConsumer, places: &[TopicPartition]) -> Result<bool, Error> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in places {
        list.add_partition_offset(topic, *partition, Offset::Invalid)?;
    }
    // An open transaction is waited for; any other error, as of a group that may not be asked, says nothing of one.
    let outcome = client.committed_offsets(list, POSITIONS);
    Ok(!matches!(outcome, Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))))
}
