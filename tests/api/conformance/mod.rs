//! The gateway between a raw client and a raw upstream: exchanges written as data, and `docs/http.md`, which is the same
//! data as a table.
//!
//! After each exchange the client sends a marked request on the same connection, or finds it closed; so a request or an
//! answer that was read in two ways shows.

mod answers;
mod answers_data;
mod page;
mod requests;
mod requests_data;
