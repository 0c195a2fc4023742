//! The axes of a plot: which values and moments are marked, and how numbers are written.

use std::{iter, ops::RangeInclusive};

use chrono::{DateTime, Utc};

use super::Panel;

/// Beyond it, and nearer to zero than its inverse, values are drawn as if they were it, or zero.
const HUGE: f64 = 1e307;
pub(super) const DAY: i64 = 86_400_000;
/// The distances between marks of time; beyond, days are doubled.
const STEPS: [i64; 26] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000,
];

/// A mark of time: its moment, its text, and the date where the day is another than at the mark before.
pub(super) type TimeTick = (i64, String, Option<String>);

/// The axis of values of a panel.
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) height: f64,
    pub(super) ticks: Vec<(f64, String)>,
    /// The limits, from the greatest to the least, and what stands at the edge: an arrow where one lies outside.
    pub(super) limits: Vec<(f64, String)>,
}

impl Scale {
    pub(super) fn new(panel: &Panel, range: &RangeInclusive<i64>, height: u16) -> Self {
        let points = panel.points.iter().chain(&panel.other).filter(|(at, _)| range.contains(at));
        let values = points.filter_map(|(_, value)| drawn(*value));
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (value.min(low), value.max(high)));
        let mut limits: Vec<f64> =
            panel.bands.iter().flat_map(|band| [band.low, band.high]).filter_map(|limit| drawn(Some(limit))).collect();
        limits.sort_by(|a, b| b.total_cmp(a));
        limits.dedup();
        let (mut low, mut high) = match (limits.last(), limits.first()) {
            _ if low <= high => (low, high),
            (Some(low), Some(high)) => (*low, *high),
            _ => (0.0, 1.0),
        };
        // Where no limit lies among the values the nearest is in view, and others are where they leave the values room.
        let away = |limit: f64| (low - limit).max(limit - high);
        let mut near: Vec<(f64, f64)> = limits.iter().map(|limit| (away(*limit), *limit)).collect();
        near.retain(|(away, _)| *away > 0.0);
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        let crossed = high > low && near.len() < limits.len();
        for (nth, (away, limit)) in near.into_iter().enumerate() {
            if away <= 3.0 * (high - low) || (nth == 0 && !crossed) {
                (low, high) = (low.min(limit), high.max(limit));
            }
        }
        let size = low.abs().max(high.abs());
        if high - low <= size * 1e-9 {
            let around = if size > 0.0 { size * 0.1 } else { 1.0 };
            (low, high) = (low - around, high + around);
        }
        let pad = (high - low) * 0.08;
        (low, high) = (low - pad, high + pad);
        let text = |limit: f64| match limit {
            _ if limit > high => format!("↑ {}", number(limit)),
            _ if limit < low => format!("↓ {}", number(limit)),
            _ => number(limit),
        };
        let mut limits: Vec<(f64, String)> = limits.into_iter().map(|limit| (limit, text(limit))).collect();
        limits.dedup_by(|a, b| a.1 == b.1);
        limits.truncate(usize::from(height / 12));
        let height = f64::from(height);
        Self { low, high, height, ticks: value_ticks(low, high, height / 27.0), limits }
    }

    /// How far below the top of the panel a value lies; what is outside lies on the edge.
    pub(super) fn y(&self, value: f64) -> f64 {
        ((self.high - value) / (self.high - self.low)).clamp(0.0, 1.0) * self.height
    }
}

/// The value as it is drawn: nothing where it is not a number, and nothing beyond what can be reckoned with.
pub(super) fn drawn(value: Option<f64>) -> Option<f64> {
    let value = value.filter(|value| value.is_finite())?.clamp(-HUGE, HUGE);
    Some(if value.abs() < HUGE.recip() { 0.0 } else { value })
}

/// The power of ten of a number.
fn exponent(value: f64) -> i32 {
    format!("{value:.9e}").rsplit('e').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A number for people: nine digits at most, none of them idle.
pub(super) fn number(value: f64) -> String {
    let rounded = format!("{value:.8e}").parse().unwrap_or(value);
    match exponent(rounded) {
        -4..6 => grouped(&format!("{rounded}")),
        _ => format!("{rounded:e}"),
    }
}

/// A number below a million with its thousands apart, from five digits on.
fn grouped(digits: &str) -> String {
    let whole = digits.find('.').unwrap_or(digits.len());
    if digits[..whole].trim_start_matches('-').len() < 5 {
        return digits.to_owned();
    }
    let (thousands, rest) = digits.split_at(whole - 3);
    format!("{thousands}\u{a0}{rest}")
}

/// Round values between two others, all with the same digits after the point.
fn value_ticks(low: f64, high: f64, most: f64) -> Vec<(f64, String)> {
    let raw = (high - low) / most.max(2.0);
    let power = exponent(raw);
    let steps = [(1, power), (2, power), (5, power), (1, power + 1)];
    let step = steps.into_iter().map(|(digit, power)| (format!("{digit}e{power}").parse().unwrap_or(raw), power));
    let (step, power): (f64, i32) = step.into_iter().find(|(step, _)| *step >= raw).unwrap_or((raw, power));
    let digits = |power: i32| usize::try_from(power).unwrap_or(0);
    let size = exponent(low.abs().max(high.abs()));
    let text = |value: f64| match size {
        _ if value == 0.0 => "0".into(),
        -3..6 => grouped(&format!("{value:.*}", digits(-power))),
        _ => format!("{value:.*e}", digits(exponent(value) - power)),
    };
    let first = (low / step).ceil();
    let values = (0..50).map(|nth| (first + f64::from(nth)) * step).take_while(|value| *value <= high);
    values.map(|value| (value, text(value))).collect()
}

pub(super) fn time(at: i64, format: &str) -> String {
    DateTime::<Utc>::from_timestamp_millis(at).map(|at| at.format(format).to_string()).unwrap_or_default()
}

/// Round moments of a range, ten or so.
pub(super) fn time_ticks(from: i64, to: i64) -> Vec<TimeTick> {
    let days = iter::successors(Some(DAY), |step| step.checked_mul(2));
    let step = STEPS.into_iter().chain(days).find(|step| (to - from) / step < 11).unwrap_or(i64::MAX);
    let format = match step {
        ..1_000 => "%H:%M:%S%.3f",
        1_000..60_000 => "%H:%M:%S",
        60_000..DAY => "%H:%M",
        _ => "%F",
    };
    let first = from.div_euclid(step) + i64::from(from.rem_euclid(step) != 0);
    let mut before = String::new();
    let mark = |at: i64| {
        let date = time(at, "%F");
        let new = step < DAY && date != before;
        before.clone_from(&date);
        (at, time(at, format), new.then_some(date))
    };
    (first..).map_while(|nth| nth.checked_mul(step)).take_while(|at| *at <= to).map(mark).collect()
}
