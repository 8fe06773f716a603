//! The gateway's own answers, for when no endpoint's answer can be passed on.
//!
//! Developers read the messages in their client: what is wrong in one sentence, whether and when to try again, the request's id,
//! and where to get help. They name no endpoint.

use std::time::Duration;

use serde_json::{Value, json};

use super::endpoint::Protocol;
use super::limits::LONGEST_FOR_CLIENTS;
use super::route::LlmPath;

mod sentence;

/// The shape of an error's body: that of the path's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorShape {
    /// `{"type":"error","error":{"type":…,"message":…},"request_id":…}`
    Anthropic,
    /// `{"error":{"message":…,"type":…,"param":null,"code":…}}`
    OpenAi,
}

impl ErrorShape {
    /// The shape for a path. Other paths than a model's have Anthropic's.
    #[must_use]
    pub const fn of(path: Option<LlmPath>) -> Self {
        match path {
            Some(path) => match path.protocol() {
                Protocol::Anthropic => Self::Anthropic,
                Protocol::OpenAi => Self::OpenAi,
            },
            None => Self::Anthropic,
        }
    }
}

/// How many of the endpoints that could serve a request are isolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many are in the failure queue.
    pub isolated: usize,
    /// How many could serve it if they were sound.
    pub total: usize,
}

/// Why the gateway refuses a request, or could not get it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request shows no client key.
    NoClientKey,
    /// It shows a key that belongs to no client.
    WrongClientKey,
    /// It shows a client's key that has expired.
    ExpiredClientKey,
    /// A browser sent it for a page that is not the gateway's own, and it shows no client key.
    ForeignPage,
    /// Its client has as many requests under way as it may.
    ClientBusy {
        /// How many these are.
        limit: u32,
    },
    /// Its body is larger than `server.max_body`.
    BodyTooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// No endpoint is usable now; they are verified again and again.
    NoUsableEndpoint {
        /// How many are out.
        counts: Counts,
        /// The time to the next verification.
        next_verification: Duration,
    },
    /// No endpoint is usable, and only the gateway's operator can fix that.
    OperatorNeeded {
        /// How many are out.
        counts: Counts,
    },
    /// Every attempt failed without an upstream answer.
    EveryAttemptFailed {
        /// How many there were.
        attempts: u32,
        /// Whether only the gateway's operator can bring an endpoint back.
        needs_operator: bool,
    },
    /// Every attempt timed out.
    EveryAttemptTimedOut {
        /// How many there were.
        attempts: u32,
    },
    /// The endpoints are overloaded.
    Overloaded {
        /// The provider's own message.
        message: Option<String>,
    },
    /// Every endpoint is at its rate limit for a while.
    RateLimited {
        /// How many there are.
        total: usize,
        /// How long it is until the first is back.
        soonest: Duration,
    },
    /// Every endpoint is at its rate limit for so long that waiting is no use.
    Exhausted {
        /// How many there are.
        total: usize,
        /// How long it is until the first is back.
        soonest: Duration,
    },
    /// Every usable endpoint has as many requests in flight as it may have.
    EveryEndpointFull {
        /// How many these are.
        usable: usize,
    },
    /// No endpoint serves the model that the request names.
    UnknownModel {
        /// That model, if it named one.
        model: Option<String>,
    },
    /// No endpoint of the client's profile serves the path.
    NoEndpointForPath,
    /// The path is neither an LLM path nor one of `server.other_paths`.
    PathNotServed {
        /// The LLM path that it would be with a correct base URL.
        meant: Option<LlmPath>,
    },
    /// The path resembles one of the gateway's own routes, but is none.
    NoSuchRoute,
    /// The path is served, but by another method.
    WrongMethod {
        /// The methods that it is served by, as the `allow` header lists them (RFC 9110, section 10.2.1).
        allowed: &'static str,
    },
    /// The request's head did not come in time.
    HeadTooSlow,
    /// The request's body did not come in time.
    BodyTooSlow,
    /// The bodies of all requests together exceed `server.max_buffered`.
    TooMuchBuffered,
    /// The gateway is stopping.
    Stopping,
    /// The request asks to switch to another protocol, or for a tunnel.
    Upgrade,
    /// The request can't be read, or could not be written to an endpoint.
    Malformed {
        /// Which part of it: its body, its target.
        what: &'static str,
    },
    /// The request waited for an endpoint until it was too late to begin.
    WaitedTooLong,
    /// Every endpoint that could serve the request is switched off, or takes no new sessions.
    SwitchedOff {
        /// How many these are.
        total: usize,
    },
}

/// Whole seconds for a `retry-after`: rounded up, 1 to 59.
#[must_use]
pub fn retry_after_seconds(delay: Duration) -> u64 {
    let rounded_up = delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0));
    rounded_up.clamp(1, LONGEST_FOR_CLIENTS.as_secs())
}

/// Whether a client library may retry by itself, as far as the status does not say it.
enum Again {
    /// It may, after this many seconds.
    After(u64),
    /// It should not, because it is no use.
    Never,
    /// The status says enough.
    Unsaid,
}

