//! Each table has what its schema asks for, reports when it should, and is healthy. The lists are written out by hand,
//! from the files in `schemas/tables/`.

use super::*;

/// Of each table its columns and their kinds: those that it must have, then those that it may have. The kinds: `s`
/// text, `i` integer from 0, `n` number from 0, `r` ratio from 0 to 1, `d` decimal.
const COLUMNS: [(&str, &str, &str); 12] = [
    ("requests", "route:s method:s status_code:i duration_ms:n customer_id:s", ""),
    ("business_operations", "operation:s operation_id:s outcome:s duration_ms:n customer_id:s", "error_type:s"),
    ("workflow_events", "workflow:s workflow_id:s phase:s subsystem:s", ""),
    ("ledger_entries", "book:s transaction_id:s leg:i kind:s amount:d currency:s", ""),
    ("deployments", "version:s previous_version:s", ""),
    ("node_metrics", "node:s cluster:s cpu_usage:r memory_usage:r oom_kills:i", ""),
    ("disk_metrics", "node:s cluster:s device:s mountpoint:s disk_usage:r inode_usage:r disk_latency_ms:n", ""),
    ("database_queries", "database:s operation:s duration_ms:n", "error_type:s"),
    ("database_metrics", "database:s connections_used:i connections_max:i", "replica:s replication_lag_s:n"),
    ("queue_metrics", "queue:s depth:i oldest_message_age_s:n", ""),
    ("cache_metrics", "cache:s hits:i reads:i", ""),
    ("balancer_metrics", "balancer:s pending:i", ""),
];

/// Of columns with few words all of these, and no others.
const WORDS: [(&str, &str, &str); 16] = [
    ("requests", "service", "accounts catalog checkout orders payments search"),
    ("requests", "method", "GET POST"),
    ("requests", "status_code", "200 201 400 401 404 409 422 500 503 504"),
    ("business_operations", "service", "checkout orders payments"),
    ("business_operations", "outcome", "failed succeeded"),
    ("business_operations", "error_type", "domain technical"),
    ("workflow_events", "workflow", "autoscaling order_fulfilment"),
    ("workflow_events", "phase", "applied completed failed started"),
    ("workflow_events", "subsystem", "autoscaler billing inventory orders search_index"),
    ("ledger_entries", "leg", "1 2"),
    ("ledger_entries", "kind", "payment refund rollback"),
    ("ledger_entries", "currency", "EUR GBP USD"),
    ("disk_metrics", "mountpoint", "/ /var/lib/data"),
    ("database_queries", "service", "accounts catalog checkout ledger orders payments search"),
    ("database_metrics", "database", "accounts catalog orders payments"),
    ("database_metrics", "replica", "accounts-replica-1 orders-replica-1 orders-replica-2 payments-replica-1"),
];

fn is_of_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "s" => value.as_str().is_some_and(|text| !text.is_empty()),
        "i" => value.as_u64().is_some(),
        "n" => value.as_f64().is_some_and(|x| x >= 0.0),
        "r" => value.as_f64().is_some_and(|x| (0.0..=1.0).contains(&x)),
        _ => value.as_str().is_some_and(|text| text.rsplit_once('.').is_some_and(|(_, digits)| digits.len() == 2)),
    }
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()))
}

#[test]
fn each_table_has_its_columns() {
    let common = ["event_time", "service", "service_version", "environment", "trace_id"];
    // What is rare in health.
    let rare = [
        IncidentKind::OperationsFail { service: "orders", success_ratio: 0.8 },
        IncidentKind::WorkflowsFail { completion_ratio: 0.8 },
        IncidentKind::LedgerRollbacks { share: 0.1 },
        IncidentKind::RequestsFail { service: "search", share: 0.1 },
        IncidentKind::RequestsRejected { service: "search", share: 0.1 },
    ];
    let (start_ms, end_ms) = (START_MS, START_MS + 60_000);
    let events = events(60, 1.0, rare.map(|kind| Incident { start_ms, end_ms, kind }).to_vec());
    for (table, required, optional) in COLUMNS {
        let rows = rows(&events, table, 0, 60);
        assert!(!rows.is_empty(), "{table}");
        let kinds = |columns: &'static str| columns.split_whitespace().filter_map(|column| column.split_once(':'));
        for row in &rows {
            for (column, kind) in kinds(required) {
                assert!(is_of_kind(&row[column], kind), "{table}.{column}: {row}");
            }
            for (column, value) in row.as_object().expect("object") {
                let kind = kinds(required).chain(kinds(optional)).find(|(name, _)| name == column);
                assert!(
                    common.contains(&column.as_str()) || kind.is_some_and(|(_, kind)| is_of_kind(value, kind)),
                    "{table}.{column}: {row}"
                );
            }
        }
        for (column, _) in kinds(optional) {
            assert!(rows.iter().any(|row| row.get(column).is_some()), "{table}.{column}");
            assert!(rows.iter().any(|row| row.get(column).is_none()), "{table}.{column}");
        }
    }
    for (table, column, expected) in WORDS {
        let words: BTreeSet<String> = rows(&events, table, 0, 60).iter().filter_map(|row| word(&row[column])).collect();
        assert_eq!(words.into_iter().collect::<Vec<_>>().join(" "), expected, "{table}.{column}");
    }
}

