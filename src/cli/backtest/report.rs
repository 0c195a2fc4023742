//! The end of a backtest, for people and for scripts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    super::{count, print, say},
    tally::{Series, Tally, name},
};
use crate::{
    backtest::Summary,
    judge::output::{BreachEvent, Reading},
    panes::Millis,
    plot::{Band, Episode, Panel, Plot, Shade},
    rules::{Rule, levels::Level},
    time::{rfc3339, span},
};

/// A number with at most six digits behind the point.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A reading in one line, for people.
pub(super) fn reading_line(reading: &Reading) -> String {
    let value =
        reading.value.map_or("no value".to_owned(), |value| format!("{} {}", short(value), reading.rule.header.unit));
    let level = reading.level.map_or_else(
        || format!("unjudged ({})", reading.unjudged.unwrap_or_default()),
        |level| level.name().to_owned(),
    );
    format!(
        "{}  {:<28} {:<20} {level:<10} {value}",
        rfc3339(reading.window_end),
        reading.rule.header.name,
        name(reading.columns.iter().map(|(_, value)| value))
    )
}

/// A breach event in one line, for people.
pub(super) fn breach_line(event: &BreachEvent) -> String {
    format!(
        "{}  {:<28} {:<20} {} {} -> {}  {}",
        event.window_end,
        event.rule,
        name(event.series.values()),
        event.happened.name().to_uppercase(),
        event.previous_level.name(),
        event.level.name(),
        event.summary
    )
}

/// What went wrong with events and rules, and how much there was.
pub(super) fn notes(summary: &Summary, tally: &Tally) {
    for (file, rejected) in &summary.rejected {
        say(&format!("note: {file}:{}: not counted: {} ({})", rejected.offset + 1, rejected.detail, rejected.reason));
    }
    let shown = u64::try_from(summary.rejected.len()).unwrap_or(u64::MAX);
    if summary.rejected_count > shown {
        say(&format!("note: and {} more events not counted", summary.rejected_count - shown));
    }
    for (rule, late) in &summary.late {
        say(&format!("note: late events for closed windows of {rule}: {late}"));
    }
    for (rule, reason) in &summary.fenced {
        say(&format!("error: {rule} failed and was not evaluated further: {reason}"));
    }
    say(&format!(
        "{} events: {}, {}",
        summary.events,
        count(tally.readings, "reading"),
        count(tally.breaches, "breach event")
    ));
}

/// A part of a whole, as people read it.
fn percent(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of readings")]
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    match part {
        0 => "-".to_owned(),
        _ if share < 0.1 => "<0.1%".to_owned(),
        _ => format!("{share:.1}%"),
    }
}

/// The cells of one series.
fn cells(series: &Series, last: Millis) -> Vec<String> {
    let all: u64 = series.levels.iter().sum();
    let mut cells: Vec<String> = series.levels.iter().map(|count| percent(*count, all)).collect();
    let or_dash = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
    cells.push(or_dash(u64::try_from(series.episodes.len()).unwrap_or(u64::MAX)));
    cells.push(or_dash(series.flaps));
    let open = series.open_ms(last);
    cells.push(if open == 0 { "-".to_owned() } else { span(open) });
    cells.push(match series.worst {
        Some((level, value)) if level > Level::Healthy => {
            format!("{} at {}", level.name(), value.map_or("no value".to_owned(), short))
        }
        _ => "-".to_owned(),
    });
    cells
}

const HEADS: [&str; 9] =
    ["series", "healthy", "warning", "critical", "unjudged", "breaches", "flaps", "open", "worst (first value)"];

/// Time in each level, breaches and flapping of every series, as a table.
pub(super) fn table(tally: &Tally) -> anyhow::Result<()> {
    let last = tally.last.unwrap_or(0);
    let mut rows: Vec<Vec<String>> = vec![HEADS.map(str::to_owned).to_vec()];
    let mut rule = "";
    for ((of, series), found) in &tally.series {
        if of != rule {
            rule = of;
            rows.push(vec![of.clone()]);
        }
        rows.push([vec![format!("  {series}")], cells(found, last)].concat());
    }
    print("")?;
    print_rows(&rows)?;
    print("  flaps: breaches that opened again within 10m of being resolved")
}

