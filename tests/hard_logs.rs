//! JUDGE on logs that are hard on it: times that jump, states that cannot be merged, tables that stand still, rules that move.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use tierwatch::{
    judge::{
        journal::Recorded,
        output::BreachEvent,
        series::Happened,
        stage::{Stage as Judge, StateOptions},
    },
    partial::{Record, RecordFormat},
    rules::{RuleSets, diagnostics::Source},
};

use crate::recovery::{Crash, ONCE, START, log_of, play, requests, rule, rules, set, survives};

/// Time jumps by hours, and many windows are due at once. They are closed in steps, so that the broker is heard between, and
/// whoever takes over in the middle goes on where the one before stopped.
#[test]
fn a_jump_of_time_closes_windows_in_steps_and_none_is_left_out() {
    const JUMP_MS: i64 = 15 * 60_000;
    let mut lines = requests();
    lines.truncate(400);
    let late = START + JUMP_MS;
    for n in 0..40 {
        lines.push(format!(
            r#"{{"event_time":{},"service":"checkout","route":"/","method":"GET","status_code":200,"duration_ms":1}}"#,
            late + n * 1_000
        ));
    }
    let all = "SELECT count(*) AS value FROM hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds')";
    let counted = rule("counted", "levels: {warning: value > 100000}\nno_data: {as: zero}", all);
    let failures = rules().swap_remove(0);
    let log = log_of(&[set(vec![counted, failures])], &lines, (0, 1));
    let undisturbed = play(&log, 400, Crash::Never);
    assert!(undisturbed.steps > 5, "{} steps", undisturbed.steps);
    let ends: Vec<&str> = undisturbed
        .readings
        .iter()
        .filter(|line| line.starts_with("counted|"))
        .map(|line| line.split('|').nth(2).unwrap())
        .collect();
    let windows = usize::try_from(JUMP_MS / 5_000).unwrap();
    assert!(ends.len() > windows && ends.is_sorted(), "{} of more than {windows}", ends.len());
    for step in (1..=undisturbed.steps).step_by(5) {
        for snapshot_ms in [0, 1_000_000] {
            let disturbed = play(&log, snapshot_ms, Crash::Between(step));
            assert_eq!(disturbed.breaches, undisturbed.breaches, "after step {step}");
            let first = undisturbed.readings.iter().zip(&disturbed.readings).find(|(a, b)| a != b);
            assert!(disturbed.readings == undisturbed.readings, "after step {step}: {first:#?}");
        }
    }
}

/// States of another type than the fold has: its rules are fenced off, the others go on, and the process does.
#[test]
fn states_that_cannot_be_merged_fence_off_the_rules_that_use_them() {
    let rules = set(rules());
    let fold = &rules.rule("failures").expect("it is there").folds[0].ids.fold;
    let mut log = log_of(std::slice::from_ref(&rules), &requests(), (0, 1));
    let at = log.len() / 2;
    let Ok(Record::Sections(mut sections)) = Record::decode(&log[at]) else { panic!("sections") };
    let mut changed = 0;
    for partials in sections.partials.iter_mut().filter(|partials| partials.fold == *fold) {
        // Behind the section and the pane comes the key.
        let batch = &partials.batch;
        let mut columns = batch.columns().to_vec();
        columns[2] = Arc::new(Int64Array::from(vec![1; batch.num_rows()])) as ArrayRef;
        let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
        fields[2] = Arc::new(Field::new(fields[2].name(), DataType::Int64, false));
        partials.batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch");
        changed += 1;
    }
    assert_eq!(changed, 1);
    log[at] = Record::Sections(sections).encode(RecordFormat::newest()).expect("it encodes");
    let written = play(&log, 400, Crash::Never);
    let fenced = written.breaches.iter().filter(|line| line.contains(" tierwatch_rule_fenced opened"));
    assert_eq!(fenced.count(), 3, "those that share the fold: {:#?}", written.breaches);
    let last = |rule: &str| {
        let own = written.readings.iter().filter(|line| line.starts_with(&format!("{rule}|")));
        own.map(|line| line.split('|').nth(2).unwrap()).max().expect("readings")
    };
    assert!(last("failures") < "2026-01-01T00:01:05Z", "{}", last("failures"));
    assert!(last("all") > "2026-01-01T00:01:40Z", "{}", last("all"));
    survives(&log, 10, 20);
}

