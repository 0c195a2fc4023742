//! Draws what a backtest found as an SVG: one panel a series, all over the same axis of time.
//!
//! Which fonts a viewer has is unknown, so nothing is measured: widths are estimated on the wide side, and a text that
//! does not fit is cut and keeps the whole of itself as a tooltip. Levels differ in lightness and shape, not in colour
//! alone. What is drawn does not grow with the number of values: a column of pixels shows its first, least, greatest
//! and last.

use std::iter;

use svg::{
    Document, Node,
    node::element::{Circle, Definitions, Group, Line, Path, Pattern, Rectangle, Text, Title},
};

use axis::{DAY, Scale, TimeTick, drawn, time, time_ticks};

mod axis;
#[cfg(test)]
mod tests;

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// The headline.
    pub title: String,
    /// A second line, may be empty.
    pub subtitle: String,
    /// What the values are counted in, may be empty.
    pub unit: String,
    /// One a series, from above to below.
    pub panels: Vec<Panel>,
    /// Where the axis of time begins: epoch milliseconds, UTC.
    pub from_ms: i64,
    /// Where it ends. Where that is its beginning, the axis is a minute around it.
    pub to_ms: i64,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Its name.
    pub series: String,
    /// Its values by time, ascending; `None`, and what is not finite, breaks the line.
    pub points: Vec<(i64, Option<f64>)>,
    /// What the rule makes of the values. Where two bands meet there is a limit; bands without width are fine.
    pub bands: Vec<Band>,
    /// When it was not healthy.
    pub episodes: Vec<Episode>,
    /// The values of a second version of the rule, drawn dashed; may be empty.
    pub other: Vec<(i64, Option<f64>)>,
}

/// A range of values of one level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The lower end, or −∞.
    pub low: f64,
    /// The upper end, or ∞.
    pub high: f64,
    /// What its values are.
    pub level: Shade,
}

/// A time in which a level held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Episode {
    /// Its first moment.
    pub from_ms: i64,
    /// Its end; of one that still holds, the end of the plot.
    pub to_ms: i64,
    /// The level; a healthy episode is not drawn.
    pub level: Shade,
    /// True where it is of the second version.
    pub other: bool,
}

/// How a band or an episode looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shade {
    /// As it should be: pale blue.
    Healthy,
    /// Somebody should look: amber.
    Warning,
    /// Somebody must act: red.
    Critical,
    /// No level of its own, the present one holds: hatched.
    Gap,
}

/// Why there is no drawing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlotError {
    /// The axis of time ends before it begins, or lies outside the calendar.
    #[error("cannot draw from {from_ms} ms to {to_ms} ms since the epoch: not a range of time")]
    Time {
        /// Where it begins.
        from_ms: i64,
        /// Where it ends.
        to_ms: i64,
    },
}

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 20.0;
const SMALL: f64 = 11.0;
const INK: &str = "#1f2328";
const GREY: &str = "#59636e";
const VALUE: &str = "#08306b";
const OTHER: &str = "#a0307c";
const DASHES: Option<&str> = Some("6 4");
const EDGE: &str = "#b4bac1";
const HATCH: &str = "url(#tierwatch-gap)";
const FONTS: &str = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif";
/// The height of a row of episodes.
const STRIP: f64 = 10.0;
/// How much wider bold letters are.
const BOLD: f64 = 1.12;

impl Shade {
    /// The fill of a band, that of an episode, and the name.
    fn look(self) -> [&'static str; 3] {
        match self {
            Self::Healthy => ["#e6f0fa", "none", "healthy"],
            Self::Warning => ["#fdf0c4", "#f0a30a", "warning"],
            Self::Critical => ["#f2c6c0", "#a50f15", "critical"],
            Self::Gap => [HATCH, HATCH, "gap"],
        }
    }
}

