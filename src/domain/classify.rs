//! Finds the row of the outcome table that an endpoint's answer belongs to.

use std::borrow::Cow;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::conversation::Manner;
use super::error_object::ErrorObject;
use super::limits::Limits;
use super::members::without_mark;
use super::outcome::ErrorNote;
use super::outcome_table::{Class, PathKind, Rule};
use super::peek::Wanted;
use super::rules::{Meaning, Rules};
use super::throttle::Throttle;

/// Whose credential a request was sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhoseCredential {
    /// The endpoint's own, from the settings.
    Gateway,
    /// The client's, passed through.
    Client,
}

/// What the classification needs to know of an answer's head, and of the request that it answers.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHead<'a> {
    /// The status code.
    pub status: u16,
    /// The value of `content-type`.
    pub content_type: Option<&'a str>,
    /// Whose credential the request carried.
    pub credential: WhoseCredential,
    /// What the request asked for.
    pub wanted: Wanted,
    /// The model that was sent upstream.
    pub model: Option<&'a str>,
    /// What the answer's headers say about limits.
    pub limits: &'a Limits,
    /// The operator's rules, which take precedence over the table.
    pub rules: &'a Rules,
}

/// How an attempt ended, as classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The row of the table.
    pub class: Class,
    /// The status with which the answer may be passed on: if a 2xx carried an error object, the one that this stands for. `None`
    /// if no answer came.
    pub status: Option<u16>,
    /// What was seen of an error, for logs, events and stats. `None` after a success.
    pub error: Option<ErrorNote>,
    /// For how long the endpoint is to be left alone, if its answer is a rate limit or an overload.
    pub throttle: Option<Throttle>,
}

impl Judgement {
    /// The judgement of a transport fault that the caller has seen: no answer, or an incomplete one.
    #[must_use]
    pub fn of_fault(class: Class, error: impl AsRef<str>) -> Self {
        Self { class, status: None, error: Some(ErrorNote::new(error)), throttle: None }
    }

    /// Notes that the error was seen in an answer of at least this manner.
    #[must_use]
    pub fn seen_in(mut self, manner: Manner) -> Self {
        self.error = self.error.map(|error| error.seen_in(manner));
        self
    }

    /// What follows from the class for a request of this kind.
    #[must_use]
    pub const fn rule(&self, path: PathKind) -> Rule {
        self.class.rule(path)
    }

    /// What a trail shows: the status, or the class's word where the status does not tell the class.
    #[must_use]
    pub fn label(&self) -> Cow<'static, str> {
        match self.status {
            Some(status) if self.class.is_told_by_status() => status.to_string().into(),
            Some(_) | None => self.class.word().into(),
        }
    }
}

/// Whether the upstream's own words are kept in notes (`log.upstream_errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Words {
    /// No: only status and type.
    Left,
    /// Yes: the message too.
    Kept,
}

/// Whether a `content-type` is that of an event stream.
#[must_use]
pub fn is_event_stream(content_type: Option<&str>) -> bool {
    essence(content_type).eq_ignore_ascii_case("text/event-stream")
}

/// Whether a `content-type` is that of JSON.
#[must_use]
pub fn is_json(content_type: Option<&str>) -> bool {
    let essence = essence(content_type);
    let suffix = essence.rsplit_once('+').map_or("", |(_, suffix)| suffix);
    essence.eq_ignore_ascii_case("application/json") || suffix.eq_ignore_ascii_case("json")
}

