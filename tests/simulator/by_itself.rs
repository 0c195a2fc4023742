//! Loops by themselves, in a world in which nothing goes wrong.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use tierwatch::{
    config::Config,
    loops::{self, Error, Job, rules::Provenance},
    partial::Record,
    rules::{Files, RuleSet, Settings, diagnostics::Source},
};

use super::{
    NONE, World, config,
    edge::{SimulatedEdge, provenance},
    kafka::Kafka,
    oracle::{self, Case},
    random::Random,
    store::Store,
};

/// A world with the topics of a configuration, in which nobody runs.
fn world(config: &Config) -> Rc<RefCell<World>> {
    let mut kafka = Kafka::default();
    kafka.advance(oracle::START);
    for topic in tierwatch::kafka::topics::wanted(&config.topics) {
        kafka.create(&topic.name, topic.partitions);
    }
    Rc::new(RefCell::new(World {
        kafka,
        store: Store::default(),
        random: Random::new(1),
        faults: NONE,
        versions: Vec::new(),
        mounted: BTreeMap::new(),
        dark: BTreeMap::new(),
        happened: BTreeMap::new(),
    }))
}

fn job(config: &Arc<Config>, case: &Case) -> Job {
    Job {
        config: Arc::clone(config),
        sets: case.sets.clone(),
        settings: oracle::SETTINGS,
        accept_lost: false,
        watcher: None,
        instance: "i".into(),
    }
}

fn edge(world: &Rc<RefCell<World>>, group: &str) -> SimulatedEdge {
    SimulatedEdge::new(world, &Rc::default(), &Rc::default(), group, group, "i")
}

/// `latest` is what came since a topic was read first, not since the first start of all.
#[test]
fn a_topic_that_is_read_later_begins_then() {
    let case = Case::plain();
    let config = config(1);
    let world = world(&config);
    let job = job(&config, &case);
    let more = oracle::with_another_topic();
    for (version, set) in [&case.set, &more].into_iter().enumerate() {
        let mut edge = edge(&world, "rules");
        loops::run(loops::rules::announce(&job, set, &provenance(version), &mut edge)).expect("it is appended");
        world.borrow_mut().kafka.advance(oracle::START + 60_000);
    }
    let world = world.borrow();
    let last = world.kafka.fetch(&(config.topics.partials.clone(), 0), 0, 10).pop().expect("a rule set");
    let record = Record::decode(last.record.value.as_deref().unwrap_or_default()).expect("it decodes");
    let Record::RuleSet(record) = record else { panic!("a rule set") };
    let began: Vec<i64> = ["requests", "workflow_events"].map(|topic| record.began_ms(topic) - oracle::START).into();
    assert_eq!(began, [0, 60_000]);
}

/// A change of the files of a set.
type Change = fn(&mut Files);

/// Replaces a text in the schema of a table, and the name of its file.
fn change_table(files: &mut Files, name: &str, text: (&str, &str), new_name: &str) {
    for table in &mut files.tables {
        if table.path.ends_with(&format!("/{name}.json")) {
            let path = table.path.replace(name, new_name);
            *table = Arc::new(Source { path, text: table.text.replace(text.0, text.1) });
        }
    }
}

