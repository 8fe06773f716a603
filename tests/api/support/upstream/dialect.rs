//! What the providers' protocols look like: whole answers, errors, and what is read from a request.

use serde_json::{Value, json};

use super::record::Recorded;

/// The protocol that an upstream speaks where the path leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Anthropic,
    OpenAi,
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Messages,
    CountTokens,
    Chat,
    Completions,
    Responses,
    Embeddings,
    Models,
    /// Anything else, in the upstream's own protocol.
    Other(Protocol),
}

impl Dialect {
    pub(crate) fn of(target: &str, own: Protocol) -> Self {
        match target.split('?').next().unwrap_or_default() {
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Completions,
            "/v1/responses" => Self::Responses,
            "/v1/embeddings" => Self::Embeddings,
            "/v1/models" => Self::Models,
            _ => Self::Other(own),
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Messages | Self::CountTokens => Protocol::Anthropic,
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings | Self::Models => Protocol::OpenAi,
            Self::Other(own) => own,
        }
    }

    /// Whether `"stream":true` means something here.
    pub(crate) fn can_stream(self) -> bool {
        match self {
            Self::Messages | Self::Chat | Self::Completions | Self::Responses => true,
            Self::CountTokens | Self::Embeddings | Self::Models | Self::Other(_) => false,
        }
    }
}

/// What an answer needs to know of its request.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) upstream: String,
    pub(crate) dialect: Dialect,
    /// The request's number in the order of arrival.
    pub(crate) number: usize,
    pub(crate) target: String,
    pub(crate) model: String,
    /// What the user wrote, joined by line ends.
    pub(crate) question: String,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

impl Facts {
    pub(crate) fn of(recorded: &Recorded, upstream: &str, own: Protocol) -> Self {
        let body = recorded.json();
        let dialect = Dialect::of(&recorded.target, own);
        Self {
            upstream: upstream.to_owned(),
            dialect,
            number: recorded.number,
            target: recorded.target.clone(),
            model: body["model"].as_str().unwrap_or("no-model").to_owned(),
            question: question(&body),
            stream: dialect.can_stream() && body["stream"] == json!(true),
            include_usage: body["stream_options"]["include_usage"] == json!(true),
        }
    }

    /// An id of the answer that names the upstream and the request.
    pub(crate) fn id(&self, kind: &str) -> String {
        format!("{kind}_{}_{}", self.upstream, self.number)
    }

    /// The header by which the protocol's clients tell one answer from another.
    pub(crate) fn id_header(&self) -> (String, String) {
        let name = match self.dialect.protocol() {
            Protocol::Anthropic => "request-id",
            Protocol::OpenAi => "x-request-id",
        };
        (name.to_owned(), self.id("req"))
    }
}

/// What the user wrote: the turns of the role `user`, or a bare prompt.
pub(crate) fn question(body: &Value) -> String {
    let mut texts = Vec::new();
    for key in ["messages", "input"] {
        for turn in body[key].as_array().into_iter().flatten().filter(|turn| turn["role"] == json!("user")) {
            collect_texts(&turn["content"], &mut texts);
        }
    }
    for key in ["input", "prompt"] {
        texts.extend(body[key].as_str());
    }
    texts.join("\n")
}

fn collect_texts<'a>(content: &'a Value, texts: &mut Vec<&'a str>) {
    texts.extend(content.as_str());
    for block in content.as_array().into_iter().flatten() {
        texts.extend(block["text"].as_str());
    }
}

/// The code that a verification asks for: the first two words of three capitals and digits, joined.
pub(crate) fn joined_code(question: &str) -> Option<String> {
    let is_half = |word: &&str| word.len() == 3 && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let mut halves = question.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_half);
    Some(format!("{}{}", halves.next()?, halves.next()?))
}

/// A code of the same form with no character in its right place.
pub(crate) fn wrong_code(right: &str) -> String {
    right.chars().map(|c| if c == 'Z' { 'Y' } else { 'Z' }).collect()
}

