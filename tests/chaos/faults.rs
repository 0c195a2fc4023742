//! What goes wrong: kinds of faults, their order, and the instances that they hit.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};

use super::{IDLE_AFTER, Plan};
use crate::{
    bed::{ClickHouse, Kafka},
    end_to_end::{Instance, command_of, now, start, wait_for},
    simulator::random::Random,
};

/// The session timeout of the instances, in milliseconds.
const SESSION_MS: i64 = 3_000;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// An instance is killed, and started again after a while.
    Killed,
    /// An instance stands still for longer than its session, and wakes up.
    Stalled,
    /// An instance is asked to end, and started again.
    Restarted,
    /// An instance more.
    Added,
    /// An instance is asked to end, and stays away.
    Removed,
    /// The broker is killed, and started again with its data.
    BrokerKilled,
    /// The broker is asked to end, and started again with its data.
    BrokerRestarted,
    /// ClickHouse is gone for a while; sometimes for long.
    StoreGone,
    /// A rule file changes.
    RulesChanged,
}

impl Kind {
    const ALWAYS: [Kind; 8] = [
        Kind::Killed,
        Kind::Stalled,
        Kind::Restarted,
        Kind::Added,
        Kind::Removed,
        Kind::BrokerKilled,
        Kind::BrokerRestarted,
        Kind::StoreGone,
    ];

    /// What the report calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Killed => "instance killed (SIGKILL), back after up to 4 s",
            Kind::Stalled => "instance stalled (SIGSTOP) for 4 to 8 s, then awake",
            Kind::Restarted => "instance restarted (SIGTERM)",
            Kind::Added => "instance added",
            Kind::Removed => "instance removed (SIGTERM)",
            Kind::BrokerKilled => "broker killed (SIGKILL), started again after up to 3 s",
            Kind::BrokerRestarted => "broker restarted (SIGTERM)",
            Kind::StoreGone => "ClickHouse gone for 2 to 8 s, every eighth time for 125 s",
            Kind::RulesChanged => "rule files changed: a fold, a broken file, limits, in turn",
        }
    }
}

/// The kinds of so many faults: each kind once, in any order, then each once more, and so on. `only` names the kinds
/// that count, where not all do.
pub(crate) fn schedule(random: &mut Random, count: usize, rules: bool, only: &str) -> Vec<Kind> {
    let all = Kind::ALWAYS.into_iter().chain(rules.then_some(Kind::RulesChanged));
    let all: Vec<Kind> =
        all.filter(|kind| only.is_empty() || only.split(',').any(|name| name == format!("{kind:?}"))).collect();
    assert!(!all.is_empty(), "no kind of fault is called {only}");
    let mut kinds = Vec::new();
    while kinds.len() < count {
        let mut deck = all.clone();
        while !deck.is_empty() {
            kinds.push(deck.swap_remove(random.below(deck.len())));
        }
    }
    kinds.truncate(count);
    kinds
}

/// A fault that was injected.
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) at_ms: i64,
    /// When all that was taken away was back.
    pub(crate) over_ms: i64,
}

/// The instances.
pub(crate) struct Fleet {
    running: BTreeMap<&'static str, Instance>,
    starts: usize,
    /// Logs of all instances that ever ran.
    logs: Vec<PathBuf>,
    groups: BaseConsumer,
    /// How often rules have changed.
    changes: usize,
    /// How often ClickHouse was gone.
    outages: usize,
}

/// Every which outage of ClickHouse is a long one, and how long that is, in milliseconds.
const LONG_EVERY: usize = 8;
const LONG_MS: i64 = 125_000;

const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];

