//! A deterministic simulator of the whole pipeline: the real loops of FOLD, JUDGE and STORE of several instances, in one
//! thread, over models of Kafka and of the store. A seed decides everything that happens: who goes on next, what time
//! passes, who dies where, which transaction is torn. A seed that fails is printed, and fails again when it is given:
//!
//! ```text
//! SIMULATOR_SEED=17 cargo test --test all -- --nocapture simulator::seeds
//! ```

mod batch;
mod by_itself;
mod edge;
mod kafka;
mod levels;
mod oracle;
pub(crate) mod random;
pub(crate) mod store;
mod upgrade;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tierwatch::{
    config::{self, Config},
    loops::{self, Job, Outgoing},
    planted::{self, Bug},
    rules::RuleSet,
};

use self::{
    batch::{batch, environment},
    edge::{SimulatedEdge, provenance},
    kafka::{Kafka, Place},
    oracle::Case,
    random::Random,
    store::Store,
    upgrade::{Upgrade, Upgrading},
};

/// One in how many chances each fault happens; 0 for never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// A transaction that ends differently in each partition.
    pub(crate) torn: usize,
    /// A transaction that ends later, and in each partition at another time.
    pub(crate) late: usize,
    /// A commit of which the client does not learn how it ended.
    pub(crate) unknown: usize,
    /// An insert that fails, before or after it was done.
    pub(crate) insert: usize,
    /// An instance that dies between any two effects.
    pub(crate) kill: usize,
    /// An instance that stands still for a while.
    pub(crate) stall: usize,
    /// An instance that ends as it should.
    pub(crate) end: usize,
    /// An instance whose clock jumps.
    pub(crate) clock: usize,
    /// All instances down at once, for so long that the groups forget their positions.
    pub(crate) forget: usize,
    /// An instance that sees other rule files.
    pub(crate) rules: usize,
    /// A source partition whose leader is away for a while.
    pub(crate) dark: usize,
    /// A source topic that is deleted and made anew, or records that are gone before they are read.
    pub(crate) disaster: usize,
    /// Instances start within so many milliseconds of each other.
    pub(crate) start_within: i64,
    /// Some instances run another binary, which comes to other values.
    pub(crate) mixed: bool,
    /// All instances are upgraded to a binary that knows a later format, one by one.
    pub(crate) upgrade: Option<Upgrade>,
    /// The most records of one fetch.
    pub(crate) batch_max: usize,
}

const NONE: Faults = Faults {
    torn: 0,
    late: 0,
    unknown: 0,
    insert: 0,
    kill: 0,
    stall: 0,
    end: 0,
    clock: 0,
    forget: 0,
    rules: 0,
    dark: 0,
    disaster: 0,
    start_within: 0,
    mixed: false,
    upgrade: None,
    batch_max: 1_000,
};

/// Everything that is not an instance.
pub(crate) struct World {
    pub(crate) kafka: Kafka,
    pub(crate) store: Store,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    /// Versions of the rule files, and which one each instance sees.
    pub(crate) versions: Vec<Arc<RuleSet>>,
    pub(crate) mounted: BTreeMap<String, usize>,
    /// Until when the leaders of partitions are away.
    dark: BTreeMap<Place, i64>,
    happened: BTreeMap<&'static str, usize>,
}

impl World {
    pub(crate) fn is_dark(&self, place: &Place) -> bool {
        self.dark.get(place).is_some_and(|until| *until > self.kafka.now)
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }
}

type Task = Pin<Box<dyn Future<Output = Result<(), loops::Error>>>>;

/// Brings an instance's rules into the log; answers with its job and the version of its rule files.
type Announcing = Pin<Box<dyn Future<Output = Result<(Job, usize), loops::Error>>>>;

/// One process: it begins by announcing its rules, and then runs its stages.
struct Instance {
    name: String,
    announcing: Option<Announcing>,
    tasks: Vec<Task>,
    ending: Rc<Cell<bool>>,
    skew: Rc<Cell<i64>>,
    stalled_until: i64,
    /// When it is started again, while it is down.
    starts_at: i64,
    /// Whether its binary knows a later format.
    later: bool,
}

