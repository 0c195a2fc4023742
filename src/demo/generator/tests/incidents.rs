//! Each of the 66 incidents moves its metric, as computed here in plain Rust, from the healthy band into the one that
//! it is meant for and back, and leaves all other tables alone.

use std::ops::RangeInclusive;

use super::*;

const FROM_S: i64 = 20;
const UNTIL_S: i64 = 80;
const AFTER_S: i64 = 125;
const EVER_S: i64 = 1_000;
const SCALE: f64 = 2.0;
const MOST: f64 = f64::MAX;

type Band = RangeInclusive<f64>;

/// Each metric, the table that it is about, and its bands: healthy, warning, critical. Of what has no numbers in the
/// list of limits: counts are tens of seconds of the minute in which one came, rates are multiples of the usual one,
/// and of the load balancer's queue it is told elsewhere whether it grows.
fn bands() -> [(&'static str, &'static str, [Band; 3]); 33] {
    [
        ("request_success_ratio", "requests", [0.9995..=1.0, 0.995..=0.999, 0.0..=0.99]),
        ("response_latency_p95", "requests", [0.0..=500.0, 500.0..=1_200.0, 2_000.0..=MOST]),
        ("response_latency_p99", "requests", [0.0..=1_200.0, 1_200.0..=1_300.0, 5_000.0..=MOST]),
        ("http_5xx_ratio", "requests", [0.0..=0.001, 0.001..=0.01, 0.02..=1.0]),
        ("http_4xx_ratio", "requests", [0.0..=0.01, 0.01..=0.05, 0.06..=1.0]),
        ("rps_headroom", "requests", [0.0..=0.6, 0.6..=0.8, 0.85..=1.0]),
        ("balancer_pending_requests", "balancer_metrics", [0.0..=5.0, 50.0..=MOST, 50.0..=MOST]),
        ("autoscaling_reaction_time", "workflow_events", [0.0..=60.0, 60.0..=180.0, 180.0..=MOST]),
        ("node_cpu_usage_p95", "node_metrics", [0.0..=0.65, 0.65..=0.8, 0.85..=1.0]),
        ("node_memory_usage", "node_metrics", [0.0..=0.7, 0.7..=0.85, 0.9..=1.0]),
        ("node_oom_events", "node_metrics", [0.0..=0.0, 1.0..=1.0, 3.0..=MOST]),
        ("node_disk_usage", "disk_metrics", [0.0..=0.7, 0.7..=0.85, 0.9..=1.0]),
        ("node_disk_latency_p95", "disk_metrics", [0.0..=5.0, 5.0..=20.0, 50.0..=MOST]),
        ("node_inode_usage", "disk_metrics", [0.0..=0.7, 0.7..=0.85, 0.9..=1.0]),
        ("db_query_latency_p95", "database_queries", [0.0..=100.0, 100.0..=500.0, 1_000.0..=MOST]),
        ("db_connection_usage", "database_metrics", [0.0..=0.6, 0.6..=0.8, 0.9..=1.0]),
        ("replication_lag", "database_metrics", [0.0..=1.0, 1.0..=10.0, 30.0..=MOST]),
        ("queue_oldest_message_age", "queue_metrics", [0.0..=30.0, 30.0..=300.0, 600.0..=MOST]),
        ("cache_hit_ratio", "cache_metrics", [0.9..=1.0, 0.8..=0.9, 0.0..=0.79]),
        ("business_success_ratio", "business_operations", [0.995..=1.0, 0.98..=0.995, 0.0..=0.97]),
        ("business_domain_failure_ratio", "business_operations", [0.0..=0.005, 0.005..=0.02, 0.03..=1.0]),
        ("idempotency_error_ratio", "business_operations", [0.0..=0.0, 1.0..=1.0, 3.0..=MOST]),
        ("invalid_state_ratio", "business_operations", [0.0..=0.001, 0.001..=0.01, 0.02..=1.0]),
        ("business_transaction_duration", "business_operations", [0.0..=2.0, 2.0..=5.0, 6.0..=MOST]),
        ("workflow_completion_ratio", "workflow_events", [0.99..=1.0, 0.95..=0.99, 0.0..=0.9]),
        ("business_invariant_violations", "business_operations", [0.0..=0.0, 1.0..=1.0, 3.0..=MOST]),
        ("consistency_time", "workflow_events", [0.0..=5.0, 5.0..=30.0, 60.0..=MOST]),
        ("business_operation_rate", "business_operations", [0.9..=1.1, 2.0..=3.0, 0.0..=0.15]),
        ("customer_usage_skew", "business_operations", [1.0..=10.0, 10.0..=50.0, 50.0..=MOST]),
        ("financial_record_mismatch", "ledger_entries", [0.0..=0.0, 1.0..=1.0, 3.0..=MOST]),
        ("financial_rollback_ratio", "ledger_entries", [0.0..=0.005, 0.005..=0.02, 0.03..=1.0]),
        ("authorization_failures", "requests", [0.9..=1.1, 2.0..=MOST, 0.0..=0.15]),
        ("deployment_error_delta", "business_operations", [-0.002..=0.002, 0.002..=0.01, 0.02..=1.0]),
    ]
}

