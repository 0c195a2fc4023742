//! The text of the rule.

use std::collections::BTreeMap;

use super::{Answers, COMMON, MINUTE_MS, Measure, endless};
use crate::{
    rules::{catalog::Kind, levels::Level},
    time,
};

/// The columns of the text: what stands before it on its line, and how long a line is at most.
const WIDTH: usize = 118;

impl Answers {
    /// The predicate of each level.
    pub(super) fn levels(&self) -> BTreeMap<Level, String> {
        let (good, bad) = if self.above { ("<=", "> ") } else { (">=", "< ") };
        let mut levels = BTreeMap::new();
        let text = |level: Level| self.limits.get(&level).map(|limit| limit.text.as_str());
        match (text(Level::Warning), text(Level::Critical)) {
            (Some(warning), Some(critical)) => {
                levels.insert(Level::Healthy, format!("value {good} {warning}"));
                let band = if self.above {
                    format!("value {bad} {warning} AND value <= {critical}")
                } else {
                    format!("value >= {critical} AND value < {warning}")
                };
                levels.insert(Level::Warning, band);
                levels.insert(Level::Critical, format!("value {bad} {critical}"));
            }
            (one, other) => {
                let level = if one.is_some() { Level::Warning } else { Level::Critical };
                let limit = one.or(other).unwrap_or_default();
                levels.insert(Level::Healthy, format!("value {good} {limit}"));
                levels.insert(level, format!("value {bad} {limit}"));
            }
        }
        levels
    }

    /// The worst level and its predicate, for people.
    pub fn worst(&self) -> String {
        let worst = self.levels().into_iter().next_back();
        worst.map(|(level, predicate)| format!("{} where {predicate}", level.name())).unwrap_or_default()
    }

    /// True where any event at all is bad: then it must not be waited for.
    pub(super) fn at_once(&self) -> bool {
        let mildest = self.limits.values().next().is_some_and(|limit| limit.number == 0.0);
        self.above && mildest && matches!(self.measure, Measure::Ratio | Measure::Count | Measure::Rate | Measure::Sum)
    }

    /// How long a level must last.
    pub(super) fn for_ms(&self, level: Level) -> i64 {
        match level {
            _ if self.at_once() => 0,
            Level::Warning => 5 * MINUTE_MS,
            _ => MINUTE_MS,
        }
    }

    /// How many events a reading takes to be judged.
    pub(super) fn min_samples(&self) -> Option<u64> {
        // So many that one of them alone is not beyond the limit.
        let for_one = |part: f64| (20..1_000_u32).find(|n| part * f64::from(*n) >= 1.0 - 1e-9).map_or(1_000, u64::from);
        let reports =
            self.table.interval_ms.map(|interval| u64::try_from(self.window_ms / interval).unwrap_or(1).clamp(1, 3));
        let events = match self.measure {
            Measure::Ratio if self.at_once() => 1,
            Measure::Ratio => {
                let limit = self.limits.values().last().map_or(0.0, |limit| limit.number);
                for_one(if self.above { limit } else { 1.0 - limit })
            }
            Measure::Percentile => for_one(1.0 - self.percentile),
            Measure::Average => 20,
            _ => return None,
        };
        Some(reports.map_or(events, |reports| events.min(reports)))
    }

    fn no_data(&self) -> String {
        let silence = match self.measure {
            Measure::Age => "warning",
            measure if measure.is_of_nothing_zero() => "zero",
            _ => "hold",
        };
        // A report or two may be late.
        let after_ms = self.table.interval_ms.map_or(0, |interval| 3 * interval).max(5 * MINUTE_MS);
        format!("{{as: {silence}, after: {}}}", time::span(after_ms))
    }

    /// What `value` is in SQL.
    fn value(&self) -> String {
        let column = self.column.as_ref().map_or("", |column| column.name.as_str());
        let filter = self.condition.as_ref().map(|of| format!(" FILTER (WHERE {})", of.sql)).unwrap_or_default();
        match self.measure {
            Measure::Ratio => format!("ratio(count(*){filter}, count(*))"),
            Measure::Count => format!("count(*){filter}"),
            Measure::Rate => format!("count(*){filter} / window_seconds"),
            Measure::Sum => format!("coalesce(sum({column}){filter}, 0)"),
            Measure::Average => format!("avg({column})"),
            Measure::Percentile => format!("approx_percentile_cont({column}, {})", self.percentile),
            Measure::Maximum | Measure::Age => format!("max({column})"),
        }
    }

    /// What stands behind WHERE, a condition each.
    fn filters(&self) -> Vec<String> {
        let mut filters = Vec::new();
        if matches!(self.measure, Measure::Average | Measure::Percentile | Measure::Maximum | Measure::Age) {
            filters.extend(self.condition.as_ref().map(|of| of.sql.clone()));
            filters.extend(
                self.column.iter().filter(|c| !c.required).map(|column| format!("{} IS NOT NULL", column.name)),
            );
        }
        if let (Some(of), true) = (&self.condition, filters.len() > 1)
            && of.loose
        {
            filters[0] = format!("({})", of.sql);
        }
        filters
    }

