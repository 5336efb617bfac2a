//! What is trained of a model.

use std::path::PathBuf;
use std::str::FromStr;

use burn_peft::InitLoraWeights;
use burn_peft::settings::Bias;
use burn_peft::vera::VeraBias;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What is trained in addition to the head.
///
/// ```
/// use finetune::config::{AdapterKind, AdapterOptions};
///
/// assert_eq!(AdapterOptions::default().kind, AdapterKind::Lora);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterKind {
    /// Low-rank factors, added to frozen weights.
    Lora,
    /// Scales of activations (IA³).
    Ia3,
    /// Scales of two random matrices that all layers share (VeRA).
    Vera,
    /// Elementwise products of two low-rank products (LoHa).
    Loha,
    /// Kronecker products of small factors (LoKr).
    Lokr,
    /// Virtual tokens before the text.
    Prompt,
    /// Virtual tokens that a small network makes (P-tuning).
    PTuning,
    /// The whole model.
    Full,
}

impl AdapterKind {
    /// Whether it is on layers of the model, so that it can be merged into them.
    pub fn adapts_layers(self) -> bool {
        match self {
            Self::Lora | Self::Ia3 | Self::Vera | Self::Loha | Self::Lokr => true,
            Self::Prompt | Self::PTuning | Self::Full => false,
        }
    }

    /// Whether it puts virtual tokens before the text.
    pub fn has_virtual_tokens(self) -> bool {
        matches!(self, Self::Prompt | Self::PTuning)
    }

    /// As its authors write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Lora => "LoRA",
            Self::Ia3 => "IA³",
            Self::Vera => "VeRA",
            Self::Loha => "LoHa",
            Self::Lokr => "LoKr",
            Self::Prompt => "Prompt",
            Self::PTuning => "P-tuning prompt",
            Self::Full => "Model",
        }
    }
}

/// Which biases LoRA and VeRA train.
///
/// ```
/// use burn_peft::settings::Bias;
/// use finetune::config::BiasKind;
///
/// assert_eq!(Bias::from(BiasKind::LoraOnly), Bias::LoraOnly);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum BiasKind {
    /// None.
    None,
    /// All of the model.
    All,
    /// Those of the adapted layers.
    LoraOnly,
}

impl From<BiasKind> for Bias {
    fn from(kind: BiasKind) -> Self {
        match kind {
            BiasKind::None => Self::None,
            BiasKind::All => Self::All,
            BiasKind::LoraOnly => Self::LoraOnly,
        }
    }
}

impl From<BiasKind> for VeraBias {
    fn from(kind: BiasKind) -> Self {
        match kind {
            BiasKind::None => Self::None,
            BiasKind::All => Self::All,
            BiasKind::LoraOnly => Self::VeraOnly,
        }
    }
}

/// First values of LoRA's factors.
///
/// ```
/// use burn_peft::InitLoraWeights;
/// use finetune::config::InitKind;
///
/// assert_eq!(InitLoraWeights::from(InitKind::Olora), InitLoraWeights::Olora);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum InitKind {
    /// A uniform, B zero.
    Kaiming,
    /// A normal, B zero.
    Gaussian,
    /// The largest singular values and vectors of the weight, which loses them (PiSSA).
    Pissa,
    /// The first columns of the weight's QR decomposition, which it loses (OLoRA).
    Olora,
    /// Random orthogonal factors whose product is zero.
    Orthogonal,
}

impl From<InitKind> for InitLoraWeights {
    fn from(kind: InitKind) -> Self {
        match kind {
            InitKind::Kaiming => Self::Kaiming,
            InitKind::Gaussian => Self::Gaussian,
            InitKind::Pissa => Self::Pissa,
            InitKind::Olora => Self::Olora,
            InitKind::Orthogonal => Self::Orthogonal,
        }
    }
}

