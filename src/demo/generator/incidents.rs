//! What can go wrong: the kinds of incident, the ones that the demo shows, and two for each of the 33 metrics, a mild
//! one that is worth a warning and a severe one that is critical.
//!
//! The severe one is far inside its band, the mild one about in the middle of its own, so that neither the chance in
//! the events nor the error of a percentile's sketch moves the metric out of it.

use super::TICK_MS;

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

/// The metrics that can be made to go wrong, by tier: see [`incident_for`].
pub const RULES: [&str; 33] = [
    "request_success_ratio",
    "response_latency_p95",
    "response_latency_p99",
    "http_5xx_ratio",
    "http_4xx_ratio",
    "rps_headroom",
    "balancer_pending_requests",
    "autoscaling_reaction_time",
    "node_cpu_usage_p95",
    "node_memory_usage",
    "node_oom_events",
    "node_disk_usage",
    "node_disk_latency_p95",
    "node_inode_usage",
    "db_query_latency_p95",
    "db_connection_usage",
    "replication_lag",
    "queue_oldest_message_age",
    "cache_hit_ratio",
    "business_success_ratio",
    "business_domain_failure_ratio",
    "idempotency_error_ratio",
    "invalid_state_ratio",
    "business_transaction_duration",
    "workflow_completion_ratio",
    "business_invariant_violations",
    "consistency_time",
    "business_operation_rate",
    "customer_usage_skew",
    "financial_record_mismatch",
    "financial_rollback_ratio",
    "authorization_failures",
    "deployment_error_delta",
];

/// The nodes of one cluster: what 95% of its nodes keep below does not move for one of them.
const CLUSTER: [&str; 4] = ["eu-2-node-1", "eu-2-node-2", "eu-2-node-3", "eu-2-node-4"];
/// What comes again and again comes so often.
const OFTEN_MS: i64 = 10_000;

/// Something that goes wrong for a while, by event time. Of two that contradict, the later in the
/// list holds; what two of them add to the traffic, such as kills, adds up.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// When it begins.
    pub start_ms: i64,
    /// When it is over (exclusive).
    pub end_ms: i64,
    /// What goes wrong.
    pub kind: IncidentKind,
}

