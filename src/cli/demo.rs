//! `tierwatch demo`: what a newcomer sees first.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Args;

use super::{Outcome, print};
use crate::{
    config::{Config, Log},
    demo,
    judge::{
        output::{BreachEvent, Notice, Reading, plain},
        series::Happened,
    },
    loops::Watcher,
    pipeline::{self, Shutdown, clock},
    rules::levels::Level,
    telemetry,
};

/// What `demo` was asked for.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Ends by itself after so long, with a summary [default: runs until Ctrl-C]
    #[arg(long = "for", value_name = "SPAN", value_parser = humantime::parse_duration)]
    span: Option<Duration>,
}

impl Demo {
    pub(super) fn run(self, config: Config) -> Outcome {
        telemetry::init(&Log { filter: "error".into(), ..config.log.clone() });
        let shutdown = Shutdown::default();
        pipeline::shutdown_on_signal(&shutdown)?;
        let began = clock::now();
        let screen = Arc::new(Screen { began, color: std::io::stdout().is_terminal(), seen: Mutex::default() });
        let demo = demo::Demo::new(config, shutdown, screen.clone())?;
        print(&format!(
            "A Kafka broker runs inside this process, at {}. A small shop sends events to it: requests,\n\
             business operations, node metrics. Three rules watch (sql/demo). All is well now; after {} s payments\n\
             begin to fail, checkout becomes slow, and a node runs hot. Levels follow once windows close.\n",
            demo.brokers(),
            demo::generator::PAYMENTS_MILD_FROM_MS / 1000,
        ))?;
        let brokers = demo.brokers().to_owned();
        demo.run(self.span)?;
        screen.summary(&brokers)?;
        Ok(ExitCode::SUCCESS)
    }
}

struct Screen {
    began: i64,
    color: bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    levels: BTreeMap<(String, String), Level>,
    events: u64,
    rejected: u64,
    readings: usize,
    breaches: BTreeMap<Happened, usize>,
    told_ms: i64,
}

impl Screen {
    fn since(&self) -> i64 {
        (clock::now() - self.began) / 1000
    }

    fn paint(&self, level: Level, text: &str) -> String {
        let code = match level {
            Level::Healthy => "32",
            Level::Warning => "33",
            Level::Critical => "31;1",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, line: &str) {
        // The screen has gone: there is nobody to tell.
        writeln!(std::io::stdout().lock(), "{:>4}s  {line}", self.since()).ok();
    }

    fn summary(&self, brokers: &str) -> anyhow::Result<()> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let breaches: Vec<String> =
            seen.breaches.iter().map(|(happened, count)| format!("{count} {}", happened.name())).collect();
        print(&format!(
            "\n{} events ({} of them broken, and so in the dead letters), {} readings; breach events: {}.\n\n\
             What next?\n  \
             tierwatch sql --store {store} \"SELECT window_end, rule, series, type, level, summary FROM breaches ORDER BY 1\"\n  \
             tierwatch sql --store {store} \"SELECT rule, state, count(*) FROM readings GROUP BY 1, 2 ORDER BY 1, 2\"\n  \
             while it runs: kcat -b {brokers} -C -t {alerts} -f '%h\\n%s\\n\\n'\n  \
             tierwatch explain sql/demo/success_ratio.sql, and the rules under sql/rules",
            seen.events,
            seen.rejected,
            seen.readings,
            if breaches.is_empty() { "none".to_owned() } else { breaches.join(", ") },
            store = demo::STORE,
            alerts = demo::ALERTS,
        ))
    }
}

impl Watcher for Screen {
    fn judged(&self, readings: &[Reading], breaches: &[BreachEvent], _notices: &[Notice]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.readings += readings.len();
        for reading in readings {
            let Some(level) = reading.level else { continue };
            let key = (reading.rule.header.name.clone(), reading.series.to_string());
            let before = seen.levels.insert(key, level);
            if before.is_some_and(|before| before != level) {
                let series: Vec<String> = reading.columns.iter().map(|(_, value)| plain(value)).collect();
                let value =
                    reading.value.map_or_else(String::new, |value| format!("{value:.4} {}", reading.rule.header.unit));
                let levels = format!("{} -> {}", before.unwrap_or_default().name(), level.name());
                self.line(&format!(
                    "{:<9} {:<18} {:<10} {value:<16} {}",
                    reading.rule.header.tier.name(),
                    reading.rule.header.name,
                    series.join(" "),
                    self.paint(level, &levels)
                ));
            }
        }
        for event in breaches {
            *seen.breaches.entry(event.happened).or_default() += 1;
            let happened = event.happened.name().to_uppercase();
            // Who most of it comes from, where one value stands out.
            let most = event.contributors.iter().find(|contributor| contributor.share > 0.5);
            let most = most.and_then(|most| Some(format!("; {:.0}% are {}", most.share * 100.0, most.value.as_ref()?)));
            let text = format!("{happened:<11} {:<18} {}{}", event.rule, event.summary, most.unwrap_or_default());
            self.line(&self.paint(event.level, &text));
        }
    }

    fn folded(&self, events: u64, rejected: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.events += events;
        seen.rejected += rejected;
        let now = clock::now();
        if now - seen.told_ms >= 10_000 {
            seen.told_ms = now;
            let unwell = seen.levels.values().filter(|level| **level > Level::Healthy).count();
            if seen.readings == 0 {
                self.line(&format!("{} events; the first windows close in a few seconds", seen.events));
                return;
            }
            self.line(&format!(
                "{} events, {} readings; {} of {} series are not healthy",
                seen.events,
                seen.readings,
                unwell,
                seen.levels.len()
            ));
        }
    }
}
