//! Bodies: where they end, and what comes of those that don't.

use super::*;

/// What the client makes of an answer after which the upstream closes; and whether it has kept the connection.
async fn answered(method: Method, words: &str) -> (Result<Vec<u8>, (Vec<u8>, BodyError)>, usize) {
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let serve = async { upstream.accept().await.answer(words).await };
        let ask = async { read(send(&client, request(&upstream.origin, method, "")).await.unwrap().body).await };
        let body = join!(ask, serve).0;
        (body, client.idle_connections())
    })
    .await
}

#[tokio::test]
async fn a_body_ends_where_its_framing_says() {
    for (method, words, body, kept) in [
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello", 1),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", "hello", 1),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", 1),
        (Method::GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello", 1),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=\"y\"\r\nhe\r\n3\r\nllo\r\n0\r\nsum: 1\r\n\r\n",
            "hello",
            1,
        ),
        // A body that ends with its connection, which a client that reads by length or chunks alone takes for empty.
        (Method::POST, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhello", "hello", 0),
        (Method::GET, "HTTP/1.0 200 OK\r\n\r\nhello", "hello", 0),
        (Method::GET, "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello", 0),
        (Method::GET, "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello", "hello", 1),
        (Method::GET, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", "hello", 0),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
            0,
        ),
        // Surplus bytes would be the next request's answer.
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", "hello", 0),
        (Method::GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\r\n", "hello", 0),
        (Method::HEAD, "HTTP/1.1 200 OK\r\n\r\n", "", 1),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "", 0),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "", 0),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", "", 1),
        (Method::GET, "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "", 0),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "", 0),
    ] {
        let (found, found_kept) = answered(method, words).await;
        assert_eq!(found.map_err(|(_, error)| error.to_string()), Ok(body.as_bytes().to_vec()), "{words}");
        assert_eq!(found_kept, kept, "{words}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_an_error_after_what_came() {
    for words in [
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n",
    ] {
        let (found, kept) = answered(Method::GET, words).await;
        assert!(matches!(&found, Err((body, BodyError::Truncated)) if body == b"hello"), "{words} {found:?}");
        assert_eq!(kept, 0);
    }
}

#[tokio::test]
async fn wrong_chunking_is_an_error_after_what_was_right() {
    for words in ["5\r\nhello!\r\n0\r\n\r\n", "5\r\nhello\r\nz\r\n", "5\r\nhello\r\n0\n\n", "5\r\nhello\r\n\r\n"] {
        let words = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{words}");
        let (found, kept) = answered(Method::GET, &words).await;
        assert!(matches!(&found, Err((body, BodyError::Chunk(_))) if body == b"hello"), "{words} {found:?}");
        assert_eq!(kept, 0);
    }
}

#[tokio::test]
async fn a_body_whose_connection_is_reset_is_an_error_even_if_it_ends_with_its_connection() {
    for head in ["", "content-length: 9\r\n", "transfer-encoding: chunked\r\n"] {
        within(async {
            let (upstream, client) = (Upstream::bind().await, client());
            let serve = async {
                let mut peer = upstream.accept().await;
                peer.answer(&format!("HTTP/1.1 200 OK\r\n{head}\r\n")).await;
                peer
            };
            let (answer, peer) = join!(send(&client, get(&upstream.origin)), serve);
            peer.reset();
            let found = read(answer.unwrap().body).await;
            assert!(matches!(found, Err((_, BodyError::Broken(_)))), "{head} {found:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn the_last_piece_is_known_as_such_when_the_framing_is_complete() {
    within(async {
        for (words, lengths) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", [Some(5), Some(0)]),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", [None, Some(0)]),
        ] {
            let (upstream, client) = (Upstream::bind().await, client());
            let serve = async {
                let mut peer = upstream.accept().await;
                peer.answer(words).await;
                peer
            };
            let (answer, peer) = join!(send(&client, get(&upstream.origin)), serve);
            let mut body = answer.unwrap().body;
            assert_eq!((body.is_finished(), body.remaining_length()), (false, lengths[0]));
            assert_eq!(body.next().await.unwrap().unwrap(), "hello");
            assert_eq!((body.is_finished(), body.remaining_length()), (true, lengths[1]));
            assert_eq!(client.idle_connections(), 1, "the connection waits for the end of the stream");
            assert!(body.next().await.is_none());
            drop(peer);
        }
    })
    .await;
}

#[tokio::test]
async fn pieces_are_handed_on_as_they_come() {
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let serve = async {
            let mut peer = upstream.accept().await;
            peer.answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            peer
        };
        let (answer, mut peer) = join!(send(&client, post(&upstream.origin)), serve);
        let answer = answer.unwrap();
        assert_eq!(answer.version, Version::HTTP_11);
        let mut body = answer.body;
        for event in ["data: one\n\n", "data: two\n\n"] {
            assert!(poll_once(&mut body.next()).await.is_pending());
            peer.say(format!("{:x}\r\n{event}\r\n", event.len())).await;
            assert_eq!(body.next().await.unwrap().unwrap(), event);
            assert!(!body.is_finished());
        }
        peer.say("0\r\n\r\n").await;
        assert!(body.next().await.is_none());
        assert!(body.is_finished());
        assert_eq!(client.idle_connections(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_body_closes_its_connection_at_once() {
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let serve = async {
            let mut peer = upstream.accept().await;
            peer.answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
            peer
        };
        let (answer, mut peer) = join!(send(&client, post(&upstream.origin)), serve);
        let mut body = answer.unwrap().body;
        assert_eq!(body.next().await.unwrap().unwrap(), "hello");
        drop(body);
        assert_eq!(peer.closed().await, 0);
        assert_eq!(client.idle_connections(), 0);
    })
    .await;
}

#[tokio::test]
async fn thirty_megabytes_go_up_and_come_down() {
    const SIZE: usize = 30 << 20;
    within(async {
        let (upstream, client) = (Upstream::bind().await, client());
        let content: Bytes = (0..251).cycle().take(SIZE).collect::<Vec<u8>>().into();
        let serve = async {
            let mut peer = upstream.accept().await;
            let request = peer.request().await;
            assert!(request.body == content, "the body arrived altered");
            peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n")).await;
            peer.say(&content).await;
            peer.request().await;
            peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            for chunk in content.chunks(10_000) {
                peer.say(format!("{:x}\r\n", chunk.len())).await;
                peer.say(chunk).await;
                peer.say("\r\n").await;
            }
            peer.say("0\r\n\r\n").await;
            peer
        };
        let ask = async {
            let answer = send(&client, request(&upstream.origin, Method::POST, content.clone())).await.unwrap();
            assert_eq!(answer.body.remaining_length(), Some(SIZE as u64));
            assert!(read(answer.body).await.unwrap() == content, "the body came back altered");
            let answer = send(&client, get(&upstream.origin)).await.unwrap();
            assert!(read(answer.body).await.unwrap() == content, "the chunked body came back altered");
        };
        join!(serve, ask);
        assert!(upstream.has_no_more_connections().await);
        assert_eq!(client.idle_connections(), 1);
    })
    .await;
}