/// A whole answer that says `text`.
pub(crate) fn whole(facts: &Facts, text: &str) -> Value {
    let model = &facts.model;
    match facts.dialect {
        Dialect::Messages => json!({
            "id": facts.id("msg"), "type": "message", "role": "assistant", "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 40, "output_tokens": 3}
        }),
        Dialect::CountTokens => json!({"input_tokens": facts.question.len()}),
        Dialect::Chat => json!({
            "id": facts.id("chatcmpl"), "object": "chat.completion", "created": 1_700_000_000, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 40, "completion_tokens": 3, "total_tokens": 43}
        }),
        Dialect::Completions => json!({
            "id": facts.id("cmpl"), "object": "text_completion", "created": 1_700_000_000, "model": model,
            "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 40, "completion_tokens": 3, "total_tokens": 43}
        }),
        Dialect::Responses => response(facts, "completed", Some(text)),
        Dialect::Embeddings => json!({
            "object": "list", "model": model,
            "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}],
            "usage": {"prompt_tokens": 40, "total_tokens": 40}
        }),
        Dialect::Models => json!({
            "object": "list",
            "data": [{"id": "scripted-1", "object": "model", "created": 1_700_000_000, "owned_by": facts.upstream}]
        }),
        Dialect::Other(_) => json!({"object": "scripted", "target": facts.target, "text": text}),
    }
}

/// The response object of the Responses API.
pub(crate) fn response(facts: &Facts, status: &str, text: Option<&str>) -> Value {
    let output = text.map(|text| message_item(facts, "completed", Some(text)));
    let usage = text.map(|_| json!({"input_tokens": 40, "output_tokens": 3, "total_tokens": 43}));
    json!({
        "id": facts.id("resp"), "object": "response", "created_at": 1_700_000_000, "status": status,
        "model": facts.model, "error": null, "output": output.into_iter().collect::<Vec<_>>(), "usage": usage
    })
}

/// The one item of output in the Responses API.
pub(crate) fn message_item(facts: &Facts, status: &str, text: Option<&str>) -> Value {
    let content = text.map(|text| json!({"type": "output_text", "text": text, "annotations": []}));
    json!({
        "id": facts.id("item"), "type": "message", "status": status, "role": "assistant",
        "content": content.into_iter().collect::<Vec<_>>()
    })
}

/// The protocol's own type (and, for openai, code) of an error with this status.
fn error_type(protocol: Protocol, status: u16) -> (&'static str, Option<&'static str>) {
    match (protocol, status) {
        (Protocol::Anthropic, 401) => ("authentication_error", None),
        (Protocol::Anthropic, 402) => ("billing_error", None),
        (Protocol::Anthropic, 403) => ("permission_error", None),
        (Protocol::Anthropic, 404) => ("not_found_error", None),
        (Protocol::Anthropic, 409) => ("conflict_error", None),
        (Protocol::Anthropic, 413) => ("request_too_large", None),
        (Protocol::Anthropic, 429) => ("rate_limit_error", None),
        (Protocol::Anthropic, 504) => ("timeout_error", None),
        (Protocol::Anthropic, 529) => ("overloaded_error", None),
        (Protocol::Anthropic, 400..=499) => ("invalid_request_error", None),
        (Protocol::Anthropic, _) => ("api_error", None),
        (Protocol::OpenAi, 401) => ("invalid_request_error", Some("invalid_api_key")),
        (Protocol::OpenAi, 404) => ("invalid_request_error", Some("model_not_found")),
        (Protocol::OpenAi, 429) => ("requests", Some("rate_limit_exceeded")),
        (Protocol::OpenAi, 400..=499) => ("invalid_request_error", None),
        (Protocol::OpenAi, _) => ("server_error", None),
    }
}

/// The protocol's error body for a status.
pub(crate) fn error_for_status(facts: &Facts, status: u16) -> Value {
    let (kind, code) = error_type(facts.dialect.protocol(), status);
    error(facts, kind, code, &format!("scripted {status} from {}", facts.upstream))
}

/// The protocol's error body.
pub(crate) fn error(facts: &Facts, kind: &str, code: Option<&str>, message: &str) -> Value {
    match facts.dialect.protocol() {
        Protocol::Anthropic => {
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": facts.id("req")})
        }
        Protocol::OpenAi => json!({"error": {"message": message, "type": kind, "param": null, "code": code}}),
    }
}