/// The plot as the text of an SVG document.
pub fn svg(plot: &Plot) -> Result<String, PlotError> {
    let (from, to) = match (plot.from_ms, plot.to_ms) {
        (from, to) if from == to => (from.saturating_sub(30_000), to.saturating_add(30_000)),
        range => range,
    };
    if from > to || [from, to].into_iter().any(|at| time(at, "%F").is_empty()) {
        return Err(PlotError::Time { from_ms: plot.from_ms, to_ms: plot.to_ms });
    }
    let height = match plot.panels.len() {
        0 | 1 => 300,
        2 => 220,
        3 | 4 => 160,
        5 | 6 => 130,
        _ => 108,
    };
    let scales: Vec<Scale> = plot.panels.iter().map(|panel| Scale::new(panel, &(from..=to), height)).collect();
    let widest = |texts: Vec<&String>| texts.into_iter().map(|text| width(text, SMALL)).fold(0.0, f64::max);
    let marks = widest(scales.iter().flat_map(|scale| &scale.ticks).map(|(_, text)| text).collect());
    let edges = widest(scales.iter().flat_map(|scale| &scale.limits).map(|(_, text)| text).collect());
    let left = (MARGIN + 22.0 + marks).max(92.0);
    let right = WIDTH - MARGIN - (edges + 14.0).max(30.0);
    let frame = Frame { left, right, from, to, ticks: time_ticks(from, to) };

    let mut sheet = Group::new();
    let full = WIDTH - 2.0 * MARGIN;
    sheet.append(label((MARGIN, 34.0), ("start", 18.0, INK), &plot.title, full / BOLD).set("font-weight", 600));
    let mut y = 40.0;
    if !plot.subtitle.is_empty() {
        sheet.append(label((MARGIN, 54.0), ("start", 13.0, GREY), &plot.subtitle, full));
        y = 60.0;
    }
    y = legend(&mut sheet, plot, y + 10.0);
    if plot.panels.is_empty() {
        sheet.append(label((WIDTH / 2.0, y + 40.0), ("middle", 13.0, GREY), "no series", full));
        y += 70.0;
    } else if plot.panels.len() > 4 {
        frame.axis(&mut sheet, y + 20.0);
        y += 28.0;
    }
    for (panel, scale) in plot.panels.iter().zip(&scales) {
        let name = label((left, y + 24.0), ("start", 13.0, INK), &panel.series, (right - left) / BOLD);
        sheet.append(name.set("font-weight", 600));
        y = frame.panel(&mut sheet, panel, scale, &plot.unit, y + 32.0) + 2.0;
        for other in [false, true].into_iter().take(1 + usize::from(plot.second())) {
            y = frame.episodes(&mut sheet, panel, other, y + 4.0);
        }
    }
    if !plot.panels.is_empty() {
        frame.axis(&mut sheet, y + 16.0);
        y += 40.0;
    }

    let stripe = Line::new().set("y2", 6).set("stroke", EDGE).set("stroke-width", 2);
    let ground = Rectangle::new().set("width", 6).set("height", 6).set("fill", "#ffffff");
    let hatch = Pattern::new().set("id", "tierwatch-gap").set("width", 6).set("height", 6);
    let hatch = hatch.set("patternUnits", "userSpaceOnUse").set("patternTransform", "rotate(45)");
    let document = Document::new().set("width", WIDTH).set("height", px(y)).set("viewBox", (0.0, 0.0, WIDTH, px(y)));
    let document = document.set("font-family", FONTS).set("role", "img").set("aria-label", printable(&plot.title));
    let page = Rectangle::new().set("width", WIDTH).set("height", px(y)).set("fill", "#ffffff");
    let definitions = Definitions::new().add(hatch.add(ground).add(stripe));
    Ok(document.add(definitions).add(page).add(sheet).to_string())
}

