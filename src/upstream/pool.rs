//! Idle connections, by origin. The newest is used first: it is the least likely to have been closed by the upstream.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::Limits;
use super::transport::LastUse;
use super::wire::Connection;
use crate::domain::base_url::Origin;

/// How often connections that nobody asks for are checked.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How soon after an exchange no upstream closes its connection yet, so that the runtime's word for its silence will do.
pub(super) const MOMENT: Duration = Duration::from_millis(100);
/// How much sooner than the upstream this side gives an idle connection up, so that no request crosses its end.
const ANNOUNCED_MARGIN: Duration = Duration::from_secs(1);

/// The present moment, for the age of connections.
#[expect(
    clippy::disallowed_methods,
    reason = "connections live by real time, and no decision of the core depends on it"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The idle connections of one client.
#[derive(Debug)]
pub(super) struct Pool {
    limits: Limits,
    /// By origin, the newest at the back. Comparing a few origins costs less than hashing one.
    idle: RefCell<BTreeMap<Rc<Origin>, VecDeque<Connection>>>,
    swept: Cell<Instant>,
}

impl Pool {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, idle: RefCell::default(), swept: Cell::new(now) }
    }

    /// The newest connection to this origin that is still open and silent.
    pub(super) fn take(&self, origin: &Origin, now: Instant) -> Option<Connection> {
        self.sweep(now);
        let mut idle = self.idle.borrow_mut();
        let of_origin = idle.get_mut(origin)?;
        while let Some(mut newest) = of_origin.pop_back() {
            let is_recent = now.saturating_duration_since(newest.idle_since) < MOMENT;
            let last_use = if is_recent { LastUse::JustNow } else { LastUse::Before };
            if self.is_kept(&newest, now) && newest.is_usable(last_use) {
                return Some(newest);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is over, unless something has arrived on it that belongs to no exchange.
    pub(super) fn put(&self, mut connection: Connection, now: Instant) {
        connection.idle_since = now;
        self.put_back(connection, now);
    }

    /// Keeps a connection on which nothing was sent, for as long as it would have been kept anyway.
    pub(super) fn put_back(&self, mut connection: Connection, now: Instant) {
        self.sweep(now);
        let is_kept = self.limits.max_idle_per_origin > 0 && self.is_kept(&connection, now);
        if !is_kept || !connection.received.is_empty() {
            return;
        }
        connection.become_idle();
        let mut idle = self.idle.borrow_mut();
        let of_origin = idle.entry(Rc::clone(&connection.origin)).or_default();
        if of_origin.len() >= self.limits.max_idle_per_origin {
            of_origin.pop_front();
        }
        of_origin.push_back(connection);
    }

    /// Whether a connection is neither too old nor idle for longer than this side or the upstream keeps it.
    fn is_kept(&self, connection: &Connection, now: Instant) -> bool {
        let age = now.saturating_duration_since(connection.opened);
        let idle = now.saturating_duration_since(connection.idle_since);
        let announced = connection.announced.map(|announced| announced.saturating_sub(ANNOUNCED_MARGIN));
        age < self.limits.lifetime && idle < self.limits.idle.min(announced.unwrap_or(Duration::MAX))
    }

    /// How many connections are idle.
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().values().map(VecDeque::len).sum()
    }

    /// Closes the connections whose time is over, and those that their upstreams have closed.
    pub(super) fn tidy(&self, now: Instant) {
        self.keep(|connection| self.is_kept(connection, now) && connection.is_usable(LastUse::Before));
    }

    fn keep(&self, mut is_kept: impl FnMut(&mut Connection) -> bool) {
        self.idle.borrow_mut().retain(|_, of_origin| {
            of_origin.retain_mut(&mut is_kept);
            !of_origin.is_empty()
        });
    }

    /// Closes the connections whose time is over, of all origins, from time to time.
    fn sweep(&self, now: Instant) {
        if now.saturating_duration_since(self.swept.get()) < SWEEP_INTERVAL {
            return;
        }
        self.swept.set(now);
        self.keep(|connection| self.is_kept(connection, now));
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::domain::base_url::Scheme;
    use crate::upstream::transport::Transport;

    /// A connection, its upstream's end, and the upstream's port, which tells it from others.
    struct Pair {
        connection: Connection,
        upstream: TcpStream,
        name: u16,
    }

    async fn pair(opened: Instant) -> Pair {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let name = stream.local_addr().unwrap().port();
        let origin = Rc::new(Origin { scheme: Scheme::Http, host: "one.test".to_owned(), port: 1 });
        let connection = Connection::new(Transport::Plain(stream), origin, opened);
        Pair { connection, upstream: listener.accept().await.unwrap().0, name }
    }

    fn name_of(connection: &Connection) -> u16 {
        match &connection.transport {
            Transport::Plain(stream) => stream.local_addr().unwrap().port(),
            Transport::Tls(_) => unreachable!("these tests open no TLS"),
        }
    }

    fn limits() -> Limits {
        let (idle, lifetime) = (Duration::from_secs(30), Duration::from_secs(100));
        Limits { idle, lifetime, max_idle_per_origin: 2, ..Limits::default() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn the_newest_is_taken_first_and_the_oldest_leaves_when_there_are_too_many() {
        let start = now();
        let pool = Pool::new(limits(), start);
        let pairs = [pair(start).await, pair(start).await, pair(start).await];
        let names = pairs.each_ref().map(|pair| pair.name);
        let mut upstreams = Vec::new();
        for Pair { connection, upstream, .. } in pairs {
            pool.put(connection, start);
            upstreams.push(upstream);
        }
        assert_eq!(pool.idle(), 2);
        let origin = Origin { scheme: Scheme::Http, host: "one.test".to_owned(), port: 1 };
        let taken = [pool.take(&origin, start).unwrap(), pool.take(&origin, start).unwrap()];
        assert_eq!(taken.each_ref().map(name_of), [names[2], names[1]]);
        assert!(pool.take(&origin, start).is_none());
    }

    #[tokio::test]
    async fn an_origin_gets_its_own_connections_only() {
        let start = now();
        let pool = Pool::new(limits(), start);
        let pair = pair(start).await;
        let own = Origin::clone(&pair.connection.origin);
        pool.put(pair.connection, start);
        for other in [
            Origin { scheme: Scheme::Https, ..own.clone() },
            Origin { host: "two.test".to_owned(), ..own.clone() },
            Origin { port: 2, ..own.clone() },
        ] {
            assert!(pool.take(&other, start).is_none());
        }
        assert!(pool.take(&own, start).is_some());
    }

    #[tokio::test]
    async fn time_is_limited_idle_in_all_and_by_the_upstreams_word() {
        let start = now();
        for (age_at_put, announced, used_after, is_there) in [
            (0, None, 29, true),
            (0, None, 30, false),
            (90, None, 9, true),
            (90, None, 10, false),
            (100, None, 0, false),
            (0, Some(seconds(5)), 3, true),
            (0, Some(seconds(5)), 4, false),
            (0, Some(seconds(1)), 0, false),
            (0, Some(seconds(3600)), 30, false),
        ] {
            let pool = Pool::new(limits(), start);
            let mut pair = pair(start).await;
            let origin = Rc::clone(&pair.connection.origin);
            let put = start + seconds(age_at_put);
            pair.connection.announced = announced;
            pool.put(pair.connection, put);
            let taken = pool.take(&origin, put + seconds(used_after));
            assert_eq!(taken.is_some(), is_there, "{age_at_put} {announced:?} {used_after}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_taken_for_nothing_is_kept_no_longer_for_it() {
        let start = now();
        for (announced, at_most) in [(None, 29), (Some(seconds(5)), 3)] {
            let pool = Pool::new(limits(), start);
            let mut pair = pair(start).await;
            let origin = Rc::clone(&pair.connection.origin);
            pair.connection.announced = announced;
            pool.put(pair.connection, start);
            for second in 1..=at_most {
                let taken = pool.take(&origin, start + seconds(second)).unwrap();
                pool.put_back(taken, start + seconds(second));
            }
            assert!(pool.take(&origin, start + seconds(at_most + 1)).is_none(), "{announced:?}");
        }
    }

    #[tokio::test]
    async fn connections_that_nobody_asks_for_are_closed_by_any_use() {
        let start = now();
        let pool = Pool::new(limits(), start);
        let pair = pair(start).await;
        pool.put(pair.connection, start);
        let other = Origin { scheme: Scheme::Http, host: "two.test".to_owned(), port: 1 };
        assert!(pool.take(&other, start + seconds(29)).is_none());
        assert_eq!(pool.idle(), 1);
        assert!(pool.take(&other, start + seconds(31)).is_none());
        assert_eq!(pool.idle(), 0);
    }

    #[tokio::test]
    async fn right_after_an_exchange_what_the_runtime_has_heard_of_a_connection_counts() {
        let start = now();
        let pool = Pool::new(Limits { max_idle_per_origin: 3, ..limits() }, start);
        let (sound, ended, speaking) = (pair(start).await, pair(start).await, pair(start).await);
        let origin = Rc::clone(&sound.connection.origin);
        drop(ended.upstream);
        assert_eq!(speaking.upstream.try_write(b"HTTP/1.1 408 \r\n\r\n").unwrap(), 17);
        for heard_of in [&ended.connection, &speaking.connection] {
            let Transport::Plain(stream) = &heard_of.transport else { unreachable!("these tests open no TLS") };
            stream.readable().await.unwrap();
        }
        for connection in [sound.connection, ended.connection, speaking.connection] {
            pool.put(connection, start);
        }
        assert_eq!(name_of(&pool.take(&origin, start).unwrap()), sound.name);
        assert_eq!(pool.idle(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_or_speaks_unasked_is_not_taken() {
        let start = now();
        let pool = Pool::new(limits(), start);
        let (sound, ended, speaking) = (pair(start).await, pair(start).await, pair(start).await);
        let origin = Rc::clone(&sound.connection.origin);
        let pool_of_three = Pool::new(Limits { max_idle_per_origin: 3, ..limits() }, start);
        drop(pool);
        for connection in [sound.connection, ended.connection, speaking.connection] {
            pool_of_three.put(connection, start);
        }
        drop(ended.upstream);
        assert_eq!(speaking.upstream.try_write(b"HTTP/1.1 408 \r\n\r\n").unwrap(), 17);
        assert_eq!(name_of(&pool_of_three.take(&origin, start + MOMENT).unwrap()), sound.name);
        assert_eq!(pool_of_three.idle(), 0);
    }
}
