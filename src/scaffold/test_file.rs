//! The text of the test: a healthy case, and one for each level beyond.

use serde_json::Value;

use super::{
    Answers,
    cases::{Events, expected},
    condition::{Row, plain, usual, usual_row},
    rule::quoted,
};
use crate::{panes::first_end_after, rules::levels::Level, time};

/// The test of the rule as the text of a file, or why there can be none.
pub fn test_text(answers: &Answers) -> Result<String, String> {
    let found = answers.events()?;
    let table = &answers.table;
    let base = answers.base();
    let mut text = String::from("# The numbers follow from the limits of the rule: where these change, so do they.\n");
    if !base.is_empty() {
        let series: Vec<String> = answers.series().iter().map(cell).collect();
        let others = base.into_iter().filter(|(name, _)| !answers.by.contains(name)).collect();
        text += &format!("defaults:\n  {}: {}\n", table.name, flow(&series, &others));
    }
    text += "tests:\n";
    text += &answers.healthy(&found[&Level::Healthy]);
    for level in answers.limits.keys() {
        if let Some(events) = found.get(level) {
            text += &answers.breach(*level, events, &found[&Level::Healthy]);
        }
    }
    Ok(text)
}

/// Rows of a case: when they are, how many, and what is special about them.
struct Rows(Vec<String>);

impl Answers {
    /// What all events have.
    fn base(&self) -> Row {
        let mut base = usual_row(&self.table);
        for name in &self.by {
            if let Some(column) = self.table.column(name) {
                // The series is one of which the condition holds.
                let held = self.condition.as_ref().and_then(|of| of.holds.get(name).cloned());
                base.insert(name.clone(), held.unwrap_or_else(|| usual(column)));
            }
        }
        base
    }

    /// What is special about events for which the condition does not hold.
    fn failing(&self) -> Row {
        let Some(of) = &self.condition else { return Row::new() };
        let mut row = of.fails.clone();
        for name in self.by.iter().filter(|name| of.holds.contains_key(*name) && !of.fails.contains_key(*name)) {
            let usual = self.table.column(name).filter(|column| column.required).map_or(Value::Null, usual);
            row.insert(name.clone(), usual);
        }
        row
    }

    /// The columns of the series, as readings and breaches name them.
    fn series(&self) -> Row {
        let base = self.base();
        self.by.iter().filter_map(|name| Some((name.clone(), base.get(name)?.clone()))).collect()
    }

    fn rows(&self, when: &str, events: &Events) -> Rows {
        let mut rows = Vec::new();
        let base = self.base();
        let one = |many: u64, special: &Row, cell: Option<f64>| {
            let mut row: Row = special.clone();
            if let (Some(column), Some(cell)) = (&self.column, cell) {
                row.insert(column.name.clone(), plain(cell));
            }
            row.retain(|name, value| base.get(name) != Some(value));
            let repeat =
                if many > 1 { vec![when.to_owned(), format!("repeat: {many}")] } else { vec![when.to_owned()] };
            format!("        - {}\n", flow(&repeat, &row))
        };
        let holding = self.condition.as_ref().map(|of| of.holds.clone()).unwrap_or_default();
        if events.others > 0 {
            rows.push(one(events.others, &self.failing(), None));
        }
        if events.holding > 0 {
            rows.push(one(events.holding, &holding, events.cell));
        }
        Rows(rows)
    }

    fn case(&self, name: &str, rows: &Rows, end: Option<i64>) -> String {
        let mut text = format!("  - name: {name}\n");
        if !rows.0.is_empty() {
            text += &format!("    events:\n      {}:\n{}", self.table.name, rows.0.concat());
        }
        end.map_or_else(|| text.clone(), |end| format!("{text}    end: {}\n", short(end)))
    }

    /// A reading or a breach at that time.
    fn line(&self, at: i64, parts: &[String]) -> String {
        let mut parts = parts.to_vec();
        parts.insert(0, format!("at: {}", short(at)));
        parts.splice(1..1, self.series().iter().map(cell));
        format!("      - {{{}}}\n", parts.join(", "))
    }

    fn healthy(&self, events: &Events) -> String {
        let rows = self.rows("at: 0s", events);
        if events.total() == 0 {
            return self.case("healthy without events", &rows, Some(6 * self.slide_ms)) + "    breaches: []\n";
        }
        let judged = [
            format!("value: {}", expected(events)),
            format!("samples: {}", events.total()),
            "level: healthy".to_owned(),
            "state: healthy".to_owned(),
        ];
        let mut text = self.case("healthy", &rows, Some(6 * self.slide_ms));
        text += "    readings:\n";
        text += &self.line(self.slide_ms, &judged);
        text + "    breaches: []\n"
    }

    fn breach(&self, level: Level, events: &Events, healthy: &Events) -> String {
        let wait = self.for_ms(level);
        let name = if wait == 0 {
            format!("{} at once", level.name())
        } else {
            format!("{} after {}", level.name(), minutes(wait))
        };
        // Each window holds the events of one moment: they come again when the window before is over.
        let silent = events.total() == 0;
        let first = if silent { self.window_ms + self.slide_ms } else { self.slide_ms };
        let opens = first + if wait == 0 { 0 } else { first_end_after(wait - 1, self.slide_ms) };
        let (rows, end) = if silent {
            // Nothing is a value only of what has been heard of.
            (self.rows("at: 0s", healthy), Some(opens))
        } else if opens <= self.window_ms {
            (self.rows("at: 0s", events), Some(opens))
        } else {
            (self.rows(&format!("every: {}, until: {}", short(self.window_ms), short(opens)), events), None)
        };
        let mut text = format!("\n{}", self.case(&name, &rows, end));
        let value = format!("value: {}", expected(events));
        let state = |state: &str| [value.clone(), format!("level: {}", level.name()), format!("state: {state}")];
        text += "    readings:\n";
        if wait > 0 {
            text += &self.line(first, &state("healthy"));
        }
        text += &self.line(opens, &state(level.name()));
        text += "    breaches:\n";
        let opened = [
            "type: opened".to_owned(),
            format!("level: {}", level.name()),
            "previous_level: healthy".to_owned(),
            value,
        ];
        text + &self.line(opens, &opened)
    }
}

/// A row as YAML on one line: `{at: 0s, service: checkout}`.
fn flow(first: &[String], row: &Row) -> String {
    let parts: Vec<String> = first.iter().cloned().chain(row.iter().map(cell)).collect();
    format!("{{{}}}", parts.join(", "))
}

fn cell((name, value): (&String, &Value)) -> String {
    match value {
        Value::String(text) => format!("{name}: {}", quoted(text)),
        other => format!("{name}: {other}"),
    }
}

/// A span without blanks, as the other tests have it: 310s rather than 5m 10s.
fn short(ms: i64) -> String {
    if ms % 60_000 == 0 && ms > 0 { time::span(ms).replace(' ', "") } else { format!("{ms}ms").replace("000ms", "s") }
}

fn minutes(ms: i64) -> String {
    let many = ms / 60_000;
    format!("{many} minute{}", if many == 1 { "" } else { "s" })
}
