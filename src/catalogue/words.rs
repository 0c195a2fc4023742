//! What a rule does, in words.

use super::markdown::code;
use crate::{
    panes::Hop,
    rules::{
        Rule,
        header::{Header, Silence},
        history::{Function, Step},
        levels::{Bands, Level},
    },
};

/// `1 rule`, `2 rules`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A span of time as people say it: `1 minute 30 seconds`.
pub(super) fn span(ms: i64) -> String {
    let mut left = ms.unsigned_abs();
    let mut parts = Vec::new();
    for (unit, name) in
        [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond")]
    {
        let many = left / unit;
        left %= unit;
        if many > 0 {
            parts.push(format!("{many} {name}{}", if many == 1 { "" } else { "s" }));
        }
    }
    if parts.is_empty() { "no time".to_owned() } else { parts.join(" ") }
}

/// A span as it stands behind "every" and "the last": `minute`, `5 minutes`.
pub(super) fn each(ms: i64) -> String {
    let text = span(ms);
    match text.split_once(' ') {
        Some(("1", unit)) if !unit.contains(' ') => unit.to_owned(),
        _ => text,
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(words: &[String], and: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {and} {last}", first.join(", ")),
    }
}

/// A limit in short: `value >= 1 AND value < 2` is `≥ 1 and < 2`; anything but that is shown as it is.
pub(super) fn limit(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let parts: Option<Vec<String>> = words
        .split(|word| word.eq_ignore_ascii_case("and"))
        .map(|part| match part {
            [value, sign, number] if value.eq_ignore_ascii_case("value") && number.parse::<f64>().is_ok() => {
                Some(match *sign {
                    ">=" => format!("≥ {number}"),
                    "<=" => format!("≤ {number}"),
                    "<>" | "!=" => format!("≠ {number}"),
                    "<" | ">" | "=" => format!("{sign} {number}"),
                    _ => return None,
                })
            }
            _ => None,
        })
        .collect();
    parts.map_or_else(|| code(sql), |parts| parts.join(" and "))
}

/// The window of a hop.
pub(super) fn window(hop: Hop) -> String {
    let size = each(hop.size_ms);
    if hop.ago_ms > 0 { format!("the last {size}, {} before", span(hop.ago_ms)) } else { format!("the last {size}") }
}

/// A limit as the rule writes it: 0.80, not 0.8.
fn written(limit: f64, header: &Header) -> String {
    let words = header.levels.values().flat_map(|predicate| {
        predicate.sql.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '+'))
    });
    let same = |word: &&str| word.parse::<f64>().is_ok_and(|number| number.total_cmp(&limit).is_eq());
    words.into_iter().find(same).map_or_else(|| limit.to_string(), str::to_owned)
}

/// What values in the gaps between levels do, a sentence or two for each gap.
pub(super) fn gaps(bands: &Bands, header: &Header) -> Vec<String> {
    let mut found = Vec::new();
    let mut segments = bands.segments.iter().peekable();
    while let Some(first) = segments.next() {
        if first.level.is_some() {
            continue;
        }
        let mut last = first;
        while let Some(next) = segments.next_if(|next| next.level.is_none()) {
            last = next;
        }
        // A piece of the line begins or ends with its limit where the limit is a piece itself.
        let point = |at: &crate::rules::levels::Segment| at.low == at.high;
        let (low, high) = (first.low, last.high);
        let (low_text, high_text) = (written(low, header), written(high, header));
        let from = if point(first) { format!("of {low_text} or more") } else { format!("above {low_text}") };
        let to = if point(last) { format!("up to {high_text}") } else { format!("below {high_text}") };
        let (which, inside) = match (low.is_finite(), high.is_finite()) {
            (true, true) if low == high => (format!("of exactly {low_text}"), low),
            (true, true) => (format!("{from} and {to}"), f64::midpoint(low, high)),
            (true, false) => (from, low + 1.0),
            (false, true) => (to, high - 1.0),
            (false, false) => continue,
        };
        let (mut stays, mut turns) = (Vec::new(), Vec::new());
        for level in Level::ALL {
            let then = bands.level(inside, Some(level));
            if then == level {
                stays.push(level.name().to_owned());
            } else {
                turns.push(format!("one that is {} becomes {}", level.name(), then.name()));
            }
        }
        let turns = if turns.is_empty() { String::new() } else { format!("; {}", list(&turns, "and")) };
        found.push(format!(
            "A value {which} is in a gap, where the present level holds: a series that is {} stays so{turns}. \
             A new series begins as {}.",
            list(&stays, "or"),
            bands.level(inside, None).name()
        ));
    }
    found
}

