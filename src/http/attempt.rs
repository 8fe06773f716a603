//! One attempt: the request goes to one endpoint, and what comes back is judged.

use std::pin::pin;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::Instant;

use super::alarm::{Alarm, Overdue};
use super::body::{BodyKind, Passing, PassingBytes};
use super::event_body::{BreakAs, PassingEvents, StreamFacts};
use super::gate::{AtGate, GateTimes, wait_at_gate};
use super::names;
use super::scope::AttemptScope;
use super::times::{AttemptTimes, Patience, after, present};
use crate::domain::classify::{
    AnswerHead, Judgement, WhoseCredential, Words, classify_answer, classify_stream_head, is_event_stream,
};
use crate::domain::conversation::Manner;
use crate::domain::endpoint::{Auth, Endpoint};
use crate::domain::error_object::ErrorObject;
use crate::domain::json_end::JsonEnd;
use crate::domain::outcome_table::{Class, LastResort, Next, PathKind};
use crate::domain::peek::{Peek, Wanted};
use crate::domain::pieces::Pieces;
use crate::domain::route::LlmPath;
use crate::domain::rules::Rules;
use crate::domain::sse::{Expected, Failure, Format, StreamError, as_events};
use crate::domain::usage::{AnswerEnd, Usage};
use crate::settings::OnBreak;
use crate::upstream::{BodyError, Client, ClientRequest, Content, ContentError, Legibility, SendError};

/// An answer up to this size is held whole and judged before anything of it is passed on.
const HELD_WHOLE: usize = 4 << 20;

/// What all attempts of a request have in common.
pub(super) struct Task<'a> {
    pub(super) request: ClientRequest<'a>,
    /// What looks again when an attempt is overdue.
    pub(super) alarm: Alarm,
    /// The model's path; none for a path of `server.other_paths`.
    pub(super) llm: Option<LlmPath>,
    pub(super) times: AttemptTimes,
    pub(super) words: Words,
    pub(super) rules: &'a Rules,
    pub(super) on_break: OnBreak,
}

/// A whole answer that may be passed on.
pub(super) struct WholeAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer that is to be passed on as it comes.
pub(super) struct Flowing {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
    pub(super) passing: Passing,
}

/// How an attempt ended, as far as the request is concerned.
pub(super) enum AttemptEnd {
    /// This is the answer, all of it.
    Whole(WholeAnswer, Judgement),
    /// This is the answer, to be passed on as it comes.
    Flowing(Box<Flowing>),
    /// Not an answer to rely on; it may be the best there is, though.
    Failed(Judgement, Option<(LastResort, WholeAnswer)>),
    /// The endpoint moved before anything was written.
    Withdrawn,
    /// The client's own time is up, which says nothing about the endpoint.
    ClientOutOfTime,
    /// The request can't be written as it is.
    Unsendable,
}

impl AttemptEnd {
    /// The same, where it is a failure, seen in an answer of this manner at least.
    fn seen_in(self, manner: Manner) -> Self {
        match self {
            Self::Failed(judgement, answer) => Self::Failed(judgement.seen_in(manner), answer),
            Self::Whole(answer, judgement) => Self::Whole(answer, judgement.seen_in(manner)),
            Self::Flowing(_) | Self::Withdrawn | Self::ClientOutOfTime | Self::Unsendable => self,
        }
    }
}

