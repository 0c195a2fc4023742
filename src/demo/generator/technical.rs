//! What the machinery does: requests, nodes and their disks, databases, queues, caches and load balancers.

use std::ops::Range;

use super::{Draft, Generator, IncidentKind, Rng, TICK_MS, due};

const HEALTHY_SERVER_ERRORS: f64 = 0.00005;
const HEALTHY_CLIENT_ERRORS: f64 = 0.004;
const HEALTHY_REQUEST_P95_MS: f64 = 180.0;
pub(super) const HEALTHY_CPU: f64 = 0.4;
const HEALTHY_MEMORY: f64 = 0.55;
const HEALTHY_DISK: f64 = 0.45;
const HEALTHY_INODES: f64 = 0.2;
const HEALTHY_DISK_MS: f64 = 1.5;
const HEALTHY_QUERY_P95_MS: f64 = 30.0;
const HEALTHY_CONNECTIONS: f64 = 0.35;
const HEALTHY_LAG_S: f64 = 0.2;
const HEALTHY_AGE_S: f64 = 2.0;
const HEALTHY_HITS: f64 = 0.96;
const HEALTHY_PENDING: f64 = 0.5;
const QUERY_ERRORS: f64 = 0.002;

/// A method and a route.
type Route = (&'static str, &'static str);
/// Services, the requests that each gets in a second, and its routes.
const REQUESTS: [(&str, f64, &[Route]); 6] = [
    ("checkout", 34.0, &[("POST", "/api/checkout"), ("GET", "/api/cart")]),
    ("payments", 30.0, &[("POST", "/api/payments"), ("GET", "/api/payments/{id}")]),
    ("catalog", 36.0, &[("GET", "/api/products"), ("GET", "/api/products/{id}"), ("GET", "/api/categories")]),
    ("search", 26.0, &[("GET", "/api/search"), ("GET", "/api/search"), ("GET", "/api/suggestions")]),
    (SIGN_IN.0, 58.0, &[SIGN_IN.1, ("GET", "/api/profile")]),
    ("orders", 16.0, &[("GET", "/api/orders"), ("GET", "/api/orders/{id}")]),
];
const SIGN_IN: (&str, Route) = ("accounts", ("POST", "/api/sessions"));
/// Refused sign-ins come evenly and apart from the other requests, so that a collapse shows within minutes. They are
/// 0.7% of the requests to the service, whose other 4xx are rare enough to keep all of them below 1%.
const REFUSED_PER_S: f64 = 0.4;
const SIGN_IN_CLIENT_ERRORS: f64 = 0.0005;
const CLIENT_ERRORS: [u16; 6] = [404, 404, 404, 400, 409, 422];
const SERVER_ERRORS: [u16; 3] = [500, 503, 504];

const CLUSTERS: [&str; 2] = ["eu-1", "eu-2"];
const NODES_PER_CLUSTER: u32 = 4;
const DISKS: [(&str, &str); 2] = [("nvme0n1", "/"), ("nvme1n1", "/var/lib/data")];

/// Databases, the services that query them, and their replicas (those of `sql/reference/replicas.csv`).
const DATABASES: [(&str, &[&str], &[&str]); 4] = [
    ("orders", &["orders", "checkout"], &["orders-replica-1", "orders-replica-2"]),
    ("payments", &["payments", "ledger"], &["payments-replica-1"]),
    ("accounts", &["accounts"], &["accounts-replica-1"]),
    ("catalog", &["catalog", "search"], &[]),
];
const QUERIES_PER_S: f64 = 8.0; // of each database
const QUERIES: [&str; 5] = ["SELECT", "SELECT", "SELECT", "INSERT", "UPDATE"];
const QUERY_ERROR_TYPES: [&str; 2] = ["deadlock", "timeout"];
const CONNECTIONS_MAX: u32 = 200;

const MESSAGES_PER_S: f64 = 4.0; // into each queue
const READS_PER_REPORT: f64 = 2_000.0;

/// Queues, caches and load balancers, each with its service.
const QUEUES: [(&str, &str); 3] = [("order_events", "orders"), ("emails", "accounts"), ("search_updates", "search")];
const CACHES: [(&str, &str); 3] = [("products", "catalog"), ("sessions", "accounts"), ("prices", "checkout")];
const BALANCERS: [(&str, &str); 6] = [
    ("checkout-lb", "checkout"),
    ("payments-lb", "payments"),
    ("catalog-lb", "catalog"),
    ("search-lb", "search"),
    ("accounts-lb", "accounts"),
    ("orders-lb", "orders"),
];

