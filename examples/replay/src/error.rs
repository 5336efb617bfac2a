//! What a user of the program can meet, each with the tensor or key that it is about.

use std::path::PathBuf;

use programs::printing::{list, short};

/// Why a case could not be recomputed. The program ends with exit code 2 and writes nothing.
///
/// ```
/// let error = replay::Error::UnknownCase { name: "h_rnn".into() };
/// assert!(error.to_string().contains("h_rnn"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The case file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// The case file is not a safetensors file.
    #[error("{} is not a safetensors file: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: safetensors::SafeTensorError,
    },

    /// The metadata names a case that this program does not know.
    #[error(
        "unknown case `{}`: known are a_linear_least_squares, b_logistic_regression, c_mlp, \
         d_mlp_duplicates, e_transformer_(full|lora|prompt), f_cnn and g_mlp_trained, with any \
         ending",
        short(name)
    )]
    UnknownCase {
        /// The name in the file.
        name: String,
    },

    /// A metadata entry is missing or has a value that this program does not know.
    #[error("metadata `{key}` is {}: expected {expected}", short(value.as_deref().unwrap_or("missing")))]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value, if there is one.
        value: Option<String>,
        /// What is understood.
        expected: String,
    },

    /// The metadata has keys that this program does not know: they may change the network.
    #[error("unknown metadata: {}", list(keys))]
    UnknownMetadata {
        /// The keys.
        keys: Vec<String>,
    },

    /// A tensor is missing.
    #[error("tensor `{}` is missing", short(tensor))]
    Missing {
        /// Its name (of alternatives, all names).
        tensor: String,
    },

    /// A tensor has the wrong shape.
    #[error("tensor `{}`: expected the shape {expected}, found {}", short(tensor), short(&format!("{found:?}")))]
    Shape {
        /// Its name.
        tensor: String,
        /// The expected shape, `?` for any size.
        expected: String,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// A tensor has a dtype that does not fit it.
    #[error("tensor `{}`: expected {expected}, found {found}", short(tensor))]
    Dtype {
        /// Its name.
        tensor: String,
        /// The expected dtypes.
        expected: &'static str,
        /// The dtype in the file.
        found: String,
    },

    /// A tensor holds a value that it cannot have.
    #[error("tensor `{}` {problem}", short(tensor))]
    Value {
        /// Its name.
        tensor: String,
        /// What is wrong, and what is expected.
        problem: String,
    },

    /// Tensors belong to no part of the network: leaving them out would compute something else.
    #[error("{network} has no place for: {}", list(tensors))]
    Unused {
        /// The kind of network.
        network: &'static str,
        /// Names of the tensors.
        tensors: Vec<String>,
    },

    /// A prefix of `--only` names no result.
    #[error(
        "--only {}: no result has a name that starts so; there are {known}",
        short(prefix)
    )]
    UnknownPrefix {
        /// The prefix.
        prefix: String,
        /// Families of results.
        known: String,
    },

    /// Everything that was asked for belongs to other kinds of cases.
    #[error("--only leaves nothing to compute for {network}")]
    NothingAsked {
        /// The kind of network.
        network: &'static str,
    },

    /// The program was built without this device.
    #[error(transparent)]
    DeviceNotBuilt(#[from] programs::DeviceError),

    /// A worker cannot be used.
    #[error(transparent)]
    Worker(#[from] programs::WorkerError),

    /// The device cannot be used, or not with this dtype.
    #[error("device `{device}` cannot be used with {dtype}: {problem}")]
    Device {
        /// Its name.
        device: String,
        /// The dtype that was asked for.
        dtype: &'static str,
        /// What the device said.
        problem: String,
    },

    /// A computation failed.
    #[error("cannot compute {what}: {source}")]
    Compute {
        /// The result.
        what: String,
        /// What `burn-ief` said.
        source: burn_ief::Error,
    },

    /// A model folder cannot be used, or refuses an input.
    #[error(transparent)]
    Model(#[from] burn_hf_models::Error),

    /// An adapter folder cannot be used, or does not fit the model.
    #[error(transparent)]
    Adapter(#[from] burn_peft::Error),

    /// Neither the model folder nor the adapter holds a head that the outputs need.
    #[error(
        "neither {} nor {} holds {}: outputs would be those of a random head. Use the model folder that the adapter \
         was trained on; except for T5, `--task base` computes hidden states without a head",
        model.display(),
        adapter.display(),
        list(names)
    )]
    Head {
        /// The parameters.
        names: Vec<String>,
        /// The model folder.
        model: PathBuf,
        /// The adapter folder.
        adapter: PathBuf,
    },

    /// The inputs need more memory than there is.
    #[error(
        "the inputs need about {needed} of memory, and {available} are available: use fewer or shorter ones"
    )]
    Memory {
        /// An estimate.
        needed: String,
        /// What the system has.
        available: String,
    },

    /// The arguments do not go together.
    #[error("{problem}")]
    Arguments {
        /// What is wrong.
        problem: String,
    },

    /// The results cannot be written.
    #[error(transparent)]
    Write(#[from] programs::WriteError),

    /// The output file is one of those that are read.
    #[error("--out {} is a file that is read: choose another name", path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    /// Say which result a computation was for.
    pub(crate) fn compute(what: impl Into<String>) -> impl FnOnce(burn_ief::Error) -> Self {
        let what = what.into();
        move |source| Self::Compute { what, source }
    }
}
