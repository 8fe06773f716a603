//! Which authorities the gateway trusts when it speaks TLS to an upstream.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

pub use crate::authorities::Authorities;

/// Why there is no TLS configuration: the library refused it.
#[derive(Debug, thiserror::Error)]
#[error("TLS can't be set up: {0}")]
pub struct TlsConfigError(#[from] rustls::Error);

/// What clients trust, replaceable while they run: connections opened afterwards go by the new configuration. A clone is
/// the same trust.
#[derive(Clone)]
pub struct Trust(Arc<ArcSwap<ClientConfig>>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl From<Arc<ClientConfig>> for Trust {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }
}

impl Trust {
    /// The connector for new connections.
    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.0.load_full())
    }

    /// Makes new connections go by this configuration.
    pub fn replace(&self, config: Arc<ClientConfig>) {
        self.0.store(config);
    }
}

/// The configuration of a client: the system's certificate authorities, or Mozilla's if the system has none, and in
/// addition these.
///
/// # Errors
///
/// [`TlsConfigError`] if the library refuses it.
pub fn client_config(authorities: &Authorities) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let mut roots = system_roots();
    authorities.add_to(&mut roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Stated explicitly, so that no upstream takes the connection for HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!("upstream TLS: a certificate authority of the system can't be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (added, unusable) = roots.add_parsable_certificates(found.certs);
    if unusable > 0 {
        log::debug!("upstream TLS: {unusable} certificate authorities of the system are of no use, {added} are");
    }
    if roots.is_empty() {
        log::info!("upstream TLS: the system has no certificate authorities, so the built-in ones of Mozilla are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_always_roots() {
        assert!(!system_roots().is_empty());
        assert_eq!(client_config(&Authorities::default()).unwrap().alpn_protocols, [b"http/1.1"]);
    }
}
