//! Why a test conversation proved nothing. What to do about it depends on this.

use super::challenge::{Reply, ReplyBody};
use super::classify::{AnswerHead, WhoseCredential, Words, classify_answer, classify_error_in_success};
use super::conversation::{Answer, StreamEnd};
use super::endpoint::Protocol;
use super::limits::Limits;
use super::outcome_table::{Class, PathKind};
use super::peek::Wanted;
use super::rules::Rules;

/// The parts of a question on which the meaning of an error depends.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The model, by the name that was sent.
    pub model: Option<&'a str>,
    /// The operator's rules, which take precedence over the outcome table.
    pub rules: &'a Rules,
}

impl Asked<'_> {
    /// An unspecified question, without rules.
    pub const ANYTHING: Self = Asked { model: None, rules: &Rules::none() };
}

/// What was found in place of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An answer in this row of the outcome table, judged as if the request had carried the gateway's own credential.
    Answer(Class),
    /// A whole answer of the other protocol.
    OtherProtocol,
    /// A JSON object that is an answer of neither protocol.
    NoProtocol,
    /// An answer of the protocol without the code.
    NoCode,
    /// No answer.
    Unanswered(Unanswered),
    /// Nothing was asked, because the settings lack something.
    Unaskable(Lack),
}

/// What a conversation needs and the settings lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The endpoint's credential.
    Credential,
    /// The name of a model.
    Model,
}

/// Why no whole answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The host's name is not valid for TLS, or the URL can't be written in a request.
    Url,
    /// The host's name could not be resolved.
    Name,
    /// The gateway has reached its limit of open files.
    Files,
    /// The machine has no port left.
    Ports,
    /// The connection was refused, or the host is unreachable.
    Refused,
    /// Nobody answered within `timeouts.connect`.
    ConnectTimeout,
    /// The TLS handshake failed.
    Tls(Handshake),
    /// What came was not HTTP, or the connection ended instead.
    NoHttp,
    /// It took longer than `verifier.timeout`.
    Timeout,
    /// An answer began, but was cut short, is too long or can't be decoded.
    Body,
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// No authority that the gateway trusts has signed the certificate.
    Untrusted,
    /// The certificate is for another name.
    OtherName,
    /// The certificate has expired, or is not valid yet.
    Outdated,
    /// The certificate is not one for a server, but for instance an authority's own.
    Certificate,
    /// What listens there speaks no TLS.
    NoTls,
    /// Something else.
    Other,
}

impl Finding {
    /// What a reply shows that is an error, or not the answer that was asked for.
    #[must_use]
    pub fn of(reply: &Reply<'_>) -> Self {
        let limits = Limits::default();
        let head = AnswerHead {
            status: reply.status,
            content_type: None,
            credential: WhoseCredential::Gateway,
            wanted: Wanted::Whole,
            model: reply.asked.model,
            limits: &limits,
            rules: reply.asked.rules,
        };
        let body = match reply.body {
            ReplyBody::Whole(body) => body,
            ReplyBody::Streamed(stream) => {
                return Self::Answer(match stream.end() {
                    StreamEnd::Failed(Some(error)) => {
                        classify_error_in_success(PathKind::Llm, &head, error, Words::Left).class
                    }
                    StreamEnd::Failed(None) | StreamEnd::Open | StreamEnd::Garbled => Class::Stream,
                    // Complete, yet no proof: a stream was not asked for.
                    StreamEnd::Closed | StreamEnd::Complete => Class::Body,
                });
            }
        };
        let other = match reply.protocol {
            Protocol::Anthropic => Protocol::OpenAi,
            Protocol::OpenAi => Protocol::Anthropic,
        };
        match classify_answer(PathKind::Llm, &head, Some(body), Words::Left).class {
            Class::Success if Answer::read(other, body).is_some() => Self::OtherProtocol,
            // A whole message, although a stream was asked for: not a matter of the protocol.
            Class::Success if Answer::read(reply.protocol, body).is_some() => Self::Answer(Class::Body),
            Class::Success => Self::NoProtocol,
            class => Self::Answer(class),
        }
    }
}
