//! Levels are SQL predicates over the output columns. Where they speak of `value` and constants alone, they cut the
//! line of numbers into bands and gaps, and a gap holds: see [`Bands`].

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::{
    ast::{BinaryOperator, Expr, UnaryOperator, Value},
    dialect::GenericDialect,
    parser::Parser,
};
use serde::{Deserialize, Serialize};

/// How well a series is, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    #[default]
    Healthy,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Critical,
}

impl Level {
    /// All of them, mildest first.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Warning, Self::Critical];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The level of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// A piece of the line of numbers on which every predicate is constant; `level` is `None` in a gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// The lower end, or −∞.
    pub low: f64,
    /// The upper end, or ∞; equal to `low` for a single point.
    pub high: f64,
    /// The most severe level whose predicate holds here.
    pub level: Option<Level>,
}

/// What the predicates make of the line of numbers, where they are unions of intervals of `value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Bands {
    /// All segments, from −∞ to ∞.
    pub segments: Vec<Segment>,
}

impl Bands {
    /// The bands of the given predicates; `None` where one of them speaks of anything but `value` and numbers.
    pub fn new(predicates: &BTreeMap<Level, &str>) -> Option<Self> {
        let mut parsed = BTreeMap::new();
        let mut limits = Vec::new();
        for (level, sql) in predicates {
            let expr =
                Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr()).ok()?;
            holds(&expr, 0.0, &mut limits)?;
            parsed.insert(*level, expr);
        }
        limits.sort_by(f64::total_cmp);
        limits.dedup();
        let at = |value: f64| -> Option<Level> {
            let severe = parsed
                .iter()
                .rev()
                .find(|(_, expr)| holds(expr, value, &mut Vec::new()) == Some(true))
                .map(|(level, _)| *level);
            severe.or_else(|| (!parsed.contains_key(&Level::Healthy)).then_some(Level::Healthy))
        };
        let mut segments = Vec::new();
        let mut low = f64::NEG_INFINITY;
        for limit in &limits {
            let inside = if low.is_finite() { f64::midpoint(low, *limit) } else { limit - 1.0 };
            segments.push(Segment { low, high: *limit, level: at(inside) });
            segments.push(Segment { low: *limit, high: *limit, level: at(*limit) });
            low = *limit;
        }
        let beyond = if low.is_finite() { low + 1.0 } else { 0.0 };
        segments.push(Segment { low, high: f64::INFINITY, level: at(beyond) });
        Some(Self { segments })
    }

    fn index(&self, value: f64) -> usize {
        let inside = |s: &Segment| if s.low == s.high { value == s.low } else { s.low < value && value < s.high };
        self.segments.iter().position(inside).unwrap_or(self.segments.len() - 1)
    }

    /// The levels on both sides of the gap that holds `value`: `None` where there is no gap, or no band on a side.
    pub fn neighbours(&self, value: f64) -> Option<(Option<Level>, Option<Level>)> {
        let at = self.index(value);
        if self.segments[at].level.is_some() {
            return None;
        }
        let below = self.segments[..at].iter().rev().find_map(|segment| segment.level);
        let above = self.segments[at + 1..].iter().find_map(|segment| segment.level);
        Some((below, above))
    }

    /// The level of a value by the bands alone, with gaps that hold: a value in a gap keeps `present` where that is
    /// one of the gap's neighbours, else takes the neighbour nearer to it; without a present level, the milder.
    pub fn level(&self, value: f64, present: Option<Level>) -> Level {
        let Some((below, above)) = self.neighbours(value) else {
            return self.segments[self.index(value)].level.unwrap_or_default();
        };
        let sides: Vec<Level> = below.into_iter().chain(above).collect();
        match present {
            Some(present) => {
                let distance = |level: &Level| ((*level as i8 - present as i8).abs(), *level);
                sides.into_iter().min_by_key(distance).unwrap_or(present)
            }
            None => sides.into_iter().min().unwrap_or_default(),
        }
    }

    /// A value that is healthy and something worse at once.
    pub fn overlap(&self, header: &super::header::Header) -> Option<(Level, f64)> {
        let parse = |level: &Level| {
            let sql = &header.levels.get(level)?.sql;
            Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr()).ok()
        };
        let healthy = parse(&Level::Healthy)?;
        let both = |level: Level, value: f64| {
            let severe = parse(&level)?;
            let holds = |expr| holds(expr, value, &mut Vec::new()) == Some(true);
            (holds(&healthy) && holds(&severe)).then_some((level, value))
        };
        let inside = |s: &Segment| match (s.low.is_finite(), s.high.is_finite()) {
            (true, true) => f64::midpoint(s.low, s.high),
            (true, false) => s.low + 1.0,
            (false, true) => s.high - 1.0,
            (false, false) => 0.0,
        };
        self.segments.iter().map(inside).find_map(|v| both(Level::Warning, v).or_else(|| both(Level::Critical, v)))
    }

    /// True where some value is of that level.
    pub fn reachable(&self, level: Level) -> bool {
        self.segments.iter().any(|segment| segment.level == Some(level))
    }

    /// The open ends of the line that no level covers: below all bands, above all bands.
    pub fn open_ends(&self) -> (bool, bool) {
        let open = |segment: Option<&Segment>| segment.is_some_and(|segment| segment.level.is_none());
        (open(self.segments.first()), open(self.segments.last()))
    }

    /// The line from −∞ to ∞ in pieces of one level each: lower end, upper end, level or gap.
    pub fn pieces(&self) -> Vec<(f64, f64, Option<Level>)> {
        let mut pieces: Vec<(f64, f64, Option<Level>)> = Vec::new();
        for segment in &self.segments {
            match pieces.last_mut() {
                Some(last) if last.2 == segment.level => last.1 = segment.high,
                Some(_) if segment.low == segment.high => {}
                _ => pieces.push((segment.low, segment.high, segment.level)),
            }
        }
        pieces
    }

    /// The line of numbers as a picture in text: bands and gaps, and on which side of each limit its value lies.
    pub fn picture(&self, unit: &str) -> String {
        const WIDTH: usize = 16;
        let pieces = self.pieces();
        let (mut words, mut line, mut limits) = (String::new(), String::new(), String::new());
        for (at, (low, high, level)) in pieces.iter().enumerate() {
            let word = level.map_or("gap", Level::name);
            words += &format!("{word:^WIDTH$}");
            line += &"─".repeat(WIDTH - 1);
            if at + 1 == pieces.len() {
                break;
            }
            // A limit is the point at which one piece ends and the next begins.
            let limit = if low == high { *low } else { *high };
            let left = self.segments[self.index(limit)].level == *level;
            line.push(if left { '┤' } else { '├' });
            let text = limit.to_string();
            let room = (WIDTH * (at + 1)).saturating_sub(limits.chars().count() + text.chars().count().div_ceil(2));
            limits += &format!("{}{text}", " ".repeat(room));
        }
        format!("  {}\n  {line}▶ {unit}\n  {}", words.trim_end(), limits.trim_end())
    }
}