/// What a seed came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) happened: BTreeMap<&'static str, usize>,
    pub(crate) readings: usize,
    pub(crate) breaches: usize,
    /// The topics that have records of a later format.
    #[cfg_attr(not(debug_assertions), expect(dead_code, reason = "later binaries are played in debug builds alone"))]
    pub(crate) written_later: Vec<&'static str>,
}

struct Simulation<'a> {
    world: Rc<RefCell<World>>,
    instances: Vec<Instance>,
    case: &'a Case,
    faults: Faults,
    config: Arc<Config>,
    /// An upgrade that is not over.
    upgrading: Option<Upgrading>,
    /// Whether instances start with the word that what is gone may be lost.
    accepting: bool,
}

/// A simulation that has not come to its end so long after the last fault is stuck.
const PATIENCE_MS: i64 = 150_000;

pub(crate) fn config(partitions: i32) -> Arc<Config> {
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let flags = vec![
        set("topics.partitions", &partitions.to_string()),
        set("fold.start", "earliest"),
        set("fold.idle_after", "5s"),
        set("fold.interval", "500ms"),
        set("judge.snapshot_interval", "7s"),
        set("store.flush_interval", "1s"),
        set("rules.watch_interval", "1s"),
    ];
    let sources = config::Sources { file: None, environment: Vec::new(), flags };
    let mut config = config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    // Smaller than anybody would choose: snapshots, entries and readings come in parts.
    config.topics.max_record_bytes = 16_384;
    Arc::new(config)
}

