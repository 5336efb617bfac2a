//! The one list of optimizers that the programs offer.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use burn_ief::methods::AnyConfig;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All optimizers, in the order in which reports show them.
static ALL: LazyLock<Vec<OptimizerName>> = LazyLock::new(|| {
    let natural = AnyConfig::NAMES.iter().copied();
    let mut all: Vec<OptimizerName> = natural.map(OptimizerName).collect();
    all.extend([
        OptimizerName::SGD,
        OptimizerName::ADAMW,
        OptimizerName::ADAFACTOR,
        OptimizerName::MUON,
    ]);
    all
});

/// An optimizer, by the name that users type.
///
/// ```
/// use programs::optimizer::OptimizerName;
///
/// let name: OptimizerName = "ief".parse()?;
/// assert_eq!((name.to_string(), name.title()), ("ief".into(), "iEF"));
/// assert!(name.is_natural() && !OptimizerName::ADAMW.is_natural());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OptimizerName(&'static str);

/// The optimizer of this name, for names that are written in code.
///
/// # Panics
///
/// Panics if there is no such optimizer.
pub fn optimizer(name: &str) -> OptimizerName {
    match name.parse() {
        Ok(optimizer) => optimizer,
        Err(error) => panic!("{error}"),
    }
}

impl OptimizerName {
    /// Plain stochastic gradient descent.
    pub const SGD: Self = Self("sgd");
    /// Adam with decoupled weight decay; without any it is Adam.
    pub const ADAMW: Self = Self("adamw");
    /// Adafactor at an absolute step size.
    pub const ADAFACTOR: Self = Self("adafactor");
    /// Muon for matrices, AdamW for everything else.
    pub const MUON: Self = Self("muon");

    /// All optimizers, the natural-gradient methods first.
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The name on the command line, in files and in folders.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// The name in tables and pictures.
    pub fn title(self) -> &'static str {
        match self {
            Self::SGD => "SGD",
            Self::ADAMW => "AdamW",
            Self::ADAFACTOR => "Adafactor",
            Self::MUON => "Muon",
            natural => natural.natural().title(),
        }
    }

    /// The default configuration of a natural-gradient method.
    pub(super) fn natural(self) -> AnyConfig {
        match self.0.parse() {
            Ok(config) => config,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether `burn-ief` implements it.
    pub fn is_natural(self) -> bool {
        ![Self::SGD, Self::ADAMW, Self::ADAFACTOR, Self::MUON].contains(&self)
    }

    /// The colour in pictures.
    #[cfg(feature = "plot")]
    pub fn color(self) -> crate::plot::Color {
        use crate::plot::Color;
        match self.0 {
            "adamw" => Color::Blue,
            "sgd" => Color::Grey,
            "ef" => Color::Purple,
            "sf" => Color::Orange,
            "ief" => Color::Green,
            "adafactor" => Color::Sky,
            "iekfac" => Color::Vermillion,
            "ekfac" => Color::Olive,
            _ => Color::Black,
        }
    }

    /// The place in the list of all.
    fn position(self) -> Option<usize> {
        ALL.iter().position(|other| *other == self)
    }
}

impl fmt::Display for OptimizerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for OptimizerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for OptimizerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|optimizer| optimizer.0 == text);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|optimizer| optimizer.0).collect();
            format!(
                "unknown optimizer `{text}`: expected one of {}",
                names.join(", ")
            )
        })
    }
}

impl Serialize for OptimizerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for OptimizerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialOrd for OptimizerName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OptimizerName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.position().cmp(&other.position())
    }
}

impl ValueEnum for OptimizerName {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_on_the_command_line_and_in_files() {
        for &name in OptimizerName::all() {
            assert_eq!(ValueEnum::from_str(name.name(), false), Ok(name));
            let json = format!("\"{name}\"");
            assert_eq!(serde_json::to_string(&name).unwrap(), json);
            assert_eq!(serde_json::from_str::<OptimizerName>(&json).unwrap(), name);
        }
        let error = "iief".parse::<OptimizerName>().unwrap_err();
        assert!(
            error.contains("unknown optimizer `iief`: expected one of ief, ef"),
            "{error}"
        );
        assert!(optimizer("ief") < OptimizerName::SGD);
    }
}
