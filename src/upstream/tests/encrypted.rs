//! TLS: what the client trusts, and what differs from plain connections.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::tls::{Authorities, Trust};
use super::*;
use crate::domain::finding::{Handshake, Unanswered};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An upstream with a certificate made for the test, which is its own authority.
struct Encrypted {
    upstream: Upstream,
    acceptor: TlsAcceptor,
    authority: Authorities,
}

impl Encrypted {
    async fn bind(host: &str) -> Self {
        let mut upstream = Upstream::bind().await;
        upstream.origin.scheme = Scheme::Https;
        upstream.origin.host = host.to_owned();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let authority = Authorities::read(pem(made.cert.der()).as_bytes()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        Self { upstream, acceptor: TlsAcceptor::from(Arc::new(config)), authority }
    }

    fn trusting_client(&self) -> Client {
        Client::new(tls::client_config(&self.authority).unwrap(), Limits::default())
    }

    async fn accept(&self) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
        Ok(Peer::new(self.acceptor.accept(self.upstream.accept().await.stream).await?))
    }
}

/// A certificate as PEM (RFC 7468), but for the length of its line.
fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

#[tokio::test]
async fn an_authority_from_the_file_is_trusted_for_names_and_for_addresses() {
    for host in ["localhost", "127.0.0.1"] {
        within(async {
            let upstream = Encrypted::bind(host).await;
            let client = upstream.trusting_client();
            let serve = async {
                let mut peer = upstream.accept().await.unwrap();
                let (_, session) = peer.stream.get_ref();
                assert_eq!(session.server_name(), (host == "localhost").then_some("localhost"));
                // The tickets that this server sends after the handshake must not be taken for words of the upstream.
                for _ in 0..3 {
                    peer.answer(OK).await;
                }
                peer
            };
            let ask = async {
                for _ in 0..3 {
                    assert_eq!(fetch(&client, post(&upstream.upstream.origin)).await, (200, "ok".to_owned()));
                }
            };
            join!(serve, ask);
            assert!(upstream.upstream.has_no_more_connections().await);
        })
        .await;
    }
}

