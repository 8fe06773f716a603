//! The addresses of a name.
//!
//! The system's resolver holds a thread for as long as it takes, some 10 s if nobody answers it, even if nobody waits any
//! more. The runtime has a few hundred threads for that, so a name that many ask for would hold up every other one. So
//! each name is asked for only once at a time, and all who want it wait for the same answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use tokio::sync::watch::{self, Receiver};
use tokio::task::spawn_blocking;

use crate::domain::base_url::Origin;

/// What the resolver says; `None` until it does.
type Found = Option<io::Result<Vec<SocketAddr>>>;

/// The names that the resolver is being asked for.
#[derive(Debug, Default)]
pub(super) struct Names(RefCell<BTreeMap<(String, u16), Receiver<Found>>>);

impl Names {
    /// The addresses of an origin's host.
    pub(super) async fn addresses(&self, origin: &Origin) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = (origin.host.as_str(), origin.port);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        self.once_at_a_time(host, port, |host, port| Ok((host, port).to_socket_addrs()?.collect())).await
    }

    /// Asks the resolver, or waits with those who have asked already.
    async fn once_at_a_time(
        &self,
        host: &str,
        port: u16,
        ask: impl FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut answer = self.under_way(host, port).unwrap_or_else(|| {
            let (told, answer) = watch::channel(None);
            let name = (host.to_owned(), port);
            self.0.borrow_mut().insert(name.clone(), answer.clone());
            spawn_blocking(move || told.send_replace(Some(ask(&name.0, name.1))));
            answer
        });
        let found = answer.wait_for(Option::is_some).await;
        match found.as_deref() {
            Ok(Some(Ok(addresses))) => Ok(addresses.clone()),
            Ok(Some(Err(error))) => Err(io::Error::new(error.kind(), error.to_string())),
            Ok(None) | Err(_) => Err(io::Error::other("the resolver has given up")),
        }
    }

    /// The answer that has been asked for and has not come yet. One that has come is out of date.
    fn under_way(&self, host: &str, port: u16) -> Option<Receiver<Found>> {
        let mut asked = self.0.borrow_mut();
        asked.retain(|_, answer| answer.borrow().is_none() && answer.has_changed().is_ok());
        asked.get(&(host.to_owned(), port)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 1))
    }

    /// Found with an endpoint whose name server was silent: three hundred requests a second held every thread of the
    /// resolver's, so that a sound endpoint's name could not be had either, and that endpoint was isolated.
    #[tokio::test]
    async fn a_name_that_nobody_answers_for_is_asked_for_once_and_holds_up_no_other() {
        let names = Names::default();
        let (answers, answer) = mpsc::channel::<SocketAddr>();
        let silent = move |_: &str, _: u16| answer.recv().map(|address| vec![address]).map_err(io::Error::other);
        assert!(timeout(SOON, names.once_at_a_time("silent.test", 1, silent)).await.is_err());
        let waiting = join_all((0..2000).map(|_| names.once_at_a_time("silent.test", 1, |_, _| panic!("asked twice"))));
        let other = async {
            let found = names.once_at_a_time("other.test", 1, |_, _| Ok(vec![address(2)])).await;
            answers.send(address(1)).unwrap();
            found
        };
        let (waiting, other) = tokio::join!(waiting, other);
        assert_eq!(other.unwrap(), [address(2)]);
        assert!(waiting.into_iter().all(|found| found.is_ok_and(|found| found == [address(1)])));
    }

    #[tokio::test]
    async fn an_answer_is_for_those_who_waited_for_it_and_no_later_one() {
        let names = Names::default();
        for answer in [Ok(1), Err(()), Ok(2)] {
            let ask = move |_: &str, _: u16| {
                answer.map(|last| vec![address(last)]).map_err(|()| io::ErrorKind::NotFound.into())
            };
            let found = names.once_at_a_time("a.test", 1, ask).await;
            match answer {
                Ok(last) => assert_eq!(found.unwrap(), [address(last)]),
                Err(()) => assert_eq!(found.unwrap_err().kind(), io::ErrorKind::NotFound),
            }
        }
        assert_eq!(
            names.once_at_a_time("a.test", 2, |_, _| panic!("a resolver")).await.unwrap_err().kind(),
            io::ErrorKind::Other
        );
        assert_eq!(names.once_at_a_time("a.test", 2, |_, _| Ok(vec![])).await.unwrap(), []);
    }
}