impl Simulation<'_> {
    fn start(&mut self, at: usize) {
        let world = Rc::clone(&self.world);
        let instance = &mut self.instances[at];
        instance.ending = Rc::default();
        instance.stalled_until = 0;
        let job = Job {
            config: Arc::clone(&self.config),
            sets: if self.faults.mixed && at % 2 == 1 { &self.case.other } else { &self.case.sets }.clone(),
            settings: oracle::SETTINGS,
            accept_lost: self.accepting,
            watcher: None,
            instance: instance.name.clone(),
        };
        let mounted = *world.borrow().mounted.get(&instance.name).unwrap_or(&0);
        let set = Arc::clone(&world.borrow().versions[mounted]);
        let (ending, skew) = (Rc::clone(&instance.ending), Rc::clone(&instance.skew));
        instance.announcing = Some(Box::pin(async move {
            let mut edge = SimulatedEdge::new(&world, &ending, &skew, "rules", "rules", &job.instance);
            loops::rules::announce(&job, &set, &provenance(mounted), &mut edge).await?;
            Ok((job, mounted))
        }));
    }

    fn run_stages(&mut self, at: usize, job: Job, mounted: usize) {
        let instance = &mut self.instances[at];
        let edge = |stage: &str, writer: &str| {
            SimulatedEdge::new(&self.world, &instance.ending, &instance.skew, stage, writer, &job.instance)
        };
        let writer = |stage: &str| format!("{stage}.{}", job.instance);
        let mut fold = edge("fold", &writer("fold"));
        let mut judge = edge("judge", &writer("judge"));
        let mut store = edge("store", &writer("store"));
        let mut watch = edge("rules", "rules");
        watch.seen = mounted;
        let jobs = [job.clone(), job.clone(), job.clone(), job];
        let [of_fold, of_judge, of_store, of_watch] = jobs;
        instance.tasks = vec![
            Box::pin(async move { loops::fold::run(&of_fold, &mut fold).await }),
            Box::pin(async move { loops::judge::run(&of_judge, &mut judge).await }),
            Box::pin(async move { loops::store::run(&of_store, &mut store).await }),
            Box::pin(async move { loops::rules::watch(&of_watch, &mut watch).await }),
        ];
    }

    fn down(&mut self, at: usize, wait: i64) {
        let now = self.world.borrow().kafka.now;
        let instance = &mut self.instances[at];
        instance.announcing = None;
        instance.tasks.clear();
        instance.starts_at = now + wait;
    }

    /// One step of one instance.
    fn step(&mut self, at: usize) -> Result<(), String> {
        let now = self.world.borrow().kafka.now;
        if self.instances[at].stalled_until > now {
            return Ok(());
        }
        planted::play_later_binary(self.instances[at].later);
        let cx = &mut Context::from_waker(Waker::noop());
        if let Some(announcing) = &mut self.instances[at].announcing {
            match announcing.as_mut().poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok((job, mounted))) => {
                    self.instances[at].announcing = None;
                    self.run_stages(at, job, mounted);
                }
                Poll::Ready(Err(_)) => {
                    self.world.borrow_mut().note("restart");
                    self.down(at, 1_000);
                }
            }
            return Ok(());
        }
        let tasks = self.instances[at].tasks.len();
        if tasks == 0 {
            if self.instances[at].starts_at <= now {
                self.start(at);
            }
            return Ok(());
        }
        let task = self.world.borrow_mut().random.below(tasks);
        let poll = AssertUnwindSafe(|| self.instances[at].tasks[task].as_mut().poll(cx));
        let polled = match catch_unwind(poll) {
            Ok(polled) => polled,
            Err(_) if planted::is(Bug::RuleThatKills) => {
                self.world.borrow_mut().note("death by a rule");
                self.down(at, 1_000);
                return Ok(());
            }
            Err(panic) => resume_unwind(panic),
        };
        match polled {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                drop(self.instances[at].tasks.remove(task));
                if self.instances[at].tasks.is_empty() {
                    let wait = self.world.borrow_mut().random.between(0, 4_000);
                    self.down(at, wait);
                }
            }
            Poll::Ready(Err(error)) => {
                let text = error.to_string();
                self.world.borrow_mut().note("restart");
                let too_early =
                    self.faults.upgrade == Some(Upgrade::TooEarly) && text.contains("upgrade this instance");
                if too_early {
                    self.world.borrow_mut().note("stop before a later format");
                }
                if !too_early {
                    return Err(format!("instance {} stopped: {text}", self.instances[at].name));
                }
                self.down(at, 1_000);
            }
        }
        Ok(())
    }

    /// All die, and the groups forget where they stopped.
    fn forget(&mut self) {
        let world = &mut *self.world.borrow_mut();
        if !world.random.once_in(world.faults.forget) {
            return;
        }
        world.note("positions forgotten");
        ["fold", "judge", "store"].iter().for_each(|group| world.kafka.forget(group));
        let now = world.kafka.now;
        for instance in &mut self.instances {
            instance.announcing = None;
            instance.tasks.clear();
            instance.starts_at = now + world.random.between(0, 3_000);
        }
    }

    /// Somebody has seen that partitions are held, and starts all again with the word that what is gone may be lost.
    fn accept(&mut self) {
        self.accepting = true;
        self.world.borrow_mut().note("losses accepted");
        for at in 0..self.instances.len() {
            let wait = self.world.borrow_mut().random.between(0, 3_000);
            self.down(at, wait);
        }
    }

    /// What befalls the source topic.
    fn befall_source(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let (now, topics) = (world.kafka.now, loops::fold::topics(&self.case.set));
        for topic in topics.keys() {
            let partition =
                i32::try_from(world.random.below(usize::try_from(oracle::SOURCE_PARTITIONS).unwrap())).unwrap();
            let place = (topic.clone(), partition);
            if world.random.once_in(world.faults.dark) {
                world.note("leader away");
                let until = now + world.random.between(1_000, 12_000);
                world.dark.insert(place.clone(), until);
            }
            let early = now <= oracle::START + oracle::DISASTERS_MS;
            if !early || !world.random.once_in(world.faults.disaster) {
                continue;
            }
            // Nobody can miss what nobody knew of.
            let state = (self.config.topics.state.clone(), 0);
            let noted = |partition| world.kafka.has_key(&state, &format!("source\u{1f}{topic}\u{1f}{partition}"));
            if !(0..oracle::SOURCE_PARTITIONS).all(noted) {
                continue;
            }
            if world.random.once_in(2) {
                world.note("topic made anew");
                let high = world.kafka.log(&place).map_or(0, |log| log.high);
                world.kafka.recreate(topic);
                if world.random.once_in(2) {
                    // It outgrows the old one before anybody looks.
                    let more = world.random.between(0, 5);
                    (0..high + more).for_each(|_| world.kafka.produce(&place, b"{"));
                }
                if world.random.once_in(2) {
                    world.kafka.forget_topic("fold", topic);
                }
            } else if let Some((low, high)) = world.kafka.log(&place).map(|log| (log.low, log.high)) {
                world.note("retention");
                let from = world.random.between(low, high);
                world.kafka.retain(&place, from);
            }
        }
    }

    /// What befalls an instance.
    fn befall(&mut self, at: usize) {
        let (kill, stall, end, clock, wait) = {
            let world = &mut *self.world.borrow_mut();
            let faults = world.faults;
            let random = &mut world.random;
            let mut chance = |n: usize| random.once_in(n);
            let all = (chance(faults.kill), chance(faults.stall), chance(faults.end), chance(faults.clock));
            (all.0, all.1, all.2, all.3, random.between(0, 12_000))
        };
        let now = self.world.borrow().kafka.now;
        let up = !self.instances[at].tasks.is_empty();
        if kill && up {
            self.world.borrow_mut().note("kill");
            self.down(at, wait);
        } else if stall && up {
            self.world.borrow_mut().note("stall");
            self.instances[at].stalled_until = now + wait;
        } else if end && up && !self.instances[at].ending.get() {
            self.world.borrow_mut().note("clean end");
            self.instances[at].ending.set(true);
        } else if clock {
            self.world.borrow_mut().note("clock jump");
            self.instances[at].skew.set(wait - 6_000);
        }
    }
}

