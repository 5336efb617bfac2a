//! First values of LoKr's factors.

use crate::settings::{FieldValue, Json};

/// `init_weights` of LoKr: the first values of new factors.
///
/// ```
/// use burn_peft::lokr::InitLokrWeights;
///
/// assert_eq!(InitLokrWeights::default(), InitLokrWeights::Zero);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum InitLokrWeights {
    /// The first factor is zero, so that the adapter changes nothing (`true`).
    #[default]
    Zero,
    /// Both are random (`false`).
    Random,
    /// The second factor is zero (`"lycoris"`).
    Lycoris,
}

impl FieldValue for InitLokrWeights {
    const EXPECTED: &'static str = "expected true, false or \"lycoris\"";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::Bool(true) => Some(Self::Zero),
            Json::Bool(false) => Some(Self::Random),
            Json::String(name) if name == "lycoris" => Some(Self::Lycoris),
            _ => None,
        }
    }

    fn write(&self) -> Json {
        match self {
            Self::Zero => Json::Bool(true),
            Self::Random => Json::Bool(false),
            Self::Lycoris => Json::String("lycoris".into()),
        }
    }
}
