//! The result of a test conversation, for display. It proves nothing: the proof goes to the registry.

use std::time::Duration;

use super::challenge::Verdict;
use super::conversation::Tokens;
use super::endpoint::{Endpoint, SharedEndpoint};
use super::time::Moment;

/// The result of a conversation, as admins and logs see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Whether the code came back.
    pub ok: bool,
    /// The answer's status, if one came.
    pub status: Option<u16>,
    /// The type of the error, if the answer was one.
    pub error_type: Option<String>,
    /// How long the conversation took.
    pub elapsed: Duration,
    /// 0 to 100; 0 for a conversation that failed.
    pub score: u8,
    /// What it cost.
    pub tokens: Tokens,
    /// What was wrong.
    pub error: Option<String>,
}

impl Verification {
    /// The result of a conversation that was cut short, because its endpoint moved meanwhile or the verifier stopped.
    pub fn interrupted() -> Self {
        Self {
            ok: false,
            status: None,
            error_type: None,
            elapsed: Duration::ZERO,
            score: 0,
            tokens: Tokens::default(),
            error: Some("the verification was broken off, because the endpoint moved or the gateway stops".to_owned()),
        }
    }

    /// The result of a verdict, without its proof.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Proven(proof) => Self {
                ok: true,
                status: Some(proof.status()),
                error_type: None,
                elapsed: proof.elapsed(),
                score: proof.score(),
                tokens: proof.tokens(),
                error: None,
            },
            Verdict::Unproven(unproven) => Self {
                ok: false,
                status: unproven.status,
                error_type: unproven.error_type.clone(),
                elapsed: unproven.elapsed,
                score: 0,
                tokens: unproven.tokens,
                error: Some(unproven.error.to_string()),
            },
        }
    }
}

/// The latest verification of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct LastVerification {
    /// The service that was asked. The result says nothing about another service that gets the same name.
    pub service: SharedEndpoint,
    /// When it ended.
    pub at: Moment,
    /// Its result.
    pub result: Verification,
}

impl LastVerification {
    /// This verification, if it is of this service.
    #[must_use]
    pub fn about(&self, service: &Endpoint) -> Option<&Self> {
        self.service.same_service(service).then_some(self)
    }
}
