//! What a simulation plays, and what it must come to: the same SQL as one batch query over all events, the levels that a
//! plain state machine gives to its readings, and the breach events of the same events when nothing happens to anybody,
//! which are those of the plain state machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use arrow::array::RecordBatch;
use tierwatch::{
    backtest::{self, Input},
    config::Config,
    decode::{Decoder, Event as Encoded, Limits},
    files,
    judge::output::{BreachEvent, Measure, Output},
    panes::last_end_until,
    partial::Record,
    planted::{self, Bug},
    rules::{Files, RuleSet, RuleSets, Settings, diagnostics::Source},
};

use super::{
    Faults, World,
    kafka::Place,
    levels::{self, Judged, SLIDE_MS, WINDOW_MS},
    random::Random,
    store::{ReadingKey, Row},
};
use crate::end_to_end::{Line, batch_lines, line};

/// The rule that another binary sees differently.
const DISPUTED: &str = "slow";

/// The built-in rule about rules that are fenced off.
const FENCED: &str = "tierwatch_rule_fenced";

/// When a simulation begins.
pub(crate) const START: i64 = 1_767_225_600_000;
/// For how long events come.
pub(crate) const SPAN_MS: i64 = 40_000;
/// Until when topics may be made anew and records be lost, so that windows after it are whole again.
pub(crate) const DISASTERS_MS: i64 = 8_000;
/// How late events may be that correct windows.
const LATENESS_MS: i64 = 20_000;
/// What an event may be ahead of its record, and behind it: an hour, and a week.
const AHEAD_MS: i64 = 3_600_000;
const AGE_MS: i64 = 7 * 24 * AHEAD_MS;
/// Partitions of the source topic.
pub(crate) const SOURCE_PARTITIONS: i32 = 2;
const TOPIC: &str = "requests";

/// An event, and when it comes.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) due_ms: i64,
    pub(crate) place: Place,
    pub(crate) payload: String,
    garbage: bool,
    /// Its time, where it comes later than events may that correct nothing.
    late: Option<i64>,
}

fn rule(name: &str, header: &str, sql: &str) -> Arc<Source> {
    let text = format!(
        "/*\nname: {name}\ntier: business\nowner: tests\n{header}\nannotations: {{summary: \"{{{{ value }}}}\", runbook_url: \"https://x\"}}\n*/\n{sql}"
    );
    Arc::new(Source { path: format!("{name}.sql"), text })
}

/// A rule by key with `for`, one by two keys, one in a single partition. The versions differ in their folds and limits,
/// and in a rule more, but not in what the first three say.
fn sources(version: usize) -> Vec<Arc<Source>> {
    let filter = ["", "WHERE duration_ms >= 0", "", "WHERE status_code > 0"][version % 4];
    let (slide, size) = (SLIDE_MS / 1_000, WINDOW_MS / 1_000);
    let window = format!("hop(requests, event_time, INTERVAL '{slide} seconds', INTERVAL '{size} seconds')");
    let mut rules = vec![
        rule(
            "failures",
            &levels::header("failures", 0),
            &format!(
                "SELECT service, ratio(count(*) FILTER (WHERE status_code >= 500), count(*)) AS value, count(*) AS samples FROM {window} GROUP BY service"
            ),
        ),
        rule(
            "slow",
            &levels::header("slow", 0),
            &format!(
                "SELECT service, route, max(duration_ms) AS value, sum(duration_ms) AS total FROM {window} {filter} GROUP BY service, route"
            ),
        ),
        rule(
            "all",
            &levels::header("all", u32::try_from(version).unwrap()),
            &format!("SELECT count(*) AS value, avg(duration_ms) AS ms FROM {window}"),
        ),
    ];
    if version >= 2 {
        rules.push(rule(
            "more",
            "levels: {warning: value > 3}\nfor: 0s",
            &format!("SELECT route, count(*) AS value FROM {window} GROUP BY route"),
        ));
    }
    rules
}