impl Task<'_> {
    /// Which rows of the outcome table hold for it.
    pub(super) fn path(&self) -> PathKind {
        self.llm.map_or(PathKind::Other, LlmPath::kind)
    }

    fn wanted(&self) -> Wanted {
        if self.llm.is_some() { self.request.peek.wanted } else { Wanted::Whole }
    }

    /// When the head of an attempt that began at this moment is overdue; of a whole answer also its end.
    fn limit(&self, began: Instant) -> Limit {
        let (time, too_slow) = match self.wanted() {
            Wanted::Stream => (self.times.first_event, "no answer within first_event"),
            Wanted::Whole | Wanted::Unknown => (self.times.response, "no whole answer within response"),
        };
        let ours = after(began, time);
        let client_leaves = self.times.client_leaves.filter(|_| self.wanted() != Wanted::Stream);
        match client_leaves.filter(|leaves| *leaves < ours) {
            // A client that waits nearly as long as the operator would is no less patient than that.
            Some(leaves) if ours.duration_since(leaves) > time / 10 => {
                Limit { at: leaves, whose: Patience::Client, too_slow }
            }
            Some(leaves) => Limit { at: leaves, whose: Patience::Gateway, too_slow },
            None => Limit { at: ours, whose: Patience::Gateway, too_slow },
        }
    }

    /// Sends the request to the attempt's endpoint and judges what comes back.
    pub(super) async fn attempt(&self, client: &Client, scope: &AttemptScope) -> AttemptEnd {
        match self.wanted() {
            Wanted::Stream => scope.comes_in(Manner::Either),
            Wanted::Whole | Wanted::Unknown => {}
        }
        self.exchange(client, scope).await.seen_in(scope.manner())
    }

    async fn exchange(&self, client: &Client, scope: &AttemptScope) -> AttemptEnd {
        let endpoint = scope.endpoint();
        let limit = self.limit(scope.began());
        if limit.whose == Patience::Client && limit.at <= present() {
            // Nobody would wait for the answer, but somebody would pay for it.
            return limit.passed();
        }
        let mut request = self.request.for_endpoint(endpoint);
        scope.mark(&mut request.headers);
        let sent = {
            let sending = pin!(client.send(request, scope.lease(), self.times.connect));
            self.alarm.within(limit.at, sending).await
        };
        let mut response = match sent {
            Err(Overdue) => return limit.passed(),
            Ok(Err(SendError::Withdrawn)) => return AttemptEnd::Withdrawn,
            Ok(Err(SendError::InvalidTarget)) => return AttemptEnd::Unsendable,
            Ok(Err(error @ SendError::OutOfFiles)) => return fault(Class::OutOfFiles, &error.to_string()),
            Ok(Err(error @ SendError::OutOfPorts)) => return fault(Class::OutOfPorts, &error.to_string()),
            Ok(Err(error @ SendError::ConnectTimeout)) => return fault(Class::Timeout, &error.to_string()),
            Ok(Err(error)) => return fault(Class::Connect, &error.to_string()),
            Ok(Ok(response)) => response,
        };
        let now = scope.now();
        scope.waits_for_endpoint(now);
        hide_secrets(&mut response.headers, endpoint);
        scope.answered(response.status.as_u16(), &response.headers);
        let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let limits = scope.limits(&response.headers);
        let head = AnswerHead {
            status: response.status.as_u16(),
            content_type: content_type.as_deref(),
            credential: match endpoint.auth {
                Auth::Passthrough => WhoseCredential::Client,
                Auth::Own { .. } | Auth::Missing => WhoseCredential::Gateway,
            },
            wanted: self.wanted(),
            model: self.request.model_for(endpoint),
            limits: &limits,
            rules: self.rules,
        };
        let is_stream = is_event_stream(head.content_type);
        let mut headers = response.headers;
        let (mut content, legibility) = match self.llm {
            None => (Content::untouched(response.body), Legibility::Readable),
            Some(_) => match Content::decoded(response.body, &mut headers) {
                Ok(decoded) => decoded,
                Err(error) => return fault(Class::Body, &error.to_string()),
            },
        };
        let flow = Flow { status: response.status, headers, limit, is_stream, legibility };
        let by_head = classify_stream_head(self.path(), &head);
        match (self.llm, by_head) {
            (Some(path), Some(success)) if success.class == Class::Success => {
                // Neither kind of answer is to need the room of the other.
                Box::pin(self.judge_stream(flow, &head, path, content, success, scope)).await
            }
            (_, Some(judgement)) => self.pass_or_fail(flow, Pieces::default(), content, judgement),
            (None, None) if head.status < 500 => {
                let judgement = classify_answer(self.path(), &head, None, self.words);
                self.pass_or_fail(flow, Pieces::default(), content, judgement)
            }
            (_, None) => {
                let mut pieces = Pieces::default();
                match read_whole(&mut content, &mut pieces, flow.limit, scope, &self.alarm).await {
                    // What can't be looked into proves nothing.
                    Reading::Unclosed if flow.status.is_success() && flow.legibility == Legibility::Coded => {
                        fault(Class::Body, &BodyError::Unclosed.to_string())
                    }
                    Reading::Whole | Reading::Unclosed => self.judge_whole(flow, &head, pieces.into_one(), scope),
                    Reading::TooLarge => {
                        let judgement = classify_answer(self.path(), &head, None, self.words);
                        self.pass_or_fail(flow, pieces, content, judgement)
                    }
                    Reading::Late if flow.limit.whose == Patience::Client => flow.limit.passed(),
                    Reading::Late if flow.status.is_success() => flow.limit.passed(),
                    Reading::Broken(error) if flow.status.is_success() => fault(Class::Body, &error.to_string()),
                    Reading::Late | Reading::Broken(_) => self.judge_torn(flow, &head, pieces.into_one(), scope),
                }
            }
        }
    }

    /// Holds a stream back until there is something in it that is worth passing on.
    async fn judge_stream(
        &self,
        mut flow: Flow,
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
            limits: head.limits.clone(),
            rules: self.rules.clone(),
        };
        match wait_at_gate(&mut content, expected, times, scope, &self.alarm).await {
            AtGate::Open(relay) => {
                let passing = Passing::Events(PassingEvents {
                    relay,
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
                self.conclude(judgement, error_answer(flow, error))
            }
            AtGate::Broken(note) => fault(Class::Stream, &note),
            AtGate::Whole(whole) => {
                scope.comes_in(Manner::Whole);
                let json = HeaderValue::from_static("application/json");
                flow.headers.insert(CONTENT_TYPE, json);
                let head = AnswerHead { content_type: Some("application/json"), ..*head };
                self.judge_whole(flow, &head, whole, scope)
            }
            AtGate::TooSlow => flow.limit.passed(),
        }
    }

    /// How many choices the answer is to have.
    fn choices(&self, format: Format) -> u32 {
        let Peek { choices, prompts, .. } = &self.request.peek;
        let of_each = choices.unwrap_or(1);
        match format {
            Format::Completions => of_each.saturating_mul(prompts.unwrap_or(1)),
            Format::Messages | Format::Chat | Format::Responses => of_each,
        }
    }

    /// Judges an answer that has come whole.
    fn judge_whole(&self, flow: Flow, head: &AnswerHead<'_>, mut whole: Bytes, scope: &AttemptScope) -> AttemptEnd {
        let can_be_read = self.llm.is_none() || flow.legibility == Legibility::Readable;
        let judge = |whole: &Bytes| classify_answer(self.path(), head, can_be_read.then_some(&**whole), self.words);
        let mut judgement = judge(&whole);
        // Some repeat the key that they were shown, and this one is the operator's: it is neither in an answer nor in a note.
        if judgement.class != Class::Success
            && let Some(hidden) = scope.endpoint().without_secrets(&whole)
        {
            whole = hidden.into();
            judgement = judge(&whole);
        }
        if self.is_answer(&judgement, flow.legibility) {
            scope.costs(Usage::of_answer(&whole));
        }
        let answer = WholeAnswer { status: flow.status, headers: flow.headers, body: whole };
        match self.stream_that_was_wanted() {
            Some(format) if judgement.class == Class::Success && can_be_read => {
                self.as_stream(format, answer, judgement)
            }
            Some(_) | None => self.conclude(judgement, answer),
        }
    }

    /// Judges an error whose body has not come whole, as its framing has it: the status has said enough, and an error object may be
    /// there all the same. Where there is none, nothing of the body is passed on.
    fn judge_torn(&self, mut flow: Flow, head: &AnswerHead<'_>, come: Bytes, scope: &AttemptScope) -> AttemptEnd {
        if flow.legibility == Legibility::Readable && ErrorObject::of_answer(head.status, &come).is_some() {
            flow.headers.remove(CONTENT_LENGTH);
            return self.judge_whole(flow, head, come, scope);
        }
        let judgement = classify_answer(self.path(), head, Some(b""), self.words);
        match judgement.rule(self.path()).next {
            Next::Elsewhere(_) => AttemptEnd::Failed(judgement, None),
            Next::Answer | Next::Stop => {
                for described in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
                    flow.headers.remove(described);
                }
                let answer = WholeAnswer { status: flow.status, headers: flow.headers, body: Bytes::new() };
                AttemptEnd::Whole(answer, judgement)
            }
        }
    }

    /// Whether it is a model's answer, which says what it has cost.
    fn is_answer(&self, judgement: &Judgement, legibility: Legibility) -> bool {
        self.path() == PathKind::Llm && judgement.class == Class::Success && legibility == Legibility::Readable
    }

    /// How the stream was to be written in which a whole answer can be passed on all the same.
    fn stream_that_was_wanted(&self) -> Option<Format> {
        match (self.wanted(), self.llm?) {
            (Wanted::Stream, path @ (LlmPath::Messages | LlmPath::ChatCompletions | LlmPath::Responses)) => {
                Some(Format::of(path))
            }
            (Wanted::Stream, LlmPath::CountTokens | LlmPath::Completions | LlmPath::Embeddings)
            | (Wanted::Whole | Wanted::Unknown, _) => None,
        }
    }

    /// A whole answer, where a stream was asked for: as the events that it stands for.
    fn as_stream(&self, format: Format, mut answer: WholeAnswer, judgement: Judgement) -> AttemptEnd {
        let Some(events) = as_events(format, &answer.body, self.request.peek.include_usage) else {
            // A response may also be one that has only been begun.
            if format == Format::Responses {
                return AttemptEnd::Whole(answer, judgement);
            }
            return fault(Class::Body, "a JSON object that is no answer, where an event stream was asked for");
        };
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        answer.headers.insert(names::ACCEL_BUFFERING, HeaderValue::from_static("no"));
        answer.body = Bytes::from(events);
        AttemptEnd::Whole(answer, judgement)
    }

    /// What the table says of a whole answer.
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

    /// Passes an answer on as it comes, if that is what its head calls for.
    fn pass_or_fail(&self, flow: Flow, held: Pieces, content: Content, judgement: Judgement) -> AttemptEnd {
        match judgement.rule(self.path()).next {
            Next::Elsewhere(_) => AttemptEnd::Failed(judgement, None),
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
                let passing = Passing::Bytes(PassingBytes { held, kind, judgement, time_left, whose, end, proof });
                let Flow { status, headers, .. } = flow;
                AttemptEnd::Flowing(Box::new(Flowing { status, headers, content, passing }))
            }
        }
    }
}

