//! What can go wrong with an exchange. No text here repeats a URL, a header or anything that the upstream said.

use std::io;

use rustls::CertificateError;

use super::chunked::InvalidChunk;
use crate::domain::finding::{Handshake, Unanswered};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The request's target has a space, a control character or no leading slash; it would not be one request line.
    #[error("the request's target is not one that can stand in a request line")]
    InvalidTarget,
    /// The origin's host is neither a name nor an address for which a certificate could be checked.
    #[error("the endpoint's host is no valid name for TLS; mend its base URL")]
    InvalidHost,
    /// The name could not be resolved.
    #[error("the host's name could not be resolved: {0}")]
    Dns(#[source] io::Error),
    /// The gateway itself has as many files open as the system allows, so the upstream was not asked.
    #[error("no connection could be opened: the gateway has too many files open (ulimit -n)")]
    OutOfFiles,
    /// Every local port that a connection to this address could start from is in use, so the upstream was not asked.
    #[error(
        "no connection could be opened: the machine has no port left for this address (net.ipv4.ip_local_port_range)"
    )]
    OutOfPorts,
    /// No address accepted the connection; the error is that of the last one.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// Name, connection and TLS together took longer than they may.
    #[error("no connection within the connect time-out")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The permit was refused: not a byte was written.
    #[error("the permission to send was withdrawn before anything was written")]
    Withdrawn,
    /// The upstream closed the connection without an answer.
    #[error("the upstream closed the connection without an answer")]
    ClosedBeforeHead {
        /// Whether any of the request may have reached the upstream.
        written: bool,
    },
    /// The connection broke before the head of the answer was complete.
    #[error("the connection broke before the answer: {source}")]
    Broken {
        /// Whether any of the request may have reached the upstream.
        written: bool,
        /// What the socket or TLS said.
        source: io::Error,
    },
    /// What came is not the head of an HTTP/1 answer.
    #[error("the upstream's answer can't be read: {0}")]
    MalformedHead(#[from] MalformedHead),
    /// The answer's head is longer than it may be.
    #[error("the head of the upstream's answer is too large")]
    HeadTooLarge,
    /// The upstream switched to another protocol, which nobody had asked for.
    #[error("the upstream answered 101 to a request that asked for no upgrade")]
    UnexpectedUpgrade,
}

impl SendError {
    /// Whether any of the request may have reached the upstream. If not, it is safe to send any request again.
    #[must_use]
    pub const fn written(&self) -> bool {
        match self {
            Self::InvalidTarget
            | Self::InvalidHost
            | Self::Dns(_)
            | Self::OutOfFiles
            | Self::OutOfPorts
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Tls(_)
            | Self::Withdrawn => false,
            Self::ClosedBeforeHead { written } | Self::Broken { written, .. } => *written,
            Self::MalformedHead(_) | Self::HeadTooLarge | Self::UnexpectedUpgrade => true,
        }
    }

    /// What it means for the person who has set the endpoint up.
    #[must_use]
    pub fn meaning(&self) -> Unanswered {
        match self {
            Self::InvalidTarget | Self::InvalidHost => Unanswered::Url,
            Self::Dns(_) => Unanswered::Name,
            Self::OutOfFiles => Unanswered::Files,
            Self::OutOfPorts => Unanswered::Ports,
            Self::Connect(_) | Self::Withdrawn => Unanswered::Refused,
            Self::ConnectTimeout => Unanswered::ConnectTimeout,
            Self::Tls(error) => Unanswered::Tls(handshake(error)),
            Self::ClosedBeforeHead { .. }
            | Self::Broken { .. }
            | Self::MalformedHead(_)
            | Self::HeadTooLarge
            | Self::UnexpectedUpgrade => Unanswered::NoHttp,
        }
    }
}

/// What failed in a handshake. The library has its own error within the system's.
fn handshake(error: &io::Error) -> Handshake {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Handshake::Other;
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Handshake::Untrusted,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Handshake::OtherName,
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Handshake::Outdated,
        rustls::Error::InvalidCertificate(_) => Handshake::Certificate,
        rustls::Error::InvalidMessage(_) => Handshake::NoTls,
        _ => Handshake::Other,
    }
}

/// What is wrong with the head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHead {
    /// It does not begin with `HTTP/1.`: something other than an HTTP server listens there.
    #[error("it does not begin like an HTTP/1 answer")]
    NotHttp,
    /// Its syntax is wrong, a folded header line included.
    #[error("{0}")]
    Syntax(httparse::Error),
    /// It has more headers than it may.
    #[error("it has too many headers")]
    TooManyHeaders,
    /// Its status is not between 100 and 999.
    #[error("its status is no HTTP status")]
    Status,
    /// `content-length` is not a plain number, or says two different things (RFC 9112, section 6.3).
    #[error("its content-length is no number, or is two")]
    ContentLength,
    /// `transfer-encoding` is not a list of names, names chunked twice or not last, or names another coding (RFC 9112,
    /// section 7).
    #[error("its transfer-encoding is no valid one")]
    TransferEncoding,
    /// The connection ended within it.
    #[error("the connection ended within its head")]
    Torn,
    /// More interim answers came than anybody needs.
    #[error("too many interim answers came before it")]
    TooManyInterim,
}

/// Why an answer's body did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended before the announced length or the last chunk.
    #[error("the upstream's answer was cut short")]
    Truncated,
    /// A body that ends with the connection, over TLS, and the connection ended without the closing notice: all pieces
    /// before this error came unaltered, but only their content can prove that none is missing (RFC 9112, section 9.8).
    #[error("the connection ended without the TLS closing notice, so the answer may have been cut short")]
    Unclosed,
    /// The chunking is wrong.
    #[error("the upstream's answer is chunked wrongly: {0}")]
    Chunk(#[from] InvalidChunk),
    /// The connection broke.
    #[error("the connection broke within the answer: {0}")]
    Broken(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_after_the_first_byte_forbid_sending_again() {
        let io = || io::Error::from(io::ErrorKind::ConnectionReset);
        for (error, written) in [
            (SendError::Dns(io()), false),
            (SendError::OutOfFiles, false),
            (SendError::OutOfPorts, false),
            (SendError::Connect(io()), false),
            (SendError::ConnectTimeout, false),
            (SendError::Tls(io()), false),
            (SendError::Withdrawn, false),
            (SendError::ClosedBeforeHead { written: false }, false),
            (SendError::ClosedBeforeHead { written: true }, true),
            (SendError::Broken { written: true, source: io() }, true),
            (SendError::HeadTooLarge, true),
            (MalformedHead::Torn.into(), true),
        ] {
            assert_eq!(error.written(), written, "{error}");
        }
    }
}