impl Generator {
    pub(super) fn requests(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (service, per_second, routes) in REQUESTS {
            let rng = &mut rng.split();
            let surge = self.incident(tick_ms, |kind| match kind {
                IncidentKind::RequestsSurge { service: s, per_second } if *s == service => Some(*per_second),
                _ => None,
            });
            let per_second = surge.unwrap_or(per_second * self.scale);
            for turn in self.turns(tick_ms, per_second, rng.count(per_second)) {
                let at_ms = rng.instant(tick_ms);
                let (method, route) = rng.pick(routes);
                let status = self.status(rng, service, method, &turn, at_ms);
                self.request(rng, service, (method, route), status, at_ms);
            }
        }
        let rng = &mut rng.split();
        for _ in 0..self.refused(rng, tick_ms) {
            let at_ms = rng.instant(tick_ms);
            let (service, route) = SIGN_IN;
            self.request(rng, service, route, 401, at_ms);
        }
    }

    fn status(&self, rng: &mut Rng, service: &str, method: &str, turn: &Range<f64>, at_ms: i64) -> u16 {
        let failing = self.incident(at_ms, |kind| match kind {
            IncidentKind::RequestsFail { service: s, share } if *s == service => Some(*share),
            _ => None,
        });
        let rejected = self.incident(at_ms, |kind| match kind {
            IncidentKind::RequestsRejected { service: s, share } if *s == service => Some(*share),
            _ => None,
        });
        let usual = if service == SIGN_IN.0 { SIGN_IN_CLIENT_ERRORS } else { HEALTHY_CLIENT_ERRORS };
        if due(turn, failing.unwrap_or(HEALTHY_SERVER_ERRORS)) {
            rng.pick(&SERVER_ERRORS)
        } else if due(turn, rejected.unwrap_or(usual)) {
            rng.pick(&CLIENT_ERRORS)
        } else if method == "POST" {
            201
        } else {
            200
        }
    }

    /// How many sign-ins are refused within the second after `tick_ms`.
    fn refused(&self, rng: &mut Rng, tick_ms: i64) -> u32 {
        let factor = self.incident(tick_ms, |kind| match kind {
            IncidentKind::AuthorizationFailures { factor } => Some(*factor),
            _ => None,
        });
        let (begun, per_second) = (self.seconds(tick_ms), REFUSED_PER_S * self.scale);
        let usual = (per_second * (begun + 1.0)).floor() - (per_second * begun).floor();
        rng.round(usual * factor.unwrap_or(1.0))
    }

    fn request(&mut self, rng: &mut Rng, service: &'static str, route: Route, status: u16, at_ms: i64) {
        let slow = self.incident(at_ms, |kind| match kind {
            IncidentKind::RequestsSlow { service: s, p95_ms } if *s == service => Some(*p95_ms),
            _ => None,
        });
        let hang = self.incident(at_ms, |kind| match kind {
            IncidentKind::RequestsHang { service: s, share, duration_ms } if *s == service => {
                Some((*share, *duration_ms))
            }
            _ => None,
        });
        let duration_ms = match hang {
            Some((share, duration_ms)) if rng.chance(share) => duration_ms * (0.99 + 0.02 * rng.unit()),
            _ => rng.latency(slow.unwrap_or(HEALTHY_REQUEST_P95_MS)),
        };
        let (method, route) = route;
        let customer_id = self.customer(rng, service, at_ms);
        let columns = format!(
            r#""route":"{route}","method":"{method}","status_code":{status},"duration_ms":{duration_ms:.1},"customer_id":"{customer_id}""#
        );
        self.emit(rng, Draft { table: "requests", key: customer_id, at_ms, service, trace_id: None, columns });
    }

