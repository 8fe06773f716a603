use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use actix_web::http::Version;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::super::times::present;
use super::closing::HearingOut;
use super::sharing::UnderWay;
use super::*;

/// How long a head may take. Those that are to be in time have to be so on a busy machine, too.
const HEAD: Duration = Duration::from_millis(300);
/// How long a pause may be.
const IDLE: Duration = Duration::from_millis(400);

async fn connection() -> (Connection, TcpStream) {
    connection_with(HEAD, IDLE).await
}

async fn connection_with(head: Duration, idle: Duration) -> (Connection, TcpStream) {
    connected(TcpSocket::new_v4().unwrap(), head, idle, Duration::from_hours(1)).await
}

/// A connection of which hardly anything is taken before the client reads.
async fn connection_taking(taking: Duration) -> (Connection, TcpStream) {
    let narrow = TcpSocket::new_v4().unwrap();
    narrow.set_recv_buffer_size(1).unwrap();
    connected(narrow, HEAD, IDLE, taking).await
}

async fn connected(client: TcpSocket, head: Duration, idle: Duration, taking: Duration) -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let bounds = ClientBounds { head, idle, taking, buffered: BodyBudget::default(), together: 0, help: "".into() };
    (Connection::new(stream, bounds), client)
}

/// Writes until it fails. Returns how much has been written, and the failure.
async fn write_on(connection: &mut Connection) -> (usize, io::Error) {
    let (piece, mut written) = (vec![b'x'; 1 << 16], 0);
    loop {
        match connection.write(&piece).await {
            Ok(length) => written += length,
            Err(error) => return (written, error),
        }
    }
}

