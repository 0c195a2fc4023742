//! Times as text. Time itself is a parameter everywhere; the wall clock is read in [`crate::pipeline::clock`] only.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::panes::Millis;

/// Epoch milliseconds as RFC 3339 in UTC, with milliseconds where there are any.
pub fn rfc3339(at: Millis) -> String {
    let style = if at.rem_euclid(1000) == 0 { SecondsFormat::Secs } else { SecondsFormat::Millis };
    match DateTime::<Utc>::from_timestamp_millis(at) {
        Some(time) => time.to_rfc3339_opts(style, true),
        None => format!("{at}ms"),
    }
}

/// Reads RFC 3339 with any offset; `None` where it is not a time.
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    DateTime::parse_from_rfc3339(text.trim()).ok().map(|time| time.timestamp_millis())
}

/// A span in milliseconds as people write it: `90s` is `1m 30s`.
pub fn span(ms: i64) -> String {
    humantime::format_duration(std::time::Duration::from_millis(ms.unsigned_abs())).to_string()
}

/// Reads a span such as `5m` or `1h 30m`, in milliseconds; the error says what is allowed.
pub fn parse_span(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(0);
    }
    humantime::parse_duration(text)
        .ok()
        .and_then(|span| i64::try_from(span.as_millis()).ok())
        .ok_or_else(|| format!("`{text}` is not a span of time: write it like 30s, 5m or 1h 30m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for (ms, text) in
            [(0, "1970-01-01T00:00:00Z"), (1_500, "1970-01-01T00:00:01.500Z"), (-1, "1969-12-31T23:59:59.999Z")]
        {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse_rfc3339(text), Some(ms));
        }
        assert_eq!(parse_rfc3339("2026-01-01T01:00:00+01:00"), parse_rfc3339("2026-01-01T00:00:00Z"));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn spans_read_and_print() {
        assert_eq!(parse_span("1h 30m"), Ok(5_400_000));
        assert_eq!(parse_span("0"), Ok(0));
        assert_eq!(span(90_000), "1m 30s");
        assert!(parse_span("soon").is_err());
    }
}
