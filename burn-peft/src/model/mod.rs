//! Adapters of a whole model.

mod adapt;
mod burn_lora;
mod carried;
mod census;
mod eva;
mod install;
mod load;
mod merge;
mod own_layers;
mod report;
mod save;
mod switch;
mod tied;
mod values;
mod walk;

use burn::module::Module;

use crate::error::Error;
use crate::folder::AdapterFolder;
use crate::lora::{EvaConfig, LoraConfig};
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
/// let merged: Linear = layer.merge_and_unload()?;
/// assert!(merged.adapter_names().is_empty());
/// # Ok::<(), burn_peft::Error>(())
/// ```
pub trait Peft: Module {
    /// Put a new adapter on every layer that `config` targets, active under `name`. Only the
    /// adapter, the biases that the configuration names and its `modules_to_save` train from then
    /// on; other adapters are frozen. An adapter of that name is replaced.
    ///
    /// These biases and `modules_to_save` belong to the adapter: the model's modules hold them while
    /// the adapter is active, and the base's own parameters are kept for when it is not.
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
    /// [`Error::AmbiguousModule`] for a target that looks like a layer of Burn's and is not;
    /// [`Error::SharedTable`] for one of several look-ups that are one table here.
    fn adapt(
        self,
        name: &str,
        config: impl Into<PeftConfig>,
        names: &[NameMap],
    ) -> Result<Self, Error> {
        adapt::adapt(self, name, &config.into(), names)
    }

    /// As [`adapt`](Self::adapt) with LoRA, whose A begin as the principal components of what enters the
    /// layers (EVA, Paischer et al. 2024, arXiv 2410.07170). The ranks of the configuration are shared
    /// out anew: layers whose components explain more of their inputs' variance get more, up to `rho`
    /// times their own, and the sum stays. The second result is the configuration with these ranks, to
    /// save the adapter with.
    ///
    /// `pass` gets the model in evaluation mode ([`valid`](Module::valid)) and calls its forward pass on
    /// data, in as many batches as it likes. All inputs of a layer count alike, so the data should
    /// be without padding. For every layer the sum of outer products of its inputs is kept, `[in, in]`.
    ///
    /// PEFT finds components batch by batch and with a randomised decomposition, until they no longer
    /// change; here they are exact.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use burn_peft::{EvaConfig, ForwardAdapted, LoraConfig, Peft};
    ///
    /// #[derive(Module, Debug)]
    /// struct Model {
    ///     query: Linear,
    /// }
    ///
    /// let plain = Device::flex();
    /// let query = LinearConfig::new(8, 8).init(&plain.clone().autodiff());
    /// let data = Tensor::<2>::random([32, 8], Distribution::Default, &plain);
    /// let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
    /// let eva = EvaConfig::new();
    /// let (model, config) = Model { query }.adapt_to_inputs("default", &config, &eva, &[], |model| {
    ///     model.query.forward_adapted(data.clone());
    /// })?;
    /// assert_eq!(config.scales()?.rank_of("query")?, 2);
    /// assert_eq!(model.trainable().trainable, 2 * 2 * 8);
    /// # Ok::<(), burn_peft::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What [`adapt`](Self::adapt) finds, [`Error::Config`] for settings out of range, and
    /// [`Error::Inputs`] for a layer that saw too few inputs, none, or inputs that do not differ.
    fn adapt_to_inputs(
        self,
        name: &str,
        config: &LoraConfig,
        eva: &EvaConfig,
        names: &[NameMap],
        pass: impl FnOnce(&Self),
    ) -> Result<(Self, LoraConfig), Error> {
        eva::adapt_to_inputs(self, name, config, eva, names, pass)
    }

    /// Put the adapter of a PEFT folder on the model, active and trainable under `name`, with the
    /// biases and the `modules_to_save` that it holds, as in [`adapt`](Self::adapt). Of a prompt
    /// tuning folder only these are loaded:
    /// [`SoftPrompt::from_folder`](crate::SoftPrompt::from_folder) makes the prompt.
    ///
    /// `names` are the namings that the model goes by; the first that knows every key is used.
    /// Without any, names are the paths in the Burn model.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a tensor that names nothing of the model, [`Error::MissingKey`] for a
    /// target without tensors, and for a bias or a parameter of `modules_to_save` that the model has
    /// and the file has not, [`Error::TiedTables`] for two different tables where the model has one,
    /// [`Error::Shape`] for one that does not fit, [`Error::OtherMethod`]
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