impl Fleet {
    /// Makes topics and tables; nobody runs yet.
    pub(crate) fn new(plan: &Plan, kafka: &Kafka, clickhouse: &ClickHouse) -> Self {
        let migrated = command_of(&plan.binary, kafka, clickhouse).arg("migrate").output().expect("the binary starts");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let groups = ClientConfig::new()
            .set("bootstrap.servers", &kafka.brokers)
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .expect("a client");
        Self { running: BTreeMap::new(), starts: 0, logs: Vec::new(), groups, changes: 0, outages: 0 }
    }

    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        self.running.values().map(|instance| instance.log.clone()).collect()
    }

    fn launch(&mut self, name: &'static str, plan: &Plan, kafka: &Kafka, clickhouse: &ClickHouse) {
        self.starts += 1;
        let mut command = command_of(&plan.binary, kafka, clickhouse);
        command
            .env("TIERWATCH__KAFKA__INSTANCE", name)
            .env("TIERWATCH__RULES__PATH", plan.rules_folder())
            .env("TIERWATCH__FOLD__IDLE_AFTER", IDLE_AFTER);
        let instance = start(command, &plan.folder, &format!("{:03}-{name}", self.starts));
        self.logs.push(instance.log.clone());
        self.running.insert(name, instance);
    }

    /// Starts one more.
    pub(crate) fn add(&mut self, plan: &Plan, kafka: &Kafka, clickhouse: &ClickHouse) -> &'static str {
        let name = NAMES.into_iter().find(|name| !self.running.contains_key(name)).expect("a free name");
        self.launch(name, plan, kafka, clickhouse);
        name
    }

    /// Nobody who runs may have ended by himself.
    pub(crate) fn all_run(&mut self) {
        for (name, instance) in &mut self.running {
            if let Some(status) = instance.process.try_wait().expect("it can be asked") {
                panic!(
                    "instance {name} ended by itself, {status}; the end of {}:\n{}",
                    instance.log.display(),
                    tail(&instance.log)
                );
            }
        }
    }

    /// Groups in which not everybody who runs is a member.
    pub(crate) fn missing_members(&self) -> Option<String> {
        for stage in ["fold", "judge", "store"] {
            let group = format!("tierwatch.{stage}");
            let list = match self.groups.fetch_group_list(Some(&group), Duration::from_secs(3)) {
                Ok(list) => list,
                Err(error) => return Some(format!("{group} cannot be asked for: {error}")),
            };
            let found = list.groups().iter().find(|found| found.name() == group);
            let (members, state) = found.map_or((0, "unknown"), |found| (found.members().len(), found.state()));
            if members != self.running.len() || state != "Stable" {
                return Some(format!("{group} is {state} with {members} members of {}", self.running.len()));
            }
        }
        None
    }

    fn anybody(&self, random: &mut Random) -> &'static str {
        self.running.keys().nth(random.below(self.running.len())).expect("somebody runs")
    }

    /// Asks an instance to end, which it does in good order.
    fn leave(&mut self, name: &str) {
        let mut instance = self.running.remove(name).expect("it runs");
        signal("TERM", &instance);
        let log = instance.log.clone();
        wait_for("a clean end", &[&log], Duration::from_secs(30), || {
            let ended: Option<ExitStatus> = instance.process.try_wait().expect("it can be asked");
            assert!(ended.is_none_or(|status| status.success()), "{ended:?}: {}", tail(&log));
            ended.is_none().then(|| "it runs".to_owned())
        });
    }

    /// Asks everybody to end.
    pub(crate) fn end(&mut self) {
        for name in self.running.keys().copied().collect::<Vec<_>>() {
            self.leave(name);
        }
    }

    /// Lets something go wrong, and puts back what it took away.
    pub(crate) fn inject(
        &mut self,
        plan: &Plan,
        kind: Kind,
        random: &mut Random,
        kafka: &mut Kafka,
        clickhouse: &mut ClickHouse,
    ) -> Fault {
        // Drawn for every kind, so that the schedule does not depend on what ran.
        let wait_ms = random.between(0, 4_000);
        let name = self.anybody(random);
        self.all_run();
        let at_ms = now();
        let pause = |ms: i64| thread::sleep(Duration::from_millis(ms.unsigned_abs()));
        let what = match kind {
            Kind::Killed => {
                drop(self.running.remove(name));
                pause(wait_ms);
                self.launch(name, plan, kafka, clickhouse);
                format!("{name} killed, back after {wait_ms} ms")
            }
            Kind::Stalled => {
                let ms = SESSION_MS + 1_000 + wait_ms;
                signal("STOP", &self.running[name]);
                pause(ms);
                signal("CONT", &self.running[name]);
                format!("{name} stalled for {ms} ms")
            }
            Kind::Restarted => {
                self.leave(name);
                self.launch(name, plan, kafka, clickhouse);
                format!("{name} restarted")
            }
            Kind::Added => format!("{} added", self.add(plan, kafka, clickhouse)),
            Kind::Removed => {
                self.leave(name);
                format!("{name} removed")
            }
            Kind::BrokerKilled => {
                kafka.stop();
                pause(wait_ms * 3 / 4);
                kafka.restart();
                format!("broker killed, back after {} ms", now() - at_ms)
            }
            Kind::BrokerRestarted => {
                kafka.end();
                kafka.restart();
                format!("broker restarted within {} ms", now() - at_ms)
            }
            Kind::StoreGone => {
                clickhouse.stop();
                self.outages += 1;
                pause(if self.outages.is_multiple_of(LONG_EVERY) { LONG_MS } else { 2_000 + wait_ms * 3 / 2 });
                clickhouse.start_again();
                format!("ClickHouse gone for {} ms", now() - at_ms)
            }
            Kind::RulesChanged => {
                self.changes += 1;
                format!("rules changed for the {}. time: {}", self.changes, plan.change_rules(self.changes))
            }
        };
        Fault { kind, what, at_ms, over_ms: now() }
    }
}

fn signal(name: &str, instance: &Instance) {
    let id = instance.process.id().to_string();
    let kill = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill is there");
    assert!(kill.success(), "{kill}");
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