/// A rule that is fenced off, mended, and put back as it was fails anew: that is another breach, whoever tells of it.
#[test]
fn a_rule_that_is_put_back_as_it_failed_fails_anew() {
    let failing = rule("once", "levels: {warning: value > 1}\nfor: 0s", ONCE);
    let mended = rule(
        "once",
        "levels: {warning: value > 1}\nfor: 0s",
        &ONCE.replace("count(*) % (1 - least(", "(0 * least(").replace("5 seconds", "2 seconds"),
    );
    let mut lines = requests();
    let last = lines.len() - lines.len() / 5;
    for line in lines.iter_mut().skip(last).filter(|line| line.contains("payments")) {
        *line = line.replace("\"status_code\":200", "\"status_code\":503");
    }
    let with = |once: &Arc<Source>| set(vec![rules().swap_remove(0), Arc::clone(once)]);
    let log = log_of(&[with(&failing), with(&mended), with(&failing)], &lines, (0, 1));
    let mut told: Vec<Vec<(Happened, String)>> = Vec::new();
    for restored in [false, true] {
        let options = StateOptions { snapshot_interval_ms: 1_000, part_bytes_max: 4 << 20 };
        let mut judge = Judge::new(options, RuleSets::default());
        let (mut state, mut events) = (BTreeMap::new(), Vec::new());
        judge.begin(0, Recorded::default(), 0, "one", 0).expect("begun");
        for (position, bytes) in (0..).zip(&log) {
            judge.record(0, position, i64::MAX / 2, bytes).expect("judged");
            let Some(due) = judge.due(position * 2_000).expect("due") else { continue };
            state.extend(due.state.into_iter().map(|(_, key, value)| (key, value)));
            let fenced = due.alerts.into_iter().filter(|alert| alert.event.rule == "tierwatch_rule_fenced");
            events.extend(fenced.map(|alert| (alert.event.happened, alert.event.id)));
            if restored {
                let mut recorded = Recorded::default();
                state.iter().for_each(|(key, value): (&String, &Option<Vec<u8>>)| recorded.take(key, value.as_deref()));
                judge.forget(0);
                let (next, _) = judge.begin(0, recorded, 0, "one", position * 2_000).expect("begun");
                (next..=position).for_each(|at| {
                    let bytes = &log[usize::try_from(at).unwrap()];
                    judge.record(0, at, i64::MAX / 2, bytes).expect("judged");
                });
            }
        }
        told.push(events);
    }
    let happened: Vec<Happened> = told[0].iter().map(|(happened, _)| *happened).collect();
    assert_eq!(happened, [Happened::Opened, Happened::Resolved, Happened::Opened], "{told:?}");
    let ids: BTreeSet<&String> = told[0].iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 3, "{told:?}");
    assert_eq!(told[0], told[1], "a snapshot knows it, too");
}

/// A rule waits for a table of which nobody has seen anything. Who changes it to do without is not made to wait.
#[test]
fn who_turns_away_from_a_table_that_stands_still_need_not_wait_for_it() {
    let window = |table: &str| format!("hop({table}, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds')");
    let (requests_of, operations_of) = (window("requests"), window("business_operations"));
    let both = rule(
        "calls",
        "levels: {warning: value > 100000}\nkey: [service]",
        &format!(
            "SELECT r.service, r.n + coalesce(o.n, 0) AS value FROM (SELECT service, count(*) AS n FROM {requests_of} GROUP BY service) AS r \
             LEFT JOIN (SELECT service, count(*) AS n FROM {operations_of} GROUP BY service) AS o ON r.service = o.service"
        ),
    );
    let one = rule(
        "calls",
        "levels: {warning: value > 100000}\nkey: [service]",
        &format!("SELECT service, count(*) AS value FROM {requests_of} GROUP BY service"),
    );
    let failures = || rules().swap_remove(0);
    let waiting = log_of(&[set(vec![Arc::clone(&both), failures()])], &requests(), (0, 1));
    let of_calls =
        |lines: &[String]| lines.iter().filter(|line| line.starts_with("calls|")).cloned().collect::<Vec<_>>();
    assert!(of_calls(&play(&waiting, 400, Crash::Never).readings).is_empty(), "it waits");
    let log = log_of(&[set(vec![both, failures()]), set(vec![one, failures()])], &requests(), (0, 1));
    let readings = of_calls(&play(&log, 400, Crash::Never).readings);
    assert!(readings.len() > 10 && !readings.iter().any(|line| line.contains("|partial|")), "{readings:#?}");
    survives(&log, 10, 20);
}

/// A rule whose series are no longer spread is judged in partition 0: what is open of it elsewhere is resolved there, and says
/// why.
#[test]
fn what_is_open_where_a_rule_is_no_longer_judged_is_resolved_as_moved() {
    let window = "hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds')";
    let share = |of: &str| {
        rule(
            "share",
            "levels: {warning: value > 0.2}\nfor: 0s\nkey: [service]",
            &format!(
                "SELECT service, ratio(count(*) FILTER (WHERE status_code >= 500), {of}) AS value FROM {window} GROUP BY service"
            ),
        )
    };
    let alone = rule(
        "share",
        "levels: {warning: value > 0.01}\nfor: 0s\nkey: [service]",
        &format!(
            "SELECT a.service, ratio(a.failed, b.total) AS value FROM (SELECT service, count(*) FILTER (WHERE status_code >= 500) AS failed \
             FROM {window} GROUP BY service) AS a CROSS JOIN (SELECT count(*) AS total FROM {window}) AS b"
        ),
    );
    let sets = [set(vec![share("count(*)")]), set(vec![alone])];
    assert!(sets[0].rule("share").expect("a rule").spread && !sets[1].rule("share").expect("a rule").spread);
    let mut moved = 0;
    for partitions in [2, 3, 5] {
        for partition in 0..partitions {
            let log = log_of(&sets, &requests(), (partition, partitions));
            let options = StateOptions { snapshot_interval_ms: i64::MAX / 4, part_bytes_max: 4 << 20 };
            let mut judge = Judge::new(options, RuleSets::default());
            judge.begin(partition, Recorded::default(), 0, "one", 0).expect("begun");
            let mut events: Vec<BreachEvent> = Vec::new();
            for (position, record) in (0..).zip(&log) {
                judge.record(partition, position, i64::MAX / 2, record).expect("judged");
                let due = judge.due(position * 2_000).expect("due").unwrap_or_default();
                events.extend(due.alerts.into_iter().map(|alert| alert.event));
            }
            let opened = events.iter().filter(|event| event.happened == Happened::Opened).count();
            let resolved: Vec<&str> = events
                .iter()
                .filter(|event| event.happened == Happened::Resolved)
                .map(|event| event.reason.as_str())
                .collect();
            if partition > 0 {
                assert_eq!(resolved.len(), opened, "{events:#?}");
                moved += resolved.iter().filter(|reason| **reason == "moved").count();
            }
        }
    }
    assert!(moved > 0, "payments are not always in partition 0");
}
