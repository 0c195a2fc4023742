//! Checking: what was typed becomes the [`Config`], or problems.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ::config::ValueKind;

use super::{
    keys::{PROPERTIES, in_section, nearest, property},
    layers::Raw,
    origin::Origin,
    show::{Setting, Shown, hides, literal, quote, text_of},
    types::{
        Clickhouse, Config, Fold, Judge, Kafka, Log, LogFormat, Rules, Run, SaslMechanism, Secret, SecurityProtocol,
        Store, StoreKind, Tables, Topics,
    },
    values::{
        BROKERS, IDENTIFIER, STAGES, START, TOPIC, URL, brokers, duration, find, identifier, scalar, span, stages,
        start, string, topic, trimmed, url,
    },
};

/// Names of librdkafka that may not be set freely, with the key that governs each; without one, Tierwatch sets it
/// itself, because exactly-once depends on it.
const GOVERNED: &[(&str, Option<&str>)] = &[
    ("acks", None),
    ("auto.offset.reset", Some("fold.start")),
    ("bootstrap.servers", Some("kafka.brokers")),
    ("enable.auto.commit", None),
    ("enable.auto.offset.store", None),
    ("enable.idempotence", None),
    ("group.id", Some("kafka.group")),
    ("isolation.level", None),
    ("metadata.broker.list", Some("kafka.brokers")),
    ("request.required.acks", None),
    ("sasl.mechanism", Some("kafka.sasl_mechanism")),
    ("sasl.mechanisms", Some("kafka.sasl_mechanism")),
    ("sasl.password", Some("kafka.sasl_password")),
    ("sasl.username", Some("kafka.sasl_username")),
    ("security.protocol", Some("kafka.security_protocol")),
    ("session.timeout.ms", Some("kafka.session_timeout")),
    ("ssl.ca.location", Some("kafka.ssl_ca_location")),
    ("transaction.timeout.ms", Some("kafka.transaction_timeout")),
    ("transactional.id", Some("kafka.instance")),
];

const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);
/// As `humantime` counts it: 365.25 days.
const YEAR: Duration = Duration::from_hours(8_766);

/// Checking. A value that will not do leaves a problem and a stand-in, so that the rest can be checked too; no
/// stand-in gets out.
impl Raw {
    pub(super) fn config(&mut self) -> Config {
        let config = Config {
            kafka: self.kafka(),
            topics: self.topics(),
            rules: Rules {
                path: self.path("rules.path"),
                reference: self.path("rules.reference"),
                watch_interval: self.duration_or_never("rules.watch_interval", 100 * MILLISECOND..=DAY),
            },
            tables: Tables { path: self.path("tables.path") },
            fold: Fold {
                start: self.take("fold.start", START, "", start).unwrap_or_default(),
                interval: self.duration("fold.interval", 50 * MILLISECOND..=MINUTE),
                idle_after: self.duration_or_never("fold.idle_after", 100 * MILLISECOND..=DAY),
                max_event_bytes: self.number("fold.max_event_bytes", 1..=104_857_600),
                max_ahead: self.duration("fold.max_ahead", Duration::ZERO..=YEAR),
                max_age: self.duration("fold.max_age", SECOND..=10 * YEAR),
            },
            judge: Judge { snapshot_interval: self.duration("judge.snapshot_interval", 100 * MILLISECOND..=DAY) },
            store: Store {
                kind: self.word("store.kind", StoreKind::WORDS),
                path: self.path("store.path"),
                flush_interval: self.duration("store.flush_interval", 10 * MILLISECOND..=HOUR),
                max_rows: self.number("store.max_rows", 1..=10_000_000),
            },
            clickhouse: Clickhouse {
                url: self.take("clickhouse.url", URL, "", url).unwrap_or_default(),
                database: self.take("clickhouse.database", IDENTIFIER, "", identifier).unwrap_or_default(),
                user: self.text("clickhouse.user"),
                password: self.secret("clickhouse.password"),
                timeout: self.duration("clickhouse.timeout", 100 * MILLISECOND..=HOUR),
            },
            log: Log { format: self.word("log.format", LogFormat::WORDS), filter: self.text("log.filter") },
            run: Run { stages: self.take("run.stages", STAGES, "", stages).unwrap_or_default() },
            settings: Vec::new(),
        };
        let (interval, timeout) = ("fold.interval", "kafka.transaction_timeout");
        if self.sound(&[interval, timeout]) && config.fold.interval >= config.kafka.transaction_timeout {
            let message = format!("{} is not below {}", self.value(interval), self.given(timeout));
            let hint = "shorten it or lengthen that: the broker aborts transactions that take longer";
            self.problem(interval, message, hint);
        }
        config
    }