/// The media type without its parameters (RFC 9110, section 8.3.1).
fn essence(content_type: Option<&str>) -> &str {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// Classifies a 2xx event stream by its head. `None` if the answer is something else, and has to be judged as a whole by
/// [`classify_answer`]. A stream that is passed on is a success until it breaks.
#[must_use]
pub fn classify_stream_head(path: PathKind, head: &AnswerHead<'_>) -> Option<Judgement> {
    if !is_success(head.status) || !is_event_stream(head.content_type) {
        return None;
    }
    let success = Judgement { class: Class::Success, status: Some(head.status), error: None, throttle: None };
    match (path, head.wanted) {
        (PathKind::Other, _) | (PathKind::Llm | PathKind::CountTokens, Wanted::Stream | Wanted::Unknown) => {
            Some(success)
        }
        (PathKind::Llm | PathKind::CountTokens, Wanted::Whole) => {
            Some(bad_body(head.status, "an event stream that was not asked for"))
        }
    }
}

/// Classifies a whole answer. `body` is `None` if it can't be inspected, because it is compressed or too large to be held. Then
/// status and content type alone decide, and JSON is taken for what the status says.
#[must_use]
pub fn classify_answer(path: PathKind, head: &AnswerHead<'_>, body: Option<&[u8]>, words: Words) -> Judgement {
    if let Some(judgement) = classify_stream_head(path, head) {
        return judgement;
    }
    if path == PathKind::Other {
        return classify_elsewhere(head.status, body, words);
    }
    let error = body.and_then(|body| ErrorObject::of_answer(head.status, body));
    if !is_success(head.status) {
        let in_shape = error.is_some() || (body.is_none() && is_json(head.content_type));
        let meaning = head.rules.meaning(&[head.status], error.as_ref());
        let class = meaning.map_or_else(
            || class_of_error(path, head, head.status, error.as_ref(), in_shape),
            |meaning| class_of_meaning(meaning, head, head.status),
        );
        return judged_error(path, head, class, head.status, note(head.status, error.as_ref(), words));
    }
    match (body, error) {
        (_, Some(error)) => classify_error_in_success(path, head, &error, words),
        (Some([]), None) => bad_body(head.status, "an empty body"),
        (Some(body), None) if is_json_object(body) => success(head.status),
        (None, None) if is_json(head.content_type) => success(head.status),
        (Some(_) | None, None) => bad_body(head.status, "a body that is no JSON object"),
    }
}

/// Classifies an error object that came with a 2xx, as an answer's body or as a stream's event: it counts as the status that
/// its words stand for.
#[must_use]
pub fn classify_error_in_success(
    path: PathKind,
    head: &AnswerHead<'_>,
    error: &ErrorObject,
    words: Words,
) -> Judgement {
    let meaning = head.rules.meaning(&[head.status, error.stands_for()], Some(error));
    let unknown = meaning.map_or(500, Meaning::stands_for);
    let status = error.status_by_its_words().unwrap_or(unknown);
    let class = meaning.map_or_else(
        || class_of_error(path, head, status, Some(error), true),
        |meaning| class_of_meaning(meaning, head, status),
    );
    let note = ErrorNote::new(format!("{} (in a {})", note(status, Some(error), words), head.status));
    judged_error(path, head, class, status, note)
}

fn judged_error(path: PathKind, head: &AnswerHead<'_>, class: Class, status: u16, error: ErrorNote) -> Judgement {
    Judgement { class, status: Some(status), error: Some(error), throttle: throttle(path, head, class) }
}

/// For how long the endpoint is to be left alone. The token counter has limits of its own, and a rate limit of the client's own
/// account says nothing about what is left for others.
fn throttle(path: PathKind, head: &AnswerHead<'_>, class: Class) -> Option<Throttle> {
    match path {
        PathKind::Llm => {}
        PathKind::CountTokens | PathKind::Other => return None,
    }
    match class {
        Class::RateLimited => match head.credential {
            WhoseCredential::Gateway => Some(head.limits.rest().map_or(Throttle::Unnamed, Throttle::Named)),
            WhoseCredential::Client => None,
        },
        Class::Overloaded => Some(Throttle::Overload(head.limits.retry_after())),
        Class::Success
        | Class::ClientCredential
        | Class::Account
        | Class::Credential
        | Class::Forbidden
        | Class::ModelMissing
        | Class::RelayModelMissing
        | Class::Unsupported
        | Class::RequestTimeout
        | Class::ClientError
        | Class::NotTheApi
        | Class::Redirected
        | Class::UpstreamStatus
        | Class::Body
        | Class::Connect
        | Class::OutOfFiles
        | Class::OutOfPorts
        | Class::Timeout
        | Class::Stream
        | Class::Cancelled => None,
    }
}

const fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

const fn success(status: u16) -> Judgement {
    Judgement { class: Class::Success, status: Some(status), error: None, throttle: None }
}

fn bad_body(status: u16, fault: &str) -> Judgement {
    let error = ErrorNote::new(format!("HTTP {status} with {fault}"));
    Judgement { class: Class::Body, status: Some(status), error: Some(error), throttle: None }
}

fn classify_elsewhere(status: u16, body: Option<&[u8]>, words: Words) -> Judgement {
    let class = match status {
        200..=299 => return success(status),
        300..=499 => Class::ClientError,
        500..=599 => Class::UpstreamStatus,
        _ => Class::Connect,
    };
    let error = body.and_then(ErrorObject::read);
    Judgement { class, status: Some(status), error: Some(note(status, error.as_ref(), words)), throttle: None }
}

/// The class for the meaning that an operator's rule gives to an answer.
const fn class_of_meaning(meaning: Meaning, head: &AnswerHead<'_>, status: u16) -> Class {
    match (meaning, head.credential) {
        // The client's own key and account are its own affair.
        (Meaning::Account | Meaning::Credential, WhoseCredential::Client) => Class::ClientCredential,
        (Meaning::Account, WhoseCredential::Gateway) => Class::Account,
        (Meaning::Credential, WhoseCredential::Gateway) => Class::Credential,
        (Meaning::Model, _) if status >= 500 => Class::RelayModelMissing,
        (Meaning::Model, _) => Class::ModelMissing,
        (Meaning::Client, _) => Class::ClientError,
        (Meaning::Overloaded, _) => Class::Overloaded,
        (Meaning::Failure, _) => Class::UpstreamStatus,
    }
}

/// The class of an error answer on an LLM path: the first row that fits.
fn class_of_error(
    path: PathKind,
    head: &AnswerHead<'_>,
    status: u16,
    error: Option<&ErrorObject>,
    in_shape: bool,
) -> Class {
    let error = error.map(|error| error.to_request_for(head.model));
    let error = error.as_ref();
    let says = |what: fn(&ErrorObject) -> bool| error.is_some_and(what);
    let is_about_model = error.is_some_and(|error| error.is_about_model(head.model));
    let names_model = error.is_some_and(|error| error.names_model(head.model));
    let is_about_credential = matches!(status, 400..=499) && says(ErrorObject::is_about_credential);
    match (head.credential, status) {
        // The client's own account is its own affair, like its credential.
        (WhoseCredential::Client, 401 | 403) => return Class::ClientCredential,
        (WhoseCredential::Client, _) if says(ErrorObject::is_about_account) || is_about_credential => {
            return Class::ClientCredential;
        }
        (WhoseCredential::Gateway, _) if says(ErrorObject::is_about_account) => return Class::Account,
        (WhoseCredential::Gateway, _) if is_about_credential => return Class::Credential,
        // Checked before the statuses: a relay may say so with the status of a refused key.
        (_, 400..=499) if says(ErrorObject::lacks_model_in_own_words) => return Class::ModelMissing,
        (WhoseCredential::Gateway, 401) if in_shape => return Class::Credential,
        (WhoseCredential::Gateway, 402) if in_shape => return Class::Account,
        (WhoseCredential::Gateway, 403) => return Class::Forbidden,
        (WhoseCredential::Gateway, 400) if says(ErrorObject::is_about_too_many_credentials) => return Class::Forbidden,
        (WhoseCredential::Gateway | WhoseCredential::Client, _) => {}
    }
    match status {
        404 if is_about_model || names_model => Class::ModelMissing,
        400 if says(|error| error.has_code("model_not_found")) => Class::ModelMissing,
        400 | 404 if says(ErrorObject::is_about_another_account) => Class::ModelMissing,
        503 if is_about_model || says(ErrorObject::is_about_channel) => Class::RelayModelMissing,
        404 | 405 | 501 if path == PathKind::CountTokens => Class::Unsupported,
        408 => Class::RequestTimeout,
        429 => Class::RateLimited,
        529 => Class::Overloaded,
        400..=599 if says(ErrorObject::is_overload) => Class::Overloaded,
        413 | 414 | 431 => Class::ClientError,
        400..=499 if in_shape => Class::ClientError,
        400..=499 => Class::NotTheApi,
        300..=399 => Class::Redirected,
        500..=599 => Class::UpstreamStatus,
        // Not an HTTP status: the head can't be read.
        _ => Class::Connect,
    }
}

/// The note of an error answer: `HTTP 401 authentication_error`, with [`Words::Kept`] followed by what the endpoint said.
#[must_use]
pub fn note(status: u16, error: Option<&ErrorObject>, words: Words) -> ErrorNote {
    let mut text = format!("HTTP {status}");
    let Some(error) = error else { return ErrorNote::new(text) };
    if let Some(word) = error.type_word() {
        text.push(' ');
        text.push_str(word);
    }
    if words == Words::Kept && !error.message().is_empty() {
        text.push_str(": ");
        text.push_str(error.message());
    }
    ErrorNote::new(text)
}

/// Whether the whole body is one JSON object. Every answer on the LLM paths is one, so any other JSON value is no answer.
/// Nesting is skipped without recursion, however deep it is.
fn is_json_object(body: &[u8]) -> bool {
    struct AnyObject;
    impl<'de> Visitor<'de> for AnyObject {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(without_mark(body));
    deserializer.deserialize_map(AnyObject).and_then(|()| deserializer.end()).is_ok()
}

#[cfg(test)]
mod tests;
