//! Rank and alpha of each module.

use crate::error::Error;
use crate::settings::Pattern;

/// `r`, `lora_alpha` and the scale of each module by `rank_pattern` and `alpha_pattern`, with the
/// patterns compiled once.
///
/// A pattern applies to a module if it matches the module's name or its end after a dot; the first
/// one in the order of the file counts.
///
/// ```
/// use burn_peft::LoraConfig;
///
/// let config = LoraConfig::new()
///     .with_r(8)
///     .with_lora_alpha(16.0)
///     .with_rank_pattern([("q_proj", 4)])
///     .with_alpha_pattern([(r"layers\.0\..*", 2.0)]);
/// let scales = config.scales()?;
/// assert_eq!(scales.rank_of("model.layers.1.q_proj")?, 4);
/// assert_eq!(scales.alpha_of("model.layers.1.q_proj")?, 16.0);
/// assert_eq!(scales.scale_of("model.layers.0.v_proj")?, 0.25);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Scales {
    rank: Lookup<usize>,
    alpha: Lookup<f64>,
    rank_stabilized: bool,
}

impl Scales {
    /// From the default and the patterns of ranks and of alphas.
    pub(super) fn new(
        (rank, rank_pattern): (usize, &[(String, usize)]),
        (alpha, alpha_pattern): (f64, &[(String, f64)]),
        rank_stabilized: bool,
    ) -> Result<Self, Error> {
        Ok(Self {
            rank: Lookup::new("rank_pattern", rank_pattern, rank)?,
            alpha: Lookup::new("alpha_pattern", alpha_pattern, alpha)?,
            rank_stabilized,
        })
    }

    /// The rank r of the factors at `module`.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] for a pattern that takes too many attempts to match.
    pub fn rank_of(&self, module: &str) -> Result<usize, Error> {
        self.rank.of(module)
    }

    /// The numerator of the scale at `module`.
    ///
    /// # Errors
    ///
    /// As [`rank_of`](Self::rank_of).
    pub fn alpha_of(&self, module: &str) -> Result<f64, Error> {
        self.alpha.of(module)
    }

    /// The factor of the product at `module`: `alpha / r`, with rsLoRA `alpha / √r`.
    ///
    /// # Errors
    ///
    /// As [`rank_of`](Self::rank_of).
    pub fn scale_of(&self, module: &str) -> Result<f64, Error> {
        let (rank, alpha) = (self.rank_of(module)? as f64, self.alpha_of(module)?);
        Ok(if self.rank_stabilized {
            alpha / rank.sqrt()
        } else {
            alpha / rank
        })
    }
}

#[derive(Debug, Clone)]
struct Lookup<T> {
    entries: Vec<(Pattern, T)>,
    /// The keys as plain names: PEFT looks the module's own name up if no pattern matches it.
    names: Vec<(String, T)>,
    default: T,
}

impl<T: Copy> Lookup<T> {
    fn new(field: &'static str, patterns: &[(String, T)], default: T) -> Result<Self, Error> {
        let compile = |(key, value): &(String, T)| {
            let pattern = Pattern::start(field, key, &format!(r"(.*\.)?({key})$"))?;
            Ok((pattern, *value))
        };
        Ok(Self {
            entries: patterns.iter().map(compile).collect::<Result<_, Error>>()?,
            names: patterns.to_vec(),
            default,
        })
    }

    fn of(&self, module: &str) -> Result<T, Error> {
        for (pattern, value) in &self.entries {
            if pattern.matches(module)? {
                return Ok(*value);
            }
        }
        let named = self.names.iter().find(|(key, _)| key == module);
        Ok(named.map_or(self.default, |(_, value)| *value))
    }
}
