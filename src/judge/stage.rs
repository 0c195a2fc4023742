//! JUDGE loop.
