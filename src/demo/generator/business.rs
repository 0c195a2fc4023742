//! What the business does: operations, workflows and financial transactions.

use std::ops::Range;

use super::{Draft, Generator, IncidentKind, Rng, due};

/// Of each service in [`OPERATIONS`].
const OPERATIONS_PER_S: f64 = 80.0 / 3.0;
const WORKFLOWS_PER_S: f64 = 4.0; // five events each
const TRANSACTIONS_PER_S: f64 = 10.0; // two ledger entries each
/// A service is scaled so often, one after the other.
const SCALING_EVERY_S: i64 = 60;

const HEALTHY_OPERATIONS: f64 = 0.9998;
const HEALTHY_OPERATION_P95_MS: f64 = 600.0;
const HEALTHY_WORKFLOWS: f64 = 0.998;
const HEALTHY_ROLLBACKS: f64 = 0.0005;
const REFUNDS: f64 = 0.03;

/// Services, the operations of each, and the share of the first of them in its service's failures: so that a diagnosis
/// has something to find.
const OPERATIONS: [(&str, [&str; 2], f64); 3] = [
    ("checkout", ["place_order", "apply_discount"], 0.8),
    ("payments", ["capture_payment", "authorize_payment"], 0.9),
    ("orders", ["confirm_order", "cancel_order"], 0.5),
];
const ERROR_TYPES: [&str; 5] = ["domain", "domain", "domain", "domain", "technical"];
const SUBSYSTEMS: [&str; 3] = ["inventory", "billing", "search_index"];
/// The services that are scaled, and when in [`SCALING_EVERY_S`].
const SCALINGS: [(&str, i64); 6] =
    [("checkout", 0), ("payments", 10), ("catalog", 20), ("search", 30), ("accounts", 40), ("orders", 50)];
const CURRENCIES: [&str; 5] = ["EUR", "EUR", "EUR", "USD", "GBP"];

impl Generator {
    pub(super) fn operations(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (service, operations, first) in OPERATIONS {
            let rng = &mut rng.split();
            let factor = self.incident(tick_ms, |kind| match kind {
                IncidentKind::OperationsSurge { service: s, factor } if *s == service => Some(*factor),
                _ => None,
            });
            let per_second = OPERATIONS_PER_S * self.scale * factor.unwrap_or(1.0);
            for turn in self.turns(tick_ms, per_second, rng.count(per_second)) {
                let at_ms = rng.instant(tick_ms);
                let error = self.operation_error(rng, service, &turn, at_ms);
                let operation = match error {
                    Some(_) => operations[usize::from(!rng.chance(first))],
                    None => rng.pick(&operations),
                };
                self.operation(rng, service, operation, error, at_ms);
            }
            let broken = self.recurring(tick_ms, |kind| match kind {
                IncidentKind::OperationsBroken { service: s, error_type, count, every_ms } if *s == service => {
                    Some(((*error_type, *count), *every_ms))
                }
                _ => None,
            });
            for (at_ms, (error_type, count)) in broken {
                for _ in 0..count {
                    let operation = rng.pick(&operations);
                    self.operation(rng, service, operation, Some(error_type), at_ms + 1);
                }
            }
        }
    }