impl Refusal {
    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::NoClientKey | Self::WrongClientKey | Self::ExpiredClientKey => 401,
            Self::ForeignPage => 403,
            Self::UnknownModel { .. } | Self::NoEndpointForPath | Self::PathNotServed { .. } | Self::NoSuchRoute => 404,
            Self::WrongMethod { .. } => 405,
            Self::Malformed { .. } => 400,
            Self::HeadTooSlow | Self::BodyTooSlow => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::Upgrade => 501,
            Self::RateLimited { .. } | Self::Exhausted { .. } | Self::ClientBusy { .. } => 429,
            Self::EveryAttemptFailed { .. } => 502,
            Self::NoUsableEndpoint { .. }
            | Self::OperatorNeeded { .. }
            | Self::Overloaded { .. }
            | Self::EveryEndpointFull { .. }
            | Self::TooMuchBuffered
            | Self::WaitedTooLong
            | Self::SwitchedOff { .. }
            | Self::Stopping => 503,
            Self::EveryAttemptTimedOut { .. } => 504,
        }
    }

    /// The error's type. If no endpoint is usable it is the protocol's own word; all others are the same in both protocols.
    #[must_use]
    pub const fn error_type(&self, shape: ErrorShape) -> &'static str {
        match self {
            Self::NoClientKey | Self::WrongClientKey | Self::ExpiredClientKey => "authentication_error",
            Self::ForeignPage => "permission_error",
            Self::BodyTooLarge { .. } => "request_too_large",
            Self::NoUsableEndpoint { .. } | Self::OperatorNeeded { .. } | Self::SwitchedOff { .. } => match shape {
                ErrorShape::Anthropic => "api_error",
                ErrorShape::OpenAi => "server_error",
            },
            Self::EveryAttemptFailed { .. }
            | Self::Overloaded { .. }
            | Self::EveryEndpointFull { .. }
            | Self::TooMuchBuffered
            | Self::WaitedTooLong
            | Self::Stopping => "api_error",
            Self::RateLimited { .. } | Self::Exhausted { .. } | Self::ClientBusy { .. } => "rate_limit_error",
            Self::EveryAttemptTimedOut { .. } | Self::HeadTooSlow | Self::BodyTooSlow => "timeout_error",
            Self::UnknownModel { .. } | Self::NoEndpointForPath | Self::PathNotServed { .. } | Self::NoSuchRoute => {
                "not_found_error"
            }
            Self::WrongMethod { .. } | Self::Upgrade | Self::Malformed { .. } => "invalid_request_error",
        }
    }

    /// The error's code, which only OpenAI's shape has.
    const fn code(&self) -> Option<&'static str> {
        match self {
            Self::NoUsableEndpoint { .. } | Self::OperatorNeeded { .. } | Self::SwitchedOff { .. } => {
                Some("no_usable_endpoint")
            }
            Self::WrongClientKey | Self::ExpiredClientKey => Some("invalid_api_key"),
            Self::UnknownModel { .. } => Some("model_not_found"),
            Self::RateLimited { .. } | Self::Exhausted { .. } | Self::ClientBusy { .. } => Some("rate_limit_exceeded"),
            Self::NoClientKey
            | Self::ForeignPage
            | Self::BodyTooLarge { .. }
            | Self::EveryAttemptFailed { .. }
            | Self::EveryAttemptTimedOut { .. }
            | Self::Overloaded { .. }
            | Self::EveryEndpointFull { .. }
            | Self::NoEndpointForPath
            | Self::PathNotServed { .. }
            | Self::NoSuchRoute
            | Self::WrongMethod { .. }
            | Self::HeadTooSlow
            | Self::BodyTooSlow
            | Self::TooMuchBuffered
            | Self::WaitedTooLong
            | Self::Malformed { .. }
            | Self::Stopping
            | Self::Upgrade => None,
        }
    }

    fn again(&self) -> Again {
        match self {
            Self::NoClientKey
            | Self::WrongClientKey
            | Self::ExpiredClientKey
            | Self::ForeignPage
            | Self::OperatorNeeded { .. }
            | Self::EveryAttemptFailed { needs_operator: true, .. }
            | Self::Exhausted { .. }
            | Self::SwitchedOff { .. } => Again::Never,
            Self::RateLimited { soonest, .. } => Again::After(retry_after_seconds(*soonest)),
            Self::NoUsableEndpoint { next_verification, .. } => Again::After(retry_after_seconds(*next_verification)),
            Self::Overloaded { .. } => Again::After(10),
            Self::EveryEndpointFull { .. }
            | Self::ClientBusy { .. }
            | Self::TooMuchBuffered
            | Self::WaitedTooLong
            | Self::Stopping => Again::After(1),
            Self::BodyTooLarge { .. }
            | Self::EveryAttemptFailed { needs_operator: false, .. }
            | Self::EveryAttemptTimedOut { .. }
            | Self::UnknownModel { .. }
            | Self::NoEndpointForPath
            | Self::PathNotServed { .. }
            | Self::NoSuchRoute
            | Self::WrongMethod { .. }
            | Self::HeadTooSlow
            | Self::BodyTooSlow
            | Self::Malformed { .. }
            | Self::Upgrade => Again::Unsaid,
        }
    }

    /// Its headers, besides the content type.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = match self.again() {
            Again::After(seconds) => vec![("retry-after", seconds.to_string())],
            Again::Never => vec![("x-should-retry", "false".to_owned())],
            Again::Unsaid => Vec::new(),
        };
        if let Self::WrongMethod { allowed } = self {
            headers.push(("allow", (*allowed).to_owned()));
        }
        if *self == Self::Stopping {
            headers.push(("connection", "close".to_owned()));
        }
        headers
    }

    /// The JSON body. `help` is `server.help`, empty or not.
    #[must_use]
    pub fn body(&self, shape: ErrorShape, request_id: &str, help: &str) -> String {
        let help = help.trim();
        let space = if help.is_empty() { "" } else { " " };
        let message = format!("{} (request {request_id}){space}{help}", self.sentence());
        let kind = self.error_type(shape);
        let body: Value = match shape {
            ErrorShape::Anthropic => {
                json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
            }
            ErrorShape::OpenAi => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": self.code()}})
            }
        };
        body.to_string()
    }
}

#[cfg(test)]
mod tests;
