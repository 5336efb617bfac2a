//! Reading a case: its kind and settings from the metadata, its tensors to the host.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::array::{Array, Values};
use crate::error::Error;
use crate::kind::{Kind, Lambda};
use crate::metadata::Metadata;

/// The inputs of a case. Expected results in the file are not read.
///
/// ```no_run
/// let case = replay::Case::read("c_mlp.safetensors".as_ref())?;
/// let labels = case.integers("labels", &[None])?;
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Its network and loss.
    pub kind: Kind,
    /// The dampings.
    pub lambdas: Vec<Lambda>,
    /// Names of the trainable parameters, without `param.`, in the order of the results.
    pub order: Vec<String>,
    /// Attention heads.
    pub heads: usize,
    /// LoRA's scale times the rank.
    pub lora_alpha: f64,
    tensors: BTreeMap<String, Array>,
}

impl Case {
    /// Read a case file.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Format`], [`Error::UnknownCase`], [`Error::Metadata`] and
    /// [`Error::Dtype`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read_file(path)?;
        let format = |source| Error::Format {
            path: path.into(),
            source,
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let file = SafeTensors::deserialize(&bytes).map_err(format)?;
        let tensors = file
            .iter()
            .filter(|(name, _)| is_input(name))
            .map(|(name, view)| Ok((name.to_string(), array(name, &view)?)))
            .collect::<Result<_, Error>>()?;
        Self::new(header.metadata().clone().unwrap_or_default(), tensors)
    }

    /// From metadata and tensors.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownCase`], [`Error::Metadata`].
    pub fn new(
        metadata: HashMap<String, String>,
        tensors: BTreeMap<String, Array>,
    ) -> Result<Self, Error> {
        let metadata = Metadata::new(metadata);
        let name = metadata.required("case", "the name of the case")?;
        let kind = Kind::parse(&name).ok_or_else(|| Error::UnknownCase { name: name.clone() })?;
        let loss = metadata.required("loss", kind.loss())?;
        if loss != kind.loss() {
            return Err(metadata.unexpected("loss", kind.loss()));
        }
        metadata.refuse_unknown()?;
        let case = Self {
            lambdas: metadata.lambdas()?,
            order: metadata.order(kind, &tensors)?,
            heads: metadata.parsed("heads", 2, "a whole number above 0", |&h| h > 0)?,
            lora_alpha: metadata.parsed("lora_alpha", 4.0, "a finite number", |a: &f64| {
                a.is_finite()
            })?,
            name,
            kind,
            tensors,
        };
        if !kind.is_grid() {
            let samples = case.shape("labels")?.first().copied().unwrap_or(0);
            metadata.count("M", "samples in `labels`", samples)?;
            let columns = case.order.iter().map(|name| {
                let shape = &case.tensors[&format!("param.{name}")].shape;
                shape.iter().product::<usize>()
            });
            metadata.count("P", "entries of `param.*`", columns.sum())?;
        }
        Ok(case)
    }

    /// Whether the file has this tensor.
    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// Names of the tensors, expected results left out.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`].
    pub fn shape(&self, tensor: &str) -> Result<&[usize], Error> {
        self.get(tensor).map(|array| array.shape.as_slice())
    }

    /// Values of a float tensor of this shape (`None`: any size).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Shape`], [`Error::Dtype`].
    pub fn floats(&self, tensor: &str, shape: &[Option<usize>]) -> Result<&[f64], Error> {
        match &self.shaped(tensor, shape)?.values {
            Values::Float(values) => Ok(values),
            Values::Int(_) => Err(Error::Dtype {
                tensor: tensor.into(),
                expected: "F64 or F32",
                found: "an integer".into(),
            }),
        }
    }

    /// Values of an integer tensor of this shape (`None`: any size).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Shape`], [`Error::Dtype`].
    pub fn integers(&self, tensor: &str, shape: &[Option<usize>]) -> Result<&[i64], Error> {
        match &self.shaped(tensor, shape)?.values {
            Values::Int(values) => Ok(values),
            Values::Float(_) => Err(Error::Dtype {
                tensor: tensor.into(),
                expected: "I64 or I32",
                found: "a float".into(),
            }),
        }
    }

    fn get(&self, tensor: &str) -> Result<&Array, Error> {
        self.tensors.get(tensor).ok_or_else(|| Error::Missing {
            tensor: tensor.into(),
        })
    }

    fn shaped(&self, tensor: &str, shape: &[Option<usize>]) -> Result<&Array, Error> {
        let array = self.get(tensor)?;
        let fits = array.shape.len() == shape.len()
            && array
                .shape
                .iter()
                .zip(shape)
                .all(|(found, expected)| expected.is_none_or(|expected| expected == *found));
        if fits {
            Ok(array)
        } else {
            Err(Error::Shape {
                tensor: tensor.into(),
                expected: describe(shape),
                found: array.shape.clone(),
            })
        }
    }
}

/// The contents of a regular file: opening a FIFO would wait for a writer.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let read = || {
        if fs::metadata(path)?.is_file() {
            fs::read(path)
        } else {
            Err(std::io::Error::other("expected a regular file"))
        }
    };
    read().map_err(|source| Error::Read {
        path: path.into(),
        source,
    })
}

/// `[?, 3]`.
fn describe(shape: &[Option<usize>]) -> String {
    let sizes = shape
        .iter()
        .map(|size| size.map_or("?".into(), |s| s.to_string()));
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

fn is_input(name: &str) -> bool {
    ["labels", "labels_sampled", "axis", "theta"].contains(&name)
        || ["input.", "param.", "frozen.", "fvp.v."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

pub(crate) fn array(name: &str, view: &TensorView<'_>) -> Result<Array, Error> {
    fn read<const N: usize, T>(data: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (chunks, _) = data.as_chunks::<N>();
        chunks.iter().map(|chunk| f(*chunk)).collect()
    }
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F64 => Values::Float(read(data, f64::from_le_bytes)),
        Dtype::F32 => Values::Float(read(data, |bytes| f64::from(f32::from_le_bytes(bytes)))),
        Dtype::I64 => Values::Int(read(data, i64::from_le_bytes)),
        Dtype::I32 => Values::Int(read(data, |bytes| i64::from(i32::from_le_bytes(bytes)))),
        other => {
            return Err(Error::Dtype {
                tensor: name.into(),
                expected: "F64, F32, I64 or I32",
                found: format!("{other:?}"),
            });
        }
    };
    Ok(Array {
        shape: view.shape().to_vec(),
        values,
    })
}
