//! The one place that asks the operating system for randomness that nobody can foresee.

use crate::domain::secret::Secret;

/// How many random bytes a credential is made of.
const STRENGTH: usize = 32;

/// The system gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system's random generator can't be read: {0}; a credential can't be made without it")]
pub struct NoRandomness(#[from] getrandom::Error);

/// Bytes that nobody can foresee.
///
/// # Errors
///
/// [`NoRandomness`] if the system has none.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A credential that nobody has had before: `prefix` and 64 hexadecimal digits.
///
/// # Errors
///
/// [`NoRandomness`] if the system has none.
pub fn fresh_credential(prefix: &str) -> Result<Secret, NoRandomness> {
    Ok(Secret::new(&format!("{prefix}{}", hex::encode(random_bytes::<STRENGTH>()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_known_by_its_prefix_and_never_made_twice() {
        let (first, second) = (fresh_credential("qcc_").unwrap(), fresh_credential("qcc_").unwrap());
        let digits = first.expose().strip_prefix("qcc_").unwrap();
        assert_eq!(digits.len(), 2 * STRENGTH);
        assert!(digits.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(first, second);
    }
}
