use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

async fn connection() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let patience =
        HeadPatience { limit: Duration::from_secs(60), buffered: BodyBudget::default(), together: 0, help: "".into() };
    (Connection::new(stream, patience), client)
}

/// Found with a full socket: the error that ends an answer came first, and what was still to be written was lost.
#[actix_web::test]
async fn an_answer_is_broken_off_only_behind_what_was_passed_on() {
    let (mut connection, _client) = connection().await;
    for version in [Version::HTTP_10, Version::HTTP_11] {
        let side = ClientSide { connection: Some(connection.handle()), version };
        let mut breaking = pin!(side.break_off(Duration::from_secs(60)));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(breaking.as_mut().poll(&mut cx).is_pending());
        }
        connection.write_all(b"the rest").await.unwrap();
        assert!(breaking.as_mut().poll(&mut cx).is_pending(), "written, but perhaps not all of it");
        connection.flush().await.unwrap();
        assert!(breaking.as_mut().poll(&mut cx).is_ready());
    }
}

#[actix_web::test]
async fn a_client_that_takes_nothing_is_broken_off_all_the_same() {
    let (connection, _client) = connection().await;
    let side = ClientSide { connection: Some(connection.handle()), version: Version::HTTP_11 };
    side.break_off(Duration::from_millis(10)).await;
}
