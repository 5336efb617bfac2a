//! The kinds of models, as this program sees them.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::bert::{
    BertConfig, BertForSequenceClassification, BertForTokenClassification, BertInput, BertModel,
};
use burn_hf_models::distilbert::{
    DistilBertForSequenceClassification, DistilBertForTokenClassification,
};
use burn_hf_models::llama::{LlamaConfig, LlamaForCausalLM, LlamaInput, LlamaModel};
use burn_hf_models::modernbert::{
    ModernBertConfig, ModernBertForSequenceClassification, ModernBertForTokenClassification,
    ModernBertModel,
};
use burn_hf_models::roberta::{RobertaForSequenceClassification, RobertaForTokenClassification};
use burn_hf_models::t5::{T5Config, T5ForConditionalGeneration, T5Input, T5Source};
use burn_hf_models::vit::{ViTConfig, ViTForImageClassification, ViTInput, ViTModel};
use burn_hf_models::weights::{LoadOptions, load_named};
use burn_peft::folder::AdapterKey;
use burn_peft::{AdapterFolder, NameMap, SoftPrompt};

use crate::error::Error;
use crate::inputs::Inputs;
use crate::place::Place;
use crate::results::Output;

/// Outputs by name.
pub(crate) type Outputs = Vec<(&'static str, Output)>;

/// A model that can be loaded from a folder and run.
pub(crate) trait Family: Module {
    /// Names of the arguments.
    const ARGUMENTS: &'static [&'static str];

    /// The model of a folder. What the adapter brings may be missing there, and nothing else.
    fn open(folder: &Path, adapter: &AdapterFolder, device: &Device) -> Result<Self, Error>;

    fn names() -> Vec<NameMap>;

    fn run(&self, call: &Call<'_>) -> Result<Outputs, Error>;
}

/// Let the parameters be missing that an adapter brings: those that it trained in full.
fn brought(options: LoadOptions, adapter: &AdapterFolder) -> Result<LoadOptions, Error> {
    let entries = adapter.entries()?.into_iter();
    Ok(entries.fold(options, |options, (key, _)| match key {
        AdapterKey::Saved { module, parameter } | AdapterKey::Base { module, parameter } => {
            options.keep_initial(&format!("{module}.{parameter}"))
        }
        _ => options,
    }))
}

/// The number of classes of a head that the adapter brings: the configuration of a pretrained encoder does not know
/// it.
fn classes(adapter: &AdapterFolder) -> Result<Option<usize>, Error> {
    let entries = adapter.entries()?.into_iter();
    let mut counts = entries.filter_map(|(key, data)| match key {
        AdapterKey::Saved { module, parameter }
            if ["classifier", "classifier.out_proj"].contains(&module.as_str())
                && parameter == "weight" =>
        {
            data.shape().first().copied()
        }
        _ => None,
    });
    Ok(counts.next())
}

/// What a model is run on.
pub(crate) struct Call<'a> {
    pub inputs: &'a Inputs,
    pub prompt: Option<SoftPrompt>,
    pub place: Place,
}

impl Call<'_> {
    /// Token ids that the model cannot do without.
    fn needed(&self, argument: &str) -> Result<Tensor<2, Int>, Error> {
        self.inputs.needed(argument, &self.place.device)
    }

    fn ids(&self, argument: &str) -> Result<Option<Tensor<2, Int>>, Error> {
        self.inputs.integers(argument, &self.place.device)
    }

    /// The virtual tokens `[M, V, d]` for the samples of `ids`.
    fn prompt(&self, ids: &Tensor<2, Int>) -> Option<Tensor<3>> {
        let [batch, _] = ids.dims();
        self.prompt.as_ref().map(|prompt| prompt.forward(batch))
    }
}

fn output<const D: usize>(x: Tensor<D>) -> Output {
    Output {
        shape: x.dims().to_vec(),
        values: x.into_data().iter::<f64>().collect(),
    }
}

