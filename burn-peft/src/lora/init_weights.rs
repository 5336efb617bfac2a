//! `init_lora_weights`.

use std::fmt;

use crate::settings::{FieldValue, Json};

/// `init_lora_weights`: the first values of the factors A and B.
///
/// Every value that does not change the base weight can be *loaded*; a value in
/// [`Other`](Self::Other) cannot be used to make a new adapter.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{ForwardAdapted, InitLoraWeights, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(16, 16).init(&device);
/// let x = Tensor::<2>::ones([2, 16], &device);
/// let before = layer.forward(x.clone());
/// // PiSSA moves the principal part of the weight into the adapter: the output stays.
/// let config = LoraConfig::new().with_init_lora_weights(InitLoraWeights::Pissa);
/// let layer = config.linear("default", layer)?;
/// assert!((layer.forward_adapted(x) - before).abs().max().into_scalar::<f32>() < 1e-5);
/// # Ok::<(), burn_peft::Error>(())
/// ```
///
/// ```
/// use burn_peft::InitLoraWeights;
///
/// assert!(InitLoraWeights::Pissa.changes_base());
/// assert!(!InitLoraWeights::Gaussian.changes_base());
/// assert_eq!(InitLoraWeights::PissaNiter(4).to_string(), "pissa_niter_4");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InitLoraWeights {
    /// `true`: A uniform within `±1/√d_in`, B zero. An embedding starts with A zero and B normal.
    #[default]
    Kaiming,
    /// `false`: A and B uniform, so that the adapter changes the output from the start.
    Random,
    /// A normal with standard deviation `1/r`, B zero.
    Gaussian,
    /// Principal singular values and vectors of the base weight, which loses them (Meng et al. 2024,
    /// arXiv 2404.02948).
    Pissa,
    /// As [`Pissa`](Self::Pissa) with a randomised decomposition of so many subspace iterations in
    /// PEFT; here the exact one, which these iterations approach.
    PissaNiter(usize),
    /// First columns of the base weight's QR decomposition, which the weight loses (Büyükakyüz 2024,
    /// arXiv 2406.01775).
    Olora,
    /// Random factors with orthogonal supports, so that `A B = 0`; the rank must be even.
    Orthogonal,
    /// Any other name, such as `eva`.
    Other(String),
}

impl InitLoraWeights {
    /// Whether the adapter belongs to a changed base weight: loading one takes the initial product
    /// away from the base weight again.
    pub fn changes_base(&self) -> bool {
        matches!(self, Self::Pissa | Self::PissaNiter(_) | Self::Olora)
    }

    /// Names that mean a change of the base weight from data or quantisation, which a folder
    /// does not hold.
    pub(crate) fn needs_more_than_the_folder(&self) -> bool {
        let Self::Other(name) = self else {
            return false;
        };
        name == "loftq" || name.starts_with("corda")
    }

    fn named(name: &str) -> Self {
        if let Some(iterations) = name.strip_prefix("pissa_niter_")
            && let Ok(iterations) = iterations.parse()
        {
            return Self::PissaNiter(iterations);
        }
        match name {
            "pissa" => Self::Pissa,
            "orthogonal" => Self::Orthogonal,
            name if name.eq_ignore_ascii_case("gaussian") => Self::Gaussian,
            name if name.eq_ignore_ascii_case("olora") => Self::Olora,
            name => Self::Other(name.into()),
        }
    }
}

/// As in the configuration file, without quotes.
impl fmt::Display for InitLoraWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kaiming => formatter.write_str("true"),
            Self::Random => formatter.write_str("false"),
            Self::Gaussian => formatter.write_str("gaussian"),
            Self::Pissa => formatter.write_str("pissa"),
            Self::PissaNiter(iterations) => write!(formatter, "pissa_niter_{iterations}"),
            Self::Olora => formatter.write_str("olora"),
            Self::Orthogonal => formatter.write_str("orthogonal"),
            Self::Other(name) => formatter.write_str(name),
        }
    }
}

impl FieldValue for InitLoraWeights {
    const EXPECTED: &'static str = "expected true, false or a name";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::Bool(true) => Some(Self::Kaiming),
            Json::Bool(false) | Json::Null => Some(Self::Random),
            Json::String(name) => Some(Self::named(name)),
            _ => None,
        }
    }

    fn write(&self) -> Json {
        match self {
            Self::Kaiming => Json::Bool(true),
            Self::Random => Json::Bool(false),
            named => Json::String(named.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_the_same() {
        use InitLoraWeights::*;
        for init in [
            Kaiming,
            Random,
            Gaussian,
            Pissa,
            PissaNiter(16),
            Olora,
            Orthogonal,
            Other("eva".into()),
            Other("pissa_niter_x".into()),
        ] {
            assert_eq!(InitLoraWeights::read(&init.write()), Some(init));
        }
    }
}
