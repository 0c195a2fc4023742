//! Events by the wall clock, from a thread of its own. Each goes to Kafka and to the file of its partition, which is
//! what the oracle and the backtest read in the end.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use tierwatch::{backtest::Input, panes::last_end_until};

use super::{PARTITIONS, Plan};
use crate::end_to_end::{Numbers, Sent, TABLES, event, monsters, now};

/// The time of an event that has none.
pub(crate) const GARBAGE: i64 = i64::MIN;
/// What a fault and its recovery take, until it is known.
const FAULT_SECONDS: f64 = 8.0;
/// Of each minute, from when until when payments fail.
const TROUBLE_MS: std::ops::Range<i64> = 8_000..24_000;

/// The events of one partition: a file of lines, and their times.
pub(crate) struct Written {
    pub(crate) table: usize,
    pub(crate) partition: i32,
    pub(crate) path: PathBuf,
    pub(crate) times: Vec<i64>,
}

/// All events that were sent.
pub(crate) struct AllWritten {
    pub(crate) parts: Vec<Written>,
    /// For how long they came.
    pub(crate) span: Duration,
}

impl AllWritten {
    pub(crate) fn count(&self) -> usize {
        self.parts.iter().map(|part| part.times.len()).sum()
    }

    /// Windows that end until then are closed by the events themselves, in every partition.
    pub(crate) fn until(&self) -> i64 {
        let latest = self.parts.iter().map(|part| part.times.iter().copied().max().unwrap_or(GARBAGE)).min();
        last_end_until(latest.expect("there are events") - 5_001, 10_000)
    }

    /// The first event of a table.
    pub(crate) fn first(&self, table: &str) -> i64 {
        let times = self.parts.iter().filter(|part| TABLES[part.table] == table).flat_map(|part| part.times.iter());
        times.copied().filter(|time| *time != GARBAGE).min().expect("there are events")
    }

    /// The same events as the files of a backtest.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        let input = |part: &Written| Input {
            table: TABLES[part.table].to_owned(),
            name: part.path.display().to_string(),
            lines: Box::new(lines(&part.path)),
        };
        self.parts.iter().map(input).collect()
    }

    /// The ids of the dead letters that there must be.
    pub(crate) fn garbage(&self) -> impl Iterator<Item = String> {
        self.parts.iter().flat_map(|part| {
            let bad = part.times.iter().enumerate().filter(|(_, time)| **time == GARBAGE);
            bad.map(|(offset, _)| format!("{}/{}/{offset}", TABLES[part.table], part.partition))
        })
    }
}

/// The lines of a file of events.
pub(crate) fn lines(path: &Path) -> impl Iterator<Item = std::io::Result<Vec<u8>>> + use<> {
    BufReader::new(File::open(path).expect("the events are there")).split(b'\n')
}

#[derive(Default)]
struct Shared {
    sent: AtomicUsize,
    /// Events in a second.
    rate: AtomicU64,
    finish: AtomicBool,
    abandon: AtomicBool,
}

/// The thread that sends.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    events: usize,
    faults: usize,
    began: Instant,
    thread: Option<JoinHandle<AllWritten>>,
}

/// Counts what has arrived, and keeps the first failure.
#[derive(Default, Clone)]
struct Deliveries(Arc<(AtomicUsize, Mutex<Option<KafkaError>>)>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => _ = self.0.0.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => _ = self.0.1.lock().unwrap().get_or_insert(error.clone()),
        }
    }
}

