//! Where a value came from, encoded in the one text that the merging library carries along with each value.

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A line of a file.
    Line {
        /// Which layer, counted from the built-in defaults up.
        layer: usize,
        /// Counted from 1.
        line: usize,
    },
    /// A variable.
    Variable {
        /// Its name as it is set.
        name: String,
    },
}

impl Origin {
    /// Encodes it as text.
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Line { layer, line } => format!("{layer}:{line}"),
            Self::Variable { name } => format!("${name}"),
        }
    }

    /// Decodes the text of [`Self::encode`].
    pub(super) fn decode(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix('$') {
            return Some(Self::Variable { name: name.to_owned() });
        }
        let (layer, line) = text.split_once(':')?;
        Some(Self::Line { layer: layer.parse().ok()?, line: line.parse().ok()? })
    }

    /// Its layer's rank: variables are above all files.
    pub(super) fn rank(&self) -> usize {
        match self {
            Self::Line { layer, .. } => *layer,
            Self::Variable { .. } => usize::MAX,
        }
    }
}
