//! The checked configuration: one struct for each section, and the types of their fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::show::Setting;

/// Text that is never shown: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

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
            pub(super) const WORDS: &[(&str, Self)] = &[$(($word, Self::$variant)),+];

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
    pub(super) fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    pub(super) fn encrypts(self) -> bool {
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
    pub(super) settings: Vec<Setting>,
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
    /// The largest record the topics take, in bytes.
    pub max_record_bytes: usize,
    /// Replicas of a topic created, 1 to 32.
    pub replication: i32,
    /// How long records are kept.
    pub retention: Duration,
}

impl Topics {
    /// How large a record is made at most, in bytes: well under what the topics take.
    pub fn part_bytes_max(&self) -> usize {
        self.max_record_bytes / 2
    }
}

/// `[rules]`
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Folder of the rules.
    pub path: PathBuf,
    /// Folder of the reference data.
    pub reference: PathBuf,
    /// How often the files are looked at for changes; `None`: never.
    pub watch_interval: Option<Duration>,
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
