//! What earlier versions wrote is read: records of the log and of the state, kept as files. A binary that cannot read
//! them would lose what its predecessor knew.
//!
//! `tests/formats/<version>/` holds a log of partials records, what JUDGE had written to the state topic in the middle of
//! it, and what it said of the rest. A new format gets a folder of its own; those of versions that may still be in use
//! stay. `UPDATE_EXPECTED=1` writes the newest one anew, which is right only while it has not been released.

use std::{fs, path::PathBuf};

use tierwatch::{
    judge::{
        journal::Recorded,
        stage::{Stage, StageError, StateOptions, Transaction},
    },
    partial::{FormatError, VERSION},
    rules::RuleSets,
};

use crate::fuzz_regressions::targets;

/// Where the log is cut: what comes before is in the state.
const CUT: usize = 4;
/// When each record was appended.
const APPEND_MS: i64 = i64::MAX / 2;

fn folder(version: u8) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/{version}"))
}

/// Readings and breach events of a transaction as text.
fn said(transaction: &Transaction) -> Vec<String> {
    let readings = transaction.shown.iter().map(tierwatch::judge::output::Reading::to_json);
    let alerts = transaction.alerts.iter().map(|alert| serde_json::to_string(&alert.event).expect("JSON"));
    readings.chain(alerts).collect()
}

/// Plays a log from where the state says; answers with what is said and with the state records at the cut.
fn play(log: &[Vec<u8>], recorded: Recorded, sets: RuleSets) -> (Vec<String>, Vec<(String, Vec<u8>)>) {
    let mut stage = Stage::new(StateOptions { snapshot_interval_ms: 3_000, part_bytes_max: 1 << 20 }, sets);
    let (position, _) = stage.begin(0, recorded, 0, "one", 0).expect("the state is read");
    let (mut lines, mut state) = (Vec::new(), Vec::new());
    for (at, record) in log.iter().enumerate().skip(usize::try_from(position).expect("a position")) {
        stage.record(0, i64::try_from(at).expect("a position"), APPEND_MS, record).expect("the record is read");
        let now = i64::try_from(at).expect("a time") * 2_000;
        let Some(transaction) = stage.due(now).expect("due") else { continue };
        if at < CUT {
            let written = transaction.state.iter();
            state.extend(written.filter_map(|(_, key, value)| Some((key.clone(), value.clone()?))));
        } else {
            lines.extend(said(&transaction));
        }
    }
    (lines, state)
}

/// Records as one file: each with its key, both with their lengths before them.
fn pack(records: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        for part in [key.as_bytes(), value] {
            bytes.extend(u32::try_from(part.len()).expect("short").to_le_bytes());
            bytes.extend(part);
        }
    }
    bytes
}

fn unpack(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let mut part = || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at(usize::try_from(u32::from_le_bytes(*length)).ok()?);
        bytes = rest;
        Some(part.to_vec())
    };
    while let (Some(key), Some(value)) = (part(), part()) {
        records.push((String::from_utf8(key).expect("a key"), value));
    }
    records
}

#[test]
fn what_earlier_versions_wrote_is_read_and_gone_on_from() {
    if std::env::var("UPDATE_EXPECTED").is_ok() {
        let log: Vec<Vec<u8>> = targets::log().into_iter().cloned().collect();
        let (lines, state) = play(&log, Recorded::default(), targets::sets());
        let folder = folder(VERSION);
        fs::create_dir_all(&folder).expect("a folder");
        let records: Vec<(String, Vec<u8>)> = log.into_iter().map(|record| (String::new(), record)).collect();
        fs::write(folder.join("log"), pack(&records)).expect("written");
        fs::write(folder.join("state"), pack(&state)).expect("written");
        fs::write(folder.join("said.ndjson"), lines.join("\n") + "\n").expect("written");
    }
    for version in 1..=VERSION {
        let read = |name: &str| fs::read(folder(version).join(name)).expect("kept files of each version");
        let log: Vec<Vec<u8>> = unpack(&read("log")).into_iter().map(|(_, record)| record).collect();
        let mut recorded = Recorded::default();
        let state = unpack(&read("state"));
        assert!(state.iter().any(|(key, _)| key.starts_with("manifest")), "a snapshot is among it");
        state.iter().for_each(|(key, value)| recorded.take(key, Some(value)));
        // Nothing of today is known: the rules come from the log and the snapshot, too.
        let (lines, _) = play(&log, recorded, RuleSets::default());
        let expected = String::from_utf8(read("said.ndjson")).expect("a text");
        assert!(lines.len() > 10);
        assert_eq!(lines, expected.lines().collect::<Vec<_>>(), "format {version}");
    }
}

#[test]
fn a_later_format_stops_with_a_message_and_loses_nothing() {
    let mut log: Vec<Vec<u8>> = targets::log().into_iter().cloned().collect();
    log[CUT][3] = VERSION + 1;
    let mut stage = Stage::new(StateOptions { snapshot_interval_ms: 3_000, part_bytes_max: 1 << 20 }, targets::sets());
    stage.begin(0, Recorded::default(), 0, "one", 0).expect("begun");
    for (at, record) in (0..).zip(&log) {
        let outcome = stage.record(0, at, APPEND_MS, record);
        if usize::try_from(at) != Ok(CUT) {
            outcome.expect("the record is read");
            continue;
        }
        let error = outcome.expect_err("it is of a later binary");
        assert!(matches!(error, StageError::Format(FormatError::Version(_))), "{error}");
        assert!(error.to_string().contains("upgrade this instance; nothing is lost meanwhile"), "{error}");
        // What was judged before is published; the rest waits for a binary that can read it.
        let transaction = stage.last(0).expect("due").expect("something");
        assert_eq!(transaction.offsets, [(0, at)]);
        return;
    }
}

#[test]
fn garbled_records_are_passed_over() {
    let log = targets::log();
    let mut stage = Stage::new(StateOptions { snapshot_interval_ms: 3_000, part_bytes_max: 1 << 20 }, targets::sets());
    stage.begin(0, Recorded::default(), 0, "one", 0).expect("begun");
    stage.record(0, 0, APPEND_MS, log[0]).expect("the rules");
    for (at, bytes) in [(1, b"hello".as_slice()), (2, b""), (3, &log[1][..log[1].len() / 2])] {
        stage.record(0, at, APPEND_MS, bytes).expect("it stops nobody");
    }
    let transaction = stage.last(0).expect("due").expect("something");
    let told = transaction.notices.iter().filter(|notice| notice.to_string().contains("passed over")).count();
    assert_eq!(told, 3, "{:?}", transaction.notices);
}
