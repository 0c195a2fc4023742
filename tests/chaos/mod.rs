//! Chaos on the real parts: a real Kafka broker, the real ClickHouse engine and three instances of the binary, while a
//! seeded schedule kills, stalls, stops, adds and removes instances, and takes away the broker and the database. In the
//! end every reading is the one of the batch query, bit for bit, and each reading, alert and dead letter is there once.
//!
//! The test in the suite is short. `make chaos` is the long form; these variables say how long:
//!
//! | variable | what |
//! |---|---|
//! | `CHAOS_EVENTS` | how many events at least |
//! | `CHAOS_FAULTS` | how many faults; with none, events come as fast as the broker takes them |
//! | `CHAOS_SEED` | what happens and in which order; printed, and another one each time unless it is set |
//! | `CHAOS_RULES` | `1`: rule files change in the middle, too |
//! | `CHAOS_KINDS` | only these kinds of faults, as `BrokerKilled,Stalled`; `Kind` has all names |
//! | `CHAOS_BINARY` | another binary than the one just built |
//! | `CHAOS_REPORT` | where the report is written to |
//!
//! Kinds and order of faults, who is hit and for how long follow from the seed; what else happens at that moment does
//! not. Where something is wrong, events and all logs stay, and the failure says where.

mod coordinators;
mod events;
mod faults;
mod oracle;
mod report;
mod watch;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tierwatch::{
    files,
    rules::{RuleSet, Settings},
};

use self::{
    events::Feed,
    faults::{Fleet, schedule},
    report::Report,
    watch::Watch,
};
use crate::{
    bed::{ClickHouse, Kafka},
    end_to_end::{now, source_topics, unfinished, wait_for},
    simulator::random::Random,
};

pub(crate) const PARTITIONS: i32 = 4;
const EVENTS: usize = 60_000;
const FAULTS: usize = 3;
/// Longer than any outage, so that no silence of the producer is taken for silence of the world: its events would be
/// late.
const IDLE_AFTER: &str = "5m";
/// How long judging may take to go on after a fault is over.
const RECOVERY_MAX: Duration = Duration::from_secs(120);
/// How long a broker is waited for that has read its groups by half, before it is started again.
const NO_ANSWER_MAX: Duration = Duration::from_secs(30);

/// A rule with a window end each second, to see by its progress when judging stands still. What changes of it when rules
/// change is its levels, which are never reached, or its fold, which counts the same as before.
const PROBE: &str = r#"/*
name: chaos_probe
title: Requests of each second
tier: network
unit: count
owner: tests
levels: {warning: value > LIMIT}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value, sum(duration_ms) AS total_ms
FROM hop(requests, event_time, INTERVAL '1 second', INTERVAL '2 seconds')
WHERE duration_ms > -BOUND
GROUP BY service
"#;
/// A rule of a table that there is not.
const BROKEN: &str =
    "SELECT count(*) AS value FROM hop(nothing, event_time, INTERVAL '1 second', INTERVAL '2 seconds')";

/// How the run is sized.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) events: usize,
    pub(crate) faults: usize,
    pub(crate) rules: bool,
    pub(crate) kinds: String,
    pub(crate) binary: PathBuf,
    /// Where logs, rules and events are.
    pub(crate) folder: PathBuf,
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} cannot be read")))
}

impl Plan {
    fn of_environment() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = variable("CHAOS_SEED").unwrap_or(clock.as_secs() % 1_000_000);
        Self {
            seed,
            events: variable("CHAOS_EVENTS").unwrap_or(EVENTS),
            faults: variable("CHAOS_FAULTS").unwrap_or(FAULTS),
            kinds: variable("CHAOS_KINDS").unwrap_or_default(),
            rules: variable::<u8>("CHAOS_RULES") == Some(1),
            binary: variable("CHAOS_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_tierwatch").into()),
            folder: env::temp_dir().join(format!("tierwatch-chaos-{seed}-{}", std::process::id())),
        }
    }

    pub(crate) fn rules_folder(&self) -> PathBuf {
        self.folder.join("rules")
    }

    /// Changes the rule files for the nth time, and says how: other limits, another fold, or a file that is broken, which goes
    /// with the next change.
    pub(crate) fn change_rules(&self, n: usize) -> &'static str {
        let broken = self.rules_folder().join("broken.sql");
        let (what, name, text) = match n % 3 {
            2 => ("a broken file", "broken.sql", BROKEN.to_owned()),
            other => {
                // Not there the first time.
                let _ = fs::remove_file(&broken);
                let (limit, bound) = (1_000_000 + n, 1 + n.div_ceil(3));
                let text = PROBE.replace("LIMIT", &limit.to_string()).replace("BOUND", &bound.to_string());
                (if other == 1 { "another fold" } else { "other limits" }, "chaos_probe.sql", text)
            }
        };
        // At once or not at all: an instance may read at any time.
        let whole = self.folder.join(name);
        fs::write(&whole, text).expect("the rule is written");
        fs::rename(&whole, self.rules_folder().join(name)).expect("the rule is put in place");
        what
    }
}

/// What is real beside the instances.
struct Bed {
    kafka: Kafka,
    clickhouse: ClickHouse,
}