    pub(super) fn nodes(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (cluster, node) in nodes() {
            let at_ms = rng.report(tick_ms);
            let busy = self.incident(at_ms, |kind| match kind {
                IncidentKind::NodeBusy { node: n, cpu_usage } if *n == node => Some(*cpu_usage),
                _ => None,
            });
            let full = self.incident(at_ms, |kind| match kind {
                IncidentKind::NodeMemory { node: n, memory_usage } if *n == node => Some(*memory_usage),
                _ => None,
            });
            // Those of the second before.
            let kills = self.recurring(tick_ms - TICK_MS, |kind| match kind {
                IncidentKind::NodeKills { node: n, kills, every_ms } if *n == node => Some((*kills, *every_ms)),
                _ => None,
            });
            let kills: u32 = kills.into_iter().map(|(_, kills)| kills).sum();
            let cpu = busy.unwrap_or(HEALTHY_CPU) + 0.02 * rng.normal();
            let memory = full.unwrap_or(HEALTHY_MEMORY) + 0.01 * rng.normal();
            let columns = format!(
                r#""node":"{node}","cluster":"{cluster}","cpu_usage":{:.4},"memory_usage":{:.4},"oom_kills":{kills}"#,
                cpu.clamp(0.0, 1.0),
                memory.clamp(0.0, 1.0)
            );
            self.report(rng, "node_metrics", node, "node-agent", at_ms, columns);
        }
    }

    pub(super) fn disks(&mut self, rng: &mut Rng, tick_ms: i64) {
        let disks = nodes().flat_map(|node| DISKS.map(|disk| (node.clone(), disk)));
        for (place, ((cluster, node), (device, mountpoint))) in (0..).zip(disks) {
            if !self.reports(place, tick_ms) {
                continue;
            }
            let at_ms = rng.report(tick_ms);
            let full = self.incident(at_ms, |kind| match kind {
                IncidentKind::DiskFull { node: n, device: d, disk_usage } if (*n, *d) == (&node, device) => {
                    Some(*disk_usage)
                }
                _ => None,
            });
            let inodes = self.incident(at_ms, |kind| match kind {
                IncidentKind::InodesUsed { node: n, device: d, inode_usage } if (*n, *d) == (&node, device) => {
                    Some(*inode_usage)
                }
                _ => None,
            });
            let slow = self.incident(at_ms, |kind| match kind {
                IncidentKind::DiskSlow { node: n, latency_ms } if *n == node => Some(*latency_ms),
                _ => None,
            });
            let columns = format!(
                r#""node":"{node}","cluster":"{cluster}","device":"{device}","mountpoint":"{mountpoint}","disk_usage":{:.4},"inode_usage":{:.4},"disk_latency_ms":{:.2}"#,
                (full.unwrap_or(HEALTHY_DISK) + 0.002 * rng.normal()).clamp(0.0, 1.0),
                (inodes.unwrap_or(HEALTHY_INODES) + 0.002 * rng.normal()).clamp(0.0, 1.0),
                slow.unwrap_or(HEALTHY_DISK_MS) * (0.8 + 0.4 * rng.unit()),
            );
            self.report(rng, "disk_metrics", node, "node-agent", at_ms, columns);
        }
    }

