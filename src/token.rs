//! The admin token that is made if none is set and others can reach the gateway, where being on this machine makes nobody
//! an admin.

use crate::domain::client::KeyDigest;
use crate::domain::secret::Secret;
use crate::entropy::{NoRandomness, fresh_credential};
use crate::settings::Settings;

/// The prefix by which a made admin token is recognised wherever it turns up.
const PREFIX: &str = "qcc_admin_";

/// A fresh token, if these settings need one and name none.
///
/// # Errors
///
/// [`NoRandomness`] if the system has none.
pub fn made_if_needed(settings: &Settings) -> Result<Option<Secret>, NoRandomness> {
    if settings.admin.token.is_some() || settings.listens_here_alone() {
        return Ok(None);
    }
    fresh_credential(PREFIX).map(Some)
}

/// The settings, with the made token if they need one and name none.
#[must_use]
pub fn with_made(mut settings: Settings, made: Option<KeyDigest>) -> Settings {
    if settings.admin.token.is_none() && !settings.listens_here_alone() {
        settings.admin.token = made;
    }
    settings
}
