//! Opens the model of a folder as the type of its class.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use burn_peft::NameMap;

use crate::bert::{
    BertConfig, BertForSequenceClassification, BertForTokenClassification, BertModel,
};
use crate::class::ModelClass;
use crate::classify::{ImageClassifier, TextClassifier, TokenClassifier};
use crate::distilbert::{DistilBertForSequenceClassification, DistilBertForTokenClassification};
use crate::error::Error;
use crate::llama::{LlamaConfig, LlamaForCausalLM, LlamaModel};
use crate::modernbert::{
    ModernBertConfig, ModernBertForSequenceClassification, ModernBertForTokenClassification,
    ModernBertModel,
};
use crate::roberta::{RobertaForSequenceClassification, RobertaForTokenClassification};
use crate::t5::{T5Config, T5ForConditionalGeneration};
use crate::vit::dinov2::{Dinov2Config, Dinov2ForImageClassification, Dinov2Model};
use crate::vit::{ViTConfig, ViTForImageClassification, ViTModel};
use crate::weights::{LoadOptions, holds, load_named};

/// What is done with a model, whatever its class.
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::Device;
/// use burn_hf_models::Error;
/// use burn_hf_models::class::ModelClass;
/// use burn_hf_models::open::{OpenOptions, Opened, WithOpened, open};
///
/// struct Count;
///
/// impl WithOpened for Count {
///     type Output = usize;
///     type Error = Error;
///
///     fn apply<M: Module>(self, opened: Opened<M>) -> Result<usize, Error> {
///         Ok(opened.model.num_params())
///     }
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// # let config = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 20,
/// #     "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
/// #     "tie_word_embeddings": true}"#;
/// # std::fs::write(folder.join("config.json"), config)?;
/// # let device = Device::flex();
/// # let model = burn_hf_models::llama::LlamaConfig::from_folder(folder)?.init(&device)?;
/// # let names = &burn_hf_models::llama::LlamaForCausalLM::names()[0];
/// # burn_hf_models::weights::save(&model, names, &[], &folder.join("model.safetensors"))?;
/// let class = ModelClass::choose(folder, None, None)?;
/// let count = open(folder, class, &OpenOptions::default(), &Device::flex(), Count)?;
/// assert_eq!(count, 20 * 8 + 4 * 8 * 8 + 3 * 8 * 16 + 3 * 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait WithOpened {
    /// What comes of it.
    type Output;
    /// What can go wrong.
    type Error: From<Error>;

    /// Do it.
    ///
    /// # Errors
    ///
    /// Its own.
    fn apply<M: Module>(self, opened: Opened<M>) -> Result<Self::Output, Self::Error>;

    /// Do it with a classifier of texts; without an implementation the same as with every model.
    ///
    /// # Errors
    ///
    /// Its own.
    fn apply_to_texts<M: TextClassifier>(
        self,
        opened: Opened<M>,
    ) -> Result<Self::Output, Self::Error>
    where
        Self: Sized,
    {
        self.apply(opened)
    }

    /// Do it with a classifier of tokens; without an implementation the same as with every model.
    ///
    /// # Errors
    ///
    /// Its own.
    fn apply_to_tokens<M: TokenClassifier>(
        self,
        opened: Opened<M>,
    ) -> Result<Self::Output, Self::Error>
    where
        Self: Sized,
    {
        self.apply(opened)
    }

    /// Do it with a classifier of images; without an implementation the same as with every model.
    ///
    /// # Errors
    ///
    /// Its own.
    fn apply_to_images<M: ImageClassifier>(
        self,
        opened: Opened<M>,
    ) -> Result<Self::Output, Self::Error>
    where
        Self: Sized,
    {
        self.apply(opened)
    }
}

