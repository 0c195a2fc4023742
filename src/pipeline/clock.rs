//! The wall clock: the only place where it is read.

use crate::panes::Millis;

/// Now, in epoch milliseconds.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