/// How the reading of an answer has ended.
enum Reading {
    /// At the answer's end.
    Whole,
    /// That it is whole is proved by its JSON alone, for TLS was not closed as it should be.
    Unclosed,
    /// With more of it than is held.
    TooLarge,
    /// It took too long.
    Late,
    /// Before the answer's end.
    Broken(ContentError),
}

/// Reads an answer to its end, as far as it is to be held.
async fn read_whole(
    content: &mut Content,
    pieces: &mut Pieces,
    limit: Limit,
    scope: &AttemptScope,
    alarm: &Alarm,
) -> Reading {
    loop {
        match alarm.within(limit.at, pin!(content.next())).await {
            Err(Overdue) => return Reading::Late,
            Ok(None) => return Reading::Whole,
            Ok(Some(Err(ContentError::Body(BodyError::Unclosed)))) => return Reading::Unclosed,
            Ok(Some(Err(error))) => return Reading::Broken(error),
            Ok(Some(Ok(piece))) => {
                pieces.push(piece);
                if pieces.length() > HELD_WHOLE {
                    return Reading::TooLarge;
                }
                if content.is_finished() {
                    return Reading::Whole;
                }
                scope.waits_for_endpoint(scope.now());
            }
        }
    }
}

/// The error of a stream as the answer that it would have been.
fn error_answer(flow: Flow, error: StreamError) -> WholeAnswer {
    let mut headers = flow.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(CONTENT_ENCODING);
    WholeAnswer { status: flow.status, headers, body: Bytes::from(error.body) }
}

