//! Devices by name.

use std::fmt;

use burn::tensor::Device;
use clap::ValueEnum;

/// A device of Burn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// Burn's own CPU backend.
    Flex,
    /// The older CPU backend.
    Ndarray,
    /// Vulkan, Metal or DirectX.
    Wgpu,
    /// CUDA.
    Cuda,
}

impl Place {
    /// Open the device, without autodiff.
    ///
    /// # Errors
    ///
    /// Says which feature this program was built without.
    pub fn open(self) -> Result<Device, String> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(Default::default())),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[allow(unreachable_patterns)]
            other => Err(format!(
                "this program was built without device {other}: build it with `--features {other}`"
            )),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        })
    }
}
