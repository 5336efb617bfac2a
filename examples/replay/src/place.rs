//! Where and in which precision to compute.

use std::panic::catch_unwind;

use burn::tensor::{DType, Device, DeviceError, FloatDType, Tensor};

use programs::DeviceKind;

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

/// An opened device and the dtype of its floats.
///
/// ```
/// use replay::{DeviceKind, Place, Precision};
///
/// let place = Place::open(DeviceKind::Flex, Precision::F32)?;
/// assert_eq!(place.vector(&[1.0, 2.0]).dims(), [2]);
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone)]
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

impl Place {
    /// Open a device and make `precision` its default, before its first tensor.
    ///
    /// Once per device and process; a second time must ask for the same precision.
    ///
    /// # Errors
    ///
    /// [`Error::DeviceNotBuilt`], and [`Error::Device`] if the device cannot be used or does not
    /// have the precision.
    pub fn open(kind: DeviceKind, precision: Precision) -> Result<Self, Error> {
        let mut device = kind.device()?;
        let (float, dtype) = precision.dtypes();
        let refuse = |problem: String| Error::Device {
            device: kind.name(),
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