/// Plays one seed. The error says what was not as the oracle says.
pub(crate) fn play(case: &Case, faults: Faults, seed: u64) -> Result<Report, String> {
    played(case, faults, seed).map(|(report, _)| report)
}

/// The same, with the world as it is then.
fn played(case: &Case, faults: Faults, seed: u64) -> Result<(Report, Rc<RefCell<World>>), String> {
    let mut random = Random::new(seed);
    let partitions = 1 + i32::try_from(random.below(3)).unwrap();
    let count = 1 + random.below(3);
    let config = config(partitions);
    let events = case.events(&mut random);
    let mut kafka = Kafka::default();
    kafka.advance(oracle::START);
    for topic in tierwatch::kafka::topics::wanted(&config.topics) {
        kafka.create(&topic.name, topic.partitions);
    }
    for topic in loops::fold::topics(&case.set).keys() {
        kafka.create(topic, oracle::SOURCE_PARTITIONS);
    }
    let versions = case.versions.clone();
    let (mounted, dark, happened) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let starts: Vec<i64> = (0..count).map(|_| oracle::START + random.between(0, faults.start_within)).collect();
    let world = World { kafka, store: Store::default(), random, faults, versions, mounted, dark, happened };
    let world = Rc::new(RefCell::new(world));
    let instances = starts.into_iter().enumerate().map(|(at, starts_at)| Instance {
        name: format!("i{at}"),
        announcing: None,
        tasks: Vec::new(),
        ending: Rc::default(),
        skew: Rc::default(),
        stalled_until: 0,
        starts_at,
        later: false,
    });
    let instances = instances.collect();
    let upgrading = faults.upgrade.map(Upgrading::of);
    let accepting = faults.disaster > 0 && world.borrow_mut().random.once_in(2);
    let mut simulation = Simulation { world: Rc::clone(&world), instances, case, faults, config, upgrading, accepting };
    let calm_at = oracle::START + oracle::SPAN_MS;
    let mut next = 0;
    let mut turns = 0;
    let mut expected = None;
    let mut wrong = String::new();
    loop {
        turns += 1;
        let passes = world.borrow_mut().random.once_in(3 * count);
        if passes {
            let world = &mut *world.borrow_mut();
            let now = world.kafka.now + world.random.between(1, 150);
            world.kafka.advance(now);
            while let Some(event) = events.get(next).filter(|event| event.due_ms <= now) {
                world.kafka.produce(&event.place, event.payload.as_bytes());
                next += 1;
            }
            change_rules(world, count);
            if now >= calm_at {
                world.faults = Faults { batch_max: faults.batch_max, ..NONE };
            }
        }
        if passes && faults.disaster > 0 && !simulation.accepting && world.borrow().kafka.now >= calm_at {
            simulation.accept();
        }
        if passes {
            simulation.forget();
            simulation.befall_source();
            simulation.upgrade();
        }
        let at = world.borrow_mut().random.below(count);
        simulation.befall(at);
        simulation.step(at)?;
        if turns % 500 == 0 && next == events.len() {
            let world = world.borrow();
            let config = &simulation.config;
            planted::play_later_binary(faults.upgrade.is_some());
            let told = world.kafka.is_read("store", &config.topics.alerts);
            if told && world.store.closed(&case.set, partitions) >= case.settled() {
                let expected = expected.get_or_insert_with(|| planted::without(|| case.expect(&events, faults)));
                let expected = expected.as_ref().map_err(String::clone)?;
                match case.check(&events, expected, &world, config, faults) {
                    Ok(()) => {
                        let (readings, breaches) = (expected.readings.len(), expected.breaches.len());
                        let (happened, written_later) =
                            (world.happened.clone(), upgrade::written_later(&world.kafka, config));
                        let report = Report { happened, readings, breaches, written_later };
                        return Ok((report, Rc::clone(&simulation.world)));
                    }
                    // What was torn is seen and mended a while after.
                    Err(reason) if faults.torn == 0 => return Err(reason),
                    Err(reason) => wrong = reason,
                }
            }
        }
        if world.borrow().kafka.now > calm_at + PATIENCE_MS {
            let world = world.borrow();
            let (now, closed) = (world.kafka.now, world.store.closed(&case.set, partitions));
            let [now, closed, until] = [now, closed, case.until].map(|at| at - oracle::START);
            return Err(format!("stuck at {now} ms, closed until {closed} of {until}, {wrong}, {:?}", world.happened));
        }
    }
}

