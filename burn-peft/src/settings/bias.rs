//! Which biases of the base model train.

use super::field::named_values;

/// `bias`: which biases of the base model train in addition to the adapters.
///
/// ```
/// use burn_peft::settings::Bias;
///
/// assert_eq!(Bias::LoraOnly.name(), "lora_only");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// Those of every layer.
    All,
    /// Those of the adapted layers.
    LoraOnly,
}

named_values!(
    Bias,
    "expected none, all or lora_only",
    None = "none",
    All = "all",
    LoraOnly = "lora_only",
);
