//! Plots of every shape: nothing overlaps, nothing panics, and texts are escaped.

use svg::parser::{Event, Parser};

use super::{axis::number, *};

const HOUR: i64 = 3_600_000;
/// 2026-11-12T20:00:00Z.
const START: i64 = 1_794_513_600_000;

fn values(count: i32, value: impl Fn(f64) -> Option<f64>) -> Vec<(i64, Option<f64>)> {
    let at = |nth: i32| START + 8 * HOUR * i64::from(nth) / i64::from(count);
    (0..count).map(|nth| (at(nth), value(f64::from(nth) / f64::from(count)))).collect()
}

fn panel(points: Vec<(i64, Option<f64>)>, limits: &[f64]) -> Panel {
    let edges: Vec<f64> = [&[f64::NEG_INFINITY], limits, &[f64::INFINITY]].concat();
    let levels = [Shade::Critical, Shade::Gap, Shade::Warning, Shade::Healthy];
    let bands = edges.windows(2).zip(levels.into_iter().cycle());
    let bands = bands.map(|(ends, level)| Band { low: ends[0], high: ends[1], level }).collect();
    Panel { series: "region=EU".into(), points, bands, episodes: Vec::new(), other: Vec::new() }
}

fn plot(panels: Vec<Panel>) -> Plot {
    let (title, subtitle, unit) = ("checkout".into(), "8 hours".into(), "ratio".into());
    Plot { title, subtitle, unit, panels, from_ms: START, to_ms: START + 8 * HOUR }
}

/// The drawing, and its level texts: left end, right end, baseline and what they say. Panics where two overlap.
fn drawn_texts(plot: &Plot) -> (String, Vec<(f64, f64, f64, String)>) {
    let drawing = svg(plot).unwrap();
    assert!(!drawing.contains("NaN") && !drawing.contains("inf"), "{drawing}");
    let (mut found, mut offset, mut place) = (Vec::<(f64, f64, f64, String)>::new(), (0.0, 0.0), None);
    for event in Parser::new(&drawing) {
        match event {
            Event::Error(error) => panic!("{error}: {drawing}"),
            Event::Tag("g", _, attributes) => {
                let shift = attributes.get("transform").map_or("0 0", |text| &text["translate(".len()..text.len() - 1]);
                let (x, y) = shift.split_once(' ').unwrap();
                offset = (x.parse().unwrap(), y.parse().unwrap());
            }
            Event::Tag("text", _, attributes) if attributes.contains_key("x") => {
                let number = |name: &str| attributes[name].parse::<f64>().unwrap();
                let anchor = attributes.get("text-anchor").map_or(0.0, |at| if **at == *"end" { 1.0 } else { 0.5 });
                let turned = attributes.contains_key("transform");
                let at = (offset.0 + number("x"), offset.1 + number("y"), number("font-size"), anchor);
                place = (!turned).then_some(at);
            }
            Event::Text(text) => {
                if let Some((x, y, size, anchor)) = place.take() {
                    let wide = width(text, size * 0.9);
                    found.push((x - anchor * wide, x + (1.0 - anchor) * wide, y, text.trim().to_owned()));
                }
            }
            _ => {}
        }
    }
    for (nth, a) in found.iter().enumerate() {
        assert!(a.0 >= 0.0 && a.1 <= WIDTH, "{a:?} leaves the page");
        for b in &found[..nth] {
            assert!(a.0 >= b.1 || b.0 >= a.1 || (a.2 - b.2).abs() >= 9.0, "{a:?} lies on {b:?}");
        }
    }
    (drawing, found)
}

fn says(plot: &Plot, text: &str) -> bool {
    drawn_texts(plot).1.iter().any(|found| found.3 == text)
}

#[test]
fn a_panel_has_bands_limits_a_line_and_episodes() {
    let mut one = panel(values(100, |at| Some(0.97 + at * 0.03)), &[0.98, 0.985, 0.995]);
    let episode = |from, to, level| Episode { from_ms: START + from, to_ms: START + to, level, other: false };
    one.episodes = vec![episode(0, HOUR, Shade::Critical), episode(HOUR, 2 * HOUR, Shade::Warning)];
    one.episodes.extend([episode(3 * HOUR, 4 * HOUR, Shade::Healthy), episode(-9, -1, Shade::Critical)]);
    let plot = plot(vec![one]);
    let (drawing, _) = drawn_texts(&plot);
    assert_eq!(drawing.matches("#a50f15").count(), 2, "one episode and its key");
    assert_eq!(drawing.matches("<path").count(), 2, "one line, its key, no second version\n{drawing}");
    assert!(drawing.contains("critical: 2026-11-12 20:00:00 – 2026-11-12 21:00:00"));
    for text in ["0.98", "0.985", "0.995", "0.970", "20:00", "2026-11-12", "00:00", "2026-11-13", "critical episode"] {
        assert!(says(&plot, text), "{text}");
    }
    assert_eq!(svg(&plot), svg(&plot.clone()), "the same plot is the same text");
}

#[test]
fn a_second_version_is_dashed_and_has_a_row_of_its_own() {
    let mut one = panel(values(100, Some), &[]);
    assert!(!says(&plot(vec![one.clone()]), "2nd version"));
    one.other = values(100, |at| Some(1.0 - at));
    let plot = plot(vec![one]);
    assert!(says(&plot, "2nd version") && says(&plot, "second version"));
    assert_eq!(drawn_texts(&plot).0.matches("stroke-dasharray").count(), 2, "the line and its key");
}

