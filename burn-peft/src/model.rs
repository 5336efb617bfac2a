//! Adapters of a whole model.

mod adapt;
mod attach;
mod census;
mod convert;
mod load;
mod operate;
mod report;
mod save;
mod values;
mod walk;

use burn::module::Module;

use crate::config::LoraSettings;
use crate::error::Error;
use crate::folder::AdapterFolder;
use crate::lora::LoraConfig;
use crate::names::NameMap;

pub use report::Trainable;

/// What can be done with the adapters of any Burn module.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{LinearAdapted, LoraConfig, Peft};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(8, 8).init(&device);
/// let config = LoraConfig::new().with_rank(2);
/// let layer = config.linear("english", layer)?;
/// let layer = config.linear("french", layer)?;
/// assert_eq!(layer.adapter_names(), ["english", "french"]);
///
/// // One of them, a mixture, none.
/// let layer = layer.with_active_adapters(&[("english", 1.0)])?;
/// let layer = layer.with_active_adapters(&[("english", 0.3), ("french", 0.7)])?;
/// let layer = layer.with_adapters_enabled(false).with_adapters_enabled(true);
///
/// // Folded into the weight, and a plain layer again.
/// let merged: Linear = layer.merge_and_unload();
/// assert!(merged.adapter_names().is_empty());
/// # Ok::<(), burn_peft::Error>(())
/// ```
pub trait Peft: Module {
    /// Hang a new adapter on every layer that `settings` targets, active under `name`. Only the
    /// adapter, the biases that the settings name and their `modules_to_save` train from then on;
    /// other adapters are frozen.
    ///
    /// Layers count as linear, embedding or convolution if they are Burn's own. Their calls in the
    /// model should be those of [`LinearAdapted`](crate::LinearAdapted) and its kin; Burn's own
    /// `forward` works as well, but composes dense weights.
    ///
    /// # Errors
    ///
    /// What [`Targets::resolve`](crate::Targets::resolve) finds; [`Error::Config`] and
    /// [`Error::Unsupported`] for settings that do not fit a target or cannot start an adapter.
    fn adapt(self, name: &str, settings: &LoraSettings, names: &NameMap) -> Result<Self, Error> {
        adapt::adapt(self, name, settings, names)
    }

    /// Hang the adapter of a PEFT folder on the model, active and trainable under `name`, and load
    /// the biases and the `modules_to_save` that it holds. Of a prompt tuning folder these alone
    /// are loaded: the prompt is [`SoftPrompt`](crate::SoftPrompt)'s.
    ///
    /// `schemes` are the namings that the model goes by; the first that knows every key is used.
    /// Without any, names are the paths in the Burn model.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a tensor that names nothing of the model, [`Error::MissingKey`] for a
    /// target without factors, [`Error::Shape`] for one that does not fit, and what
    /// [`AdapterFolder::check`] finds. The model is consumed, but never half loaded.
    fn load_adapter(
        self,
        name: &str,
        folder: &AdapterFolder,
        schemes: &[NameMap],
    ) -> Result<Self, Error> {
        load::load(self, name, folder, schemes)
    }

    /// The adapter `name` for a PEFT folder with this configuration: its factors, and the biases
    /// and `modules_to_save` that the configuration names.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] if no weight carries it, and what [`AdapterFolder::check`] finds
    /// where the configuration is not the adapter's.
    fn save_adapter(
        &self,
        name: &str,
        settings: &LoraSettings,
        names: &NameMap,
    ) -> Result<AdapterFolder, Error> {
        save::save(self, name, settings, names)
    }

    /// A folder that was loaded, with the values that the model has now: the same keys, types and
    /// configuration.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a tensor that the model does not have.
    fn update_folder(
        &self,
        name: &str,
        folder: &AdapterFolder,
        schemes: &[NameMap],
    ) -> Result<AdapterFolder, Error> {
        save::update(self, name, folder, schemes)
    }

    /// Names of the adapters on the model's weights, sorted.
    fn adapter_names(&self) -> Vec<String> {
        operate::names(self).into_iter().collect()
    }

    /// Make these the active adapters, with a factor on the update of each: one name switches,
    /// several mix. As everything that changes adapters, this first takes merged ones out of the
    /// weights.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] for a name that no weight of the model carries.
    fn with_active_adapters(self, active: &[(&str, f64)]) -> Result<Self, Error> {
        let known = self.adapter_names();
        match active
            .iter()
            .find(|(name, _)| !known.iter().any(|known| known == name))
        {
            Some((name, _)) => Err(Error::UnknownAdapter {
                name: name.to_string(),
                known,
            }),
            None => Ok(operate::activate(self, active)),
        }
    }

    /// Switch all adapters on or off; off, the model is its base.
    fn with_adapters_enabled(self, enabled: bool) -> Self {
        operate::enable(self, enabled)
    }

    /// Remove an adapter.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] if no weight of the model carries it.
    fn without_adapter(self, name: &str) -> Result<Self, Error> {
        let known = self.adapter_names();
        match known.iter().any(|known| known == name) {
            false => Err(Error::UnknownAdapter {
                name: name.into(),
                known,
            }),
            true => Ok(operate::remove(self, name)),
        }
    }

    /// Fold the active adapters into the weights and keep them for
    /// [`unmerge_adapters`](Self::unmerge_adapters); the output stays, up to rounding and without
    /// the adapters' dropout.
    ///
    /// The sum is taken in the adapters' type and rounded once to the weight's. A quantised weight
    /// becomes dense.
    fn merge_adapters(self) -> Self {
        operate::fold(self, true)
    }

    /// Take merged adapters out of the weights again, which are then exactly what they were before,
    /// plus what has been added to them since.
    fn unmerge_adapters(self) -> Self {
        operate::fold(self, false)
    }

    /// Fold the active adapters into the weights and drop them all: the model as if it had been
    /// trained whole.
    fn merge_and_unload(self) -> Self {
        operate::fold(self, true).materialize()
    }

    /// Drop all adapters: the base model again.
    fn unload(self) -> Self {
        operate::enable(operate::fold(self, false), false).materialize()
    }

    /// The adapters of Burn's own [`apply_lora`](Module::apply_lora) as adapters of this crate:
    /// the same factors, along the activations. `config` gives their rank, alpha and dropout,
    /// which a model does not tell.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the rank is another one, or the model carries adapters of this crate.
    fn adopt_burn_lora(self, name: &str, config: &LoraConfig) -> Result<Self, Error> {
        convert::from_burn(self, name, config)
    }

    /// The active adapters as those of Burn's own [`apply_lora`](Module::apply_lora), for code
    /// that knows these (Burn's composite modules inside a recording, for one).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a weight with several active adapters, DoRA, dropout, merged ones, or
    /// of a convolution.
    fn into_burn_lora(self) -> Result<Self, Error> {
        convert::to_burn(self)
    }

    /// Counts of trainable and of all parameters.
    fn trainable(&self) -> Trainable {
        Trainable::of(self)
    }
}

impl<M: Module> Peft for M {}
