//! Heads: interim ones, early ones, and those that never come.

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn interim_answers_are_dropped_and_nobody_gets_anothers_answer() {
    within(async {
        for interim in [
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_owned(),
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            "HTTP/1.1 102 Processing\r\ncontent-length: 5\r\n\r\n".repeat(500),
        ] {
            let (upstream, client) = (Upstream::bind().await, client());
            let ((said, is_said), (gate, opened)) = (oneshot::channel(), oneshot::channel());
            let serve = async {
                let mut peer = upstream.accept().await;
                peer.answer(&interim).await;
                said.send(()).unwrap();
                opened.await.unwrap();
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst").await;
                peer.answer(&format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond")).await;
            };
            let ask = async {
                let mut first = pin!(fetch(&client, post(&upstream.origin)));
                tokio::select! {
                    answer = &mut first => panic!("an interim answer was taken for the final one: {answer:?}"),
                    said = is_said => said.unwrap(),
                }
                gate.send(()).unwrap();
                assert_eq!(first.await, (200, "first".to_owned()));
                assert_eq!(fetch(&client, post(&upstream.origin)).await, (200, "second".to_owned()));
            };
            join!(serve, ask);
            assert!(upstream.has_no_more_connections().await);
        }
    })
    .await;
}

/// What the client makes of an upstream that reads a request, says these words, and closes or resets or leaves it open.
async fn answered(words: &str) -> Result<Response, SendError> {
    let (upstream, client) = (Upstream::bind().await, client());
    let serve = async {
        let mut peer = upstream.accept().await;
        peer.answer(words).await;
        peer
    };
    join!(send(&client, post(&upstream.origin)), serve).0
}

#[tokio::test]
async fn a_switch_of_protocols_is_an_error() {
    let answer = within(answered("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n")).await;
    assert!(matches!(answer, Err(SendError::UnexpectedUpgrade)), "{answer:?}");
}

#[tokio::test]
async fn interim_answers_have_a_bound() {
    let answer = within(answered(&"HTTP/1.1 102 Processing\r\n\r\n".repeat(1001))).await;
    assert!(matches!(answer, Err(SendError::MalformedHead(MalformedHead::TooManyInterim))), "{answer:?}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_an_error_before_it_has_ended() {
    let answer = within(answered(&format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(64 * 1024)))).await;
    assert!(matches!(answer, Err(SendError::HeadTooLarge)), "{answer:?}");
}

#[tokio::test]
async fn what_is_no_http_is_an_error_at_its_first_bytes() {
    for words in ["SSH-2.0-x\r\n", "\0\0\x12\x04", "<html>"] {
        let answer = within(answered(words)).await;
        assert!(matches!(answer, Err(SendError::MalformedHead(MalformedHead::NotHttp))), "{words:?} {answer:?}");
    }
}

#[tokio::test]
async fn two_different_lengths_are_an_error() {
    let answer = within(answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc")).await;
    assert!(matches!(answer, Err(SendError::MalformedHead(MalformedHead::ContentLength))), "{answer:?}");
}

#[tokio::test]
async fn a_fresh_connection_that_ends_without_an_answer_is_an_error_and_not_tried_again() {
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let serve = async {
            upstream.accept().await.request().await;
        };
        let (answer, ()) = join!(send(&client, post(&upstream.origin)), serve);
        assert!(matches!(answer, Err(SendError::ClosedBeforeHead { written: true })), "{answer:?}");

        let serve = async {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.reset();
        };
        let (answer, ()) = join!(send(&client, post(&upstream.origin)), serve);
        assert!(matches!(answer, Err(SendError::Broken { written: true, .. })), "{answer:?}");

        let serve = async {
            upstream.accept().await.answer("HTTP/1.1 200 OK\r\nconte").await;
        };
        let (answer, ()) = join!(send(&client, post(&upstream.origin)), serve);
        assert!(matches!(answer, Err(SendError::MalformedHead(MalformedHead::Torn))), "{answer:?}");
        assert!(upstream.has_no_more_connections().await);
    })
    .await;
}

