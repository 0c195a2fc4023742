//! What counts and what is rejected, as a table of events.

use super::*;
use crate::rules::{catalog, diagnostics::Source};

fn decoder() -> Decoder {
    let schema = r#"{"properties": {
        "event_time": {"type": ["integer", "string"], "format": "date-time"},
        "service": {"type": "string"}, "n": {"type": "integer"}, "x": {"type": "number", "minimum": 0, "maximum": 1},
        "ok": {"type": "boolean"}, "amount": {"type": ["string", "number"], "format": "decimal", "x-precision": 6, "x-scale": 2},
        "outcome": {"type": "string", "enum": ["good", "bad"]}},
        "required": ["event_time", "service"]}"#;
    let source = Arc::new(Source { path: "t.json".into(), text: schema.into() });
    let (catalog, problems) = catalog::load(&[source], &[]);
    assert!(problems.is_empty(), "{problems:?}");
    let used = ["service", "n", "x", "amount"].map(str::to_owned).into();
    Decoder::new(
        &catalog.tables["t"],
        &used,
        Limits { event_bytes_max: 1000, ahead_ms_max: 3_600_000, age_ms_max: 86_400_000 },
    )
}

const NOW: i64 = 1_700_000_000_000;

fn reason(payload: &[u8]) -> Option<&'static str> {
    let event = Event { offset: 7, timestamp: Some(NOW), payload: Some(payload) };
    let good =
        Event { offset: 8, timestamp: Some(NOW), payload: Some(br#"{"event_time": 1700000000000, "service": "b"}"#) };
    let decoded = decoder().decode([event, good]);
    assert_eq!(decoded.offsets.last(), Some(&8), "the event after a broken one counts");
    decoded.rejected.first().map(|rejected| rejected.reason)
}

#[test]
fn each_kind_of_broken_event_has_its_reason() {
    let deep =
        format!(r#"{{"event_time": 1700000000000, "service": "a", "other": {}{}}}"#, "[".repeat(200), "]".repeat(200));
    let large = format!(r#"{{"event_time": 1700000000000, "service": "{}"}}"#, "a".repeat(2000));
    for (payload, expected) in [
        (r#"{"event_time": 1700000000000, "service": "a"}"#, None),
        (r#"{"event_time": "2023-11-14T22:13:20Z", "service": "a", "n": null, "unknown": {"a": [1, "x"]}}"#, None),
        (r#"{"event_time": 1700000000000, "service": "a", "amount": "12.3"}"#, None),
        (r#"{"event_time": 1700000000000, "service": "a", "amount": 12.34}"#, None),
        ("", Some("empty_value")),
        ("{", Some("broken_json")),
        (r#"{"event_time": 1700000000000, "service": "a"} x"#, Some("broken_json")),
        ("[1]", Some("not_an_object")),
        ("null", Some("not_an_object")),
        (r#"{"service": "a"}"#, Some("missing_event_time")),
        (r#"{"event_time": null, "service": "a"}"#, Some("missing_event_time")),
        (r#"{"event_time": "soon", "service": "a"}"#, Some("broken_event_time")),
        (r#"{"event_time": 1.5, "service": "a"}"#, Some("broken_event_time")),
        (r#"{"event_time": 0, "service": "a"}"#, Some("absurd_event_time")),
        (r#"{"event_time": 9223372036854775807, "service": "a"}"#, Some("absurd_event_time")),
        (r#"{"event_time": 1700003600001, "service": "a"}"#, Some("too_far_ahead")),
        (r#"{"event_time": 1699913599999, "service": "a"}"#, Some("too_old")),
        (r#"{"event_time": 1700000000000}"#, Some("missing_column")),
        (r#"{"event_time": 1700000000000, "service": null}"#, Some("missing_column")),
        (r#"{"event_time": 1700000000000, "service": 5}"#, Some("wrong_type")),
        (r#"{"event_time": 1700000000000, "service": "a", "n": "5"}"#, Some("wrong_type")),
        (r#"{"event_time": 1700000000000, "service": "a", "n": 5.5}"#, Some("wrong_type")),
        (r#"{"event_time": 1700000000000, "service": "a", "ok": [true]}"#, Some("wrong_type")),
        (r#"{"event_time": 1700000000000, "service": "a", "amount": "12.345"}"#, Some("wrong_type")),
        (r#"{"event_time": 1700000000000, "service": "a", "amount": "12345.00"}"#, Some("wrong_type")),
        (r#"{"event_time": 1700000000000, "service": "a", "x": 85}"#, Some("out_of_range")),
        (r#"{"event_time": 1700000000000, "service": "a", "outcome": "so so"}"#, Some("not_allowed")),
        (r#"{"event_time": 1700000000000, "service": "a", "service": "b"}"#, Some("duplicate_key")),
        (&deep, Some("nested_too_deep")),
        (&large, Some("too_large")),
    ] {
        assert_eq!(reason(payload.as_bytes()), expected, "{payload}");
    }
    assert_eq!(reason(b"{\"event_time\": 1700000000000, \"service\": \"\xff\"}"), Some("broken_json"));
}

#[test]
fn values_arrive_as_they_were() {
    let payload =
        br#"{"x": 0.25, "service": "a\nb", "amount": -12.5, "event_time": "2023-11-14T22:13:20.123Z", "n": 5}"#;
    let decoded = decoder().decode([Event { offset: 0, timestamp: None, payload: Some(payload) }]);
    assert_eq!(decoded.times, [NOW + 123]);
    let shown = arrow::util::pretty::pretty_format_batches(&[decoded.batch]).unwrap().to_string();
    for value in ["0.25", "a\nb", "-12.50", "2023-11-14T22:13:20.123", "| 5"] {
        assert!(shown.contains(value.split('\n').next().unwrap()), "{value} in\n{shown}");
    }
}
