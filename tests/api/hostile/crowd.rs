//! Many connections at once.

use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Scene;
use crate::backpressure::resident;
use crate::support::app::{TRAFFIC, body};
use crate::support::process::{Process, settings};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, ok};

const IDLE: usize = 10_000;
const ACTIVE: usize = 1_000;
/// In what the gateway has to hold them.
const MEMORY: usize = 256 << 20;

/// Has the system allow as many open files as this needs: a socket at each end of each connection, the gateway's in a
/// process of its own.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let enough = u64::try_from(IDLE + 3 * ACTIVE).unwrap();
    assert!(
        maximum.is_none_or(|maximum| maximum > enough),
        "{maximum:?} open files allowed, {enough} needed: ulimit -Hn"
    );
}

#[cfg(target_os = "linux")]
#[actix_web::test]
async fn ten_thousand_idle_and_a_thousand_active_connections_are_held_within_256_mb() {
    raise_open_files();
    let upstream = Upstream::anthropic("a").await;
    upstream.behave(Behaviour::always(hold("answer").then(ok())));
    let mut gateway = Process::start(settings("", &[&upstream])).await;
    let address = gateway.address;
    let process = gateway.child.id().unwrap();
    gateway
        .while_read(async {
            // Each has been used, and stays.
            let mut idle = Vec::with_capacity(IDLE);
            while idle.len() < IDLE {
                let batch = (0..200).map(|_| async {
                    let mut client = RawClient::connect(address).await;
                    assert_eq!(client.head("/", &[]).await.status, 200);
                    client
                });
                idle.extend(join_all(batch).await);
            }
            let mut active = Vec::with_capacity(ACTIVE);
            while active.len() < ACTIVE {
                let batch = (0..100).map(|_| async {
                    let mut client = RawClient::connect(address).await;
                    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
                    client
                });
                active.extend(join_all(batch).await);
            }
            upstream.gates().reached_by("answer", ACTIVE).await;
            let held = resident(process);
            assert!(held < MEMORY, "{held} bytes for {IDLE} idle and {ACTIVE} active connections");
            // Beside them the gateway goes on, and so do they.
            assert_eq!(RawClient::connect(address).await.get("/__qcc__/stats", &[]).await.status, 200);
            upstream.gates().open("answer");
            for client in &mut active {
                assert_eq!(client.answer().await.status, 200);
            }
            for client in idle.iter_mut().step_by(97) {
                assert_eq!(client.head("/", &[]).await.status, 200);
            }
            // A reset leaves no port waiting, so that other tests find one.
            idle.into_iter().chain(active).for_each(RawClient::hang_up);
        })
        .await;
}

/// One client, without a key, that asks for more than is looked at while another request of its connection waits, or is the last.
#[actix_web::test]
async fn a_flood_on_one_connection_ends_with_its_last_request_and_holds_nobody_up() {
    let scene = Scene::set("").await;
    let one = "GET /__qcc__/health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /__qcc__/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut flood = scene.client().await;
    // Its end may come while this is still being sent.
    let _ = flood.try_send(format!("{}{last}{}", one.repeat(3000), one.repeat(20_000)).as_bytes()).await;
    scene.others_go_on().await;
    let ended = tokio::time::timeout(Duration::from_secs(20), flood.ended()).await;
    assert!(ended.is_ok(), "the connection is never closed");
    scene.others_go_on().await;
}
