//! The configuration: what may be set, which layer set it, and whether the whole makes sense.
//!
//! Four layers, each over the one before, key by key: the defaults ([`DEFAULTS`], built in), a TOML file, environment
//! variables (`TIERWATCH__KAFKA__BROKERS`) and flags (`--set kafka.brokers=...`). [`load`] first gathers what was
//! typed, with where it was typed, and then checks the values in force into [`Config`], which is all that the rest of
//! the program sees. Neither step stops at the first problem: all of them come back together as [`Problems`].
//!
//! No secret is ever shown: not by `Debug` or `Display`, not in a problem, not by [`Config::describe`]. An unknown
//! key's value is not shown either, since it may be a secret under a misspelt name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::mem::discriminant;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ::config::{File, FileFormat, Source as _, ValueKind};
use serde::Serialize;

/// Every key with its default and a comment, as TOML: the single source of the defaults, and of which keys exist.
pub const DEFAULTS: &str = include_str!("../tierwatch.example.toml");

/// The file read when none is named, if it is there. Relative to the working directory.
pub const DEFAULT_FILE: &str = "tierwatch.toml";

/// The environment variable that names the file when no flag does.
pub const FILE_VARIABLE: &str = "TIERWATCH_CONFIG";

/// What variables that set a key start with. The double underscore is on purpose: Kubernetes makes up variables like
/// `TIERWATCH_PORT` for a service of that name, and they must not be refused.
const VARIABLE_PREFIX: &str = "TIERWATCH__";

/// The one table whose keys are free: they are librdkafka's.
const PROPERTIES: &str = "kafka.properties";

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
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// As `humantime` counts it: 365.25 days.
const YEAR: Duration = Duration::from_hours(8_766);

/// Where the layers above the defaults come from. No `Debug`: the values may be secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file named by `--config`; it must exist. Without one, [`FILE_VARIABLE`] in `environment` names a file that
    /// must exist, and without that [`DEFAULT_FILE`] is read if it exists.
    pub file: Option<PathBuf>,
    /// Names and values of environment variables; those that are not Tierwatch's are ignored.
    pub environment: Vec<(String, String)>,
    /// Dotted keys and values of `--set`, in the order given; the last one wins.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The sources of this process. Nothing else in the program reads the environment.
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    pub fn from_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        // Invalid Unicode turns into U+FFFD here, and is refused by `load` where it matters.
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name == FILE_VARIABLE || variable_key(name).is_some())
            .collect();
        Self { file, environment, flags }
    }
}

/// Where a value was given. `Display` says it in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default holds.
    Defaults,
    /// This file.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// This flag, without its value.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("defaults"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

impl Origin {
    /// How `key` is spelt in this layer.
    fn spell(&self, key: &str) -> String {
        match self {
            Self::Defaults | Self::File(_) => key.to_owned(),
            Self::Variable(_) => format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', "__")),
            Self::Flag(_) => format!("--set {key}"),
        }
    }

    /// How `key` is given `value` in this layer.
    fn assign(&self, key: &str, value: &Shown) -> String {
        match self {
            Self::Defaults | Self::File(_) => {
                let (section, name) = in_section(key);
                format!("{name} = {} in [{section}]", value.toml())
            }
            Self::Variable(_) | Self::Flag(_) => match value {
                Shown::Number(number) => format!("{}={number}", self.spell(key)),
                Shown::Text(text) => format!("{}={text}", self.spell(key)),
            },
        }
    }
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key it is about, or the file if that is no good as a whole.
    pub key: String,
    /// What is wrong, with the value unless that may be a secret, and what is allowed.
    pub message: String,
    /// Where the value was given.
    pub origin: Origin,
    /// What to write instead.
    pub hint: String,
}

