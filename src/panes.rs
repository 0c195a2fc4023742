//! Window and pane arithmetic. Its only home: nobody else divides times.
//!
//! All times are epoch milliseconds in UTC, all spans are milliseconds. A *pane* is the slice of event time in
//! which a fold accumulates; windows are unions of panes. Panes and windows lie on multiples of their width
//! since the epoch, and events before the epoch follow the same grid.

/// A moment in event time: epoch milliseconds, UTC.
pub type Millis = i64;

/// No time lies farther from the epoch than this, about 278 years: sums of a few of them fit.
pub const TIME_MAX: Millis = 1 << 43;

/// True where this can be a time; what was read from a record may be anything.
pub fn is_time(at: Millis) -> bool {
    (-TIME_MAX..=TIME_MAX).contains(&at)
}

/// A sliding window as a rule asks for it: `hop(table, event_time, slide, size, ago => …)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Hop {
    /// Distance between two window ends, in milliseconds.
    pub slide_ms: i64,
    /// Length of a window, in milliseconds.
    pub size_ms: i64,
    /// How far the window lies behind the window end it is evaluated at, in milliseconds.
    pub ago_ms: i64,
}

impl Hop {
    /// The widest pane from which every window of this hop can be put together.
    pub fn pane_ms(self) -> i64 {
        gcd(gcd(self.slide_ms, self.size_ms), self.ago_ms)
    }

    /// The window in force at an evaluation at `end`: `[start, end)` of event time. Windows end on multiples of the
    /// slide, so of a slide longer than the rule's own it is the last that has ended.
    pub fn window(self, end: Millis) -> (Millis, Millis) {
        let end = last_end_until(end, self.slide_ms).saturating_sub(self.ago_ms);
        (end.saturating_sub(self.size_ms), end)
    }

    /// How far back of an evaluation this hop looks at most.
    pub fn reach_ms(self) -> i64 {
        self.size_ms.saturating_add(self.ago_ms).saturating_add(self.slide_ms)
    }
}

/// The start of the pane of `width` that holds `time`.
pub fn pane_start(time: Millis, width: i64) -> Millis {
    time.div_euclid(width).saturating_mul(width)
}

/// The first multiple of `slide` that is later than `time`: the end of the first window that can hold an event
/// of that time.
pub fn first_end_after(time: Millis, slide: i64) -> Millis {
    pane_start(time, slide).saturating_add(slide)
}

/// The latest multiple of `slide` that is not later than `time`.
pub fn last_end_until(time: Millis, slide: i64) -> Millis {
    pane_start(time, slide)
}

/// The greatest common divisor; of zero and `a` it is `a`.
pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_lie_on_one_grid_on_both_sides_of_the_epoch() {
        for (time, width, start) in
            [(0, 10, 0), (9, 10, 0), (10, 10, 10), (-1, 10, -10), (-10, 10, -10), (-11, 10, -20)]
        {
            assert_eq!(pane_start(time, width), start, "time {time}");
        }
    }

    #[test]
    fn an_event_on_a_boundary_belongs_to_the_window_that_begins_there() {
        assert_eq!(first_end_after(10, 10), 20);
        assert_eq!(first_end_after(9, 10), 10);
        assert_eq!(first_end_after(-1, 10), 0);
        assert_eq!(last_end_until(19, 10), 10);
        assert_eq!(last_end_until(-1, 10), -10);
    }

    #[test]
    fn windows_are_unions_of_panes() {
        for (slide_ms, size_ms, ago_ms) in [(10, 60, 0), (10, 25, 0), (60, 60, 0), (10, 60, 15), (7, 3, 0)] {
            let hop = Hop { slide_ms, size_ms, ago_ms };
            let pane = hop.pane_ms();
            for end in [-slide_ms, 0, 3 * slide_ms, 3 * slide_ms + 5] {
                let (from, to) = hop.window(end);
                assert_eq!(to - from, size_ms);
                assert_eq!(from % pane, 0, "{hop:?} at {end}");
                assert_eq!(to % pane, 0, "{hop:?} at {end}");
            }
        }
    }
}
