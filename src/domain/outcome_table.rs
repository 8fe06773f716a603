//! The outcome table: what each class of answer or fault means for the endpoint, and what becomes of the request.
//!
//! [`classify`](super::classify) finds the class; everything that follows from it stands in this one table.

use super::outcome::{FailureKind, Fatal, Outcome, Reason};

/// Which rows of the table apply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// A path that runs a model: the whole table.
    Llm,
    /// The token counter: judged like the other LLM paths, but nothing of it ever counts against an endpoint.
    CountTokens,
    /// A path of `server.other_paths`: only `connect`, `timeout` and 5xx count, and 3xx and 4xx are passed on.
    Other,
}

impl PathKind {
    /// What an attempt's outcome means for the endpoint's health. A list of models, or a count of tokens, shows nothing about
    /// how the models work: it clears no failure.
    #[must_use]
    pub const fn for_health(self, outcome: Outcome) -> Outcome {
        match (self, outcome) {
            (Self::CountTokens | Self::Other, Outcome::Success) => Outcome::Neutral,
            (Self::Llm | Self::CountTokens | Self::Other, outcome) => outcome,
        }
    }
}

/// What came back from one attempt: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A whole 2xx answer, or a stream that is passed on.
    Success,
    /// The client's own credential was refused, or its own account is used up.
    ClientCredential,
    /// The account behind the gateway's credential is used up.
    Account,
    /// The gateway's credential is refused.
    Credential,
    /// 403 with the gateway's credential: a key, a region, a firewall or a model. Or 400: one credential too many.
    Forbidden,
    /// Usually 404: the endpoint lacks the model. Or 400 or 404: it lacks a part of the conversation that another account has.
    ModelMissing,
    /// 503 with which a relay says that it lacks the model.
    RelayModelMissing,
    /// 404, 405 or 501 on the token counter's path: the endpoint has no such counter.
    Unsupported,
    /// 408.
    RequestTimeout,
    /// 429.
    RateLimited,
    /// 529, or an `overloaded_error` with another error status; but not with 408 or 429.
    Overloaded,
    /// Any other 4xx in a protocol's error shape, and any 413, 414, 431. On other paths any 3xx and 4xx.
    ClientError,
    /// Any other 4xx: a wrong base URL, a portal, a firewall.
    NotTheApi,
    /// Any 3xx, for the same reasons.
    Redirected,
    /// Any other 5xx.
    UpstreamStatus,
    /// A 2xx that is no answer of the protocol, or an incomplete body.
    Body,
    /// No answer could begin: refused, DNS, TLS, reset before the head, a head that can't be read.
    Connect,
    /// The gateway had no file left for a connection, which is no endpoint's fault.
    OutOfFiles,
    /// No connection could be opened, because the machine has no port left for one to this endpoint.
    OutOfPorts,
    /// Nothing came within a time-out.
    Timeout,
    /// An event stream that broke off, ended without its closing event or fell silent.
    Stream,
    /// The client went away.
    Cancelled,
}

/// What becomes of the request after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// This answer is the answer.
    Answer,
    /// The next endpoint, provided that nothing of an answer has reached the client.
    Elsewhere(LastResort),
    /// No client is left to answer.
    Stop,
}

/// The answer of a failed attempt that may be passed on if no endpoint does better, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LastResort {
    /// A 4xx. It also ends the attempts once every endpoint was asked, since the same endpoints would say the same again.
    ClientError,
    /// A 5xx or a redirection.
    ServerError,
    /// A 429.
    RateLimit,
    /// Not this answer but the gateway's own 503, with the provider's message: clients give up on a 529 within seconds.
    Overload,
    /// Nothing: there is no answer, or one that would tell clients that their own key is wrong.
    Never,
}

/// The consequences of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What it means for the endpoint.
    pub outcome: Outcome,
    /// What becomes of the request.
    pub next: Next,
}

const fn rule(outcome: Outcome, next: Next) -> Rule {
    Rule { outcome, next }
}

