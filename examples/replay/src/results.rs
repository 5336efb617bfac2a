//! Results by name, and writing them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use programs::{WriteError, files};
use safetensors::tensor::{Dtype, TensorView};

use crate::case::Case;
use crate::error::Error;
use crate::selection::Selection;

/// A result: its shape and values, row-major, in f64 whatever it was computed in.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f64>,
}

/// The results of a case, under the names and in the layouts of the reference files.
///
/// ```
/// use replay::{Results, Selection};
///
/// let mut results = Results::new(Selection::parse("gram")?);
/// results.put("gram", vec![1, 1], vec![4.0]);
/// results.put("losses", vec![1], vec![0.5]); // not asked for
/// assert_eq!(results.names().collect::<Vec<_>>(), ["gram"]);
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Results {
    selection: Selection,
    outputs: BTreeMap<String, Output>,
}

impl Results {
    /// Empty, for what a selection asks for.
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            outputs: BTreeMap::new(),
        }
    }

    /// Which results are asked for.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Whether a result of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.selection.wants(name)
    }

    /// Keep a result, if it is asked for.
    ///
    /// # Panics
    ///
    /// Panics if the values do not fit the shape.
    pub fn put(&mut self, name: impl Into<String>, shape: Vec<usize>, values: Vec<f64>) {
        let name = name.into();
        let size: usize = shape.iter().product();
        assert_eq!(size, values.len(), "values of `{name}` {shape:?}");
        if self.wants(&name) {
            self.outputs.insert(name, Output { shape, values });
        }
    }

    /// A result.
    pub fn get(&self, name: &str) -> Option<&Output> {
        self.outputs.get(name)
    }

    /// Names of the results.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.outputs.keys().map(String::as_str)
    }

    /// Write all results to a safetensors file: under another name first, then renamed, so that there is
    /// never half a file.
    ///
    /// # Errors
    ///
    /// [`Error::Write`]; nothing is left behind then.
    pub fn write(&self, case: &Case, path: &Path) -> Result<(), Error> {
        let lambdas: Vec<&str> = case.lambdas.iter().map(|l| l.text.as_str()).collect();
        let metadata = HashMap::from([
            ("case".to_string(), case.name.clone()),
            ("lams".to_string(), serde_json::json!(lambdas).to_string()),
            (
                "param_order".to_string(),
                serde_json::json!(case.order).to_string(),
            ),
        ]);
        write(&self.outputs, metadata, path)
    }
}

/// Write outputs to a safetensors file in f64: under another name first, then renamed, so that there is
/// never half a file.
///
/// # Errors
///
/// [`Error::Write`]; nothing is left behind then.
pub fn write(
    outputs: &BTreeMap<String, Output>,
    metadata: HashMap<String, String>,
    path: &Path,
) -> Result<(), Error> {
    let failed = |error| Error::Write(WriteError::new(path, error));
    let bytes: Vec<(&String, &Output, Vec<u8>)> = outputs
        .iter()
        .map(|(name, output)| {
            let bytes = output.values.iter().flat_map(|value| value.to_le_bytes());
            (name, output, bytes.collect())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, output, bytes)| {
            TensorView::new(Dtype::F64, output.shape.clone(), bytes).map(|view| (name, view))
        })
        .collect::<Result<Vec<_>, _>>();
    let file = views
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(failed)?;
    Ok(files::write(path, file)?)
}
