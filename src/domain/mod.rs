//! The pure core: plain data types without actor, clock, randomness or I/O.
//!
//! Time comes in as a [`time::Moment`], chance as a number. `tests/tidy.rs` holds this module to it.

pub mod advice;
pub mod audit;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod challenge;
pub mod classify;
pub mod client;
pub mod conversation;
pub mod cooling;
pub mod endpoint;
pub mod epoch;
pub mod error_object;
pub mod estimate;
pub mod events;
pub mod health;
pub mod ids;
pub mod journal;
pub mod leases;
pub mod limits;
pub mod logins;
pub mod memory;
pub mod notice;
pub mod opinions;
pub mod outbox;
pub mod outcome;
pub mod outcome_table;
pub mod peek;
pub mod pieces;
pub mod prices;
pub mod queues;
pub mod refusal;
pub mod registry;
pub mod retry;
pub mod route;
pub mod rules;
pub mod schedule;
pub mod secret;
pub mod selection;
pub mod sessions;
pub mod sse;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod throttle;
pub mod time;
pub mod topology;
pub mod tracing;
pub mod usage;
pub mod verification;
pub mod webhook;
pub mod window;
pub mod windows;