/// The adapter.
///
/// ```
/// let adapter = finetune::config::AdapterOptions::default();
/// assert_eq!((adapter.rank(), adapter.alpha), (8, 8.0));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterOptions {
    /// Its kind.
    pub kind: AdapterKind,
    /// A PEFT folder to go on from. Its kind, settings and values count, and none of the fields below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Rank r of LoRA, VeRA, LoHa and LoKr; otherwise 256 for VeRA and 8 for the others, as in PEFT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// LoRA's, LoHa's and LoKr's update is scaled by alpha / rank.
    pub alpha: f64,
    /// Scale LoRA's update by alpha / √rank (rsLoRA).
    pub rslora: bool,
    /// Train the lengths of the weights' columns too (DoRA).
    pub dora: bool,
    /// First values of LoRA's factors.
    pub init: InitKind,
    /// Ranks of single layers, `PATTERN=RANK`; the first pattern that a layer's name ends with counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rank_pattern: Vec<String>,
    /// Alphas of single layers, `PATTERN=ALPHA`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpha_pattern: Vec<String>,
    /// Layers that are adapted, by the ends of their names; otherwise the query and value projections, and what
    /// PEFT takes for IA³.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Layers that are not adapted although `targets` names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Numbers of the blocks whose layers are adapted, from 0; otherwise all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
    /// Layers whose inputs IA³ scales instead of their outputs; otherwise what PEFT takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feedforward: Vec<String>,
    /// Layers that are trained in full and saved with the adapter, in addition to a new head.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// Tokens whose rows of the table of the input LoRA trains too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trainable_tokens: Vec<usize>,
    /// Biases that LoRA and VeRA train.
    pub bias: BiasKind,
    /// Dropout before LoRA's factors and VeRA's matrices.
    pub lora_dropout: f64,
    /// Virtual tokens of a prompt. They begin as words of the vocabulary, or as P-tuning's network makes them.
    pub virtual_tokens: usize,
    /// Width inside of P-tuning's network; otherwise that of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder_width: Option<usize>,
}

impl Default for AdapterOptions {
    fn default() -> Self {
        Self {
            kind: AdapterKind::Lora,
            from: None,
            rank: None,
            alpha: 8.0,
            rslora: false,
            dora: false,
            init: InitKind::Kaiming,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            targets: Vec::new(),
            exclude: Vec::new(),
            layers: Vec::new(),
            feedforward: Vec::new(),
            modules_to_save: Vec::new(),
            trainable_tokens: Vec::new(),
            bias: BiasKind::None,
            lora_dropout: 0.0,
            virtual_tokens: 20,
            encoder_width: None,
        }
    }
}

impl AdapterOptions {
    /// The rank, as configured or the default of the kind.
    pub fn rank(&self) -> usize {
        self.rank.unwrap_or(match self.kind {
            AdapterKind::Vera => 256,
            _ => 8,
        })
    }

    /// Check what can be checked without the model.
    pub(super) fn validate(&self) -> Result<(), Error> {
        for (field, value) in [
            ("adapter.rank", self.rank()),
            ("adapter.virtual_tokens", self.virtual_tokens),
            ("adapter.encoder_width", self.encoder_width.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::config(field, 0, "at least 1"));
            }
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let expected = "at least 0 and below 1";
            return Err(Error::config(
                "adapter.lora_dropout",
                self.lora_dropout,
                expected,
            ));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            let expected = "a finite number above 0";
            return Err(Error::config("adapter.alpha", self.alpha, expected));
        }
        self.ranks()?;
        self.alphas()?;
        self.check_kind()?;
        if self.from.is_some() && self.kind == AdapterKind::Full {
            let expected = "no adapter to go on from where the whole model is trained";
            return Err(Error::config("adapter.from", "a folder", expected));
        }
        Ok(())
    }

    /// Refuse options that the kind of adapter does not have: they would change nothing.
    fn check_kind(&self) -> Result<(), Error> {
        use AdapterKind::{Ia3, Loha, Lokr, Lora, PTuning, Vera};
        let is_set = |list: &[String]| !list.is_empty();
        let options: [(&str, bool, &[AdapterKind]); 11] = [
            ("rslora", self.rslora, &[Lora]),
            ("dora", self.dora, &[Lora]),
            ("init", self.init != InitKind::Kaiming, &[Lora]),
            (
                "rank_pattern",
                is_set(&self.rank_pattern),
                &[Lora, Loha, Lokr],
            ),
            (
                "alpha_pattern",
                is_set(&self.alpha_pattern),
                &[Lora, Loha, Lokr],
            ),
            ("layers", !self.layers.is_empty(), &[Lora, Vera, Loha, Lokr]),
            ("feedforward", is_set(&self.feedforward), &[Ia3]),
            ("exclude", is_set(&self.exclude), &[Lora, Ia3, Loha, Lokr]),
            (
                "trainable_tokens",
                !self.trainable_tokens.is_empty(),
                &[Lora],
            ),
            ("encoder_width", self.encoder_width.is_some(), &[PTuning]),
            (
                "modules_to_save",
                is_set(&self.modules_to_save),
                &[Lora, Ia3, Vera, Loha, Lokr],
            ),
        ];
        let name = |kind: &AdapterKind| match kind {
            PTuning => "p-tuning".into(),
            kind => format!("{kind:?}").to_lowercase(),
        };
        for (option, is_set, kinds) in options {
            let field = format!("adapter.{option}");
            if is_set && self.from.is_some() {
                let expected = "not set: the folder of `adapter.from` has the settings";
                return Err(Error::config(field, "set", expected));
            }
            if is_set && !kinds.contains(&self.kind) {
                let kinds: Vec<String> = kinds.iter().map(name).collect();
                let expected = format!("not set, or the adapter {}", kinds.join(" or "));
                let found = format!("set for the adapter {}", name(&self.kind));
                return Err(Error::config(field, found, expected));
            }
        }
        Ok(())
    }

    /// Ranks by pattern.
    pub(crate) fn ranks(&self) -> Result<Vec<(String, usize)>, Error> {
        pairs(
            "adapter.rank_pattern",
            &self.rank_pattern,
            "PATTERN=RANK, such as q_proj=4",
        )
    }

    /// Alphas by pattern.
    pub(crate) fn alphas(&self) -> Result<Vec<(String, f64)>, Error> {
        pairs(
            "adapter.alpha_pattern",
            &self.alpha_pattern,
            "PATTERN=ALPHA, such as q_proj=16",
        )
    }
}

