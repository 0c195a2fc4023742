//! Somebody who reads the readings topic all the time and notes when time went on in which partition: where nothing
//! comes although each second there is a window to judge, judging stands still.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use tierwatch::{judge::output::ReadingsHeader, partial::open};

use super::{
    PARTITIONS,
    faults::{Fault, Kind},
};
use crate::end_to_end::now;

/// When the probe's windows went on in a partition, by the wall clock.
#[derive(Default)]
pub(crate) struct Watch {
    seen: Mutex<BTreeMap<i32, Vec<i64>>>,
    stop: AtomicBool,
}

impl Watch {
    /// Begins to read; the topic must be there.
    pub(crate) fn start(brokers: &str) -> Arc<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "chaos.watch")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("reconnect.backoff.max.ms", "200")
            .set("fetch.wait.max.ms", "50")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset("tierwatch.readings", partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("assigned");
        let watch = Arc::new(Self::default());
        let shared = Arc::downgrade(&watch);
        thread::spawn(move || {
            let mut latest: BTreeMap<i32, i64> = BTreeMap::new();
            while let Some(watch) = shared.upgrade() {
                if watch.stop.load(Ordering::Relaxed) {
                    break;
                }
                // Errors are the broker's absence, which is what is being watched.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let Ok((header, _)) = open::<ReadingsHeader>(message.payload().unwrap_or_default()) else { continue };
                let Some((until, _)) = header.progress.get("chaos_probe") else { continue };
                let latest = latest.entry(message.partition()).or_insert(i64::MIN);
                if *until > *latest {
                    *latest = *until;
                    watch.seen.lock().unwrap().entry(message.partition()).or_default().push(now());
                }
            }
        });
        watch
    }

    /// Partitions in which time has not gone on since.
    pub(crate) fn silent_since(&self, since_ms: i64) -> Vec<i32> {
        let seen = self.seen.lock().unwrap();
        let went_on = |partition: &i32| seen.get(partition).and_then(|times| times.last()) > Some(&since_ms);
        (0..PARTITIONS).filter(|partition| !went_on(partition)).collect()
    }

    /// For each fault the longest time, in milliseconds, for which some partition stood still between it and the next
    /// one.
    pub(crate) fn pauses(&self, faults: &[Fault], ended_ms: i64) -> Vec<(Kind, i64)> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.seen.lock().unwrap();
        let until = |at: usize| faults.get(at + 1).map_or(ended_ms, |next| next.at_ms);
        let pause = |(at, fault): (usize, &Fault)| {
            let longest = |times: &Vec<i64>| {
                let during = times.windows(2).filter(|pair| pair[1] > fault.at_ms && pair[0] < until(at));
                during.map(|pair| pair[1].min(until(at)) - pair[0].max(fault.at_ms)).max().unwrap_or_default()
            };
            (fault.kind, seen.values().map(longest).max().unwrap_or_default())
        };
        faults.iter().enumerate().map(pause).collect()
    }
}
