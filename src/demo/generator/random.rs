//! The generator's randomness: a stream of its own for each second, and from it one for each table, so that what is
//! made of one thing never depends on how much was made of another.

use super::{LAG_MAX_MS, TICK_MS};

/// Spread of the latencies' logarithm, and where a normal distribution has its 95th percentile.
const LATENCY_SIGMA: f64 = 0.6;
const NORMAL_P95: f64 = 1.645;

/// SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014),
/// with the constants of Vigna's public-domain `splitmix64.c`. Written out rather than taken from a
/// crate: it is five lines, and `rand`'s default generators promise no stable stream over versions.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn for_tick(seed: u64, tick_ms: i64) -> Self {
        let mixed = Self(seed).next() ^ tick_ms.cast_unsigned();
        Self(Self(mixed).next())
    }

    /// A stream of its own; takes one number from this one, however much is drawn from the new one.
    pub(super) fn split(&mut self) -> Self {
        Self(self.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 (included) to 1 (excluded).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    pub(super) fn unit(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        (self.next() >> 11) as f64 / STEPS
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// From 0 (included) to `bound` (excluded); the bias of the remainder is far below notice.
    pub(super) fn below(&mut self, bound: i64) -> i64 {
        self.next().cast_signed().rem_euclid(bound)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()]
    }

    /// How many there are this second: the rate, give or take 5%.
    pub(super) fn count(&mut self, per_second: f64) -> u32 {
        let rate = per_second * (0.95 + 0.1 * self.unit());
        self.round(rate)
    }

    /// A whole number next to `x`, the nearer one more often: on average it is `x`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers are small and not negative; a fraction is rounded by chance"
    )]
    pub(super) fn round(&mut self, x: f64) -> u32 {
        (x + self.unit()) as u32
    }

    /// Some time within the second after `tick_ms`.
    pub(super) fn instant(&mut self, tick_ms: i64) -> i64 {
        tick_ms + 1 + self.below(TICK_MS)
    }

    /// When a report of this second is made: at its beginning, or nearly so.
    pub(super) fn report(&mut self, tick_ms: i64) -> i64 {
        tick_ms + 1 + self.below(50)
    }

    /// Most events arrive at once, one in ten takes its time.
    pub(super) fn lag_ms(&mut self) -> i64 {
        if self.chance(0.1) { self.below(LAG_MAX_MS + 1) } else { 5 + self.below(150) }
    }

    /// Standard normal, by Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Log-normal, with the given 95th percentile.
    pub(super) fn latency(&mut self, p95: f64) -> f64 {
        p95 * (LATENCY_SIGMA * (self.normal() - NORMAL_P95)).exp()
    }

    /// A span of at least `ms`, and up to a tenth longer.
    pub(super) fn about_ms(&mut self, ms: i64) -> i64 {
        ms + self.below(ms / 10 + 1)
    }

    pub(super) fn trace_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }
}