fn compile(rules: Vec<Arc<Source>>, settings: Settings) -> Arc<RuleSet> {
    let base = files::read(&[], Path::new("schemas/tables"), Path::new("sql/reference")).expect("the files are there");
    let (set, problems) = RuleSet::compile(Files { rules, ..base }, settings);
    assert!(!RuleSet::broken(&problems), "{problems:?}");
    Arc::new(set)
}

/// The rules as another binary runs them, which comes to other values of one of them.
fn otherwise(rules: &[Arc<Source>]) -> Vec<Arc<Source>> {
    let changed = |source: &Arc<Source>| {
        let text = source.text.replace("max(duration_ms) AS value", "max(duration_ms) + 7 AS value");
        Arc::new(Source { path: source.path.clone(), text })
    };
    rules.iter().map(changed).collect()
}

/// A rule that looks back over its own readings, and one over the readings of two.
fn looking_back() -> Vec<Arc<Source>> {
    let failing = "coalesce(ratio(count(*) FILTER (WHERE status_code >= 500), count(*)), 0)";
    let again = rule(
        "again",
        "levels: {warning: value > 0.2, critical: again AND value > 0.2}\nhistory: {again: \"recurs(value > 0.2, 2, 4)\", rise: \"trend(value, INTERVAL '40 seconds')\"}\nfor: 0s\nno_data: {as: zero, after: 15s}",
        &format!(
            "SELECT service, {failing} AS value, count(*) AS samples FROM hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY service"
        ),
    );
    let both = rule(
        "both",
        "key: [service]\nlevels: {warning: value > 1}\nfor: 0s",
        "SELECT a.service, a.bad + coalesce(b.bad, 0) AS value, a.readings AS samples FROM \
         (SELECT service, count(*) FILTER (WHERE level <> 'healthy') AS bad, count(*) AS readings FROM hop(rule.failures, window_end, INTERVAL '5 seconds', INTERVAL '15 seconds') GROUP BY service) AS a \
         LEFT JOIN (SELECT service, count(*) FILTER (WHERE state = 'critical') AS bad FROM hop(rule.again, window_end, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY service) AS b ON a.service = b.service",
    );
    sources(0).into_iter().chain([again, both]).collect()
}

/// The rules, and one that reads another topic.
pub(crate) fn with_another_topic() -> Arc<RuleSet> {
    let other = rule(
        "other",
        "levels: {warning: value > 3}",
        "SELECT count(*) AS value FROM hop(workflow_events, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds')",
    );
    compile(sources(0).into_iter().chain([other]).collect(), SETTINGS)
}

/// What a simulation must come to.
pub(crate) struct Expected {
    pub(crate) readings: BTreeSet<Line>,
    /// The readings that another binary comes to.
    otherwise: BTreeSet<Line>,
    /// Breach events by id.
    pub(crate) breaches: BTreeMap<String, String>,
    /// What the plain state machine makes of the readings.
    plain: Judged,
}

/// Settings of the rule sets that are played.
pub(crate) const SETTINGS: Settings = Settings { idle_after_ms: Some(5_000) };

/// How many versions of the rule files there are.
const VERSIONS: usize = 6;

/// What is played.
pub(crate) struct Case {
    pub(crate) set: Arc<RuleSet>,
    /// The versions that its files go through.
    pub(crate) versions: Vec<Arc<RuleSet>>,
    /// Compiled once for all seeds.
    pub(crate) sets: RuleSets,
    /// The same sets as another binary runs them.
    pub(crate) other: RuleSets,
    /// The first of those.
    set_otherwise: Arc<RuleSet>,
    replayed: Arc<RuleSet>,
    /// Windows that end until then are compared.
    pub(crate) until: i64,
    /// How late events may be, where some are.
    lateness_ms: i64,
    /// Of how many partitions events come; nobody ever writes to the others.
    speaking: usize,
}

