//! What a case is about.

/// Which network and loss a case is about.
///
/// ```
/// use replay::Kind;
///
/// assert!(Kind::LeastSquares.is_grid());
/// assert_eq!(Kind::Mlp.describe(), "an MLP");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A grid over θ of `z = θ₀ + θ₁ x` with half the squared error.
    LeastSquares,
    /// The same with the cross-entropy of a sigmoid.
    Logistic,
    /// Linear layers `fc1`, `fc2`, … with ReLU between.
    Mlp,
    /// A transformer classifier, trained in full, by LoRA or by a soft prompt.
    Transformer,
    /// Two convolutions and a linear layer.
    Cnn,
}

impl Kind {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (letter, _) = name.split_once('_').unwrap_or((name, ""));
        match letter {
            "a" => Some(Self::LeastSquares),
            "b" => Some(Self::Logistic),
            "c" | "d" | "g" => Some(Self::Mlp),
            "e" => Some(Self::Transformer),
            "f" => Some(Self::Cnn),
            _ => None,
        }
    }

    /// For messages.
    pub fn describe(self) -> &'static str {
        match self {
            Self::LeastSquares => "a least-squares grid",
            Self::Logistic => "a logistic-regression grid",
            Self::Mlp => "an MLP",
            Self::Transformer => "a transformer",
            Self::Cnn => "a CNN",
        }
    }

    /// Whether tensors have leading axes over a grid of θ.
    pub fn is_grid(self) -> bool {
        matches!(self, Self::LeastSquares | Self::Logistic)
    }

    /// The `loss` of its metadata.
    pub(crate) fn loss(self) -> &'static str {
        match self {
            Self::LeastSquares => "half_squared_error",
            Self::Logistic => "sigmoid_cross_entropy",
            Self::Mlp | Self::Transformer | Self::Cnn => "softmax_cross_entropy",
        }
    }
}

/// A damping: its name in the results, and λ.
///
/// ```
/// let lambda = replay::Lambda { text: "1e-3".into(), value: 1e-3 };
/// let name = format!("ief.lam_{}", lambda.text);
/// # let _ = name;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Lambda {
    /// As written in the metadata; part of the results' names.
    pub text: String,
    /// The value.
    pub value: f64,
}
