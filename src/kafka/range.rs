//! A stretch of a topic, read once and committed nowhere: history for backtests.

use std::{io, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use super::{Error, REQUEST, consumer::note_error};
use crate::panes::Millis;

/// One partition's part of the stretch, record by record.
pub struct Range {
    consumer: BaseConsumer,
    topic: String,
    partition: i32,
    /// The next position, and one past the last.
    next: i64,
    end: i64,
}

/// The partitions of a topic between two times of its records' timestamps; from the beginning and to the end where a time
/// is not given. Partitions without such records are there too.
pub fn read(
    client: &ClientConfig,
    topic: &str,
    since: Option<Millis>,
    until: Option<Millis>,
) -> Result<Vec<Range>, Error> {
    let mut settings = client.clone();
    settings
        .set("group.id", "tierwatch.backtest")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "8192");
    let probe: BaseConsumer = settings.create().map_err(Error::Client)?;
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
        let end = at(partition, until)?.unwrap_or(high);
        let consumer: BaseConsumer = settings.create().map_err(Error::Client)?;
        if start < end {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Offset(start))?;
            consumer.assign(&list)?;
        }
        ranges.push(Range { consumer, topic: topic.to_owned(), partition, next: start, end });
    }
    Ok(ranges)
}

impl Range {
    /// The partition, for people.
    pub fn name(&self) -> String {
        format!("{}[{}]", self.topic, self.partition)
    }

    /// How many positions are left.
    pub fn len(&self) -> u64 {
        u64::try_from(self.end - self.next).unwrap_or(0)
    }

    /// True where nothing is left.
    pub fn is_empty(&self) -> bool {
        self.next >= self.end
    }
}

impl Iterator for Range {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.end {
            match self.consumer.poll(Duration::from_millis(500)) {
                None => {}
                Some(Ok(message)) => {
                    if message.offset() >= self.end {
                        break;
                    }
                    self.next = message.offset() + 1;
                    return Some(Ok(message.payload().unwrap_or_default().to_vec()));
                }
                // What is left are markers, or transactions that were aborted or are not over yet.
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => {
                    if let Err(error) = note_error(&error) {
                        return Some(Err(io::Error::other(error.to_string())));
                    }
                }
            }
        }
        self.next = self.end;
        None
    }
}