impl Case {
    fn new(versions: impl Iterator<Item = Vec<Arc<Source>>>) -> Self {
        let (sets, other) = (RuleSets::default(), RuleSets::default());
        let (mut versions, mut otherwise_compiled) =
            (versions.map(|rules| compile(rules, SETTINGS)).collect::<Vec<_>>(), Vec::new());
        for set in &mut versions {
            sets.add(set);
            let mut changed = compile(otherwise(&set.files.rules), SETTINGS);
            Arc::get_mut(&mut changed).expect("nobody else has it").hash.clone_from(&set.hash);
            other.add(&changed);
            otherwise_compiled.push(changed);
        }
        let set = Arc::clone(&versions[0]);
        let replayed = compile(set.files.rules.clone(), backtest::SETTINGS);
        let set_otherwise = otherwise_compiled.swap_remove(0);
        let until = last_end_until(START + SPAN_MS - 6_000, 5_000);
        Self {
            set,
            versions,
            sets,
            other,
            set_otherwise,
            replayed,
            until,
            lateness_ms: 0,
            speaking: usize::try_from(SOURCE_PARTITIONS).unwrap(),
        }
    }

    /// Rules whose files change.
    pub(crate) fn plain() -> Self {
        Self::new((0..VERSIONS).map(sources))
    }

    /// The same, with a partition that nobody writes to.
    pub(crate) fn quiet() -> Self {
        Self { speaking: 1, ..Self::plain() }
    }

    /// Rules that look back, and such over others.
    pub(crate) fn looking_back() -> Self {
        Self::new(std::iter::once(looking_back()))
    }

    /// Rules that late events correct, and such events.
    pub(crate) fn late() -> Self {
        let allow = |source: Arc<Source>| {
            let lateness = format!("tier: business\nallowed_lateness: {}s", LATENESS_MS / 1_000);
            let text = source.text.replace("tier: business", &lateness);
            Arc::new(Source { path: source.path.clone(), text })
        };
        let late = Self::new(std::iter::once(sources(0).into_iter().map(allow).collect()));
        Self { lateness_ms: LATENESS_MS, ..late }
    }

    /// When no window that is compared changes any more.
    pub(crate) fn settled(&self) -> i64 {
        if self.lateness_ms == 0 { self.until } else { self.until + self.lateness_ms + 10_000 }
    }

