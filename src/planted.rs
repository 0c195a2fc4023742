//! Bugs planted on purpose, for the simulator to find: a test that cannot fail proves nothing. They live in one thread, and
//! in builds without debug assertions nobody can plant any.

use std::cell::Cell;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Sections are counted whether they join what was counted or not.
    SkipTheChain,
    /// A section of which a part was counted is counted.
    AcceptAnOverlap,
    /// Sections without positions are passed over.
    DropEmptyRanges,
    /// Source positions are committed before what was made of them is written.
    OffsetsFirst,
    /// Snapshots leave levels and episodes out.
    ForgetLevels,
    /// Windows that were published are judged again in a replay.
    JudgeAnew,
    /// Evaluating the rule `slow` ends the process. A failure of the machine, not of ours: not among [`ALL`](Self::ALL).
    RuleThatKills,
}

impl Bug {
    /// All that are ours.
    pub const ALL: [Self; 6] = [
        Self::SkipTheChain,
        Self::AcceptAnOverlap,
        Self::DropEmptyRanges,
        Self::OffsetsFirst,
        Self::ForgetLevels,
        Self::JudgeAnew,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    static LATER_BINARY: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread plays a binary that knows one format more than this one, or no longer does: a rolling upgrade
/// needs two.
pub fn play_later_binary(later: bool) {
    LATER_BINARY.set(later);
}

/// True where a later binary is played.
pub fn is_later_binary() -> bool {
    cfg!(debug_assertions) && LATER_BINARY.get()
}

/// Plants a bug in this thread, or takes it out.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Does something as if no bug were planted.
pub fn without<T>(work: impl FnOnce() -> T) -> T {
    let bug = PLANTED.replace(None);
    let outcome = work();
    PLANTED.set(bug);
    outcome
}

/// True where a bug is planted.
pub fn is(bug: Bug) -> bool {
    cfg!(debug_assertions) && PLANTED.get() == Some(bug)
}