#[test]
fn a_value_that_is_missing_breaks_the_line_and_a_lone_value_is_a_dot() {
    let some = |at: f64| (!(0.4..0.5).contains(&at) && !(0.51..0.6).contains(&at)).then_some(at);
    let (drawing, _) = drawn_texts(&plot(vec![panel(values(100, some), &[])]));
    let lines = drawing.lines().filter(|line| line.starts_with("<path")).map(|line| line.matches('M').count());
    assert_eq!((lines.max(), drawing.matches("<circle").count()), (Some(2), 1));
}

#[test]
fn texts_are_escaped_and_cut() {
    let mut plot = plot(vec![panel(values(9, Some), &[])]);
    plot.title = "a<b>&\"c\"\u{0}\u{1b}\u{ffff}".into();
    plot.panels[0].series = format!("</text><script>{}", "long ".repeat(100));
    plot.unit = "a unit & a very long name for it, longer than the panel is high".into();
    let (drawing, _) = drawn_texts(&plot);
    assert!(drawing.contains("a&lt;b&gt;&amp;\"c\"") && drawing.contains("&lt;/text&gt;&lt;script&gt;"));
    assert!(!drawing.contains("<script") && !drawing.contains(['\u{0}', '\u{1b}', '\u{ffff}']));
    assert!(drawing.contains('…') && drawing.contains("<title>"));
}

#[test]
fn odd_values_and_limits_are_drawn() {
    let flat = |value: f64| values(50, move |_| Some(value));
    let lone = |value: f64| vec![(START, Some(value))];
    let odd = [0.0, -0.0, 1.0, -7e-320, 5e-12, 12_345.678, 1e9, -3e250, f64::MAX, f64::MIN, f64::NAN, f64::INFINITY];
    let limits: [&[f64]; 5] = [&[], &[0.98, 0.995], &[-1e308, 1e308], &[1.0, 1.0], &[f64::NAN, 3.0]];
    for limits in limits {
        for panels in [odd.map(flat), odd.map(lone)] {
            drawn_texts(&plot(panels.map(|points| panel(points, limits)).into()));
        }
        drawn_texts(&plot(vec![panel(Vec::new(), limits)]));
        drawn_texts(&plot(vec![panel(values(50, |at| Some((at - 0.5) * f64::MAX)), limits)]));
        drawn_texts(&plot(vec![panel(values(50, |at| Some(1e9 + at)), limits)]));
    }
    let many: Vec<f64> = (0..40).map(|nth| 100.0 + f64::from(nth) * 0.1).collect();
    drawn_texts(&plot((0..12).map(|_| panel(flat(101.0), &many)).collect()));
    assert!(says(&plot(vec![panel(Vec::new(), &[])]), "no values"));
    assert!(says(&plot(Vec::new()), "no series"));
}

#[test]
fn a_limit_far_away_is_named_and_leaves_the_values_room() {
    let plot = plot(vec![panel(values(50, |at| Some(200.0 + at)), &[-70_000.0, 250.0, 20_000.0])]);
    for text in ["↓ -70\u{a0}000", "250", "↑ 20\u{a0}000"] {
        assert!(says(&plot, text), "{text}");
    }
}

#[test]
fn a_drawing_of_many_values_stays_small() {
    let (drawing, _) = drawn_texts(&plot(vec![panel(values(500_000, |at| Some((at * 9e4).sin())), &[])]));
    assert!(drawing.len() < 100_000, "{}", drawing.len());
    let every_other = |at: f64| ((at * 5e5).rem_euclid(2.0) < 1.0).then_some(at);
    let (drawing, _) = drawn_texts(&plot(vec![panel(values(500_000, every_other), &[])]));
    assert!(drawing.len() < 100_000, "{}", drawing.len());
}

#[test]
fn any_range_of_time_is_marked() {
    for span in [0, 1, 700, 20_000, 50 * 60_000, 27 * HOUR, 80 * HOUR, 1_440 * HOUR, 50_000 * HOUR, 1 << 52] {
        for from in [START, START + 1_234_567, -5 * HOUR] {
            let mut plot = plot(vec![panel(values(50, Some), &[])]);
            (plot.from_ms, plot.to_ms) = (from, from + span);
            drawn_texts(&plot);
            let marks = time_ticks(from, from + span.max(1)).len();
            assert!(span < 2 || (2..=11).contains(&marks), "{span}: {marks}");
        }
    }
    for (from_ms, to_ms) in [(1, 0), (i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (0, i64::MAX)] {
        assert_eq!(svg(&Plot { from_ms, to_ms, ..plot(Vec::new()) }), Err(PlotError::Time { from_ms, to_ms }));
    }
}

#[test]
fn numbers_are_written_without_idle_digits() {
    for (value, text) in [
        (0.1 + 0.2, "0.3"),
        (0.995, "0.995"),
        (-0.5, "-0.5"),
        (1_500.0, "1500"),
        (-12_500.5, "-12\u{a0}500.5"),
        (1_500_000.0, "1.5e6"),
        (2e-12, "2e-12"),
        (0.0, "0"),
    ] {
        assert_eq!(number(value), text);
    }
}
