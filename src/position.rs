//! Positions in a source partition are intervals, and intervals join or they do not.
//!
//! A section of the log speaks of the range `[start, end)` of one source partition. What was already counted is
//! a [`RangeSet`]; whether a further range may be counted is a question with four typed answers ([`Link`]), so
//! that nobody can count a part of it by accident.

use serde::{Deserialize, Serialize};

/// Positions `[start, end)` of one source partition; the holes that transaction markers and compaction leave
/// belong to the range that spans them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The first position, which is the end of the range before.
    pub start: i64,
    /// One past the last position.
    pub end: i64,
}

impl Range {
    /// True where the range holds no position: a tick, or an owner's first word.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// How a range relates to what is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// None of it is there: count it. `hole` is true where positions before it are missing still.
    Joins {
        /// Positions between the unbroken prefix and this range are not there yet.
        hole: bool,
    },
    /// All of it is there: drop it.
    Known,
    /// A part of it is there: refuse it whole, since what it carries cannot be cut.
    Overlaps,
}

/// The positions of one source partition that have been counted: disjoint, joined, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeSet {
    ranges: Vec<Range>,
}

impl RangeSet {
    /// How `range` relates to this set. An empty range at or before the prefix's end is no duplicate: it joins.
    pub fn link(&self, range: Range) -> Link {
        if range.is_empty() {
            return Link::Joins { hole: self.prefix_end().is_some_and(|end| range.start > end) };
        }
        let mut covered = 0_i64;
        for known in &self.ranges {
            let start = known.start.max(range.start);
            let end = known.end.min(range.end);
            if start < end {
                covered = end.saturating_sub(start).saturating_add(covered);
            }
        }
        if covered == 0 {
            Link::Joins { hole: self.prefix_end().is_some_and(|end| range.start > end) }
        } else if covered == range.end.saturating_sub(range.start) {
            Link::Known
        } else {
            Link::Overlaps
        }
    }

    /// Adds a range that [`link`](Self::link) said joins.
    pub fn insert(&mut self, range: Range) {
        if range.is_empty() && !self.ranges.is_empty() {
            return;
        }
        debug_assert!(matches!(self.link(range), Link::Joins { .. }), "a range is counted once");
        let at = self.ranges.partition_point(|known| known.start < range.start);
        self.ranges.insert(at, range);
        let mut joined: Vec<Range> = Vec::with_capacity(self.ranges.len());
        for next in self.ranges.drain(..) {
            match joined.last_mut() {
                Some(last) if last.end >= next.start => last.end = last.end.max(next.end),
                _ => joined.push(next),
            }
        }
        self.ranges = joined;
    }

    /// True where ranges are disjoint and in order; what was read from a record may be anything.
    pub fn is_sound(&self) -> bool {
        let apart = |pair: &[Range]| pair[0].end < pair[1].start;
        self.ranges.iter().all(|range| 0 <= range.start && range.start <= range.end)
            && self.ranges.windows(2).all(apart)
    }

    /// The first position counted, where any is.
    pub fn start(&self) -> Option<i64> {
        self.ranges.first().map(|range| range.start)
    }

    /// One past the unbroken prefix, where there is one.
    pub fn prefix_end(&self) -> Option<i64> {
        self.ranges.first().map(|range| range.end)
    }

    /// What is missing before `until`, from the first position on.
    pub fn missing(&self, until: i64) -> Vec<Range> {
        let ends = self.ranges.iter().map(|range| range.end);
        let starts = self.ranges.iter().skip(1).map(|range| range.start).chain([until]);
        ends.zip(starts).map(|(start, end)| Range { start, end }).filter(|range| !range.is_empty()).collect()
    }

    /// The first hole, where there is one: the range that must still come before what lies behind it counts.
    pub fn hole(&self) -> Option<Range> {
        match self.ranges.as_slice() {
            [first, second, ..] => Some(Range { start: first.end, end: second.start }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(i64, i64)]) -> RangeSet {
        let mut set = RangeSet::default();
        for (start, end) in ranges {
            set.insert(Range { start: *start, end: *end });
        }
        set
    }

    #[test]
    fn each_answer_of_the_chain() {
        let known = set(&[(10, 20)]);
        for (start, end, expected) in [
            (20, 30, Link::Joins { hole: false }),
            (25, 30, Link::Joins { hole: true }),
            (0, 10, Link::Joins { hole: false }),
            (10, 20, Link::Known),
            (12, 15, Link::Known),
            (15, 25, Link::Overlaps),
            (5, 25, Link::Overlaps),
            (20, 20, Link::Joins { hole: false }),
            (22, 22, Link::Joins { hole: true }),
        ] {
            assert_eq!(known.link(Range { start, end }), expected, "{start}..{end}");
        }
    }

    #[test]
    fn a_filled_hole_joins_the_prefix() {
        let mut known = set(&[(0, 5), (8, 10)]);
        assert_eq!(known.hole(), Some(Range { start: 5, end: 8 }));
        assert_eq!(known.prefix_end(), Some(5));
        assert_eq!(known.missing(12), [Range { start: 5, end: 8 }, Range { start: 10, end: 12 }]);
        assert_eq!(known.missing(10), [Range { start: 5, end: 8 }]);
        known.insert(Range { start: 5, end: 8 });
        assert_eq!(known, set(&[(0, 10)]));
        assert_eq!(known.hole(), None);
    }
}
