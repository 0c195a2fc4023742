//! The wall clock: the only place where it is read.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::panes::Millis;

/// When the clock was set last, and to what.
static SET: Mutex<Option<(Instant, Duration)>> = Mutex::new(None);

/// Now, in epoch milliseconds. It follows the machine's clock where that is ahead, and otherwise goes on by itself: whoever
/// waits for a span waits no longer because the machine's clock was set back.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Millis {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let instant = Instant::now();
    let mut set = SET.lock().unwrap_or_else(PoisonError::into_inner);
    let (since, base) = *set.get_or_insert((instant, wall));
    let (now, anew) = follow(base + instant.saturating_duration_since(since), wall);
    if anew {
        *set = Some((instant, wall));
    }
    Millis::try_from(now.as_millis()).unwrap_or(Millis::MAX)
}

/// What the clock says where it has gone on to `own` and the machine's says `wall`, and whether it is set by that.
fn follow(own: Duration, wall: Duration) -> (Duration, bool) {
    if wall > own { (wall, true) } else { (own, false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let at = Duration::from_secs;
        assert_eq!(follow(at(100), at(101)), (at(101), true), "it follows what is ahead");
        assert_eq!(follow(at(102), at(40)), (at(102), false), "an hour or a minute back is none of its business");
        let (first, second) = (now(), now());
        assert!(first > 1_700_000_000_000 && second >= first);
    }
}
