//! Whether the broker's group coordinators answer, asked without Tierwatch.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};

use crate::bed::POSITIONS_PARTITIONS;

/// How long a coordinator may take to note a position.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// True where the coordinator of each partition of `__consumer_offsets` notes a position for a group of its own.
pub(crate) fn all_answer(brokers: &str) -> bool {
    let (answers, answered) = mpsc::channel();
    for partition in 0..POSITIONS_PARTITIONS {
        let (brokers, answers) = (brokers.to_owned(), answers.clone());
        // Who gets no answer waits for as long as it takes, and ends with the process.
        thread::spawn(move || {
            let noted = note(&brokers, &group_of(partition));
            let _ = answers.send(noted.is_ok());
        });
    }
    let until = Instant::now() + ANSWER_MAX;
    (0..POSITIONS_PARTITIONS)
        .all(|_| answered.recv_timeout(until.saturating_duration_since(Instant::now())) == Ok(true))
}

fn note(brokers: &str, group: &str) -> Result<(), rdkafka::error::KafkaError> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create()?;
    let mut position = TopicPartitionList::new();
    position.add_partition_offset("tierwatch.partials", 0, Offset::Offset(0))?;
    consumer.commit(&position, CommitMode::Sync)
}

/// A group whose positions stand in this partition: groups are spread by the hash that Java has for texts.
fn group_of(partition: i32) -> String {
    let hash = |name: &str| name.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    let is_there =
        |name: &String| hash(name).unsigned_abs() % POSITIONS_PARTITIONS.unsigned_abs() == partition.unsigned_abs();
    (0..).map(|n| format!("probe-{n}")).find(is_there).expect("some number is there")
}