impl Class {
    /// Every class, in the order of the table.
    pub const ALL: [Self; 22] = [
        Self::Success,
        Self::ClientCredential,
        Self::Account,
        Self::Credential,
        Self::Forbidden,
        Self::ModelMissing,
        Self::RelayModelMissing,
        Self::Unsupported,
        Self::RequestTimeout,
        Self::RateLimited,
        Self::Overloaded,
        Self::ClientError,
        Self::NotTheApi,
        Self::Redirected,
        Self::UpstreamStatus,
        Self::Body,
        Self::Connect,
        Self::OutOfFiles,
        Self::OutOfPorts,
        Self::Timeout,
        Self::Stream,
        Self::Cancelled,
    ];

    /// What follows from this class for a request of this kind.
    #[must_use]
    pub const fn rule(self, path: PathKind) -> Rule {
        let Rule { outcome, next } = self.row();
        rule(on_path(outcome, path), next)
    }

    /// The table itself, as it stands for the paths that run a model.
    #[expect(clippy::match_same_arms, reason = "one line is one row of the table")]
    const fn row(self) -> Rule {
        use Next::{Answer, Elsewhere, Stop};
        use Outcome::{Cancelled, Failure, Neutral, Success};
        match self {
            Self::Success => rule(Success, Answer),
            Self::ClientCredential => rule(Neutral, Answer),
            Self::Account => rule(Outcome::Fatal(Fatal::Account), Elsewhere(LastResort::Never)),
            Self::Credential => rule(Outcome::Fatal(Fatal::Credential), Elsewhere(LastResort::Never)),
            Self::Forbidden => rule(Neutral, Elsewhere(LastResort::ClientError)),
            Self::ModelMissing => rule(Neutral, Elsewhere(LastResort::ClientError)),
            Self::RelayModelMissing => rule(Neutral, Elsewhere(LastResort::ServerError)),
            Self::Unsupported => rule(Neutral, Elsewhere(LastResort::ClientError)),
            Self::RequestTimeout => rule(Failure(FailureKind::Timeout), Elsewhere(LastResort::ClientError)),
            Self::RateLimited => rule(Neutral, Elsewhere(LastResort::RateLimit)),
            Self::Overloaded => rule(Neutral, Elsewhere(LastResort::Overload)),
            Self::ClientError => rule(Neutral, Answer),
            Self::NotTheApi => rule(Failure(FailureKind::UpstreamStatus), Elsewhere(LastResort::ClientError)),
            Self::Redirected => rule(Failure(FailureKind::UpstreamStatus), Elsewhere(LastResort::ServerError)),
            Self::UpstreamStatus => rule(Failure(FailureKind::UpstreamStatus), Elsewhere(LastResort::ServerError)),
            Self::Body => rule(Failure(FailureKind::Body), Elsewhere(LastResort::Never)),
            Self::Connect => rule(Failure(FailureKind::Connect), Elsewhere(LastResort::Never)),
            Self::OutOfFiles => rule(Neutral, Elsewhere(LastResort::Never)),
            Self::OutOfPorts => rule(Neutral, Elsewhere(LastResort::Never)),
            Self::Timeout => rule(Failure(FailureKind::Timeout), Elsewhere(LastResort::Never)),
            Self::Stream => rule(Failure(FailureKind::Stream), Elsewhere(LastResort::Never)),
            Self::Cancelled => rule(Cancelled, Stop),
        }
    }

    /// Whether an error of this class is the client's own fault: that of its request or its credential.
    #[must_use]
    pub const fn is_the_clients_fault(self) -> bool {
        matches!(self, Self::ClientCredential | Self::ClientError) || self.lacks_what_is_asked()
    }

    /// Whether the endpoint lacks what was asked for: the model, or a token counter.
    #[must_use]
    pub const fn lacks_what_is_asked(self) -> bool {
        matches!(self, Self::ModelMissing | Self::RelayModelMissing | Self::Unsupported)
    }

    /// The reason for which the endpoint is isolated if it fails the second opinion that such an answer calls for. `None` if it
    /// calls for none.
    #[must_use]
    pub const fn opinion(self, path: PathKind) -> Option<Reason> {
        match path {
            PathKind::Llm if matches!(self, Self::Forbidden) => Some(Reason::Credential),
            PathKind::Llm | PathKind::CountTokens | PathKind::Other => None,
        }
    }

