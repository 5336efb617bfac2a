//! Which modules of a model an adapter belongs to, by PEFT's rules.
//!
//! Names are those of `transformers` (see [`NameMap`](crate::NameMap)). The rules are those of
//! PEFT 0.16 and later; where the meaning of `layers_to_transform` changed, the version that wrote
//! the configuration decides.

mod head;
mod near;
mod rules;
mod saved;

pub use head::{default_targets, output_head};
pub(crate) use saved::is_saved;
pub use saved::modules_to_save;

use crate::config::{LoraSettings, Modules};
use crate::error::Error;
use rules::{Choice, Rules};

/// What a module is, as far as LoRA is concerned.
///
/// ```
/// use burn_peft::ModuleKind;
///
/// assert!(ModuleKind::Conv2d.is_adaptable());
/// assert!(!ModuleKind::Other.is_adaptable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    /// A linear layer.
    Linear,
    /// A table of embeddings.
    Embedding,
    /// A convolution over images.
    Conv2d,
    /// Anything else, such as a norm or a module of modules. Where a model lists these too, a
    /// target that is one is an error, as in PEFT; where it does not, no target can be one.
    Other,
}

impl ModuleKind {
    /// Whether LoRA can stand beside it.
    pub fn is_adaptable(self) -> bool {
        self != Self::Other
    }
}

/// A module that gets an adapter.
///
/// ```
/// use burn_peft::{LoraSettings, ModuleKind, Targets};
///
/// let settings = LoraSettings::new().with_r(4).with_target_modules(["v_proj"]);
/// let modules = [("layers.0.v_proj".to_string(), ModuleKind::Linear)];
/// let target = &Targets::resolve(&settings, &modules)?[0];
/// assert_eq!((target.rank, target.scale), (4, 2.0));
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of the module.
    pub module: String,
    /// What it is.
    pub kind: ModuleKind,
    /// Rank of the factors.
    pub rank: usize,
    /// Numerator of the scale.
    pub alpha: f64,
    /// Factor of the product.
    pub scale: f64,
}

/// The rules of a configuration, to be put to the modules of a model.
///
/// ```
/// use burn_peft::{LoraSettings, ModuleKind, Targets};
///
/// let modules = ["embed", "layers.0.q_proj", "layers.0.k_proj", "layers.1.q_proj"];
/// let modules = modules.map(|name| (name.to_string(), ModuleKind::Linear));
/// let settings = LoraSettings::new().with_target_modules(["q_proj", "o_proj"]);
/// let targets = Targets::resolve(&settings, &modules)?;
/// let names: Vec<_> = targets.iter().map(|target| target.module.as_str()).collect();
/// assert_eq!(names, ["layers.0.q_proj", "layers.1.q_proj"]);
/// assert_eq!(Targets::unmatched(&settings, &modules), ["o_proj"]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug)]
pub struct Targets;

impl Targets {
    /// The modules that `settings` adapts, in the order of `modules`.
    ///
    /// `all-linear` leaves the output head out, which is found by the names that `transformers`
    /// gives it ([`output_head`]).
    ///
    /// Entries of a list that match nothing while others match are no error, as in PEFT: one
    /// configuration serves several kinds of model. [`unmatched`](Self::unmatched) tells them.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] if `target_modules` is not given ([`default_targets`] knows PEFT's
    ///   choice for some kinds of model)
    /// - [`Error::Pattern`] for what is not a regular expression, or cannot be decided
    /// - [`Error::NoTarget`] if nothing matches, with near names
    /// - [`Error::AllExcluded`] if everything that matches is excluded again
    /// - [`Error::TargetKind`] if a target is neither a linear, embedding nor convolution layer
    pub fn resolve(
        settings: &LoraSettings,
        modules: &[(String, ModuleKind)],
    ) -> Result<Vec<Target>, Error> {
        let head = output_head(settings.task_type, modules);
        Self::resolve_with_head(settings, modules, head)
    }

    /// As [`resolve`](Self::resolve), with the name of the output head, if there is one.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn resolve_with_head(
        settings: &LoraSettings,
        modules: &[(String, ModuleKind)],
        head: Option<&str>,
    ) -> Result<Vec<Target>, Error> {
        let Some(target_modules) = &settings.target_modules else {
            return Err(Error::Config {
                field: "target_modules",
                value: "null".into(),
                expected: "expected a list of module names or a regular expression",
            });
        };
        let linear = linear_but(head, modules);
        let target_modules = match target_modules.is_all_linear() {
            true => &linear,
            false => target_modules,
        };
        let rules = Rules::new(settings, target_modules)?;
        let scales = settings.scales()?;
        let mut targets = Vec::new();
        let mut excluded = false;
        for (name, kind) in modules.iter().filter(|(name, _)| !name.is_empty()) {
            match rules.choose(name)? {
                Choice::Unmatched => continue,
                Choice::Excluded => {
                    excluded = true;
                    continue;
                }
                Choice::Target => {}
            }
            if !kind.is_adaptable() {
                return Err(Error::TargetKind {
                    module: name.clone(),
                });
            }
            targets.push(Target {
                module: name.clone(),
                kind: *kind,
                rank: scales.rank_of(name)?,
                alpha: scales.alpha_of(name)?,
                scale: scales.scale_of(name)?,
            });
        }
        if !targets.is_empty() {
            return Ok(targets);
        }
        let shown = target_modules.to_string();
        Err(match excluded {
            true => Error::AllExcluded { targets: shown },
            false => Error::NoTarget {
                targets: shown,
                near: near::names(target_modules, modules),
            },
        })
    }

    /// The entries of a list in `target_modules` that no module's name ends in.
    pub fn unmatched(settings: &LoraSettings, modules: &[(String, ModuleKind)]) -> Vec<String> {
        let Some(Modules::Names(names)) = &settings.target_modules else {
            return Vec::new();
        };
        let matched = |end: &&String| modules.iter().any(|(name, _)| rules::ends_in(name, end));
        names.iter().filter(|end| !matched(end)).cloned().collect()
    }
}

/// What `all-linear` stands for: a list of names, which then is matched as any other list.
fn linear_but(head: Option<&str>, modules: &[(String, ModuleKind)]) -> Modules {
    let linear = modules
        .iter()
        .filter(|(name, kind)| *kind == ModuleKind::Linear && head.is_none_or(|head| head != name));
    Modules::from(linear.map(|(name, _)| name.as_str()))
}

#[cfg(test)]
mod tests;
