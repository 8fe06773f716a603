//! Certificate authorities that an operator trusts in addition to the system's, by the one rule that both `check` and
//! connections use.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, TrustAnchor};

/// Why a text names no authorities.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAuthorities {
    /// Nothing in it is a certificate.
    #[error("it holds no certificate")]
    None,
    /// It is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// One of its certificates can't be used.
    #[error(transparent)]
    Certificate(#[from] rustls::Error),
}

/// Authorities, each of which can be used.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Authorities(Vec<TrustAnchor<'static>>);

impl fmt::Debug for Authorities {
    /// Shows only how many: a certificate is long, and says nothing to people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorities").field(&self.0.len()).finish()
    }
}

impl Authorities {
    /// Reads certificates as PEM.
    ///
    /// # Errors
    ///
    /// [`InvalidAuthorities`] if there is none, or one that can't be used: fewer than asked for are never trusted
    /// silently.
    pub fn read(pem: &[u8]) -> Result<Self, InvalidAuthorities> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?)?;
        }
        if roots.is_empty() { Err(InvalidAuthorities::None) } else { Ok(Self(roots.roots)) }
    }

    /// Adds them to the roots that connections trust.
    pub fn add_to(&self, roots: &mut RootCertStore) {
        roots.extend(self.0.iter().cloned());
    }
}

/// Texts that name no authorities, each with a part of its error.
#[cfg(test)]
pub(crate) const USELESS: [(&str, &str); 5] = [
    ("", "it holds no certificate"),
    ("not PEM", "it holds no certificate"),
    ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "base64"),
    ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "BadEncoding"),
    // A copy that was cut short.
    ("-----BEGIN CERTIFICATE-----\nAAAA\n", "missing section end"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_authority_is_a_fault_and_not_ignored() {
        for (pem, told) in USELESS {
            let fault = Authorities::read(pem.as_bytes()).unwrap_err().to_string();
            assert!(fault.contains(told), "{pem:?}: {fault}");
        }
    }
}
