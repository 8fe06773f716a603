//! Whether an answer is an event stream, whatever its headers say.

use std::pin::pin;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap};

use super::super::names;
use super::super::scope::AttemptScope;
use super::limit::Limit;
use super::{AttemptEnd, Task};
use crate::domain::classify::{is_event_stream, is_json};
use crate::domain::conversation::Manner;
use crate::domain::peek::Wanted;
use crate::upstream::{Content, Legibility};

/// An answer whose head has come.
pub(super) struct Begun<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a mut HeaderMap,
    pub(super) content: &'a mut Content,
    pub(super) legibility: Legibility,
}

impl Task<'_> {
    /// Settles whether the answer is an event stream, and until when it may take from here on. If a stream may have
    /// been asked for, or the answer is called one, its first bytes decide, and its headers are made to say the same:
    /// clients go by either.
    ///
    /// # Errors
    ///
    /// How the attempt has ended, if these bytes did not come in time.
    pub(super) async fn settle_kind(
        &self,
        answer: &mut Begun<'_>,
        limit: Limit,
        scope: &AttemptScope,
    ) -> Result<(bool, Limit), AttemptEnd> {
        let is_called_stream = is_event_stream(content_type(answer.headers));
        let is_looked_into =
            self.llm.is_some() && answer.status.is_success() && answer.legibility == Legibility::Readable;
        let may_be_otherwise = match self.wanted() {
            Wanted::Stream | Wanted::Unknown => true,
            Wanted::Whole => is_called_stream,
        };
        if !is_looked_into || !may_be_otherwise {
            return Ok((is_called_stream, self.limit_behind_head(answer.status, is_called_stream, limit, scope)));
        }
        if is_called_stream {
            scope.comes_in(Manner::Streamed);
        }
        // Until the first bytes decide, only an answer called JSON has the time of a whole one.
        let may_be_stream = !is_json(content_type(answer.headers));
        let until_told = self.limit_behind_head(answer.status, may_be_stream, limit, scope);
        let beginning = answer.content.beginning(|| scope.waits_for_endpoint(scope.now()));
        let Ok(beginning) = self.alarm.within(until_told.at, pin!(beginning)).await else {
            return Err(until_told.passed());
        };
        let is_stream = beginning.is_event_stream(is_called_stream);
        match (is_called_stream, is_stream) {
            (false, true) => {
                answer.headers.insert(CONTENT_TYPE, names::EVENT_STREAM);
            }
            (true, false) => {
                scope.comes_in(Manner::Whole);
                answer.headers.insert(CONTENT_TYPE, names::JSON);
            }
            (false, false) | (true, true) => {}
        }
        Ok((is_stream, self.limit_behind_head(answer.status, is_stream, limit, scope)))
    }

    /// The limit for the rest of an answer: a whole one has the time of a whole one, even if a stream was asked for.
    fn limit_behind_head(&self, status: StatusCode, is_stream: bool, limit: Limit, scope: &AttemptScope) -> Limit {
        let comes_whole = self.wanted() == Wanted::Stream && status.is_success() && !is_stream;
        if comes_whole { self.limit(Wanted::Whole, scope.began()) } else { limit }
    }
}

/// The content type that the headers name.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}
