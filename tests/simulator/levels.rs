//! A plain state machine for levels, written anew: what the rules of the simulation make of readings, in the words of
//! `docs/writing-rules.md`. It has no code in common with the judge, whose word it is compared with.

use std::collections::{BTreeMap, BTreeSet};

use tierwatch::time::rfc3339;

use super::store::ReadingKey;
use crate::end_to_end::Line;

/// How far apart windows end.
pub(crate) const SLIDE_MS: i64 = 5_000;
/// How long they are.
pub(crate) const WINDOW_MS: i64 = 10_000;

/// The levels, mildest first.
const LEVELS: [&str; 3] = ["healthy", "warning", "critical"];

/// What the header of a rule says of levels. None of them has gaps, and to all of them silence holds.
pub(crate) struct Declared {
    name: &'static str,
    /// Above which value it is a warning, and critical.
    limits: &'static [f64],
    /// `for` of each of these, in seconds.
    for_s: &'static [i64],
    /// `keep_firing_for`.
    keep_s: i64,
    /// After how much silence that is told.
    after_s: i64,
    /// After how much silence a series is forgotten.
    forget_s: i64,
}

/// The rules that this machine knows. Their headers are made of this, too.
static DECLARED: [Declared; 3] = [
    Declared { name: "failures", limits: &[0.2, 0.6], for_s: &[5, 5], keep_s: 5, after_s: 10, forget_s: 40 },
    Declared { name: "slow", limits: &[60.0], for_s: &[0], keep_s: 0, after_s: 300, forget_s: 86_400 },
    // Never reached.
    Declared { name: "all", limits: &[100_000.0], for_s: &[0], keep_s: 0, after_s: 300, forget_s: 86_400 },
];

/// The rule of that name, where this machine knows it.
pub(crate) fn declared(name: &str) -> Option<&'static Declared> {
    DECLARED.iter().find(|rule| rule.name == name)
}

/// The header of a rule as far as levels go, with limits that are higher by so much.
pub(crate) fn header(name: &str, higher: u32) -> String {
    let Declared { limits, for_s, keep_s, after_s, forget_s, .. } = declared(name).expect("a rule that is declared");
    let each = |texts: Vec<String>| {
        let each = LEVELS[1..].iter().zip(texts).map(|(level, text)| format!("{level}: {text}"));
        each.collect::<Vec<String>>().join(", ")
    };
    let levels = each(limits.iter().map(|limit| format!("value > {}", limit + f64::from(higher))).collect());
    let waits = each(for_s.iter().map(|wait| format!("{wait}s")).collect());
    format!(
        "levels: {{{levels}}}\nfor: {{{waits}}}\nkeep_firing_for: {keep_s}s\nno_data: {{after: {after_s}s, forget: {forget_s}s}}"
    )
}

/// Rule, series, window end and value of a reading. No name in it has a blank.
fn parsed(line: &str) -> (&str, &str, i64, Option<f64>) {
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    let [rule, series, end, value, _] = words[..] else { panic!("no line of a reading: {line}") };
    let bits = value.strip_prefix("Some(").and_then(|value| value.strip_suffix(')'));
    let value = bits.map(|bits| f64::from_bits(bits.parse().expect("bits")));
    (rule, series, end.parse().expect("a time"), value)
}

/// The level of a reading by its value alone; empty where it has none.
pub(crate) fn level_of(line: &str) -> &'static str {
    let (rule, _, _, value) = parsed(line);
    declared(rule).zip(value).map_or("", |(rule, value)| LEVELS[rule.level(value)])
}

/// What this machine makes of readings.
#[derive(Default)]
pub(crate) struct Judged {
    /// The level of each reading, empty where it has none, and the state.
    pub(crate) levels: BTreeMap<ReadingKey, (&'static str, &'static str)>,
    /// Breach events: window end, rule, series, what happened, the state then, and since when it is bad.
    pub(crate) told: BTreeSet<String>,
}

