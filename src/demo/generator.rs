//! The demo's events: a small shop whose services, ledger, nodes and databases report to Kafka.
//!
//! A pure function of seed and time: no clock, no I/O, no randomness from outside. Each second has
//! a random stream of its own, made from the seed and that second, so it does not matter how often
//! or in which steps [`Generator::advance`] is called. From it each table has one again, so that an
//! incident changes nothing but what it is about. (Logarithms and powers come from the platform's
//! maths library, so two platforms may differ in a last decimal.)
//!
//! What happens to a small share, such as a failure, comes evenly rather than by chance: else a mild
//! incident, or health, would be left now and then over a short window with little traffic.
//!
//! Everything is healthy unless an [`Incident`] says otherwise, apart from a little garbage for the
//! dead letters. Garbage is always an *additional* event, a spoilt copy: if it took the place of a
//! good one, half a ledger transaction would be missing and a rule would rightly fire.
//!
//! Here are the timetable and what all events have in common. What the tables say is in
//! `business.rs` and `technical.rs`, what can go wrong in `incidents.rs`.

mod business;
mod incidents;
mod random;
mod releases;
mod technical;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::Range};

use self::random::Rng;

pub use self::incidents::{
    CHECKOUT_SLOW_FROM_MS, CHECKOUT_SLOW_P95_MS, CHECKOUT_SLOWER_FROM_MS, CHECKOUT_SLOWER_P95_MS, CHECKOUT_UNTIL_MS,
    Incident, IncidentKind, NODE_BUSY, NODE_BUSY_CPU, NODE_BUSY_FROM_MS, NODE_BUSY_UNTIL_MS, PAYMENTS_MILD_FROM_MS,
    PAYMENTS_MILD_SUCCESS, PAYMENTS_STRONG_FROM_MS, PAYMENTS_STRONG_SUCCESS, PAYMENTS_UNTIL_MS, RULES, demo_incidents,
    incident_for,
};

/// An event arrives at most this long after it happened.
pub const LAG_MAX_MS: i64 = 2_000;

const TICK_MS: i64 = 1_000;
const SCALE_MAX: f64 = 1_000.0;
const GARBAGE_SHARE: f64 = 1.0 / 2_000.0;
const RFC3339_SHARE: f64 = 0.05;
/// Disks, databases, queues, caches and load balancers report so often, one after the other. (Nodes report each
/// second: the demo's windows are short.)
const REPORT_EVERY_S: i64 = 10;

/// The busiest of the customers is about 6 times as active as the average one; an exponent of 1,
/// the textbook's Zipf, would make it 70 times, which is an incident rather than health.
const CUSTOMERS: u32 = 500;
const CUSTOMER_EXPONENT: f64 = 0.35;

/// Each table, and what makes its events that begin within the second after a time.
const TABLES: [(&str, Make); 12] = [
    ("requests", Generator::requests),
    ("business_operations", Generator::operations),
    ("workflow_events", Generator::workflows),
    ("ledger_entries", Generator::ledger),
    ("deployments", Generator::deployments),
    ("node_metrics", Generator::nodes),
    ("disk_metrics", Generator::disks),
    ("database_queries", Generator::queries),
    ("database_metrics", Generator::databases),
    ("queue_metrics", Generator::queues),
    ("cache_metrics", Generator::caches),
    ("balancer_metrics", Generator::balancers),
];
type Make = fn(&mut Generator, &mut Rng, i64);

/// One record for Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The table, hence the topic, that it belongs to.
    pub table: &'static str,
    /// The record's key.
    pub key: String,
    /// When it happened; of garbage, when the event happened of which it is a spoilt copy.
    pub event_time_ms: i64,
    /// When it reaches the broker: up to [`LAG_MAX_MS`] after it happened.
    pub arrival_ms: i64,
    /// The record's value: one line of JSON, unless it is garbage.
    pub json: String,
    /// Whether it belongs into the dead letters.
    pub garbage: bool,
}

