//! What analysts see of what is stored: each window once, and only when it is whole.

use std::process::Command;

use crate::bed::ClickHouse;

#[test]
fn a_window_is_shown_once_every_partition_has_come_past_it() {
    let clickhouse = ClickHouse::start();
    let migrated = Command::new(env!("CARGO_BIN_EXE_tierwatch"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["migrate", "--no-topics"])
        .env("TIERWATCH__CLICKHOUSE__URL", &clickhouse.url)
        .output()
        .expect("the binary starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let insert = |second: u32, version: u32, retracted: bool| {
        clickhouse.query(&format!(
            "INSERT INTO tierwatch.readings (rule, series, window_start, window_end, slide_ms, value, level, partition, version, retracted) \
             VALUES ('r', '{{}}', toDateTime64('2026-01-05 10:00:00', 3, 'UTC'), toDateTime64('2026-01-05 10:00:{second}', 3, 'UTC'), \
             10000, {version}, 'healthy', 0, {version}, {retracted})"
        ));
    };
    let progress = |partition: u32, second: u32, version: u32| {
        clickhouse.query(&format!(
            "INSERT INTO tierwatch.progress (rule, partitions, partition, watermark, version) \
             VALUES ('r', 2, {partition}, toDateTime64('2026-01-05 10:00:{second}', 3, 'UTC'), {version})"
        ));
    };
    let shown = || {
        let query =
            "SELECT toSecond(window_end), value FROM tierwatch.readings_latest WHERE rule = 'r' ORDER BY window_end";
        clickhouse.rows(&format!("{query} FORMAT TabSeparatedRaw")).join(" ").replace('\t', ":")
    };
    for second in [10, 20, 30] {
        insert(second, 1, false);
    }
    assert_eq!(shown(), "", "nobody has come anywhere");
    progress(0, 30, 1);
    assert_eq!(shown(), "", "one of two");
    progress(1, 10, 1);
    assert_eq!(shown(), "10:1", "as far as the last");
    progress(1, 20, 2);
    assert_eq!(shown(), "10:1 20:1");
    // A copy, a correction, and one that takes a reading away; the greatest version counts, whatever comes last.
    insert(10, 1, false);
    insert(20, 7, false);
    insert(20, 5, false);
    assert_eq!(shown(), "10:1 20:7");
    insert(10, 2, true);
    assert_eq!(shown(), "20:7");
}
