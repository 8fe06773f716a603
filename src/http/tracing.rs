//! The spans of a request and its attempts for a trace collector: attributes by OpenTelemetry's conventions for HTTP and
//! generative AI, and a few of our own below `qcc.`. They hold ids, names and numbers; nothing of what is said.

use std::cell::OnceCell;
use std::time::Duration;

use actix::Addr;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::identity::upstream_request_id;
use super::scope::Described;
use crate::actors::messages::Spanned;
use crate::actors::tracer::Tracer;
use crate::domain::classify::Judgement;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{ClientId, EndpointId, ProfileId};
use crate::domain::outcome_table::Class;
use crate::domain::route::LlmPath;
use crate::domain::stats::RequestEnd;
use crate::domain::time::{Moment, whole_millis};
use crate::domain::tracing::{Attributes, Kind, Span, SpanId, TraceContext, TraceId};
use crate::domain::usage::Usage;
use crate::upstream::HeaderLines;

/// The longest name of a span, in characters.
const LONGEST_NAME: usize = 100;

/// Methods that spans name; any other is `_OTHER`.
const KNOWN_METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The operation that a path asks of a model, in the conventions' words if they have one.
const fn operation(path: LlmPath) -> &'static str {
    match path {
        LlmPath::Messages | LlmPath::ChatCompletions | LlmPath::Responses => "chat",
        LlmPath::Completions => "text_completion",
        LlmPath::Embeddings => "embeddings",
        LlmPath::CountTokens => "count_tokens",
    }
}

/// A request's span while it is under way.
#[derive(Debug)]
pub(super) struct RequestTrace {
    tracer: Addr<Tracer>,
    context: TraceContext,
    /// The client's span.
    parent: Option<SpanId>,
    /// The LLM path; `None` for others, which may be anything and would each make a span name.
    path: Option<LlmPath>,
}

/// How a request ended.
pub(super) struct RequestFacts<'a> {
    pub(super) described: &'a Described,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) end: RequestEnd,
    pub(super) status: Option<u16>,
    pub(super) attempts: u32,
    pub(super) endpoint: Option<&'a EndpointId>,
    pub(super) first_piece: Option<Duration>,
}

impl RequestTrace {
    /// The span of a request with these headers. `None` if its client has decided that the trace is not recorded: then
    /// its headers go upstream as they are.
    pub(super) fn begin(tracer: &Addr<Tracer>, headers: &HeaderMap, path: Option<LlmPath>) -> Option<Self> {
        let span = SpanId::from_random(fastrand::u64(..));
        let (context, parent) = match parent_of(headers) {
            Some(parent) if parent.is_sampled() => (parent.with_span(span), Some(parent.span())),
            Some(_) => return None,
            None => (TraceContext::root(TraceId::from_random(fastrand::u128(..)), span), None),
        };
        Some(Self { tracer: tracer.clone(), context, parent, path })
    }

    /// The span of the request's next attempt, which follows `before` others.
    pub(super) fn attempt(&self, model: Option<&str>, before: u32) -> AttemptTrace {
        AttemptTrace {
            tracer: self.tracer.clone(),
            context: self.context.with_span(SpanId::from_random(fastrand::u64(..))),
            parent: self.context.span(),
            continues: self.parent.is_some(),
            operation: self.path.map(operation),
            model: model.map(str::to_owned),
            before,
            answer: OnceCell::new(),
        }
    }

    /// Sends the span: the request is over.
    pub(super) fn end(self, facts: &RequestFacts<'_>) {
        let Described { id, client, profile, session, method, path, model, peer: _ } = facts.described;
        let (outcome, error) = match (facts.end, facts.status) {
            (RequestEnd::Successful, _) => ("successful", None),
            (RequestEnd::Rejected, _) => ("rejected", None),
            (RequestEnd::Cancelled, _) => ("cancelled", None),
            // A client that has to wait is no server error, by HTTP's conventions.
            (RequestEnd::Failed, Some(400..=499)) => ("failed", None),
            (RequestEnd::Failed, Some(status @ 500..)) => ("failed", Some(status.to_string())),
            (RequestEnd::Failed, Some(_) | None) => ("failed", Some("broken_off".to_owned())),
        };
        let route = self.path.map(LlmPath::as_str);
        // Clients can make up methods of any length, and have not been asked for a key yet (OpenTelemetry's conventions for HTTP).
        let is_known = KNOWN_METHODS.contains(&method.as_str());
        let known = if is_known { method.as_str() } else { "HTTP" };
        let attributes = Attributes::default()
            .text("http.request.method", Some(if is_known { method.as_str() } else { "_OTHER" }))
            .text("http.route", route)
            .text("url.path", Some(path))
            .number("http.response.status_code", facts.status.map(u64::from))
            .text("error.type", error.as_deref())
            .text("gen_ai.request.model", model.as_deref())
            .text("gen_ai.conversation.id", session.as_deref())
            .text("qcc.request.id", Some(id))
            .text("qcc.client", client.as_ref().map(ClientId::as_str))
            .text("qcc.profile", profile.as_ref().map(ProfileId::as_str))
            .text("qcc.outcome", Some(outcome))
            .number("qcc.attempts", Some(u64::from(facts.attempts)))
            .text("qcc.endpoint", facts.endpoint.map(EndpointId::as_str))
            .number("qcc.ttft_ms", facts.first_piece.map(whole_millis));
        self.tracer.do_send(Spanned(Span {
            context: self.context,
            parent: self.parent,
            kind: Kind::Server,
            name: route.map_or_else(|| known.to_owned(), |route| format!("{known} {route}")),
            began: facts.began,
            ended: facts.ended,
            attributes,
            error,
        }));
    }
}

