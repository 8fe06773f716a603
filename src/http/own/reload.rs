//! Reading the settings anew on an admin's word.

use std::net::IpAddr;

use actix::Message;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;

use super::super::state::Serving;
use super::peer_of;
use crate::domain::ids::EndpointId;
use crate::domain::topology::TopologyDiff;
use crate::settings::{ClientsDiff, Faults};

/// A signal, a route or the watch to the reloader: read the settings anew and take them over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Reloaded, Faults>")]
pub struct Reload {
    /// The admin's address, where one asked for it.
    pub by: Option<IpAddr>,
}

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The endpoints that are new.
    pub added: Vec<EndpointId>,
    /// Those that are defined anew.
    pub changed: Vec<EndpointId>,
    /// Those that are gone.
    pub removed: Vec<EndpointId>,
    /// The clients.
    pub clients: ClientsDiff,
    /// The keys of all other settings that have another value now.
    pub settings: Vec<String>,
    /// The keys whose new value takes effect at the next start.
    pub needs_restart: Vec<String>,
}

impl Reloaded {
    /// Puts it together.
    #[must_use]
    pub fn new(
        endpoints: TopologyDiff,
        clients: ClientsDiff,
        settings: Vec<String>,
        needs_restart: Vec<String>,
    ) -> Self {
        let TopologyDiff { added, changed, removed } = endpoints;
        Self { added, changed, removed, clients, settings, needs_restart }
    }
}

pub(super) async fn reload(worker: &Serving<'_>, request: &HttpRequest) -> HttpResponse {
    match worker.shared.reload.send(Reload { by: Some(peer_of(request)) }).await {
        Ok(Ok(reloaded)) => HttpResponse::Ok().json(reloaded),
        Ok(Err(faults)) => {
            let error = format!("nothing was changed: {} in the settings", faults.count());
            HttpResponse::UnprocessableEntity().json(json!({ "error": error, "faults": faults }))
        }
        Err(_) => super::stopping(),
    }
}
