//! The models that an endpoint is verified with, in order.

/// How many models from the endpoint's list are tried if it lacks all others. One may be gone, but a long list is no reason
/// for as many requests.
const LISTED: usize = 2;

/// The models to verify an endpoint with, each once: if it lacks one, the next is tried.
#[derive(Clone, Debug)]
pub struct ModelsToTry {
    models: std::vec::IntoIter<String>,
}

impl ModelsToTry {
    /// Puts the candidates in order: the endpoint's `verify_model`, the verifier's `model`, the one whose failure isolated
    /// the endpoint, the protocol's default, and, for endpoints that have none of these, the first ones that their settings
    /// list. Empty names are skipped.
    #[must_use]
    pub fn new<'a>(
        verify_model: Option<&'a str>,
        verifier_model: Option<&'a str>,
        failed_model: Option<&'a str>,
        protocol_default: &'a str,
        listed: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut models: Vec<String> = Vec::new();
        let named = [verify_model, verifier_model, failed_model, Some(protocol_default)].into_iter().flatten();
        for model in named.chain(listed.into_iter().take(LISTED)) {
            if !model.is_empty() && !models.iter().any(|known| known == model) {
                models.push(model.to_owned());
            }
        }
        Self { models: models.into_iter() }
    }

    /// Only this model.
    #[must_use]
    pub fn only(model: &str) -> Self {
        Self { models: vec![model.to_owned()].into_iter() }
    }
}

impl Iterator for ModelsToTry {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.models.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_tried_in_order_and_each_once() {
        let tried = |a, b, c| ModelsToTry::new(a, b, c, "default", []).collect::<Vec<_>>();
        assert_eq!(tried(None, None, None), ["default"]);
        assert_eq!(tried(Some("own"), Some("all"), Some("failed")), ["own", "all", "failed", "default"]);
        assert_eq!(tried(Some(""), Some("all"), Some("all")), ["all", "default"]);
        assert_eq!(tried(Some("default"), None, Some("failed")), ["default", "failed"]);
    }

    #[test]
    fn the_first_models_that_an_endpoint_lists_are_tried_last() {
        let tried = |failed, listed: &[&str]| {
            ModelsToTry::new(None, None, failed, "default", listed.iter().copied()).collect::<Vec<_>>()
        };
        assert_eq!(tried(None, &["opus"]), ["default", "opus"]);
        assert_eq!(tried(Some("opus"), &["opus", "default"]), ["opus", "default"]);
        assert_eq!(tried(None, &["opus", "sonnet", "haiku"]), ["default", "opus", "sonnet"]);
    }
}