    /// Events of a seed: out of order as far as they may be, and later where that is allowed; some of them garbage, without
    /// a time, or of a time that cannot be; one service failing for a while.
    pub(crate) fn events(&self, random: &mut Random) -> Vec<Sent> {
        let mut sent = Vec::new();
        let count = 60 + random.below(120);
        let (from, to) = (random.between(0, SPAN_MS / 2), random.between(SPAN_MS / 4, SPAN_MS));
        for n in 0..count {
            let at = SPAN_MS * i64::try_from(n).unwrap() / i64::try_from(count).unwrap();
            let service = ["checkout", "payments", "search"][random.below(3)];
            let failing = service == "payments" && (from..to).contains(&at);
            let status = if failing && !random.once_in(5) { 503 } else { 200 };
            let late = self.lateness_ms > 0 && at > 20_000 && random.once_in(8);
            let time = START + at - if late { random.between(3_000, 15_000) } else { random.between(0, 3_000) };
            let (ms, fraction) = (random.below(90) + if failing { 30 } else { 0 }, random.below(1000));
            let route = ["/", "/cart"][random.below(2)];
            let garbage = random.once_in(40);
            let event = |time: Option<i64>| {
                let time = time.map(|time| format!(r#""event_time":{time},"#)).unwrap_or_default();
                format!(
                    r#"{{{time}"service":"{service}","route":"{route}","method":"GET","status_code":{status},"duration_ms":{ms}.{fraction:03}}}"#
                )
            };
            let payload = match (garbage, random.below(4)) {
                (false, _) => event(Some(time)),
                (true, 0) => event(None),
                (true, 1) => event(Some(time + AHEAD_MS + 60_000)),
                (true, 2) => event(Some(time - AGE_MS - 60_000)),
                (true, _) => event(Some(time)).split_off(9),
            };
            let partition = i32::try_from(random.below(self.speaking)).unwrap();
            let late = late.then_some(time).filter(|_| !garbage);
            sent.push(Sent { due_ms: START + at, place: (TOPIC.to_owned(), partition), payload, garbage, late });
        }
        sent
    }

    /// After events were lost: what says that it is whole is as it should be, and the last windows are whole again. What is
    /// whole has the level of its value, and the rest has none. Of states nothing can be said: they go by what was lost, too.
    fn check_whole(&self, rows: &[(&ReadingKey, &Row)], expected: &BTreeSet<Line>) -> Result<(), String> {
        if let Some((_, row)) = rows.iter().find(|(_, row)| row.whole && !expected.contains(&row.line)) {
            return Err(format!("it is not whole, or wrong: {}", row.line));
        }
        for (key, row) in rows.iter().filter(|(key, _)| levels::declared(&key.0).is_some()) {
            let (level, unjudged) = if row.whole { (levels::level_of(&row.line), "") } else { ("", "partial") };
            if row.level != level || row.unjudged != unjudged {
                return Err(format!("its level is {level:?}, and {unjudged:?} why it has none: {key:?} {row:?}"));
            }
        }
        let end = format!(" {} ", self.until);
        let whole: BTreeSet<&Line> = rows.iter().filter(|(_, row)| row.whole).map(|(_, row)| &row.line).collect();
        match expected.iter().find(|line| line.contains(&end) && !whole.contains(line)) {
            Some(line) => Err(format!("long after the last event was lost, not there or not whole: {line}")),
            None => Ok(()),
        }
    }

    fn limits() -> Limits {
        Limits { event_bytes_max: 1 << 20, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX }
    }

    fn batch(&self, set: &RuleSet, events: &[Sent]) -> BTreeSet<Line> {
        let table = &set.catalog.tables[TOPIC];
        let all = table.columns.iter().map(|column| column.name.clone()).collect();
        let payloads = events.iter().filter(|event| !event.garbage).map(|event| event.payload.as_bytes());
        let decoded =
            Decoder::new(table, &all, Self::limits()).decode((0..).zip(payloads).map(|(offset, payload)| Encoded {
                offset,
                timestamp: None,
                payload: Some(payload),
            }));
        let first = decoded.marks.iter().min().copied().unwrap_or(START);
        let tables: BTreeMap<String, RecordBatch> = BTreeMap::from([(TOPIC.to_owned(), decoded.batch)]);
        batch_lines(set, &tables, first, self.until)
    }

    /// What the same events give when nothing happens: breach events by id, and the readings of rules that look back.
    fn replay(&self, events: &[Sent]) -> (BTreeMap<String, String>, BTreeSet<Line>) {
        let inputs = (0..SOURCE_PARTITIONS).map(|partition| {
            let lines: Vec<std::io::Result<Vec<u8>>> = events
                .iter()
                .filter(|event| event.place.1 == partition && !event.garbage)
                .map(|event| Ok(event.payload.clone().into_bytes()))
                .collect();
            Input { table: TOPIC.to_owned(), name: format!("{TOPIC}-{partition}"), lines: Box::new(lines.into_iter()) }
        });
        let options = backtest::Options { limits: Self::limits(), batch_rows: 4096, until: Some(self.until + 5_000) };
        let (mut breaches, mut lines) = (BTreeMap::new(), BTreeSet::new());
        let outcome = backtest::run(&self.replayed, inputs.collect(), options, |output| match output {
            Output::Breach(event) => breaches.extend(told(event, self.until)),
            Output::Reading(reading) if reading.window_end <= self.until => {
                let rule = &reading.rule;
                if rule.reads.is_empty() && rule.history.is_empty() {
                    return;
                }
                let bits = |(name, measure): &(String, Option<Measure>)| {
                    Some((name.clone(), measure.as_ref()?.as_f64().to_bits()))
                };
                let measures = reading.measures.iter().filter_map(bits).collect();
                let value = reading.value.map(f64::to_bits);
                lines.insert(line(
                    &rule.header.name,
                    &reading.series,
                    reading.window_end,
                    value,
                    reading.samples,
                    &measures,
                ));
            }
            _ => {}
        });
        outcome.expect("the backtest runs");
        (breaches, lines)
    }

    /// What it must come to. The error says where a replay and the plain state machine differ. In a replay other events are
    /// late than here, and levels go by what was said of a window before they came: then nothing is said of it.
    pub(crate) fn expect(&self, events: &[Sent], faults: Faults) -> Result<Expected, String> {
        let (breaches, replayed) = self.replay(events);
        let mut readings = self.batch(&self.set, events);
        let plain = levels::judge(readings.iter(), self.until);
        if self.lateness_ms == 0 {
            same("breach events of a replay", &plain.told, &without_ids(breaches.values()))?;
        }
        readings.extend(replayed);
        let otherwise = if faults.mixed { self.batch(&self.set_otherwise, events) } else { BTreeSet::new() };
        Ok(Expected { readings, otherwise, breaches, plain })
    }

    /// Each reading of a rule that the plain state machine knows has the level and the state that it gives it. Nothing was
    /// lost and no value is NULL, so all were judged, and by whole windows: also the first ones, since everything is read from
    /// the beginning, and those of a new version of a rule, for which the one before goes on until its windows are whole.
    fn check_levels(
        &self,
        rows: &[(&ReadingKey, &Row)],
        plain: &Judged,
        world: &World,
        events: &[Sent],
        disputed: &dyn Fn(&str) -> bool,
    ) -> Result<(), String> {
        let late: Vec<i64> = events.iter().filter_map(|event| event.late).collect();
        for (key, row) in rows.iter().copied().filter(|(key, _)| levels::declared(&key.0).is_some()) {
            // Late events change no level and no state, and what they alone brought has no level.
            let first = if row.corrected { world.store.first(key) } else { Some(row) };
            let judged = match first {
                Some(first) => {
                    // Either binary may have said it. The rule waits for nothing, so the value alone gives both.
                    let alone = || levels::level_of(&first.line);
                    let by_itself = disputed(&key.0).then(|| (alone(), alone()));
                    let wanted = by_itself.or_else(|| plain.levels.get(key).copied());
                    let same = (&first.level, &first.state, &first.unjudged) == (&row.level, &row.state, &row.unjudged);
                    same && row.whole
                        && row.unjudged.is_empty()
                        && wanted == Some((row.level.as_str(), row.state.as_str()))
                }
                None => row.level.is_empty() && row.unjudged == "late",
            };
            let in_window = |at: &i64| key.2 - WINDOW_MS <= *at && *at < key.2;
            if !judged || (row.corrected && !late.iter().any(in_window)) {
                let wanted = plain.levels.get(key);
                return Err(format!("level and state {wanted:?} of {key:?}, said first {first:?}, now {row:?}"));
            }
        }
        // A rule that comes later may come twice.
        let mut contradictions = world.store.contradictions();
        match contradictions.find(|(rule, _)| self.set.rule(rule).is_some() && !disputed(rule)) {
            Some((_, both)) => Err(format!("said of one reading without a correction: {both}")),
            None => Ok(()),
        }
    }

    /// What was told, by id: each once, and each series from one episode to the next. Where transactions end only in part,
    /// an event may be there twice, under one id, and out of turn.
    fn told_in_turn(
        &self,
        world: &World,
        config: &Config,
        torn: bool,
    ) -> Result<BTreeMap<String, (String, String)>, String> {
        let mut told_once = BTreeMap::new();
        let mut open: BTreeMap<String, String> = BTreeMap::new();
        for entry in committed(world, &config.topics.alerts) {
            let event: BreachEvent = serde_json::from_slice(&entry).map_err(|error| error.to_string())?;
            let Some((id, what)) = told(&event, self.until) else { continue };
            if told_once.insert(id, (event.rule.clone(), what.clone())).is_some() {
                if torn {
                    continue;
                }
                return Err(format!("told twice: {what}"));
            }
            // Each series goes from one episode to the next.
            let series = format!("{} {:?}", event.rule, event.series);
            let episode = open.get(&series).cloned();
            match event.happened.name() {
                "opened" if episode.is_none() => _ = open.insert(series, event.episode.clone()),
                "resolved" if episode.as_ref() == Some(&event.episode) => _ = open.remove(&series),
                "opened" | "resolved" if !torn => return Err(format!("out of turn, {episode:?} is open: {what}")),
                _ if episode.as_ref() == Some(&event.episode) || torn => {}
                _ => return Err(format!("of an episode that is not open, {episode:?} is: {what}")),
            }
        }
        Ok(told_once)
    }

    /// Compares what there is with what should be. Where transactions end only in part a breach event may be there twice,
    /// under one id; after a disaster what says that it is whole is; and of a rule that two
    /// binaries see differently the breach events make sense.
    pub(crate) fn check(
        &self,
        events: &[Sent],
        expected: &Expected,
        world: &World,
        config: &Config,
        faults: Faults,
    ) -> Result<(), String> {
        let torn = faults.torn > 0;
        // A rule that comes later has no say in what the others come to.
        let stored = world.store.rows(self.until).filter(|((rule, ..), _)| self.set.rule(rule).is_some());
        let stored: Vec<(&ReadingKey, &Row)> = stored.collect();
        let told_once = self.told_in_turn(world, config, torn)?;
        if faults.disaster > 0 {
            return self.check_whole(&stored, &expected.readings);
        }
        // The rule whose evaluation ends the process is fenced off; the others are not disturbed.
        let kills = planted::is(Bug::RuleThatKills);
        let disputed = |name: &str| (faults.mixed || kills) && name == DISPUTED || kills && name == FENCED;
        let lines = |lines: &mut dyn Iterator<Item = &Line>| -> BTreeSet<Line> {
            lines.filter(|line| !disputed(line.split(' ').next().unwrap_or_default())).cloned().collect()
        };
        same("readings", &lines(&mut expected.readings.iter()), &lines(&mut stored.iter().map(|(_, row)| &row.line)))?;
        if faults.mixed {
            let either = |line: &Line| expected.readings.contains(line) || expected.otherwise.contains(line);
            let of_disputed = || stored.iter().map(|(_, row)| &row.line).filter(|line| line.starts_with(DISPUTED));
            let wanted = expected.readings.iter().filter(|line| line.starts_with(DISPUTED)).count();
            if of_disputed().count() != wanted || !of_disputed().all(either) {
                return Err(format!(
                    "{wanted} readings of {DISPUTED} of either binary: {:#?}",
                    of_disputed().collect::<Vec<_>>()
                ));
            }
        }

        if kills && !told_once.values().any(|(rule, _)| rule == FENCED) {
            return Err(format!("{DISPUTED} was not fenced off"));
        }
        let found = told_once.values().filter(|(rule, _)| !disputed(rule)).map(|(_, what)| what.clone());
        let found: BTreeSet<String> = found.collect();
        let wanted: BTreeMap<String, String> = if self.lateness_ms > 0 {
            // Levels go by what was said first, and what was late then depends on who was how far.
            let plain = levels::judge(world.store.first_rows(self.until).map(|(_, row)| &row.line), self.until);
            self.check_levels(&stored, &plain, world, events, &disputed)?;
            same("breach events by first readings", &plain.told, &without_ids(&found))?;
            told_once.into_iter().map(|(id, (_, what))| (id, what)).collect()
        } else {
            self.check_levels(&stored, &expected.plain, world, events, &disputed)?;
            let wanted = breaches_of(&expected.breaches, &disputed);
            same("breach events", &wanted.values().cloned().collect(), &found)?;
            wanted
        };
        let stored: BTreeSet<String> = world.store.breaches().filter(|id| wanted.contains_key(*id)).cloned().collect();
        same("stored breach events", &wanted.keys().cloned().collect(), &stored)?;

        let letters = world.kafka.fetch(&(config.topics.dead_letters.clone(), 0), 0, usize::MAX);
        let ids: BTreeSet<String> = letters
            .iter()
            .filter_map(|entry| entry.record.headers.iter().find(|(name, _)| name == "tierwatch_id"))
            .map(|(_, id)| String::from_utf8_lossy(id).into_owned())
            .collect();
        if !torn {
            sections_join(world, &config.topics.partials)?;
        }
        if letters.len() != ids.len() {
            return Err(format!("{} dead letters of {} events", letters.len(), ids.len()));
        }
        let mut next: BTreeMap<&Place, usize> = BTreeMap::new();
        for event in events {
            let offset = next.entry(&event.place).or_default();
            let id = format!("{TOPIC}/{}/{offset}", event.place.1);
            *offset += 1;
            // The last ones may not have been read yet.
            let due = event.garbage && event.due_ms <= self.until;
            if (due && !ids.contains(&id)) || (!event.garbage && ids.contains(&id)) {
                return Err(format!("{id} is garbage: {}; it is a dead letter: {}", event.garbage, ids.contains(&id)));
            }
        }
        Ok(())
    }
}

/// The breach events of rules that are not disputed, as text, by id.
fn breaches_of(breaches: &BTreeMap<String, String>, disputed: &dyn Fn(&str) -> bool) -> BTreeMap<String, String> {
    breaches.iter().filter(|(_, what)| !disputed(rule_of(what))).map(|(id, what)| (id.clone(), what.clone())).collect()
}

/// The rule of a breach event as [`told`] has it.
fn rule_of(what: &str) -> &str {
    what.split(' ').nth(1).unwrap_or_default()
}

/// The breach events of rules that the plain state machine knows, as it has them.
fn without_ids<'a>(told: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let known = told.into_iter().filter(|what| levels::declared(rule_of(what)).is_some());
    known.filter_map(|what| Some(what.rsplit_once(' ')?.0.to_owned())).collect()
}

/// Where transactions end as a whole, each section begins where one before it ended, or earlier: no range is ever missing,
/// and none needs to be folded again.
fn sections_join(world: &World, topic: &str) -> Result<(), String> {
    for partition in 0..world.kafka.topics[topic].partitions.len() {
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        let place = (topic.to_owned(), i32::try_from(partition).unwrap());
        for entry in world.kafka.fetch(&place, 0, usize::MAX) {
            let record = Record::decode(entry.record.value.as_deref().unwrap_or_default());
            let Ok(Record::Sections(sections)) = record else { continue };
            for section in sections.sections {
                let end = ends.entry(section.partition).or_default();
                if section.range.start > *end {
                    return Err(format!("a hole in partition {partition}: {}..{}", *end, section.range.start));
                }
                *end = section.range.end.max(*end);
            }
        }
    }
    Ok(())
}

fn committed(world: &World, topic: &str) -> Vec<Vec<u8>> {
    let count = world.kafka.topics[topic].partitions.len();
    let place = |partition: usize| (topic.to_owned(), i32::try_from(partition).unwrap());
    let entries = (0..count).flat_map(|partition| world.kafka.fetch(&place(partition), 0, usize::MAX));
    entries.filter_map(|entry| entry.record.value.clone()).collect()
}

fn told(event: &BreachEvent, until: i64) -> Option<(String, String)> {
    let end = tierwatch::time::parse_rfc3339(&event.window_end).expect("a time");
    let series = serde_json::to_string(&event.series).unwrap_or_default();
    let (happened, level) = (event.happened.name(), event.level.name());
    let text = format!("{} {} {series} {happened} {level} {} {}", event.window_end, event.rule, event.since, event.id);
    (end <= until && event.rule != "more").then_some((event.id.clone(), text))
}

fn same(what: &str, expected: &BTreeSet<String>, found: &BTreeSet<String>) -> Result<(), String> {
    let missing: Vec<_> = expected.difference(found).take(3).collect();
    let added: Vec<_> = found.difference(expected).take(3).collect();
    if missing.is_empty() && added.is_empty() {
        return Ok(());
    }
    Err(format!("{what}: of {}, missing {missing:#?}, added {added:#?}", expected.len()))
}
