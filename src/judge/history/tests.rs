//! What each function of history says of made-up readings.

use arrow::{
    array::{ArrayRef, Float64Array},
    datatypes::SchemaRef,
};
use datafusion::execution::session_state::SessionState;

use super::*;
use crate::rules::{
    catalog::Catalog,
    defaults::Defaults,
    diagnostics::Source,
    functions::WindowCell,
    header,
    history::{self, Learnt},
    session,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// A Monday at midnight.
const START: Millis = 1_767_571_200_000;

fn session_state() -> SessionState {
    session::session(&Arc::new(Catalog::default()), Arc::new(session::ToBeCut), &WindowCell::default()).unwrap()
}

/// The column `x` of a rule with windows of `size` by `slide`, all in milliseconds.
fn compiled(expr: &str, slide: i64, size: i64) -> (History, Vec<String>) {
    let text =
        format!("/*\nname: r\ntier: data\nlevels: {{warning: value > 1}}\nhistory:\n  x: \"{expr}\"\n*/ SELECT 1");
    let source = Arc::new(Source { path: "r.sql".into(), text });
    let header = header::split(&source, &Defaults::default()).unwrap().header;
    let schema: SchemaRef = rows(&[]).schema();
    let (history, _, problems) = history::compile(&header, &schema, slide, size, &session_state(), &source);
    (history, problems.into_iter().map(|problem| format!("{} | {}", problem.message, problem.hint)).collect())
}

fn rows(values: &[Option<f64>]) -> RecordBatch {
    let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("value", column, true)]).unwrap()
}

/// Plays one series; answers with the column at each window end.
fn play(history: &History, values: impl IntoIterator<Item = (Millis, Option<f64>)>) -> Vec<Option<f64>> {
    let mut known = BTreeMap::new();
    let series: Vec<Arc<str>> = vec!["s".into()];
    let mut out = Vec::new();
    for (end, value) in values {
        let rows = rows(&[value]);
        let window = Window { rows: &rows, series: &series, judged: &[value.is_some()], end };
        let answer = step(history, &mut known, &window).unwrap();
        let column = cast(answer.column(1), &DataType::Float64).unwrap();
        let column = column.as_primitive::<Float64Type>();
        out.push(column.is_valid(0).then(|| column.value(0)));
    }
    out
}

/// Window ends a minute apart.
fn minutes(values: &[f64]) -> Vec<(Millis, Option<f64>)> {
    (1..).zip(values).map(|(n, value)| (START + n * MINUTE, Some(*value))).collect()
}

fn last(history: &History, values: &[f64]) -> Option<f64> {
    play(history, minutes(values)).pop().flatten()
}

#[test]
fn growing_is_a_rise_beyond_noise() {
    let (history, problems) = compiled("growing(value, INTERVAL '10 minutes')", MINUTE, MINUTE);
    assert!(problems.is_empty(), "{problems:?}");
    for (values, grows) in [
        (&[1.0, 2.0, 3.0, 4.0][..], None),
        (&[1.0, 2.0, 3.0, 4.0, 5.0], Some(1.0)),
        (&[5.0, 4.0, 3.0, 2.0, 1.0], Some(0.0)),
        (&[3.0, 3.0, 3.0, 3.0, 3.0, 3.0], Some(0.0)),
        // Noise around a level, and one outlier in it, are no growth.
        (&[5.0, 6.0, 5.0, 4.0, 6.0, 5.0, 4.0, 5.0, 6.0, 5.0], Some(0.0)),
        (&[5.0, 6.0, 5.0, 4.0, 6.0, 5.0, 4.0, 5.0, 6.0, 500.0], Some(0.0)),
        // Noise on a rise is growth.
        (&[10.0, 14.0, 19.0, 18.0, 26.0, 31.0, 29.0, 38.0, 41.0, 44.0], Some(1.0)),
    ] {
        assert_eq!(last(&history, values), grows, "{values:?}");
    }
    let (history, _) = compiled("growing(value, INTERVAL '10 minutes', 50)", MINUTE, MINUTE);
    assert_eq!(last(&history, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), Some(0.0), "it rises, but by less than matters");
    let (history, _) = compiled("trend(value, INTERVAL '10 minutes')", MINUTE, MINUTE);
    assert_eq!(last(&history, &[1.0, 3.0, 5.0, 7.0, 9.0]), Some(20.0), "2 a minute over 10 minutes");
}

#[test]
fn functions_step_by_window_size_not_by_slide() {
    // One error, seen by all thirty windows of 5 minutes by 10 seconds that hold it.
    let (history, _) = compiled("recurs(value > 0, 2, 12)", 10_000, 5 * MINUTE);
    let error_at = START + 10 * MINUTE;
    let seen = |errors: &[Millis]| {
        let errors = errors.to_vec();
        let ends = (1..=360).map(move |n| {
            let end = START + n * 10_000;
            let count = errors.iter().filter(|at| end - 5 * MINUTE <= **at && **at < end).count();
            (end, Some(f64::from(u32::try_from(count).unwrap())))
        });
        play(&history, ends.collect::<Vec<_>>()).into_iter().filter(|held| *held == Some(1.0)).count()
    };
    assert_eq!(seen(&[error_at]), 0, "one error does not recur");
    // A minute apart, windows part them in 6 of the 30 phases; each of those says so for the 9 windows that are left.
    assert_eq!(seen(&[error_at, error_at + MINUTE]), 54);
    assert!(seen(&[error_at, error_at + 20 * MINUTE]) > 0, "two errors far apart do");
}

