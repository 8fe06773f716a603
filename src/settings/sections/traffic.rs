//! `[timeouts]`, `[stream]`, `[retry]`: how one request is carried.

use std::time::Duration;

use crate::settings::reading::Table;

/// `[timeouts]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The time to open a connection, TLS included.
    pub connect: Duration,
    /// The time to a streamed answer's head and first event.
    pub first_event: Duration,
    /// The time from there to its first content, while nothing is passed on.
    pub first_content: Duration,
    /// The time for a whole answer that is not streamed.
    pub response: Duration,
    /// The longest pause between two pieces of a stream.
    pub stream_idle: Duration,
    /// How long an endpoint must have been silent for a client's leaving to bring about a second opinion.
    pub suspect: Duration,
}

impl Timeouts {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let timeouts = Self {
            connect: table.positive_duration("connect").unwrap_or_default(),
            first_event: table.positive_duration("first_event").unwrap_or_default(),
            first_content: table.positive_duration("first_content").unwrap_or_default(),
            response: table.positive_duration("response").unwrap_or_default(),
            stream_idle: table.positive_duration("stream_idle").unwrap_or_default(),
            suspect: table.positive_duration("suspect").unwrap_or_default(),
        };
        table.finish();
        timeouts
    }
}

/// How a client learns that its stream broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBreak {
    /// Whatever suits the client: a broken connection for Claude Code, else the error event.
    #[default]
    Auto,
    /// The protocol's error event, then a clean end.
    Event,
    /// The connection is broken off.
    Abort,
}

/// `[stream]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// How a client learns that its stream broke.
    pub on_break: OnBreak,
}

impl Stream {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let words = [("auto", OnBreak::Auto), ("event", OnBreak::Event), ("abort", OnBreak::Abort)];
        let stream = Self { on_break: table.word("on_break", &words).unwrap_or_default() };
        table.finish();
        stream
    }
}

/// `[retry]`
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// The most attempts for one request.
    pub max_attempts: u32,
    /// The most of them on one endpoint.
    pub max_per_endpoint: u32,
    /// No attempt starts when the request is older than this.
    pub deadline: Duration,
    /// The pause before the same endpoint's next turn; doubles, with full jitter.
    pub backoff: Duration,
    /// The longest such pause.
    pub backoff_max: Duration,
    /// Further retries: their share of the requests of the last 10 s.
    pub budget_ratio: f64,
    /// Further retries allowed in addition, per second.
    pub budget_min: u32,
    /// How long a request waits for an endpoint to become usable.
    pub park: Duration,
    /// How many requests may wait like that.
    pub park_max: usize,
}

impl Retry {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let retry = Self {
            max_attempts: table.integer("max_attempts", 1..=1000).unwrap_or_default(),
            max_per_endpoint: table.integer("max_per_endpoint", 1..=1000).unwrap_or_default(),
            deadline: table.positive_duration("deadline").unwrap_or_default(),
            backoff: table.duration("backoff").unwrap_or_default(),
            backoff_max: table.duration("backoff_max").unwrap_or_default(),
            budget_ratio: table
                .number("budget_ratio", "a number of at least 0", |ratio| ratio >= 0.0)
                .unwrap_or_default(),
            budget_min: table.integer("budget_min", 0..=1_000_000).unwrap_or_default(),
            park: table.duration("park").unwrap_or_default(),
            park_max: table.integer("park_max", 0..=1_000_000).unwrap_or_default(),
        };
        table.finish();
        retry
    }
}
