//! An engine that shares no code with ours runs the SQL that `explain --batch` prints, and agrees.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::bed;

fn tierwatch(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tierwatch"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Ten minutes of operations and requests with epoch times, in order.
fn write_events(folder: &Path) -> (String, String) {
    let (mut operations, mut requests) = (String::new(), String::new());
    let start = 1_767_225_600_000_i64;
    for n in 0..6_000_i64 {
        let (time, service) = (start + n * 100, ["checkout", "payments", "search"][usize::try_from(n % 3).unwrap()]);
        let outcome = if n * 7919 % 23 == 0 { "failed" } else { "succeeded" };
        operations += &format!(
            "{{\"event_time\":{time},\"service\":\"{service}\",\"operation\":\"pay\",\"operation_id\":\"o{n}\",\"outcome\":\"{outcome}\",\"duration_ms\":{}.{},\"customer_id\":\"c{}\"}}\n",
            n * 31 % 400,
            n % 10,
            n * 13 % 17
        );
        requests += &format!(
            "{{\"event_time\":{time},\"service\":\"{service}\",\"route\":\"/\",\"method\":\"GET\",\"status_code\":{},\"duration_ms\":{}.{}}}\n",
            if n % 11 == 0 { 500 } else { 200 },
            n * 37 % 700,
            n % 10
        );
    }
    let paths = (folder.join("operations.ndjson"), folder.join("requests.ndjson"));
    fs::write(&paths.0, operations).expect("written");
    fs::write(&paths.1, requests).expect("written");
    (paths.0.display().to_string(), paths.1.display().to_string())
}

#[test]
fn duckdb_agrees_with_every_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let (operations, requests) = write_events(folder.path());
    // What a rule reads, and how far an engine may differ: counts and ratios not at all but for the last bits.
    for (rule, tolerance) in [
        ("success_ratio", 1e-12),
        ("usage_skew", 1e-12),
        ("burn", 1e-12),
        ("headroom", 1e-12),
        ("operations_per_request", 1e-12),
        ("operations_all", 1e-12),
        ("latency_p99", 0.011),
    ] {
        let path = format!("tests/end_to_end/rules/{rule}.sql");
        let sql = tierwatch(&["explain", &path, "--batch"]);
        let (o, r) = (format!("business_operations={operations}"), format!("requests={requests}"));
        let lines = tierwatch(&["backtest", &path, "--events", &o, "--events", &r, "--format", "json"]);
        let mut ours: BTreeMap<(String, String), f64> = BTreeMap::new();
        for line in lines.lines() {
            let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if json["type"] == "reading"
                && let Some(value) = json["value"].as_f64()
            {
                let service = json["series"]["service"].as_str().unwrap_or_default().to_owned();
                ours.insert((json["window_end"].as_str().expect("a time").to_owned(), service), value);
            }
        }
        let script = format!(
            r#"
import duckdb, json
db = duckdb.connect()
for table, path in (("business_operations", {operations:?}), ("requests", {requests:?})):
    db.execute(f"CREATE TABLE {{table}} AS SELECT * REPLACE (make_timestamp_ms(event_time) AS event_time) FROM read_json_auto('{{path}}')")
db.execute("CREATE TABLE tested_capacity AS SELECT * FROM read_csv_auto('{root}/sql/reference/tested_capacity.csv')")
db.execute("CREATE MACRO approx_percentile_cont(x, p) AS list_sort(list(x))[1 + CAST(floor(p * (count(x) - 1)) AS BIGINT)]")
cursor = db.execute({sql:?})
names = [column[0] for column in cursor.description]
for row in cursor.fetchall():
    row = dict(zip(names, row))
    if row["value"] is not None:
        print(json.dumps([row["evaluated_at"].strftime("%Y-%m-%dT%H:%M:%SZ"), row.get("service", ""), float(row["value"])]))
"#,
            root = env!("CARGO_MANIFEST_DIR"),
        );
        let mut theirs: BTreeMap<(String, String), f64> = BTreeMap::new();
        for line in bed::duckdb(&script).lines() {
            let (end, service, value): (String, String, f64) = serde_json::from_str(line).expect("JSON");
            theirs.insert((end, service), value);
        }
        assert!(ours.len() > 50, "{rule}: {} readings", ours.len());
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            theirs.keys().collect::<Vec<_>>(),
            "{rule}: the same series at the same windows"
        );
        for (key, value) in &ours {
            let other = theirs[key];
            assert!(
                (value - other).abs() <= tolerance * other.abs().max(1e-9),
                "{rule} {key:?}: ours {value}, theirs {other}"
            );
        }
    }
}