/// What goes wrong in an [`Incident`]. How often something happens changes with whole seconds of the generator.
#[derive(Debug, Clone, PartialEq)]
pub enum IncidentKind {
    /// Requests to a service are slow.
    RequestsSlow {
        /// The service that answers them.
        service: &'static str,
        /// The 95th percentile of their duration.
        p95_ms: f64,
    },
    /// A few requests to a service hang; the others are as fast as ever.
    RequestsHang {
        /// The service that answers them.
        service: &'static str,
        /// The share that hangs.
        share: f64,
        /// How long those take, give or take a percent.
        duration_ms: f64,
    },
    /// A service answers requests with 5xx.
    RequestsFail {
        /// The service that answers them.
        service: &'static str,
        /// The share that it fails to answer well.
        share: f64,
    },
    /// A service answers requests with 4xx, though not for want of authorization.
    RequestsRejected {
        /// The service that answers them.
        service: &'static str,
        /// The share that it turns away.
        share: f64,
    },
    /// A service gets more requests than usual, or fewer.
    RequestsSurge {
        /// The service that answers them.
        service: &'static str,
        /// How many it gets, whatever the generator's scale.
        per_second: f64,
    },
    /// More sign-ins are refused than usual, or fewer.
    AuthorizationFailures {
        /// How many times as often as usual.
        factor: f64,
    },
    /// Requests wait in a load balancer.
    BalancerBacklog {
        /// The load balancer, as in `checkout-lb`.
        balancer: &'static str,
        /// How many wait at the beginning.
        pending: f64,
        /// How many more wait with each second. Where it is negative, half of those at the beginning stay.
        growth_per_s: f64,
    },
    /// More capacity for a service comes late. Holds for the scalings that begin meanwhile.
    ScalingSlow {
        /// The service that is scaled.
        service: &'static str,
        /// The time from the signal until it serves, or up to a tenth longer.
        reaction_ms: i64,
    },
    /// A node computes more than it should.
    NodeBusy {
        /// The node, as in `eu-1-node-3`.
        node: &'static str,
        /// Its CPU usage, from 0 to 1.
        cpu_usage: f64,
    },
    /// A node is short of memory.
    NodeMemory {
        /// The node.
        node: &'static str,
        /// Its memory usage, from 0 to 1.
        memory_usage: f64,
    },
    /// A node kills processes for lack of memory; its next report after each time tells.
    NodeKills {
        /// The node.
        node: &'static str,
        /// How many at a time.
        kills: u32,
        /// How often, first at the beginning; `None` for only then.
        every_ms: Option<i64>,
    },
    /// A filesystem runs out of space.
    DiskFull {
        /// The node that it belongs to.
        node: &'static str,
        /// The device that it is on.
        device: &'static str,
        /// The share of its space that is in use.
        disk_usage: f64,
    },
    /// A filesystem runs out of inodes.
    InodesUsed {
        /// The node that it belongs to.
        node: &'static str,
        /// The device that it is on.
        device: &'static str,
        /// The share of its inodes that is in use.
        inode_usage: f64,
    },
    /// All disks of a node are slow.
    DiskSlow {
        /// The node.
        node: &'static str,
        /// Mean time of an input or output operation.
        latency_ms: f64,
    },
    /// Queries to a database are slow.
    QueriesSlow {
        /// The database.
        database: &'static str,
        /// The 95th percentile of their duration.
        p95_ms: f64,
    },
    /// The connections of a database run out, on the primary and on its replicas.
    ConnectionsUsed {
        /// The database.
        database: &'static str,
        /// The share of the connections that is in use.
        usage: f64,
    },
    /// A replica falls behind its primary.
    ReplicaLags {
        /// The replica, as in `orders-replica-1`.
        replica: &'static str,
        /// How far it is behind.
        lag_s: f64,
    },
    /// Messages of a queue are not read in time.
    QueueStuck {
        /// The queue.
        queue: &'static str,
        /// How long the oldest has waited.
        oldest_message_age_s: f64,
    },
    /// A cache answers fewer reads than it should.
    CacheMisses {
        /// The cache.
        cache: &'static str,
        /// The share that it still answers.
        hit_ratio: f64,
    },
    /// Business operations of a service fail.
    OperationsFail {
        /// The service that carries them out.
        service: &'static str,
        /// The share that still succeeds.
        success_ratio: f64,
    },
    /// Business operations of a service fail for one reason.
    OperationsRefused {
        /// The service that carries them out.
        service: &'static str,
        /// The reason, as in `domain` or `invalid_state`.
        error_type: &'static str,
        /// The share that fails for it.
        share: f64,
    },
    /// Business operations that should not exist at all, each of which fails, on top of the usual ones.
    OperationsBroken {
        /// The service that carries them out.
        service: &'static str,
        /// Why they fail, as in `idempotency` or `invariant`.
        error_type: &'static str,
        /// How many at a time.
        count: u32,
        /// How often, first at the beginning; `None` for only then.
        every_ms: Option<i64>,
    },
    /// Business operations of a service take long.
    OperationsSlow {
        /// The service that carries them out.
        service: &'static str,
        /// The 95th percentile of their duration.
        p95_ms: f64,
    },
    /// A service carries out more business operations than usual, or fewer.
    OperationsSurge {
        /// The service that carries them out.
        service: &'static str,
        /// How many times as many as usual.
        factor: f64,
    },
    /// One customer is far busier than all others.
    CustomerGreedy {
        /// The service that it uses.
        service: &'static str,
        /// The customer.
        customer: &'static str,
        /// Its share of the service's requests and business operations.
        share: f64,
    },
    /// Orders are not fulfilled. Holds for those that begin meanwhile.
    WorkflowsFail {
        /// The share that still completes.
        completion_ratio: f64,
    },
    /// A subsystem applies orders late. Holds for those that begin meanwhile.
    SubsystemSlow {
        /// The subsystem.
        subsystem: &'static str,
        /// How much later than usual, or up to a tenth more.
        delay_ms: i64,
    },
    /// Financial transactions, on top of the usual ones, whose legs do not add up to zero: one in two lacks a leg.
    LedgerMismatch {
        /// How many at a time.
        count: u32,
        /// How often, first at the beginning; `None` for only then.
        every_ms: Option<i64>,
    },
    /// Financial transactions are rolled back.
    LedgerRollbacks {
        /// The share of all transactions that are rollbacks.
        share: f64,
    },
    /// A version of a service is deployed whose business operations fail. Until another one, at the end, makes good
    /// for it, the service's timetable of deployments rests. Two at a time for one service are not foreseen, and one
    /// that begins with the generator or before is in place without having been deployed.
    BadDeployment {
        /// The service.
        service: &'static str,
        /// The share of its operations that still succeeds.
        success_ratio: f64,
    },
}