/// What the lines and colours mean, of those that are drawn, in rows from `y` on; returns where they end.
fn legend(sheet: &mut Group, plot: &Plot, y: f64) -> f64 {
    let shades = [Shade::Healthy, Shade::Gap, Shade::Warning, Shade::Critical];
    let bands: Vec<Shade> = plot.panels.iter().flat_map(|panel| &panel.bands).map(|band| band.level).collect();
    let episodes: Vec<Shade> = plot.panels.iter().flat_map(|panel| &panel.episodes).map(|found| found.level).collect();
    let of_line = |colour, dashes| lines(&[vec![(0.0, 6.0), (26.0, 6.0)]], colour, dashes).into();
    let mut keys: Vec<(Box<dyn Node>, String)> = vec![(of_line(VALUE, None), "value".into())];
    if plot.second() {
        keys.push((of_line(OTHER, DASHES), "second version".into()));
    }
    for [band, _, name] in shades.into_iter().filter(|shade| bands.contains(shade)).map(Shade::look) {
        let name = if name == "gap" { "gap: the level holds" } else { name };
        keys.push((rect((0.0, 0.0), (26.0, 12.0), band).set("stroke", EDGE).into(), name.into()));
    }
    for shade in shades.into_iter().filter(|shade| *shade != Shade::Healthy && episodes.contains(shade)) {
        keys.push((strip((0.0, 1.0), 26.0, shade).into(), format!("{} episode", shade.look()[2])));
    }
    let (mut x, mut y) = (MARGIN, y);
    for (key, text) in keys {
        let room = 48.0 + width(&text, 12.0);
        if x + room > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + 20.0);
        }
        let text = label((34.0, 10.0), ("start", 12.0, INK), &text, WIDTH);
        sheet.append(Group::new().add(key).add(text).set("transform", format!("translate({} {})", px(x), px(y))));
        x += room;
    }
    y + 14.0
}

impl Plot {
    /// Whether there is a second version.
    fn second(&self) -> bool {
        let of_panel = |panel: &Panel| !panel.other.is_empty() || panel.episodes.iter().any(|episode| episode.other);
        self.panels.iter().any(of_panel)
    }
}

/// The axis of time, and where panels lie across the page.
struct Frame {
    left: f64,
    right: f64,
    from: i64,
    to: i64,
    ticks: Vec<TimeTick>,
}

impl Frame {
    fn x(&self, at: i64) -> f64 {
        let part = float(at.clamp(self.from, self.to) - self.from) / float(self.to - self.from);
        self.left + part * (self.right - self.left)
    }

    /// The texts of the marks, on a line at `y`; dates go below.
    fn axis(&self, sheet: &mut Group, y: f64) {
        sheet.append(label((MARGIN, y), ("start", SMALL, GREY), "UTC", WIDTH));
        for (at, text, date) in &self.ticks {
            sheet.append(label((self.x(*at), y), ("middle", SMALL, INK), text, WIDTH));
            if let Some(date) = date {
                sheet.append(label((self.x(*at), y + 15.0), ("middle", SMALL, GREY), date, WIDTH));
            }
        }
    }