/// Values by pattern; a pattern may hold `=` itself.
fn pairs<T: FromStr>(
    field: &str,
    texts: &[String],
    expected: &str,
) -> Result<Vec<(String, T)>, Error> {
    let pair = |text: &String| {
        let (pattern, value) = text.rsplit_once('=')?;
        let pattern = Some(pattern.trim()).filter(|pattern| !pattern.is_empty())?;
        Some((pattern.to_string(), value.trim().parse().ok()?))
    };
    let pairs = texts
        .iter()
        .map(|text| pair(text).ok_or_else(|| Error::config(field, text, expected)));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_kinds_are_refused() {
        let refused = |kind, change: fn(&mut AdapterOptions)| {
            let mut options = AdapterOptions {
                kind,
                ..AdapterOptions::default()
            };
            options.validate().unwrap();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        let text = refused(AdapterKind::Ia3, |options| options.dora = true);
        assert!(
            text.contains("adapter.dora") && text.contains("the adapter lora"),
            "{text}"
        );
        let text = refused(AdapterKind::Ia3, |options| options.layers = vec![0]);
        assert!(text.contains("adapter.layers"), "{text}");
        let text = refused(AdapterKind::Lora, |options| {
            options.feedforward = vec!["wo".into()]
        });
        assert!(text.contains("the adapter ia3"), "{text}");
        let text = refused(AdapterKind::Full, |options| {
            options.modules_to_save = vec!["head".into()];
        });
        assert!(text.contains("lora or ia3 or vera"), "{text}");
        let text = refused(AdapterKind::Lora, |options| {
            options.from = Some("folder".into());
            options.init = InitKind::Pissa;
        });
        assert!(text.contains("adapter.from"), "{text}");
    }

    #[test]
    fn patterns_have_values() {
        let options = |ranks: &[&str]| AdapterOptions {
            rank_pattern: ranks.iter().map(|rank| rank.to_string()).collect(),
            ..AdapterOptions::default()
        };
        let ranks = options(&["q_proj=4", "^a=b$ = 2"]).ranks().unwrap();
        assert_eq!(ranks, [("q_proj".into(), 4), ("^a=b$".into(), 2)]);
        for wrong in ["q_proj", "=4", "q_proj=", "q_proj=-1", "q_proj=x"] {
            let text = options(&[wrong]).validate().unwrap_err().to_string();
            assert!(text.contains("adapter.rank_pattern"), "{text}");
        }
    }
}
