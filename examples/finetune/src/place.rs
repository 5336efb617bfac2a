//! Where to compute.

use std::panic::catch_unwind;

use burn::tensor::{Device, Tensor};

use crate::error::Error;

/// The devices that the programs can be built with.
///
/// ```
/// use finetune::place::DeviceKind;
///
/// assert_eq!(DeviceKind::default().name(), "flex");
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
pub enum DeviceKind {
    /// Burn's CPU backend.
    #[default]
    Flex,
    /// Burn's former CPU backend.
    Ndarray,
    /// GPUs through WebGPU.
    Wgpu,
    /// NVIDIA GPUs.
    Cuda,
}

impl DeviceKind {
    /// Its name on the command line, and of the feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// Open the device, with autodiff.
    ///
    /// ```
    /// use finetune::place::DeviceKind;
    ///
    /// assert!(DeviceKind::Flex.open()?.is_autodiff());
    /// # Ok::<(), finetune::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::DeviceNotBuilt`] and [`Error::DeviceNotFound`].
    pub fn open(self) -> Result<Device, Error> {
        let device = match self {
            #[cfg(feature = "flex")]
            Self::Flex => Device::flex(),
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)] // deprecated upstream, still supported here
            Self::Ndarray => Device::ndarray(),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Device::wgpu(Default::default()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Device::cuda(0),
            #[allow(unreachable_patterns)] // with all features
            _ => return Err(Error::DeviceNotBuilt(self.name())),
        };
        // A device is opened by its first tensor, which panics if there is none.
        let opened = catch_unwind(move || {
            Tensor::<1>::zeros([1], &device).into_data();
            device.autodiff()
        });
        opened.map_err(|_| Error::DeviceNotFound(self.name()))
    }
}
