//! A stretch of a topic, read once and committed nowhere: history for backtests, and what the store is to get again.

use std::{io, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use super::{
    Error, REQUEST,
    consumer::note_error,
    reader::{Client, until_stable},
};
use crate::panes::Millis;

/// One partition's part of the stretch, record by record.
pub struct Range {
    /// Made when the first record is asked for, and given up after the last: a topic may have many partitions.
    consumer: Option<Client>,
    settings: ClientConfig,
    topic: String,
    partition: i32,
    /// The next position, and one past the last.
    next: i64,
    end: i64,
}

/// A record of the stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub offset: i64,
    /// When it was appended, as the broker says.
    pub append_ms: Option<Millis>,
    /// Its value; empty where it has none.
    pub payload: Vec<u8>,
}

/// The partitions of a topic between two times of its records' timestamps; from the beginning and to the last committed
/// record where a time is not given. Partitions without such records are there too.
pub fn read(
    client: &ClientConfig,
    topic: &str,
    since: Option<Millis>,
    until: Option<Millis>,
) -> Result<Vec<Range>, Error> {
    let mut settings = settings(client, "tierwatch.backtest");
    // Records that vanish while it reads are an error: what rules say without them would be wrong.
    settings.set("auto.offset.reset", "error");
    stretch(&settings, &settings, topic, since, until)
}

/// The partitions of a topic from a time of its records' timestamps to their ends as they are now. Transactions that are
/// open now are waited for, and records that retention takes meanwhile are passed over.
pub fn read_to_the_end(client: &ClientConfig, topic: &str, since: Option<Millis>) -> Result<Vec<Range>, Error> {
    let mut settings = settings(client, "tierwatch.restore");
    settings.set("auto.offset.reset", "earliest");
    let mut ends = settings.clone();
    ends.set("isolation.level", "read_uncommitted");
    stretch(&settings, &ends, topic, since, None)
}

fn settings(client: &ClientConfig, group: &str) -> ClientConfig {
    let mut settings = client.clone();
    settings
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.message.max.bytes", "8388608")
        .set("queued.max.messages.kbytes", "8192");
    settings
}

/// The partitions, read with `settings`; where they end is asked with `ends`.
fn stretch(
    settings: &ClientConfig,
    ends: &ClientConfig,
    topic: &str,
    since: Option<Millis>,
    until: Option<Millis>,
) -> Result<Vec<Range>, Error> {
    let probe: BaseConsumer = ends.create().map_err(Error::Client)?;
    let metadata = probe.fetch_metadata(Some(topic), REQUEST)?;
    let count =
        metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
    if count == 0 {
        return Err(Error::NoTopic(topic.to_owned()));
    }
    let at = |partition: i32, time: Option<Millis>| -> Result<Option<i64>, Error> {
        let Some(time) = time else { return Ok(None) };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(time))?;
        let found = probe.offsets_for_times(list, REQUEST)?;
        let offset = found.elements().first().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset);
        Ok(offset.and_then(|offset| offset.to_raw()).filter(|offset| *offset >= 0))
    };
    let mut ranges = Vec::new();
    for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
        let (low, high) = probe.fetch_watermarks(topic, partition, REQUEST)?;
        let start = match since {
            Some(_) => at(partition, since)?.unwrap_or(high),
            None => low,
        };
        let end = at(partition, until)?.unwrap_or(high).min(high);
        let (topic, settings) = (topic.to_owned(), settings.clone());
        ranges.push(Range { consumer: None, settings, topic, partition, next: start, end });
    }
    Ok(ranges)
}

impl Range {
    /// The partition, for people.
    pub fn name(&self) -> String {
        format!("{}[{}]", self.topic, self.partition)
    }

    /// Topic and partition.
    pub fn place(&self) -> (&str, i32) {
        (&self.topic, self.partition)
    }

    /// The position of the next record, or before it.
    pub fn next_position(&self) -> i64 {
        self.next
    }

    /// How many positions are left.
    pub fn len(&self) -> u64 {
        u64::try_from(self.end - self.next).unwrap_or(0)
    }

    /// True where nothing is left.
    pub fn is_empty(&self) -> bool {
        self.next >= self.end
    }

    /// The next record; `None` at the end.
    pub fn record(&mut self) -> Result<Option<Record>, Error> {
        let found = if self.next < self.end { self.poll()? } else { None };
        match &found {
            Some(record) => self.next = record.offset + 1,
            None => {
                self.next = self.end;
                self.consumer = None;
            }
        }
        Ok(found)
    }

    fn poll(&mut self) -> Result<Option<Record>, Error> {
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            none => {
                let consumer = Client::new(&self.settings)?;
                until_stable(&consumer, &self.topic, self.partition, self.end)?;
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(&self.topic, self.partition, Offset::Offset(self.next))?;
                consumer.assign(&list)?;
                none.insert(consumer)
            }
        };
        loop {
            match consumer.poll(Duration::from_millis(500)) {
                None => {}
                Some(Ok(message)) if message.offset() >= self.end => return Ok(None),
                Some(Ok(message)) => {
                    return Ok(Some(Record {
                        offset: message.offset(),
                        append_ms: message.timestamp().to_millis(),
                        payload: message.payload().unwrap_or_default().to_vec(),
                    }));
                }
                // What is left are markers, and records of transactions that were aborted.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(error)) => note_error(&error)?,
            }
        }
    }
}

impl Iterator for Range {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.record().map_err(|error| io::Error::other(error.to_string())).transpose()?;
        Some(record.map(|record| record.payload))
    }
}