/// The metric over a span, for whatever the incident is about.
fn measure(rule: &str, events: &[Event], from_s: i64, until_s: i64) -> f64 {
    let rows = |table| rows_with(events, table, "", from_s, until_s);
    let of = |table, column: &str, value: &str| {
        rows_with(events, table, &format!(r#""{column}":"{value}""#), from_s, until_s)
    };
    let operations = |service| of("business_operations", "service", service);
    let requests = |service| of("requests", "service", service);
    let status = |service, from: u64, until: u64| {
        ratio(&requests(service), |row| (from..until).contains(&row["status_code"].as_u64().expect("number")))
    };
    let error = |service, error_type: &str| ratio(&operations(service), |row| row["error_type"] == error_type);
    let tens = |found: Vec<Value>| {
        let ten = |row: &Value| time_ms(row) / 10_000;
        found.iter().map(ten).collect::<BTreeSet<_>>().len() as f64
    };
    match rule {
        "request_success_ratio" => 1.0 - status("checkout", 500, 600),
        "response_latency_p95" => quantile(&requests("search"), "duration_ms", 95),
        "response_latency_p99" => quantile(&requests("search"), "duration_ms", 99),
        "http_5xx_ratio" => status("catalog", 500, 600),
        "http_4xx_ratio" => status("catalog", 400, 500),
        "rps_headroom" => requests("payments").len() as f64 / (until_s - from_s) as f64 / 400.0,
        "balancer_pending_requests" => mean(&of("balancer_metrics", "balancer", "checkout-lb"), "pending"),
        "autoscaling_reaction_time" => longest(events, from_s, until_s, "autoscaling", "completed"),
        "node_cpu_usage_p95" => {
            let mut nodes: Vec<f64> =
                (1..=4).map(|n| mean(&of("node_metrics", "node", &format!("eu-2-node-{n}")), "cpu_usage")).collect();
            nodes.sort_by(f64::total_cmp);
            nodes[2] + 0.85 * (nodes[3] - nodes[2])
        }
        "node_memory_usage" => mean(&of("node_metrics", "node", "eu-1-node-2"), "memory_usage"),
        "node_oom_events" => {
            let node = of("node_metrics", "node", "eu-1-node-2");
            tens(node.into_iter().filter(|row| row["oom_kills"] != 0).collect())
        }
        "node_disk_usage" => mean(&disk(&of("disk_metrics", "node", "eu-1-node-2")), "disk_usage"),
        "node_inode_usage" => mean(&disk(&of("disk_metrics", "node", "eu-1-node-2")), "inode_usage"),
        "node_disk_latency_p95" => quantile(&of("disk_metrics", "cluster", "eu-2"), "disk_latency_ms", 95),
        "db_query_latency_p95" => quantile(&of("database_queries", "database", "orders"), "duration_ms", 95),
        "db_connection_usage" => mean(&of("database_metrics", "database", "orders"), "connections_used") / 200.0,
        "replication_lag" => mean(&of("database_metrics", "replica", "orders-replica-1"), "replication_lag_s"),
        "queue_oldest_message_age" => mean(&of("queue_metrics", "queue", "emails"), "oldest_message_age_s"),
        "cache_hit_ratio" => {
            let reports = of("cache_metrics", "cache", "products");
            mean(&reports, "hits") / mean(&reports, "reads")
        }
        "business_success_ratio" => ratio(&operations("payments"), succeeded),
        "business_domain_failure_ratio" => error("checkout", "domain"),
        "invalid_state_ratio" => error("orders", "invalid_state"),
        "idempotency_error_ratio" => tens(of("business_operations", "error_type", "idempotency")),
        "business_invariant_violations" => tens(of("business_operations", "error_type", "invariant")),
        "business_transaction_duration" => quantile(&operations("checkout"), "duration_ms", 95) / 1_000.0,
        "workflow_completion_ratio" => {
            let begun = |row: &Value| row["phase"] == "started" && row["workflow"] == "order_fulfilment";
            let begun: BTreeSet<String> = rows("workflow_events").iter().filter(|row| begun(row)).map(id).collect();
            let ended = super::rows(events, "workflow_events", 0, EVER_S);
            let ended = ended.iter().filter(|row| row["phase"] == "completed" && begun.contains(&id(row)));
            ended.count() as f64 / begun.len() as f64
        }
        "consistency_time" => longest(events, from_s, until_s, "order_fulfilment", "applied"),
        "business_operation_rate" => {
            operations("checkout").len() as f64 / (until_s - from_s) as f64 / (SCALE * 80.0 / 3.0)
        }
        "customer_usage_skew" => {
            let mut customers = BTreeMap::new();
            for row in operations("checkout") {
                *customers.entry(row["customer_id"].to_string()).or_insert(0_u32) += 1;
            }
            let total: u32 = customers.values().sum();
            f64::from(*customers.values().max().expect("customers")) * customers.len() as f64 / f64::from(total)
        }
        "financial_record_mismatch" => {
            let mut balances: BTreeMap<String, (i64, Vec<Value>)> = BTreeMap::new();
            for row in super::rows(events, "ledger_entries", 0, EVER_S) {
                let cents: i64 = row["amount"].as_str().expect("text").replace('.', "").parse().expect("decimal");
                let (balance, legs) = balances.entry(row["transaction_id"].to_string()).or_default();
                *balance += cents;
                legs.push(row);
            }
            let span = START_MS + from_s * 1_000..START_MS + until_s * 1_000;
            let unequal = balances.into_values().filter(|(balance, _)| *balance != 0).flat_map(|(_, legs)| legs);
            tens(unequal.filter(|row| row["leg"] == 1 && span.contains(&time_ms(row))).collect())
        }
        "financial_rollback_ratio" => {
            ratio(&of("ledger_entries", "service", "ledger"), |row| row["kind"] == "rollback")
        }
        "authorization_failures" => {
            let refused = requests("accounts").iter().filter(|row| row["status_code"] == 401).count();
            refused as f64 / (until_s - from_s) as f64 / (SCALE * 0.4)
        }
        "deployment_error_delta" => {
            let failing = |from_s, until_s| {
                let rows = rows_with(events, "business_operations", r#""service":"checkout""#, from_s, until_s);
                1.0 - ratio(&rows, succeeded)
            };
            failing(from_s, until_s) - failing(0, FROM_S)
        }
        _ => panic!("{rule} is not measured"),
    }
}

fn ratio(rows: &[Value], wanted: impl Fn(&Value) -> bool) -> f64 {
    rows.iter().filter(|row| wanted(row)).count() as f64 / rows.len() as f64
}

fn numbers(rows: &[Value], column: &str) -> Vec<f64> {
    rows.iter().map(|row| row[column].as_f64().expect("number")).collect()
}

fn mean(rows: &[Value], column: &str) -> f64 {
    numbers(rows, column).iter().sum::<f64>() / rows.len() as f64
}

fn quantile(rows: &[Value], column: &str, percent: usize) -> f64 {
    let mut numbers = numbers(rows, column);
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() * percent / 100]
}

fn disk(rows: &[Value]) -> Vec<Value> {
    rows.iter().filter(|row| row["device"] == "nvme1n1").cloned().collect()
}

fn id(row: &Value) -> String {
    row["workflow_id"].to_string()
}

fn time_ms(row: &Value) -> i64 {
    row["event_time"].as_i64().expect("number")
}

/// The longest time, in seconds, that a workflow begun in a span took until it last reached a phase.
fn longest(events: &[Event], from_s: i64, until_s: i64, workflow: &str, phase: &str) -> f64 {
    let mut rows = super::rows(events, "workflow_events", 0, EVER_S);
    rows.retain(|row| row["workflow"] == workflow);
    let span = START_MS + from_s * 1_000..START_MS + until_s * 1_000;
    let begun = rows.iter().filter(|row| row["phase"] == "started" && span.contains(&time_ms(row)));
    let begun: BTreeMap<String, i64> = begun.map(|row| (id(row), time_ms(row))).collect();
    let reached = rows.iter().filter(|row| row["phase"] == phase);
    let took = reached.filter_map(|row| begun.get(&id(row)).map(|began_ms| time_ms(row) - began_ms));
    took.max().expect("workflows") as f64 / 1_000.0
}

/// The events of some tables around an incident; those of workflows until the last one has ended.
fn around(rule: &str, severe: bool, tables: &[&str]) -> Vec<Event> {
    let incidents = incident_for(rule, severe, START_MS + FROM_S * 1_000, START_MS + UNTIL_S * 1_000).expect("a rule");
    let until_s = if tables == ["workflow_events"] { 480 } else { AFTER_S + 3 };
    Generator::new(7, START_MS, incidents).with_scale(SCALE).with_tables(tables).advance(START_MS + until_s * 1_000)
}

#[test]
fn all_metrics_are_known() {
    assert_eq!(bands().map(|(rule, ..)| rule), RULES);
    for (rule, severe) in RULES.into_iter().flat_map(|rule| [(rule, false), (rule, true)]) {
        let incidents = incident_for(rule, severe, 5, 9).expect("incidents");
        assert!(!incidents.is_empty() && incidents.iter().all(|i| (i.start_ms, i.end_ms) == (5, 9)), "{rule}");
        assert_ne!(Some(incidents), incident_for(rule, !severe, 5, 9), "{rule}");
    }
    assert_eq!(incident_for("no_such_metric", true, 5, 9), None);
}

#[test]
fn each_incident_shows_and_passes() {
    let mut wrong = Vec::new();
    for (rule, table, [healthy, warning, critical]) in bands() {
        for (severe, band) in [(false, warning), (true, critical)] {
            let events = around(rule, severe, &[table]);
            for (from_s, until_s, band) in
                [(0, FROM_S, &healthy), (FROM_S, UNTIL_S, &band), (UNTIL_S, AFTER_S, &healthy)]
            {
                let value = measure(rule, &events, from_s, until_s);
                if !band.contains(&value) {
                    wrong.push(format!("{rule}, severe {severe}, from {from_s} s: {value} is not in {band:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn one_alone_warns_and_kills_come_in_threes() {
    for (rule, table, column, wanted, count) in [
        ("node_oom_events", "node_metrics", "oom_kills", 3, 1),
        ("idempotency_error_ratio", "business_operations", "error_type", 0, 3),
        ("business_invariant_violations", "business_operations", "error_type", 0, 3),
    ] {
        let found = rows(&around(rule, false, &[table]), table, FROM_S, UNTIL_S);
        let found = found.iter().filter(|row| match wanted {
            0 => row[column] == "idempotency" || row[column] == "invariant",
            wanted => row[column] == wanted,
        });
        assert_eq!(found.count(), count, "{rule}");
    }
}

#[test]
fn a_backlog_grows_or_does_not() {
    for (severe, growth) in [(false, -10.0..=5.0), (true, 15.0..=25.0)] {
        let events = around("balancer_pending_requests", severe, &["balancer_metrics"]);
        let pending = |from_s| {
            let mut rows = rows(&events, "balancer_metrics", from_s, from_s + 20);
            rows.retain(|row| row["balancer"] == "checkout-lb");
            mean(&rows, "pending")
        };
        assert!(growth.contains(&(pending(FROM_S + 40) - pending(FROM_S))), "severe {severe}");
    }
}

#[test]
fn a_bad_version_is_deployed_and_replaced() {
    let incidents = incident_for("deployment_error_delta", true, START_MS + 80_000, START_MS + 95_000).unwrap();
    let mut generator = Generator::new(7, START_MS, incidents).with_tables(&["deployments", "business_operations"]);
    let events = generator.advance(START_MS + 700_000);
    let deployments = rows(&events, "deployments", 0, 700);
    let checkout = deployments.iter().filter(|row| row["service"] == "checkout");
    let versions: Vec<_> =
        checkout.map(|row| (time_ms(row) - START_MS, &row["previous_version"], &row["version"])).collect();
    let expected = [(80_000, "5.3.0", "5.3.1"), (95_000, "5.3.1", "5.3.2"), (685_000, "5.3.2", "5.3.3")]
        .map(|(at_ms, before, after)| (at_ms, Value::from(before), Value::from(after)));
    assert_eq!(versions, expected.each_ref().map(|(at_ms, before, after)| (*at_ms, before, after)));
    for (from_s, until_s, version) in [(0, 80, "5.3.0"), (80, 95, "5.3.1"), (96, 685, "5.3.2"), (686, 695, "5.3.3")] {
        let operations = rows(&events, "business_operations", from_s, until_s);
        assert!(share(&operations, "checkout", |row| row["service_version"] == version) == 1.0, "{version}");
        assert_eq!(share(&operations, "checkout", succeeded) < 0.99, version == "5.3.1");
    }
}

#[test]
fn other_tables_stay_as_they_are() {
    let healthy = events(12, 1.0, Vec::new());
    let of = |events: &[Event], table| events.iter().filter(|event| event.table == table).cloned().collect::<Vec<_>>();
    for (rule, table, _) in bands() {
        for severe in [false, true] {
            let incidents = incident_for(rule, severe, START_MS + 3_000, START_MS + 9_000).unwrap();
            let events = events(12, 1.0, incidents);
            // A deployment shows in the version of all that the service sends, and a greedy customer in all it does.
            let wide = ["deployment_error_delta", "customer_usage_skew"].contains(&rule);
            for (other, _) in TABLES.into_iter().filter(|(other, _)| *other != table && !wide) {
                assert!(of(&events, other) == of(&healthy, other), "{rule}: {other}");
            }
        }
    }
}

#[test]
fn cuts_change_nothing_whatever_goes_wrong() {
    let incidents = || -> Vec<Incident> {
        let all = RULES.into_iter().flat_map(|rule| [(rule, false), (rule, true)]);
        all.flat_map(|(rule, severe)| {
            let from_ms = START_MS + if severe { 9_500 } else { 2_500 };
            incident_for(rule, severe, from_ms, from_ms + 7_000).unwrap()
        })
        .collect()
    };
    let whole = events(20, 1.0, incidents());
    let mut generator = Generator::new(7, START_MS, incidents());
    let cut: Vec<Event> = (0..=60).flat_map(|step| generator.advance(START_MS + step * 20_000 / 60)).collect();
    assert!(cut == whole);
}

#[test]
fn what_recurs_comes_on_time() {
    let incident = |start_ms, end_ms| Incident {
        start_ms,
        end_ms,
        kind: IncidentKind::LedgerMismatch { count: 1, every_ms: None },
    };
    for (start_ms, end_ms, every_ms, tick_ms, times) in [
        (0, 9_000, Some(400), 0, &[0, 400, 800][..]),
        (0, 9_000, Some(400), 1_000, &[1_200, 1_600]),
        (0, 9_000, Some(400), 2_000, &[2_000, 2_400, 2_800]),
        (1_500, 2_000, Some(300), 1_000, &[1_500, 1_800]),
        (1_500, 2_000, Some(300), 2_000, &[]),
        (-500, 9_000, Some(3_000), 2_000, &[2_500]),
        (1_500, 9_000, None, 1_000, &[1_500]),
        (1_500, 9_000, None, 2_000, &[]),
        (1_500, 9_000, Some(0), 1_000, &[1_500]),
        (1_500, 1_500, Some(300), 1_000, &[]),
        (2_500, 9_000, Some(400), 0, &[]),
        (i64::MIN, i64::MAX, Some(i64::MAX), 1_000, &[]),
        (i64::MIN, i64::MAX, Some(1_000), 500, &[1_192]),
    ] {
        assert_eq!(incident(start_ms, end_ms).times(every_ms, tick_ms), times, "{start_ms} {every_ms:?} {tick_ms}");
    }
}