/// An attempt's span while it is under way.
#[derive(Debug)]
pub(super) struct AttemptTrace {
    tracer: Addr<Tracer>,
    context: TraceContext,
    /// The request's span.
    parent: SpanId,
    /// Whether the trace is the client's.
    continues: bool,
    operation: Option<&'static str>,
    /// The model that is asked for.
    model: Option<String>,
    before: u32,
    /// What the answer's head said: its status, and the upstream's id of it.
    answer: OnceCell<(u16, Option<String>)>,
}

/// How an attempt ended.
#[derive(Clone, Copy)]
pub(super) struct AttemptFacts<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// `None` if it was cancelled.
    pub(super) judgement: Option<&'a Judgement>,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) usage: Usage,
    pub(super) first_content: Option<Duration>,
}

impl AttemptTrace {
    /// Passes the trace's context on to the endpoint, unless the operator's own headers for it say otherwise.
    pub(super) fn mark(&self, headers: &mut HeaderLines<'_>, endpoint: &Endpoint) {
        let is_named = |header: &HeaderName| endpoint.headers.iter().any(|(name, _)| header == name.as_str());
        if let Ok(value) = HeaderValue::from_str(&self.context.to_string())
            && !is_named(&TRACEPARENT)
        {
            headers.insert(TRACEPARENT, value);
        }
        // It belongs to another trace than this one.
        if !self.continues && !is_named(&TRACESTATE) {
            headers.remove(&TRACESTATE);
        }
    }

    /// Notes the head of the answer.
    pub(super) fn answered(&self, status: u16, headers: &HeaderMap) {
        // An attempt has only one answer.
        let _ = self.answer.set((status, upstream_request_id(headers)));
    }

    /// Sends the span: the attempt is over.
    pub(super) fn end(self, facts: &AttemptFacts<'_>) {
        let AttemptFacts { endpoint, judgement, began, ended, usage, first_content } = *facts;
        let (status, upstream_id) = self.answer.into_inner().unzip();
        let label = judgement.map(Judgement::label);
        let failed = judgement.filter(|judgement| !matches!(judgement.class, Class::Success | Class::Cancelled));
        let origin = endpoint.base_url.origin();
        // An answer that says nothing of its tokens leaves 0: then nothing is known of them.
        let told = |count: u64| Some(count).filter(|count| *count > 0);
        let attributes = Attributes::default()
            .text("gen_ai.operation.name", self.operation)
            .text("gen_ai.provider.name", self.operation.map(|_| endpoint.protocol.as_str()))
            .text("gen_ai.request.model", self.model.as_deref())
            .text("server.address", Some(&origin.host))
            .number("server.port", Some(u64::from(origin.port)))
            .number("http.response.status_code", status.map(u64::from))
            .number("http.request.resend_count", Some(u64::from(self.before)).filter(|before| *before > 0))
            .text("error.type", failed.and(label.as_deref()))
            .number("gen_ai.usage.input_tokens", told(usage.read()))
            .number("gen_ai.usage.output_tokens", told(usage.output))
            .number("gen_ai.usage.cache_read.input_tokens", told(usage.cache_read))
            .number("gen_ai.usage.cache_creation.input_tokens", told(usage.cache_write))
            .text("qcc.endpoint", Some(endpoint.id.as_str()))
            .text("qcc.outcome", Some(label.as_deref().unwrap_or("cancelled")))
            .text("qcc.upstream_request.id", upstream_id.flatten().as_deref())
            .number("qcc.ttft_ms", first_content.map(whole_millis));
        let what = self.operation.unwrap_or("proxy");
        let name = self.model.as_deref().map_or_else(|| what.to_owned(), |model| format!("{what} {model}"));
        let error = failed.map(|judgement| {
            let note = judgement.error.as_ref().map(|note| note.as_str().to_owned());
            note.unwrap_or_else(|| judgement.label().into_owned())
        });
        self.tracer.do_send(Spanned(Span {
            context: self.context,
            parent: Some(self.parent),
            kind: Kind::Client,
            name: name.chars().take(LONGEST_NAME).collect(),
            began,
            ended,
            attributes,
            error,
        }));
    }
}

/// What a client's `traceparent` says; two of them say nothing.
fn parent_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    TraceContext::parse(value.to_str().ok()?)
}
