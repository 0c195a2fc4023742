//! Many seeds on all cores, and what they came to.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Report;

/// A number in an environment variable.
pub(super) fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// How many seeds of one batch may fail until it ends.
const FAILURES_MAX: usize = 20;

/// How often a long batch says how far it is.
const PROGRESS: Duration = Duration::from_secs(60);

/// What a batch of seeds came to.
#[derive(Default)]
struct Tally {
    seeds: u64,
    happened: BTreeMap<&'static str, usize>,
    readings: usize,
    breaches: usize,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, seed: u64, outcome: Result<Report, String>) {
        self.seeds += 1;
        match outcome {
            Ok(report) => {
                report.happened.into_iter().for_each(|(what, times)| *self.happened.entry(what).or_default() += times);
                self.readings += report.readings;
                self.breaches += report.breaches;
            }
            Err(reason) => {
                let failure = format!("SIMULATOR_SEED={seed}: {reason}");
                println!("{failure}");
                self.failures.push(failure);
            }
        }
    }
}

/// Plays many seeds on all cores, until so many are done, so much time is over, or too many have failed.
pub(super) fn batch(
    first: u64,
    seeds: u64,
    seconds: u64,
    play: impl Fn(u64) -> Result<Report, String> + Sync,
) -> String {
    let next = AtomicU64::new(0);
    let tally: Mutex<Tally> = Mutex::default();
    let began = Instant::now();
    let told = Mutex::new(began);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = first.wrapping_add(next.fetch_add(1, Ordering::SeqCst));
                    let over = began.elapsed().as_secs() >= seconds || seed.wrapping_sub(first) >= seeds;
                    if over || tally.lock().unwrap().failures.len() >= FAILURES_MAX {
                        return;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| play(seed)));
                    let mut tally = tally.lock().unwrap();
                    tally.add(seed, outcome.unwrap_or_else(|_| Err("it panicked".to_owned())));
                    let mut told = told.lock().unwrap();
                    if told.elapsed() >= PROGRESS {
                        *told = Instant::now();
                        println!(
                            "{} seeds in {} s, {} failed",
                            tally.seeds,
                            began.elapsed().as_secs(),
                            tally.failures.len()
                        );
                    }
                }
            });
        }
    });
    let Tally { seeds, happened, readings, breaches, failures } = tally.into_inner().unwrap();
    let mut text = format!(
        "{seeds} seeds in {} s: {readings} readings and {breaches} breach events as they should be, through",
        began.elapsed().as_secs()
    );
    for (what, times) in happened {
        write!(text, " {times} × {what},").unwrap();
    }
    assert!(failures.is_empty(), "{} of {text}\n{}", failures.len(), failures.join("\n"));
    text
}
