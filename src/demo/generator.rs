//! The demo's events: a small shop whose services, ledger and nodes report to Kafka.
//!
//! A pure function of seed and time: no clock, no I/O, no randomness from outside. Each second has
//! a random stream of its own, made from the seed and that second, so it does not matter how often
//! or in which steps [`Generator::advance`] is called. (Logarithms and powers come from the
//! platform's maths library, so two platforms may differ in a last decimal.)
//!
//! Everything is healthy unless an [`Incident`] says otherwise, apart from a little garbage for the
//! dead letters. Garbage is always an *additional* event, a spoilt copy: if it took the place of a
//! good one, half a ledger transaction would be missing and a rule would rightly fire.

use std::collections::BTreeMap;

/// Payment operations start to fail mildly, in ms after the start of the demo.
pub const PAYMENTS_MILD_FROM_MS: i64 = 12_000;
/// Payment operations fail strongly from here on.
pub const PAYMENTS_STRONG_FROM_MS: i64 = 20_000;
/// Payment operations are healthy again.
pub const PAYMENTS_UNTIL_MS: i64 = 35_000;
/// Share of payment operations that succeed while they fail mildly.
pub const PAYMENTS_MILD_SUCCESS: f64 = 0.965;
/// Share of payment operations that succeed while they fail strongly.
pub const PAYMENTS_STRONG_SUCCESS: f64 = 0.80;
/// Requests to checkout become slow.
pub const CHECKOUT_SLOW_FROM_MS: i64 = 15_000;
/// Requests to checkout become very slow.
pub const CHECKOUT_SLOWER_FROM_MS: i64 = 25_000;
/// Requests to checkout are fast again.
pub const CHECKOUT_UNTIL_MS: i64 = 40_000;
/// 95th percentile of checkout's latency while it is slow.
pub const CHECKOUT_SLOW_P95_MS: f64 = 900.0;
/// 95th percentile of checkout's latency while it is very slow.
pub const CHECKOUT_SLOWER_P95_MS: f64 = 2_600.0;
/// One node becomes busy.
pub const NODE_BUSY_FROM_MS: i64 = 18_000;
/// That node is idle again.
pub const NODE_BUSY_UNTIL_MS: i64 = 38_000;
/// CPU usage of the busy node.
pub const NODE_BUSY_CPU: f64 = 0.9;
/// The node that becomes busy.
pub const NODE_BUSY: &str = "eu-1-node-3";

/// An event arrives at most this long after it happened.
pub const LAG_MAX_MS: i64 = 2_000;

const TICK_MS: i64 = 1_000;
const REQUESTS_PER_S: f64 = 200.0;
const OPERATIONS_PER_S: f64 = 80.0;
const WORKFLOWS_PER_S: f64 = 4.0; // five events each
const TRANSACTIONS_PER_S: f64 = 10.0; // two ledger entries each
const SCALINGS_PER_S: f64 = 1.0 / 30.0;
const SCALE_MAX: f64 = 1_000.0;

const GARBAGE_SHARE: f64 = 1.0 / 2_000.0;
const RFC3339_SHARE: f64 = 0.05;
const HEALTHY_SERVER_ERRORS: f64 = 0.0001;
const HEALTHY_CLIENT_ERRORS: f64 = 0.004;
const HEALTHY_OPERATIONS: f64 = 0.9998;
const HEALTHY_REQUEST_P95_MS: f64 = 180.0;
const HEALTHY_OPERATION_P95_MS: f64 = 600.0;
const HEALTHY_CPU: f64 = 0.4;
const HEALTHY_MEMORY: f64 = 0.55;
const WORKFLOWS_FAILED: f64 = 0.002;
const ROLLBACKS: f64 = 0.0005;
const REFUNDS: f64 = 0.03;

/// Spread of the latencies' logarithm, and where a normal distribution has its 95th percentile.
const LATENCY_SIGMA: f64 = 0.6;
const NORMAL_P95: f64 = 1.645;

/// The busiest of the customers is about 7 times as active as the average one; an exponent of 1,
/// the textbook's Zipf, would make it 70 times, which is an incident rather than health.
const CUSTOMERS: u32 = 500;
const CUSTOMER_EXPONENT: f64 = 0.4;

/// Services, the release line they are on, and when they are deployed first, in ms after the start:
/// payments shortly before its incident.
const SERVICES: [(&str, &str, i64); 7] = [
    ("payments", "2.14", 10_000),
    ("checkout", "5.3", 85_000),
    ("catalog", "3.27", 160_000),
    ("search", "1.9", 235_000),
    ("orders", "4.0", 310_000),
    ("ledger", "1.2", 385_000),
    ("node-agent", "0.8", 460_000),
];
/// Time until a service is deployed again.
const DEPLOYMENT_PERIOD_MS: i64 = 600_000;