    /// The word for this class in trails and logs. A trail shows the status instead if that tells more.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "ok",
            Self::ClientCredential => "client_credential",
            Self::Account => "account",
            Self::Credential => "credential",
            Self::Forbidden => "forbidden",
            Self::ModelMissing | Self::RelayModelMissing => "model",
            Self::Unsupported => "unsupported",
            Self::RequestTimeout | Self::Timeout => "timeout",
            Self::RateLimited => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::ClientError => "client",
            Self::NotTheApi | Self::Redirected | Self::UpstreamStatus => "upstream_status",
            Self::Body => "body",
            Self::Connect => "connect",
            Self::OutOfFiles => "out_of_files",
            Self::OutOfPorts => "out_of_ports",
            Self::Stream => "stream",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the status tells more than the word: not for a success, nor if the fault is not in the status.
    pub(super) const fn is_told_by_status(self) -> bool {
        match self {
            Self::Success
            | Self::Body
            | Self::Connect
            | Self::OutOfFiles
            | Self::OutOfPorts
            | Self::Timeout
            | Self::Stream
            | Self::Cancelled => false,
            Self::ClientCredential
            | Self::Account
            | Self::Credential
            | Self::Forbidden
            | Self::ModelMissing
            | Self::RelayModelMissing
            | Self::Unsupported
            | Self::RequestTimeout
            | Self::RateLimited
            | Self::Overloaded
            | Self::ClientError
            | Self::NotTheApi
            | Self::Redirected
            | Self::UpstreamStatus => true,
        }
    }
}

/// What an outcome counts as on this kind of path: not the whole table applies to all.
const fn on_path(outcome: Outcome, path: PathKind) -> Outcome {
    let counts = match outcome {
        Outcome::Success | Outcome::Neutral | Outcome::Cancelled => return outcome,
        Outcome::Failure(FailureKind::Connect | FailureKind::Timeout | FailureKind::UpstreamStatus) => match path {
            PathKind::Llm | PathKind::Other => true,
            PathKind::CountTokens => false,
        },
        Outcome::Failure(FailureKind::Body | FailureKind::Stream) | Outcome::Fatal(_) => match path {
            PathKind::Llm => true,
            PathKind::Other | PathKind::CountTokens => false,
        },
    };
    if counts { outcome } else { Outcome::Neutral }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_token_counter_counts_against_an_endpoint() {
        for class in Class::ALL {
            let outcome = class.rule(PathKind::CountTokens).outcome;
            assert!(matches!(outcome, Outcome::Success | Outcome::Neutral | Outcome::Cancelled), "{class:?}");
        }
    }

    #[test]
    fn on_other_paths_only_connect_timeout_and_server_errors_count() {
        for class in Class::ALL {
            let counts = matches!(class.rule(PathKind::Other).outcome, Outcome::Failure(_) | Outcome::Fatal(_));
            // The 4xx and 3xx classes among these are never found on other paths: `classify` passes such answers on.
            let may_count = matches!(
                class,
                Class::Connect
                    | Class::Timeout
                    | Class::UpstreamStatus
                    | Class::RequestTimeout
                    | Class::NotTheApi
                    | Class::Redirected
            );
            assert_eq!(counts, may_count, "{class:?}");
        }
    }

    #[test]
    fn only_a_403_of_a_models_path_calls_for_a_second_opinion() {
        for class in Class::ALL {
            for path in [PathKind::Llm, PathKind::CountTokens, PathKind::Other] {
                let is_called_for = class == Class::Forbidden && path == PathKind::Llm;
                assert_eq!(class.opinion(path), is_called_for.then_some(Reason::Credential), "{class:?} {path:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_isolates_by_itself_is_never_passed_on() {
        for class in Class::ALL {
            let rule = class.rule(PathKind::Llm);
            if matches!(rule.outcome, Outcome::Fatal(_)) {
                assert_eq!(rule.next, Next::Elsewhere(LastResort::Never), "{class:?}");
            }
        }
    }

    #[test]
    fn what_is_answered_at_once_never_counts_as_a_failure() {
        for class in Class::ALL {
            let rule = class.rule(PathKind::Llm);
            if rule.next == Next::Answer {
                assert!(matches!(rule.outcome, Outcome::Success | Outcome::Neutral), "{class:?}");
            }
        }
    }

    #[test]
    fn a_client_error_in_hand_is_preferred_to_a_server_error_and_that_to_a_rate_limit() {
        assert!(LastResort::ClientError < LastResort::ServerError);
        assert!(LastResort::ServerError < LastResort::RateLimit);
    }
}
