//! The admin token that is made where none is set: where others can reach the gateway, nobody is an admin by where they are.

use crate::domain::client::KeyDigest;
use crate::domain::secret::Secret;
use crate::entropy::{NoRandomness, fresh_credential};
use crate::settings::Settings;

/// By which an admin token that was made is recognised where it turns up.
const PREFIX: &str = "qcc_admin_";

/// A fresh token, where these settings want one and name none.
///
/// # Errors
///
/// [`NoRandomness`] where the system has none to give.
pub fn made_if_needed(settings: &Settings) -> Result<Option<Secret>, NoRandomness> {
    if settings.admin.token.is_some() || settings.listens_here_alone() {
        return Ok(None);
    }
    fresh_credential(PREFIX).map(Some)
}

/// The settings, with the token that was made where they want one and name none.
#[must_use]
pub fn with_made(mut settings: Settings, made: Option<KeyDigest>) -> Settings {
    if settings.admin.token.is_none() && !settings.listens_here_alone() {
        settings.admin.token = made;
    }
    settings
}
