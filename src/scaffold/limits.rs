//! Limits: where they lie, on which side it is bad, and whether any value lies there.

use std::collections::BTreeMap;

use crate::rules::levels::Level;

/// A limit as it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// The number as it was written: 0.50 stays 0.50.
    pub text: String,
    /// The number.
    pub number: f64,
    /// Whether greater is worse, where it was said.
    pub above: Option<bool>,
}

impl Limit {
    /// Reads `0.01`, `>0.01` or `<0.99`.
    pub fn new(text: &str) -> Result<Self, String> {
        let bare = text.trim();
        let (above, number) = match bare.split_at_checked(1) {
            Some((">", rest)) => (Some(true), rest),
            Some(("<", rest)) => (Some(false), rest),
            _ => (None, bare),
        };
        let number = number.trim_start_matches('=').trim();
        let usage = "write it like 0.05, or like '<0.95' where less is worse";
        if let Some(percent) = number.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok()) {
            return Err(format!("`{text}` is a percentage; write {} for it", percent / 100.0));
        }
        // What SQL reads as a number, and nothing beside.
        let plain = number.trim_start_matches('-').chars().all(|c| c.is_ascii_digit() || c == '.');
        match number.parse::<f64>() {
            Ok(parsed) if parsed.is_finite() && plain => Ok(Self { text: number.to_owned(), number: parsed, above }),
            _ => Err(format!("`{text}` is no limit; {usage}")),
        }
    }
}

/// Which values there are.
pub(super) struct Range {
    /// What has them, for people.
    pub(super) what: String,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// True where greater is worse: as it was said, or by which limit is the greater. A single limit is an upper one.
pub(super) fn above(limits: &BTreeMap<Level, Limit>) -> Result<bool, String> {
    let said: Vec<bool> = limits.values().filter_map(|limit| limit.above).collect();
    if said.contains(&true) && said.contains(&false) {
        return Err("one limit says that more is worse, the other that less is".into());
    }
    let by_order = match (limits.get(&Level::Warning), limits.get(&Level::Critical)) {
        (Some(warning), Some(critical)) if warning.number < critical.number => Some(true),
        (Some(warning), Some(critical)) if warning.number > critical.number => Some(false),
        (Some(warning), Some(_)) => {
            return Err(format!("warning and critical begin both at {}: there would be no warning", warning.text));
        }
        _ => None,
    };
    match (said.first(), by_order) {
        (Some(said), Some(order)) if *said != order => {
            let worse = if *said { "more" } else { "less" };
            Err(format!("where {worse} is worse, critical lies {} warning", if *said { "above" } else { "below" }))
        }
        (said, order) => Ok(order.or(said.copied()).unwrap_or(true)),
    }
}

/// Refuses limits that leave a level without values.
pub(super) fn possible(limits: &BTreeMap<Level, Limit>, above: bool, range: &Range) -> Result<(), String> {
    let Range { what, low, high } = range;
    let share = |limit: &Limit| {
        if *high == 1.0 && limit.number > 1.0 {
            format!("; write {} for {}%", limit.number / 100.0, limit.text)
        } else {
            String::new()
        }
    };
    for (level, limit) in limits {
        let (number, text, level) = (limit.number, &limit.text, level.name());
        if above && number >= *high {
            return Err(format!(
                "{what} is at most {high}, so it is never above {text}, and never {level}{}",
                share(limit)
            ));
        }
        if above && number < *low {
            return Err(format!("{what} is at least {low}, so it is always above {text}, and always {level}"));
        }
        if !above && number <= *low {
            return Err(format!("{what} is at least {low}, so it is never below {text}, and never {level}"));
        }
        if !above && number > *high {
            return Err(format!(
                "{what} is at most {high}, so it is always below {text}, and always {level}{}",
                share(limit)
            ));
        }
    }
    Ok(())
}
