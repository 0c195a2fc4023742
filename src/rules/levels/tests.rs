//! Bands, gaps and limits as tables of cases.

use super::*;
use Level::{Critical, Healthy, Warning};

fn bands(healthy: &str, warning: &str, critical: &str) -> Bands {
    let given = [(Healthy, healthy), (Warning, warning), (Critical, critical)];
    Bands::new(&given.into_iter().filter(|(_, sql)| !sql.is_empty()).collect()).unwrap()
}

#[test]
fn limits_and_gaps() {
    let latency = bands("value <= 500", "value > 500 AND value <= 1200", "value > 2000");
    let ratio = bands("value >= 0.9995", "value < 0.9990", "value < 0.9950");
    let depth = bands("", "value > 50", "");
    for (bands, value, present, level) in [
        (&latency, 500.0, None, Healthy),
        (&latency, 500.1, None, Warning),
        (&latency, 1200.0, Some(Critical), Warning),
        (&latency, 1500.0, Some(Warning), Warning),
        (&latency, 1500.0, Some(Critical), Critical),
        (&latency, 1500.0, Some(Healthy), Warning),
        (&latency, 1500.0, None, Warning),
        (&latency, 2000.1, Some(Healthy), Critical),
        (&ratio, 0.9992, Some(Healthy), Healthy),
        (&ratio, 0.9992, Some(Critical), Warning),
        (&ratio, 0.9992, None, Healthy),
        (&ratio, 0.9990, Some(Warning), Warning),
        (&ratio, 0.9949, Some(Healthy), Critical),
        (&depth, 50.0, Some(Warning), Healthy),
        (&depth, 51.0, None, Warning),
    ] {
        assert_eq!(bands.level(value, present), level, "{value} after {present:?}");
    }
}

#[test]
fn what_is_no_interval_of_value_has_no_bands() {
    for sql in ["value > limit_ms", "climbing AND value > 5", "abs(value) > 3"] {
        assert_eq!(Bands::new(&BTreeMap::from([(Warning, sql)])), None, "{sql}");
    }
}

#[test]
fn ends_that_nothing_covers_and_levels_out_of_reach_are_seen() {
    assert_eq!(bands("value >= 10", "value > 0 AND value < 5", "").open_ends(), (true, false));
    assert!(!bands("", "value > 5 AND value < 3", "value > 9").reachable(Warning));
    assert!(!bands("", "value > 5", "value > 5").reachable(Warning));
}
