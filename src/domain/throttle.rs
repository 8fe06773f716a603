//! What an answer says about how long its endpoint is to be left alone.

use std::time::Duration;

/// A rate limit or an overload, as an endpoint words it. Neither is a fault: it rests where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// A rate limit that ends after this time.
    Named(Duration),
    /// A rate limit that names no time: perhaps the request's own fault.
    Unnamed,
    /// The provider is overloaded; with the time that it named, if it did.
    Overload(Option<Duration>),
}