/// All that is wrong with the configuration, at least one thing. `Display` is a numbered list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 problem in the configuration:")?,
            count => write!(f, "{count} problems in the configuration:")?,
        }
        for (number, problem) in (1..).zip(&self.0) {
            write!(f, "\n{number:3}. {}: {}", problem.key, problem.message)?;
            write!(f, "\n     given by: {}", problem.origin)?;
            write!(f, "\n     to mend it: {}", problem.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Text that is never shown: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one who must hand it over.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An enum with the word that stands for each variant in the configuration.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            const WORDS: &[(&str, Self)] = &[$(($word, Self::$variant)),+];

            /// The word that stands for it in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// How brokers are spoken to. The words are librdkafka's `security.protocol`.
    SecurityProtocol {
        /// No encryption, no login.
        #[default]
        Plaintext = "plaintext",
        /// TLS.
        Ssl = "ssl",
        /// Login without encryption.
        SaslPlaintext = "sasl_plaintext",
        /// Login over TLS.
        SaslSsl = "sasl_ssl",
    }
}

impl SecurityProtocol {
    fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    fn encrypts(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

words! {
    /// How a user logs in. The words are librdkafka's `sasl.mechanism`.
    SaslMechanism {
        /// The password as it is.
        #[default]
        Plain = "PLAIN",
        /// Challenge and response with SHA-256.
        ScramSha256 = "SCRAM-SHA-256",
        /// Challenge and response with SHA-512.
        ScramSha512 = "SCRAM-SHA-512",
    }
}

words! {
    /// Where results are stored.
    StoreKind {
        /// In ClickHouse.
        #[default]
        Clickhouse = "clickhouse",
        /// In Parquet files on disk.
        Parquet = "parquet",
        /// Nowhere.
        None = "none",
    }
}

words! {
    /// The form of the log.
    LogFormat {
        /// Text on a terminal, JSON elsewhere.
        #[default]
        Auto = "auto",
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

words! {
    /// A part of the work that a process can do.
    Stage {
        /// Events into partial aggregates.
        #[default]
        Fold = "fold",
        /// Partial aggregates into readings and alerts.
        Judge = "judge",
        /// Readings and alerts into the store.
        Store = "store",
    }
}

/// Where reading begins when the group has no position yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// With what comes next.
    #[default]
    Latest,
    /// With the oldest record kept.
    Earliest,
    /// With the first record at or after this time, in milliseconds since 1970 UTC.
    At(i64),
}

/// The configuration in force, checked. `Debug` shows no secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The cluster and how to reach it.
    pub kafka: Kafka,
    /// The program's own topics.
    pub topics: Topics,
    /// Where rules are.
    pub rules: Rules,
    /// Where tables are described.
    pub tables: Tables,
    /// The stage that folds events.
    pub fold: Fold,
    /// The stage that judges what was folded.
    pub judge: Judge,
    /// The stage that stores results.
    pub store: Store,
    /// The database, for [`StoreKind::Clickhouse`].
    pub clickhouse: Clickhouse,
    /// The log.
    pub log: Log,
    /// What this process does.
    pub run: Run,
    settings: Vec<Setting>,
}

/// `[kafka]`
#[derive(Debug, Clone, PartialEq)]
pub struct Kafka {
    /// `host:port`, separated by commas, without spaces: as librdkafka takes it.
    pub brokers: String,
    /// Consumer group.
    pub group: String,
    /// Stable name of this process for its transactions; `None`: make up a random one.
    pub instance: Option<String>,
    /// How brokers are spoken to.
    pub security_protocol: SecurityProtocol,
    /// Given if and only if the protocol logs in; so are user and password.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Who logs in.
    pub sasl_username: Option<String>,
    /// The password, from `sasl_password` or the file `sasl_password_file`.
    pub sasl_password: Option<Secret>,
    /// PEM file of trusted authorities; `None`: those of the system.
    pub ssl_ca_location: Option<PathBuf>,
    /// How long an unreachable broker is tried before the process gives up.
    pub connect_timeout: Duration,
    /// After how long the broker aborts an open transaction. Longer than [`Fold::interval`].
    pub transaction_timeout: Duration,
    /// After how long without a sign of life a process loses its partitions.
    pub session_timeout: Duration,
    /// Further settings of librdkafka, none of which another key governs. Some are secrets.
    pub properties: BTreeMap<String, Secret>,
}

/// `[topics]`, with all names made out; no two are the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Topics {
    /// Start of the names not given.
    pub prefix: String,
    /// Topic of partial aggregates.
    pub partials: String,
    /// Topic of readings.
    pub readings: String,
    /// Topic of alerts.
    pub alerts: String,
    /// Topic of events that could not be used.
    pub dead_letters: String,
    /// Topic of the state of rules.
    pub state: String,
    /// Topic of the rules themselves.
    pub rules: String,
    /// Topic of who changed what.
    pub audit: String,
    /// Partitions of a topic created, 1 to 1024.
    pub partitions: i32,
    /// Replicas of a topic created, 1 to 32.
    pub replication: i32,
    /// How long records are kept.
    pub retention: Duration,
}

/// `[rules]`
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Folder of the rules.
    pub path: PathBuf,
    /// Folder of the reference data.
    pub reference: PathBuf,
}

/// `[tables]`
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// Folder of the descriptions of tables.
    pub path: PathBuf,
}

/// `[fold]`
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// Where reading begins.
    pub start: Start,
    /// How often what was folded is sent on.
    pub interval: Duration,
    /// After how long a silent partition no longer holds back the others; `None`: never.
    pub idle_after: Option<Duration>,
    /// The largest event taken, in bytes.
    pub max_event_bytes: usize,
    /// How far ahead of the clock an event may be.
    pub max_ahead: Duration,
    /// How old an event may be.
    pub max_age: Duration,
}

/// `[judge]`
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// How often state is written down.
    pub snapshot_interval: Duration,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Where results go.
    pub kind: StoreKind,
    /// Folder of the files of [`StoreKind::Parquet`].
    pub path: PathBuf,
    /// The longest that a batch waits.
    pub flush_interval: Duration,
    /// The most rows in a batch.
    pub max_rows: usize,
}

/// `[clickhouse]`
#[derive(Debug, Clone, PartialEq)]
pub struct Clickhouse {
    /// `http://` or `https://`, host, port and perhaps a path; no user, password or query.
    pub url: String,
    /// A plain identifier.
    pub database: String,
    /// Who logs in.
    pub user: String,
    /// The password, from `password` or the file `password_file`.
    pub password: Option<Secret>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The form.
    pub format: LogFormat,
    /// Directives, as `tracing` filters take them; not checked here.
    pub filter: String,
}

/// `[run]`
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The stages of this process, at least one.
    pub stages: BTreeSet<Stage>,
}

/// One key with the value in force and where that was given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// The value; `***` for a secret.
    pub value: Shown,
    /// Where it was given, in words.
    pub origin: String,
}

/// A value as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Shown {
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl Shown {
    fn toml(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => quote(text),
        }
    }
}

impl Config {
    /// Every key with the value in force and its origin, in the order of [`DEFAULTS`].
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Everything in force as TOML, each line with a comment that tells where the value was given.
    pub fn describe(&self) -> String {
        let mut toml = String::new();
        let mut current = "";
        for setting in &self.settings {
            let (section, name) = in_section(&setting.key);
            if section != current {
                let gap = if current.is_empty() { "" } else { "\n" };
                toml.push_str(&format!("{gap}[{section}]\n"));
                current = section;
            }
            let name = match name.strip_prefix("properties.") {
                Some(property) => format!("properties.{}", quote(property)),
                None => name.to_owned(),
            };
            let origin = setting.origin.replace(char::is_control, " ");
            toml.push_str(&format!("{name} = {}  # {origin}\n", setting.value.toml()));
        }
        toml
    }
}

/// Gathers the layers and checks them. Only values in force are checked, but keys in every layer.
///
/// # Errors
///
/// All that is wrong, at once.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    load_or(sources, Path::new(DEFAULT_FILE))
}