#[test]
fn tables_can_be_left_out() {
    let incidents = || incident_for("business_success_ratio", true, START_MS + 5_000, START_MS + 15_000).unwrap();
    let whole = events(20, 1.0, incidents());
    for wanted in [&["ledger_entries"][..], &["balancer_metrics", "business_operations"], &[], &["no such table"]] {
        let few = Generator::new(7, START_MS, incidents()).with_tables(wanted).advance(START_MS + 20_000);
        let expected: Vec<&Event> = whole.iter().filter(|event| wanted.contains(&event.table)).collect();
        assert!(few.iter().collect::<Vec<_>>() == expected, "{wanted:?}");
    }
}

#[test]
fn reports_come_one_after_the_other() {
    let events = events(65, 1.0, Vec::new());
    for (table, key, entities) in [
        ("disk_metrics", "node device", 16),
        ("database_metrics", "database replica", 8),
        ("queue_metrics", "queue", 3),
        ("cache_metrics", "cache", 3),
        ("balancer_metrics", "balancer", 6),
    ] {
        let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for event in events.iter().filter(|event| event.table == table && !event.garbage) {
            let row: Value = serde_json::from_str(&event.json).expect("JSON");
            let id = key.split(' ').map(|column| row[column].to_string()).collect();
            times.entry(id).or_default().push(event.event_time_ms - START_MS);
        }
        assert_eq!(times.len(), entities, "{table}");
        let seconds: BTreeSet<i64> = times.values().flatten().map(|ms| ms / 1_000 % 10).collect();
        assert_eq!(seconds.len(), entities.min(10), "{table}");
        for (id, times) in &mut times {
            times.sort_unstable();
            assert!((6..=7).contains(&times.len()), "{table} {id}");
            assert!(times.windows(2).all(|pair| (9_950..=10_050).contains(&(pair[1] - pair[0]))), "{table} {id}");
        }
    }
}

#[test]
fn each_service_and_server_is_healthy() {
    let events = events(100, 1.0, Vec::new());
    let requests = rows(&events, "requests", 0, 95);
    for (service, tested_rps) in [
        ("checkout", 800.0),
        ("payments", 400.0),
        ("catalog", 3_000.0),
        ("search", 1_500.0),
        ("accounts", 1_000.0),
        ("orders", 600.0),
    ] {
        let status = |from: u64, until: u64| {
            share(&requests, service, |row| (from..until).contains(&row["status_code"].as_u64().expect("number")))
        };
        assert!(status(400, 500) < 0.01 && status(500, 600) < 0.0005, "{service}");
        let count = requests.iter().filter(|row| row["service"] == service).count() as f64;
        assert!(count / 95.0 / tested_rps < 0.2, "{service}");
        let refused = share(&requests, service, |row| row["status_code"] == 401 || row["status_code"] == 403) * count;
        assert_eq!(refused.round(), if service == "accounts" { 38.0 } else { 0.0 }, "{service}");
    }
    let within = |table: &str, column: &str, low: f64, high: f64| {
        for row in rows(&events, table, 0, 100) {
            let value = row[column].as_f64();
            assert!(value.is_none_or(|value| (low..=high).contains(&value)), "{table}.{column}: {row}");
        }
    };
    within("node_metrics", "cpu_usage", 0.2, 0.6);
    within("node_metrics", "memory_usage", 0.4, 0.7);
    within("node_metrics", "oom_kills", 0.0, 0.0);
    within("disk_metrics", "disk_usage", 0.4, 0.5);
    within("disk_metrics", "inode_usage", 0.1, 0.3);
    within("disk_metrics", "disk_latency_ms", 1.0, 2.0);
    within("database_metrics", "connections_used", 50.0, 90.0);
    within("database_metrics", "connections_max", 200.0, 200.0);
    within("database_metrics", "replication_lag_s", 0.1, 0.5);
    within("queue_metrics", "oldest_message_age_s", 0.0, 5.0);
    within("balancer_metrics", "pending", 0.0, 1.0);
    for row in rows(&events, "cache_metrics", 0, 100) {
        let ratio = row["hits"].as_f64().expect("number") / row["reads"].as_f64().expect("number");
        assert!((0.93..=1.0).contains(&ratio), "{row}");
    }
}
