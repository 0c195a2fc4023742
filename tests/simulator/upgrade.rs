//! A rolling upgrade to a binary that knows a later format: instances are restarted one by one, and then somebody says that
//! all were. The later format is played: it has the bytes of today's and another number.

use std::task::{Context, Poll, Waker};

use tierwatch::{
    loops::{self, Job},
    partial::VERSION,
    planted,
};

use super::{
    Config, SimulatedEdge, Simulation, Task,
    kafka::{Kafka, Log},
    oracle,
};

/// When somebody says that all instances were upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(debug_assertions), expect(dead_code, reason = "later binaries are played in debug builds alone"))]
pub(crate) enum Upgrade {
    /// When they were.
    Rolling,
    /// While the last one was not.
    TooEarly,
}

/// How far it has come.
pub(super) struct Upgrading {
    how: Upgrade,
    next_ms: i64,
    /// Who says it.
    operator: Option<Task>,
    said: bool,
}

impl Upgrading {
    pub(super) fn of(how: Upgrade) -> Self {
        Self { how, next_ms: oracle::START + oracle::SPAN_MS / 5, operator: None, said: false }
    }
}

impl Simulation<'_> {
    /// The next step of the upgrade, where it is due.
    pub(super) fn upgrade(&mut self) {
        let Some(mut upgrading) = self.upgrading.take() else { return };
        let now = self.world.borrow().kafka.now;
        if let Some(operator) = &mut upgrading.operator {
            planted::play_later_binary(true);
            let polled = operator.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(outcome) = polled {
                upgrading.operator = None;
                upgrading.said |= outcome.is_ok();
            }
        } else if now >= upgrading.next_ms {
            let wait = self.world.borrow_mut().random.between(500, 4_000);
            upgrading.next_ms = now + wait;
            let old = self.instances.iter().filter(|instance| !instance.later).count();
            if !upgrading.said && old <= usize::from(upgrading.how == Upgrade::TooEarly) {
                upgrading.operator = Some(self.operator());
            } else if let Some(at) = self.instances.iter().position(|instance| !instance.later) {
                self.world.borrow_mut().note("upgrade");
                self.instances[at].later = true;
                self.down(at, wait);
            } else {
                return;
            }
        }
        self.upgrading = Some(upgrading);
    }

    fn operator(&self) -> Task {
        let job = Job {
            config: self.config.clone(),
            sets: self.case.sets.clone(),
            settings: oracle::SETTINGS,
            accept_lost: false,
            watcher: None,
            instance: "operator".to_owned(),
        };
        let world = self.world.clone();
        Box::pin(async move {
            let (ending, skew) = Default::default();
            let mut edge = SimulatedEdge::new(&world, &ending, &skew, "rules", "rules", &job.instance);
            loops::rules::upgrade(&job, &mut edge).await
        })
    }
}

/// The topics that have records of the later format.
pub(super) fn written_later(kafka: &Kafka, config: &Config) -> Vec<&'static str> {
    let (own, later) = (&config.topics, [b'T', b'W', b'P', VERSION + 1]);
    let topics =
        [("partials", &own.partials), ("state", &own.state), ("readings", &own.readings), ("rules", &own.rules)];
    let has = |topic: &str| {
        let logs = (0..own.partitions).filter_map(|partition| kafka.log(&(topic.to_owned(), partition)));
        logs.flat_map(Log::values).any(|value| value.starts_with(&later))
    };
    topics.into_iter().filter(|(_, topic)| has(topic)).map(|(name, _)| name).collect()
}

#[test]
#[cfg(debug_assertions)]
fn an_upgrade_one_by_one_meets_nothing_it_cannot_read_unless_it_is_called_done_too_early() {
    use super::{Case, Faults, STORM, play};
    let case = Case::plain();
    for (how, seeds) in [(Upgrade::Rolling, 1..=24), (Upgrade::TooEarly, 1..=24)] {
        let mut stops = 0;
        for seed in seeds {
            let torn = if seed % 2 == 0 { 40 } else { 0 };
            let faults = Faults { upgrade: Some(how), torn, rules: 60, ..STORM };
            let report = play(&case, faults, seed).unwrap_or_else(|reason| panic!("{how:?}, seed {seed}: {reason}"));
            assert_eq!(report.written_later, ["partials", "state", "readings", "rules"], "{how:?}, seed {seed}");
            stops += report.happened.get("stop before a later format").copied().unwrap_or_default();
        }
        assert_eq!(stops > 0, how == Upgrade::TooEarly, "{how:?}: {stops} instances stopped before a later format");
    }
}