/// A classifier of texts: its class, the encoder in it, its configuration, what makes it and what it takes.
macro_rules! text_classifier {
    ($class:ty, $encoder:ident, $config:ty, $init:ident, $arguments:expr) => {
        impl Family for $class {
            const ARGUMENTS: &'static [&'static str] = $arguments;

            fn open(
                folder: &Path,
                adapter: &AdapterFolder,
                device: &Device,
            ) -> Result<Self, Error> {
                let config = <$config>::from_folder(folder)?;
                let config = match classes(adapter)? {
                    Some(count) => config.with_labels(count),
                    None => config,
                };
                let model = config.$init(device)?;
                let options = brought(Self::load_options(), adapter)?;
                Ok(load_named(model, &Self::names(), folder, &options)?)
            }

            fn names() -> Vec<NameMap> {
                Self::names()
            }

            fn run(&self, call: &Call<'_>) -> Result<Outputs, Error> {
                let input = bert_input(call)?;
                self.$encoder.check(&input)?;
                let found = self.forward(input)?;
                Ok(vec![
                    ("last_hidden_state", output(found.last_hidden_state)),
                    ("logits", output(found.logits)),
                ])
            }
        }
    };
}

/// What models with segments take.
const SEGMENTED: &[&str] = &["input_ids", "attention_mask", "token_type_ids"];
/// What models without segments take.
const MASKED: &[&str] = &["input_ids", "attention_mask"];

text_classifier!(
    BertForSequenceClassification,
    bert,
    BertConfig,
    init_classifier,
    SEGMENTED
);
text_classifier!(
    BertForTokenClassification,
    bert,
    BertConfig,
    init_token_classifier,
    SEGMENTED
);
text_classifier!(
    RobertaForSequenceClassification,
    roberta,
    BertConfig,
    init_roberta_classifier,
    SEGMENTED
);
text_classifier!(
    RobertaForTokenClassification,
    roberta,
    BertConfig,
    init_roberta_token_classifier,
    SEGMENTED
);
text_classifier!(
    DistilBertForSequenceClassification,
    distilbert,
    BertConfig,
    init_distilbert_classifier,
    MASKED
);
text_classifier!(
    DistilBertForTokenClassification,
    distilbert,
    BertConfig,
    init_distilbert_token_classifier,
    MASKED
);
text_classifier!(
    ModernBertForSequenceClassification,
    model,
    ModernBertConfig,
    init_classifier,
    MASKED
);
text_classifier!(
    ModernBertForTokenClassification,
    model,
    ModernBertConfig,
    init_token_classifier,
    MASKED
);

