//! FOLD's loop.
