//! What is accepted and what is refused, layer by layer, and what is never shown.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{
    check::{DAY, MINUTE, SECOND},
    keys::nearest,
    *,
};

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
    let properties: Vec<_> = config.kafka.properties.iter().map(|(name, value)| (&**name, value.expose())).collect();
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
        (from_file("kafka.properties.'linger.ms' = [5]"), "kafka.properties.linger.ms", &["[5] is not text, a number"]),
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
            &["1025 is not a whole number from 1 to 1024", "flag --set topics.partitions", "--set topics.partitions=8"],
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
        config.describe().contains("sasl_password = \"***\"  # environment variable TIERWATCH__KAFKA__SASL_PASSWORD\n")
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
}