#[test]
fn what_is_said_is_right_and_said_once_whatever_happens() {
    let plan = Plan::of_environment();
    println!("CHAOS_SEED={}: logs in {}", plan.seed, plan.folder.display());
    let mut bed = Bed { kafka: Kafka::start(), clickhouse: ClickHouse::start() };
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&plan, &mut bed)));
    if let Err(failure) = outcome {
        for (name, logs) in [("kafka", bed.kafka.logs()), ("clickhouse", bed.clickhouse.logs())] {
            for (number, log) in logs.iter().enumerate() {
                let _ = fs::copy(log, plan.folder.join(format!("{name}-{number}.log")));
            }
        }
        let _ = Command::new("cp").arg("-r").arg(bed.kafka.data()).arg(plan.folder.join("kafka-data")).status();
        eprintln!("CHAOS_SEED={} failed; events, rules and logs are in {}", plan.seed, plan.folder.display());
        resume_unwind(failure);
    }
    fs::remove_dir_all(&plan.folder).expect("what is no longer needed can be removed");
}

fn run(plan: &Plan, bed: &mut Bed) {
    fs::create_dir_all(plan.rules_folder()).expect("the folder can be made");
    for entry in fs::read_dir("tests/end_to_end/rules").expect("the rules are there") {
        let entry = entry.expect("a rule");
        fs::copy(entry.path(), plan.rules_folder().join(entry.file_name())).expect("the rule is copied");
    }
    plan.change_rules(0);
    let rules = files::read(&[plan.rules_folder()], Path::new("schemas/tables"), Path::new("sql/reference"))
        .expect("the files are there");
    let (set, problems) = RuleSet::compile(rules.clone(), Settings { idle_after_ms: None });
    assert!(!RuleSet::broken(&problems), "{problems:?}");

    let client = source_topics(&bed.kafka, PARTITIONS);
    let mut random = Random::new(plan.seed);
    let kinds = schedule(&mut random, plan.faults, plan.rules, &plan.kinds);
    let mut fleet = Fleet::new(plan, &bed.kafka, &bed.clickhouse);
    let watch = Watch::start(&bed.kafka.brokers);
    let feed = Feed::start(plan, client, kinds.len());
    for _ in 0..3 {
        fleet.add(plan, &bed.kafka, &bed.clickhouse);
    }
    let began = Instant::now();
    recovered(&mut fleet, &watch, &mut bed.kafka, now(), "the first readings");
    println!("{:>6.1} s: the first readings", began.elapsed().as_secs_f64());
    assert!(coordinators::all_answer(&bed.kafka.brokers), "a broker that is well answers");

    let (mut injected, mut restarted) = (Vec::new(), 0);
    for (number, kind) in kinds.into_iter().enumerate() {
        let mut fault = fleet.inject(plan, kind, &mut random, &mut bed.kafka, &mut bed.clickhouse);
        let what = format!("recovery from {}", fault.what);
        if recovered(&mut fleet, &watch, &mut bed.kafka, fault.over_ms, &what) {
            fault.what += ", and started again as it answered no groups";
            restarted += 1;
        }
        println!(
            "{:>6.1} s: {:>3}. {}, judging again everywhere {:.1} s after its end; {} events",
            began.elapsed().as_secs_f64(),
            number + 1,
            fault.what,
            (now() - fault.over_ms) as f64 / 1000.0,
            feed.sent(),
        );
        injected.push(fault);
        feed.faults_left(plan.faults - number - 1);
        thread::sleep(Duration::from_millis(random.between(0, 2_000).unsigned_abs()));
    }
    let written = feed.finish();
    let sent_by = Instant::now();
    let until = written.until();
    let logs = fleet.logs();
    let logs: Vec<&Path> = logs.iter().map(PathBuf::as_path).collect();
    let patience = Duration::from_secs(180) + began.elapsed();
    wait_for("the last window", &logs, patience, || {
        fleet.all_run();
        unfinished(&bed.clickhouse, &set, until)
    });
    let caught_up = sent_by.elapsed();
    println!("{:>6.1} s: all {} events judged", began.elapsed().as_secs_f64(), written.count());
    let took = began.elapsed();
    let ended = now();
    let mut report = Report::new(plan, &written, &injected, &watch.pauses(&injected, ended));
    report.times(took, caught_up);
    report.restarted(restarted);

    let judged = oracle::compare(&rules, &set, &written, bed, until);
    report.judged(judged);
    fleet.end();
    println!("{:>6.1} s: compared\n\n{report}", began.elapsed().as_secs_f64());
    if let Some(path) = variable::<PathBuf>("CHAOS_REPORT") {
        fs::write(&path, report.to_string()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Waits until all instances are members again, and every partition is judged again. Answers whether the broker had to be
/// started again for that, because a coordinator of it was broken.
fn recovered(fleet: &mut Fleet, watch: &Arc<Watch>, kafka: &mut Kafka, since_ms: i64, what: &str) -> bool {
    let (began, mut again) = (Instant::now(), false);
    let logs = fleet.logs();
    let logs: Vec<&Path> = logs.iter().map(PathBuf::as_path).collect();
    wait_for(what, &logs, RECOVERY_MAX, || {
        fleet.all_run();
        if !again && began.elapsed() > NO_ANSWER_MAX && !coordinators::all_answer(&kafka.brokers) {
            kafka.end();
            kafka.restart();
            again = true;
        }
        let silent = watch.silent_since(since_ms);
        if !silent.is_empty() {
            return Some(format!("no readings in partitions {silent:?}"));
        }
        fleet.missing_members()
    });
    again
}