/// What it means that there is no answer.
fn meaning<T>(answer: &Result<T, SendError>) -> Option<Unanswered> {
    answer.as_ref().err().map(SendError::meaning)
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_from_whom_nobody_vouches_for() {
    within(async {
        let upstream = Encrypted::bind("127.0.0.1").await;
        let client = upstream.trusting_client();
        let serve = async {
            let mut peer = upstream.upstream.accept().await;
            peer.say("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
            peer
        };
        let (answer, _) = join!(send(&client, post(&upstream.upstream.origin)), serve);
        assert_eq!(meaning(&answer), Some(Unanswered::Tls(Handshake::NoTls)), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    within(async {
        let upstream = Encrypted::bind("localhost").await;
        let client = Client::new(tls::client_config(&Authorities::default()).unwrap(), Limits::default());
        let (answer, accepted) = join!(send(&client, post(&upstream.upstream.origin)), upstream.accept());
        assert!(matches!(&answer, Err(error @ SendError::Tls(_)) if !error.written()), "{answer:?}");
        assert_eq!(meaning(&answer), Some(Unanswered::Tls(Handshake::Untrusted)), "{answer:?}");
        assert!(accepted.is_err());
    })
    .await;
}

#[tokio::test]
async fn an_authority_that_is_trusted_later_is_trusted_by_the_clients_that_run() {
    within(async {
        let upstream = Encrypted::bind("localhost").await;
        let trust = Trust::from(tls::client_config(&Authorities::default()).unwrap());
        let client = Client::new(trust.clone(), Limits::default());
        let (answer, _) = join!(send(&client, post(&upstream.upstream.origin)), upstream.accept());
        assert!(matches!(&answer, Err(SendError::Tls(_))), "{answer:?}");
        trust.replace(tls::client_config(&upstream.authority).unwrap());
        let serve = async { upstream.accept().await.unwrap().answer(OK).await };
        let (answer, _) = join!(fetch(&client, post(&upstream.upstream.origin)), serve);
        assert_eq!(answer, (200, "ok".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    within(async {
        let upstream = Encrypted::bind("127.0.0.2").await;
        let listener = tokio::net::TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
        let origin = Origin { port: listener.local_addr().unwrap().port(), ..upstream.upstream.origin.clone() };
        let client = upstream.trusting_client();
        let serve = async { upstream.acceptor.accept(listener.accept().await.unwrap().0).await };
        let (answer, accepted) = join!(send(&client, post(&origin)), serve);
        assert!(matches!(answer, Err(SendError::Tls(_))), "{answer:?}");
        assert_eq!(meaning(&answer), Some(Unanswered::Tls(Handshake::OtherName)), "{answer:?}");
        assert!(accepted.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_host_that_no_certificate_can_name_is_refused_before_anything_is_opened() {
    within(async {
        let upstream = Encrypted::bind("not_a_host!").await;
        let answer = send(&upstream.trusting_client(), post(&upstream.upstream.origin)).await;
        assert!(matches!(answer, Err(SendError::InvalidHost)), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut_off_by_the_connect_time_out() {
    within(async {
        let upstream = Encrypted::bind("127.0.0.1").await;
        let client = upstream.trusting_client();
        let permit = Permit::always();
        let serve = async { upstream.upstream.accept().await };
        let asked = client.send(post(&upstream.upstream.origin), &permit, Duration::from_millis(50));
        let (answer, mut peer) = join!(asked, serve);
        assert!(matches!(&answer, Err(error @ SendError::ConnectTimeout) if !error.written()), "{answer:?}");
        assert_eq!(permit.asked.get(), 0);
        peer.closed().await;
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_that_has_said_good_bye_is_not_used() {
    within(async {
        let upstream = Encrypted::bind("127.0.0.1").await;
        let (client, permit) = (upstream.trusting_client(), Permit::always());
        let serve = async {
            let mut peer = upstream.accept().await.unwrap();
            peer.answer(OK).await;
            peer
        };
        let (_, mut peer) = join!(fetch(&client, get(&upstream.upstream.origin)), serve);
        assert_eq!(client.idle_connections(), 1);
        peer.stream.shutdown().await.unwrap();
        let asked = client.send(post(&upstream.upstream.origin), &permit, Duration::from_secs(20));
        let (answer, _) = join!(asked, async { upstream.accept().await.unwrap().answer(OK).await });
        assert_eq!((answer.unwrap().status.as_u16(), permit.asked.get()), (200, 1));
    })
    .await;
}

#[tokio::test]
async fn tickets_are_not_words_of_the_upstream_but_what_it_says_unasked_is() {
    within(async {
        let upstream = Encrypted::bind("127.0.0.1").await;
        let (client, refusing) = (upstream.trusting_client(), Permit::granted(0));
        let refused = client.send(get(&upstream.upstream.origin), &refusing, Duration::from_secs(20));
        let (refused, peer) = join!(refused, upstream.accept());
        assert!(matches!(refused, Err(SendError::Withdrawn)));
        let mut peer = peer.unwrap();
        // The tickets wait unread; the runtime has to hear of them.
        tokio::task::yield_now().await;
        assert_eq!(join!(fetch(&client, get(&upstream.upstream.origin)), peer.answer(OK)).0.0, 200);
        assert_eq!(client.idle_connections(), 1);

        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nanother").await;
        tokio::task::yield_now().await;
        let serve = async { upstream.accept().await.unwrap().answer(OK).await };
        assert_eq!(join!(fetch(&client, post(&upstream.upstream.origin)), serve).0.1, "ok");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_whole_only_after_the_closing_notice() {
    for says_good_bye in [true, false] {
        within(async {
            let upstream = Encrypted::bind("127.0.0.1").await;
            let client = upstream.trusting_client();
            let serve = async {
                let mut peer = upstream.accept().await.unwrap();
                peer.answer("HTTP/1.1 200 OK\r\n\r\nhello").await;
                if says_good_bye {
                    peer.stream.shutdown().await.unwrap();
                }
            };
            let ask = async { read(send(&client, post(&upstream.upstream.origin)).await.unwrap().body).await };
            match join!(ask, serve).0 {
                Ok(body) => assert!(says_good_bye && body == b"hello"),
                Err((body, error)) => {
                    assert!(matches!(error, BodyError::Unclosed) && !says_good_bye, "{error:?}");
                    assert_eq!(body, b"hello");
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn an_early_answer_and_a_large_body_pass_through_tls_too() {
    within(async {
        let upstream = Encrypted::bind("127.0.0.1").await;
        let client = upstream.trusting_client();
        let body = eight_megabytes();
        let serve = async {
            let mut peer = upstream.accept().await.unwrap();
            assert!(peer.answer(OK).await.body == body);
            peer.request_head().await;
            peer.say("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
            peer
        };
        let ask = async {
            let large = || request(&upstream.upstream.origin, Method::POST, body.clone());
            assert_eq!(fetch(&client, large()).await, (200, "ok".to_owned()));
            assert_eq!(fetch(&client, large()).await, (413, "big".to_owned()));
            assert_eq!(client.idle_connections(), 0);
        };
        join!(serve, ask);
    })
    .await;
}