/// When a level becomes the state.
pub(super) fn worse(header: &Header) -> String {
    let severe = [Level::Warning, Level::Critical].into_iter().filter(|level| header.levels.contains_key(level));
    let one = |level: Level| {
        let wait = header.for_ms.get(&level).copied().unwrap_or(0);
        let or_worse =
            if level == Level::Warning && header.levels.contains_key(&Level::Critical) { " or worse" } else { "" };
        if wait == 0 {
            format!("{} with the first reading at that level{or_worse}", level.name())
        } else {
            format!("{} once the level has been {}{or_worse} for {}", level.name(), level.name(), span(wait))
        }
    };
    let parts: Vec<String> = severe.map(one).collect();
    format!("The state turns to {}.", parts.join(", and to "))
}

/// When the state becomes milder.
pub(super) fn milder(header: &Header) -> String {
    if header.keep_firing_ms == 0 {
        "The state turns milder with the first milder reading.".to_owned()
    } else {
        format!("The state turns milder once the level has been milder for {}.", span(header.keep_firing_ms))
    }
}

/// What silence means.
pub(super) fn silence(rule: &Rule) -> String {
    let no_data = rule.header.no_data;
    let after = span(no_data.after_ms);
    match no_data.silence {
        Silence::Zero => {
            "A series without events is read as nothing: the SQL runs over no rows for it (a count is 0, a sum \
                          NULL), from the first window without any, and what comes out is judged as ever."
                .to_owned()
        }
        Silence::Hold => format!(
            "A series without events has no readings, and its state stays as it is. Where a breach is open, it is told \
             after {after} that the series is silent."
        ),
        Silence::Healthy => {
            format!("A series without events for {after} is taken as healthy, and a breach of it ends.")
        }
        Silence::Warning => format!(
            "A series without events for {after} is in warning: silence itself is a breach. One that is critical stays so, \
             and it is told that it is silent."
        ),
        Silence::Critical => format!("A series without events for {after} is critical: silence itself is a breach."),
    }
}

/// What a column of the history is.
pub(super) fn history(step: &Step, rule: &Rule) -> String {
    let back = |ms: &i64| span(*ms);
    let one = |call: &crate::rules::history::Call| {
        let of = code(&call.of);
        match &call.function {
            Function::Growing { span_ms, min_rise } if *min_rise > 0.0 => {
                format!(
                    "true where {of} has risen over {}, by more than noise and by more than {min_rise}",
                    back(span_ms)
                )
            }
            Function::Growing { span_ms, .. } => {
                format!("true where {of} has risen over {}, by more than noise", back(span_ms))
            }
            Function::Trend { span_ms } => format!("how much {of} has risen over {}", back(span_ms)),
            Function::Recurs { least, windows } => {
                let reach = span(windows.saturating_mul(rule.history.step_ms));
                format!("true where {of} held in at least {least} of the last {windows} windows ({reach})")
            }
            Function::Share { span_ms } => format!("the part of the readings of {} at which {of} held", back(span_ms)),
            Function::Ago { span_ms } => format!("{of}, {} before", back(span_ms)),
            Function::Expected => {
                format!("what {of} usually is at this hour of the week ({}); known after a day", rule.history.timezone)
            }
            Function::Deviation => format!(
                "how far {of} is from what is usual at this hour of the week ({}), in units of how far it usually strays; \
                 known after a day",
                rule.history.timezone
            ),
        }
    };
    let parts: Vec<String> = step.calls.iter().map(one).collect();
    if parts.is_empty() { "made of the columns before it".to_owned() } else { parts.join("; ") }
}
