//! One attempt: the request goes to one endpoint, and what comes back is judged.

mod judging;
mod kind;
mod limit;
mod reading;

use std::pin::pin;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use bytes::Bytes;

use super::alarm::{Alarm, Overdue};
use super::body::Passing;
use super::intake::{BodyBudget, Held};
use super::scope::AttemptScope;
use super::times::{AttemptTimes, Patience, present};
use crate::domain::classify::{AnswerHead, Judgement, WhoseCredential, Words, classify_answer, classify_stream_head};
use crate::domain::conversation::Manner;
use crate::domain::endpoint::{Auth, Endpoint};
use crate::domain::outcome_table::{Class, LastResort, PathKind};
use crate::domain::peek::Wanted;
use crate::domain::pieces::Pieces;
use crate::domain::route::LlmPath;
use crate::domain::rules::Rules;
use crate::settings::OnBreak;
use crate::upstream::{BodyError, Client, ClientRequest, Content, Legibility, SendError};
use kind::{Begun, content_type};
use limit::Limit;
use reading::Reading;

/// What all attempts of a request have in common.
pub(super) struct Task<'a> {
    pub(super) request: ClientRequest<'a>,
    /// Wakes the task when an attempt is overdue.
    pub(super) alarm: Alarm,
    /// The LLM path; `None` for a path of `server.other_paths`.
    pub(super) llm: Option<LlmPath>,
    pub(super) times: AttemptTimes,
    pub(super) words: Words,
    pub(super) rules: &'a Rules,
    pub(super) on_break: OnBreak,
    /// The budget that held answers count against, as requests' bodies do.
    pub(super) buffered: &'a BodyBudget,
    /// The budget's limit, in bytes.
    pub(super) together: u64,
}

/// A whole answer that may be passed on.
pub(super) struct WholeAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What it was classified as.
    pub(super) class: Class,
    /// Its share of the buffer budget, if it is large enough to need one.
    pub(super) share: Option<Held>,
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
    /// Not an answer to rely on, though it may be the best there is.
    Failed(Judgement, Option<(LastResort, WholeAnswer)>),
    /// The endpoint moved before anything was written.
    Withdrawn,
    /// The client's own deadline has passed, which says nothing about the endpoint.
    ClientOutOfTime,
    /// The request can't be written as it is.
    Unsendable,
}

impl AttemptEnd {
    /// Records the manner of the answer in the end's judgement, if it has one.
    fn seen_in(self, manner: Manner) -> Self {
        match self {
            Self::Failed(judgement, answer) => Self::Failed(judgement.seen_in(manner), answer),
            Self::Whole(answer, judgement) => Self::Whole(answer, judgement.seen_in(manner)),
            Self::Flowing(_) | Self::Withdrawn | Self::ClientOutOfTime | Self::Unsendable => self,
        }
    }
}

impl Task<'_> {
    /// Which rows of the outcome table apply.
    pub(super) fn path(&self) -> PathKind {
        self.llm.map_or(PathKind::Other, LlmPath::kind)
    }

    fn wanted(&self) -> Wanted {
        if self.llm.is_some() { self.request.peek.wanted } else { Wanted::Whole }
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
        let limit = self.limit(self.wanted(), scope.began());
        if limit.whose == Patience::Client && limit.at <= present() {
            // Nobody would wait for the answer, yet somebody would pay for it.
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
        let limits = scope.limits(&response.headers);
        let mut headers = response.headers;
        let (mut content, legibility) = match self.llm {
            // On other paths, an answer that is no error is passed on as it came.
            None if response.status.as_u16() < 400 => (Content::untouched(response.body), Legibility::Readable),
            None | Some(_) => match Content::decoded(response.body, &mut headers) {
                Ok(decoded) => decoded,
                Err(error) => return fault(Class::Body, &error.to_string()),
            },
        };
        let mut answer = Begun { status: response.status, headers: &mut headers, content: &mut content, legibility };
        let (is_stream, limit) = match self.settle_kind(&mut answer, limit, scope).await {
            Ok(told) => told,
            Err(end) => return end,
        };
        let content_type = content_type(&headers).map(str::to_owned);
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
        let mut flow = Flow { status: response.status, headers, limit, is_stream, legibility, share: None };
        let by_head = classify_stream_head(self.path(), &head);
        match (self.llm, by_head) {
            (Some(path), Some(success)) if success.class == Class::Success => {
                // Boxed, so that neither kind of answer takes up the other's space.
                Box::pin(self.judge_stream(flow, &head, path, content, success, scope)).await
            }
            (_, Some(judgement)) => self.pass_or_fail(flow, Pieces::default(), content, judgement),
            // An error may repeat the operator's key, so it is inspected before it is passed on; nothing else is.
            (None, None) if head.status < 400 || (head.status < 500 && is_stream) => {
                let judgement = classify_answer(self.path(), &head, None, self.words);
                self.pass_or_fail(flow, Pieces::default(), content, judgement)
            }
            (_, None) => {
                let mut pieces = Pieces::default();
                match self.read_whole(&mut content, &mut pieces, &mut flow, scope).await {
                    // A body that can't be read can't prove that it is whole.
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
}

/// An answer's head, on the way to a decision.
struct Flow {
    status: StatusCode,
    headers: HeaderMap,
    limit: Limit,
    is_stream: bool,
    legibility: Legibility,
    /// Its share of the buffer budget, once enough is held to need one.
    share: Option<Held>,
}

impl Flow {
    /// The answer without its body, which must not be passed on.
    fn bodiless(mut self, class: Class) -> WholeAnswer {
        for described in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
            self.headers.remove(described);
        }
        WholeAnswer { status: self.status, headers: self.headers, body: Bytes::new(), class, share: None }
    }
}

/// Hides the endpoint's key in its answer's headers: some upstreams repeat it there.
fn hide_secrets(headers: &mut HeaderMap, endpoint: &Endpoint) {
    let hidden = |value: &HeaderValue| endpoint.without_secrets(value.as_bytes());
    // Almost no answer repeats it.
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