#[test]
fn shares_and_earlier_values() {
    let (history, _) = compiled("share(value > 1, INTERVAL '3 minutes')", MINUTE, MINUTE);
    let played = play(
        &history,
        [(START, Some(2.0)), (START + MINUTE, Some(0.0)), (START + 2 * MINUTE, None), (START + 3 * MINUTE, Some(3.0))],
    );
    assert_eq!(played, [Some(1.0), Some(0.5), Some(0.5), Some(2.0 / 3.0)], "what is not judged does not count");
    let (history, _) = compiled("ago(value, INTERVAL '2 minutes')", MINUTE, MINUTE);
    assert_eq!(play(&history, minutes(&[1.0, 2.0, 3.0, 4.0])), [None, None, Some(1.0), Some(2.0)]);
}

/// A week or more of readings every 5 minutes: 100 at night, 1,000 by day, `change` from some moment on.
fn seasonal(hours: i64, change: impl Fn(i64) -> f64) -> Vec<(Millis, Option<f64>)> {
    let at = |n: i64| {
        let hour = n * 5 / 60;
        let base = if (8..20).contains(&(hour % 24)) { 1000.0 } else { 100.0 };
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let noise = ((n * 7919) % 11) as f64 - 5.0;
        (START + (n + 1) * 5 * MINUTE, Some((base + noise) * change(hour)))
    };
    (0..hours * 12).map(at).collect()
}

#[test]
fn what_is_usual_is_of_use_after_a_day_and_not_taught_by_an_incident() {
    let (history, _) = compiled("expected(value)", 5 * MINUTE, 5 * MINUTE);
    let at = |played: &[Option<f64>], hour: usize| played[hour * 12 + 6];
    let healthy = play(&history, seasonal(72, |_| 1.0));
    assert_eq!(at(&healthy, 12), None, "nothing is known on the first day");
    let near = |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < 0.05 * wanted);
    assert!(near(at(&healthy, 36), 1000.0) && near(at(&healthy, 50), 100.0), "{:?}", at(&healthy, 36));
    // Three hours of collapse on the third day: the fourth day still expects what is usual.
    let collapse = play(&history, seasonal(120, |hour| if (58..61).contains(&hour) { 0.0 } else { 1.0 }));
    assert!(near(at(&collapse, 59), 1000.0) && near(at(&collapse, 83), 1000.0), "{:?}", at(&collapse, 83));
    // Half the traffic for good: after a day that is usual.
    let shift = play(&history, seasonal(200, |hour| if hour >= 96 { 0.5 } else { 1.0 }));
    assert!(near(at(&shift, 108), 1000.0), "the first day is unusual");
    assert!(near(at(&shift, 180), 500.0), "{:?}", at(&shift, 180));
}

#[test]
fn a_deviation_is_in_units_of_what_is_typical() {
    let (history, _) = compiled("deviation(value)", 5 * MINUTE, 5 * MINUTE);
    let played = play(&history, seasonal(72, |hour| if hour == 60 { 0.1 } else { 1.0 }));
    let quiet = played[59 * 12 + 6].unwrap();
    let collapsed = played[60 * 12 + 6].unwrap();
    assert!(quiet.abs() < 2.0 && collapsed < -10.0, "{quiet} {collapsed}");
}

#[test]
fn what_was_learnt_elsewhere_is_of_use_at_once() {
    let (mut history, _) = compiled("expected(value)", 5 * MINUTE, 5 * MINUTE);
    let learnt =
        (0..168).map(|hour| Learnt { hour, median: if hour < 24 { 50.0 } else { 80.0 }, spread: 2.0 }).collect();
    history.learnt.insert(("s".into(), "value".into()), learnt);
    let played = play(&history, (1..=24).map(|n| (START + n * HOUR, Some(50.0))));
    assert_eq!(played[12], Some(50.0));
    // What was learnt goes on in the profile.
    let season = Season::new(&history.learnt[&("s".to_owned(), "value".to_owned())], &history, START + HOUR);
    let profile = season.profile();
    assert_eq!((profile.len(), profile[30].median, profile[30].spread), (168, 80.0, 2.0));
}

#[test]
fn mistakes_say_what_to_write() {
    for (expr, said) in [
        ("recurs(value > 0, 13, 12)", "can never be"),
        ("growing(value, INTERVAL '1 minute')", "compares 1 windows"),
        ("recurs(value, 3, 12)", "not a condition"),
        ("expected(valeu)", "did you mean `value`?"),
        ("expcted(value)", "did you mean `expected`?"),
        ("ago(value, INTERVAL '90 seconds')", "there is no reading 1m 30s ago"),
        ("recurs(growing(value, INTERVAL '10 minutes'), 1, 2)", "a line of its own"),
        ("random()", "not allowed"),
        ("share(value > 1, INTERVAL '10 years')", "no fixed length"),
    ] {
        let (_, problems) = compiled(expr, MINUTE, MINUTE);

        assert!(problems.iter().any(|problem| problem.contains(said)), "{expr}: {problems:?}");
    }
}