/// What may follow the rules in force, and why the rest may not.
#[test]
fn only_what_goes_on_from_the_rules_in_force_may_follow_them() {
    const COMMITTED_MS: i64 = 1_000;
    let longer = Settings { idle_after_ms: Some(60_000) };
    let nothing: Change = |_| ();
    // What changes, when the newest file was written, the settings, and why it is refused.
    let cases: [(&str, Change, i64, Settings, Option<&str>); 7] = [
        ("the same", nothing, COMMITTED_MS, oracle::SETTINGS, None),
        ("older", |files| _ = files.rules.pop(), COMMITTED_MS - 1, oracle::SETTINGS, Some("is newer than these files")),
        ("newer", |files| _ = files.rules.pop(), COMMITTED_MS + 1, oracle::SETTINGS, None),
        ("other settings", nothing, COMMITTED_MS, longer, None),
        ("other settings, older files", nothing, COMMITTED_MS - 1, longer, Some("is newer than these files")),
        (
            "a table with another topic",
            |files| change_table(files, "requests", ("\"x-topic\": \"requests\"", "\"x-topic\": \"http\""), "requests"),
            COMMITTED_MS + 1,
            oracle::SETTINGS,
            Some("table `requests` is topic `requests` by the rules in force, and `http` by these"),
        ),
        (
            "a topic with another table",
            |files| {
                change_table(files, "requests", ("", ""), "calls");
                for rule in &mut files.rules {
                    *rule = Arc::new(Source {
                        path: rule.path.clone(),
                        text: rule.text.replace("hop(requests", "hop(calls"),
                    });
                }
            },
            COMMITTED_MS + 1,
            oracle::SETTINGS,
            Some("topic `requests` is read as table `requests` by the rules in force, and as `calls` by these"),
        ),
    ];
    let case = Case::plain();
    let config = config(1);
    for (what, change, newest_ms, settings, refused) in cases {
        let world = world(&config);
        let job = job(&config, &case);
        let announce = |set: &RuleSet, newest_ms: i64| {
            let from = Provenance { newest_ms, commit: None };
            world.borrow_mut().kafka.advance(oracle::START + newest_ms);
            loops::run(loops::rules::announce(&job, set, &from, &mut edge(&world, "rules"))).expect("an answer")
        };
        assert!(announce(&case.set, COMMITTED_MS), "{what}");
        let mut files = case.set.files.clone();
        change(&mut files);
        let (set, problems) = RuleSet::compile(files, settings);
        assert!(!RuleSet::broken(&problems), "{what}: {problems:?}");
        assert_eq!(announce(&set, newest_ms), refused.is_none() && set.hash != case.set.hash, "{what}");
        let audit: Vec<String> = {
            let world = world.borrow();
            let records = world.kafka.fetch(&(config.topics.audit.clone(), 0), 0, 10);
            let text =
                |value: &Option<Vec<u8>>| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
            records.iter().map(|entry| text(&entry.record.value)).filter(|text| text.contains("_refused")).collect()
        };
        match refused {
            Some(reason) => assert!(audit.len() == 1 && audit[0].contains(reason), "{what}: {audit:?}"),
            None => assert!(audit.is_empty(), "{what}: {audit:?}"),
        }
    }
}

/// A set that no record can hold is refused, and what is in force stays.
#[test]
fn a_rule_set_that_is_too_large_for_a_record_is_refused() {
    let case = Case::plain();
    let config = config(1);
    let world = world(&config);
    let job = job(&config, &case);
    let mut files = case.set.files.clone();
    // Each of them is as long as a rule may be.
    let rule = Arc::clone(&files.rules[0]);
    files.rules.extend((0..20).map(|n| {
        let text = rule.text.replace("name: failures", &format!("name: failures_{n}"));
        Arc::new(Source { path: format!("failures_{n}.sql"), text: format!("{text}\n-- {}", "x".repeat(60_000)) })
    }));
    let (large, problems) = RuleSet::compile(files, oracle::SETTINGS);
    assert!(!RuleSet::broken(&problems), "{problems:?}");
    let announce = |set: &RuleSet, version: usize| {
        loops::run(loops::rules::announce(&job, set, &provenance(version), &mut edge(&world, "rules")))
    };
    assert!(matches!(announce(&large, 1), Err(Error::NoRules)), "nothing is in force");
    assert!(announce(&case.set, 1).expect("an answer"));
    assert!(!announce(&large, 2).expect("an answer"), "the rules in force stay");
}

/// A group that has forgotten where it stopped does not pass over what it may not have stored.
#[test]
fn rows_that_are_gone_before_a_group_has_stored_them_are_an_error() {
    let case = Case::plain();
    let config = config(1);
    for (from, accept_lost) in [(0, false), (2, false), (2, true)] {
        let world = world(&config);
        let place = (config.topics.readings.clone(), 0);
        {
            let kafka = &mut world.borrow_mut().kafka;
            (0..4).for_each(|_| kafka.produce(&place, b"of somebody else"));
            kafka.retain(&place, from);
        }
        let job = Job { accept_lost, ..job(&config, &case) };
        let ending = Rc::default();
        let mut edge = SimulatedEdge::new(&world, &ending, &Rc::default(), "store", "store", "i");
        let mut stage = Box::pin(loops::store::run(&job, &mut edge));
        let outcome = (0..200).find_map(|turn| {
            ending.set(turn > 100);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match stage.as_mut().poll(&mut context) {
                std::task::Poll::Ready(outcome) => Some(outcome),
                std::task::Poll::Pending => None,
            }
        });
        let outcome = outcome.expect("it ends");
        match (from, accept_lost) {
            (2, false) => {
                let error = outcome.expect_err("an error");
                assert!(matches!(error, Error::Unstored { partition: 0, low: 2, .. }), "{error}");
                assert!(error.to_string().contains("--accept-lost"), "it says what to do: {error}");
            }
            _ => outcome.expect("it goes on"),
        }
    }
}
