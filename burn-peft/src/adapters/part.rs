//! The kinds of tensors that methods store.

/// The kind of a tensor that a method stores for an adapted layer, known by the end of its key, or for
/// the whole model, known by its whole key.
///
/// ```
/// use burn_peft::AdapterPart;
///
/// assert_eq!(AdapterPart::LORA_EMBEDDING_B.suffix(), "lora_embedding_B");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterPart(&'static str);

impl AdapterPart {
    pub(crate) const fn new(suffix: &'static str) -> Self {
        Self(suffix)
    }

    /// The end of its key, after the name of the module; of a tensor of the whole model, the key.
    pub fn suffix(self) -> &'static str {
        self.0
    }
}
