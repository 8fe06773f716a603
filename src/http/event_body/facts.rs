//! What an error inside a stream is judged by.

use std::sync::Arc;

use crate::domain::classify::{AnswerHead, Judgement, WhoseCredential, Words, classify_answer};
use crate::domain::endpoint::Endpoint;
use crate::domain::hiding::without;
use crate::domain::limits::Limits;
use crate::domain::outcome_table::PathKind;
use crate::domain::peek::Wanted;
use crate::domain::rules::Rules;
use crate::domain::secret::Secret;
use crate::domain::sse::{Failure, StreamError};

/// The facts by which an error inside a stream is judged.
#[derive(Clone, Debug)]
pub(in crate::http) struct StreamFacts {
    pub(in crate::http) endpoint: Arc<Endpoint>,
    pub(in crate::http) path: PathKind,
    pub(in crate::http) status: u16,
    pub(in crate::http) credential: WhoseCredential,
    /// The model that was sent upstream.
    pub(in crate::http) model: Option<String>,
    pub(in crate::http) words: Words,
    /// The client's own credential, if the endpoint may repeat it in words that are kept.
    pub(in crate::http) clients_own: Vec<Secret>,
    /// What the answer's head said about limits.
    pub(in crate::http) limits: Limits,
    pub(in crate::http) rules: Rules,
}

impl StreamFacts {
    /// The failure without the gateway's own key, in case the endpoint repeats it.
    pub(in crate::http) fn without_key(&self, Failure { error, event }: Failure) -> Failure {
        let hidden = self.endpoint.hidden_in(error.body.into_bytes().into());
        let error = StreamError { body: String::from_utf8_lossy(&hidden).into_owned(), ..error };
        Failure { error, event: event.map(|event| self.endpoint.hidden_in(event)) }
    }

    /// Judges an error as if it had been the whole answer.
    pub(in crate::http) fn judge(&self, error: &StreamError) -> Judgement {
        let head = AnswerHead {
            status: self.status,
            content_type: Some("application/json"),
            credential: self.credential,
            wanted: Wanted::Stream,
            model: self.model.as_deref(),
            limits: &self.limits,
            rules: &self.rules,
        };
        let noted = without(self.clients_own.iter().map(Secret::expose), error.body.as_bytes());
        let noted = noted.as_deref().unwrap_or(error.body.as_bytes());
        classify_answer(self.path, &head, Some(noted), self.words)
    }
}
