//! The whole gateway in the test's process, on a port of its own, with the oracle that looks at what it did.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use qcc_gateway::actors::Core;
use qcc_gateway::actors::messages::{Flush, ViewJournal, ViewRegistry};
use qcc_gateway::app::App;
use qcc_gateway::domain::ids::{EndpointId, Epoch};
use qcc_gateway::domain::journal::Entry;
use qcc_gateway::domain::queues::Standing;
use qcc_gateway::settings::{self, Source};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::raw_client::{Answer, RawClient};
use super::upstream::Upstream;

/// The settings file in its folder.
const FILE: &str = "settings.toml";
/// More leases and moves than any test makes.
const JOURNAL: usize = 1_000_000;

/// The settings of a test's gateway, as its file will have them.
pub(crate) struct Setup {
    text: String,
    variables: BTreeMap<String, String>,
}

impl Setup {
    /// Loopback, a free port, two workers, and verifications that don't come by themselves within a test.
    pub(crate) fn new() -> Self {
        Self::only().section("server", "host = \"127.0.0.1\"\nport = 0\nworkers = 2")
    }

    /// Nothing but what the test itself says; it must name a free port.
    pub(crate) fn only() -> Self {
        Self { text: String::new(), variables: BTreeMap::new() }.section("log", "level = \"off\"")
    }

    /// A table of the settings file.
    pub(crate) fn section(mut self, name: &str, lines: &str) -> Self {
        write!(self.text, "[{name}]\n{lines}\n").unwrap();
        self
    }

    /// A variable of the gateway's environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One counted failure is enough to isolate.
    pub(crate) fn isolated_by_one_failure(self) -> Self {
        self.section("breaker", "failure_threshold = 1")
    }

    /// Verifications that come by themselves, this many milliseconds after the isolation, and then at the same pace.
    pub(crate) fn verified_every(self, millis: u64) -> Self {
        self.section(
            "verifier",
            &format!("initial_delay = \"{millis}ms\"\ninterval = \"{millis}ms\"\ninterval_account = \"{millis}ms\"\njitter = 0.0"),
        )
    }

    /// Verifications that come only when an admin asks.
    pub(crate) fn verified_on_demand(self) -> Self {
        self.section("verifier", "initial_delay = \"1h\"\ninterval = \"1h\"\njitter = 0.0")
    }

    pub(crate) fn primary(self, upstream: &Upstream) -> Self {
        self.endpoint(upstream.name(), &upstream.base_url(), "")
    }

    pub(crate) fn secondary(self, upstream: &Upstream) -> Self {
        self.endpoint(upstream.name(), &upstream.base_url(), "queue = \"secondary\"")
    }

    /// An endpoint with further lines of its own.
    pub(crate) fn endpoint(self, id: &str, base_url: &str, lines: &str) -> Self {
        let key = if lines.contains("api_key") || lines.contains("passthrough") { "" } else { "api_key = \"key\"\n" };
        self.section(&format!("endpoints.{id}"), &format!("base_url = \"{base_url}\"\n{key}{lines}"))
    }

    pub(crate) async fn start(self) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        self.start_in(folder).await
    }

    /// The same with a folder of the test's own, in which further files may be.
    pub(crate) async fn start_in(self, folder: TempDir) -> TestApp {
        let file = folder.path().join(FILE);
        std::fs::write(&file, &self.text).unwrap();
        let source = Source { place: Some(file), environment: None, variables: self.variables };
        let loaded = settings::load(&source).unwrap_or_else(|faults| panic!("{faults}\n{}", self.text));
        // A control actor that dies makes every later request of the test fail, which is seen there.
        let app = App::start_with_journal(loaded, Arc::new(|_| ()), JOURNAL).await.unwrap();
        TestApp { app, folder }
    }
}

/// A running gateway.
pub(crate) struct TestApp {
    app: App,
    folder: TempDir,
}

impl TestApp {
    pub(crate) fn address(&self) -> SocketAddr {
        self.app.address()
    }

    /// The folder of its settings file.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes other settings into its file. The gateway is not told.
    pub(crate) fn rewrite(&self, setup: Setup) {
        std::fs::write(self.folder.path().join(FILE), setup.text).unwrap();
    }

