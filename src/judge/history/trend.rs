//! Whether a few readings rise: robust against single outliers.
//!
//! The rise is Theil and Sen's (the median of all slopes between two readings: Sen, *Estimates of the regression
//! coefficient based on Kendall's tau*, 1968); whether it is more than chance is Mann and Kendall's test (Mann 1945),
//! with the correction for ties.

/// Fewer readings tell nothing.
const POINTS_MIN: usize = 5;
/// One-sided 5% of the normal distribution.
const SIGNIFICANT: f64 = 1.645;
/// The median absolute deviation of a normal distribution is this part of its standard deviation.
const MAD: f64 = 1.4826;

/// What a line of readings does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    /// The rise over the whole span.
    pub(super) rise: f64,
    /// How far readings typically lie from the line.
    noise: f64,
    /// Kendall's sum in units of its own deviation.
    score: f64,
}

impl Trend {
    /// True where it rises beyond noise and by more than `min_rise`.
    pub(super) fn grows(self, min_rise: f64) -> bool {
        self.score > SIGNIFICANT && self.rise > self.noise && self.rise > min_rise
    }
}

/// The trend of points (time in windows, value), oldest first, over a span of so many windows.
pub(super) fn of(points: &[(f64, f64)], span: f64) -> Option<Trend> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    let mut sum = 0.0;
    for (at, (t, x)) in points.iter().enumerate() {
        for (later_t, later_x) in &points[at + 1..] {
            slopes.push((later_x - x) / (later_t - t));
            sum += match later_x.partial_cmp(x) {
                Some(std::cmp::Ordering::Greater) => 1.0,
                Some(std::cmp::Ordering::Less) => -1.0,
                _ => 0.0,
            };
        }
    }
    let slope = median(&mut slopes)?;
    let mut levels: Vec<f64> = points.iter().map(|(t, x)| x - slope * t).collect();
    let level = median(&mut levels)?;
    let mut off: Vec<f64> = points.iter().map(|(t, x)| (x - slope * t - level).abs()).collect();
    let noise = MAD * median(&mut off)?;
    let deviation = deviation(points);
    let score =
        if deviation > 0.0 { (sum - f64::signum(sum) * f64::from(u8::from(sum != 0.0))) / deviation } else { 0.0 };
    Some(Trend { rise: slope * span, noise, score })
}

/// The standard deviation of Kendall's sum under chance.
fn deviation(points: &[(f64, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred points at most")]
    let term = |n: usize| (n * (n - 1)) as f64 * (2 * n + 5) as f64;
    let mut values: Vec<f64> = points.iter().map(|(_, x)| *x).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|tied| term(tied.len())).sum();
    ((term(points.len()) - ties) / 18.0).max(0.0).sqrt()
}

/// The median; `None` of nothing. Sorts.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