    fn sql(&self) -> String {
        let mut columns = self.by.clone();
        columns.push(format!("{} AS value", self.value()));
        columns.push("count(*) AS samples".to_owned());
        if let (Measure::Percentile, Some(column)) = (self.measure, &self.column)
            && !self.by.contains(&"highest".to_owned())
        {
            columns.push(format!("max({}) AS highest", column.name));
        }
        let mut sql = format!("SELECT {}\n", columns.join(",\n       "));
        sql += &format!(
            "FROM hop({}, {}, INTERVAL '{}', INTERVAL '{}')\n",
            self.table.name,
            self.table.event_time,
            interval(self.slide_ms),
            interval(self.window_ms)
        );
        let filters = self.filters();
        if !filters.is_empty() {
            sql += &format!("WHERE {}\n", filters.join("\n  AND "));
        }
        if !self.by.is_empty() {
            sql += &format!("GROUP BY {}\n", self.by.join(", "));
        }
        sql
    }

    /// The columns by which events behind a breach are told apart.
    fn told_apart_by(&self) -> Vec<&str> {
        let in_condition = |name: &str| self.condition.as_ref().is_some_and(|of| of.columns.contains(name));
        self.table
            .columns
            .iter()
            .filter(|column| column.kind == Kind::Text && !column.masked && !endless(column))
            .map(|column| column.name.as_str())
            .filter(|name| !COMMON.contains(name) && !self.by.iter().any(|by| by == name) && !in_condition(name))
            .take(2)
            .collect()
    }

    fn diagnose(&self) -> Option<String> {
        let by = self.told_apart_by();
        let mildest = self.limits.values().next()?;
        let of_column = |column: &str| format!("{column} {} {}", if self.above { ">" } else { "<" }, mildest.text);
        let which = match (self.measure, &self.condition, &self.column) {
            _ if by.is_empty() => return None,
            // What counts for the rule counts against it only where more is worse.
            (Measure::Ratio | Measure::Count | Measure::Rate, Some(of), _) if self.above => Some(of.sql.clone()),
            (Measure::Ratio, Some(of), _) => Some(format!("NOT ({})", of.sql)),
            (Measure::Count | Measure::Rate, None, _) if self.above => None,
            (Measure::Percentile | Measure::Maximum | Measure::Age, None, Some(column)) => {
                Some(of_column(&column.name))
            }
            (Measure::Percentile | Measure::Maximum | Measure::Age, Some(of), Some(column)) => {
                let condition = if of.loose { format!("({})", of.sql) } else { of.sql.clone() };
                Some(format!("{condition} AND {}", of_column(&column.name)))
            }
            _ => return None,
        };
        let which = which.map(|sql| format!("where: {}, ", quoted(&sql))).unwrap_or_default();
        Some(format!("{{{which}by: [{}], top: 5}}", by.join(", ")))
    }

    /// What the value is of, for people: `requests`, or reports where nothing happens but is reported.
    fn noun(&self) -> String {
        if self.table.interval_ms.is_some() { "reports".to_owned() } else { self.table.name.replace('_', " ") }
    }

    /// The condition with a word before it, where a template can hold it.
    fn having(&self, word: &str) -> String {
        match &self.condition {
            Some(of) if !["{{", "{%", "{#"].iter().any(|mark| of.sql.contains(mark)) => format!(" {word} {}", of.sql),
            _ => String::new(),
        }
    }

    fn shown(&self) -> String {
        match self.unit.as_str() {
            "ratio" => "{{ value | percent }}".to_owned(),
            "count" => "{{ value | round }}".to_owned(),
            unit if self.column.as_ref().is_some_and(|column| column.name == unit) => {
                "{{ value | round(2) }}".to_owned()
            }
            "per_second" => "{{ value | round(2) }}".to_owned(),
            unit => format!("{{{{ value | round(1) }}}} {unit}"),
        }
    }

    fn summary(&self) -> String {
        let series: Vec<String> = self.by.iter().map(|name| format!("{{{{ {name} }}}}")).collect();
        let series = if series.is_empty() { String::new() } else { format!("{}: ", series.join("/")) };
        let (shown, noun, span) = (self.shown(), self.noun(), interval(self.window_ms));
        let column = self.column.as_ref().map_or("", |column| column.name.as_str());
        let what = match self.measure {
            Measure::Ratio => format!("{shown} of {noun}{}", self.having("have")),
            Measure::Count => format!("{shown} {noun}{} in {span}", self.having("with")),
            Measure::Rate => format!("{shown} {noun}{} a second", self.having("with")),
            Measure::Sum => format!("{column} adds up to {shown} in {span}"),
            Measure::Average => format!("{column} is {shown} on average"),
            Measure::Percentile => {
                format!("{}% of {noun} have a {column} of {shown} or less", percent(self.percentile))
            }
            Measure::Maximum | Measure::Age => format!("{column} has reached {shown}"),
        };
        format!("{series}{what}")
    }