#[tokio::test]
async fn a_port_on_which_nobody_listens_is_an_error_of_connecting() {
    within(async {
        let origin = Upstream::bind().await.origin.clone();
        let answer = send(&client(), post(&origin)).await;
        assert!(matches!(&answer, Err(error @ SendError::Connect(_)) if !error.written()), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn an_address_of_version_six_needs_no_name_service() {
    within(async {
        let client = client();
        let Ok(listener) = tokio::net::TcpListener::bind(("::1", 0)).await else {
            // A system without that version: the address is understood all the same, and can't be reached.
            let origin = Origin { scheme: Scheme::Http, host: "::1".to_owned(), port: 9 };
            assert!(matches!(send(&client, get(&origin)).await, Err(SendError::Connect(_))));
            return;
        };
        let port = listener.local_addr().unwrap().port();
        let origin = Origin { scheme: Scheme::Http, host: "::1".to_owned(), port };
        let serve = async { Peer::new(listener.accept().await.unwrap().0).answer(OK).await };
        let (answer, request) = join!(fetch(&client, get(&origin)), serve);
        assert_eq!(answer, (200, "ok".to_owned()));
        assert!(request.head.contains(&format!("\r\nhost: [::1]:{port}\r\n")));
    })
    .await;
}

#[derive(Clone, Copy, Debug)]
enum Afterwards {
    Open,
    Close,
    Reset,
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_whole_is_delivered_and_its_connection_given_up() {
    let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 6\r\n\r\nno key";
    let body = eight_megabytes();
    for afterwards in [Afterwards::Open, Afterwards::Close, Afterwards::Reset].into_iter().cycle().take(30) {
        within(async {
            let (upstream, client) = (Upstream::bind().await, client());
            let (done, is_done) = oneshot::channel();
            let serve = async {
                let mut peer = upstream.accept().await;
                peer.request_head().await;
                peer.say(refusal).await;
                match afterwards {
                    Afterwards::Open => {
                        is_done.await.unwrap();
                        assert!(peer.closed().await < body.len(), "the rest of the request was written");
                    }
                    // With unread bytes before it, this is a reset too; but only after the answer.
                    Afterwards::Close => drop(peer),
                    Afterwards::Reset => {
                        // The answer must be with the client first, for a reset overtakes what is still under way.
                        is_done.await.unwrap();
                        peer.reset();
                    }
                }
            };
            let ask = async {
                let answer = fetch(&client, request(&upstream.origin, Method::POST, body.clone())).await;
                assert_eq!(answer, (401, "no key".to_owned()), "{afterwards:?}");
                assert_eq!(client.idle_connections(), 0);
                done.send(()).ok();
            };
            join!(serve, ask);
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_whose_answer_begins_early_with_a_success_is_still_written_whole() {
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let body = eight_megabytes();
        let serve = async {
            let mut peer = upstream.accept().await;
            let head = peer.request_head().await;
            assert!(head.contains(&format!("content-length: {}", 8 << 20)));
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
            let mut received = vec![0; 8 << 20];
            tokio::io::AsyncReadExt::read_exact(&mut peer.stream, &mut received).await.unwrap();
            peer.say("whole").await;
            peer.answer(OK).await;
        };
        let ask = async {
            let answer = fetch(&client, request(&upstream.origin, Method::POST, body.clone())).await;
            assert_eq!(answer, (200, "whole".to_owned()));
            assert_eq!(fetch(&client, get(&upstream.origin)).await.0, 200);
        };
        join!(serve, ask);
        assert!(upstream.has_no_more_connections().await);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection_at_once() {
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let mut asking = Box::pin(send(&client, post(&upstream.origin)));
        let mut peer = tokio::select! {
            peer = async {
                let mut peer = upstream.accept().await;
                peer.request().await;
                peer
            } => peer,
            answer = &mut asking => panic!("{answer:?}"),
        };
        drop(asking);
        assert_eq!(peer.closed().await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_withdrawn_permit_writes_nothing_and_the_connection_serves_the_next_request() {
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let permit = Permit::granted(0);
        let refused = client.send(post(&upstream.origin), &permit, Duration::from_secs(20)).await;
        assert!(matches!(&refused, Err(error @ SendError::Withdrawn) if !error.written()), "{refused:?}");
        assert_eq!((permit.asked.get(), client.idle_connections()), (1, 1));
        // Once more, now on the connection from the pool.
        let refused = client.send(post(&upstream.origin), &permit, Duration::from_secs(20)).await;
        assert!(matches!(refused, Err(SendError::Withdrawn)));
        let (answer, request) =
            join!(fetch(&client, get(&upstream.origin)), async { upstream.accept().await.answer(OK).await });
        assert_eq!(answer.0, 200);
        assert!(request.head.starts_with("GET "), "the withdrawn request was written");
        assert!(upstream.has_no_more_connections().await);
    })
    .await;
}

#[tokio::test]
async fn a_permit_is_not_asked_again_once_bytes_have_left() {
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let permit = Permit::granted(1);
        let body = eight_megabytes();
        let sent = client.send(request(&upstream.origin, Method::POST, body), &permit, Duration::from_secs(20));
        let (answer, received) = join!(sent, async { upstream.accept().await.answer(OK).await });
        assert_eq!(answer.unwrap().status, 200);
        assert_eq!((received.body.len(), permit.asked.get()), (8 << 20, 1));
    })
    .await;
}