/// Makes the events, second by second.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    start_ms: i64,
    incidents: Vec<Incident>,
    scale: f64,
    /// Which of [`TABLES`] are made.
    wanted: [bool; TABLES.len()],
    /// Cumulative shares of the customers, the busiest first.
    customers: Vec<f64>,
    /// The first second not made yet.
    next_tick_ms: i64,
    /// Made, but not arrived yet, by arrival and then by the order in which they were made.
    pending: BTreeMap<(i64, u64), Event>,
    made: u64,
}

impl Generator {
    /// A generator whose first events happen just after `start_ms`.
    pub fn new(seed: u64, start_ms: i64, incidents: Vec<Incident>) -> Self {
        let weight = |rank: u32| f64::from(rank).powf(-CUSTOMER_EXPONENT);
        let total: f64 = (1..=CUSTOMERS).map(weight).sum();
        let mut so_far = 0.0;
        let customers = (1..=CUSTOMERS).map(|rank| {
            so_far += weight(rank) / total;
            so_far
        });
        Self {
            seed,
            start_ms,
            incidents,
            scale: 1.0,
            wanted: [true; TABLES.len()],
            customers: customers.collect(),
            next_tick_ms: start_ms,
            pending: BTreeMap::new(),
            made: 0,
        }
    }

    /// Multiplies the traffic (from 0 up to 1,000 times); deployments, scalings and whatever reports about itself
    /// do so as often as before. From about 6 times on, the load is more than the services were tested for.
    #[must_use]
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = scale.clamp(0.0, SCALE_MAX);
        self
    }

    /// Makes only the events of these tables. They are the same as without, only sooner made.
    #[must_use]
    pub fn with_tables(mut self, tables: &[&str]) -> Self {
        self.wanted = TABLES.map(|(table, _)| tables.contains(&table));
        self
    }

    /// The events that arrive after the last call's `to_ms` (at first: after the start) and until
    /// `to_ms`, itself included, in the order of their arrival. Going back in time yields nothing.
    pub fn advance(&mut self, to_ms: i64) -> Vec<Event> {
        // Nothing arrives before it happens, and a second's events happen after its first instant.
        while self.next_tick_ms < to_ms {
            self.tick(self.next_tick_ms);
            self.next_tick_ms += TICK_MS;
        }
        let later = self.pending.split_off(&(to_ms.saturating_add(1), 0));
        let arrived = std::mem::replace(&mut self.pending, later);
        arrived.into_values().collect()
    }

    /// Makes what begins within the second after `tick_ms`.
    fn tick(&mut self, tick_ms: i64) {
        let mut second = Rng::for_tick(self.seed, tick_ms);
        for (wanted, (_, make)) in self.wanted.into_iter().zip(TABLES) {
            let mut rng = second.split();
            if wanted {
                make(self, &mut rng, tick_ms);
            }
        }
    }

    /// The incidents that are on at a time, those that hold before others first.
    fn on(&self, at_ms: i64) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().rev().filter(move |incident| incident.holds(at_ms))
    }

    /// What an incident says that is on at a time.
    fn incident<T>(&self, at_ms: i64, pick: impl Fn(&IncidentKind) -> Option<T>) -> Option<T> {
        self.on(at_ms).find_map(|incident| pick(&incident.kind))
    }

    /// What incidents bring again and again, and when within the second from `tick_ms`; `pick` gives the thing and
    /// how often it comes.
    fn recurring<T: Copy>(
        &self,
        tick_ms: i64,
        pick: impl Fn(&IncidentKind) -> Option<(T, Option<i64>)>,
    ) -> Vec<(i64, T)> {
        let times = |incident: &Incident| {
            let (thing, every_ms) = pick(&incident.kind)?;
            Some(incident.times(every_ms, tick_ms).into_iter().map(move |at_ms| (at_ms, thing)))
        };
        self.incidents.iter().filter_map(times).flatten().collect()
    }

    /// How many seconds lie between the start and a second.
    fn second(&self, tick_ms: i64) -> i64 {
        (tick_ms - self.start_ms).div_euclid(TICK_MS)
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds since the start are few")]
    fn seconds(&self, tick_ms: i64) -> f64 {
        self.second(tick_ms) as f64
    }

    /// The turns of those of a second, if so many come on average: from the first second on they join without gaps,
    /// however many there are in one.
    fn turns(&self, tick_ms: i64, per_second: f64, count: u32) -> impl Iterator<Item = Range<f64>> + use<> {
        let begun = self.seconds(tick_ms);
        let turn = move |number: u32| per_second * (begun + f64::from(number) / f64::from(count));
        (0..count).map(move |number| turn(number)..turn(number + 1))
    }

    /// Whether it is the turn of something to report that stands in this place in its list.
    fn reports(&self, place: i64, tick_ms: i64) -> bool {
        (self.second(tick_ms) - place).rem_euclid(REPORT_EVERY_S) == 0
    }

    fn customer(&self, rng: &mut Rng, service: &str, at_ms: i64) -> String {
        let point = rng.unit();
        let greedy = self.incident(at_ms, |kind| match kind {
            IncidentKind::CustomerGreedy { service: s, customer, share } if *s == service => Some((*customer, *share)),
            _ => None,
        });
        match greedy {
            Some((customer, share)) if rng.chance(share) => customer.to_owned(),
            _ => {
                let busier = self.customers.partition_point(|share| *share <= point);
                format!("customer-{:03}", (busier + 1).min(self.customers.len()))
            }
        }
    }

    /// Puts an event on its way, and now and then a spoilt copy of it.
    fn emit(&mut self, rng: &mut Rng, draft: Draft) {
        let time =
            if rng.chance(RFC3339_SHARE) { format!("\"{}\"", rfc3339(draft.at_ms)) } else { draft.at_ms.to_string() };
        let service = format!("\"{}\"", draft.service);
        let version = self.version(draft.service, draft.at_ms);
        let trace_id = draft.trace_id.clone().unwrap_or_else(|| rng.trace_id());
        let json = |time: Option<&str>, service: &str| draft.json(time, service, &version, &trace_id);
        let good = json(Some(&time), &service);
        if rng.chance(GARBAGE_SHARE) {
            let spoilt = match rng.below(4) {
                0 => good.chars().take(good.len() / 2).collect(),
                1 => json(Some(&time), &format!(r#"{{"name":{service}}}"#)),
                2 => json(None, &service),
                _ => json(Some("86400000"), &service), // 2 January 1970
            };
            self.send(rng, &draft, spoilt, true);
        }
        self.send(rng, &draft, good, false);
    }

    fn send(&mut self, rng: &mut Rng, draft: &Draft, json: String, garbage: bool) {
        let arrival_ms = draft.at_ms + rng.lag_ms();
        let event =
            Event { table: draft.table, key: draft.key.clone(), event_time_ms: draft.at_ms, arrival_ms, json, garbage };
        self.pending.insert((arrival_ms, self.made), event);
        self.made += 1;
    }
}

/// Whether it happens to the one whose turn it is, if it happens to a share of all and evenly. Where few come in a
/// second, a share next to 1 is not quite reached; 1 is.
fn due(turn: &Range<f64>, share: f64) -> bool {
    share >= 1.0 || (turn.end * share).floor() > (turn.start * share).floor()
}

/// An event before it is written. No text in it needs escaping.
struct Draft {
    table: &'static str,
    key: String,
    at_ms: i64,
    service: &'static str,
    /// `None` for one of its own.
    trace_id: Option<String>,
    /// The table's own columns, as the inside of a JSON object.
    columns: String,
}

impl Draft {
    fn json(&self, event_time: Option<&str>, service: &str, version: &str, trace_id: &str) -> String {
        let time = event_time.map_or(String::new(), |t| format!(r#""event_time":{t},"#));
        let columns = &self.columns;
        format!(
            r#"{{{time}"service":{service},"service_version":"{version}","environment":"production","trace_id":"{trace_id}",{columns}}}"#
        )
    }
}

/// UTC with milliseconds; the calendar is Hinnant's `civil_from_days`.
fn rfc3339(ms: i64) -> String {
    let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}