const ROUTES: [(&str, &str, &str); 10] = [
    ("checkout", "POST", "/api/checkout"),
    ("checkout", "GET", "/api/cart"),
    ("payments", "POST", "/api/payments"),
    ("payments", "GET", "/api/payments/{id}"),
    ("catalog", "GET", "/api/products"),
    ("catalog", "GET", "/api/products/{id}"),
    ("catalog", "GET", "/api/categories"),
    ("search", "GET", "/api/search"),
    ("search", "GET", "/api/search"),
    ("search", "GET", "/api/suggestions"),
];
/// With the weight of an operation in its service's failures; the weights average to 1 in each
/// service. Incidents hit some operations harder, so that a diagnosis has something to find (which
/// keeps an incident's success ratio exact only down to about one half).
const OPERATIONS: [(&str, &str, f64); 6] = [
    ("checkout", "place_order", 1.6),
    ("checkout", "apply_discount", 0.4),
    ("payments", "capture_payment", 1.8),
    ("payments", "authorize_payment", 0.2),
    ("orders", "confirm_order", 1.0),
    ("orders", "cancel_order", 1.0),
];
const CLIENT_ERRORS: [u16; 6] = [404, 404, 404, 400, 401, 403];
const SERVER_ERRORS: [u16; 3] = [500, 503, 504];
const ERROR_TYPES: [&str; 5] = ["domain", "domain", "domain", "domain", "technical"];
const CURRENCIES: [&str; 5] = ["EUR", "EUR", "EUR", "USD", "GBP"];
const SUBSYSTEMS: [&str; 3] = ["inventory", "billing", "search_index"];
const CLUSTERS: [&str; 2] = ["eu-1", "eu-2"];
const NODES_PER_CLUSTER: u32 = 4;

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

/// Something that goes wrong for a while, by event time. Of two that contradict, the later in the
/// list holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// When it begins.
    pub start_ms: i64,
    /// When it is over (exclusive).
    pub end_ms: i64,
    /// What goes wrong.
    pub kind: IncidentKind,
}

/// What goes wrong in an [`Incident`].
#[derive(Debug, Clone, PartialEq)]
pub enum IncidentKind {
    /// Business operations of a service fail.
    OperationsFail {
        /// The service that carries them out.
        service: &'static str,
        /// The share that still succeeds.
        success_ratio: f64,
    },
    /// Requests to a service are slow.
    RequestsSlow {
        /// The service that answers them.
        service: &'static str,
        /// The 95th percentile of their duration.
        p95_ms: f64,
    },
    /// A node computes more than it should.
    NodeBusy {
        /// The node, as in `eu-1-node-3`.
        node: &'static str,
        /// Its CPU usage, from 0 to 1.
        cpu_usage: f64,
    },
}

/// What goes wrong in a demo of a minute, judged over windows of 5 to 10 seconds.
pub fn demo_incidents(start_ms: i64) -> Vec<Incident> {
    let incident =
        |from_ms, until_ms, kind| Incident { start_ms: start_ms + from_ms, end_ms: start_ms + until_ms, kind };
    let payments = |success_ratio| IncidentKind::OperationsFail { service: "payments", success_ratio };
    let checkout = |p95_ms| IncidentKind::RequestsSlow { service: "checkout", p95_ms };
    let busy = IncidentKind::NodeBusy { node: NODE_BUSY, cpu_usage: NODE_BUSY_CPU };
    vec![
        incident(PAYMENTS_MILD_FROM_MS, PAYMENTS_STRONG_FROM_MS, payments(PAYMENTS_MILD_SUCCESS)),
        incident(PAYMENTS_STRONG_FROM_MS, PAYMENTS_UNTIL_MS, payments(PAYMENTS_STRONG_SUCCESS)),
        incident(CHECKOUT_SLOW_FROM_MS, CHECKOUT_SLOWER_FROM_MS, checkout(CHECKOUT_SLOW_P95_MS)),
        incident(CHECKOUT_SLOWER_FROM_MS, CHECKOUT_UNTIL_MS, checkout(CHECKOUT_SLOWER_P95_MS)),
        incident(NODE_BUSY_FROM_MS, NODE_BUSY_UNTIL_MS, busy),
    ]
}