fn print_rows(rows: &[Vec<String>]) -> anyhow::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    // A line of one cell is a heading, which needs no room in its column.
    let width = |at: usize| {
        rows.iter()
            .filter(|row| row.len() > 1)
            .filter_map(|row| row.get(at))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(at, cell)| format!("{cell}{}", " ".repeat(widths[at].saturating_sub(cell.chars().count()))))
            .collect();
        print(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// The same as JSON, a line for each series.
pub(super) fn json_summary(tally: &Tally) -> anyhow::Result<()> {
    for ((rule, series), found) in &tally.series {
        print(&summary_of(rule, series, found, tally.last.unwrap_or(0)).to_string())?;
    }
    Ok(())
}

fn summary_of(rule: &str, series: &str, found: &Series, last: Millis) -> Value {
    let [healthy, warning, critical, unjudged] = found.seconds();
    json!({
        "type": "summary", "rule": rule, "series": series,
        "seconds": {"healthy": healthy, "warning": warning, "critical": critical, "unjudged": unjudged},
        "breaches": found.episodes, "flaps": found.flaps, "open_seconds": found.open_ms(last) / 1000,
    })
}

/// What tells one breach event from another when versions are compared.
fn told(event: &BreachEvent) -> (String, String, String, String, String) {
    let series = name(event.series.values());
    (
        event.window_end.clone(),
        event.rule.clone(),
        series,
        event.happened.name().to_owned(),
        event.level.name().to_owned(),
    )
}

/// Two versions side by side: the table of each series, and the breach events that only one has.
pub(super) fn comparison(before: &Tally, after: &Tally, json: bool) -> anyhow::Result<()> {
    let keys: BTreeSet<&(String, String)> = before.series.keys().chain(after.series.keys()).collect();
    let nothing = Series::default();
    let last = before.last.max(after.last).unwrap_or(0);
    let told_before: BTreeMap<_, &BreachEvent> = before.events.iter().map(|event| (told(event), event)).collect();
    let told_after: BTreeMap<_, &BreachEvent> = after.events.iter().map(|event| (told(event), event)).collect();
    if json {
        for (rule, series) in keys {
            let key = (rule.clone(), series.clone());
            let of = |tally: &Tally| tally.series.get(&key).map(|found| summary_of(rule, series, found, last));
            let only = |these: &BTreeMap<_, &BreachEvent>, those: &BTreeMap<_, &BreachEvent>| -> Vec<Value> {
                let missing = these.iter().filter(|(told, _)| !those.contains_key(*told));
                let own = missing.filter(|(_, event)| event.rule == *rule && name(event.series.values()) == *series);
                own.map(|(_, event)| json!(event)).collect()
            };
            print(
                &json!({
                    "type": "comparison", "rule": rule, "series": series, "before": of(before), "after": of(after),
                    "only_before": only(&told_before, &told_after), "only_after": only(&told_after, &told_before),
                })
                .to_string(),
            )?;
        }
        return Ok(());
    }
    let mut rows: Vec<Vec<String>> = vec![HEADS.map(str::to_owned).to_vec()];
    for (rule, series) in keys {
        let of = |tally: &'_ Tally| tally.series.get(&(rule.clone(), series.clone())).map(|found| cells(found, last));
        let (old, new) = (of(before), of(after));
        if old == new {
            continue;
        }
        rows.push(vec![format!("{rule} {series}")]);
        let line = |word: &str, found: Option<Vec<String>>| {
            [vec![format!("  {word}")], found.unwrap_or_else(|| cells(&nothing, last))].concat()
        };
        rows.push(line("before", old));
        rows.push(line("after", new));
    }
    if rows.len() == 1 {
        print("both versions say the same of every series")?;
    } else {
        print_rows(&rows)?;
    }
    let mut differences: Vec<(&str, &BreachEvent)> = Vec::new();
    differences
        .extend(told_before.iter().filter(|(key, _)| !told_after.contains_key(*key)).map(|(_, event)| ("-", *event)));
    differences
        .extend(told_after.iter().filter(|(key, _)| !told_before.contains_key(*key)).map(|(_, event)| ("+", *event)));
    differences.sort_by(|a, b| (&a.1.window_end, a.0).cmp(&(&b.1.window_end, b.0)));
    print("")?;
    print(&match differences.len() {
        0 => "the same breach events".to_owned(),
        some => format!("{} that only one version has (- before, + after):", count(some, "breach event")),
    })?;
    for (sign, event) in differences {
        print(&format!("{sign} {}", breach_line(event)))?;
    }
    Ok(())
}

/// How many series a plot shows: those with most breaches.
const PANELS_MAX: usize = 12;

/// A plot of one rule: values, limits, breaches; and the values and breaches of another version.
pub(super) fn plot(rule: &Rule, tally: &Tally, other: Option<&Tally>) -> Plot {
    let shade = |level: Option<Level>| match level {
        None => Shade::Gap,
        Some(Level::Healthy) => Shade::Healthy,
        Some(Level::Warning) => Shade::Warning,
        Some(Level::Critical) => Shade::Critical,
    };
    let bands = rule.bands.as_ref().map(crate::rules::levels::Bands::pieces).unwrap_or_default();
    let bands: Vec<Band> =
        bands.into_iter().map(|(low, high, level)| Band { low, high, level: shade(level) }).collect();
    let (from_ms, to_ms) = (tally.first.unwrap_or(0), tally.last.unwrap_or(0));
    let of_rule = |tally: &'_ Tally| -> Vec<(String, Series)> {
        let own = tally.series.iter().filter(|((of, _), _)| *of == rule.header.name);
        own.map(|((_, series), found)| (series.clone(), found.clone())).collect()
    };
    let mut series = of_rule(tally);
    let all = series.len();
    series.sort_by_key(|(name, found)| (std::cmp::Reverse(found.episodes.len()), name.clone()));
    series.truncate(PANELS_MAX);
    let others: BTreeMap<String, Series> = other.map(of_rule).unwrap_or_default().into_iter().collect();
    let panels = series.into_iter().map(|(name, found)| {
        let second = others.get(&name);
        let episodes = |found: &Series, other: bool| -> Vec<Episode> {
            let one = |episode: &super::tally::Episode| Episode {
                from_ms: episode.from_ms,
                to_ms: episode.to_ms.unwrap_or(to_ms),
                level: shade(Some(episode.worst)),
                other,
            };
            found.episodes.iter().map(one).collect()
        };
        let mut all = episodes(&found, false);
        all.extend(second.map(|second| episodes(second, true)).unwrap_or_default());
        Panel {
            series: name,
            points: found.points,
            bands: bands.clone(),
            episodes: all,
            other: second.map(|second| second.points.clone()).unwrap_or_default(),
        }
    });
    let mut subtitle = format!("{} to {}", rfc3339(from_ms), rfc3339(to_ms));
    if all > PANELS_MAX {
        subtitle += &format!("; {PANELS_MAX} of {all} series, those with most breaches");
    }
    if other.is_some() {
        subtitle += "; the second version is the one before";
    }
    Plot {
        title: format!("{} ({})", rule.header.title, rule.header.name),
        subtitle,
        unit: rule.header.unit.clone(),
        panels: panels.collect(),
        from_ms,
        to_ms,
    }
}