    /// Has it read these settings.
    pub(crate) async fn reload(&self, setup: Setup) -> Answer {
        self.rewrite(setup);
        self.client().await.post("/__qcc__/reload", &LOCAL, "").await
    }

    /// Where the gateway's own routes are, if they have an address of their own.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.app.admin_address()
    }

    /// Its actors.
    pub(crate) fn core(&self) -> &Core {
        self.app.core()
    }

    pub(crate) async fn client(&self) -> RawClient {
        RawClient::connect(self.address()).await
    }

    /// One message on a connection of its own.
    pub(crate) async fn message(&self) -> Answer {
        message(&mut self.client().await, 0).await
    }

    pub(crate) async fn stats(&self) -> Value {
        let answer = self.client().await.get("/__qcc__/stats", &LOCAL).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// An endpoint's row of the stats.
    pub(crate) async fn row(&self, id: &str) -> Value {
        let stats = self.stats().await;
        let rows = stats["endpoints"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no endpoint {id} in {stats}")).clone()
    }

    pub(crate) async fn events(&self) -> Vec<Value> {
        let answer = self.client().await.get("/__qcc__/events", &LOCAL).await;
        answer.json()["events"].as_array().unwrap().clone()
    }

    /// What an admin does to an endpoint: `verify`, `isolate`, `disable`, `enable`.
    pub(crate) async fn admin(&self, id: &str, act: &str) -> Answer {
        self.client().await.post(&format!("/__qcc__/endpoints/{id}/{act}"), &LOCAL, "").await
    }

    /// Stops it, as a restart does, and gives its folder to the next.
    pub(crate) async fn restart(self, setup: Setup) -> Self {
        setup.start_in(self.finish().await).await
    }

    /// Waits until every span so far has gone to the collector.
    pub(crate) async fn traces_are_sent(&self) {
        self.app.tracer().unwrap().send(Flush).await.unwrap();
    }

    /// Ends the test: the oracle looks at every lease that was ever granted, and at the audit; then everything stops.
    pub(crate) async fn finish(self) -> TempDir {
        let journal = self.app.core().registry.send(ViewJournal).await.unwrap();
        assert!(journal.entries().len() < JOURNAL, "the journal has lost its beginning");
        let view = self.app.core().registry.send(ViewRegistry).await.unwrap();
        assert!(journal.entries().len() > 0 || view.endpoints.is_empty(), "the journal is empty");
        assert_never_leased_while_out(journal.entries());
        assert_eq!(view.leaks, 0, "a request was sent to an isolated endpoint");
        self.app.stop().await;
        self.folder
    }
}

/// The oracle: replays leases and moves, knowing nothing but what a standing means.
fn assert_never_leased_while_out<'a>(entries: impl Iterator<Item = &'a Entry>) {
    let mut standings: HashMap<&EndpointId, (Standing, Epoch)> = HashMap::new();
    for entry in entries {
        match entry {
            Entry::Moved { endpoint, epoch, standing } => {
                standings.insert(endpoint, (*standing, *epoch));
            }
            Entry::Removed { endpoint } => {
                standings.remove(endpoint);
            }
            Entry::Leased { endpoint, epoch } => {
                let standing = standings.get(endpoint);
                let fits = matches!(
                    standing,
                    Some((Standing::Primary | Standing::Secondary, present)) if present == epoch
                );
                assert!(fits, "{endpoint} was leased in epoch {epoch:?} while it was {standing:?}");
            }
        }
    }
}

/// What every request of a test's own traffic carries, so that the upstreams can tell it from verifications.
pub(crate) const TRAFFIC: (&str, &str) = ("x-traffic", "1");
/// What the gateway's own routes ask for.
pub(crate) const LOCAL: [(&str, &str); 0] = [];

/// A small message, streamed or not.
pub(crate) fn body(stream: bool) -> String {
    json!({
        "model": "claude-haiku-4-5", "max_tokens": 64, "stream": stream,
        "messages": [{ "role": "user", "content": "Say hello." }],
    })
    .to_string()
}

/// Sends the `number`th message of some traffic.
pub(crate) async fn message(client: &mut RawClient, number: usize) -> Answer {
    let number = number.to_string();
    client.post("/v1/messages", &[("x-traffic", &number)], body(false)).await
}
