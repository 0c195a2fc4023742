//! Which events give a value of a level: the numbers of the test.

use std::collections::BTreeMap;

use super::{Answers, Measure, condition::plain};
use crate::rules::{
    catalog::{Column, Kind},
    levels::{Bands, Level},
};

/// More events than this in one window are no test.
const EVENTS_MAX: u64 = 200_000;

/// The events of one window, and what comes of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Events {
    /// How many meet the condition, or are just there where there is none.
    pub(super) holding: u64,
    /// How many do not meet it.
    pub(super) others: u64,
    /// What stands in the measured column of those that hold.
    pub(super) cell: Option<f64>,
    /// The value.
    pub(super) value: f64,
    /// True where the value is known only as closely as a sketch knows it.
    pub(super) near: bool,
}

impl Events {
    pub(super) fn total(&self) -> u64 {
        self.holding + self.others
    }
}

impl Answers {
    /// Events for each level that some can be found for. Healthy and the most severe level are always among them.
    pub(super) fn events(&self) -> Result<BTreeMap<Level, Events>, String> {
        let levels = self.levels();
        let texts = levels.iter().map(|(level, sql)| (*level, sql.as_str())).collect();
        let bands = Bands::new(&texts).ok_or("the levels are no bands")?;
        let found = match self.measure {
            Measure::Ratio => self.of_ratio(&bands),
            Measure::Count | Measure::Rate => self.of_numbers(&bands),
            _ => self.of_column(&bands),
        };
        for level in levels.keys().filter(|level| **level == Level::Healthy || levels.keys().last() == Some(level)) {
            if !found.contains_key(level) {
                let why = match &self.column {
                    Some(column) => format!("`{}` has no such number", column.name),
                    None => {
                        format!("it takes more than {EVENTS_MAX} events in a window; a shorter --window takes fewer")
                    }
                };
                return Err(format!("no test can be made in which the value is {}: {why}", level.name()));
            }
        }
        Ok(found)
    }

    /// As few events as show each level.
    fn of_ratio(&self, bands: &Bands) -> BTreeMap<Level, Events> {
        let least = self.min_samples().unwrap_or(1);
        let mut best = BTreeMap::new();
        for times in [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000] {
            let all = least * times;
            if all > EVENTS_MAX {
                break;
            }
            let ratio = |holding: u64| number(holding) / number(all);
            let of = |level: Level| -> Option<Events> {
                // As healthy as can be, and just beyond a limit.
                let mut fitting = (0..=all).filter(|holding| bands.level(ratio(*holding), None) == level);
                let holding = if self.above { fitting.next() } else { fitting.next_back() }?;
                let value = ratio(holding);
                Some(Events { holding, others: all - holding, cell: None, value, near: false })
            };
            let found: BTreeMap<Level, Events> =
                Level::ALL.into_iter().filter_map(|level| Some((level, of(level)?))).collect();
            if found.len() > best.len() {
                best = found;
            }
            if best.len() == self.limits.len() + 1 {
                break;
            }
        }
        best
    }

    fn of_numbers(&self, bands: &Bands) -> BTreeMap<Level, Events> {
        let seconds = if self.measure == Measure::Rate { number(self.window_ms.unsigned_abs()) / 1000.0 } else { 1.0 };
        let of = |level: Level| -> Option<Events> {
            let tries = self
                .tries(level, 0.0, f64::INFINITY)
                .into_iter()
                .flat_map(|one| [(one * seconds).floor(), (one * seconds).ceil()]);
            let fits =
                |many: &f64| *many >= 0.0 && *many <= number(EVENTS_MAX) && bands.level(*many / seconds, None) == level;
            // Where there is no other event, none at all has no reading.
            let mut fitting: Vec<f64> = tries.filter(fits).collect();
            if self.condition.is_none() {
                fitting.sort_by_key(|many| *many == 0.0);
            }
            let many = *fitting.first()?;
            let holding: u64 = format!("{many:.0}").parse().ok()?;
            let others = u64::from(holding == 0 && self.condition.is_some());
            Some(Events { holding, others, cell: None, value: many / seconds, near: false })
        };
        Level::ALL.into_iter().filter_map(|level| Some((level, of(level)?))).collect()
    }

    fn of_column(&self, bands: &Bands) -> BTreeMap<Level, Events> {
        let Some(column) = &self.column else { return BTreeMap::new() };
        let low = column.minimum.unwrap_or(f64::NEG_INFINITY);
        let high = column.maximum.unwrap_or(f64::INFINITY);
        let holding = self.min_samples().unwrap_or(1);
        let of = |level: Level| -> Option<Events> {
            let mut tries = self.tries(level, low, high).into_iter().flat_map(|one| possible(column, one));
            let fits = |value: &f64| low <= *value && *value <= high && bands.level(*value, None) == level;
            let value = tries.find(fits)?;
            let near = matches!(self.measure, Measure::Average | Measure::Percentile);
            Some(Events { holding, others: 0, cell: Some(value), value, near })
        };
        Level::ALL.into_iter().filter_map(|level| Some((level, of(level)?))).collect()
    }

    /// Values around the limits, those in the middle of a level first.
    fn tries(&self, level: Level, low: f64, high: f64) -> Vec<f64> {
        let limits: Vec<f64> = self.limits.values().map(|limit| limit.number).collect();
        let (Some(mild), Some(severe)) = (limits.first().copied(), limits.last().copied()) else { return Vec::new() };
        let between = f64::midpoint;
        let bad = |limit: f64| if (limit > 0.0) == self.above { limit * 2.0 } else { limit / 2.0 };
        let good = |limit: f64| if (limit > 0.0) == self.above { limit / 2.0 } else { limit * 2.0 };
        let mut tries = match level {
            Level::Healthy => vec![good(mild), between(low, mild), between(mild, high)],
            Level::Warning => {
                vec![between(mild, severe), bad(mild), between(mild, if self.above { high } else { low })]
            }
            Level::Critical => vec![bad(severe), between(severe, high), between(low, severe)],
        };
        for limit in limits {
            tries.extend([limit, limit + 1.0, limit - 1.0]);
        }
        tries.extend([low, high, 0.0, 1.0]);
        tries.into_iter().filter(|one| one.is_finite()).map(short).collect()
    }
}

/// The values of a column that are near to one.
fn possible(column: &Column, value: f64) -> Vec<f64> {
    match column.kind {
        Kind::Integer => vec![value.floor(), value.ceil()],
        Kind::Decimal(_, scale) => {
            let digits = 10_f64.powi(i32::from(scale));
            vec![(value * digits).round() / digits]
        }
        _ => vec![value],
    }
}

/// With at most six digits that count: nobody wants to read 0.30000000000000004.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[expect(clippy::cast_precision_loss, reason = "counts of events in a test are far below 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

/// A value as the test expects it.
pub(super) fn expected(events: &Events) -> String {
    let text = plain(events.value).to_string();
    if events.near { format!("\"~{text}\"") } else { text }
}