fn load_or(sources: &Sources, default_file: &Path) -> Result<Config, Problems> {
    let mut raw = Raw::default();
    for (key, kind) in raw.parse(DEFAULTS, &Origin::Defaults) {
        raw.known.insert(key.clone(), kind.clone());
        raw.typed.insert(key, (kind, Origin::Defaults));
    }
    raw.add_file(sources, default_file);
    raw.add_environment(&sources.environment);
    for (key, value) in &sources.flags {
        raw.add(key, raw.untyped(key, value), Origin::Flag(format!("--set {key}")));
    }
    let config = raw.config();
    if raw.problems.is_empty() { Ok(Config { settings: raw.settings, ..config }) } else { Err(Problems(raw.problems)) }
}

/// What was typed, and what became of it.
#[derive(Default)]
struct Raw {
    /// Every known key with its default.
    known: BTreeMap<String, ValueKind>,
    /// Every known key with what was typed in the highest layer that gives it.
    typed: BTreeMap<String, (ValueKind, Origin)>,
    /// What was accepted.
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

/// Gathering.
impl Raw {
    fn add_file(&mut self, sources: &Sources, default_file: &Path) {
        let variable = sources.environment.iter().find(|(name, path)| name == FILE_VARIABLE && !path.is_empty());
        let (path, named_by) = match (&sources.file, variable) {
            (Some(path), _) => (path.as_path(), Some(Origin::Flag("--config".to_owned()))),
            (None, Some((name, path))) => (Path::new(path), Some(Origin::Variable(name.clone()))),
            (None, None) => (default_file, None),
        };
        let origin = Origin::File(path.to_owned());
        match fs::read_to_string(path) {
            Ok(text) => {
                for (key, kind) in self.parse(&text, &origin) {
                    self.add(&key, kind, origin.clone());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound && named_by.is_none() => {}
            Err(error) => {
                let hint = "name a file that can be read, or none to run on the defaults";
                let key = origin.to_string();
                self.wrong(&key, named_by.unwrap_or(origin), format!("cannot be read: {error}"), hint);
            }
        }
    }

    fn add_environment(&mut self, environment: &[(String, String)]) {
        for (name, value) in environment {
            let Some(key) = variable_key(name) else { continue };
            let origin = Origin::Variable(name.clone());
            if value.contains(char::REPLACEMENT_CHARACTER) {
                self.wrong(&key, origin, "is not valid Unicode", "write it in UTF-8");
            } else {
                self.add(&key, self.untyped(&key, value), origin);
            }
        }
    }

    /// The keys of a TOML file, dotted and sorted.
    fn parse(&mut self, text: &str, origin: &Origin) -> Vec<(String, ValueKind)> {
        let mut pairs = Vec::new();
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(table) => flatten("", ValueKind::Table(table), &mut pairs),
            Err(error) => {
                let message = format!("is not TOML: {}", where_and_why(&error.to_string()));
                let hint = "mend that place: numbers stand bare, all other values in quotes";
                self.wrong(&origin.to_string(), origin.clone(), message, hint);
            }
        }
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        pairs
    }

    /// Variables and flags are text; where the default is a number, so is what looks like one.
    fn untyped(&self, key: &str, value: &str) -> ValueKind {
        let number = match self.known.get(key) {
            Some(ValueKind::I64(_)) => value.trim().replace('_', "").parse().ok(),
            _ => None,
        };
        number.map_or_else(|| ValueKind::String(value.to_owned()), ValueKind::I64)
    }

    fn add(&mut self, key: &str, kind: ValueKind, origin: Origin) {
        let is_property = property(key).is_some_and(|name| !name.is_empty());
        if is_property || self.known.contains_key(key) {
            // Spelt in capitals and not, or with dots and as a table.
            let (_, twin) = self.typed(key);
            if discriminant(twin) == discriminant(&origin) && !matches!(origin, Origin::Flag(_)) {
                let message = format!("is given twice, also by {twin}");
                self.wrong(key, origin.clone(), message, format!("keep {} alone", origin.spell(key)));
            }
            self.typed.insert(key.to_owned(), (kind, origin));
        } else if self.is_section(key) {
            if !matches!(kind, ValueKind::Table(_)) {
                let hint = self.keys_of(key);
                self.wrong(key, origin, "is a section, and has no value itself", hint);
            }
        } else {
            let hint = match nearest(key, self.known.keys().map(String::as_str)) {
                Some(near) => format!("did you mean {}?", origin.spell(near)),
                None => self.keys_of(in_section(key).0),
            };
            self.wrong(key, origin, "is not a known key", hint);
        }
    }

    fn is_section(&self, name: &str) -> bool {
        self.known.keys().any(|known| in_section(known).0 == name)
    }

    /// The keys of a section, or which sections there are if it is none.
    fn keys_of(&self, section: &str) -> String {
        let known = self.known.keys().map(|key| in_section(key));
        if self.is_section(section) {
            let keys: Vec<&str> = known.filter(|known| known.0 == section).map(|known| known.1).collect();
            format!("[{section}] has {}", keys.join(", "))
        } else {
            let sections: BTreeSet<&str> = known.map(|known| known.0).collect();
            format!("the sections are {}", Vec::from_iter(sections).join(", "))
        }
    }
}

/// Checking. A value that will not do leaves a problem and a stand-in, so that the rest can be checked too; no
/// stand-in gets out.
impl Raw {
    fn config(&mut self) -> Config {
        let config = Config {
            kafka: self.kafka(),
            topics: self.topics(),
            rules: Rules { path: self.path("rules.path"), reference: self.path("rules.reference") },
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

    /// The value in force and where it was given.
    fn typed(&self, key: &str) -> (&ValueKind, &Origin) {
        self.typed.get(key).map_or((&ValueKind::Nil, &Origin::Defaults), |(kind, origin)| (kind, origin))
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

    fn wrong(&mut self, key: &str, origin: Origin, message: impl Into<String>, hint: impl Into<String>) {
        let (message, hint) = (message.into(), hint.into());
        self.problems.push(Problem { key: key.to_owned(), message, origin, hint });
    }
}

/// The key that an environment variable sets, if it is one of Tierwatch's.
fn variable_key(name: &str) -> Option<String> {
    let (prefix, key) = name.split_at_checked(VARIABLE_PREFIX.len())?;
    let ours = prefix.eq_ignore_ascii_case(VARIABLE_PREFIX);
    ours.then(|| key.to_lowercase().replace("__", "."))
}

/// The name librdkafka has for a key below [`PROPERTIES`].
fn property(key: &str) -> Option<&str> {
    key.strip_prefix(PROPERTIES)?.strip_prefix('.')
}

/// A key's section, and its name there.
fn in_section(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or((key, ""))
}

/// Tables inside tables become dotted keys. An empty table is kept, as a key of its own.
fn flatten(path: &str, kind: ValueKind, pairs: &mut Vec<(String, ValueKind)>) {
    match kind {
        ValueKind::Table(table) if !table.is_empty() =>
        {
            #[expect(clippy::iter_over_hash_type, reason = "pairs are sorted by key before anything is made of them")]
            for (name, value) in table {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value.kind, pairs);
            }
        }
        _ if path.is_empty() => {}
        kind => pairs.push((path.to_owned(), kind)),
    }
}

/// The parser also quotes the line it stumbled on, which may hold a secret: leave that out.
fn where_and_why(error: &str) -> String {
    let numbers = |c: char| c.is_ascii_digit() || c == ' ';
    let lines = error.lines().filter(|line| !line.trim_start_matches(numbers).starts_with('|'));
    lines.collect::<Vec<_>>().join(": ")
}

/// Whether a value must not be shown.
fn hides(key: &str, kind: &ValueKind) -> bool {
    let text = text_of(kind);
    let hidden = match (key, property(key)) {
        ("kafka.sasl_password" | "clickhouse.password", _) => true,
        // Refused, but perhaps for the password in it.
        ("kafka.brokers" | "clickhouse.url", _) => text.contains(['@', '?']),
        (_, Some(name)) => {
            ["password", "secret", "token", ".pem", "oauthbearer.config"].iter().any(|part| name.contains(part))
        }
        _ => false,
    };
    hidden && !text.is_empty()
}

/// A value without quotes.
fn text_of(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| text_of(&item.kind)).collect();
            items.join(",")
        }
        ValueKind::Table(_) => String::new(),
        kind => kind.to_string(),
    }
}

/// A value as TOML has it, or a word for what it is.
fn literal(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => quote(text),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| literal(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(_) => "a table".to_owned(),
        kind => kind.to_string(),
    }
}

/// A TOML string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn string(kind: &ValueKind) -> Option<String> {
    match kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn trimmed(kind: &ValueKind) -> Option<String> {
    string(kind).map(|text| text.trim().to_owned())
}

/// A list, or text with commas.
fn list(kind: &ValueKind) -> Option<Vec<String>> {
    match kind {
        ValueKind::Array(items) => items.iter().map(|item| trimmed(&item.kind)).collect(),
        kind => string(kind).map(|text| text.split(',').map(|item| item.trim().to_owned()).collect()),
    }
}

fn duration(kind: &ValueKind, range: &RangeInclusive<Duration>) -> Option<Duration> {
    let duration = humantime::parse_duration(&trimmed(kind)?).ok()?;
    range.contains(&duration).then_some(duration)
}

fn span(range: &RangeInclusive<Duration>) -> String {
    let (from, to) = (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
    format!("{from} to {to}")
}

const BROKERS: &str = "host:port, or several separated by commas";

fn brokers(kind: &ValueKind) -> Option<String> {
    let list = list(kind).filter(|list| !list.is_empty())?;
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    let sound = |(host, port): (&str, &str)| {
        !host.is_empty() && host.chars().all(legal) && port.parse().is_ok_and(|port: u16| port > 0)
    };
    list.iter().all(|broker| broker.rsplit_once(':').is_some_and(sound)).then(|| list.join(","))
}

const TOPIC: &str = "the name of a topic: letters, digits, '.', '_' and '-', 249 at most, 200 in a prefix";

fn topic(kind: &ValueKind) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let sound = |name: &String| name.chars().all(legal) && !matches!(name.as_str(), "" | "." | "..");
    string(kind).filter(|name| sound(name) && name.len() <= 249)
}

const STAGES: &str = "one or more of fold, judge and store, each once, separated by commas";

fn stages(kind: &ValueKind) -> Option<BTreeSet<Stage>> {
    let list = list(kind)?;
    let stages: BTreeSet<Stage> = list.iter().map(|stage| find(Stage::WORDS, stage)).collect::<Option<_>>()?;
    (!stages.is_empty() && stages.len() == list.len()).then_some(stages)
}

const START: &str = "latest, earliest or a time in UTC such as 2026-01-31T00:00:00Z";

fn start(kind: &ValueKind) -> Option<Start> {
    match trimmed(kind)?.as_str() {
        "latest" => Some(Start::Latest),
        "earliest" => Some(Start::Earliest),
        time => {
            let since = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_millis()).ok().map(Start::At)
        }
    }
}

