//! The order to read the settings anew, and its answer.

use std::net::IpAddr;

use actix::Message;
use serde::Serialize;

use crate::domain::ids::EndpointId;
use crate::domain::topology::TopologyDiff;
use crate::settings::{ClientsDiff, Faults};

/// A signal, a route or the watch to the reloader: read the settings anew and take them over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Reloaded, Faults>")]
pub struct Reload {
    /// The admin's address, if one asked for it.
    pub by: Option<IpAddr>,
}

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The endpoints that are new.
    pub added: Vec<EndpointId>,
    /// The endpoints whose definition has changed.
    pub changed: Vec<EndpointId>,
    /// The endpoints that are gone.
    pub removed: Vec<EndpointId>,
    /// The clients that have changed.
    pub clients: ClientsDiff,
    /// The keys of all other settings that have another value now.
    pub settings: Vec<String>,
    /// The keys whose new value takes effect at the next start.
    pub needs_restart: Vec<String>,
}

impl Reloaded {
    /// The result of a reload, from its parts.
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
