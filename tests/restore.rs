//! The drill: ClickHouse is deleted, and everything comes back from Kafka, row by row.

use std::{
    process::Output,
    thread,
    time::{Duration, Instant},
};

use rdkafka::producer::BaseProducer;
use tierwatch::panes::last_end_until;

use crate::{
    bed::{ClickHouse, Kafka},
    end_to_end::{
        SPAN_MS, command, end_cleanly, events, now, read_all, rules, run, send, source_topics, until, wait_for,
        wait_for_windows,
    },
};

/// Readings and breach events of windows that end until then, each row whole, but for the time of its insert.
fn contents(clickhouse: &ClickHouse, until: i64) -> (Vec<String>, Vec<String>) {
    let rows = |what: &str, key: &str| {
        clickhouse.rows(&format!("SELECT * EXCEPT ({what}) FROM tierwatch.{key}, window_end FORMAT JSONEachRow"))
    };
    let till = format!("WHERE toUnixTimestamp64Milli(window_end) <= {until}");
    (
        rows("inserted_at, whole_until", &format!("readings_latest {till} ORDER BY rule, series")),
        rows("inserted_at", &format!("breach_events {till} ORDER BY event_id")),
    )
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_clickhouse_that_was_deleted_comes_back_row_by_row() {
    let kafka = Kafka::start();
    let mut clickhouse = ClickHouse::start();
    let folder = tempfile::tempdir().expect("a folder");
    let tierwatch = |clickhouse: &ClickHouse, args: &[&str]| {
        command(&kafka, clickhouse).env("TIERWATCH__STORE__MAX_ROWS", "700").args(args).output().expect("it starts")
    };
    let migrated = tierwatch(&clickhouse, &["migrate"]);
    assert!(migrated.status.success(), "{}", said(&migrated));
    let producer: BaseProducer = source_topics(&kafka, 2).create().expect("a producer");
    let start = last_end_until(now() - SPAN_MS - 60_000, 1000);
    let mut sent = events(start, 20_000);
    sent.iter_mut().for_each(|event| event.partition %= 2);
    send(&producer, &sent);
    let instance = run(&kafka, &clickhouse, folder.path(), "one");
    let until = until(start);
    wait_for_windows(&clickhouse, &rules().1, until, &[&instance.log]);
    wait_for("all breach events", &[&instance.log], Duration::from_secs(20), || {
        let told = read_all(&kafka.brokers, "tierwatch.alerts", 4).len().to_string();
        let rows = clickhouse.rows("SELECT count() FROM tierwatch.breach_events");
        (rows != [told.clone()]).then(|| format!("{rows:?} of {told}"))
    });
    let before = contents(&clickhouse, until);
    assert!(before.0.len() > 1000 && before.1.len() > 5, "{} {}", before.0.len(), before.1.len());
    let restored = |what: &str| {
        let began = Instant::now();
        let output = tierwatch(&clickhouse, &["restore", "--format", "json"]);
        assert!(output.status.success(), "{what}: {}", said(&output));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(told["readings"]["rows"].as_u64() >= Some(before.0.len() as u64), "{told}");
        assert!(told["breach_events"]["rows"].as_u64() >= Some(before.1.len() as u64), "{told}");
        assert_eq!(told["passed_over"], 0, "{told}");
        let after = contents(&clickhouse, until);
        for (name, before, after) in [("readings", &before.0, &after.0), ("breach events", &before.1, &after.1)] {
            let missing = before.iter().find(|row| !after.contains(row));
            assert!(before == after, "{what}: {} {name} of {}, missing {missing:?}", after.len(), before.len());
        }
        began.elapsed()
    };

    // The pipeline runs on through all of it: STORE tries again until its tables are back.
    clickhouse.query("DROP DATABASE tierwatch SYNC");
    let refused = tierwatch(&clickhouse, &["restore"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("run `tierwatch migrate` first"), "{}", said(&refused));
    let migrated = tierwatch(&clickhouse, &["migrate"]);
    assert!(said(&migrated).contains("migrations applied: 0001_tables.sql"), "{}", said(&migrated));
    restored("after the database was dropped");
    restored("a second time");
    wait_for("STORE in its new tables", &[&instance.log], Duration::from_secs(20), || {
        let rows = clickhouse.rows("SELECT max(watermark) > now() - 60 FROM tierwatch.progress");
        (rows != ["1"]).then(|| format!("{rows:?}"))
    });
    end_cleanly(instance);

    for table in ["readings", "breaches", "progress"] {
        clickhouse.query(&format!("TRUNCATE TABLE tierwatch.{table}"));
    }
    restored("after the tables were truncated");
    // Deleted rows leave their tokens behind: under the same tokens they would not come back.
    for table in ["readings", "breaches", "progress"] {
        clickhouse.query(&format!("ALTER TABLE tierwatch.{table} DELETE WHERE 1 SETTINGS mutations_sync = 2"));
    }
    assert_eq!(contents(&clickhouse, until), (Vec::new(), Vec::new()));
    restored("after the rows were deleted");

    let none = tierwatch(&clickhouse, &["restore", "--since", "2100-01-01T00:00:00Z", "--format", "json"]);
    assert_eq!(
        String::from_utf8_lossy(&none.stdout).trim(),
        r#"{"readings":{"rows":0},"breach_events":{"rows":0},"passed_over":0}"#,
        "{}",
        said(&none)
    );
    for wrong in [["restore", "--since", "yesterday"], ["restore", "--set", "store.kind=parquet"]] {
        let output = tierwatch(&clickhouse, &wrong);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    }

    // What neither topic has any more is computed again from the events, and gives way to what comes from the log.
    for table in ["readings", "breaches", "progress"] {
        clickhouse.query(&format!("TRUNCATE TABLE tierwatch.{table}"));
    }
    let from_sources = tierwatch(&clickhouse, &["restore", "--from-sources"]);
    assert!(from_sources.status.success(), "{}", said(&from_sources));
    let (again, breaches) = contents(&clickhouse, until);
    let rows = |rows: &[String]| -> Vec<serde_json::Value> {
        let row = |row: &String| {
            let mut row: serde_json::Value = serde_json::from_str(row).expect("JSON");
            // Where and when it was judged only the log knows.
            row.as_object_mut()
                .expect("an object")
                .retain(|name, _| !["partition", "version"].contains(&name.as_str()));
            row
        };
        rows.iter().map(row).collect()
    };
    let (wanted, found) = (rows(&before.0), rows(&again));
    let missing = wanted.iter().find(|row| !found.contains(row));
    let added = found.iter().find(|row| !wanted.contains(row));
    assert!(wanted == found && breaches.is_empty(), "missing {missing:#?}, added {added:#?}");
    restored("after readings were computed again");

    // One that is away is waited for.
    clickhouse.stop();
    let waiting = command(&kafka, &clickhouse).arg("restore").stderr(std::process::Stdio::piped()).spawn();
    thread::sleep(Duration::from_secs(1));
    clickhouse.start_again();
    let output = waiting.and_then(std::process::Child::wait_with_output).expect("it runs");
    assert!(output.status.success() && said(&output).contains("trying again"), "{}", said(&output));
    assert_eq!(contents(&clickhouse, until), before);
}