    fn kafka(&mut self) -> Kafka {
        let kafka = Kafka {
            brokers: self.take("kafka.brokers", BROKERS, "", brokers).unwrap_or_default(),
            group: self.text("kafka.group"),
            instance: self.optional("kafka.instance"),
            security_protocol: self.word("kafka.security_protocol", SecurityProtocol::WORDS),
            sasl_mechanism: self.optional_word("kafka.sasl_mechanism", SaslMechanism::WORDS),
            sasl_username: self.optional("kafka.sasl_username"),
            sasl_password: self.secret("kafka.sasl_password"),
            ssl_ca_location: self.optional("kafka.ssl_ca_location").map(PathBuf::from),
            connect_timeout: self.duration("kafka.connect_timeout", 100 * MILLISECOND..=HOUR),
            transaction_timeout: self.duration("kafka.transaction_timeout", SECOND..=15 * MINUTE),
            session_timeout: self.duration("kafka.session_timeout", SECOND..=5 * MINUTE),
            properties: self.properties(),
        };
        if self.sound(&["kafka.security_protocol"]) {
            self.security(&kafka);
        }
        kafka
    }

    /// Whether what was given fits the protocol.
    fn security(&mut self, kafka: &Kafka) {
        let protocol = self.given("kafka.security_protocol");
        let logs_in = kafka.security_protocol.logs_in();
        let by_file = self.typed("kafka.sasl_password_file").1 != &Origin::Defaults;
        let password = if by_file { "kafka.sasl_password_file" } else { "kafka.sasl_password" };
        for (key, is_given, sample) in [
            ("kafka.sasl_mechanism", kafka.sasl_mechanism.is_some(), "PLAIN"),
            ("kafka.sasl_username", kafka.sasl_username.is_some(), "tierwatch"),
            (password, kafka.sasl_password.is_some(), "..."),
        ] {
            if is_given == logs_in || !self.sound(&[key]) {
                continue;
            }
            if logs_in {
                let hint = self.write(key, sample);
                self.problem(key, format!("is not given, but {protocol} needs it"), hint);
            } else {
                let hint = "leave it out, or set kafka.security_protocol to sasl_plaintext or sasl_ssl";
                self.problem(key, format!("is given, but {protocol} has no use for it"), hint);
            }
        }
        if kafka.ssl_ca_location.is_some() && !kafka.security_protocol.encrypts() {
            let hint = "leave it out, or set kafka.security_protocol to ssl or sasl_ssl";
            self.problem("kafka.ssl_ca_location", format!("is given, but {protocol} has no use for it"), hint);
        }
    }

    fn properties(&mut self) -> BTreeMap<String, Secret> {
        if !matches!(self.typed(PROPERTIES).0, ValueKind::Table(_)) {
            self.problem(PROPERTIES, "is a table, and has no value itself", "give single properties, in a file");
        }
        let keys: Vec<String> = self.typed.keys().filter(|key| property(key).is_some()).cloned().collect();
        let mut properties = BTreeMap::new();
        for key in keys {
            let name = property(&key).unwrap_or_default();
            if let Some((_, governor)) = GOVERNED.iter().find(|(governed, _)| *governed == name) {
                let hint = match governor {
                    Some(governor) => format!("leave it out and set {governor}"),
                    None => "leave it out: Tierwatch sets it, since exactly-once depends on it".to_owned(),
                };
                self.problem(&key, "cannot be set as a property", hint);
            } else if let Some(value) = self.take(&key, "text, a number, true or false", "true", scalar) {
                properties.insert(name.to_owned(), Secret(value));
            }
        }
        properties
    }

    fn topics(&mut self) -> Topics {
        let prefix = self.take("topics.prefix", TOPIC, "", |kind| topic(kind).filter(|name| name.len() <= 200));
        let prefix = prefix.unwrap_or_default();
        let taken = &mut BTreeMap::new();
        Topics {
            partials: self.topic("topics.partials", &prefix, taken),
            readings: self.topic("topics.readings", &prefix, taken),
            alerts: self.topic("topics.alerts", &prefix, taken),
            dead_letters: self.topic("topics.dead_letters", &prefix, taken),
            state: self.topic("topics.state", &prefix, taken),
            rules: self.topic("topics.rules", &prefix, taken),
            audit: self.topic("topics.audit", &prefix, taken),
            partitions: self.number("topics.partitions", 1..=1024),
            replication: self.number("topics.replication", 1..=32),
            max_record_bytes: self.number("topics.max_record_bytes", 1_048_576..=67_108_864),
            retention: self.duration("topics.retention", MINUTE..=10 * YEAR),
            prefix,
        }
    }

    /// The name given, or else one made of the prefix and the key; in any case one not yet taken.
    fn topic(&mut self, key: &'static str, prefix: &str, taken: &mut BTreeMap<String, &'static str>) -> String {
        let made = format!("{prefix}.{}", in_section(key).1.replace('_', "-"));
        let name = self.take(key, TOPIC, &made, |kind| string(kind).filter(String::is_empty).or_else(|| topic(kind)));
        if !self.sound(&["topics.prefix", key]) {
            return made;
        }
        let given = name.filter(|name| !name.is_empty());
        if given.is_none() {
            let origin = format!("topics.prefix: {}", self.typed("topics.prefix").1);
            let value = Shown::Text(made.clone());
            self.settings.pop();
            self.settings.push(Setting { key: key.to_owned(), value, origin });
        }
        if let Some(twin) = taken.insert(given.clone().unwrap_or_else(|| made.clone()), key) {
            // Blame the one that was given, not the one made.
            let (key, twin) = if given.is_some() { (key, twin) } else { (twin, key) };
            self.problem(key, format!("is {}, and so is {twin}", self.value(key)), "give each topic its own name");
        }
        given.unwrap_or(made)
    }

