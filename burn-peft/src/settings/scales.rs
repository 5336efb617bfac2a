//! Rank and alpha of each module.

use std::collections::HashMap;

use super::ranges::{above_zero, at_least_one, not_too_many};
use super::{Pattern, PlainNames};
use crate::error::Error;

/// Rank, alpha and scale of each module by `rank_pattern` and `alpha_pattern`, with the
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
    pub(crate) fn new(
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

    /// Check ranks and alphas: the name of a field, its value, and those of its pattern.
    pub(crate) fn check(
        (rank, rank_pattern): (usize, &[(String, usize)]),
        (field, alpha, alpha_pattern): (&'static str, f64, &[(String, f64)]),
    ) -> Result<(), Error> {
        not_too_many("rank_pattern", rank_pattern.len())?;
        not_too_many("alpha_pattern", alpha_pattern.len())?;
        at_least_one("r", rank)?;
        for (_, rank) in rank_pattern {
            at_least_one("rank_pattern", *rank)?;
        }
        above_zero(field, alpha)?;
        for (_, alpha) in alpha_pattern {
            above_zero("alpha_pattern", *alpha)?;
        }
        Ok(())
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
    /// In the order of the file.
    values: Vec<T>,
    /// Patterns that are plain names, with their places in `values`.
    plain: PlainNames,
    /// The other patterns, with their places in `values`.
    expressions: Vec<(usize, Pattern)>,
    /// The keys as plain names: PEFT looks the module's own name up if no pattern matches it.
    names: HashMap<String, usize>,
    default: T,
}

impl<T: Copy> Lookup<T> {
    fn new(field: &'static str, patterns: &[(String, T)], default: T) -> Result<Self, Error> {
        let mut lookup = Self {
            values: patterns.iter().map(|(_, value)| *value).collect(),
            plain: PlainNames::default(),
            expressions: Vec::new(),
            names: HashMap::new(),
            default,
        };
        let keys = patterns.iter().map(|(key, _)| key);
        Pattern::check_count(field, keys.filter(|key| !PlainNames::takes(key)).count())?;
        for (at, (key, _)) in patterns.iter().enumerate() {
            lookup.names.entry(key.clone()).or_insert(at);
            if PlainNames::takes(key) {
                lookup.plain.insert(at, key);
                continue;
            }
            let pattern = Pattern::start(field, key, &format!(r"(.*\.)?({key})$"))?;
            lookup.expressions.push((at, pattern));
        }
        Ok(lookup)
    }

    fn of(&self, module: &str) -> Result<T, Error> {
        let mut first = self.plain.first(module);
        for (at, pattern) in &self.expressions {
            if first.is_some_and(|first| first < *at) {
                break;
            }
            if pattern.matches(module)? {
                first = Some(*at);
                break;
            }
        }
        let first = first.or_else(|| self.names.get(module).copied());
        Ok(first.map_or(self.default, |at| self.values[at]))
    }
}