/// Whether a predicate holds of `value`, adding the numbers it compares with to `limits`; `None` where it speaks of
/// anything else.
fn holds(expr: &Expr, value: f64, limits: &mut Vec<f64>) -> Option<bool> {
    match expr {
        Expr::Nested(inner) => holds(inner, value, limits),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => holds(expr, value, limits).map(|holds| !holds),
        Expr::Between { expr, negated, low, high } => {
            is_value(expr).then_some(())?;
            let (low, high) = (number(low)?, number(high)?);
            limits.extend([low, high]);
            Some((low <= value && value <= high) != *negated)
        }
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let (left, right) = (holds(left, value, limits)?, holds(right, value, limits)?);
            Some(left && right)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            let (left, right) = (holds(left, value, limits)?, holds(right, value, limits)?);
            Some(left || right)
        }
        Expr::BinaryOp { left, op, right } => {
            let (a, b, limit) = match (is_value(left), is_value(right)) {
                (true, false) => (value, number(right)?, number(right)?),
                (false, true) => (number(left)?, value, number(left)?),
                _ => return None,
            };
            limits.push(limit);
            match op {
                BinaryOperator::Lt => Some(a < b),
                BinaryOperator::LtEq => Some(a <= b),
                BinaryOperator::Gt => Some(a > b),
                BinaryOperator::GtEq => Some(a >= b),
                BinaryOperator::Eq => Some(a == b),
                BinaryOperator::NotEq => Some(a != b),
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_value(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(name) if name.value.eq_ignore_ascii_case("value"))
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Nested(inner) => number(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|number| -number),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
