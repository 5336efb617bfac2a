//! The devices that the programs of this workspace can be built with, by name.

use std::fmt;
use std::panic::catch_unwind;

use burn::tensor::{Device, Tensor};

/// A device of Burn, as the command line and settings name it.
///
/// ```
/// use clap::ValueEnum;
/// use programs::DeviceKind;
///
/// let kind = DeviceKind::from_str("flex", false)?;
/// assert!(kind.open()?.is_autodiff());
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

/// A device that the program cannot use.
///
/// ```
/// assert_eq!(
///     programs::DeviceError::NotBuilt("cuda").to_string(),
///     "device `cuda` is not part of this build: build with `--features cuda`"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The program was built without this device.
    #[error("device `{0}` is not part of this build: build with `--features {0}`")]
    NotBuilt(&'static str),

    /// The program knows the device, but this machine does not have it.
    #[error("device `{0}` could not be opened on this machine")]
    NotFound(&'static str),
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

    /// The device, not opened yet. Burn opens it with its first tensor, and panics if it is not
    /// there.
    ///
    /// # Errors
    ///
    /// [`DeviceError::NotBuilt`].
    pub fn device(self) -> Result<Device, DeviceError> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)] // deprecated upstream, still supported here
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(Default::default())),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[allow(unreachable_patterns)] // with all features
            _ => Err(DeviceError::NotBuilt(self.name())),
        }
    }

    /// Open the device, with autodiff.
    ///
    /// # Errors
    ///
    /// [`DeviceError::NotBuilt`] and [`DeviceError::NotFound`].
    pub fn open(self) -> Result<Device, DeviceError> {
        let device = self.device()?;
        let opened = catch_unwind(move || {
            Tensor::<1>::zeros([1], &device).into_data();
            device.autodiff()
        });
        opened.map_err(|_| DeviceError::NotFound(self.name()))
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_opens_or_says_what_is_missing() {
        let kinds = [
            (DeviceKind::Flex, cfg!(feature = "flex")),
            (DeviceKind::Ndarray, cfg!(feature = "ndarray")),
            (DeviceKind::Wgpu, cfg!(feature = "wgpu")),
            (DeviceKind::Cuda, cfg!(feature = "cuda")),
        ];
        for (kind, built) in kinds {
            match kind.open() {
                Ok(device) => assert!(built && device.is_autodiff()),
                Err(DeviceError::NotFound(name)) => assert!(built && name == kind.to_string()),
                Err(error) => assert!(!built && error == DeviceError::NotBuilt(kind.name())),
            }
        }
    }
}