impl Family for ModernBertModel {
    const ARGUMENTS: &'static [&'static str] = MASKED;

    fn open(folder: &Path, adapter: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        let model = ModernBertConfig::from_folder(folder)?.init_model(device)?;
        let options = brought(Self::load_options(), adapter)?;
        Ok(load_named(model, &Self::names(), folder, &options)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(&self, call: &Call<'_>) -> Result<Outputs, Error> {
        let input = bert_input(call)?;
        self.check(&input)?;
        let hidden = self.forward(input)?;
        Ok(vec![("last_hidden_state", output(hidden))])
    }
}

impl Family for BertModel {
    const ARGUMENTS: &'static [&'static str] = SEGMENTED;

    fn open(folder: &Path, adapter: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        let model = BertConfig::from_folder(folder)?.init_model(false, device)?;
        let options = brought(Self::load_options().skip("pooler"), adapter)?;
        Ok(load_named(model, &Self::names(), folder, &options)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(&self, call: &Call<'_>) -> Result<Outputs, Error> {
        let input = bert_input(call)?;
        self.check(&input)?;
        let found = self.forward(input)?;
        Ok(vec![("last_hidden_state", output(found.last_hidden_state))])
    }
}

fn bert_input(call: &Call<'_>) -> Result<BertInput, Error> {
    let ids = call.needed("input_ids")?;
    let prompt = call.prompt(&ids);
    Ok(BertInput {
        attention_mask: call.ids("attention_mask")?,
        token_type_ids: call.ids("token_type_ids")?,
        prompt,
        ..BertInput::new(ids)
    })
}

impl Family for ViTForImageClassification {
    const ARGUMENTS: &'static [&'static str] = &["pixel_values"];

    fn open(folder: &Path, adapter: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        let config = ViTConfig::from_folder(folder)?;
        let config = match classes(adapter)? {
            Some(count) => config.with_labels(count),
            None => config,
        };
        let model = config.init_classifier(device)?;
        let options = brought(Self::load_options(), adapter)?;
        Ok(load_named(model, &Self::names(), folder, &options)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(&self, call: &Call<'_>) -> Result<Outputs, Error> {
        let found = self.forward(images(call)?)?;
        Ok(vec![
            ("encoder_output", output(found.encoder_output)),
            ("last_hidden_state", output(found.last_hidden_state)),
            ("logits", output(found.logits)),
        ])
    }
}

impl Family for ViTModel {
    const ARGUMENTS: &'static [&'static str] = ViTForImageClassification::ARGUMENTS;

    fn open(folder: &Path, adapter: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        let model = ViTConfig::from_folder(folder)?.init_classifier(device)?.vit;
        let options = brought(Self::load_options(), adapter)?;
        Ok(load_named(model, &Self::names(), folder, &options)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(&self, call: &Call<'_>) -> Result<Outputs, Error> {
        let found = self.forward(images(call)?)?;
        Ok(vec![
            ("encoder_output", output(found.encoder_output)),
            ("last_hidden_state", output(found.last_hidden_state)),
        ])
    }
}

/// Images take no virtual tokens, as in PEFT.
fn images(call: &Call<'_>) -> Result<ViTInput, Error> {
    if call.prompt.is_some() {
        return Err(Error::Arguments {
            problem: "prompt tuning is for models of text".into(),
        });
    }
    let images = call.inputs.images("pixel_values", &call.place)?;
    Ok(ViTInput::new(images))
}

impl Family for T5ForConditionalGeneration {
    const ARGUMENTS: &'static [&'static str] =
        &["input_ids", "attention_mask", "decoder_input_ids"];

    fn open(folder: &Path, adapter: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        let model = T5Config::from_folder(folder)?.init(device)?;
        let options = brought(model.load_options(), adapter)?;
        Ok(load_named(model, &Self::names(), folder, &options)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(&self, call: &Call<'_>) -> Result<Outputs, Error> {
        let ids = call.needed("input_ids")?;
        let prompt = call.prompt(&ids);
        let source = T5Source {
            attention_mask: call.ids("attention_mask")?,
            prompt,
            ..T5Source::new(ids)
        };
        let decoder = call.needed("decoder_input_ids")?;
        let input = T5Input::new(source, decoder);
        self.validate(&input)?;
        let found = self.forward(input)?;
        Ok(vec![
            (
                "decoder_last_hidden_state",
                output(found.decoder_last_hidden_state),
            ),
            (
                "encoder_last_hidden_state",
                output(found.encoder_last_hidden_state),
            ),
            ("logits", output(found.logits)),
        ])
    }
}

impl Family for LlamaForCausalLM {
    const ARGUMENTS: &'static [&'static str] = &["input_ids", "attention_mask", "position_ids"];

    fn open(folder: &Path, adapter: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        let model = LlamaConfig::from_folder(folder)?.init(device)?;
        let options = brought(model.load_options(), adapter)?;
        Ok(load_named(model, &Self::names(), folder, &options)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(&self, call: &Call<'_>) -> Result<Outputs, Error> {
        let input = llama_input(call)?;
        self.validate(&input)?;
        let found = self.forward(input)?;
        Ok(vec![
            ("last_hidden_state", output(found.last_hidden_state)),
            ("logits", output(found.logits)),
        ])
    }
}

impl Family for LlamaModel {
    const ARGUMENTS: &'static [&'static str] = LlamaForCausalLM::ARGUMENTS;

    fn open(folder: &Path, adapter: &AdapterFolder, device: &Device) -> Result<Self, Error> {
        let model = LlamaConfig::from_folder(folder)?.init(device)?.model;
        let options = brought(Self::load_options(), adapter)?;
        Ok(load_named(model, &Self::names(), folder, &options)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(&self, call: &Call<'_>) -> Result<Outputs, Error> {
        let input = llama_input(call)?;
        self.validate(&input)?;
        let hidden = self.forward(input)?;
        Ok(vec![("last_hidden_state", output(hidden))])
    }
}

fn llama_input(call: &Call<'_>) -> Result<LlamaInput, Error> {
    let ids = call.needed("input_ids")?;
    let prompt = call.prompt(&ids);
    Ok(LlamaInput {
        attention_mask: call.ids("attention_mask")?,
        position_ids: call.ids("position_ids")?,
        prompt,
        ..LlamaInput::new(ids)
    })
}