impl Incident {
    /// Whether it is on at a time.
    pub(super) fn holds(&self, at_ms: i64) -> bool {
        self.start_ms <= at_ms && at_ms < self.end_ms
    }

    /// The times within the second from `tick_ms` at which what comes every so often, and first at the beginning,
    /// comes.
    pub(super) fn times(&self, every_ms: Option<i64>, tick_ms: i64) -> Vec<i64> {
        let until_ms = self.end_ms.min(tick_ms.saturating_add(TICK_MS));
        match every_ms.filter(|every_ms| *every_ms > 0) {
            Some(every_ms) => {
                let ahead_ms = (self.start_ms.rem_euclid(every_ms) - tick_ms.rem_euclid(every_ms)).rem_euclid(every_ms);
                let first_ms = self.start_ms.max(tick_ms.saturating_add(ahead_ms));
                let next = |at_ms: &i64| at_ms.checked_add(every_ms);
                std::iter::successors(Some(first_ms), next).take_while(|at_ms| *at_ms < until_ms).collect()
            }
            None if tick_ms <= self.start_ms && self.start_ms < until_ms => vec![self.start_ms],
            None => Vec::new(),
        }
    }
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

/// What moves one of the metrics of [`RULES`] into its warning band, or where `severe` into its critical one; `None`
/// for a name that is not among them. A metric over a long window is there only once the incident fills enough of it:
/// a third of the hour in which workflows are counted, three windows for what is critical because it recurs.
pub fn incident_for(rule: &str, severe: bool, start_ms: i64, end_ms: i64) -> Option<Vec<Incident>> {
    let tiers = [network, hardware, data, business];
    let kinds = tiers.iter().find_map(|tier| tier(rule, Pick { severe }))?;
    Some(kinds.into_iter().map(|kind| Incident { start_ms, end_ms, kind }).collect())
}

/// Chooses between the mild and the severe number.
#[derive(Clone, Copy)]
struct Pick {
    severe: bool,
}

impl Pick {
    fn of<T>(self, mild: T, severe: T) -> T {
        if self.severe { severe } else { mild }
    }

