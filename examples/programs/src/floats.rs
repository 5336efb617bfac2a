//! The floats of models, by name.

use burn::tensor::{DType, FloatDType};

/// Floats of a model's frozen weights and of what they compute.
///
/// ```
/// use clap::ValueEnum;
/// use programs::{DeviceKind, Floats};
///
/// let floats = Floats::from_str("f32", false)?;
/// assert!(DeviceKind::default().open_in(floats)?.is_autodiff());
/// assert_eq!(Floats::Bf16.bytes(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Floats {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, with the range of `f32` and three digits.
    Bf16,
    /// 16 bits, up to 65,504 and with four digits.
    F16,
}

impl Floats {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        self.dtype().size()
    }

    /// Its type in tensors.
    pub fn dtype(self) -> DType {
        self.float().into()
    }

    pub(crate) fn float(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }
}