/// A model with the weights of its folder.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Opened<M> {
    /// The model.
    pub model: M,
    /// The namings that an adapter's layers are looked up in.
    pub names: Vec<NameMap>,
    /// Names in weight files.
    pub file_names: NameMap,
    /// Names and shapes of tensors that its class in `transformers` has, and nothing here uses.
    pub unused: Vec<(&'static str, Vec<usize>)>,
}

/// What differs from what the folder says.
///
/// ```
/// use burn_hf_models::open::OpenOptions;
///
/// let options = OpenOptions::default().with_labels(3).with_new_parts(["classifier"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    labels: Option<usize>,
    new: Vec<String>,
}

/// Parts that an adapter brings along as a whole, so that a folder's may be of other shapes.
const HEADS: [&str; 4] = ["classifier", "pre_classifier", "score", "head"];

impl OpenOptions {
    /// As many classes.
    pub fn with_labels(self, labels: usize) -> Self {
        Self {
            labels: Some(labels),
            ..self
        }
    }

    /// Parts that the folder may lack, as whole names between dots: an adapter brings them along
    /// (`modules_to_save`). Of heads the folder's values are not read at all.
    pub fn with_new_parts<N: AsRef<str>>(self, parts: impl IntoIterator<Item = N>) -> Self {
        let parts = parts.into_iter();
        Self {
            new: parts.map(|part| part.as_ref().to_string()).collect(),
            ..self
        }
    }

    fn load(&self, mut options: LoadOptions) -> LoadOptions {
        let is_head = |part: &String| HEADS.contains(&part.as_str());
        if self.new.iter().any(is_head) {
            // The folder may hold the head of another class.
            options = HEADS.into_iter().fold(options, LoadOptions::skip);
        }
        for part in &self.new {
            options = if is_head(part) {
                options.replace(part)
            } else {
                options.keep_initial(part)
            };
        }
        options
    }
}

