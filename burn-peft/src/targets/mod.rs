//! Which modules of a model a method adapts, by PEFT's rules.
//!
//! Names are those of `transformers` (see [`NameMap`](crate::NameMap)). The rules are those of
//! PEFT 0.16 and later; where the meaning of `layers_to_transform` changed, the version that wrote
//! the configuration decides. [`PeftConfig::targets`](crate::PeftConfig::targets) applies them.

mod near_names;
mod output_head;
mod rules;
mod saved_modules;
mod selection;

pub use output_head::{default_targets, output_head};
pub(crate) use saved_modules::is_under_saved;
pub use saved_modules::modules_to_save;
pub(crate) use selection::Selection;

/// What a module is, for the methods that adapt layers.
///
/// ```
/// use burn_peft::ModuleKind;
///
/// assert!(ModuleKind::Conv2d.is_adaptable());
/// assert!(!ModuleKind::Other.is_adaptable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModuleKind {
    /// A linear layer with a weight `[in, out]`.
    Linear,
    /// A table of embeddings `[entries, d]`.
    Embedding,
    /// A convolution over images with kernels `[out, in, k, k]`.
    Conv2d,
    /// Anything else, such as a norm or a module of modules. Where a model lists these too, a
    /// target that is one is an error, as in PEFT; where it does not, no target can be one.
    Other,
}

impl ModuleKind {
    /// Whether some method can adapt it.
    pub fn is_adaptable(self) -> bool {
        self != Self::Other
    }
}

/// A module that gets an adapter.
///
/// ```
/// use burn_peft::{LoraConfig, ModuleKind, PeftConfig};
///
/// let config = PeftConfig::from(LoraConfig::new().with_target_modules(["v_proj"]));
/// let modules = [("layers.0.v_proj".to_string(), ModuleKind::Linear)];
/// let targets = config.targets(&modules)?;
/// assert_eq!((targets[0].module.as_str(), targets[0].kind), ("layers.0.v_proj", ModuleKind::Linear));
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Target {
    /// Name of the module.
    pub module: String,
    /// What it is.
    pub kind: ModuleKind,
}