/// Somebody mends the rules, or an instance comes to see what was mended: not all at once, and not in order.
fn change_rules(world: &mut World, instances: usize) {
    if !world.random.once_in(world.faults.rules) {
        return;
    }
    let latest = world.mounted.values().copied().max().unwrap_or(0);
    let newer = (latest + 1).min(world.versions.len() - 1);
    let version = if world.random.once_in(2) { newer } else { world.random.below(latest + 1) };
    let instance = format!("i{}", world.random.below(instances));
    world.note("change of rules");
    world.mounted.insert(instance, version);
}

const STORM: Faults = Faults {
    late: 40,
    unknown: 40,
    insert: 5,
    kill: 2_000,
    stall: 2_000,
    end: 6_000,
    clock: 6_000,
    batch_max: 50,
    ..NONE
};

/// Seeds of the calm and of the storm.
#[test]
fn seeds() {
    let (plain, quiet, looking_back, late) = (Case::plain(), Case::quiet(), Case::looking_back(), Case::late());
    let run = |seed: u64| {
        let faults = match seed % 16 {
            0 => NONE,
            1..4 => STORM,
            4 | 5 => Faults { rules: 40, ..STORM },
            6 => Faults { forget: 300, ..STORM },
            7 => Faults { dark: 100, start_within: oracle::SPAN_MS, ..STORM },
            8 => Faults { mixed: true, torn: if seed % 32 < 16 { 40 } else { 0 }, ..STORM },
            9 | 10 => Faults { disaster: 60, torn: if seed % 32 < 16 { 40 } else { 0 }, ..STORM },
            11 | 12 => Faults { torn: if seed % 32 < 16 { 40 } else { 0 }, dark: 200, ..STORM },
            _ => Faults { torn: 40, rules: 60, ..STORM },
        };
        let case = match seed % 16 {
            3 => &late,
            5 => &quiet,
            11 | 12 => &looking_back,
            15 if seed % 32 < 16 => &late,
            _ => &plain,
        };
        play(case, faults, seed)
    };
    if let Some(seed) = environment("SIMULATOR_SEED") {
        // One seed by itself tells what happens.
        tracing_subscriber::fmt().without_time().with_target(false).with_writer(std::io::stdout).init();
        let report = run(seed).unwrap_or_else(|reason| panic!("SIMULATOR_SEED={seed}: {reason}"));
        println!("{report:?}");
        return;
    }
    let seeds = environment("SIMULATOR_SEEDS").unwrap_or(u64::MAX);
    let seconds = environment("SIMULATOR_SECONDS").unwrap_or(if seeds == u64::MAX { 20 } else { u64::MAX });
    let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() * 1_000_000;
    println!("{}", batch(if seeds == u64::MAX { first } else { 1 }, seeds, seconds, run));
}