    fn text(&mut self, key: &str) -> String {
        let text = |kind: &ValueKind| string(kind).filter(|text| !text.trim().is_empty());
        self.take(key, "text that is not empty", "", text).unwrap_or_default()
    }

    fn path(&mut self, key: &str) -> PathBuf {
        PathBuf::from(self.text(key))
    }

    fn optional(&mut self, key: &str) -> Option<String> {
        self.take(key, "text", "text", string).filter(|text| !text.is_empty())
    }

    /// From the key itself, or from the file that `<key>_file` names, without the line break at its end.
    fn secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = &format!("{key}_file");
        let direct = self.optional(key);
        let Some(path) = self.optional(file_key) else { return direct.map(Secret) };
        if direct.is_some() {
            let message = format!("is given, and so is {}", self.given(file_key));
            self.problem(key, message, "keep one of them; an empty text takes back what a lower layer gave");
        }
        let mut text = fs::read_to_string(&path).unwrap_or_else(|error| {
            let message = format!("{} cannot be read: {error}", quote(&path));
            self.problem(file_key, message, "name a file that holds the secret and nothing else");
            "***".to_owned()
        });
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        if text.is_empty() {
            self.problem(file_key, format!("{} is an empty file", quote(&path)), "put the secret in it");
        }
        Some(Secret(text))
    }

    fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        let allowed = format!("a span of time from {}", span(&range));
        self.take(key, &allowed, "", |kind| duration(kind, &range)).unwrap_or_default()
    }

    fn duration_or_never(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let allowed = format!("never or a span of time from {}", span(&range));
        let never = |kind: &ValueKind| trimmed(kind).is_some_and(|text| text == "never");
        let parse = |kind: &ValueKind| if never(kind) { Some(None) } else { duration(kind, &range).map(Some) };
        self.take(key, &allowed, "", parse).flatten()
    }

    fn number<T: TryFrom<i64> + Default>(&mut self, key: &str, range: RangeInclusive<i64>) -> T {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.take(key, &allowed, "", |kind| match kind {
            ValueKind::I64(number) if range.contains(number) => T::try_from(*number).ok(),
            _ => None,
        });
        number.unwrap_or_default()
    }

    fn word<T: Copy + Default>(&mut self, key: &str, words: &[(&'static str, T)]) -> T {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let near = nearest(&text_of(self.typed(key).0), names.iter().copied());
        let sample = near.or(names.first().copied()).unwrap_or_default();
        let allowed = format!("one of {}", names.join(", "));
        self.take(key, &allowed, sample, |kind| find(words, &trimmed(kind)?)).unwrap_or_default()
    }

    fn optional_word<T: Copy + Default>(&mut self, key: &str, words: &[(&'static str, T)]) -> Option<T> {
        let empty = |kind: &ValueKind| string(kind).filter(String::is_empty);
        if empty(self.typed(key).0).is_some() {
            self.optional(key);
            return None;
        }
        Some(self.word(key, words))
    }

    /// Takes a value that `parse` accepts, and notes it as a setting. Without a sample, the default shows how to
    /// write it.
    fn take<T>(
        &mut self,
        key: &str,
        allowed: &str,
        sample: &str,
        parse: impl FnOnce(&ValueKind) -> Option<T>,
    ) -> Option<T> {
        let (kind, origin) = self.typed(key);
        let Some(value) = parse(kind) else {
            let hint = self.write(key, sample);
            self.problem(key, format!("{} is not {allowed}", self.value(key)), hint);
            return None;
        };
        let shown = match kind {
            kind if hides(key, kind) => Shown::Text("***".to_owned()),
            ValueKind::I64(number) => Shown::Number(*number),
            kind => Shown::Text(text_of(kind)),
        };
        self.settings.push(Setting { key: key.to_owned(), value: shown, origin: origin.to_string() });
        Some(value)
    }

    /// The value in force as a message shows it.
    fn value(&self, key: &str) -> String {
        let (kind, _) = self.typed(key);
        if hides(key, kind) { "***".to_owned() } else { literal(kind) }
    }

    fn given(&self, key: &str) -> String {
        format!("{key} = {} ({})", self.value(key), self.typed(key).1)
    }

    fn write(&self, key: &str, sample: &str) -> String {
        let value = match self.known.get(key) {
            Some(ValueKind::I64(number)) => Shown::Number(*number),
            Some(kind) if sample.is_empty() => Shown::Text(text_of(kind)),
            _ => Shown::Text(sample.to_owned()),
        };
        format!("write, for example, {}", self.typed(key).1.assign(key, &value))
    }

    /// Whether nothing is wrong with these keys by themselves, so that they can be compared.
    fn sound(&self, keys: &[&str]) -> bool {
        !self.problems.iter().any(|problem| keys.contains(&problem.key.as_str()))
    }

    fn problem(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.wrong(key, self.typed(key).1.clone(), message, hint);
    }
}
