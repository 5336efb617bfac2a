//! A batch of supervised fine-tuning in a file.

use std::collections::BTreeSet;
use std::path::Path;

use safetensors::SafeTensors;

use crate::array::{Array, Values};
use crate::case::{array, read_file};
use crate::error::Error;
use crate::inputs::Inputs;
use crate::kind::Lambda;
use crate::metadata::Metadata;

/// The label of positions that are not part of the loss.
pub(super) const IGNORED: i64 = -100;

/// The inputs and labels of a batch. Expected results in the file are not read.
///
/// ```no_run
/// let batch = replay::SftCase::read("lora_sft.safetensors".as_ref())?;
/// println!("{} samples", batch.samples());
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SftCase {
    pub(super) inputs: Inputs,
    /// `[M, T]`
    pub(super) labels: Vec<i64>,
    /// The same, drawn from the model.
    pub(super) drawn: Vec<i64>,
    pub(super) lambdas: Vec<Lambda>,
    dims: [usize; 2],
}

impl SftCase {
    /// Read a file: `input.*`, `labels`, `labels_sampled`, and the dampings from the metadata, if they are there.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Format`], [`Error::Metadata`], [`Error::UnknownMetadata`], [`Error::Missing`],
    /// [`Error::Shape`], [`Error::Dtype`], and [`Error::Value`] for drawn labels at other places than the true ones.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let inputs = Inputs::read(path)?;
        let bytes = read_file(path)?;
        let format = |source| Error::Format {
            path: path.into(),
            source,
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let metadata = Metadata::new(header.metadata().clone().unwrap_or_default());
        metadata.refuse_all_but(&["lams"])?;
        let file = SafeTensors::deserialize(&bytes).map_err(format)?;
        let ids = inputs.shape("input_ids").ok_or_else(|| Error::Missing {
            tensor: "input.input_ids".into(),
        })?;
        let shape = <[usize; 2]>::try_from(ids).map_err(|_| Error::Shape {
            tensor: "input.input_ids".into(),
            expected: "[?, ?]".into(),
            found: ids.to_vec(),
        })?;
        let case = Self {
            labels: integers(&file, "labels", shape)?,
            drawn: integers(&file, "labels_sampled", shape)?,
            lambdas: metadata.lambdas()?,
            dims: shape,
            inputs,
        };
        let at = |labels: &[i64]| {
            labels
                .iter()
                .map(|&label| label == IGNORED)
                .collect::<Vec<_>>()
        };
        if at(&case.labels) != at(&case.drawn) {
            return Err(Error::Value {
                tensor: "labels_sampled".into(),
                problem: format!("does not have {IGNORED} at the places where `labels` has it"),
            });
        }
        Ok(case)
    }

    /// M.
    pub fn samples(&self) -> usize {
        self.dims[0]
    }

    /// T.
    pub(super) fn positions(&self) -> usize {
        self.dims[1]
    }

    /// Refuse labels outside the vocabulary.
    pub(super) fn check_labels(&self, vocabulary: usize) -> Result<(), Error> {
        for (tensor, labels) in [("labels", &self.labels), ("labels_sampled", &self.drawn)] {
            let known = |label: i64| label == IGNORED || (0..vocabulary as i64).contains(&label);
            let wrong: BTreeSet<i64> = labels.iter().copied().filter(|&l| !known(l)).collect();
            if let Some(label) = wrong.first() {
                return Err(Error::Value {
                    tensor: tensor.into(),
                    problem: format!(
                        "has the label {label}: expected {IGNORED} or 0 to {}",
                        vocabulary - 1
                    ),
                });
            }
        }
        Ok(())
    }

    /// Labels that a position predicts, sample by sample: all but those of the first token.
    fn predicted<'a>(&self, labels: &'a [i64]) -> impl Iterator<Item = &'a [i64]> + use<'a> {
        labels.chunks(self.dims[1]).map(|line| &line[1..])
    }

    /// Answer tokens of every sample.
    pub(super) fn answer_tokens(&self) -> Vec<f64> {
        let lines = self.predicted(&self.labels);
        let counts = lines.map(|line| line.iter().filter(|&&label| label != IGNORED).count());
        counts.map(|count| count as f64).collect()
    }

    /// Whether all answer tokens of a sample were drawn as they are.
    pub(super) fn matches(&self) -> Vec<bool> {
        let pairs = self
            .predicted(&self.labels)
            .zip(self.predicted(&self.drawn));
        pairs.map(|(truth, drawn)| truth == drawn).collect()
    }
}

fn integers(file: &SafeTensors<'_>, name: &str, shape: [usize; 2]) -> Result<Vec<i64>, Error> {
    let view = file.tensor(name).map_err(|_| Error::Missing {
        tensor: name.into(),
    })?;
    let Array {
        shape: found,
        values,
    } = array(name, &view)?;
    if found != shape {
        return Err(Error::Shape {
            tensor: name.into(),
            expected: format!("{shape:?}, that of `input.input_ids`"),
            found,
        });
    }
    match values {
        Values::Int(values) => Ok(values),
        Values::Float(_) => Err(Error::Dtype {
            tensor: name.into(),
            expected: "I64 or I32",
            found: "a float".into(),
        }),
    }
}