const URL: &str = "http:// or https:// with a host, perhaps a port and a path, but no user, password or query";

fn url(kind: &ValueKind) -> Option<String> {
    let url = trimmed(kind)?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let legal = |c: char| c.is_ascii_graphic() && !"@?#".contains(c);
    (!rest.is_empty() && !rest.starts_with(['/', ':']) && rest.chars().all(legal)).then_some(url)
}

const IDENTIFIER: &str = "letters, digits and '_', not starting with a digit";

fn identifier(kind: &ValueKind) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    trimmed(kind).filter(|name| name.chars().all(legal) && name.starts_with(|c: char| !c.is_ascii_digit()))
}

fn scalar(kind: &ValueKind) -> Option<String> {
    match kind {
        ValueKind::String(_) | ValueKind::I64(_) | ValueKind::Float(_) | ValueKind::Boolean(_) => Some(text_of(kind)),
        _ => None,
    }
}

fn find<T: Copy>(words: &[(&'static str, T)], text: &str) -> Option<T> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value)
}

/// What was probably meant: a candidate few typing mistakes away, or one that only lacks its section.
fn nearest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mistakes = |candidate: &str| match in_section(candidate) {
        (_, name) if name == typed => 0,
        _ => distance(typed, candidate),
    };
    let nearest = candidates.map(|candidate| (mistakes(candidate), candidate)).min();
    nearest.filter(|(mistakes, _)| *mistakes <= 1 + typed.len() / 6).map(|(_, candidate)| candidate)
}

/// How many characters must be added, dropped or changed to turn one into the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, c) in one.chars().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for ((above, diagonal), d) in row.iter().skip(1).zip(&row).zip(&other) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(c != *d));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration file, and what goes with it.
    #[derive(Default)]
    struct Case<'a> {
        file: &'a str,
        environment: &'a [(&'a str, &'a str)],
        flags: &'a [(&'a str, &'a str)],
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    impl Case<'_> {
        fn load(&self) -> Result<Config, Problems> {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("test.toml");
            fs::write(&file, self.file).unwrap();
            let (environment, flags) = (owned(self.environment), owned(self.flags));
            load(&Sources { file: Some(file), environment, flags })
        }

        fn config(&self) -> Config {
            self.load().unwrap_or_else(|problems| panic!("{problems}"))
        }

        fn problems(&self) -> Vec<Problem> {
            self.load().expect_err(self.file).0
        }
    }

    fn from_file(file: &str) -> Case<'_> {
        Case { file, ..Case::default() }
    }

    fn from_variable<'a>(pair: &'a [(&'a str, &'a str)]) -> Case<'a> {
        Case { environment: pair, ..Case::default() }
    }

    fn from_flag<'a>(pair: &'a [(&'a str, &'a str)]) -> Case<'a> {
        Case { flags: pair, ..Case::default() }
    }

    fn without_origins(config: &Config) -> Vec<(String, Shown)> {
        config.settings().iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect()
    }

    #[test]
    fn defaults_are_what_the_example_says() {
        let built_in = from_file("").config();
        let example = from_file(DEFAULTS).config();
        assert_eq!(without_origins(&built_in), without_origins(&example));
        assert_eq!(Config { settings: Vec::new(), ..built_in.clone() }, Config { settings: Vec::new(), ..example });

        assert_eq!(built_in.kafka.brokers, "localhost:9092");
        assert_eq!(built_in.kafka.instance, None);
        assert_eq!(built_in.kafka.connect_timeout, MINUTE);
        assert_eq!(built_in.topics.dead_letters, "tierwatch.dead-letters");
        assert_eq!((built_in.topics.partitions, built_in.topics.retention), (8, 7 * DAY));
        assert_eq!((built_in.fold.start, built_in.fold.idle_after), (Start::Latest, Some(30 * SECOND)));
        assert_eq!((built_in.store.kind, built_in.log.format), (StoreKind::Clickhouse, LogFormat::Auto));
        assert_eq!(built_in.clickhouse.password, None);
        assert_eq!(built_in.run.stages, BTreeSet::from([Stage::Fold, Stage::Judge, Stage::Store]));
    }

    #[test]
    fn every_known_key_is_checked_and_described_in_order() {
        let config = from_file("").config();
        let described: Vec<&str> = config.settings().iter().map(|setting| setting.key.as_str()).collect();
        let mut section = "";
        let mut documented = Vec::new();
        for line in DEFAULTS.lines().filter(|line| !line.starts_with('#')) {
            match (line.strip_prefix('['), line.split_once(" = ")) {
                (Some(header), _) => section = header.trim_end_matches(']'),
                (None, Some((name, _))) => documented.push(format!("{section}.{name}")),
                (None, None) => {}
            }
        }
        assert_eq!(described, documented);
    }

    #[test]
    fn higher_layers_win_and_are_named() {
        let variable = ("TIERWATCH__TOPICS__PARTITIONS", "16");
        let flag = ("topics.partitions", "32");
        let typed = "[topics]\npartitions = 4";
        let case = |file, environment, flags| Case { file, environment, flags };
        for (case, partitions, origin) in [
            (case("", &[], &[]), 8, "defaults"),
            (case(typed, &[], &[]), 4, "file "),
            (case(typed, &[variable], &[]), 16, "environment variable TIERWATCH__TOPICS__PARTITIONS"),
            (case("", &[("tierwatch__topics__partitions", " 1_6 ")], &[]), 16, "environment variable tierwatch__"),
            (case(typed, &[variable], &[flag]), 32, "flag --set topics.partitions"),
            (case(typed, &[variable], &[flag, ("topics.partitions", "64")]), 64, "flag --set topics.partitions"),
            // Of a value out of force only the key matters.
            (case("[topics]\npartitions = 0", &[variable], &[]), 16, "environment variable TIERWATCH__"),
        ] {
            let config = case.config();
            assert_eq!(config.topics.partitions, partitions);
            let setting = config.settings().iter().find(|setting| setting.key == "topics.partitions").unwrap();
            assert_eq!(setting.value, Shown::Number(partitions.into()));
            assert!(setting.origin.starts_with(origin), "{} is not {origin}", setting.origin);
        }
    }

    #[test]
    fn values_are_read_as_meant() {
        let config = from_file(
            "[kafka]\nbrokers = ['a:1', 'b:2']\nproperties.socket.keepalive.enable = true\nproperties.'linger.ms' = 5\n\
             [topics]\nprefix = 'acme'\naudit = 'journal'\n[fold]\nstart = 1970-01-01T00:00:01.5Z\nidle_after = 'never'\n\
             [run]\nstages = ['store', 'fold']",
        )
        .config();
        assert_eq!(config.kafka.brokers, "a:1,b:2");
        let properties: Vec<_> =
            config.kafka.properties.iter().map(|(name, value)| (&**name, value.expose())).collect();
        assert_eq!(properties, [("linger.ms", "5"), ("socket.keepalive.enable", "true")]);
        assert_eq!((&*config.topics.state, &*config.topics.audit), ("acme.state", "journal"));
        assert_eq!((config.fold.start, config.fold.idle_after), (Start::At(1_500), None));
        assert_eq!(config.run.stages, BTreeSet::from([Stage::Fold, Stage::Store]));

        let config = Case {
            environment: &[
                ("TIERWATCH__RUN__STAGES", "judge, FOLD"),
                ("TIERWATCH__FOLD__MAX_AHEAD", "0s"),
                ("TIERWATCH__KAFKA__PROPERTIES__linger.ms", "5"),
                ("TIERWATCH_PORT", "tcp://10.0.0.1:80"),
                ("PATH", "/bin"),
            ],
            flags: &[("kafka.properties.statistics.interval.ms", "1000"), ("log.format", "json")],
            ..Case::default()
        }
        .config();
        assert_eq!(config.run.stages, BTreeSet::from([Stage::Fold, Stage::Judge]));
        assert_eq!(config.fold.max_ahead, Duration::ZERO);
        assert_eq!(Vec::from_iter(config.kafka.properties.keys()), ["linger.ms", "statistics.interval.ms"]);
        assert_eq!(config.log.format.as_str(), "json");
    }

    #[test]
    fn the_default_file_is_optional_and_a_named_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (present, absent) = (folder.path().join("present.toml"), folder.path().join("absent.toml"));
        fs::write(&present, "[kafka]\ngroup = 'other'").unwrap();
        let named = |path: &Path| vec![(FILE_VARIABLE.to_owned(), path.display().to_string())];
        let none = Sources::default;
        for (sources, default_file, outcome) in [
            (none(), &absent, Ok("tierwatch")),
            (none(), &present, Ok("other")),
            (Sources { environment: named(&present), ..none() }, &absent, Ok("other")),
            (Sources { environment: named(Path::new("")), ..none() }, &absent, Ok("tierwatch")),
            (Sources { environment: named(&absent), ..none() }, &present, Err("environment variable TIERWATCH_CONFIG")),
            (Sources { file: Some(absent.clone()), ..none() }, &present, Err("flag --config")),
            (Sources { file: Some(present.clone()), environment: named(&absent), ..none() }, &absent, Ok("other")),
            (none(), &folder.path().to_owned(), Err("file ")),
        ] {
            match (load_or(&sources, default_file), outcome) {
                (Ok(config), Ok(group)) => assert_eq!(config.kafka.group, group),
                (Err(problems), Err(origin)) => {
                    assert_eq!(problems.0.len(), 1);
                    let problem = problems.0.first().unwrap();
                    assert!(problem.message.starts_with("cannot be read"), "{problems}");
                    assert!(problem.origin.to_string().starts_with(origin), "{problems}");
                }
                (loaded, _) => panic!("{loaded:?} instead of {outcome:?}"),
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    #[test]
    fn each_kind_of_problem_tells_key_value_origin_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        fs::write(&empty, "\n").unwrap();
        let full = folder.path().join("full");
        fs::write(&full, "pw").unwrap();
        let empty = format!("[clickhouse]\npassword_file = '{}'", empty.display());
        let both = format!("[clickhouse]\npassword = 'pw'\npassword_file = '{}'", full.display());
        let needless = format!("[kafka]\nsasl_password_file = '{}'", full.display());
        // The case, the key, and what the printed problem contains.
        let cases: &[(Case, &str, &[&str])] = &[
            // Wrong type.
            (
                from_file("topics.partitions = '8'"),
                "topics.partitions",
                &["\"8\" is not a whole number", "write, for example, partitions = 8 in [topics]", "test.toml"],
            ),
            (
                from_file("fold.interval = 500"),
                "fold.interval",
                &["500 is not a span of time from 50ms to 1m", "interval = \"500ms\" in [fold]"],
            ),
            (from_file("kafka.group = ['a']"), "kafka.group", &["[\"a\"] is not text"]),
            (
                from_file("kafka.properties.'linger.ms' = [5]"),
                "kafka.properties.linger.ms",
                &["[5] is not text, a number"],
            ),
            (from_variable(&[("TIERWATCH__KAFKA__PROPERTIES", "x")]), "kafka.properties", &["is a table"]),
            (
                from_variable(&[("TIERWATCH__STORE__MAX_ROWS", "many")]),
                "store.max_rows",
                &[
                    "\"many\" is not a whole number from 1 to 10000000",
                    "write, for example, TIERWATCH__STORE__MAX_ROWS=100000",
                    "environment variable TIERWATCH__STORE__MAX_ROWS",
                ],
            ),
            (from_variable(&[("TIERWATCH__LOG__FILTER", "\u{FFFD}")]), "log.filter", &["not valid Unicode"]),
            // Out of range.
            (
                from_flag(&[("topics.partitions", "1025")]),
                "topics.partitions",
                &[
                    "1025 is not a whole number from 1 to 1024",
                    "flag --set topics.partitions",
                    "--set topics.partitions=8",
                ],
            ),
            (from_flag(&[("topics.replication", "-1")]), "topics.replication", &["-1 is not"]),
            (from_flag(&[("fold.interval", "49ms")]), "fold.interval", &["\"49ms\" is not"]),
            (from_flag(&[("fold.interval", "61s")]), "fold.interval", &["\"61s\" is not"]),
            (from_flag(&[("fold.idle_after", "nevr")]), "fold.idle_after", &["never or a span of time"]),
            // Not well formed.
            (from_flag(&[("kafka.brokers", "")]), "kafka.brokers", &["host:port"]),
            (from_flag(&[("kafka.brokers", "a:1,b")]), "kafka.brokers", &["\"a:1,b\" is not host:port"]),
            (from_flag(&[("kafka.brokers", "a:70000")]), "kafka.brokers", &["host:port"]),
            (from_flag(&[("kafka.group", " ")]), "kafka.group", &["not empty"]),
            (from_flag(&[("fold.start", "2026-01-31T00:00:00+02:00")]), "fold.start", &["a time in UTC"]),
            (from_flag(&[("fold.start", "yesterday")]), "fold.start", &["latest, earliest or"]),
            (from_flag(&[("topics.prefix", "a b")]), "topics.prefix", &["the name of a topic"]),
            (from_flag(&[("topics.state", "..")]), "topics.state", &["--set topics.state=tierwatch.state"]),
            (from_flag(&[("clickhouse.url", "localhost:8123")]), "clickhouse.url", &["http:// or https://"]),
            (from_flag(&[("clickhouse.database", "a;b")]), "clickhouse.database", &["letters, digits"]),
            (
                from_flag(&[("kafka.security_protocol", "sasl-ssl")]),
                "kafka.security_protocol",
                &["one of plaintext, ssl, sasl_plaintext, sasl_ssl", "--set kafka.security_protocol=sasl_ssl"],
            ),
            (from_flag(&[("run.stages", "fold,jugde")]), "run.stages", &["fold, judge and store"]),
            (from_flag(&[("run.stages", "fold,fold")]), "run.stages", &["each once"]),
            (from_flag(&[("run.stages", "")]), "run.stages", &["one or more"]),
            // Unknown, in every layer, with the nearest or with what there is.
            (from_file("[kafka]\nbroker = 'a:1'"), "kafka.broker", &["not a known key", "did you mean kafka.brokers?"]),
            (from_file("brokers = 'a:1'"), "brokers", &["did you mean kafka.brokers?"]),
            (from_file("kafka.brokers.host = 'a'"), "kafka.brokers.host", &["not a known key"]),
            (from_file("kafka = 'a:1'"), "kafka", &["is a section", "brokers, "]),
            (from_file("[metrics]"), "metrics", &["the sections are clickhouse, fold, judge, kafka, "]),
            (
                from_variable(&[("TIERWATCH__KAFKA__BROKER", "a:1")]),
                "kafka.broker",
                &["did you mean TIERWATCH__KAFKA__BROKERS?", "environment variable TIERWATCH__KAFKA__BROKER\n"],
            ),
            (from_variable(&[("TIERWATCH__", "")]), "", &["the sections are"]),
            (from_flag(&[("fold.intervall", "1s")]), "fold.intervall", &["did you mean --set fold.interval?"]),
            (from_flag(&[("log.level", "debug")]), "log.level", &["[log] has filter, format"]),
            (from_flag(&[("kafka.properties.", "x")]), "kafka.properties.", &["not a known key"]),
            // Twice.
            (
                from_variable(&[("TIERWATCH__LOG__FILTER", "info"), ("tierwatch__log__filter", "warn")]),
                "log.filter",
                &["given twice", "keep TIERWATCH__LOG__FILTER alone"],
            ),
            (from_file("'log.filter' = 'info'\n[log]\nfilter = 'warn'"), "log.filter", &["given twice"]),
            // Contradictory.
            (
                from_flag(&[("fold.interval", "5s")]),
                "fold.interval",
                &["\"5s\" is not below kafka.transaction_timeout = \"5s\" (defaults)"],
            ),
            (
                from_flag(&[("kafka.sasl_username", "me")]),
                "kafka.sasl_username",
                &["kafka.security_protocol = \"plaintext\" (defaults) has no use for it"],
            ),
            (
                from_flag(&[("kafka.ssl_ca_location", "ca.pem")]),
                "kafka.ssl_ca_location",
                &["has no use for it", "ssl or sasl_ssl"],
            ),
            (
                from_flag(&[
                    ("kafka.security_protocol", "sasl_ssl"),
                    ("kafka.sasl_mechanism", "PLAIN"),
                    ("kafka.sasl_password", "pw"),
                ]),
                "kafka.sasl_username",
                &["needs it", "sasl_username = \"tierwatch\" in [kafka]"],
            ),
            (
                from_flag(&[("topics.state", "tierwatch.rules")]),
                "topics.state",
                &["is \"tierwatch.rules\", and so is topics.rules"],
            ),
            (from_flag(&[("topics.audit", "tierwatch.rules")]), "topics.audit", &["and so is topics.rules"]),
            (
                from_flag(&[("kafka.properties.group.id", "x")]),
                "kafka.properties.group.id",
                &["cannot be set as a property", "set kafka.group"],
            ),
            (from_flag(&[("kafka.properties.acks", "1")]), "kafka.properties.acks", &["exactly-once"]),
            // Files of secrets.
            (from_file(&both), "clickhouse.password", &["is given, and so is clickhouse.password_file = \""]),
            (from_file(&needless), "kafka.sasl_password_file", &["is given, but", "file "]),
            (
                from_flag(&[("clickhouse.password_file", "no/such")]),
                "clickhouse.password_file",
                &["\"no/such\" cannot be read: No such file"],
            ),
            (from_file(&empty), "clickhouse.password_file", &["is an empty file"]),
            // Not TOML.
            (from_file("[log\nfilter = 'info'"), "file ", &["is not TOML", "line 1"]),
        ];
        for (case, key, parts) in cases {
            let problems = case.problems();
            let printed = Problems(problems.clone()).to_string();
            assert_eq!(problems.len(), 1, "{key}: {printed}");
            assert!(problems.first().is_some_and(|problem| problem.key.starts_with(key)), "{key}: {printed}");
            for part in *parts {
                assert!(printed.contains(part), "{part:?} is missing in {printed}");
            }
        }
    }

    #[test]
    fn all_problems_come_at_once() {
        let problems = Case {
            file: "[kafka]\nbrokers = 'nowhere'\ngruop = 'a'\nsasl_password_file = 'no/such'\n\
                   security_protocol = 'sasl_ssl'\n[topics]\nprefix = '?'\n[fold]\ninterval = '1h'",
            environment: &[("TIERWATCH__KAFKA__TRANSACTION_TIMEOUT", "1s"), ("TIERWATCH__STORE__KID", "none")],
            flags: &[("store.max_rows", "0"), ("run.stage", "fold")],
        }
        .problems();
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        // No contradiction is made out of what is wrong already: not of the interval, nor of the topics.
        assert_eq!(
            keys,
            [
                "kafka.gruop",
                "store.kid",
                "run.stage",
                "kafka.brokers",
                "kafka.sasl_password_file",
                "kafka.sasl_mechanism",
                "kafka.sasl_username",
                "topics.prefix",
                "fold.interval",
                "store.max_rows"
            ]
        );
        let printed = Problems(problems).to_string();
        assert!(
            printed.starts_with("10 problems in the configuration:\n  1. kafka.gruop: is not a known key\n"),
            "{printed}"
        );
        assert!(printed.contains("\n 10. store.max_rows: 0 is not"), "{printed}");
    }

    #[test]
    fn secrets_are_used_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "hunter2 \r\n").unwrap();
        let case = Case {
            file: "[kafka]\nsecurity_protocol = 'sasl_ssl'\nsasl_mechanism = 'scram-sha-512'\nsasl_username = 'me'\n\
                   properties.'ssl.key.password' = 'hunter2'",
            environment: &[("TIERWATCH__KAFKA__SASL_PASSWORD", "hunter2")],
            flags: &[("clickhouse.password_file", file.to_str().unwrap())],
        };
        let config = case.config();
        assert_eq!(config.kafka.sasl_password.as_ref().map(Secret::expose), Some("hunter2"));
        assert_eq!(config.kafka.sasl_mechanism, Some(SaslMechanism::ScramSha512));
        assert_eq!(config.clickhouse.password.as_ref().map(Secret::expose), Some("hunter2 "));
        assert_eq!(config.kafka.properties.get("ssl.key.password").map(Secret::expose), Some("hunter2"));
        assert_eq!(format!("{0} {0:?}", Secret("hunter2".to_owned())), "*** ***");
        assert!(
            config
                .describe()
                .contains("sasl_password = \"***\"  # environment variable TIERWATCH__KAFKA__SASL_PASSWORD\n")
        );
        for shown in [format!("{config:?}"), config.describe(), format!("{:?}", config.settings())] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }

        for case in [
            from_file("[clickhouse]\npassword = hunter2"),
            from_file("[clickhouse]\npassword = '''\nhunter2"),
            from_file("[clickhouse]\npasswort = 'hunter2'"),
            from_file("[clickhouse]\npassword = ['hunter2']"),
            from_file("[clickhouse]\npassword.text = 'hunter2'"),
            from_file("[clickhouse]\npassword = 'hunter2'\npassword_file = 'no/such'"),
            from_file("[clickhouse]\nurl = 'http://me:hunter2@localhost:8123'"),
            from_file("[clickhouse]\nurl = 'http://localhost:8123?password=hunter2'"),
            from_file("[kafka]\nsasl_password = 'hunter2'"),
            from_file("[kafka]\nbrokers = 'me:hunter2@localhost:9092'"),
            from_file("[kafka]\nproperties.'sasl.password' = 'hunter2'"),
            from_file("[kafka]\nproperties.'ssl.key.password' = ['hunter2']"),
            from_variable(&[("TIERWATCH__CLICKHOUSE__PASSWORT", "hunter2")]),
            from_variable(&[("TIERWATCH__CLICKHOUSE__PASSWORD", "hunter2\u{FFFD}")]),
            from_flag(&[("password", "hunter2")]),
        ] {
            let problems = Problems(case.problems());
            assert!(!format!("{problems} {problems:?}").contains("hunter2"), "{problems}");
        }
    }

    #[test]
    fn the_description_can_be_loaded_again() {
        let config = Case {
            file: "[topics]\nprefix = 'acme'\n[fold]\nstart = '2026-01-31T00:00:00Z'\n[log]\nfilter = \"a\\\"\\\\b\\tc\"\n\
                   [run]\nstages = ['fold']",
            environment: &[("TIERWATCH__FOLD__INTERVAL", "2s")],
            flags: &[("kafka.properties.linger.ms", "5")],
        }
        .config();
        let description = config.describe();
        for line in [
            "[kafka]\nbrokers = \"localhost:9092\"  # defaults\n",
            "\nproperties.\"linger.ms\" = \"5\"  # flag --set kafka.properties.linger.ms\n\n[topics]\n",
            "\ndead_letters = \"acme.dead-letters\"  # topics.prefix: file ",
            "\npartitions = 8  # defaults\n",
            "\ninterval = \"2s\"  # environment variable TIERWATCH__FOLD__INTERVAL\n",
            "\nfilter = \"a\\\"\\\\b\\u0009c\"  # file ",
        ] {
            assert!(description.contains(line), "{line:?} is missing in {description}");
        }
        let again = from_file(&description).config();
        assert_eq!(without_origins(&again), without_origins(&config));
    }

    #[test]
    fn near_misses_are_found() {
        let words = ["kafka.brokers", "kafka.group", "fold.max_age", "fold.max_ahead"];
        for (typed, near) in [
            ("kafka.broker", Some("kafka.brokers")),
            ("kafak.brokers", Some("kafka.brokers")),
            ("group", Some("kafka.group")),
            ("fold.max_ag", Some("fold.max_age")),
            ("fold.max-ahead", Some("fold.max_ahead")),
            ("kafka.compression", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, words.into_iter()), near, "{typed}");
        }
        for (one, other, mistakes) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, other), mistakes, "{one} {other}");
        }
    }
}
