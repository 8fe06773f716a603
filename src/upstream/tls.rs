//! Whom the gateway trusts when it speaks TLS to an upstream.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The file of further authorities can't be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of further authorities is no PEM text, or has no certificate that can be used.
    #[error("{path}: {fault}; it must hold certificates of authorities as PEM", path = path.display())]
    NoCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The library refused the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Whom clients trust, as it can be replaced while they run: connections that are opened afterwards go by the new one. A clone
/// is the same trust.
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
    /// What new connections go by.
    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.0.load_full())
    }

    /// Has new connections go by this.
    pub fn replace(&self, config: Arc<ClientConfig>) {
        self.0.store(config);
    }
}

/// The configuration of a client: the system's certificate authorities, Mozilla's where the system has none, and beside them
/// those of `ca_file`.
///
/// # Errors
///
/// [`TlsConfigError`] where `ca_file` is of no use; nothing is trusted silently less than asked for.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let mut roots = system_roots();
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    with_roots(roots)
}

fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Said aloud, so that no upstream takes the connection for HTTP/2.
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

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsConfigError> {
    let useless = |fault: String| TlsConfigError::NoCertificates { path: path.to_owned(), fault };
    let unreadable = |source| TlsConfigError::Unreadable { path: path.to_owned(), source };
    let refuse = |error| match error {
        pem::Error::Io(source) => unreadable(source),
        error => useless(error.to_string()),
    };
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(refuse)? {
        roots.add(certificate.map_err(refuse)?).map_err(|error| useless(error.to_string()))?;
    }
    if roots.len() == before { Err(useless("it has no certificate".to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn there_are_always_roots() {
        assert!(!system_roots().is_empty());
        assert_eq!(client_config(None).unwrap().alpn_protocols, [b"http/1.1"]);
    }

    #[test]
    fn a_file_that_adds_no_authority_is_a_fault_and_not_ignored() {
        for text in [
            "",
            "not PEM",
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let file = file(text);
            let refused = client_config(Some(file.path()));
            assert!(matches!(refused, Err(TlsConfigError::NoCertificates { .. })), "{text:?}: {refused:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.pem");
        let refused = client_config(Some(&missing)).unwrap_err();
        assert!(matches!(refused, TlsConfigError::Unreadable { .. }));
        assert!(refused.to_string().contains("missing.pem"));
    }
}