/// Makes the events, second by second.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    start_ms: i64,
    incidents: Vec<Incident>,
    scale: f64,
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
            customers: customers.collect(),
            next_tick_ms: start_ms,
            pending: BTreeMap::new(),
            made: 0,
        }
    }

    /// Multiplies the traffic (from 0 up to 1,000 times); nodes, scalings and deployments report
    /// as often as before.
    #[must_use]
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = scale.clamp(0.0, SCALE_MAX);
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
        let rng = &mut Rng::for_tick(self.seed, tick_ms);
        for _ in 0..rng.count(REQUESTS_PER_S * self.scale) {
            self.request(rng, tick_ms);
        }
        for _ in 0..rng.count(OPERATIONS_PER_S * self.scale) {
            self.operation(rng, tick_ms);
        }
        for _ in 0..rng.count(WORKFLOWS_PER_S * self.scale) {
            self.fulfilment(rng, tick_ms);
        }
        for _ in 0..rng.count(SCALINGS_PER_S) {
            self.scaling(rng, tick_ms);
        }
        for _ in 0..rng.count(TRANSACTIONS_PER_S * self.scale) {
            self.transaction(rng, tick_ms);
        }
        self.deployments(rng, tick_ms);
        self.nodes(rng, tick_ms);
    }

    fn request(&mut self, rng: &mut Rng, tick_ms: i64) {
        let at_ms = rng.instant(tick_ms);
        let (service, method, route) = rng.pick(&ROUTES);
        let slow = self.incident(at_ms, |kind| match kind {
            IncidentKind::RequestsSlow { service: s, p95_ms } if *s == service => Some(*p95_ms),
            _ => None,
        });
        let duration_ms = rng.latency(slow.unwrap_or(HEALTHY_REQUEST_P95_MS));
        let status_code = if rng.chance(HEALTHY_SERVER_ERRORS) {
            rng.pick(&SERVER_ERRORS)
        } else if rng.chance(HEALTHY_CLIENT_ERRORS) {
            rng.pick(&CLIENT_ERRORS)
        } else if method == "POST" {
            201
        } else {
            200
        };
        let customer_id = self.customer(rng);
        let columns = format!(
            r#""route":"{route}","method":"{method}","status_code":{status_code},"duration_ms":{duration_ms:.1},"customer_id":"{customer_id}""#
        );
        let trace_id = rng.trace_id();
        self.emit(rng, &Draft { table: "requests", key: customer_id, at_ms, service, trace_id, columns });
    }

    fn operation(&mut self, rng: &mut Rng, tick_ms: i64) {
        let at_ms = rng.instant(tick_ms);
        let (service, operation, failure_weight) = rng.pick(&OPERATIONS);
        let success = self.incident(at_ms, |kind| match kind {
            IncidentKind::OperationsFail { service: s, success_ratio } if *s == service => Some(*success_ratio),
            _ => None,
        });
        let failing = (1.0 - success.unwrap_or(HEALTHY_OPERATIONS)) * failure_weight;
        let outcome = if rng.chance(failing) {
            let error_type = rng.pick(&ERROR_TYPES);
            format!(r#""failed","error_type":"{error_type}""#)
        } else {
            r#""succeeded""#.to_owned()
        };
        let duration_ms = rng.latency(HEALTHY_OPERATION_P95_MS);
        let operation_id = rng.next();
        let customer_id = self.customer(rng);
        let columns = format!(
            r#""operation":"{operation}","operation_id":"op-{operation_id:016x}","outcome":{outcome},"duration_ms":{duration_ms:.1},"customer_id":"{customer_id}""#
        );
        let trace_id = rng.trace_id();
        self.emit(rng, &Draft { table: "business_operations", key: customer_id, at_ms, service, trace_id, columns });
    }

    /// An order that reaches every subsystem within 4 s.
    fn fulfilment(&mut self, rng: &mut Rng, tick_ms: i64) {
        let workflow = Workflow::new(rng, "order_fulfilment", "orders");
        let began_ms = rng.instant(tick_ms);
        self.phase(rng, &workflow, "started", "orders", began_ms);
        let mut last_ms = began_ms;
        for subsystem in SUBSYSTEMS {
            let at_ms = began_ms + 400 + rng.below(3_000);
            self.phase(rng, &workflow, "applied", subsystem, at_ms);
            last_ms = last_ms.max(at_ms);
        }
        let end = if rng.chance(WORKFLOWS_FAILED) { "failed" } else { "completed" };
        let ended_ms = last_ms + 100 + rng.below(900);
        self.phase(rng, &workflow, end, "orders", ended_ms);
    }

    /// More capacity for a service: from the signal until it serves.
    fn scaling(&mut self, rng: &mut Rng, tick_ms: i64) {
        let (service, ..) = rng.pick(&ROUTES);
        let workflow = Workflow::new(rng, "autoscaling", service);
        let began_ms = rng.instant(tick_ms);
        let ended_ms = began_ms + 8_000 + rng.below(20_000);
        self.phase(rng, &workflow, "started", "autoscaler", began_ms);
        self.phase(rng, &workflow, "completed", "autoscaler", ended_ms);
    }

    fn phase(&mut self, rng: &mut Rng, of: &Workflow, phase: &str, subsystem: &str, at_ms: i64) {
        let columns = format!(
            r#""workflow":"{}","workflow_id":"{}","phase":"{phase}","subsystem":"{subsystem}""#,
            of.name, of.id
        );
        let (key, trace_id) = (of.id.clone(), of.trace_id.clone());
        self.emit(rng, &Draft { table: "workflow_events", key, at_ms, service: of.service, trace_id, columns });
    }

    /// Two legs whose amounts add up to zero.
    fn transaction(&mut self, rng: &mut Rng, tick_ms: i64) {
        let transaction_id = format!("tx-{:016x}", rng.next());
        let trace_id = rng.trace_id();
        let kind = if rng.chance(ROLLBACKS) {
            "rollback"
        } else if rng.chance(REFUNDS) {
            "refund"
        } else {
            "payment"
        };
        let currency = rng.pick(&CURRENCIES);
        // Small amounts are the more frequent ones.
        let bound = 1 + rng.below(50_000);
        let cents = 199 + rng.below(bound);
        let mut at_ms = rng.instant(tick_ms);
        for (leg, book, sign) in [(1, "customer_funds", ""), (2, "merchant_payable", "-")] {
            let (whole, hundredths) = (cents / 100, cents % 100);
            let columns = format!(
                r#""book":"{book}","transaction_id":"{transaction_id}","leg":{leg},"kind":"{kind}","amount":"{sign}{whole}.{hundredths:02}","currency":"{currency}""#
            );
            let (key, trace_id) = (transaction_id.clone(), trace_id.clone());
            self.emit(rng, &Draft { table: "ledger_entries", key, at_ms, service: "ledger", trace_id, columns });
            at_ms += 1 + rng.below(200);
        }
    }

    fn deployments(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (service, line, first_ms) in SERVICES {
            let before = self.deployed(first_ms, tick_ms);
            if self.deployed(first_ms, tick_ms + TICK_MS) == before {
                continue;
            }
            let at_ms = self.start_ms + first_ms + before * DEPLOYMENT_PERIOD_MS;
            let columns = format!(r#""version":"{line}.{}","previous_version":"{line}.{before}""#, before + 1);
            let (key, trace_id) = (service.to_owned(), rng.trace_id());
            self.emit(rng, &Draft { table: "deployments", key, at_ms, service, trace_id, columns });
        }
    }

    fn nodes(&mut self, rng: &mut Rng, tick_ms: i64) {
        for cluster in CLUSTERS {
            for number in 1..=NODES_PER_CLUSTER {
                let node = format!("{cluster}-node-{number}");
                let at_ms = tick_ms + 1 + rng.below(50);
                let busy = self.incident(at_ms, |kind| match kind {
                    IncidentKind::NodeBusy { node: n, cpu_usage } if *n == node => Some(*cpu_usage),
                    _ => None,
                });
                let cpu = busy.unwrap_or(HEALTHY_CPU) + 0.02 * rng.normal();
                let memory = HEALTHY_MEMORY + 0.01 * rng.normal();
                let columns = format!(
                    r#""node":"{node}","cluster":"{cluster}","cpu_usage":{:.4},"memory_usage":{:.4},"oom_kills":0"#,
                    cpu.clamp(0.0, 1.0),
                    memory.clamp(0.0, 1.0)
                );
                let (service, trace_id) = ("node-agent", rng.trace_id());
                self.emit(rng, &Draft { table: "node_metrics", key: node, at_ms, service, trace_id, columns });
            }
        }
    }

    fn incident<T>(&self, at_ms: i64, pick: impl Fn(&IncidentKind) -> Option<T>) -> Option<T> {
        let mut latest_first = self.incidents.iter().rev();
        latest_first.find_map(|incident| {
            let now = incident.start_ms <= at_ms && at_ms < incident.end_ms;
            if now { pick(&incident.kind) } else { None }
        })
    }

    fn customer(&self, rng: &mut Rng) -> String {
        let point = rng.unit();
        let busier = self.customers.partition_point(|share| *share <= point);
        format!("customer-{:03}", (busier + 1).min(self.customers.len()))
    }

    /// How often a service has been deployed by a time: deployments follow a fixed timetable.
    fn deployed(&self, first_ms: i64, at_ms: i64) -> i64 {
        let since_first_ms = at_ms - self.start_ms - first_ms;
        (since_first_ms.div_euclid(DEPLOYMENT_PERIOD_MS) + 1).max(0)
    }

    fn version(&self, service: &str, at_ms: i64) -> String {
        match SERVICES.iter().find(|(name, ..)| *name == service) {
            Some((_, line, first_ms)) => format!("{line}.{}", self.deployed(*first_ms, at_ms)),
            None => "0.0.0".to_owned(),
        }
    }

    /// Puts an event on its way, and now and then a spoilt copy of it.
    fn emit(&mut self, rng: &mut Rng, draft: &Draft) {
        let time =
            if rng.chance(RFC3339_SHARE) { format!("\"{}\"", rfc3339(draft.at_ms)) } else { draft.at_ms.to_string() };
        let service = format!("\"{}\"", draft.service);
        let version = self.version(draft.service, draft.at_ms);
        let good = draft.json(Some(&time), &service, &version);
        if rng.chance(GARBAGE_SHARE) {
            let spoilt = match rng.below(4) {
                0 => good.chars().take(good.len() / 2).collect(),
                1 => draft.json(Some(&time), &format!(r#"{{"name":{service}}}"#), &version),
                2 => draft.json(None, &service, &version),
                _ => draft.json(Some("86400000"), &service, &version), // 2 January 1970
            };
            self.send(rng, draft, spoilt, true);
        }
        self.send(rng, draft, good, false);
    }

    fn send(&mut self, rng: &mut Rng, draft: &Draft, json: String, garbage: bool) {
        let arrival_ms = draft.at_ms + rng.lag_ms();
        let event =
            Event { table: draft.table, key: draft.key.clone(), event_time_ms: draft.at_ms, arrival_ms, json, garbage };
        self.pending.insert((arrival_ms, self.made), event);
        self.made += 1;
    }
}

/// An event before it is written. No text in it needs escaping.
struct Draft {
    table: &'static str,
    key: String,
    at_ms: i64,
    service: &'static str,
    trace_id: String,
    /// The table's own columns, as the inside of a JSON object.
    columns: String,
}

impl Draft {
    fn json(&self, event_time: Option<&str>, service: &str, version: &str) -> String {
        let time = event_time.map_or(String::new(), |t| format!(r#""event_time":{t},"#));
        let (trace_id, columns) = (&self.trace_id, &self.columns);
        format!(
            r#"{{{time}"service":{service},"service_version":"{version}","environment":"production","trace_id":"{trace_id}",{columns}}}"#
        )
    }
}

struct Workflow {
    name: &'static str,
    service: &'static str,
    id: String,
    trace_id: String,
}

impl Workflow {
    fn new(rng: &mut Rng, name: &'static str, service: &'static str) -> Self {
        Self { name, service, id: format!("wf-{:016x}", rng.next()), trace_id: rng.trace_id() }
    }
}

/// SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014),
/// with the constants of Vigna's public-domain `splitmix64.c`. Written out rather than taken from a
/// crate: it is five lines, and `rand`'s default generators promise no stable stream over versions.
struct Rng(u64);

impl Rng {
    fn for_tick(seed: u64, tick_ms: i64) -> Self {
        let mixed = Self(seed).next() ^ tick_ms.cast_unsigned();
        Self(Self(mixed).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 (included) to 1 (excluded).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    fn unit(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        (self.next() >> 11) as f64 / STEPS
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// From 0 (included) to `bound` (excluded); the bias of the remainder is far below notice.
    fn below(&mut self, bound: i64) -> i64 {
        self.next().cast_signed().rem_euclid(bound)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()]
    }

    /// How many there are this second: the rate, give or take 5%.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are small and not negative; a fraction is rounded by chance"
    )]
    fn count(&mut self, per_second: f64) -> u32 {
        (per_second * (0.95 + 0.1 * self.unit()) + self.unit()) as u32
    }

    /// Some time within the second after `tick_ms`.
    fn instant(&mut self, tick_ms: i64) -> i64 {
        tick_ms + 1 + self.below(TICK_MS)
    }

    /// Most events arrive at once, one in ten takes its time.
    fn lag_ms(&mut self) -> i64 {
        if self.chance(0.1) { self.below(LAG_MAX_MS + 1) } else { 5 + self.below(150) }
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Log-normal, with the given 95th percentile.
    fn latency(&mut self, p95: f64) -> f64 {
        p95 * (LATENCY_SIGMA * (self.normal() - NORMAL_P95)).exp()
    }

    fn trace_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
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

#[cfg(test)]
mod tests;
