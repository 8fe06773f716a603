//! The HTTP/1.1 client through which all traffic and every verification reaches an upstream.
//!
//! There is one [`Client`] per worker: nothing here is shared between threads, and no task is spawned for a connection or
//! a request. Dropping the future of [`Client::send`], or a [`Body`], closes the connection at once.

mod body;
mod chunked;
mod client;
mod connect;
mod content;
mod courier;
mod decoding;
mod error;
mod exporter;
mod fetch;
mod files;
mod framing;
mod head;
mod lines;
mod pool;
mod probe;
mod request;
mod resolving;
mod room;
pub mod tls;
mod transport;
mod wire;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use body::Body;
pub use client::{Client, Limits, Request, Response, Withdrawn, WritePermit};
pub use content::{Coded, Content, ContentError, Legibility};
pub use courier::{Courier, NoReceipt, Receipt};
pub use decoding::{Coding, Decoded, Decoder, Undecodable};
pub use error::{BodyError, MalformedHead, SendError};
pub use exporter::{Exporter, Taken};
pub use fetch::{FetchError, Fetched};
pub use files::Told;
pub use lines::HeaderLines;
pub use probe::{Bill, Probe, ProbeSettings};
pub use request::{ClientRequest, leave_end_to_end};
