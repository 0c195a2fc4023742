//! Tierwatch's own topics, with the settings they need. They are made by `tierwatch migrate`, never by accident.

use std::{
    fmt,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
};

use super::{Error, REQUEST};
use crate::config;

/// A topic as it should be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Its settings.
    pub settings: Vec<(&'static str, String)>,
}

/// Every topic Tierwatch writes.
pub fn wanted(topics: &config::Topics) -> Vec<Wanted> {
    let retention = topics.retention.as_millis().to_string();
    let large = ("max.message.bytes", topics.max_record_bytes.to_string());
    let kept = |name: &str, partitions| Wanted {
        name: name.to_owned(),
        partitions,
        settings: vec![
            ("cleanup.policy", "delete".into()),
            ("retention.ms", retention.clone()),
            ("message.timestamp.type", "LogAppendTime".into()),
            large.clone(),
        ],
    };
    let compacted = |name: &str, partitions| Wanted {
        name: name.to_owned(),
        partitions,
        settings: vec![
            ("cleanup.policy", "compact".into()),
            ("segment.ms", "3600000".into()),
            ("min.cleanable.dirty.ratio", "0.3".into()),
            large.clone(),
        ],
    };
    vec![
        kept(&topics.partials, topics.partitions),
        kept(&topics.readings, topics.partitions),
        kept(&topics.alerts, topics.partitions),
        kept(&topics.dead_letters, 1),
        compacted(&topics.state, topics.partitions),
        compacted(&topics.rules, 1),
        Wanted {
            settings: vec![
                ("cleanup.policy", "delete".into()),
                ("retention.ms", "-1".into()),
                ("message.timestamp.type", "LogAppendTime".into()),
            ],
            ..kept(&topics.audit, 1)
        },
    ]
}

/// Makes the topics that are missing; answers with those it made.
pub fn make(client: &ClientConfig, topics: &config::Topics) -> Result<Vec<String>, Error> {
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(Error::Client)?;
    let wanted = wanted(topics);
    let new: Vec<NewTopic<'_>> = wanted
        .iter()
        .map(|topic| {
            let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(topics.replication));
            topic.settings.iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
    let outcomes = futures::executor::block_on(admin.create_topics(&new, &options))
        .map_err(|error| Error::Admin(error.to_string()))?;
    let mut made = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(name) => made.push(name),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, error)) => return Err(Error::Admin(format!("{name}: {error}"))),
        }
    }
    // Brokers learn of new topics one after the other.
    let mut tries = 0;
    while let Err(error) = check(client, topics) {
        if !matches!(error, Error::NoTopic(_)) || tries >= 50 {
            return Err(error);
        }
        tries += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(made)
}

/// Checks that the topics are there, with as many partitions as they should have.
pub fn check(client: &ClientConfig, topics: &config::Topics) -> Result<(), Error> {
    let consumer: BaseConsumer = client.clone().set("group.id", "tierwatch.check").create().map_err(Error::Client)?;
    for topic in wanted(topics) {
        let metadata = consumer.fetch_metadata(Some(&topic.name), REQUEST)?;
        let found = metadata
            .topics()
            .iter()
            .find(|found| found.name() == topic.name)
            .map_or(0, |found| found.partitions().len());
        let found = i32::try_from(found).unwrap_or(i32::MAX);
        if found == 0 {
            return Err(Error::NoTopic(topic.name));
        }
        if found != topic.partitions {
            return Err(Error::Partitions { topic: topic.name, found, wanted: topic.partitions });
        }
    }
    Ok(())
}

/// What a setting of a topic is, and why it should be another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The topic.
    pub topic: String,
    /// The setting.
    pub setting: &'static str,
    /// What it is.
    pub found: String,
    /// What it should be.
    pub wanted: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, found, wanted } = self;
        write!(
            f,
            "{topic}: {setting} is {found} and should be {wanted}: \
             kafka-configs --alter --entity-type topics --entity-name {topic} --add-config {setting}={wanted}"
        )
    }
}

/// The settings that change what Tierwatch reads, where they are not as they should be: of its own topics how they are
/// cleaned up and what their timestamps are, of source topics the latter. With times of the producer a clock that is ahead
/// can make others late while a backlog is caught up with.
pub fn advise(client: &ClientConfig, topics: &config::Topics, sources: &[String]) -> Result<Vec<Advice>, Error> {
    const SETTINGS: [&str; 2] = ["cleanup.policy", "message.timestamp.type"];
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(Error::Client)?;
    let own = wanted(topics).into_iter().map(|topic| (topic.name, topic.settings));
    let read = sources.iter().map(|name| (name.clone(), vec![("message.timestamp.type", "LogAppendTime".to_owned())]));
    let wanted: Vec<(String, Vec<(&str, String)>)> = own.chain(read).collect();
    let named: Vec<ResourceSpecifier<'_>> = wanted.iter().map(|(name, _)| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST));
    let described = futures::executor::block_on(admin.describe_configs(&named, &options))
        .map_err(|error| Error::Admin(error.to_string()))?;
    let mut advice = Vec::new();
    // A topic that is not there yet has no settings.
    for found in described.into_iter().flatten() {
        let OwnedResourceSpecifier::Topic(topic) = &found.specifier else { continue };
        let settings = wanted.iter().find(|(name, _)| name == topic).map(|(_, settings)| settings);
        for (setting, wanted) in settings.into_iter().flatten() {
            let Some(setting) = SETTINGS.into_iter().find(|name| name == setting) else { continue };
            let value = found.get(setting).and_then(|entry| entry.value.clone()).unwrap_or_default();
            if value != *wanted && !value.is_empty() {
                advice.push(Advice { topic: topic.clone(), setting, found: value, wanted: wanted.clone() });
            }
        }
    }
    Ok(advice)
}

/// Waits until a broker answers, for up to `wait`.
#[expect(clippy::disallowed_methods, reason = "waiting is what this does")]
pub fn connect(client: &ClientConfig, wait: Duration) -> Result<(), Error> {
    let consumer: BaseConsumer = client.clone().set("group.id", "tierwatch.check").create().map_err(Error::Client)?;
    let began = Instant::now();
    let mut pause = Duration::from_millis(250);
    loop {
        let error =
            match consumer.fetch_metadata(None, (wait / 4).clamp(Duration::from_millis(200), Duration::from_secs(3))) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
        if began.elapsed() >= wait {
            let brokers = client.get("bootstrap.servers").unwrap_or_default().to_owned();
            return Err(Error::Unreachable {
                brokers,
                waited: humantime::format_duration(wait).to_string(),
                error: error.to_string(),
            });
        }
        tracing::warn!(%error, "no Kafka broker answers; trying again");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}
