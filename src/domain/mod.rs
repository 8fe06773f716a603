//! The pure core: plain data types without actor, clock, randomness or I/O.
//!
//! Time comes in as a [`time::Moment`], chance as a number. `tests/tidy.rs` holds this module to it.

pub mod endpoint;
pub mod ids;
pub mod outcome;
pub mod secret;
pub mod time;
pub mod topology;