/// Found with a client that had asked for a stream and read nothing of it: its endpoint's only place was taken for ever.
#[actix_web::test]
async fn a_client_that_takes_nothing_for_too_long_is_cut_off_by_a_reset() {
    let (mut connection, mut client) = connection_taking(Duration::from_millis(50)).await;
    let (written, error) = timeout(Duration::from_secs(10), write_on(&mut connection)).await.expect("an end");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(connection.write(b"x").await.unwrap_err().kind(), io::ErrorKind::NotConnected);
    let (mut taken, mut room) = (0, vec![0; 1 << 16]);
    let end = loop {
        match client.read(&mut room).await {
            Ok(0) => break None,
            Ok(length) => taken += length,
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(io::ErrorKind::ConnectionReset), "nobody takes {taken} of {written} bytes for all");
}

/// Found with a stream of small events: each one that still fitted into the system's room counted as taken.
#[actix_web::test]
async fn what_the_system_still_has_room_for_has_not_been_taken() {
    let (mut connection, _client) = connection_taking(Duration::from_millis(50)).await;
    let (mut is_filled, mut waits) = (false, BTreeSet::new());
    let writing = async {
        loop {
            let written = poll_fn(|cx| {
                let written = Pin::new(&mut connection).poll_write(cx, &[b'x'; 256]);
                is_filled |= connection.is_crammed;
                if written.is_pending() && is_filled {
                    waits.extend(connection.taking_due);
                }
                written
            });
            if written.await.is_err() {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), writing).await.expect("an end");
    assert!(waits.len() < 4, "the client has taken something {} times", waits.len());
}

/// The system tells of room only once much has been taken.
#[actix_web::test]
async fn a_client_that_takes_a_little_now_and_then_is_waited_for_without_limit() {
    const TAKING: Duration = Duration::from_secs(1);
    let (mut connection, mut client) = connection_taking(TAKING).await;
    let mut taking = pin!(async {
        let began = present();
        while began.elapsed() < 3 * TAKING {
            client.read_exact(&mut [0; 1 << 10]).await.unwrap();
            tokio::time::sleep(TAKING / 10).await;
        }
    });
    let mut writing = pin!(write_on(&mut connection));
    poll_fn(|cx| {
        assert!(writing.as_mut().poll(cx).is_pending(), "it is cut off");
        taking.as_mut().poll(cx)
    })
    .await;
}

/// Found with a full socket: the error that ends an answer came first, and what was still to be written was lost.
#[actix_web::test]
async fn an_answer_is_broken_off_only_behind_what_was_passed_on() {
    let (mut connection, _client) = connection().await;
    for version in [Version::HTTP_10, Version::HTTP_11] {
        let side = ClientSide::new(Some(connection.handle()), version);
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
    let side = ClientSide::new(Some(connection.handle()), Version::HTTP_11);
    side.break_off(Duration::from_millis(10)).await;
}

/// How long until a read ends for which nothing comes.
async fn until_the_end(connection: &mut Connection) -> Duration {
    let began = present();
    assert_eq!(connection.read(&mut [0; 16]).await.unwrap(), 0);
    began.elapsed()
}

/// A request that has come and is being answered until this is dropped.
async fn request(connection: &mut Connection, client: &mut TcpStream) -> UnderWay {
    const HEAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    client.write_all(HEAD).await.unwrap();
    connection.read_exact(&mut [0; HEAD.len()]).await.unwrap();
    // Before a head is looked at, all is read that is there.
    assert!(reads_on(connection));
    connection.handle().begin(BodyEnd::Length(0))
}

/// Found from outside: a request whose body came right after its head was refused as if its head were that large, in the
/// other protocol's words, while the handler refused it once more.
#[actix_web::test]
async fn what_comes_with_a_head_is_none_of_it() {
    let body = vec![b'x'; 20_000];
    for (head, is_handed_on) in [("content-length: 20000\r\n\r\n", true), ("x-half-a-head: ", false)] {
        let (mut connection, mut client) = connection_with(Duration::from_hours(1), Duration::from_hours(1)).await;
        let sent = [b"POST / HTTP/1.1\r\n", head.as_bytes(), &body].concat();
        client.write_all(&sent).await.unwrap();
        let mut taken = vec![0; sent.len()];
        assert_eq!(connection.read_exact(&mut taken).await.is_ok_and(|_| taken == sent), is_handed_on, "{head}");
    }
}

fn reads_on(connection: &mut Connection) -> bool {
    connection.read(&mut [0; 16]).now_or_never().is_none()
}

#[actix_web::test]
async fn the_first_head_is_waited_for_and_so_is_the_end_of_a_later_one() {
    let patient = Duration::from_hours(1);
    let (first, _client) = connection_with(HEAD, patient).await;
    let (mut torn, mut client) = connection_with(HEAD, patient).await;
    drop(request(&mut torn, &mut client).await);
    assert!(reads_on(&mut torn));
    client.write_all(b"POST").await.unwrap();
    torn.read_exact(&mut [0; 4]).await.unwrap();
    for mut late in [first, torn] {
        until_the_end(&mut late).await;
    }
}

#[actix_web::test]
async fn between_requests_a_client_may_pause_for_longer_and_each_pause_counts_anew() {
    let (mut connection, mut client) = connection().await;
    for _ in 0..5 {
        drop(request(&mut connection, &mut client).await);
        assert!(reads_on(&mut connection));
        tokio::time::sleep(IDLE / 4).await;
    }
    drop(request(&mut connection, &mut client).await);
    let waited = until_the_end(&mut connection).await;
    assert!(waited >= IDLE, "{waited:?}");
}

#[actix_web::test]
async fn however_long_an_answer_takes_its_client_is_not_idle() {
    let (mut connection, mut client) = connection().await;
    let under_way = request(&mut connection, &mut client).await;
    assert!(reads_on(&mut connection));
    tokio::time::sleep(IDLE + HEAD).await;
    assert!(reads_on(&mut connection));
    drop(under_way);
    let waited = until_the_end(&mut connection).await;
    assert!(waited >= IDLE, "{waited:?}");
}

/// Found by reading: the timer of a head that may take longer than a pause was taken for the pause's.
#[actix_web::test]
async fn a_pause_is_no_longer_where_heads_may_take_longer() {
    let (mut connection, mut client) = connection_with(Duration::from_hours(1), IDLE).await;
    assert!(reads_on(&mut connection));
    let under_way = request(&mut connection, &mut client).await;
    // In a task of its own it is polled again only when woken.
    let reading = actix_rt::spawn(async move { until_the_end(&mut connection).await });
    tokio::task::yield_now().await;
    drop(under_way);
    assert!(timeout(Duration::from_secs(10), reading).await.is_ok());
}

/// How often a connection is to be looked at.
#[derive(Default)]
struct Looks(AtomicUsize);

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Found with long requests: their connections' read buffers stayed as large as for the longest one.
#[actix_web::test]
async fn whoever_reads_has_a_turn_behind_every_32_kib() {
    let (mut connection, mut client) = connection().await;
    connection.handle().begin(BodyEnd::Length(1 << 20));
    client.write_all(&vec![b'x'; 200 << 10]).await.unwrap();
    let looks = Arc::new(Looks(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&looks));
    let (mut total, mut turns) = (0, 0);
    while total < 200 << 10 {
        connection.stream.as_ref().unwrap().readable().await.unwrap();
        let (mut in_turn, before) = (0, looks.0.load(Ordering::Relaxed));
        loop {
            let mut room = [0; 8 << 10];
            let mut room = ReadBuf::new(&mut room);
            if Pin::new(&mut connection).poll_read(&mut Context::from_waker(&waker), &mut room).is_pending() {
                break;
            }
            in_turn += room.filled().len();
        }
        assert!(in_turn < READ_IN_A_TURN + (8 << 10), "{in_turn} bytes");
        let has_more = in_turn >= READ_IN_A_TURN;
        assert_eq!(looks.0.load(Ordering::Relaxed) > before, has_more, "it looks again behind {in_turn} bytes");
        (total, turns) = (total + in_turn, turns + 1);
    }
    assert!(turns >= 6, "{turns} turns");
}

/// Found by counting polls: every head cleared the alarm as if it had been set for later than the end of the next pause,
/// and each answer then had its connection polled once more to set a new one.
#[actix_web::test]
async fn an_answer_that_ends_does_not_have_its_connection_looked_at() {
    let (mut connection, mut client) = connection_with(Duration::from_mins(1), Duration::from_hours(1)).await;
    for requests_before in 0..3 {
        assert!(reads_on(&mut connection), "the pause is timed");
        let under_way = request(&mut connection, &mut client).await;
        let looks = Arc::new(Looks::default());
        let waker = Waker::from(Arc::clone(&looks));
        let mut buffer = [0; 16];
        assert!(pin!(connection.read(&mut buffer)).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(under_way);
        assert_eq!(looks.0.load(Ordering::Relaxed), 0, "behind {requests_before} others");
    }
}

/// Found with 400 KB of small requests behind one that waited: actix had no room for them, and polled for room without a
/// pause.
#[actix_web::test]
async fn of_what_comes_behind_a_request_little_is_read_while_it_is_answered() {
    const BEHIND: &[u8; 35] = b"GET /behind HTTP/1.1\r\nhost: abc\r\n\r\n";
    let (mut connection, mut client) = connection_with(HEAD, Duration::from_hours(1)).await;
    let under_way = request(&mut connection, &mut client).await;
    let behind = BEHIND.repeat(10_000);
    let sending = async {
        let mut sent = 0;
        while let Ok(length) = client.write(&behind[sent..]).await {
            sent += length;
        }
    };
    let mut room = [0; 4096];
    let reading = connection.read(&mut room);
    assert!(timeout(Duration::from_millis(100), async { tokio::join!(sending, reading) }).await.is_err());
    assert!(connection.state.framing.borrow().is_full());
    drop(under_way);
    let mut next = [0; BEHIND.len()];
    connection.read_exact(&mut next).await.unwrap();
    assert_eq!(next, *BEHIND);
    assert!(reads_on(&mut connection), "it is one request");
}

/// Found at the end of a stop: the worker was gone before the reset that it had put off.
#[test]
fn a_reset_is_one_also_where_its_worker_ends_first() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut client = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        closing::reset(listener.accept().await.unwrap().0);
        client
    });
    drop(runtime);
    let read = std::io::Read::read(&mut client, &mut [0; 16]);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

/// A connection of which nothing is read any more, and its client.
async fn being_closed() -> (TcpStream, TcpStream) {
    let (mut connection, client) = connection().await;
    (connection.stream.take().unwrap(), client)
}

#[actix_web::test]
async fn a_client_is_heard_out_until_it_closes_pauses_or_its_time_is_up() {
    let (long, short) = (Duration::from_hours(1), Duration::from_millis(50));
    let patient = HearingOut { time: long, pause: long, most: usize::MAX };

    let (stream, mut client) = being_closed().await;
    let closing = actix_rt::spawn(closing::close(stream, patient));
    client.write_all(&vec![0; 8 << 20]).await.unwrap();
    assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0, "it is told that no more comes");
    drop(client);
    closing.await.unwrap();

    let (stream, _client) = being_closed().await;
    closing::close(stream, HearingOut { pause: short, ..patient }).await;

    for (bounds, goes_on) in [
        (HearingOut { time: short, ..patient }, Duration::from_millis(1)),
        (HearingOut { most: 1 << 20, ..patient }, Duration::ZERO),
    ] {
        let (stream, mut client) = being_closed().await;
        let sending = actix_rt::spawn(async move {
            while client.write_all(&[0; 4096]).await.is_ok() {
                tokio::time::sleep(goes_on).await;
            }
        });
        closing::close(stream, bounds).await;
        sending.await.unwrap();
    }
}

/// A stop waits for clients that are sending, and for no other.
#[actix_web::test]
async fn a_client_is_sending_where_it_has_begun_what_is_not_taken_in_whole() {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\n\r\n";
    async fn is_sending(sent: &[u8], body: Option<BodyEnd>, behind: &[u8]) -> bool {
        let (mut connection, mut client) = connection_with(Duration::from_hours(1), Duration::from_hours(1)).await;
        let handle = connection.handle();
        client.write_all(sent).await.unwrap();
        connection.read_exact(&mut vec![0; sent.len()]).await.unwrap();
        let under_way = body.map(|end| handle.begin(end));
        client.write_all(behind).await.unwrap();
        // What is kept is not handed on.
        timeout(Duration::from_millis(50), connection.read_exact(&mut vec![0; behind.len()])).await.ok();
        drop(under_way);
        drop(connection);
        handle.left().unwrap().is_sending()
    }
    let (none, some) = (Some(BodyEnd::Length(0)), Some(BodyEnd::Length(4)));
    assert!(!is_sending(b"", None, b"").await, "nothing yet");
    assert!(is_sending(b"GET", None, b"").await, "half a head");
    assert!(is_sending(HEAD, some, b"bod").await, "a body that has not come whole");
    assert!(!is_sending(HEAD, some, b"body").await, "a whole request");
    assert!(is_sending(HEAD, none, b"GET").await, "half a head behind it");
}
