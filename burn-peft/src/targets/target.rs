//! Modules and what they are.

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
