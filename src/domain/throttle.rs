//! What an answer says about how long its endpoint should be left alone.

use std::time::Duration;

/// A rate limit or an overload, as an endpoint words it. Neither is a fault: the endpoint rests in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// A rate limit that ends after this time.
    Named(Duration),
    /// A rate limit that names no time: perhaps the request's own fault.
    Unnamed,
    /// The provider is overloaded; with the time that it named, if any.
    Overload(Option<Duration>),
}
