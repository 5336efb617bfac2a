//! Where and in which precision to compute.

use std::fmt;
use std::panic::catch_unwind;
use std::str::FromStr;

use burn::tensor::{DType, Device, DeviceError, FloatDType, Tensor};

use programs::{DeviceKind, DeviceName, open_worker};

use crate::error::Error;

/// The float type of parameters, inputs and gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Precision {
    /// 64 bits, on devices that have them.
    #[default]
    F64,
    /// 32 bits; Gram matrices are accumulated in 64 where the device has them.
    F32,
}

/// A device of this machine, such as `flex` or `cuda:1`, or a worker on another one at `ws://HOST:PORT`.
///
/// ```
/// use replay::Location;
///
/// let here: Location = "flex".parse()?;
/// let there: Location = "ws://gpu:7700".parse()?;
/// assert_eq!((here.to_string(), there.to_string()), ("flex".into(), "ws://gpu:7700".into()));
/// assert!("gpu".parse::<Location>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A device of this machine.
    Here(DeviceName),
    /// The address of a worker.
    Worker(String),
}

/// An opened device and the dtype of its floats.
///
/// ```
/// use replay::{DeviceKind, Place, Precision};
///
/// let place = Place::open(DeviceKind::Flex, Precision::F32)?;
/// assert_eq!(place.vector(&[1.0, 2.0]).dims(), [2]);
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The device, with autodiff.
    pub device: Device,
    /// The dtype.
    pub dtype: DType,
}

impl Precision {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
        }
    }

    fn dtypes(self) -> (FloatDType, DType) {
        match self {
            Self::F64 => (FloatDType::F64, DType::F64),
            Self::F32 => (FloatDType::F32, DType::F32),
        }
    }
}

impl From<DeviceKind> for Location {
    fn from(kind: DeviceKind) -> Self {
        Self::Here(DeviceName { kind, index: 0 })
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name.starts_with("ws://") {
            Ok(Self::Worker(name.into()))
        } else {
            name.parse().map(Self::Here)
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(name) => name.fmt(f),
            Self::Worker(url) => f.write_str(url),
        }
    }
}

impl Location {
    /// The device, without autodiff and before its first tensor.
    fn device(&self) -> Result<Device, Error> {
        Ok(match self {
            Self::Here(name) => name.device()?,
            Self::Worker(url) => open_worker(url)?.inner(),
        })
    }
}

impl Place {
    /// Open a device of this machine and make `precision` its default, before its first tensor.
    ///
    /// Once per device and process; a second time must ask for the same precision.
    ///
    /// # Errors
    ///
    /// As [`open_at`](Self::open_at).
    pub fn open(kind: DeviceKind, precision: Precision) -> Result<Self, Error> {
        Self::open_at(&kind.into(), precision)
    }

    /// Open a device and make `precision` its default, before its first tensor.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceNotBuilt`], [`Error::Worker`], and [`Error::Device`] if the device cannot be used or does not
    /// have the precision.
    pub fn open_at(location: &Location, precision: Precision) -> Result<Self, Error> {
        let mut device = location.device()?;
        let (float, dtype) = precision.dtypes();
        let refuse = |problem: String| Error::Device {
            device: location.to_string(),
            dtype: precision.name(),
            problem,
        };
        // Devices are opened by their first call, and panic if there is none.
        let opened = catch_unwind(move || {
            let configured = device.configure(float);
            let supported = device.supports_dtype(dtype);
            if configured.is_ok() && supported {
                Tensor::<1>::zeros([1], (&device, dtype)).into_data();
            }
            (configured, supported, device)
        });
        let (configured, supported, device) =
            opened.map_err(|_| refuse("it could not be opened".into()))?;
        match configured {
            Err(DeviceError::AlreadyInitialized { .. })
                if device.settings().float_dtype == float => {}
            other => other.map_err(|error| refuse(error.to_string()))?,
        }
        if !supported {
            return Err(refuse("it does not have this dtype".into()));
        }
        Ok(Self {
            device: device.autodiff(),
            dtype,
        })
    }

    /// The same place without autodiff.
    pub fn inner(&self) -> Self {
        Self {
            device: self.device.clone().inner(),
            dtype: self.dtype,
        }
    }

    /// A tensor of the place's dtype from row-major values.
    ///
    /// # Panics
    ///
    /// Panics if the values do not fit the shape.
    pub fn tensor<const D: usize>(&self, values: &[f64], shape: [usize; D]) -> Tensor<D> {
        let data = burn::tensor::TensorData::new(values.to_vec(), shape);
        Tensor::from_data(data, (&self.device, self.dtype))
    }

    /// A vector.
    pub fn vector(&self, values: &[f64]) -> Tensor<1> {
        self.tensor(values, [values.len()])
    }
}
