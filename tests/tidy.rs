//! What the source and the documents promise about each other: read as text, so that no build can forget it.

#[cfg(test)]
#[path = "tidy/code.rs"]
mod code;
#[cfg(test)]
#[path = "tidy/defaults.rs"]
mod defaults;
#[cfg(test)]
#[path = "tidy/layers.rs"]
mod layers;
#[cfg(test)]
#[path = "tidy/mutations.rs"]
mod mutations;
#[cfg(test)]
#[path = "tidy/purity.rs"]
mod purity;
#[cfg(test)]
#[path = "tidy/readme.rs"]
mod readme;
#[cfg(test)]
#[path = "tidy/reference.rs"]
mod reference;
#[cfg(test)]
#[path = "tidy/security.rs"]
mod security;
