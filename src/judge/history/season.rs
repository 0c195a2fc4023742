//! What a series usually does at this hour of the week.
//!
//! Each hour is remembered by its median, and by how far readings typically lay from what was expected. What is expected
//! is the median of the same hour of earlier weeks or, before there is one, of the same hour of earlier days; between the
//! middles of two hours it moves in a straight line. So it is of use after a day and good after a week.
//!
//! An hour that lies far off is *odd* and teaches nothing, so that an incident does not become the new normal. A day of
//! nothing but odd hours is no incident but a shift: they are accepted, and what came before is forgotten.

use chrono::{Datelike, Offset, TimeZone, Timelike};
use serde::{Deserialize, Serialize};

use super::trend::median;
use crate::{
    panes::{Millis, last_end_until},
    rules::history::{History, Learnt},
};

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_H: i64 = 24;
const WEEK_H: i64 = 7 * DAY_H;
/// How many weeks are remembered.
const WEEKS: i64 = 5;
/// Deviations beyond this make an hour odd.
const ODD: f64 = 4.0;
/// So many odd hours without a break are a shift.
const SHIFT_H: usize = 24;
/// The median absolute deviation of a normal distribution is this part of its standard deviation.
const MAD: f64 = 1.4826;

/// The hours of one series, in local time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Season {
    /// The hour that is going on: hours since the epoch, local time.
    hour: i64,
    /// The readings of that hour whose windows do not overlap.
    values: Vec<f64>,
    /// The window end taken last.
    taken: Millis,
    /// The hours before, oldest first.
    hours: Vec<Hour>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Hour {
    #[serde(rename = "h")]
    at: i64,
    #[serde(rename = "m")]
    median: f64,
    #[serde(rename = "s")]
    spread: f64,
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    odd: bool,
}

/// The local time in milliseconds since a local epoch that was a Thursday.
fn local(history: &History, at: Millis) -> i64 {
    let offset = chrono::DateTime::from_timestamp_millis(at)
        .map_or(0, |time| history.timezone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc());
    at + i64::from(offset) * 1000
}

/// The hour of the week, from Monday at midnight.
fn of_week(hour: i64) -> i64 {
    let time = chrono::DateTime::from_timestamp_millis(hour * HOUR_MS).unwrap_or_default();
    i64::from(time.weekday().num_days_from_monday()) * DAY_H + i64::from(time.hour())
}

impl Season {
    /// A season that begins at window end `end` with what was learnt elsewhere: as if it were of the last two weeks, so
    /// that the hours just before have a week before them too.
    pub fn new(learnt: &[Learnt], history: &History, end: Millis) -> Self {
        let hour = local(history, end - 1).div_euclid(HOUR_MS);
        let mut hours: Vec<Hour> = learnt
            .iter()
            .flat_map(|one| {
                let back = (of_week(hour) - one.hour).rem_euclid(WEEK_H);
                let back = if back == 0 { WEEK_H } else { back };
                let at = |at| Hour { at, median: one.median, spread: one.spread, odd: false };
                [at(hour - back), at(hour - back - WEEK_H)]
            })
            .collect();
        hours.sort_by_key(|hour| hour.at);
        Self { hour, values: Vec::new(), taken: Millis::MIN, hours }
    }

    /// Takes a reading; of overlapping windows only each first counts.
    pub fn take(&mut self, history: &History, end: Millis, value: Option<f64>) {
        if end <= self.taken {
            return;
        }
        self.taken = end;
        let hour = local(history, end - 1).div_euclid(HOUR_MS);
        if hour != self.hour {
            self.close();
            self.hour = hour;
        }
        if let Some(value) = value
            && last_end_until(end, history.step_ms) == end
        {
            self.values.push(value);
        }
    }

    /// The hour is over.
    fn close(&mut self) {
        let mut values = std::mem::take(&mut self.values);
        let Some(middle) = median(&mut values) else { return };
        let usual = self.usual(self.hour);
        let mut off: Vec<f64> = values.iter().map(|value| (value - usual.unwrap_or(middle)).abs()).collect();
        let spread = median(&mut off).unwrap_or(0.0);
        let odd = usual.is_some_and(|usual| (middle - usual).abs() > ODD * self.scale(usual));
        self.hours.push(Hour { at: self.hour, median: middle, spread, odd });
        let run = self.hours.iter().rev().take_while(|hour| hour.odd).count();
        if run >= SHIFT_H {
            self.hours.drain(..self.hours.len() - run);
            for hour in &mut self.hours {
                hour.odd = false;
            }
        }
        let oldest = self.hour - WEEKS * WEEK_H;
        self.hours.retain(|hour| hour.at >= oldest);
    }

    /// The median of the same hour of earlier weeks, or else of earlier days.
    fn usual(&self, hour: i64) -> Option<f64> {
        let same = |period: i64, within: i64| -> Vec<f64> {
            let alike = |one: &&Hour| {
                let back = hour - one.at;
                !one.odd && back > 0 && back <= within && back % period == 0
            };
            self.hours.iter().filter(alike).map(|one| one.median).collect()
        };
        median(&mut same(WEEK_H, WEEKS * WEEK_H)).or_else(|| median(&mut same(DAY_H, WEEK_H)))
    }

    /// What is expected of the window that ends at `end`; `None` before it was learnt.
    pub fn expected(&self, history: &History, end: Millis) -> Option<f64> {
        let middle = local(history, end - history.step_ms / 2) - HOUR_MS / 2;
        let hour = middle.div_euclid(HOUR_MS);
        #[expect(clippy::cast_precision_loss, reason = "a part of an hour")]
        let part = middle.rem_euclid(HOUR_MS) as f64 / HOUR_MS as f64;
        let now = local(history, end - 1).div_euclid(HOUR_MS);
        // The neighbour is not always known; the hour itself must be.
        let own = self.usual(now)?;
        let (before, after) = (self.usual(hour).unwrap_or(own), self.usual(hour + 1).unwrap_or(own));
        Some(before + (after - before) * part)
    }

    /// What is typical off what is expected: never less than chance does to a count, nor than 5%, nor than 1.
    pub fn scale(&self, usual: f64) -> f64 {
        let lately = self.hours.iter().rev().filter(|hour| !hour.odd).take(usize::try_from(WEEK_H).unwrap_or(0));
        let mut spreads: Vec<f64> = lately.map(|hour| hour.spread).collect();
        let typical = MAD * median(&mut spreads).unwrap_or(0.0);
        typical.max(usual.abs().sqrt()).max(0.05 * usual.abs()).max(1.0)
    }

    /// The hours of a week as they are expected, for a file that other instances begin with.
    pub fn profile(&self) -> Vec<Learnt> {
        let spread = |hour: i64| {
            let mut same: Vec<f64> = self
                .hours
                .iter()
                .filter(|one| !one.odd && (hour - one.at) % DAY_H == 0)
                .map(|one| one.spread)
                .collect();
            median(&mut same).unwrap_or(0.0)
        };
        let week = (self.hour..self.hour + WEEK_H)
            .filter_map(|hour| Some(Learnt { hour: of_week(hour), median: self.usual(hour)?, spread: spread(hour) }));
        let mut week: Vec<Learnt> = week.collect();
        week.sort_by_key(|one| one.hour);
        week
    }
}