/// Judges readings of the rules that it knows, and the silence between them and until the end.
pub(crate) fn judge<'a>(lines: impl Iterator<Item = &'a Line>, until: i64) -> Judged {
    let mut series: BTreeMap<(&str, &str), BTreeMap<i64, Option<f64>>> = BTreeMap::new();
    for line in lines {
        let (rule, name, end, value) = parsed(line);
        series.entry((rule, name)).or_default().insert(end, value);
    }
    let mut judged = Judged::default();
    for ((rule, name), values) in series {
        if let Some(rule) = declared(rule) {
            Series::new(rule, name).play(&values, until, &mut judged);
        }
    }
    judged
}

impl Declared {
    fn level(&self, value: f64) -> usize {
        self.limits.iter().filter(|limit| value > **limit).count()
    }
}

/// One series, from window end to window end.
struct Series<'a> {
    rule: &'a Declared,
    name: &'a str,
    /// Its readings since it became known, with their levels, where they have any.
    past: Vec<(i64, Option<usize>)>,
    state: usize,
    /// Since when it is bad, while it is.
    since: i64,
    /// Whether its silence was noticed.
    noticed: bool,
}

impl<'a> Series<'a> {
    fn new(rule: &'a Declared, name: &'a str) -> Self {
        Self { rule, name, past: Vec::new(), state: 0, since: 0, noticed: false }
    }

    fn play(mut self, values: &BTreeMap<i64, Option<f64>>, until: i64, judged: &mut Judged) {
        let Some(&first) = values.keys().next() else { return };
        for end in (0..).map(|n| first + n * SLIDE_MS).take_while(|end| *end <= until) {
            let told = match values.get(&end) {
                Some(value) => {
                    let level = value.map(|value| self.rule.level(value));
                    let told = self.reading(end, level);
                    let key = (self.rule.name.to_owned(), self.name.to_owned(), end);
                    judged.levels.insert(key, (level.map_or("", |level| LEVELS[level]), LEVELS[self.state]));
                    told
                }
                None => self.silence(end),
            };
            judged.told.extend(told);
        }
    }

    fn reading(&mut self, end: i64, level: Option<usize>) -> Option<String> {
        self.past.push((end, level));
        self.noticed = false;
        // What has no level keeps the state.
        level.and_then(|_| self.turn(end, self.next_state(end)))
    }

    fn silence(&mut self, end: i64) -> Option<String> {
        let (last, _) = *self.past.last()?;
        let silent_ms = end - last;
        if silent_ms >= self.rule.forget_s * 1_000 {
            self.past.clear();
            self.noticed = false;
            return self.turn(end, 0);
        }
        if silent_ms < self.rule.after_s * 1_000 || std::mem::replace(&mut self.noticed, true) {
            return None;
        }
        (self.state > 0).then(|| self.tell(end, "no_data"))
    }

    /// The state with the reading at `end`.
    fn next_state(&self, end: i64) -> usize {
        let lasts = |since: Option<i64>, span_s: i64| since.is_some_and(|since| end - since >= span_s * 1_000);
        // Up to the worst level that has lasted for as long as it must.
        let mut worse = (self.state + 1..=self.rule.limits.len()).rev();
        if let Some(up) = worse.find(|level| lasts(self.at_least(*level), self.rule.for_s[level - 1])) {
            return up;
        }
        // Else down, one level at a time, as far as it has been below each for long enough.
        let mut state = self.state;
        while state > 0 && lasts(self.below(state), self.rule.keep_s) {
            state -= 1;
        }
        state
    }

    /// The first of the unbroken run of readings at a level or worse. Silence as long as `for` breaks it.
    fn at_least(&self, level: usize) -> Option<i64> {
        let wait_ms = self.rule.for_s[level - 1] * 1_000;
        let (mut since, mut later): (Option<i64>, Option<i64>) = (None, None);
        for (end, known) in self.past.iter().rev().copied() {
            let apart = later.map_or(0, |later| later - end);
            let silent = apart > SLIDE_MS && wait_ms > 0 && apart >= wait_ms;
            if silent || known.is_some_and(|known| known < level) {
                break;
            }
            since = known.map(|_| end).or(since);
            later = Some(end);
        }
        since
    }

