//! The sentences of refusals.

use std::time::Duration;

use super::{Counts, LlmPath, Refusal, retry_after_seconds};

/// The longest model name that a message repeats, in characters.
const MAX_MODEL_SHOWN: usize = 100;

const NO_CLIENT_KEY: &str = "The gateway wants a client key, in x-api-key, authorization: Bearer or x-qcc-key, and the request \
                             shows none. Trying again does not help; set your key.";
const WRONG_CLIENT_KEY: &str = "The gateway does not know this client key. Trying again does not help; check your key.";
const EXPIRED_CLIENT_KEY: &str =
    "This client key has expired. Trying again does not help; ask the gateway's operator for a new one.";

const FOREIGN_PAGE: &str = "A page in a browser sent this, and without a client key pages are not served: it may be anybody's. Trying \
                            again does not help; give the gateway client keys and show one.";

const PATH_NOT_SERVED: &str = "The gateway does not serve this path. Trying again does not help; its operator can open it with \
                               server.other_paths.";

const OPERATOR_MUST_ACT: &str =
    "credential or account is why. Trying again does not help; the gateway's operator must act. Your own key is fine.";

impl Refusal {
    /// What went wrong, and whether trying again helps.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::NoClientKey => NO_CLIENT_KEY.to_owned(),
            Self::WrongClientKey => WRONG_CLIENT_KEY.to_owned(),
            Self::ExpiredClientKey => EXPIRED_CLIENT_KEY.to_owned(),
            Self::ForeignPage => FOREIGN_PAGE.to_owned(),
            Self::ClientBusy { limit } => format!(
                "You have as many requests under way as this gateway allows you ({limit}). Trying again helps as soon as \
                 one of them ends."
            ),
            Self::BodyTooLarge { limit } => format!(
                "The request's body is larger than this gateway takes ({}). Trying again does not help; send less.",
                size(*limit)
            ),
            Self::NoUsableEndpoint { counts, next_verification } => format!(
                "The gateway has no usable endpoint for this request now: {}{}. Trying again may help in {}, when one may be \
                 back.",
                outage(*counts),
                if counts.isolated < counts.total { ", and the others can't be used now" } else { "" },
                until(*next_verification)
            ),
            Self::OperatorNeeded { counts } => format!(
                "The gateway has no usable endpoint for this request: {}, and {} {OPERATOR_MUST_ACT}",
                outage(*counts),
                if counts.total == 1 { "its" } else { "their" }
            ),
            Self::EveryAttemptFailed { attempts, needs_operator } => every_attempt_failed(*attempts, *needs_operator),
            Self::EveryAttemptTimedOut { attempts } => format!(
                "The gateway got no answer from upstream in time: {}. Trying again may help.",
                tries(*attempts, "timed out")
            ),
            Self::Overloaded { message } => {
                let said = message.as_deref().map(str::trim).filter(|message| !message.is_empty());
                let said = said.map(|message| format!(" It says: {message}")).unwrap_or_default();
                format!("The provider is overloaded. Trying again helps in some seconds.{said}")
            }
            Self::RateLimited { total, soonest } => format!(
                "The gateway has no usable endpoint for this request now: {} rate limited. Trying again helps in {}.",
                are(*total),
                until(*soonest)
            ),
            Self::Exhausted { total, soonest } => format!(
                "The gateway has no usable endpoint for this request: {} out of quota, and the first is back in {}. Trying \
                 again before does not help.",
                are(*total),
                long_time(*soonest)
            ),
            Self::EveryEndpointFull { usable } => format!(
                "The gateway is busy: {} as many requests in flight as allowed. Trying again helps in a second.",
                match usable {
                    1 => "the one usable endpoint has".to_owned(),
                    usable => format!("all {usable} usable endpoints have"),
                }
            ),
            Self::UnknownModel { model: Some(model) } => format!(
                "No endpoint of this gateway serves the model {:?}. Trying again does not help; name another model.",
                shortened(model)
            ),
            Self::UnknownModel { model: None } => {
                "The request names no model that an endpoint of this gateway serves. Trying again does not help; name \
                 one."
                    .to_owned()
            }
            Self::NoEndpointForPath => {
                "No endpoint of this gateway serves this path for you. Trying again does not help.".to_owned()
            }
            Self::PathNotServed { meant: Some(path) } => spoilt_path(*path),
            Self::PathNotServed { meant: None } => PATH_NOT_SERVED.to_owned(),
            Self::NoSuchRoute => "The gateway has no such route of its own. Trying again does not help.".to_owned(),
            Self::WrongMethod { allowed } => {
                format!("This path wants the method {allowed}. Trying again with another one does not help.")
            }
            Self::HeadTooSlow => "The request's head did not come in time. Trying again may help.".to_owned(),
            Self::BodyTooSlow => "The request's body did not come in time. Trying again may help.".to_owned(),
            Self::TooMuchBuffered => {
                "The gateway holds as many request bodies as it may. Trying again helps in a second.".to_owned()
            }
            Self::Stopping => {
                "The gateway is stopping. Trying again helps in a second, on a new connection.".to_owned()
            }
            Self::Malformed { what } => {
                format!("The request's {what} can't be read. Trying again does not help; it is broken on its way here.")
            }
            Self::WaitedTooLong => {
                "No endpoint became free for this request in time. Trying again may help in a second.".to_owned()
            }
            Self::SwitchedOff { total } => format!(
                "The gateway has no usable endpoint for this request: {} switched off or drained. Trying again does not \
                 help; the gateway's operator must act.",
                are(*total)
            ),
            Self::Upgrade => {
                "The gateway neither upgrades connections nor opens tunnels. Trying again does not help.".to_owned()
            }
        }
    }
}

fn spoilt_path(meant: LlmPath) -> String {
    format!(
        "The gateway serves {}, not this path: mend your client's base URL. Trying again does not help; further paths are opened \
         by the gateway's operator with server.other_paths.",
        meant.as_str()
    )
}

fn outage(counts: Counts) -> String {
    let Counts { isolated, total } = counts;
    match total {
        0 => "none is in use".to_owned(),
        1 if isolated == 1 => "the only one has failed".to_owned(),
        total => format!("{isolated} of {total} endpoints have failed"),
    }
}

fn are(total: usize) -> String {
    match total {
        1 => "the only one is".to_owned(),
        total => format!("all {total} are"),
    }
}

/// The time until something happens: as `retry-after` states it, but unbounded.
fn until(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{} s", retry_after_seconds(time)),
        _ => long_time(time),
    }
}

/// A time as people say it, in its two largest units.
fn long_time(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60).max(1);
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours, minutes) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn every_attempt_failed(attempts: u32, needs_operator: bool) -> String {
    let tries = tries(attempts, "failed");
    let what_helps = if needs_operator {
        format!(", and the endpoints' {OPERATOR_MUST_ACT}")
    } else {
        ". Trying again may help.".to_owned()
    };
    format!("The gateway got no usable answer from upstream: {tries}{what_helps}")
}

fn tries(attempts: u32, how: &str) -> String {
    match attempts {
        1 => format!("the one attempt {how}"),
        attempts => format!("all {attempts} attempts {how}"),
    }
}

/// Bytes in the largest unit that shows them whole.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fitting = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{} {name}", bytes / unit))
}

fn shortened(model: &str) -> String {
    match model.char_indices().nth(MAX_MODEL_SHOWN) {
        Some((end, _)) => format!("{}…", model.get(..end).unwrap_or_default()),
        None => model.to_owned(),
    }
}