    /// A panel whose plane begins at `top`; returns where it ends.
    fn panel(&self, sheet: &mut Group, panel: &Panel, scale: &Scale, unit: &str, top: f64) -> f64 {
        let (bottom, across) = (top + scale.height, self.right - self.left);
        for band in &panel.bands {
            let (upper, lower) = (scale.y(band.high), scale.y(band.low));
            if lower > upper {
                sheet.append(rect((self.left, top + upper), (across, lower - upper), band.level.look()[0]));
            }
        }
        for (at, _, date) in &self.ticks {
            let shade = if date.is_some() && at.rem_euclid(DAY) == 0 { "#8c959f" } else { "#d0d7de" };
            sheet.append(line((self.x(*at), top), (self.x(*at), bottom), shade).set("stroke-opacity", 0.6));
        }
        for (value, text) in &scale.ticks {
            let y = top + scale.y(*value);
            sheet.append(line((self.left, y), (self.right, y), "#8c959f").set("stroke-opacity", 0.25));
            sheet.append(label((self.left - 7.0, y + 4.0), ("end", SMALL, INK), text, self.left));
        }
        let middle = (MARGIN + 4.0, f64::midpoint(top, bottom));
        let turn = format!("rotate(-90 {} {})", px(middle.0), px(middle.1));
        sheet.append(label(middle, ("middle", SMALL, GREY), unit, scale.height).set("transform", turn));

        // Texts of limits keep their distance: first down from above, then up from below.
        let mut texts: Vec<f64> = scale.limits.iter().map(|(limit, _)| top + scale.y(*limit)).collect();
        texts.iter_mut().fold(f64::NEG_INFINITY, |next, y| {
            *y = y.max(next);
            *y + 12.0
        });
        texts.iter_mut().rfold(bottom, |next, y| {
            *y = y.min(next);
            *y - 12.0
        });
        for ((limit, text), at) in scale.limits.iter().zip(texts) {
            let y = top + scale.y(*limit);
            if (scale.low..=scale.high).contains(limit) {
                sheet.append(line((self.left, y), (self.right, y), GREY));
                sheet.append(line((self.right, y), (self.right + 7.0, at), GREY));
            }
            sheet.append(label((self.right + 10.0, at + 4.0), ("start", SMALL, INK), text, WIDTH));
        }
        sheet.append(rect((self.left, top), (across, scale.height), "none").set("stroke", "#8c959f"));
        let mut empty = true;
        for (points, colour, dashes) in [(&panel.other, OTHER, DASHES), (&panel.points, VALUE, None)] {
            let runs = self.runs(points, scale, top);
            if runs.is_empty() {
                continue;
            }
            empty = false;
            sheet.append(lines(&runs, colour, dashes));
            for (x, y) in runs.iter().filter(|run| run.len() == 1).flatten() {
                let dot = Circle::new().set("cx", px(*x)).set("cy", px(*y)).set("r", 2.5);
                sheet.append(dot.set("fill", if dashes.is_some() { "#ffffff" } else { colour }).set("stroke", colour));
            }
        }
        if empty {
            let at = (f64::midpoint(self.left, self.right), middle.1 + 4.0);
            sheet.append(label(at, ("middle", 13.0, GREY), "no values", across));
        }
        bottom
    }

    /// The values as lines without a break, few enough to draw. A break narrower than a pixel is none.
    fn runs(&self, points: &[(i64, Option<f64>)], scale: &Scale, top: f64) -> Vec<Vec<(f64, f64)>> {
        let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut broken = true;
        for (at, value) in points.iter().filter(|(at, _)| (self.from..=self.to).contains(at)) {
            let Some(value) = drawn(*value) else {
                broken = true;
                continue;
            };
            let (x, y) = (self.x(*at), top + scale.y(value));
            match runs.last_mut() {
                Some(run) if !broken || run.last().is_some_and(|last| x - last.0 < 1.0) => run.push((x, y)),
                _ => runs.push(vec![(x, y)]),
            }
            broken = false;
        }
        let least = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let thin = |column: &[(f64, f64)]| match column {
            [first, inner @ .., last] if inner.len() > 2 => iter::once(first)
                .chain(inner.iter().min_by(least))
                .chain(inner.iter().max_by(least))
                .chain([last])
                .copied()
                .collect(),
            few => few.to_vec(),
        };
        runs.iter().map(|run| run.chunk_by(|a, b| a.0.floor() == b.0.floor()).flat_map(thin).collect()).collect()
    }