    /// The first of the unbroken run of readings below a level.
    fn below(&self, level: usize) -> Option<i64> {
        let run = self.past.iter().rev().take_while(|(_, known)| known.is_none_or(|known| known < level));
        run.filter(|(_, known)| known.is_some()).last().map(|(end, _)| *end)
    }

    fn turn(&mut self, end: i64, state: usize) -> Option<String> {
        let happened = match (self.state, state) {
            (before, now) if before == now => return None,
            (0, _) => "opened",
            (_, 0) => "resolved",
            (before, now) if before < now => "escalated",
            _ => "deescalated",
        };
        if self.state == 0 {
            self.since = self.at_least(1).unwrap_or(end);
        }
        self.state = state;
        Some(self.tell(end, happened))
    }

    fn tell(&self, end: i64, happened: &str) -> String {
        let (rule, series, state) = (self.rule.name, self.name, LEVELS[self.state]);
        format!("{} {rule} {series} {happened} {state} {}", rfc3339(end), rfc3339(self.since))
    }
}

/// The table of `docs/writing-rules.md`, with a slide for each minute, and what it says of silence.
#[test]
fn the_plain_machine_says_what_the_reference_says() {
    let table =
        Declared { name: "r", limits: &[50.0, 100.0], for_s: &[15, 5], keep_s: 10, after_s: 300, forget_s: 600 };
    let silent = Declared { name: "r", limits: &[1.0], for_s: &[0], keep_s: 0, after_s: 10, forget_s: 20 };
    let waits = Declared { name: "r", limits: &[1.0], for_s: &[15], keep_s: 0, after_s: 300, forget_s: 600 };
    // No value is a window without a reading.
    let play = |rule: &Declared, values: &[f64]| {
        let given = (1..).zip(values).filter(|(_, value)| value.is_finite());
        let read: BTreeMap<i64, Option<f64>> = given.map(|(at, value)| (at * SLIDE_MS, Some(*value))).collect();
        let until = SLIDE_MS * i64::try_from(values.len()).unwrap();
        let mut judged = Judged::default();
        Series::new(rule, "{}").play(&read, until, &mut judged);
        let states: Vec<&str> = judged.levels.values().map(|(_, state)| &state[..1]).collect();
        (states.concat(), judged.told)
    };
    let told = |events: &[(i64, &str, i64)]| -> BTreeSet<String> {
        let one = |(at, what, since): &(i64, &str, i64)| {
            format!("{} r {{}} {what} {}", rfc3339(at * SLIDE_MS), rfc3339(since * SLIDE_MS))
        };
        events.iter().map(one).collect()
    };
    let no = f64::NAN;
    let (states, events) = play(&table, &[10.0, 60.0, 60.0, 120.0, 60.0, 120.0, 120.0, 60.0, 10.0, 10.0, 10.0]);
    assert_eq!(states, "hhhhwwcccwh");
    let wanted = [
        (5, "opened warning", 2),
        (7, "escalated critical", 2),
        (10, "deescalated warning", 2),
        (11, "resolved healthy", 2),
    ];
    assert_eq!(events, told(&wanted));
    let (states, events) = play(&silent, &[2.0, no, no, no, no, no, 2.0, no, no, 0.0]);
    assert_eq!(states, "wwh");
    let wanted = [
        (1, "opened warning", 1),
        (3, "no_data warning", 1),
        (5, "resolved healthy", 1),
        (7, "opened warning", 7),
        (9, "no_data warning", 7),
        (10, "resolved healthy", 7),
    ];
    assert_eq!(events, told(&wanted));
    // A missing window does not break a run, and silence as long as `for` does.
    assert_eq!(play(&waits, &[2.0, 2.0, no, 2.0]).1, told(&[(4, "opened warning", 1)]));
    assert_eq!(play(&waits, &[2.0, 2.0, no, no, no, 2.0]).1, told(&[]));
}