/// An answer's head, on the way to a decision.
struct Flow {
    status: StatusCode,
    headers: HeaderMap,
    limit: Limit,
    is_stream: bool,
    legibility: Legibility,
}

/// When an attempt has taken too long, and whose fault that is.
#[derive(Clone, Copy, Debug)]
struct Limit {
    at: Instant,
    whose: Patience,
    too_slow: &'static str,
}

impl Limit {
    /// What it means that it has passed.
    fn passed(self) -> AttemptEnd {
        match self.whose {
            Patience::Gateway => fault(Class::Timeout, self.too_slow),
            Patience::Client => AttemptEnd::ClientOutOfTime,
        }
    }
}

/// Some repeat in a header the key that they were shown.
fn hide_secrets(headers: &mut HeaderMap, endpoint: &Endpoint) {
    let hidden = |value: &HeaderValue| endpoint.without_secrets(value.as_bytes());
    // Nearly all repeat none.
    if !headers.iter().any(|(_, value)| hidden(value).is_some()) {
        return;
    }
    headers.retain(|_, value| {
        if let Some(hidden) = hidden(value).and_then(|hidden| HeaderValue::from_bytes(&hidden).ok()) {
            *value = hidden;
        }
        true
    });
}

fn fault(class: Class, error: &str) -> AttemptEnd {
    AttemptEnd::Failed(Judgement::of_fault(class, error), None)
}