    /// The episodes of one version, as a row at `y`; returns where it ends.
    fn episodes(&self, sheet: &mut Group, panel: &Panel, other: bool, y: f64) -> f64 {
        let name = if other { "2nd version" } else { "episodes" };
        sheet.append(label((self.left - 7.0, y + 9.0), ("end", 10.0, GREY), name, WIDTH));
        sheet.append(rect((self.left, y), (self.right - self.left, STRIP), "#f0f2f4"));
        for episode in panel.episodes.iter().filter(|episode| episode.other == other) {
            let seen = episode.from_ms <= self.to && episode.to_ms >= self.from.max(episode.from_ms);
            if seen && episode.level != Shade::Healthy {
                let (x, end) = (self.x(episode.from_ms), self.x(episode.to_ms));
                let wide = (end - x).max(2.0);
                let text = [episode.from_ms, episode.to_ms].map(|at| time(at, "%F %T")).join(" – ");
                let text = format!("{}: {text}", episode.level.look()[2]);
                sheet.append(strip((x.min(self.right - wide), y), wide, episode.level).add(Title::new(text)));
            }
        }
        y + STRIP
    }
}

/// Where a text is anchored, its size and its colour.
type Style = (&'static str, f64, &'static str);

fn label(at: (f64, f64), (anchor, size, colour): Style, text: &str, room: f64) -> Text {
    let text = printable(text);
    let mut left = room;
    let fits = |letter: &char| {
        left -= em(*letter) * size;
        left >= 0.0
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    let node = if kept.len() == text.len() {
        Text::new(text)
    } else {
        kept.pop();
        Text::new(format!("{}…", kept.trim_end())).add(Title::new(text))
    };
    let node = node.set("x", px(at.0)).set("y", px(at.1)).set("font-size", size).set("fill", colour);
    if anchor == "start" { node } else { node.set("text-anchor", anchor) }
}

fn rect(at: (f64, f64), size: (f64, f64), fill: &str) -> Rectangle {
    let node = Rectangle::new().set("x", px(at.0)).set("y", px(at.1)).set("fill", fill);
    node.set("width", px(size.0)).set("height", px(size.1))
}

/// A piece of a row of episodes: a critical one is as high as the row, others are lower.
fn strip(at: (f64, f64), wide: f64, level: Shade) -> Rectangle {
    let high = if level == Shade::Critical { STRIP } else { STRIP * 0.6 };
    rect((at.0, at.1 + STRIP - high), (wide, high), level.look()[1])
}

fn line(from: (f64, f64), to: (f64, f64), stroke: &str) -> Line {
    let node = Line::new().set("x1", px(from.0)).set("y1", px(from.1)).set("x2", px(to.0)).set("y2", px(to.1));
    node.set("stroke", stroke).set("stroke-width", 0.8)
}

fn lines(runs: &[Vec<(f64, f64)>], stroke: &str, dashes: Option<&str>) -> Path {
    let mut data = String::new();
    for run in runs.iter().filter(|run| run.len() > 1) {
        for (letter, (x, y)) in iter::once('M').chain(iter::repeat('L')).zip(run) {
            data += &format!("{letter}{} {}", px(*x), px(*y));
        }
    }
    let node = Path::new().set("d", data).set("fill", "none").set("stroke", stroke);
    let node = node.set("stroke-width", 1.6).set("stroke-linejoin", "round");
    let (name, value) = dashes.map_or(("stroke-linecap", "round"), |dashes| ("stroke-dasharray", dashes));
    node.set(name, value)
}

/// The text without what XML forbids.
fn printable(text: &str) -> String {
    let forbidden = |letter: char| letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}');
    text.replace(forbidden, " ")
}

/// How wide a text of that size is at most.
fn width(text: &str, size: f64) -> f64 {
    text.chars().map(em).sum::<f64>() * size
}

/// How wide a letter is in a wide font, as a part of its size.
fn em(letter: char) -> f64 {
    match letter {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | '\u{a0}' => 0.4,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '\\' | '-' => 0.5,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 1.0,
        'A'..='Z' | '+' | '<' | '=' | '>' | '~' | '#' | '&' | '_' => 0.85,
        '!'..='~' => 0.65,
        '\u{80}'..'\u{2e80}' => 0.9,
        _ => 1.1,
    }
}

/// Tenths of a pixel are enough.
fn px(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "a place on the page needs no more than 53 bits")]
fn float(ms: i64) -> f64 {
    ms as f64
}
