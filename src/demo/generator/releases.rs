//! Versions: which one of a service runs at a time, and the deployments that say so. They follow a fixed timetable, so
//! the version at a time is counted rather than remembered.

use super::{Draft, Generator, IncidentKind, Rng, TICK_MS};

/// Services, the release line they are on, and when they are deployed first, in ms after the start:
/// payments shortly before its incident.
const SERVICES: [(&str, &str, i64); 9] = [
    ("payments", "2.14", 10_000),
    ("checkout", "5.3", 85_000),
    ("catalog", "3.27", 160_000),
    ("search", "1.9", 235_000),
    ("orders", "4.0", 310_000),
    ("ledger", "1.2", 385_000),
    ("node-agent", "0.8", 460_000),
    ("accounts", "6.1", 535_000),
    ("database-agent", "0.4", 580_000),
];
/// Time until a service is deployed again.
const PERIOD_MS: i64 = 600_000;

impl Generator {
    pub(super) fn deployments(&mut self, rng: &mut Rng, tick_ms: i64) {
        for (service, line, first_ms) in SERVICES {
            let until_ms = tick_ms + TICK_MS;
            let planned_ms = until_ms - (until_ms - self.start_ms - first_ms).rem_euclid(PERIOD_MS);
            let mut times = vec![planned_ms];
            times.extend(self.bad(service).flat_map(|(from_ms, until_ms)| [from_ms, until_ms]));
            times.sort_unstable();
            for at_ms in times.into_iter().filter(|at_ms| tick_ms < *at_ms && *at_ms <= until_ms) {
                let (before, after) =
                    (self.deployed(service, first_ms, at_ms - 1), self.deployed(service, first_ms, at_ms));
                if before == after {
                    continue;
                }
                let columns = format!(r#""version":"{line}.{after}","previous_version":"{line}.{before}""#);
                let key = service.to_owned();
                self.emit(rng, Draft { table: "deployments", key, at_ms, service, trace_id: None, columns });
            }
        }
    }

    /// The version of a service that runs at a time.
    pub(super) fn version(&self, service: &str, at_ms: i64) -> String {
        match SERVICES.iter().find(|(name, ..)| *name == service) {
            Some((_, line, first_ms)) => format!("{line}.{}", self.deployed(service, *first_ms, at_ms)),
            None => "0.0.0".to_owned(),
        }
    }

    /// How often a service has been deployed by a time.
    fn deployed(&self, service: &str, first_ms: i64, at_ms: i64) -> i64 {
        let planned = |at_ms: i64| ((at_ms - self.start_ms - first_ms).div_euclid(PERIOD_MS) + 1).max(0);
        let bad = self.bad(service).filter(|(from_ms, _)| *from_ms <= at_ms);
        bad.fold(planned(at_ms), |count, (from_ms, until_ms)| {
            let left_out = planned(until_ms.min(at_ms)) - planned(from_ms);
            count - left_out + 1 + i64::from(until_ms <= at_ms)
        })
    }

    /// From when until when a bad version of a service runs.
    fn bad(&self, service: &str) -> impl Iterator<Item = (i64, i64)> {
        self.incidents.iter().filter_map(move |incident| match &incident.kind {
            IncidentKind::BadDeployment { service: s, .. } if *s == service => {
                Some((incident.start_ms, incident.end_ms))
            }
            _ => None,
        })
    }
}
