//! Corrections: what late events change of windows that have closed. A window is evaluated once more, when nothing more
//! may come; readings that differ replace the first ones. Levels, states, histories and breaches follow first readings
//! only, so a correction never makes an alert flap.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use datafusion::common::{Result, exec_datafusion_err};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    RuleState,
    output::{Output, Reading},
    rows::{key_columns, measures, samples_at, texts, value_at},
    windows::{Window, rows, window_start},
};
use crate::{
    panes::{Millis, first_end_after},
    rules::{Rule, hash, levels::Level, plan::FoldUse, series::canonical},
};

/// Why a reading that only late events brought has no level.
const LATE: &str = "late";
/// Every reason for having no level.
const UNJUDGED: [&str; 5] = ["partial", "no_value", "no_level", "judge_when", LATE];

/// What was said of the closed windows that late events may still correct.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corrections {
    /// By window end and series.
    said: BTreeMap<Millis, Said>,
    /// The ends of windows to which late events came.
    late: BTreeSet<Millis>,
    /// The first window of the version that judges, where one before said something else of the same events: what that one
    /// said stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Millis>,
}

/// What was said of one window at first, by series.
pub(super) type Said = BTreeMap<Arc<str>, First>;

/// What was said of a series at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct First {
    /// A hash of value, samples and the other columns of the SQL.
    content: String,
    level: Option<Level>,
    state: Level,
    unjudged: String,
}

/// What a correction may change of a reading: columns of the SQL, not those of the history.
fn content(
    rule: &Rule,
    value: Option<f64>,
    samples: Option<i64>,
    numbers: &[(String, f64)],
    texts: &[(String, String)],
) -> String {
    let of_sql = |name: &String| rule.output.schema.index_of(name).is_ok_and(|at| at < rule.output.of_sql);
    let bits = |value: f64| value.to_bits();
    let numbers: BTreeMap<&String, u64> =
        numbers.iter().filter(|(name, _)| of_sql(name)).map(|(name, value)| (name, bits(*value))).collect();
    let texts: BTreeMap<&String, &String> =
        texts.iter().filter(|(name, _)| of_sql(name)).map(|(name, text)| (name, text)).collect();
    hash(&format!("{:?}|{samples:?}|{numbers:?}|{texts:?}", value.map(bits)))
}

fn content_of(reading: &Reading) -> String {
    let numbers = reading.measures.iter().filter_map(|(name, one)| Some((name.clone(), one.as_ref()?.as_f64())));
    let texts = reading.labels.iter().filter_map(|(name, one)| Some((name.clone(), one.clone()?)));
    let (numbers, texts): (Vec<_>, Vec<_>) = (numbers.collect(), texts.collect());
    content(&reading.rule, reading.value, reading.samples, &numbers, &texts)
}