/// Open the model of a folder as this class, and do something with it.
///
/// # Errors
///
/// Those of the class's `load`, and those of `with`.
pub fn open<W: WithOpened>(
    folder: &Path,
    class: ModelClass,
    options: &OpenOptions,
    device: &Device,
    with: W,
) -> Result<W::Output, W::Error> {
    let in_config = |error: Error| error.in_config(folder);
    /// A classifier, whose configuration has classes.
    macro_rules! classifier {
        ($class:ident, $config:ident, $init:ident) => {{
            let config = $config::from_folder(folder)?;
            let config = match options.labels {
                Some(count) => config.with_labels(count),
                None => config,
            };
            let model = config.$init(device).map_err(in_config)?;
            let load = options.load($class::load_options());
            loaded(model, $class::names(), folder, &load)?
        }};
    }
    match class {
        ModelClass::BertModel => {
            let config = BertConfig::from_folder(folder)?;
            let pooler = ["", "bert.", "roberta."]
                .map(|prefix| holds(folder, &format!("{prefix}pooler.dense.weight")));
            let mut has_pooler = false;
            for found in pooler {
                has_pooler |= found? == Some(true);
            }
            let model = config.init_model(has_pooler, device).map_err(in_config)?;
            let mut names = BertModel::names();
            if config.model_type.as_deref() == Some("distilbert") {
                names.reverse();
            }
            with.apply(loaded(
                model,
                names,
                folder,
                &options.load(BertModel::load_options()),
            )?)
        }
        ModelClass::BertForSequenceClassification => with.apply_to_texts(classifier!(
            BertForSequenceClassification,
            BertConfig,
            init_classifier
        )),
        ModelClass::BertForTokenClassification => with.apply_to_tokens(classifier!(
            BertForTokenClassification,
            BertConfig,
            init_token_classifier
        )),
        ModelClass::RobertaForSequenceClassification => with.apply_to_texts(classifier!(
            RobertaForSequenceClassification,
            BertConfig,
            init_roberta_classifier
        )),
        ModelClass::RobertaForTokenClassification => with.apply_to_tokens(classifier!(
            RobertaForTokenClassification,
            BertConfig,
            init_roberta_token_classifier
        )),
        ModelClass::DistilBertForSequenceClassification => with.apply_to_texts(classifier!(
            DistilBertForSequenceClassification,
            BertConfig,
            init_distilbert_classifier
        )),
        ModelClass::DistilBertForTokenClassification => with.apply_to_tokens(classifier!(
            DistilBertForTokenClassification,
            BertConfig,
            init_distilbert_token_classifier
        )),
        ModelClass::ModernBertModel => {
            let config = ModernBertConfig::from_folder(folder)?;
            let model = config.init_model(device).map_err(in_config)?;
            let load = options.load(ModernBertModel::load_options());
            with.apply(loaded(model, ModernBertModel::names(), folder, &load)?)
        }
        ModelClass::ModernBertForSequenceClassification => with.apply_to_texts(classifier!(
            ModernBertForSequenceClassification,
            ModernBertConfig,
            init_classifier
        )),
        ModelClass::ModernBertForTokenClassification => with.apply_to_tokens(classifier!(
            ModernBertForTokenClassification,
            ModernBertConfig,
            init_token_classifier
        )),
        ModelClass::ViTModel => {
            let model = ViTModel::load(folder, device)?;
            with.apply(Opened::of(model, ViTModel::names()))
        }
        ModelClass::ViTForImageClassification => {
            let opened = classifier!(ViTForImageClassification, ViTConfig, init_classifier);
            with.apply_to_images(opened.with_newest_first())
        }
        ModelClass::Dinov2Model => {
            let sizes = Dinov2Config::from_folder(folder)?;
            let model = Dinov2Model::load(folder, device)?;
            let mut opened = Opened::of(model, Dinov2Model::names()).with_newest_first();
            opened.unused = vec![("embeddings.mask_token", vec![1, sizes.hidden_size])];
            with.apply(opened)
        }
        ModelClass::Dinov2ForImageClassification => {
            let sizes = Dinov2Config::from_folder(folder)?;
            let opened = classifier!(Dinov2ForImageClassification, Dinov2Config, init_classifier);
            let mut opened = opened.with_newest_first();
            opened.unused = vec![("dinov2.embeddings.mask_token", vec![1, sizes.hidden_size])];
            with.apply_to_images(opened)
        }
        ModelClass::T5ForConditionalGeneration => {
            let model = T5Config::from_folder(folder)?.init(device)?;
            let load = options.load(model.load_options());
            let names = T5ForConditionalGeneration::names();
            with.apply(loaded(model, names, folder, &load)?)
        }
        ModelClass::LlamaModel => {
            let model = LlamaConfig::from_folder(folder)?.init(device)?.model;
            let load = options.load(LlamaModel::load_options());
            with.apply(loaded(model, LlamaModel::names(), folder, &load)?)
        }
        ModelClass::LlamaForCausalLM => {
            let model = LlamaConfig::from_folder(folder)?.init(device)?;
            let load = options.load(model.load_options());
            with.apply(loaded(model, LlamaForCausalLM::names(), folder, &load)?)
        }
    }
}

/// A new model with the weights of a folder.
fn loaded<M: Module>(
    model: M,
    names: Vec<NameMap>,
    folder: &Path,
    options: &LoadOptions,
) -> Result<Opened<M>, Error> {
    let model = load_named(model, &names, folder, options)?;
    Ok(Opened::of(model, names))
}

impl<M> Opened<M> {
    /// A model whose modules go by these namings, the first of them in weight files.
    pub fn of(model: M, names: Vec<NameMap>) -> Self {
        Self {
            model,
            file_names: names.first().cloned().unwrap_or_default(),
            names,
            unused: Vec::new(),
        }
    }

    /// Adapters of pictures' models have the names of the newest `transformers` or those of older ones; files have
    /// those that all versions read.
    fn with_newest_first(mut self) -> Self {
        self.names.reverse();
        self
    }
}
