//! What fuzzers once broke stays mended, and each of them is run for a moment: over its first inputs as they are, and
//! mutated with a seed of its own. `tests/fuzz/run` runs them for longer, and looks where it gets.

#[path = "fuzz/targets.rs"]
pub(crate) mod targets;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use targets::Target;

/// No mutation of a target begins after so long, so that slow machines are not waited for.
const MUTATING: Duration = Duration::from_secs(1);
/// How many mutations of each seed there are at most.
const MUTATIONS: usize = 300;

/// Runs one input; says which it was where it panics.
fn run(target: &Target, name: &str, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let kept = std::env::temp_dir().join(format!("{}-{}", target.name, name.replace(['/', ' '], "_")));
        fs::write(&kept, input).unwrap();
        panic!("{} fails on {name}: the input is in {}", target.name, kept.display());
    }
}

/// A small generator of numbers (xorshift*); seeded, so that a failure comes again.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % below.max(1)
    }

    /// A few changes of an input, as fuzzers make them.
    fn mutate(&mut self, input: &[u8], other: &[u8], words: &[String]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.next(3) {
            let at = self.next(bytes.len());
            let to = (at + 1 + self.next(8)).min(bytes.len());
            match self.next(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.next(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'9', b'-'][self.next(7)],
                2 => drop(bytes.drain(at..to)),
                3 => bytes.truncate(at),
                4 => drop(bytes.splice(at..to, words[self.next(words.len())].bytes())),
                5 => drop(bytes.splice(at..at, words[self.next(words.len())].bytes())),
                6 => {
                    let copied = bytes[at..to].repeat(1 + self.next(3));
                    bytes.splice(at..at, copied);
                }
                _ => {
                    let from = self.next(other.len());
                    let piece = &other[from..(from + 1 + self.next(32)).min(other.len())];
                    bytes.splice(at..to, piece.iter().copied());
                }
            }
        }
        bytes
    }
}

fn smoke(name: &str) {
    let target = targets::ALL.iter().find(|target| target.name == name).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions").join(name);
    let mut files: Vec<_> =
        fs::read_dir(kept).map(|files| files.map(|file| file.unwrap().path()).collect()).unwrap_or_default();
    files.sort();
    for file in &files {
        run(target, &file.file_name().unwrap().to_string_lossy(), &fs::read(file).unwrap());
    }
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    let words: Vec<String> = targets::words().into_iter().collect();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let begun = Instant::now();
    for round in 0..MUTATIONS {
        for (seed, input) in &seeds {
            if begun.elapsed() > MUTATING {
                return;
            }
            let other = &seeds[numbers.next(seeds.len())].1;
            run(target, &format!("{seed}.{round}"), &numbers.mutate(input, other, &words));
        }
    }
}

#[test]
fn decoder() {
    smoke("decoder");
}

#[test]
fn rules() {
    smoke("rules");
}

#[test]
fn rule_test() {
    smoke("rule_test");
}

#[test]
fn partials() {
    smoke("partials");
}

#[test]
fn state() {
    smoke("state");
}

#[test]
fn readings() {
    smoke("readings");
}

#[test]
fn config() {
    smoke("config");
}

#[test]
fn every_kept_input_has_its_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(targets::ALL.iter().any(|target| target.name == name), "there is no fuzzer {name}");
    }
}