    /// The adapter `name` for a PEFT folder with this configuration: its tensors, and its biases
    /// and `modules_to_save` that the configuration names, whichever adapter is active.
    ///
    /// `names` are the namings that the model goes by; the first under which the configuration's
    /// targets are found is used, or else the first. Without any, names are the paths in the Burn
    /// model.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] if the model does not have it, [`Error::PeftType`] if it is of
    /// another method, [`Error::Pattern`] for a pattern that is not a regular expression, and what
    /// [`AdapterFolder::check`] finds where the configuration is not the adapter's.
    fn save_adapter(
        &self,
        name: &str,
        config: impl Into<PeftConfig>,
        names: &[NameMap],
    ) -> Result<AdapterFolder, Error> {
        save::save(self, name, &config.into(), names)
    }

    /// A folder that was loaded, with the values that the adapter has now: the same keys, types and
    /// configuration. A tensor that has not changed stays as it is, also where the model has it in
    /// another precision. `names` are those that the folder was loaded with.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] if the model does not have it, and [`Error::Key`] for a tensor that
    /// the model does not have.
    fn update_folder(
        &self,
        name: &str,
        folder: &AdapterFolder,
        names: &[NameMap],
    ) -> Result<AdapterFolder, Error> {
        save::update(self, name, folder, names)
    }

    /// Names of the adapters on the model, sorted.
    fn adapter_names(&self) -> Vec<String> {
        carried::names(self).into_iter().collect()
    }

    /// Make these the active adapters, with a factor on the update of each: one name switches,
    /// several mix. The heads, biases and other parameters of its own that an adapter has come with
    /// it; a factor does not change them. Like everything that changes adapters, this first takes
    /// merged ones out of the weights.
    ///
    /// # Errors
    ///
    /// - [`Error::UnknownAdapter`] for a name that the model does not have
    /// - [`Error::AdapterTwice`] for a name that is there twice
    /// - [`Error::AdapterFactor`] for a factor that is not a finite number
    /// - [`Error::SeveralOwners`] if two of them have the same head or bias: only one can be in use
    fn with_active_adapters(self, active: &[(&str, f64)]) -> Result<Self, Error> {
        switch::activate(self, active)
    }

    /// Switch all adapters on or off. Off, the model is its base, bit for bit.
    fn with_adapters_enabled(self, enabled: bool) -> Self {
        switch::enable(self, enabled)
    }

    /// Remove an adapter with everything that belongs to it. If no other one is active, the first of
    /// the others becomes active, as in PEFT; without any the model is its base.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] if the model does not have it.
    fn without_adapter(self, name: &str) -> Result<Self, Error> {
        switch::remove(self, name)
    }

    /// Merge the active adapters into the weights and keep them for
    /// [`unmerge_adapters`](Self::unmerge_adapters); the output stays, up to rounding and without
    /// the adapters' dropout.
    ///
    /// The sum is taken in the adapters' type and rounded once to the weight's. A quantised weight
    /// becomes dense.
    ///
    /// # Errors
    ///
    /// [`Error::Merge`] if a weight would hold NaN or infinity: an adapter whose training diverged
    /// loads, as in PEFT, but is not written into the weights.
    fn merge_adapters(self) -> Result<Self, Error> {
        merge::merge(self)
    }

    /// Take merged adapters out of the weights again, which are then exactly what they were before,
    /// plus what has been added to them since.
    fn unmerge_adapters(self) -> Self {
        merge::unmerge(self)
    }

    /// Merge the active adapters into the weights and drop them all: the model as if it had been
    /// trained in full, with the heads and biases of the active adapter.
    ///
    /// # Errors
    ///
    /// [`Error::Merge`] as in [`merge_adapters`](Self::merge_adapters), and [`Error::TiedMerge`] if
    /// an active adapter changes a table and not the output head that shares it, or the other way
    /// round: the model itself has one table for both.
    fn merge_and_unload(self) -> Result<Self, Error> {
        merge::merge_and_unload(self)
    }

    /// Drop all adapters with everything that belongs to them: the base model again, bit for bit.
    fn unload(self) -> Self {
        switch::unload(merge::unmerge(self))
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
    /// that knows these, such as Burn's composite modules inside a recording. The model keeps the
    /// heads and biases of the active adapter; those of others, and the base's, are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::TiedMerge`] as in [`merge_and_unload`](Self::merge_and_unload); [`Error::Config`] for a weight with several active adapters, DoRA, dropout, merged ones, or
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
