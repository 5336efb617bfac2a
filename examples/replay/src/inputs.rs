//! Inputs of a model by the name of the argument.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;

use crate::array::{Array, Values};
use crate::case::{array, read_file};
use crate::error::Error;
use crate::place::Place;

/// The tensors `input.<argument>` of a file.
///
/// ```no_run
/// use replay::Inputs;
///
/// let inputs = Inputs::read("golden.safetensors".as_ref())?;
/// inputs.only(&["input_ids", "attention_mask"])?;
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Inputs(BTreeMap<String, Array>);

const PREFIX: &str = "input.";

impl Inputs {
    /// Read a file; tensors of other names in it are not read.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Format`], [`Error::Dtype`] for what is neither an integer nor a
    /// float, [`Error::Missing`] if there is no input.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read_file(path)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|source| Error::Format {
            path: path.into(),
            source,
        })?;
        let mut inputs = BTreeMap::new();
        for (name, view) in file.iter() {
            if let Some(argument) = name.strip_prefix(PREFIX) {
                inputs.insert(argument.to_string(), array(name, &view)?);
            }
        }
        if inputs.is_empty() {
            Err(Error::Missing {
                tensor: format!("{PREFIX}…"),
            })
        } else {
            Ok(Self(inputs))
        }
    }

    /// Refuse arguments that a model does not have.
    ///
    /// # Errors
    ///
    /// [`Error::Unused`] naming them.
    pub fn only(&self, known: &[&str]) -> Result<(), Error> {
        let unknown = self.0.keys().filter(|name| !known.contains(&name.as_str()));
        let unknown: Vec<String> = unknown.map(|name| format!("{PREFIX}{name}")).collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(Error::Unused {
                network: "the model",
                tensors: unknown,
            })
        }
    }

    /// The shape of an argument, if it is there.
    pub fn shape(&self, argument: &str) -> Option<&[usize]> {
        self.0.get(argument).map(|array| array.shape.as_slice())
    }

    /// Integers `[M, T]`, if the argument is there.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`], [`Error::Dtype`] and [`Error::Value`].
    pub fn integers(
        &self,
        argument: &str,
        device: &Device,
    ) -> Result<Option<Tensor<2, Int>>, Error> {
        let Some(array) = self.0.get(argument) else {
            return Ok(None);
        };
        let shape: [usize; 2] = shaped(argument, array, "[?, ?]")?;
        let Values::Int(values) = &array.values else {
            return Err(Error::Dtype {
                tensor: format!("{PREFIX}{argument}"),
                expected: "I64 or I32",
                found: "a float".into(),
            });
        };
        // Devices hold integers of 32 bits.
        if let Some(value) = values.iter().find(|value| i32::try_from(**value).is_err()) {
            return Err(Error::Value {
                tensor: format!("{PREFIX}{argument}"),
                problem: format!("holds {value}: expected {} to {}", i32::MIN, i32::MAX),
            });
        }
        let data = TensorData::new(values.clone(), shape);
        Ok(Some(Tensor::from_data(data, device)))
    }

    /// Integers that the model cannot do without.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], and as [`integers`](Self::integers).
    pub fn needed(&self, argument: &str, device: &Device) -> Result<Tensor<2, Int>, Error> {
        let found = self.integers(argument, device)?;
        found.ok_or_else(|| Error::Missing {
            tensor: format!("{PREFIX}{argument}"),
        })
    }

    /// Floats `[M, C, H, W]`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Shape`] and [`Error::Dtype`].
    pub fn images(&self, argument: &str, place: &Place) -> Result<Tensor<4>, Error> {
        let tensor = format!("{PREFIX}{argument}");
        let Some(array) = self.0.get(argument) else {
            return Err(Error::Missing { tensor });
        };
        let shape: [usize; 4] = shaped(argument, array, "[?, ?, ?, ?]")?;
        match &array.values {
            Values::Float(values) => Ok(place.tensor(values, shape)),
            Values::Int(_) => Err(Error::Dtype {
                tensor,
                expected: "F32 or F64",
                found: "an integer".into(),
            }),
        }
    }
}

/// The shape with D axes, none of which is empty.
fn shaped<const D: usize>(
    argument: &str,
    array: &Array,
    expected: &str,
) -> Result<[usize; D], Error> {
    let refused = |expected: String| Error::Shape {
        tensor: format!("{PREFIX}{argument}"),
        expected,
        found: array.shape.clone(),
    };
    let shape = array.shape.as_slice().try_into();
    let shape: [usize; D] = shape.map_err(|_| refused(expected.into()))?;
    if shape.contains(&0) {
        return Err(refused(format!("{expected} with at least one value")));
    }
    Ok(shape)
}