impl Corrections {
    /// True where there is nothing that may be corrected.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty() && self.late.is_empty() && self.from.is_none()
    }

    /// The first window that may be corrected, where there are closed ones before it.
    pub(super) fn from(&self) -> Option<Millis> {
        self.from
    }

    /// Another version judges from this window end on.
    pub(super) fn begin_from(&mut self, from: Option<Millis>) {
        self.from = from;
    }

    /// A reading was said at first.
    pub(super) fn said(&mut self, reading: &Reading) {
        if reading.rule.header.allowed_lateness_ms > 0 {
            let first = First {
                content: content_of(reading),
                level: reading.level,
                state: reading.state,
                unjudged: reading.unjudged.unwrap_or_default().to_owned(),
            };
            self.said.entry(reading.window_end).or_default().insert(Arc::clone(&reading.series), first);
        }
    }

    /// Takes the readings of one rule from a block as it was published, from the window end `since` on.
    pub(super) fn restore(&mut self, rule: &Rule, block: &RecordBatch, since: Millis) -> Result<()> {
        let column = |name: &str| {
            block.column_by_name(name).ok_or_else(|| exec_datafusion_err!("a block of readings has no column {name}"))
        };
        let (rules, series) = (column("rule")?.as_string::<i32>(), column("series")?.as_string::<i32>());
        let ends = column("window_end")?.as_primitive::<TimestampMillisecondType>();
        let values = column("value")?.as_primitive::<Float64Type>();
        let samples = column("samples")?.as_primitive::<Int64Type>();
        let (levels, states) = (column("level")?.as_string::<i32>(), column("state")?.as_string::<i32>());
        let (unjudged, corrected) = (column("unjudged")?.as_string::<i32>(), column("corrected")?.as_boolean());
        let (numbers, labels) = (column("measures")?.as_map(), column("labels")?.as_map());
        let names = |map: &StructArray| -> Vec<String> {
            map.column(0).as_string::<i32>().iter().map(|name| name.unwrap_or_default().to_owned()).collect()
        };
        for row in 0..block.num_rows() {
            if rules.value(row) != rule.header.name || ends.value(row) < since || corrected.value(row) {
                continue;
            }
            let (numbers, labels) = (numbers.value(row), labels.value(row));
            let doubles = numbers.column(1).as_primitive::<Float64Type>().values().to_vec();
            let numbers: Vec<(String, f64)> = names(&numbers).into_iter().zip(doubles).collect();
            let words = labels.column(1).as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned());
            let labels: Vec<(String, String)> = names(&labels).into_iter().zip(words).collect();
            let value = values.is_valid(row).then(|| values.value(row));
            let samples = samples.is_valid(row).then(|| samples.value(row));
            let first = First {
                content: content(rule, value, samples, &numbers, &labels),
                level: Level::parse(levels.value(row)),
                state: Level::parse(states.value(row)).unwrap_or_default(),
                unjudged: unjudged.value(row).to_owned(),
            };
            self.said.entry(ends.value(row)).or_default().insert(series.value(row).into(), first);
        }
        Ok(())
    }

    /// Late events came to the windows with these ends.
    pub(super) fn late(&mut self, ends: impl IntoIterator<Item = Millis>) {
        self.late.extend(ends);
    }

    /// The windows that end until then can change no more: what was said of those to which late events came.
    pub(super) fn settle(&mut self, until: Millis) -> Vec<(Millis, Said)> {
        let kept = self.said.split_off(&until.saturating_add(1));
        let mut settled = std::mem::replace(&mut self.said, kept);
        let waiting = self.late.split_off(&until.saturating_add(1));
        let late = std::mem::replace(&mut self.late, waiting);
        // A window without readings has nothing to remember.
        let late = late.into_iter().filter(|end| self.from.is_none_or(|from| *end >= from));
        let corrected = late.map(|end| (end, settled.remove(&end).unwrap_or_default())).collect();
        self.from = self.from.filter(|from| *from > until);
        corrected
    }
}

/// The ends of the closed windows that late states of a pane may still correct; `next` is the next window to be closed.
pub(super) fn ends(rule: &Rule, fold: &FoldUse, pane: Millis, next: Millis) -> Vec<Millis> {
    let last = next - rule.slide_ms;
    let first = first_end_after(last - rule.header.allowed_lateness_ms, rule.slide_ms);
    let steps = (last - first) / rule.slide_ms;
    let ends = (0..=steps).map(|step| first + step * rule.slide_ms);
    ends.filter(|end| {
        let (from, to) = fold.hop.window(*end);
        from <= pane && pane < to
    })
    .collect()
}

/// Evaluates a window once more and says what is different.
pub(super) fn correct(window: &Window<'_>, state: &RuleState, mut said: Said, out: &mut Vec<Output>) -> Result<()> {
    let (rule, end) = (window.rule, window.end);
    let (rows, silent) = rows(window, state)?;
    for row in 0..rows.num_rows() {
        let columns = key_columns(rule, &rows, row)?;
        let series: Arc<str> = canonical(columns.iter().cloned().collect()).into();
        let first = said.remove(&series);
        if first.is_none() && silent.contains(&series) {
            // Known by now, and silent then: nobody expected it to be told.
            continue;
        }
        let mut reading = Reading {
            rule: Arc::clone(rule),
            series,
            columns,
            window_start: window_start(rule, end),
            window_end: end,
            value: value_at(&rows, rule.output.value, row),
            samples: rule.output.samples.and_then(|at| samples_at(&rows, at, row)),
            level: None,
            state: Level::Healthy,
            unjudged: Some(LATE),
            measures: measures(rule, &rows, row),
            labels: texts(rule, &rows, row)?,
            corrected: true,
            retracted: false,
        };
        match first {
            Some(first) if first.content == content_of(&reading) => continue,
            Some(first) => {
                reading.level = first.level;
                reading.state = first.state;
                reading.unjudged = UNJUDGED.into_iter().find(|reason| *reason == first.unjudged);
            }
            None => {}
        }
        out.push(Output::Reading(Box::new(reading)));
    }
    for (series, first) in said {
        let columns: BTreeMap<String, Value> = serde_json::from_str(&series).unwrap_or_default();
        out.push(Output::Reading(Box::new(Reading {
            rule: Arc::clone(rule),
            series,
            columns: columns.into_iter().collect(),
            window_start: window_start(rule, end),
            window_end: end,
            value: None,
            samples: None,
            level: first.level,
            state: first.state,
            unjudged: UNJUDGED.into_iter().find(|reason| *reason == first.unjudged),
            measures: Vec::new(),
            labels: Vec::new(),
            corrected: true,
            retracted: true,
        })));
    }
    Ok(())
}
