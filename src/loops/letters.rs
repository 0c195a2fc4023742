//! Dead letters as records, each once: what was folded again, because a transaction ended only in part, may be there
//! already, and what was folded may not have come.

use std::collections::{BTreeMap, BTreeSet};

use super::{Edge, EdgeError, Outgoing, TopicPartition};
use crate::{
    fold::stage::{DeadLetter, Message},
    judge::journal::Owed,
    panes::Millis,
    position::Range,
    rules::{catalog::Catalog, hash_bytes},
};

/// How many positions of the dead letters topic are looked through at most at a time: more would hold up everything else.
const LOOK_MAX: i64 = 200_000;

/// How much later than its event's timestamp says a letter may have been written earlier: a broker takes timestamps that are
/// so far ahead of its clock.
const AHEAD_MAX_MS: Millis = 3_600_000;

/// How far apart the records of a transaction may lie in time, by the clocks of the brokers.
const TRANSACTION_MAX_MS: Millis = 60_000;

/// What every id stands in.
const ID: &str = "tierwatch_id";
const TIMESTAMP: &str = "tierwatch_timestamp";

/// Which dead letters are there already, as far as events are folded that somebody may have folded before.
#[derive(Debug)]
pub(super) struct Letters {
    again: BTreeMap<TopicPartition, Again>,
    /// What stands before this in the dead letters topic was looked at; later letters may be JUDGE's.
    next: i64,
}

impl Default for Letters {
    fn default() -> Self {
        Self { again: BTreeMap::new(), next: i64::MAX }
    }
}

/// What may be folded again of one source partition.
#[derive(Debug)]
struct Again {
    /// Up to here: nobody has folded what came later.
    until: i64,
    /// The marks of its letters, once that was asked.
    known: Option<BTreeSet<String>>,
}

impl Letters {
    /// Of this source partition, what stands before `until` may have been folded before.
    pub(super) fn again(&mut self, partition: &TopicPartition, until: i64) {
        self.again.insert(partition.clone(), Again { until, known: None });
    }

