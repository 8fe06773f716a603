//! What an answer counts as, and what part of it is passed on.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;

use super::super::body::{BodyKind, Passing, PassingBytes};
use super::super::event_body::{BreakAs, PassingEvents, StreamFacts};
use super::super::gate::{AtGate, GateTimes, wait_at_gate};
use super::super::names;
use super::super::scope::AttemptScope;
use super::super::times::present;
use super::{AttemptEnd, Flow, Flowing, Task, WholeAnswer, fault};
use crate::domain::classify::{AnswerHead, Judgement, Words, classify_answer};
use crate::domain::conversation::Manner;
use crate::domain::error_object::ErrorObject;
use crate::domain::hiding::without;
use crate::domain::json_end::JsonEnd;
use crate::domain::outcome_table::{Class, LastResort, Next, PathKind};
use crate::domain::peek::{Peek, Wanted};
use crate::domain::pieces::Pieces;
use crate::domain::route::LlmPath;
use crate::domain::secret::Secret;
use crate::domain::sse::{Expected, Failure, Format, StreamError, as_events};
use crate::domain::usage::{AnswerEnd, Usage};
use crate::upstream::{Content, Legibility};

impl Task<'_> {
    /// Holds a stream back until it has something worth passing on.
    pub(super) async fn judge_stream(
        &self,
        flow: Flow,
        head: &AnswerHead<'_>,
        path: LlmPath,
        mut content: Content,
        success: Judgement,
        scope: &AttemptScope,
    ) -> AttemptEnd {
        scope.comes_in(Manner::Streamed);
        if flow.legibility == Legibility::Coded {
            return fault(Class::Body, "an event stream in a coding that was not asked for");
        }
        let format = Format::of(path);
        let expected = Expected { format, choices: self.choices(format) };
        let times = GateTimes { first_event: flow.limit.at, first_content: self.times.first_content };
        let facts = StreamFacts {
            endpoint: Arc::clone(scope.endpoint()),
            path: self.path(),
            status: head.status,
            credential: head.credential,
            model: head.model.map(str::to_owned),
            words: self.words,
            clients_own: self.clients_own(scope),
            limits: head.limits.clone(),
            rules: self.rules.clone(),
        };
        let mut share = None;
        let hold = |length| self.hold(length, &mut share);
        match wait_at_gate(&mut content, expected, times, scope, &self.alarm, hold).await {
            AtGate::Open(relay) => {
                let passing = Passing::Events(PassingEvents {
                    relay,
                    share,
                    format,
                    facts,
                    judgement: success,
                    break_as: BreakAs::of(self.on_break, self.request.headers),
                    idle: self.times.stream_idle,
                });
                let Flow { status, headers, .. } = flow;
                AttemptEnd::Flowing(Box::new(Flowing { status, headers, content, passing }))
            }
            AtGate::Failed(failure) => {
                let Failure { error, .. } = facts.without_key(failure);
                let judgement = facts.judge(&error);
                let answer = error_answer(flow, error, judgement.class);
                self.conclude(judgement, answer)
            }
            AtGate::Broken(note) => fault(Class::Stream, &note),
            AtGate::TooSlow => flow.limit.passed(),
        }
    }

    /// The client's own credential, if the endpoint may repeat it in words that are kept.
    fn clients_own(&self, scope: &AttemptScope) -> Vec<Secret> {
        match self.words {
            Words::Left => Vec::new(),
            Words::Kept => self.request.passed_through(scope.endpoint()),
        }
    }

    /// How many choices the answer should have.
    fn choices(&self, format: Format) -> u32 {
        let Peek { choices, prompts, .. } = &self.request.peek;
        let of_each = choices.unwrap_or(1);
        match format {
            Format::Completions => of_each.saturating_mul(prompts.unwrap_or(1)),
            Format::Messages | Format::Chat | Format::Responses => of_each,
        }
    }

    /// Judges an answer that was read to its end.
    pub(super) fn judge_whole(
        &self,
        flow: Flow,
        head: &AnswerHead<'_>,
        mut whole: Bytes,
        scope: &AttemptScope,
    ) -> AttemptEnd {
        let can_be_read = self.llm.is_none() || flow.legibility == Legibility::Readable;
        let clients_own = self.clients_own(scope);
        let judge = |whole: &Bytes| {
            // The client's own credential may go back to the client, and nowhere else.
            let noted = without(clients_own.iter().map(Secret::expose), whole);
            let noted = noted.as_deref().unwrap_or(whole);
            classify_answer(self.path(), head, can_be_read.then_some(noted), self.words)
        };
        let mut judgement = judge(&whole);
        // Some upstreams repeat the key they were shown. This one is the operator's: it must appear neither in an answer
        // nor in a note.
        if judgement.class != Class::Success
            && let Some(hidden) = scope.endpoint().without_secrets(&whole)
        {
            whole = hidden.into();
            judgement = judge(&whole);
        }
        if self.is_answer(&judgement, flow.legibility) {
            scope.costs(Usage::of_answer(&whole));
        }
        let Flow { status, headers, share, .. } = flow;
        let answer = WholeAnswer { status, headers, body: whole, class: judgement.class, share };
        match self.stream_that_was_wanted() {
            Some(format) if judgement.class == Class::Success && can_be_read => {
                self.as_stream(format, answer, judgement)
            }
            Some(_) | None => self.conclude(judgement, answer),
        }
    }

    /// Judges an error whose body was not read to its end: the status says enough, and the part that came may still be a
    /// whole error object. Without one, nothing of the body is passed on.
    pub(super) fn judge_torn(
        &self,
        mut flow: Flow,
        head: &AnswerHead<'_>,
        come: Bytes,
        scope: &AttemptScope,
    ) -> AttemptEnd {
        if flow.legibility == Legibility::Readable && ErrorObject::of_answer(head.status, &come).is_some() {
            flow.headers.remove(CONTENT_LENGTH);
            return self.judge_whole(flow, head, come, scope);
        }
        let judgement = classify_answer(self.path(), head, Some(b""), self.words);
        let answer = flow.bodiless(judgement.class);
        self.conclude(judgement, answer)
    }

    /// Whether it is a model's answer, which tells its usage.
    fn is_answer(&self, judgement: &Judgement, legibility: Legibility) -> bool {
        self.path() == PathKind::Llm && judgement.class == Class::Success && legibility == Legibility::Readable
    }

    /// The format of the stream that was asked for, if a whole answer can be turned into one.
    fn stream_that_was_wanted(&self) -> Option<Format> {
        match (self.wanted(), self.llm?) {
            (Wanted::Stream, path @ (LlmPath::Messages | LlmPath::ChatCompletions | LlmPath::Responses)) => {
                Some(Format::of(path))
            }
            (Wanted::Stream, LlmPath::CountTokens | LlmPath::Completions | LlmPath::Embeddings)
            | (Wanted::Whole | Wanted::Unknown, _) => None,
        }
    }

    /// Turns a whole answer into the events that it stands for, as a stream was asked for.
    fn as_stream(&self, format: Format, mut answer: WholeAnswer, judgement: Judgement) -> AttemptEnd {
        let Some(events) = as_events(format, &answer.body, self.request.peek.include_usage) else {
            // A Responses object may also be one that has only been started.
            if format == Format::Responses {
                return AttemptEnd::Whole(answer, judgement);
            }
            return fault(Class::Body, "a JSON object that is no answer, where an event stream was asked for");
        };
        answer.headers.insert(CONTENT_TYPE, names::EVENT_STREAM);
        answer.headers.insert(names::ACCEL_BUFFERING, HeaderValue::from_static("no"));
        // It is in memory already: if the budget is exceeded, the next to ask is refused.
        let _ = self.hold(events.len(), &mut answer.share);
        answer.body = Bytes::from(events);
        AttemptEnd::Whole(answer, judgement)
    }

    /// Decides by the outcome table what becomes of a whole answer.
    fn conclude(&self, judgement: Judgement, mut answer: WholeAnswer) -> AttemptEnd {
        if let Some(told) = judgement.status.and_then(|status| StatusCode::from_u16(status).ok()) {
            answer.status = told;
        }
        match judgement.rule(self.path()).next {
            Next::Answer | Next::Stop => AttemptEnd::Whole(answer, judgement),
            Next::Elsewhere(LastResort::Never) => AttemptEnd::Failed(judgement, None),
            Next::Elsewhere(rank) => AttemptEnd::Failed(judgement, Some((rank, answer))),
        }
    }

    /// Passes an answer on as it comes, if its judgement allows. If it is only kept as a last resort, just its head is
    /// kept.
    pub(super) fn pass_or_fail(&self, flow: Flow, held: Pieces, content: Content, judgement: Judgement) -> AttemptEnd {
        match judgement.rule(self.path()).next {
            Next::Elsewhere(_) => {
                let answer = flow.bodiless(judgement.class);
                self.conclude(judgement, answer)
            }
            Next::Answer | Next::Stop => {
                let time_left = flow.limit.at.saturating_duration_since(present());
                let idle = self.times.stream_idle;
                let kind = if flow.is_stream { BodyKind::EventStream { idle } } else { BodyKind::Plain };
                let is_answer = self.is_answer(&judgement, flow.legibility);
                let mut end = is_answer.then(AnswerEnd::default);
                let mut proof = (is_answer && content.ends_with_connection()).then(JsonEnd::default);
                for piece in held.iter() {
                    if let Some(end) = &mut end {
                        end.push(piece);
                    }
                    if let Some(proof) = &mut proof {
                        proof.push(piece);
                    }
                }
                let whose = flow.limit.whose;
                let Flow { status, headers, share, .. } = flow;
                let passing =
                    Passing::Bytes(PassingBytes { held, share, kind, judgement, time_left, whose, end, proof });
                AttemptEnd::Flowing(Box::new(Flowing { status, headers, content, passing }))
            }
        }
    }
}

/// A stream's error as the whole answer that it would have been.
fn error_answer(flow: Flow, error: StreamError, class: Class) -> WholeAnswer {
    let mut headers = flow.headers;
    headers.insert(CONTENT_TYPE, names::JSON);
    headers.remove(CONTENT_ENCODING);
    WholeAnswer { status: flow.status, headers, body: Bytes::from(error.body), class, share: None }
}
