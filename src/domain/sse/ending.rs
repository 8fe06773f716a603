//! What is written at the end of a stream that did not come to its own end.

use super::Format;
use super::json::{ObjectMembers, ObjectText, quoted};

/// Why a stream ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Break {
    /// The upstream's connection broke, or its framing did.
    Torn,
    /// The upstream ended the stream in order, without its closing event.
    Unfinished,
    /// Nothing came from the upstream for too long.
    Silent,
    /// The upstream sent an error that the protocol's clients would ignore.
    Failed,
    /// The gateway is stopping.
    Stopping,
}

impl Break {
    /// What went wrong, and whether trying again helps. Programs decide by an error's words whether to retry on their own,
    /// and the first two words here are among those that they know.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Torn => "Server error upstream: the answer broke off before its end. Trying again may help.",
            Self::Unfinished => {
                "Server error upstream: the answer ended without its closing event, so it is not whole. Trying again may help."
            }
            Self::Silent => "Server error upstream: the answer fell silent before its end. Trying again may help.",
            Self::Failed => "Server error upstream in the midst of the answer. Trying again may help.",
            Self::Stopping => {
                "Service unavailable: the gateway is stopping, before the answer's end. Trying again helps, on a new connection."
            }
        }
    }

    /// What went wrong, in short, for logs and stats.
    #[must_use]
    pub const fn note(self) -> &'static str {
        match self {
            Self::Torn => "the stream broke off",
            Self::Unfinished => "the stream ended without its closing event",
            Self::Silent => "the upstream fell silent",
            Self::Failed => "the stream reported an error",
            Self::Stopping => "the gateway is stopping",
        }
    }

    /// Whether the upstream's last bytes may be taken for all that it meant to send. When the gateway stops they may: what is not
    /// complete by then is broken off without asking this.
    #[must_use]
    pub const fn is_in_order(self) -> bool {
        match self {
            Self::Unfinished | Self::Stopping => true,
            Self::Torn | Self::Silent | Self::Failed => false,
        }
    }

    /// What the client's developer is told. `help` is `server.help`, empty or not.
    #[must_use]
    pub fn message(self, request_id: &str, help: &str) -> String {
        let help = help.trim();
        let space = if help.is_empty() { "" } else { " " };
        format!("{} (request {request_id}){space}{help}", self.sentence())
    }
}

/// The closing event, for a stream that is proven whole without it. The Responses API has no such state.
#[must_use]
pub const fn closing(format: Format) -> Option<&'static str> {
    match format {
        Format::Messages => Some("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        Format::Chat | Format::Completions => Some("data: [DONE]\n\n"),
        Format::Responses => None,
    }
}

/// An upstream's error as an event that the protocol's clients recognize, if it came in a form that they would ignore.
/// `number` is the event's, in formats that number events.
#[must_use]
pub(super) fn named_error(format: Format, body: &str, number: u64) -> Option<String> {
    match format {
        Format::Messages => {
            let answer = ObjectMembers::read(body.as_bytes())?;
            let data = match answer.text("type").as_deref() {
                Some("error") => body.to_owned(),
                // Clients' parsers need the type (the API's reference, "Errors").
                _ => ObjectText::default().text("type", "error").member("error", answer.get("error")?.get()).finish(),
            };
            // In JSON a line end is white space, but it would end the event's data.
            Some(format!("event: error\ndata: {}\n\n", data.replace(['\r', '\n'], " ")))
        }
        Format::Responses => {
            let answer = ObjectMembers::read(body.as_bytes())?;
            let error = ObjectMembers::of(answer.get("error")?)?;
            let json = |name| error.get(name).map_or("null", |value| value.get());
            Some(response_error(json("type"), json("code"), json("message"), number))
        }
        Format::Chat | Format::Completions => None,
    }
}

/// The body of the protocol's error answer with this message.
#[must_use]
pub(super) fn error_body(format: Format, message: &str) -> String {
    match format {
        Format::Messages => {
            let error = ObjectText::default().text("type", "api_error").text("message", message).finish();
            ObjectText::default().text("type", "error").member("error", &error).finish()
        }
        Format::Chat | Format::Completions | Format::Responses => {
            let error = ObjectText::default()
                .text("message", message)
                .text("type", "server_error")
                .member("param", "null")
                .member("code", "null")
                .finish();
            ObjectText::default().member("error", &error).finish()
        }
    }
}

/// The protocol's own error event with this message. `number` is the event's, in formats that number events.
#[must_use]
pub fn error_event(format: Format, message: &str, number: u64) -> String {
    match format {
        Format::Messages => format!("event: error\ndata: {}\n\n", error_body(format, message)),
        Format::Chat | Format::Completions => format!("data: {}\n\n", error_body(format, message)),
        Format::Responses => {
            let word = "\"server_error\"";
            response_error(word, word, &quoted(message), number)
        }
    }
}

/// An error event of the Responses API; the values are JSON. The API's reference puts the members into the event itself,
/// its servers into an `error`. The SDKs raise only the latter; without it they pass the event on, and programs that ignore
/// unknown events take the answer for whole.
fn response_error(kind: &str, code: &str, message: &str, number: u64) -> String {
    let of_type = |kind| {
        let told = ObjectText::default().member("type", kind).member("code", code);
        told.member("message", message).member("param", "null")
    };
    let event = of_type("\"error\"").member("sequence_number", &number.to_string());
    let data = event.member("error", &of_type(kind).finish());
    format!("event: error\ndata: {}\n\n", data.finish())
}