/// A seed decides everything: played again, all committed records are the same, and so is what it came to.
#[test]
fn a_seed_replays() {
    let records = |world: &World| -> Vec<(Place, i64, i64, Rc<Outgoing>)> {
        let places = world.kafka.topics.iter().flat_map(|(topic, known)| {
            let partitions = 0..i32::try_from(known.partitions.len()).unwrap();
            partitions.map(move |partition| (topic.clone(), partition))
        });
        let entries = places.flat_map(|place| {
            let entries = world.kafka.fetch(&place, 0, usize::MAX).into_iter();
            entries.map(move |entry| (place.clone(), entry.offset, entry.append_ms, entry.record))
        });
        entries.collect()
    };
    let storm = Faults { torn: 40, rules: 60, ..STORM };
    for (case, seed) in [(Case::plain(), 1), (Case::looking_back(), 2), (Case::late(), 3)] {
        let [one, other] = [0; 2].map(|_| {
            let (report, world) = played(&case, storm, seed).unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
            (format!("{report:?}"), records(&world.borrow()))
        });
        let differ = one.1.iter().zip(&other.1).find(|(one, other)| one != other);
        assert!(differ.is_none(), "seed {seed}: {differ:?}");
        assert_eq!((one.0, one.1.len()), (other.0, other.1.len()), "seed {seed}");
    }
}

/// Seeds within which each planted bug must show.
#[cfg(debug_assertions)]
const PLANTED_SEEDS: u64 = 40;

#[test]
#[cfg(debug_assertions)]
fn planted_bugs_are_found() {
    use planted::plant;
    let (plain, quiet) = (Case::plain(), Case::quiet());
    for bug in Bug::ALL {
        let faults = |seed: u64| Faults { torn: if seed.is_multiple_of(2) { 40 } else { 0 }, ..STORM };
        // Without events, a partition speaks of its life and its end alone.
        let case = if bug == Bug::DropEmptyRanges { &quiet } else { &plain };
        plant(Some(bug));
        let found = (1..=PLANTED_SEEDS).find_map(|seed| {
            let outcome = catch_unwind(AssertUnwindSafe(|| play(case, faults(seed), seed)));
            outcome.unwrap_or_else(|_| Err("it panicked".to_owned())).err().map(|reason| (seed, reason))
        });
        plant(None);
        let (seed, reason) = found.unwrap_or_else(|| panic!("{bug:?} was not found by {PLANTED_SEEDS} seeds"));
        // It was the bug that was found.
        play(case, faults(seed), seed)
            .unwrap_or_else(|reason| panic!("without {bug:?} seed {seed} fails, too: {reason}"));
        println!("{bug:?}: found by seed {seed}: {}", reason.lines().next().unwrap_or_default());
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_rule_that_kills_the_process_is_fenced_off() {
    let case = Case::plain();
    planted::plant(Some(Bug::RuleThatKills));
    for seed in 1..=4 {
        let report = play(&case, STORM, seed).unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
        // Two who are not wary, and two who are; each partition by itself, and a storm may take a note along.
        let deaths = report.happened.get("death by a rule").copied().unwrap_or_default();
        assert!((4..=20).contains(&deaths), "seed {seed}: {deaths} deaths");
    }
    planted::plant(None);
}