    pub(super) fn queries(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (database, services, _) in DATABASES {
            let rng = &mut rng.split();
            for _ in 0..rng.count(QUERIES_PER_S * self.scale) {
                let at_ms = rng.instant(tick_ms);
                let (service, operation) = (rng.pick(services), rng.pick(&QUERIES));
                let slow = self.incident(at_ms, |kind| match kind {
                    IncidentKind::QueriesSlow { database: d, p95_ms } if *d == database => Some(*p95_ms),
                    _ => None,
                });
                let duration_ms = rng.latency(slow.unwrap_or(HEALTHY_QUERY_P95_MS));
                let error = if rng.chance(QUERY_ERRORS) {
                    format!(r#","error_type":"{}""#, rng.pick(&QUERY_ERROR_TYPES))
                } else {
                    String::new()
                };
                let columns = format!(
                    r#""database":"{database}","operation":"{operation}","duration_ms":{duration_ms:.2}{error}"#
                );
                self.report(rng, "database_queries", database.to_owned(), service, at_ms, columns);
            }
        }
    }

    pub(super) fn databases(&mut self, rng: &mut Rng, tick_ms: i64) {
        let servers = DATABASES.into_iter().flat_map(|(database, _, replicas)| {
            let primary = [(database, None)];
            primary.into_iter().chain(replicas.iter().map(move |replica| (database, Some(*replica))))
        });
        for (place, (database, replica)) in (0..).zip(servers) {
            if !self.reports(place, tick_ms) {
                continue;
            }
            let at_ms = rng.report(tick_ms);
            let usage = self.incident(at_ms, |kind| match kind {
                IncidentKind::ConnectionsUsed { database: d, usage } if *d == database => Some(*usage),
                _ => None,
            });
            let usage = (usage.unwrap_or(HEALTHY_CONNECTIONS) + 0.01 * rng.normal()).clamp(0.0, 1.0);
            let used = rng.round(usage * f64::from(CONNECTIONS_MAX)).min(CONNECTIONS_MAX);
            let lag = self.incident(at_ms, |kind| match kind {
                IncidentKind::ReplicaLags { replica: r, lag_s } if Some(*r) == replica => Some(*lag_s),
                _ => None,
            });
            let lag_s = lag.unwrap_or(HEALTHY_LAG_S) * (0.8 + 0.4 * rng.unit());
            let of_replica = replica
                .map_or(String::new(), |replica| format!(r#","replica":"{replica}","replication_lag_s":{lag_s:.3}"#));
            let columns = format!(
                r#""database":"{database}","connections_used":{used},"connections_max":{CONNECTIONS_MAX}{of_replica}"#
            );
            self.report(rng, "database_metrics", database.to_owned(), "database-agent", at_ms, columns);
        }
    }

    pub(super) fn queues(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (place, (queue, service)) in (0..).zip(QUEUES) {
            if !self.reports(place, tick_ms) {
                continue;
            }
            let at_ms = rng.report(tick_ms);
            let stuck = self.incident(at_ms, |kind| match kind {
                IncidentKind::QueueStuck { queue: q, oldest_message_age_s } if *q == queue => {
                    Some(*oldest_message_age_s)
                }
                _ => None,
            });
            let age_s = stuck.unwrap_or(HEALTHY_AGE_S) * (0.9 + 0.2 * rng.unit());
            let depth = rng.round(age_s * MESSAGES_PER_S);
            let columns = format!(r#""queue":"{queue}","depth":{depth},"oldest_message_age_s":{age_s:.1}"#);
            self.report(rng, "queue_metrics", queue.to_owned(), service, at_ms, columns);
        }
    }

    pub(super) fn caches(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (place, (cache, service)) in (0..).zip(CACHES) {
            if !self.reports(place, tick_ms) {
                continue;
            }
            let at_ms = rng.report(tick_ms);
            let cold = self.incident(at_ms, |kind| match kind {
                IncidentKind::CacheMisses { cache: c, hit_ratio } if *c == cache => Some(*hit_ratio),
                _ => None,
            });
            let reads = rng.count(READS_PER_REPORT);
            let hit_ratio = (cold.unwrap_or(HEALTHY_HITS) + 0.005 * rng.normal()).clamp(0.0, 1.0);
            let hits = rng.round(f64::from(reads) * hit_ratio).min(reads);
            let columns = format!(r#""cache":"{cache}","hits":{hits},"reads":{reads}"#);
            self.report(rng, "cache_metrics", cache.to_owned(), service, at_ms, columns);
        }
    }

    pub(super) fn balancers(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (place, (balancer, service)) in (0..).zip(BALANCERS) {
            if !self.reports(place, tick_ms) {
                continue;
            }
            let at_ms = rng.report(tick_ms);
            let backlog = self.on(at_ms).find_map(|incident| match &incident.kind {
                IncidentKind::BalancerBacklog { balancer: b, pending, growth_per_s } if *b == balancer => {
                    let growth = growth_per_s * seconds(at_ms - incident.start_ms);
                    Some((pending + growth).max(pending / 2.0))
                }
                _ => None,
            });
            let pending = backlog.unwrap_or(HEALTHY_PENDING) * (0.98 + 0.04 * rng.unit());
            let pending = rng.round(pending);
            let columns = format!(r#""balancer":"{balancer}","pending":{pending}"#);
            self.report(rng, "balancer_metrics", balancer.to_owned(), service, at_ms, columns);
        }
    }

    /// An event whose trace is its own.
    fn report(
        &mut self,
        rng: &mut Rng,
        table: &'static str,
        key: String,
        service: &'static str,
        at_ms: i64,
        columns: String,
    ) {
        self.emit(rng, Draft { table, key, at_ms, service, trace_id: None, columns });
    }
}

/// Each node, with its cluster first.
fn nodes() -> impl Iterator<Item = (&'static str, String)> {
    let of = |cluster| (1..=NODES_PER_CLUSTER).map(move |number| (cluster, format!("{cluster}-node-{number}")));
    CLUSTERS.into_iter().flat_map(of)
}

#[expect(clippy::cast_precision_loss, reason = "incidents do not last for ages")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
