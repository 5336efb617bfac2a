//! The devices that the programs of this workspace can be built with, by name.

use std::fmt;
use std::panic::catch_unwind;

use burn::tensor::{Device, Tensor};

use crate::floats::Floats;

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

    /// The device has no such floats, or computes with others already.
    #[error("device `{device}` cannot compute in {floats}: {problem}")]
    Floats {
        /// The device.
        device: &'static str,
        /// The floats.
        floats: &'static str,
        /// Why not.
        problem: String,
    },
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
        opened(self.device()?, self)
    }

    /// Open the device, with autodiff, and let it make tensors of these floats, before its first tensor.
    ///
    /// A device takes its floats once per process; a second time must ask for the same.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`DeviceError::Floats`].
    pub fn open_in(self, floats: Floats) -> Result<Device, DeviceError> {
        opened_in(self.device()?, self, floats)
    }
}

/// One of several devices of a kind, as the command line names it: `cuda:1`, or `cuda` for the first.
///
/// ```
/// use programs::{DeviceKind, DeviceName};
///
/// let name: DeviceName = "cuda:1".parse()?;
/// assert_eq!((name.kind, name.index), (DeviceKind::Cuda, 1));
/// assert_eq!(name.to_string(), "cuda:1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceName {
    /// The kind.
    pub kind: DeviceKind,
    /// The number of the device among those of its kind.
    pub index: usize,
}

impl std::str::FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
        let kinds = <DeviceKind as clap::ValueEnum>::value_variants();
        let known = kinds.iter().find(|known| known.name() == kind);
        let Some(&kind) = known else {
            let kinds = kinds.iter().map(|kind| kind.name());
            let kinds: Vec<&str> = kinds.collect();
            return Err(format!(
                "expected one of {}, found `{kind}`",
                kinds.join(", ")
            ));
        };
        let index = index.parse().map_err(|_| {
            format!("expected the number of a device after the colon, found `{index}`")
        })?;
        if index > 0 && matches!(kind, DeviceKind::Flex | DeviceKind::Ndarray) {
            return Err(format!("expected `{kind}`: the processor is one device"));
        }
        Ok(Self { kind, index })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            0 => write!(f, "{}", self.kind),
            index => write!(f, "{}:{index}", self.kind),
        }
    }
}

impl DeviceName {
    /// The device, not opened yet: as [`DeviceKind::device`].
    ///
    /// # Errors
    ///
    /// [`DeviceError::NotBuilt`].
    pub fn device(self) -> Result<Device, DeviceError> {
        match self.kind {
            #[cfg(feature = "wgpu")]
            DeviceKind::Wgpu if self.index > 0 => Ok(Device::wgpu(
                burn::tensor::DeviceKind::DiscreteGpu(self.index),
            )),
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => Ok(Device::cuda(self.index)),
            kind => kind.device(),
        }
    }

    /// Open the device, with autodiff.
    ///
    /// # Errors
    ///
    /// As [`DeviceKind::open`].
    pub fn open(self) -> Result<Device, DeviceError> {
        opened(self.device()?, self.kind)
    }

    /// Open the device as [`DeviceKind::open_in`] does.
    ///
    /// # Errors
    ///
    /// As [`DeviceKind::open_in`].
    pub fn open_in(self, floats: Floats) -> Result<Device, DeviceError> {
        opened_in(self.device()?, self.kind, floats)
    }
}

/// Let a device make tensors of these floats, and use it for the first time.
fn opened_in(mut device: Device, kind: DeviceKind, floats: Floats) -> Result<Device, DeviceError> {
    let refuse = |problem: String| DeviceError::Floats {
        device: kind.name(),
        floats: floats.name(),
        problem,
    };
    let (device, configured, supported) = catch_unwind(move || {
        let configured = device.configure(floats.float());
        let supported = device.supports_dtype(floats.dtype());
        (device, configured, supported)
    })
    .map_err(|_| DeviceError::NotFound(kind.name()))?;
    if !supported {
        return Err(refuse("it does not have them".into()));
    }
    let own = device.settings().float_dtype;
    match configured {
        Err(_) if own == floats.float() => {}
        other => other.map_err(|error| refuse(error.to_string()))?,
    }
    opened(device, kind)
}

/// Use a device for the first time, which opens it.
fn opened(device: Device, kind: DeviceKind) -> Result<Device, DeviceError> {
    let opened = catch_unwind(move || {
        Tensor::<1>::zeros([1], &device).into_data();
        device.autodiff()
    });
    opened.map_err(|_| DeviceError::NotFound(kind.name()))
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
    fn names_of_devices_are_read_and_refused() {
        for (name, kind, index) in [
            ("flex", DeviceKind::Flex, 0),
            ("cuda:0", DeviceKind::Cuda, 0),
            ("wgpu:2", DeviceKind::Wgpu, 2),
        ] {
            assert_eq!(name.parse(), Ok(DeviceName { kind, index }));
        }
        let refused = |name: &str| name.parse::<DeviceName>().unwrap_err();
        assert_eq!(
            refused("gpu"),
            "expected one of flex, ndarray, wgpu, cuda, found `gpu`"
        );
        assert!(refused("cuda:x").contains("after the colon, found `x`"));
        assert!(refused("flex:1").contains("the processor is one device"));
    }

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
