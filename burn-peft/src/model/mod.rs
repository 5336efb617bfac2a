//! Adapters of a whole model.

mod adapt;
mod burn_lora;
mod census;
mod install;
mod load;
mod merge;
mod own_layers;
mod report;
mod save;
mod switch;
mod walk;

use burn::module::Module;

use crate::error::Error;
use crate::folder::AdapterFolder;
use crate::lora::LoraConfig;
use crate::methods::PeftConfig;
use crate::name_map::NameMap;

pub use report::Trainable;

/// What can be done with the adapters of any Burn module.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{LoraConfig, Peft};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(8, 8).init(&device);
/// let config = LoraConfig::new().with_r(2);
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
    /// Put a new adapter on every layer that `config` targets, active under `name`. Only the
    /// adapter, the biases that the configuration names and its `modules_to_save` train from then
    /// on; other adapters are frozen.
    ///
    /// The model's `forward` should call these layers with
    /// [`forward_adapted`](crate::ForwardAdapted::forward_adapted). Burn's own `forward` works as
    /// well for LoRA, but composes dense weights.
    ///
    /// `names` are the namings that the model goes by; the first under which the configuration's
    /// targets are found is used. Without any, names are the paths in the Burn model. They also say
    /// what a module is where its type does not, see [`NameMap`].
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::Device;
    /// use burn_peft::{Ia3Config, Peft};
    ///
    /// #[derive(Module, Debug)]
    /// struct Block {
    ///     key: Linear,
    ///     down: Linear,
    /// }
    ///
    /// let device = Device::flex().autodiff();
    /// let layer = || LinearConfig::new(8, 8).init(&device);
    /// let block = Block { key: layer(), down: layer() };
    /// let config = Ia3Config::new()
    ///     .with_target_modules(["key", "down"])
    ///     .with_feedforward_modules(["down"]);
    /// let block = block.adapt("default", &config, &[])?;
    /// assert_eq!(block.trainable().trainable, 16);
    /// # Ok::<(), burn_peft::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What [`PeftConfig::targets`] finds; [`Error::Config`] and [`Error::Unsupported`] for a
    /// configuration that does not fit a target or cannot start an adapter;
    /// [`Error::OtherMethod`] if the model has adapters of another method;
    /// [`Error::AmbiguousModule`] for a target that looks like a layer of Burn's and is not.
    fn adapt(
        self,
        name: &str,
        config: impl Into<PeftConfig>,
        names: &[NameMap],
    ) -> Result<Self, Error> {
        adapt::adapt(self, name, &config.into(), names)
    }

    /// Put the adapter of a PEFT folder on the model, active and trainable under `name`, and load
    /// the biases and the `modules_to_save` that it holds. Of a prompt tuning folder only these
    /// are loaded: [`SoftPrompt::from_folder`](crate::SoftPrompt::from_folder) makes the prompt.
    ///
    /// `names` are the namings that the model goes by; the first that knows every key is used.
    /// Without any, names are the paths in the Burn model.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a tensor that names nothing of the model, [`Error::MissingKey`] for a
    /// target without tensors, [`Error::Shape`] for one that does not fit, [`Error::OtherMethod`]
    /// and [`Error::AmbiguousModule`] as in [`adapt`](Self::adapt), and what
    /// [`AdapterFolder::check`] finds. The model is consumed, but never half loaded.
    fn load_adapter(
        self,
        name: &str,
        folder: &AdapterFolder,
        names: &[NameMap],
    ) -> Result<Self, Error> {
        load::load(self, name, folder, names)
    }

    /// The adapter `name` for a PEFT folder with this configuration: its tensors, and the biases
    /// and `modules_to_save` that the configuration names.
    ///
    /// `names` are the namings that the model goes by; the first under which the configuration's
    /// targets are found is used, or else the first. Without any, names are the paths in the Burn
    /// model.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] if no weight carries it, [`Error::PeftType`] if it is of another
    /// method, and what [`AdapterFolder::check`] finds where the configuration is not the adapter's.
    fn save_adapter(
        &self,
        name: &str,
        config: impl Into<PeftConfig>,
        names: &[NameMap],
    ) -> Result<AdapterFolder, Error> {
        save::save(self, name, &config.into(), names)
    }

    /// A folder that was loaded, with the values that the model has now: the same keys, types and
    /// configuration. `names` are those that the folder was loaded with.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a tensor that the model does not have.
    fn update_folder(
        &self,
        name: &str,
        folder: &AdapterFolder,
        names: &[NameMap],
    ) -> Result<AdapterFolder, Error> {
        save::update(self, name, folder, names)
    }

    /// Names of the adapters on the model's weights, sorted.
    fn adapter_names(&self) -> Vec<String> {
        switch::names(self).into_iter().collect()
    }

    /// Make these the active adapters, with a factor on the update of each: one name switches,
    /// several mix. Like everything that changes adapters, this first takes merged ones out of the
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
            None => Ok(switch::activate(self, active)),
        }
    }

    /// Switch all adapters on or off; off, the model is its base.
    fn with_adapters_enabled(self, enabled: bool) -> Self {
        switch::enable(self, enabled)
    }

    /// Remove an adapter.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] if no weight of the model carries it.
    fn without_adapter(self, name: &str) -> Result<Self, Error> {
        let known = self.adapter_names();
        if !known.iter().any(|known| known == name) {
            return Err(Error::UnknownAdapter {
                name: name.into(),
                known,
            });
        }
        Ok(switch::remove(self, name))
    }

    /// Merge the active adapters into the weights and keep them for
    /// [`unmerge_adapters`](Self::unmerge_adapters); the output stays, up to rounding and without
    /// the adapters' dropout.
    ///
    /// The sum is taken in the adapters' type and rounded once to the weight's. A quantised weight
    /// becomes dense.
    fn merge_adapters(self) -> Self {
        merge::fold(self, true)
    }

    /// Take merged adapters out of the weights again, which are then exactly what they were before,
    /// plus what has been added to them since.
    fn unmerge_adapters(self) -> Self {
        merge::fold(self, false)
    }

    /// Merge the active adapters into the weights and drop them all: the model as if it had been
    /// trained in full.
    fn merge_and_unload(self) -> Self {
        merge::fold(self, true).materialize()
    }

    /// Drop all adapters: the base model again.
    fn unload(self) -> Self {
        switch::enable(merge::fold(self, false), false).materialize()
    }

    /// The adapters of Burn's own [`apply_lora`](Module::apply_lora) as adapters of this crate:
    /// the same factors, along the activations. `config` gives their rank, alpha and dropout,
    /// which cannot be read from a model.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the rank is another one, or the model carries adapters of this crate.
    fn adopt_burn_lora(self, name: &str, config: &LoraConfig) -> Result<Self, Error> {
        burn_lora::from_burn(self, name, config)
    }

    /// The active adapters as those of Burn's own [`apply_lora`](Module::apply_lora), for code
    /// that knows these, such as Burn's composite modules inside a recording.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a weight with several active adapters, DoRA, dropout, merged ones, or
    /// of a convolution.
    fn into_burn_lora(self) -> Result<Self, Error> {
        burn_lora::to_burn(self)
    }

    /// Counts of trainable and of all parameters.
    fn trainable(&self) -> Trainable {
        Trainable::of(self)
    }
}

impl<M: Module> Peft for M {}