    /// Why an operation fails, if it does.
    fn operation_error(&self, rng: &mut Rng, service: &str, turn: &Range<f64>, at_ms: i64) -> Option<&'static str> {
        let success = self.incident(at_ms, |kind| match kind {
            IncidentKind::OperationsFail { service: s, success_ratio }
            | IncidentKind::BadDeployment { service: s, success_ratio }
                if *s == service =>
            {
                Some(*success_ratio)
            }
            _ => None,
        });
        let refused = self.incident(at_ms, |kind| match kind {
            IncidentKind::OperationsRefused { service: s, error_type, share } if *s == service => {
                Some((*error_type, *share))
            }
            _ => None,
        });
        match refused {
            Some((error_type, share)) if due(turn, share) => Some(error_type),
            _ if due(turn, 1.0 - success.unwrap_or(HEALTHY_OPERATIONS)) => Some(rng.pick(&ERROR_TYPES)),
            _ => None,
        }
    }

    fn operation(&mut self, rng: &mut Rng, service: &'static str, operation: &str, error: Option<&str>, at_ms: i64) {
        let slow = self.incident(at_ms, |kind| match kind {
            IncidentKind::OperationsSlow { service: s, p95_ms } if *s == service => Some(*p95_ms),
            _ => None,
        });
        let duration_ms = rng.latency(slow.unwrap_or(HEALTHY_OPERATION_P95_MS));
        let outcome = match error {
            Some(error_type) => format!(r#""failed","error_type":"{error_type}""#),
            None => r#""succeeded""#.to_owned(),
        };
        let operation_id = rng.next();
        let customer_id = self.customer(rng, service, at_ms);
        let columns = format!(
            r#""operation":"{operation}","operation_id":"op-{operation_id:016x}","outcome":{outcome},"duration_ms":{duration_ms:.1},"customer_id":"{customer_id}""#
        );
        let (table, key) = ("business_operations", customer_id);
        self.emit(rng, Draft { table, key, at_ms, service, trace_id: None, columns });
    }

    pub(super) fn workflows(&mut self, rng: &mut Rng, tick_ms: i64) {
        let mut scalings = rng.split();
        let per_second = WORKFLOWS_PER_S * self.scale;
        for turn in self.turns(tick_ms, per_second, rng.count(per_second)) {
            self.fulfilment(rng, &turn, tick_ms);
        }
        let second = self.second(tick_ms) % SCALING_EVERY_S;
        for (service, _) in SCALINGS.into_iter().filter(|(_, when)| *when == second) {
            self.scaling(&mut scalings, service, tick_ms);
        }
    }

    /// An order that reaches every subsystem within 4 s.
    fn fulfilment(&mut self, rng: &mut Rng, turn: &Range<f64>, tick_ms: i64) {
        let workflow = Workflow::new(rng, "order_fulfilment", "orders");
        let began_ms = rng.instant(tick_ms);
        self.phase(rng, &workflow, "started", "orders", began_ms);
        let mut last_ms = began_ms;
        for subsystem in SUBSYSTEMS {
            let delay_ms = self.incident(began_ms, |kind| match kind {
                IncidentKind::SubsystemSlow { subsystem: s, delay_ms } if *s == subsystem => Some(*delay_ms),
                _ => None,
            });
            let at_ms = began_ms + 400 + rng.below(3_000) + delay_ms.map_or(0, |delay_ms| rng.about_ms(delay_ms));
            self.phase(rng, &workflow, "applied", subsystem, at_ms);
            last_ms = last_ms.max(at_ms);
        }
        let completion = self.incident(began_ms, |kind| match kind {
            IncidentKind::WorkflowsFail { completion_ratio } => Some(*completion_ratio),
            _ => None,
        });
        let failed = due(turn, 1.0 - completion.unwrap_or(HEALTHY_WORKFLOWS));
        let end = if failed { "failed" } else { "completed" };
        let ended_ms = last_ms + 100 + rng.below(900);
        self.phase(rng, &workflow, end, "orders", ended_ms);
    }

    /// More capacity for a service: from the signal until it serves.
    fn scaling(&mut self, rng: &mut Rng, service: &'static str, tick_ms: i64) {
        let workflow = Workflow::new(rng, "autoscaling", service);
        let began_ms = rng.instant(tick_ms);
        let slow = self.incident(began_ms, |kind| match kind {
            IncidentKind::ScalingSlow { service: s, reaction_ms } if *s == service => Some(*reaction_ms),
            _ => None,
        });
        let reaction_ms = match slow {
            Some(reaction_ms) => rng.about_ms(reaction_ms),
            None => 8_000 + rng.below(20_000),
        };
        self.phase(rng, &workflow, "started", "autoscaler", began_ms);
        self.phase(rng, &workflow, "completed", "autoscaler", began_ms + reaction_ms);
    }

    fn phase(&mut self, rng: &mut Rng, of: &Workflow, phase: &str, subsystem: &str, at_ms: i64) {
        let columns = format!(
            r#""workflow":"{}","workflow_id":"{}","phase":"{phase}","subsystem":"{subsystem}""#,
            of.name, of.id
        );
        let (key, trace_id) = (of.id.clone(), Some(of.trace_id.clone()));
        self.emit(rng, Draft { table: "workflow_events", key, at_ms, service: of.service, trace_id, columns });
    }

    pub(super) fn ledger(&mut self, rng: &mut Rng, tick_ms: i64) {
        let mut mismatches = rng.split();
        let per_second = TRANSACTIONS_PER_S * self.scale;
        for turn in self.turns(tick_ms, per_second, rng.count(per_second)) {
            let at_ms = rng.instant(tick_ms);
            let rollbacks = self.incident(at_ms, |kind| match kind {
                IncidentKind::LedgerRollbacks { share } => Some(*share),
                _ => None,
            });
            let rollback = due(&turn, rollbacks.unwrap_or(HEALTHY_ROLLBACKS));
            self.transaction(rng, at_ms, Legs::Balanced, rollback);
        }
        let mismatched = self.recurring(tick_ms, |kind| match kind {
            IncidentKind::LedgerMismatch { count, every_ms } => Some((*count, *every_ms)),
            _ => None,
        });
        for (at_ms, count) in mismatched {
            for _ in 0..count {
                let legs = if mismatches.chance(0.5) { Legs::Unequal } else { Legs::OneMissing };
                self.transaction(&mut mismatches, at_ms + 1, legs, false);
            }
        }
    }

    /// Two legs whose amounts add up to zero, unless they are not to.
    fn transaction(&mut self, rng: &mut Rng, mut at_ms: i64, legs: Legs, rollback: bool) {
        let transaction_id = format!("tx-{:016x}", rng.next());
        let trace_id = rng.trace_id();
        let kind = if rollback {
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
        let entries: &[_] = match legs {
            Legs::Balanced => &[(1, "customer_funds", "", cents), (2, "merchant_payable", "-", cents)],
            Legs::Unequal => &[(1, "customer_funds", "", cents), (2, "merchant_payable", "-", cents - 1)],
            Legs::OneMissing => &[(1, "customer_funds", "", cents)],
        };
        for (leg, book, sign, cents) in entries {
            let (whole, hundredths) = (cents / 100, cents % 100);
            let columns = format!(
                r#""book":"{book}","transaction_id":"{transaction_id}","leg":{leg},"kind":"{kind}","amount":"{sign}{whole}.{hundredths:02}","currency":"{currency}""#
            );
            let (key, trace_id) = (transaction_id.clone(), Some(trace_id.clone()));
            self.emit(rng, Draft { table: "ledger_entries", key, at_ms, service: "ledger", trace_id, columns });
            at_ms += 1 + rng.below(200);
        }
    }
}

#[derive(Clone, Copy)]
enum Legs {
    Balanced,
    Unequal,
    OneMissing,
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