    /// Where one alone is a warning and many are critical.
    fn recurring(self) -> Option<i64> {
        self.of(None, Some(OFTEN_MS))
    }
}

fn network(rule: &str, pick: Pick) -> Option<Vec<IncidentKind>> {
    Some(vec![match rule {
        "request_success_ratio" => IncidentKind::RequestsFail { service: "checkout", share: pick.of(0.003, 0.03) },
        "response_latency_p95" => IncidentKind::RequestsSlow { service: "search", p95_ms: pick.of(850.0, 3_500.0) },
        // The slowest percent is the slower third of those that hang.
        "response_latency_p99" => {
            IncidentKind::RequestsHang { service: "search", share: 0.03, duration_ms: pick.of(1_250.0, 8_000.0) }
        }
        "http_5xx_ratio" => IncidentKind::RequestsFail { service: "catalog", share: pick.of(0.005, 0.05) },
        "http_4xx_ratio" => IncidentKind::RequestsRejected { service: "catalog", share: pick.of(0.025, 0.15) },
        // Payments is tested up to 400.
        "rps_headroom" => IncidentKind::RequestsSurge { service: "payments", per_second: pick.of(280.0, 390.0) },
        // The mild one drains, if slowly, lest it be taken for one that grows.
        "balancer_pending_requests" => IncidentKind::BalancerBacklog {
            balancer: "checkout-lb",
            pending: pick.of(160.0, 80.0),
            growth_per_s: pick.of(-0.05, 0.5),
        },
        "autoscaling_reaction_time" => {
            IncidentKind::ScalingSlow { service: "checkout", reaction_ms: pick.of(110_000, 300_000) }
        }
        _ => return None,
    }])
}

fn hardware(rule: &str, pick: Pick) -> Option<Vec<IncidentKind>> {
    let (node, device) = ("eu-1-node-2", "nvme1n1");
    Some(vec![match rule {
        "node_cpu_usage_p95" => {
            let busy = |node| IncidentKind::NodeBusy { node, cpu_usage: pick.of(0.73, 0.93) };
            return Some(CLUSTER.map(busy).to_vec());
        }
        "node_disk_latency_p95" => {
            let slow = |node| IncidentKind::DiskSlow { node, latency_ms: pick.of(12.0, 90.0) };
            return Some(CLUSTER.map(slow).to_vec());
        }
        "node_memory_usage" => IncidentKind::NodeMemory { node, memory_usage: pick.of(0.78, 0.95) },
        "node_oom_events" => IncidentKind::NodeKills { node, kills: pick.of(3, 2), every_ms: pick.recurring() },
        "node_disk_usage" => IncidentKind::DiskFull { node, device, disk_usage: pick.of(0.78, 0.95) },
        "node_inode_usage" => IncidentKind::InodesUsed { node, device, inode_usage: pick.of(0.78, 0.95) },
        _ => return None,
    }])
}

fn data(rule: &str, pick: Pick) -> Option<Vec<IncidentKind>> {
    let (database, replica) = ("orders", "orders-replica-1");
    Some(vec![match rule {
        "db_query_latency_p95" => IncidentKind::QueriesSlow { database, p95_ms: pick.of(250.0, 2_500.0) },
        "db_connection_usage" => IncidentKind::ConnectionsUsed { database, usage: pick.of(0.70, 0.96) },
        "replication_lag" => IncidentKind::ReplicaLags { replica, lag_s: pick.of(5.0, 90.0) },
        "queue_oldest_message_age" => {
            IncidentKind::QueueStuck { queue: "emails", oldest_message_age_s: pick.of(140.0, 1_200.0) }
        }
        "cache_hit_ratio" => IncidentKind::CacheMisses { cache: "products", hit_ratio: pick.of(0.85, 0.60) },
        _ => return None,
    }])
}

fn business(rule: &str, pick: Pick) -> Option<Vec<IncidentKind>> {
    let refused = |service, error_type, share| IncidentKind::OperationsRefused { service, error_type, share };
    let broken = |service, error_type| IncidentKind::OperationsBroken {
        service,
        error_type,
        count: pick.of(3, 1),
        every_ms: pick.recurring(),
    };
    Some(vec![match rule {
        "business_success_ratio" => {
            IncidentKind::OperationsFail { service: "payments", success_ratio: pick.of(0.9875, 0.90) }
        }
        "business_domain_failure_ratio" => refused("checkout", "domain", pick.of(0.0125, 0.08)),
        "idempotency_error_ratio" => broken("payments", "idempotency"),
        "invalid_state_ratio" => refused("orders", "invalid_state", pick.of(0.005, 0.05)),
        "business_transaction_duration" => {
            IncidentKind::OperationsSlow { service: "checkout", p95_ms: pick.of(3_200.0, 9_000.0) }
        }
        "workflow_completion_ratio" => IncidentKind::WorkflowsFail { completion_ratio: pick.of(0.965, 0.60) },
        "business_invariant_violations" => broken("orders", "invariant"),
        "consistency_time" => IncidentKind::SubsystemSlow { subsystem: "billing", delay_ms: pick.of(12_000, 90_000) },
        "business_operation_rate" => IncidentKind::OperationsSurge { service: "checkout", factor: pick.of(2.5, 0.05) },
        "customer_usage_skew" => {
            IncidentKind::CustomerGreedy { service: "checkout", customer: "customer-042", share: pick.of(0.05, 0.35) }
        }
        "financial_record_mismatch" => {
            IncidentKind::LedgerMismatch { count: pick.of(2, 1), every_ms: pick.recurring() }
        }
        "financial_rollback_ratio" => IncidentKind::LedgerRollbacks { share: pick.of(0.0125, 0.08) },
        "authorization_failures" => IncidentKind::AuthorizationFailures { factor: pick.of(5.0, 0.05) },
        "deployment_error_delta" => {
            IncidentKind::BadDeployment { service: "checkout", success_ratio: pick.of(0.9938, 0.94) }
        }
        _ => return None,
    }])
}