    fn description(&self) -> String {
        let column = self.column.as_ref().map_or("", |column| column.name.as_str());
        let of = format!("{}{}", self.noun(), self.having("with"));
        let what = match self.measure {
            Measure::Ratio => format!("Share of {of}"),
            Measure::Count => format!("Number of {of}"),
            Measure::Rate => format!("Number of {of} a second"),
            Measure::Sum => format!("Sum of {column} over {of}"),
            Measure::Average => format!("Average of {column} over {of}"),
            Measure::Percentile => format!("The {column} that {}% of {of} keep below", percent(self.percentile)),
            Measure::Maximum | Measure::Age => format!("Greatest {column} of {of}"),
        };
        format!("{what}, over {}.", interval(self.window_ms))
    }

    fn signal(&self) -> &'static str {
        match (self.measure, self.unit.as_str()) {
            (Measure::Ratio, _) => "errors",
            (Measure::Count, _) if self.condition.is_some() => "errors",
            (Measure::Count | Measure::Rate | Measure::Sum, _) => "traffic",
            (Measure::Age, _) | (_, "ms" | "s") => "latency",
            _ => "saturation",
        }
    }
}

/// The rule as the text of a file.
pub fn rule_text(answers: &Answers) -> String {
    let mut text = String::from("/*\n");
    let mut line = |line: String| text += &format!("{line}\n");
    line(format!("name: {}", answers.name));
    line(format!("title: {}", title(&answers.name)));
    line(format!("tier: {}", answers.tier.name()));
    line(format!("unit: {}", quoted(&answers.unit)));
    line(format!("owner: {}", quoted(&answers.owner)));
    line(format!("labels: {{signal: {}}}", answers.signal()));
    if let Some(least) = answers.min_samples().filter(|least| *least > 1) {
        let why = match answers.measure {
            Measure::Ratio if answers.table.interval_ms.is_none() => "fewer, and one alone could be beyond the limit",
            Measure::Percentile if answers.table.interval_ms.is_none() => "fewer have no such percentile",
            _ => "fewer say too little",
        };
        line(noted(&format!("min_samples: {least}"), why));
    }
    line("levels:".to_owned());
    for (level, predicate) in answers.levels() {
        line(format!("  {:<9} {predicate}", format!("{}:", level.name())));
    }
    let severe: Vec<Level> = answers.limits.keys().copied().collect();
    match severe.as_slice() {
        _ if answers.at_once() => line(noted("for: 0s", "one is one too many")),
        [one] => line(format!("for: {}", time::span(answers.for_ms(*one)))),
        _ => line("for: {warning: 5m, critical: 1m}".to_owned()),
    }
    line("keep_firing_for: 2m".to_owned());
    match answers.measure {
        Measure::Age => {
            line(noted(&format!("no_data: {}", answers.no_data()), "what says nothing is no younger for it"))
        }
        _ => line(format!("no_data: {}", answers.no_data())),
    }
    if let Some(diagnose) = answers.diagnose() {
        line(format!("diagnose: {diagnose}"));
    }
    line("annotations:".to_owned());
    line(format!("  summary: {}", always_quoted(&answers.summary())));
    line("  description: >-".to_owned());
    for sentence in [answers.description(), "Say here what that means for people, and where to look first.".to_owned()]
    {
        for part in wrapped(&sentence, WIDTH - 4) {
            line(format!("    {part}"));
        }
    }
    line(format!("  runbook_url: {}", quoted(&answers.runbook_url)));
    text + "*/\n" + &answers.sql()
}

/// A line with a comment, where the other rules have theirs.
fn noted(line: &str, why: &str) -> String {
    format!("{line:<39} # {why}")
}

/// `http_5xx_ratio` as people would begin a sentence with it.
fn title(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    let text = letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
    quoted(&text)
}

/// A span as SQL writes it: in the greatest unit that divides it.
fn interval(ms: i64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond")];
    let (unit, name) = units.into_iter().find(|(unit, _)| ms % unit == 0).unwrap_or((1, "millisecond"));
    let many = ms / unit;
    format!("{many} {name}{}", if many == 1 { "" } else { "s" })
}

fn percent(part: f64) -> String {
    let text = format!("{:.4}", part * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A text as YAML takes it on a line, in quotes only where it needs some.
pub(super) fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " _-./".contains(c) || (c == ':' && text.starts_with("http")))
        && !text.ends_with([' ', ':'])
        && !["yes", "no", "true", "false", "null", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { always_quoted(text) }
}

fn always_quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text in lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
                continue;
            }
            if line.len() + 1 + word.len() <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines
}
