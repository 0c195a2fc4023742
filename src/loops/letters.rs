//! Dead letters as records, each once: what was folded again, because a transaction ended only in part, is there already.

use std::collections::BTreeSet;

use super::{Edge, EdgeError, Outgoing};
use crate::{
    fold::stage::DeadLetter,
    rules::{catalog::Catalog, hash_bytes},
};

/// How many positions of the dead letters topic are looked through for what is there already. What is folded again was
/// folded shortly before, unless the group has forgotten its positions: then older letters are there twice, under one id.
const LOOK_BACK: i64 = 10_000;

/// What every id stands in.
const ID: &str = "tierwatch_id";
const TIMESTAMP: &str = "tierwatch_timestamp";

/// Which of the newest dead letters are there, once that was asked.
#[derive(Debug, Default)]
pub(super) struct Letters {
    known: Option<BTreeSet<String>>,
}

impl Letters {
    /// Events may be folded that were folded before: what is there is asked again with the next letter.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// The records of those letters that are not there yet.
    pub(super) async fn records(
        &mut self,
        edge: &mut impl Edge,
        topic: &str,
        letters: &[DeadLetter],
        catalog: &Catalog,
    ) -> Result<Vec<Outgoing>, EdgeError> {
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        let known = match self.known.take() {
            Some(known) => known,
            None => there(edge, topic).await?,
        };
        let records = letters.iter().map(|letter| record(topic, letter, catalog));
        let records = records.filter(|record| {
            let headers = record.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
            !known.contains(&mark(headers, record.value.as_deref()))
        });
        let records = records.collect();
        self.known = Some(known);
        Ok(records)
    }
}

/// The marks of the newest letters.
async fn there(edge: &mut impl Edge, topic: &str) -> Result<BTreeSet<String>, EdgeError> {
    let place = (topic.to_owned(), 0);
    let (low, high) = edge.watermarks(&place).await?;
    let mut known = BTreeSet::new();
    edge.read(&place, super::from(low.max(high - LOOK_BACK)), &mut |message| {
        known.insert(mark(message.headers.iter().map(|(name, value)| (&**name, *value)), message.payload));
    })
    .await?;
    Ok(known)
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