    /// The records of those letters that are not there yet.
    pub(super) async fn records(
        &mut self,
        edge: &mut impl Edge,
        topic: &str,
        letters: &[DeadLetter],
        catalog: &Catalog,
    ) -> Result<Vec<Outgoing>, EdgeError> {
        self.look(edge, topic, letters).await?;
        let mut records = Vec::with_capacity(letters.len());
        for letter in letters {
            let place = (letter.topic.clone(), letter.partition);
            let record = record(topic, letter, catalog);
            let known = match self.again.get(&place) {
                Some(again) if letter.offset < again.until => again.known.as_ref(),
                Some(_) => {
                    self.again.remove(&place);
                    None
                }
                None => None,
            };
            let headers = record.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
            if known.is_none_or(|known| !known.contains(&mark(headers, record.value.as_deref()))) {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Asks which letters are there of the partitions that these come from, as far as that was not asked before. Those that
    /// matter were written after the first of these events.
    async fn look(&mut self, edge: &mut impl Edge, topic: &str, letters: &[DeadLetter]) -> Result<(), EdgeError> {
        let (mut looks, mut first) = (false, None);
        for letter in letters {
            let place = (letter.topic.clone(), letter.partition);
            if let Some(again) = self.again.get_mut(&place).filter(|again| letter.offset < again.until) {
                looks = true;
                if again.known.is_none() {
                    again.known = Some(BTreeSet::new());
                    first = Some(first.unwrap_or(Millis::MAX));
                }
                first = first.map(|first: Millis| first.min(letter.timestamp.unwrap_or_default()));
            }
        }
        if !looks {
            return Ok(());
        }
        let place = (topic.to_owned(), 0);
        let (low, high) = edge.watermarks(&place).await?;
        let mut start = self.next;
        if let Some(first) = first {
            start = start.min(edge.position_at(&place, first.saturating_sub(AHEAD_MAX_MS).max(0)).await?);
        }
        let range = Range { start: start.max(low).max(high - LOOK_MAX), end: high };
        let again = &mut self.again;
        edge.read(&place, range, &mut |message| {
            let known = origin(message).and_then(|(place, _)| again.get_mut(&place)?.known.as_mut());
            if let Some(known) = known {
                let headers = message.headers.iter().map(|(name, value)| (&**name, *value));
                known.insert(mark(headers, message.payload));
            }
        })
        .await?;
        self.next = high;
        Ok(())
    }
}

/// Of the dead letters that sections speak of, those that are not all there. Whoever has read a section finds them before
/// the end of their topic, if anywhere: they were written before their transaction ended. Where there are too many, all are
/// taken to have arrived.
pub(super) async fn missing(edge: &mut impl Edge, topic: &str, owed: &[Owed]) -> Result<Vec<Owed>, EdgeError> {
    let times = || owed.iter().map(|owed| owed.append_ms);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(Vec::new()) };
    let place = (topic.to_owned(), 0);
    let (low, high) = edge.watermarks(&place).await?;
    let start = edge.position_at(&place, first.saturating_sub(TRANSACTION_MAX_MS).max(0)).await?.max(low);
    let end = edge.position_at(&place, last.saturating_add(TRANSACTION_MAX_MS).max(0)).await?.min(high);
    if end - start > LOOK_MAX {
        tracing::warn!(topic, letters = end - start, "so many dead letters at once are not looked for one by one");
        return Ok(Vec::new());
    }
    let mut found: BTreeMap<TopicPartition, BTreeSet<i64>> = BTreeMap::new();
    edge.read(&place, Range { start, end }, &mut |message| {
        if let Some((place, offset)) = origin(message) {
            found.entry(place).or_default().insert(offset);
        }
    })
    .await?;
    let arrived = |owed: &Owed| {
        let Range { start, end } = owed.of.range;
        let found = found.get(&(owed.topic.clone(), owed.of.partition));
        found.map_or(0, |found| found.range(start..end.max(start)).count())
    };
    Ok(owed
        .iter()
        .filter(|owed| arrived(owed) < usize::try_from(owed.letters).unwrap_or(usize::MAX))
        .cloned()
        .collect())
}

/// The source partition and the position in a letter's id. An event that was a letter before has an older id, too: the last
/// one counts.
fn origin(message: &Message<'_>) -> Option<(TopicPartition, i64)> {
    let (_, id) = message.headers.iter().rfind(|(name, _)| name == ID)?;
    let mut parts = std::str::from_utf8((*id)?).ok()?.rsplitn(3, '/');
    let (offset, partition) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(((parts.next()?.to_owned(), partition), offset))
}

/// What tells a letter from others: where its event came from, when, and what it was. Another life of a topic has the same
/// positions.
fn mark<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>, payload: Option<&[u8]>) -> String {
    let mut bytes = Vec::new();
    for (_, value) in headers.filter(|(name, _)| [ID, TIMESTAMP].contains(name)) {
        bytes.extend(value.unwrap_or_default());
        bytes.push(0);
    }
    bytes.extend(payload.unwrap_or_default());
    hash_bytes(&bytes)
}

/// A dead letter: the event as it came, with what is wrong and where it came from in its headers.
fn record(topic: &str, letter: &DeadLetter, catalog: &Catalog) -> Outgoing {
    let table = catalog.tables.values().find(|table| table.topic == letter.topic);
    let mut headers: Vec<(String, Vec<u8>)> =
        letter.headers.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect();
    let mut add = |name: &str, value: String| headers.push((format!("tierwatch_{name}"), value.into_bytes()));
    add("id", format!("{}/{}/{}", letter.topic, letter.partition, letter.offset));
    add("reason", letter.reason.to_owned());
    add("detail", letter.detail.clone());
    add("table", table.map(|table| table.name.clone()).unwrap_or_default());
    add("topic", letter.topic.clone());
    add("partition", letter.partition.to_string());
    add("offset", letter.offset.to_string());
    add("bytes", letter.bytes.to_string());
    if let Some(timestamp) = letter.timestamp {
        add("timestamp", crate::time::rfc3339(timestamp));
    }
    if let Some(sha256) = &letter.sha256 {
        add("sha256", sha256.clone());
    }
    if !letter.cut.is_empty() {
        add("cut", letter.cut.join(","));
    }
    Outgoing {
        topic: topic.to_owned(),
        partition: Some(0),
        key: letter.key.clone(),
        value: letter.payload.clone(),
        headers,
    }
}
