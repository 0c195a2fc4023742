//! What was survived, as Markdown.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    Plan,
    events::AllWritten,
    faults::{Fault, Kind},
    oracle::Judged,
};

/// What a run came to.
pub(crate) struct Report {
    seed: u64,
    binary: &'static str,
    events: usize,
    sent_in: Duration,
    /// Pauses of judging by kind, in milliseconds, in ascending order.
    pauses: BTreeMap<Kind, Vec<i64>>,
    /// The longest pause, and what it came after.
    longest: Option<(i64, String)>,
    took: Duration,
    caught_up: Duration,
    judged: Option<Judged>,
    restarted: usize,
}

impl Report {
    pub(crate) fn new(plan: &Plan, written: &AllWritten, faults: &[Fault], pauses: &[(Kind, i64)]) -> Self {
        let mut by_kind: BTreeMap<Kind, Vec<i64>> = BTreeMap::new();
        for (kind, pause) in pauses {
            by_kind.entry(*kind).or_default().push(*pause);
        }
        by_kind.values_mut().for_each(|pauses| pauses.sort_unstable());
        let longest = faults.iter().zip(pauses).max_by_key(|(_, (_, pause))| *pause);
        let release = plan.binary.components().any(|part| part.as_os_str() == "release");
        Self {
            seed: plan.seed,
            binary: if release { "release" } else { "debug" },
            events: written.count(),
            sent_in: written.span,
            pauses: by_kind,
            longest: longest.map(|(fault, (_, pause))| (*pause, fault.what.clone())),
            took: Duration::ZERO,
            caught_up: Duration::ZERO,
            judged: None,
            restarted: 0,
        }
    }

    /// How long it took in all until everything was stored, and how long after the last event.
    pub(crate) fn times(&mut self, took: Duration, caught_up: Duration) {
        (self.took, self.caught_up) = (took, caught_up);
    }

    /// How often the broker was started once more because it had read its groups by half.
    pub(crate) fn restarted(&mut self, restarted: usize) {
        self.restarted = restarted;
    }

    pub(crate) fn judged(&mut self, judged: Judged) {
        self.judged = Some(judged);
    }
}

/// The value below which that share of sorted values lies.
fn share(sorted: &[i64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1] as f64 / 1000.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: usize = self.pauses.values().map(Vec::len).sum();
        writeln!(f, "# Chaos\n")?;
        writeln!(
            f,
            "Seed {}, a {} build. {} events in {:.0} s ({:.0} a second), {faults} faults. The last reading was stored {:.1} s \
             after the last event was sent, {:.0} s after the first.\n",
            self.seed,
            self.binary,
            self.events,
            self.sent_in.as_secs_f64(),
            self.events as f64 / self.sent_in.as_secs_f64(),
            self.caught_up.as_secs_f64(),
            self.took.as_secs_f64(),
        )?;
        if let Some(Judged { readings, breaches, dead_letters }) = self.judged {
            writeln!(
                f,
                "All {readings} readings in ClickHouse equal those of the batch query over all events, bit for bit, and each is \
                 there once. All {breaches} breach events equal those of an undisturbed replay, each there once. All \
                 {dead_letters} broken events are dead letters, each there once.\n"
            )?;
        }
        if self.pauses.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "How long judging paused after a fault: the longest time until the next fault for which some partition judged no \
             window, where one ends each second. Without faults that is about 1 s. For whatever was gone, the time that it \
             was away is part of it.\n"
        )?;
        writeln!(f, "| fault | survived | median, s | p95, s | max, s |")?;
        writeln!(f, "|---|--:|--:|--:|--:|")?;
        for (kind, pauses) in &self.pauses {
            let [median, p95, max] = [0.5, 0.95, 1.0].map(|part| share(pauses, part));
            writeln!(f, "| {} | {} | {median:.1} | {p95:.1} | {max:.1} |", kind.title(), pauses.len())?;
        }
        if self.restarted > 0 {
            writeln!(
                f,
                "\nNot Tierwatch's doing: {} times the killed broker came back with a group coordinator that answered nobody, \
                 also no other group than Tierwatch's; it was started once more.",
                self.restarted
            )?;
        }
        if let Some((longest, what)) = &self.longest {
            writeln!(f, "\nThe longest pause, {:.1} s, came after: {what}.", *longest as f64 / 1000.0)?;
        }
        Ok(())
    }
}