impl Feed {
    pub(crate) fn start(plan: &Plan, mut client: ClientConfig, faults: usize) -> Self {
        // What cannot be sent now is sent later, in the same order, for as long as it takes.
        client.set("message.timeout.ms", "0").set("reconnect.backoff.max.ms", "500").set("linger.ms", "5");
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let (shared, folder, seed, events) = (Arc::clone(&shared), plan.folder.clone(), plan.seed, plan.events);
            move || send_all(&shared, &client, &folder, seed, events)
        });
        let feed = Self { shared, events: plan.events, faults, began: Instant::now(), thread: Some(thread) };
        feed.faults_left(faults);
        feed
    }

    pub(crate) fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Sets the pace so that events last for as long as faults do.
    pub(crate) fn faults_left(&self, left: usize) {
        if self.faults == 0 {
            return self.shared.rate.store(u64::MAX, Ordering::Relaxed);
        }
        let done = self.faults - left;
        let each = if done < 2 { FAULT_SECONDS } else { self.began.elapsed().as_secs_f64() / done as f64 };
        let seconds = (left as f64 * each).max(3.0);
        let rate = (self.events.saturating_sub(self.sent()) as f64 / seconds).max(200.0);
        self.shared.rate.store(rate.ceil() as u64, Ordering::Relaxed);
    }

    /// Sends what is left, and waits until the broker has all of it.
    pub(crate) fn finish(mut self) -> AllWritten {
        self.shared.finish.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it runs");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.abandon.store(true, Ordering::Relaxed);
    }
}

struct Sender {
    producer: BaseProducer<Deliveries>,
    files: Vec<BufWriter<File>>,
    parts: Vec<Written>,
}

impl Sender {
    fn new(client: &ClientConfig, deliveries: Deliveries, folder: &Path) -> Self {
        let producer = client.create_with_context(deliveries).expect("a producer");
        let (mut files, mut parts) = (Vec::new(), Vec::new());
        for (table, name) in TABLES.iter().enumerate() {
            for partition in 0..PARTITIONS {
                let path = folder.join(format!("{name}-{partition}.ndjson"));
                files.push(BufWriter::new(File::create(&path).expect("events can be written")));
                parts.push(Written { table, partition, path, times: Vec::new() });
            }
        }
        Self { producer, files, parts }
    }

    fn send(&mut self, time: i64, sent: &Sent) {
        loop {
            let record: BaseRecord<'_, (), str> =
                BaseRecord::to(TABLES[sent.table]).partition(sent.partition).payload(sent.payload.as_str());
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => panic!("an event cannot be sent: {error}"),
            }
        }
        let at = sent.table * usize::try_from(PARTITIONS).unwrap() + usize::try_from(sent.partition).unwrap();
        self.files[at].write_all(sent.payload.as_bytes()).expect("events can be written");
        self.files[at].write_all(b"\n").expect("events can be written");
        self.parts[at].times.push(if sent.garbage { GARBAGE } else { time });
    }
}

fn send_all(shared: &Shared, client: &ClientConfig, folder: &Path, seed: u64, events: usize) -> AllWritten {
    let deliveries = Deliveries::default();
    let mut sender = Sender::new(client, deliveries.clone(), folder);
    let mut numbers = Numbers(seed);
    let (mut n, mut due) = (0, 0.0);
    let start = now();
    let (began, mut before) = (Instant::now(), Instant::now());
    while !shared.abandon.load(Ordering::Relaxed) && (n < events || !shared.finish.load(Ordering::Relaxed)) {
        let rate = shared.rate.load(Ordering::Relaxed);
        let fast = rate == u64::MAX;
        due += if fast { 2_000.0 } else { rate as f64 * before.elapsed().as_secs_f64() };
        before = Instant::now();
        let at = now();
        let trouble = TROUBLE_MS.contains(&((at - start) % 60_000));
        while due >= 1.0 {
            let (time, sent) = event(&mut numbers, n, at, trouble);
            sender.send(time, &sent);
            if n == events / 2 {
                monsters().iter().for_each(|monster| sender.send(GARBAGE, monster));
            }
            n += 1;
            due -= 1.0;
        }
        shared.sent.store(n, Ordering::Relaxed);
        sender.producer.poll(Duration::ZERO);
        assert!(deliveries.0.1.lock().unwrap().is_none(), "{:?}", deliveries.0.1);
        if !fast {
            thread::sleep(Duration::from_millis(10));
        }
    }
    let span = began.elapsed();
    sender.files.iter_mut().for_each(|file| file.flush().expect("events can be written"));
    let all = AllWritten { parts: sender.parts, span };
    if !shared.abandon.load(Ordering::Relaxed) {
        sender.producer.flush(Duration::from_secs(120)).expect("the broker takes the events");
        let arrived = deliveries.0.0.load(Ordering::Relaxed);
        assert_eq!(arrived, all.count(), "each event has arrived: {:?}", deliveries.0.1);
    }
    all
}
