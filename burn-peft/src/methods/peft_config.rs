//! Reading, writing and checking of `adapter_config.json`, whatever the method.

use super::PeftConfig;
use crate::error::Error;
use crate::folder::check_contents;
use crate::settings::{Fields, Json, Modules, TaskType, json};
use crate::targets::{ModuleKind, Selection, Target};
use crate::tuner::LayerTuner;

const FILE: &str = "adapter_config.json";

impl PeftConfig {
    /// Read the text of `adapter_config.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Placeholder`] for an empty file, a Git LFS pointer or a web page,
    /// [`Error::Json`] for what is not a JSON object or has a key twice, [`Error::PeftType`] for
    /// another method, [`Error::Config`] for a value of the wrong type or out of range,
    /// [`Error::Unsupported`] for a field of PEFT that is in use and not supported.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        check_contents(text)?;
        let Json::Object(fields) = json::parse(FILE, text)? else {
            return Err(Error::Json {
                file: FILE,
                message: "expected an object".into(),
                source: None,
            });
        };
        let peft_type = fields.get("peft_type").cloned();
        if let Some(Json::String(name)) = &peft_type
            && let Some(config) = Self::of_method(name, fields)
        {
            return config;
        }
        Err(Error::PeftType {
            peft_type: peft_type.map_or("missing".into(), |json| json::shown(&json)),
            expected: format!("one of {}", Self::METHODS.join(", ")),
        })
    }

    /// The text of `adapter_config.json`: the fields of the file that was read, in its order, with
    /// every value that was changed since.
    ///
    /// # Errors
    ///
    /// What [`validate`](Self::validate) finds.
    pub fn to_json(&self) -> Result<String, Error> {
        self.validate()?;
        json::to_text(&self.fields())
    }

    /// The method, as `peft_type` names it.
    pub fn peft_type(&self) -> &'static str {
        self.tuner().peft_type()
    }

    /// The number of virtual tokens of a method that puts some before the input.
    ///
    /// ```
    /// use burn_peft::{LoraConfig, PeftConfig, PromptConfig};
    ///
    /// assert_eq!(PeftConfig::from(PromptConfig::new(5)).virtual_tokens(), Some(5));
    /// assert_eq!(PeftConfig::from(LoraConfig::new()).virtual_tokens(), None);
    /// ```
    pub fn virtual_tokens(&self) -> Option<usize> {
        self.tuner().virtual_tokens()
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value out of range and for fields that PEFT does not accept
    /// together, [`Error::Unsupported`] for a field of PEFT that is in use and not supported here.
    pub fn validate(&self) -> Result<(), Error> {
        self.tuner().validate()
    }

    /// Fields of the file that are set and unknown to this crate. They are kept, and they have no
    /// effect: a program should report them.
    pub fn unknown_fields(&self) -> Vec<String> {
        self.tuner().unknown_fields()
    }

    /// A field as it would be written, as JSON on one line, typed or not.
    pub fn field(&self, name: &str) -> Option<String> {
        self.fields().get(name).map(Json::to_string)
    }

    /// With the name of the base model.
    pub fn with_base_model(mut self, name_or_path: impl Into<String>) -> Self {
        *self.shared_fields().base_model() = Some(name_or_path.into());
        self
    }

    /// With this task and exactly these modules that are trained in full.
    ///
    /// ```
    /// use burn_peft::settings::TaskType;
    /// use burn_peft::{LoraConfig, PeftConfig};
    ///
    /// let config = LoraConfig::new().with_task_type(TaskType::SequenceClassification);
    /// let config = PeftConfig::from(config).with_task(Some(TaskType::FeatureExtraction), None);
    /// assert!(config.modules_to_save().is_empty());
    /// ```
    pub fn with_task(
        mut self,
        task: Option<TaskType>,
        modules_to_save: Option<Vec<String>>,
    ) -> Self {
        let fields = self.shared_fields();
        *fields.task_type() = task;
        *fields.modules_to_save() = modules_to_save;
        self
    }

    /// With these target modules; a method that adapts no layers stays as it is.
    pub fn with_target_modules(mut self, modules: impl Into<Modules>) -> Self {
        if let Some(targets) = self.shared_fields().target_modules() {
            *targets = Some(modules.into());
        }
        self
    }

    /// The ends of the names of modules that are trained in full.
    pub fn modules_to_save(&self) -> &[String] {
        self.tuner().modules_to_save()
    }

    /// The modules that the method adapts, in the order of `modules`.
    ///
    /// `all-linear` leaves the output head out, which is found by the names that `transformers`
    /// gives it ([`output_head`](crate::targets::output_head)).
    ///
    /// Entries of a list that match nothing while others match are not an error, as in PEFT: one
    /// configuration serves several kinds of model. See
    /// [`unmatched_targets`](Self::unmatched_targets).
    ///
    /// ```
    /// use burn_peft::{LoraConfig, ModuleKind, PeftConfig};
    ///
    /// let modules = ["embed", "layers.0.q_proj", "layers.0.k_proj", "layers.1.q_proj"];
    /// let modules = modules.map(|name| (name.to_string(), ModuleKind::Linear));
    /// let config = LoraConfig::new().with_target_modules(["q_proj", "o_proj"]);
    /// let config = PeftConfig::from(config);
    /// let targets = config.targets(&modules)?;
    /// let names: Vec<_> = targets.iter().map(|target| target.module.as_str()).collect();
    /// assert_eq!(names, ["layers.0.q_proj", "layers.1.q_proj"]);
    /// assert_eq!(config.unmatched_targets(&modules)?, ["o_proj"]);
    /// # Ok::<(), burn_peft::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::PeftType`] for a method that does not adapt modules
    /// - [`Error::Config`] if `target_modules` is not given
    ///   ([`default_targets`](crate::targets::default_targets) knows PEFT's choice for some kinds of
    ///   model)
    /// - [`Error::Pattern`] for what is not a regular expression, or cannot be decided
    /// - [`Error::NoTarget`] if nothing matches, with near names
    /// - [`Error::AllExcluded`] if everything that matches is excluded again
    /// - [`Error::TargetKind`] if a target is of a kind that the method cannot adapt
    pub fn targets(&self, modules: &[(String, ModuleKind)]) -> Result<Vec<Target>, Error> {
        self.selected(|selection| selection.resolve(modules))
    }

    /// As [`targets`](Self::targets), with the name of the output head, if there is one.
    ///
    /// # Errors
    ///
    /// As [`targets`](Self::targets).
    pub fn targets_with_head(
        &self,
        modules: &[(String, ModuleKind)],
        head: Option<&str>,
    ) -> Result<Vec<Target>, Error> {
        self.selected(|selection| selection.resolve_with_head(modules, head))
    }

    /// The entries of a list in `target_modules` that no module's name ends in.
    ///
    /// # Errors
    ///
    /// [`Error::PeftType`] for a method that does not adapt modules, and [`Error::Pattern`].
    pub fn unmatched_targets(
        &self,
        modules: &[(String, ModuleKind)],
    ) -> Result<Vec<String>, Error> {
        self.selected(|selection| Ok(selection.unmatched(modules)))
    }

    fn selected<T>(&self, choose: impl Fn(Selection<'_>) -> Result<T, Error>) -> Result<T, Error> {
        choose(self.layers()?.selection())
    }

    /// The layers that the method adapts, or an error for a method that leaves them alone.
    pub(crate) fn layers(&self) -> Result<Box<dyn LayerTuner + '_>, Error> {
        let layers = self.tuner().layers()?;
        layers.ok_or_else(|| Error::PeftType {
            peft_type: self.peft_type().into(),
            expected: "a method that adapts layers".into(),
        })
    }

    fn fields(&self) -> Fields {
        self.tuner().to_fields()
    }
}
