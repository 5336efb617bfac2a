//! The kinds of models, as this program sees them.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_peft::NameMap;
use models::bert::{BertConfig, BertForSequenceClassification, BertInput, BertModel};
use models::llama::{LlamaForCausalLM, LlamaInput};
use models::t5::{T5ForConditionalGeneration, T5Input, T5Source};
use models::vit::{ViTForImageClassification, ViTInput};

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

    fn open(folder: &Path, device: &Device) -> Result<Self, Error>;

    fn names() -> Vec<NameMap>;

    /// Run the inputs, `prompt` being the virtual tokens `[M, V, d]`.
    fn run(
        &self,
        inputs: &Inputs,
        prompt: Option<&Prompt>,
        place: &Place,
    ) -> Result<Outputs, Error>;
}

/// Makes virtual tokens for a batch.
pub(crate) type Prompt = dyn Fn(usize) -> Tensor<3>;

fn output<const D: usize>(x: Tensor<D>) -> Output {
    Output {
        shape: x.dims().to_vec(),
        values: x.into_data().iter::<f64>().collect(),
    }
}

impl Family for BertForSequenceClassification {
    const ARGUMENTS: &'static [&'static str] = &["input_ids", "attention_mask", "token_type_ids"];

    fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        // An adapter may bring the head.
        let options = Self::load_options().keep_initial("classifier");
        Ok(Self::load(folder, &options, device)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(
        &self,
        inputs: &Inputs,
        prompt: Option<&Prompt>,
        place: &Place,
    ) -> Result<Outputs, Error> {
        let output_ = self.forward(bert_input(inputs, prompt, &place.device)?)?;
        Ok(vec![
            ("last_hidden_state", output(output_.last_hidden_state)),
            ("logits", output(output_.logits)),
        ])
    }
}

impl Family for BertModel {
    const ARGUMENTS: &'static [&'static str] = BertForSequenceClassification::ARGUMENTS;

    fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        BertConfig::from_folder(folder)?;
        Ok(Self::load(folder, false, device)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(
        &self,
        inputs: &Inputs,
        prompt: Option<&Prompt>,
        place: &Place,
    ) -> Result<Outputs, Error> {
        let found = self.forward(bert_input(inputs, prompt, &place.device)?)?;
        Ok(vec![("last_hidden_state", output(found.last_hidden_state))])
    }
}

fn bert_input(
    inputs: &Inputs,
    prompt: Option<&Prompt>,
    device: &Device,
) -> Result<BertInput, Error> {
    let ids = inputs.needed("input_ids", device)?;
    let batch = ids.dims()[0];
    let mut input = BertInput::new(ids);
    input.attention_mask = inputs.integers("attention_mask", device)?;
    input.token_type_ids = inputs.integers("token_type_ids", device)?;
    input.prompt = prompt.map(|prompt| prompt(batch));
    Ok(input)
}

impl Family for ViTForImageClassification {
    const ARGUMENTS: &'static [&'static str] = &["pixel_values"];

    fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        let options = Self::load_options().keep_initial("classifier");
        Ok(Self::load(folder, &options, device)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(
        &self,
        inputs: &Inputs,
        prompt: Option<&Prompt>,
        place: &Place,
    ) -> Result<Outputs, Error> {
        no_prompt(prompt)?;
        let images = inputs.images("pixel_values", place)?;
        let found = self.forward(ViTInput::new(images))?;
        Ok(vec![
            ("encoder_output", output(found.encoder_output)),
            ("last_hidden_state", output(found.last_hidden_state)),
            ("logits", output(found.logits)),
        ])
    }
}

impl Family for T5ForConditionalGeneration {
    const ARGUMENTS: &'static [&'static str] =
        &["input_ids", "attention_mask", "decoder_input_ids"];

    fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        Ok(Self::load(folder, device)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(
        &self,
        inputs: &Inputs,
        prompt: Option<&Prompt>,
        place: &Place,
    ) -> Result<Outputs, Error> {
        let device = &place.device;
        let ids = inputs.needed("input_ids", device)?;
        let batch = ids.dims()[0];
        let mut source = T5Source::new(ids);
        source.attention_mask = inputs.integers("attention_mask", device)?;
        source.prompt = prompt.map(|prompt| prompt(batch));
        let decoder = inputs.needed("decoder_input_ids", device)?;
        let found = self.forward(T5Input::new(source, decoder))?;
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

    fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        Ok(Self::load(folder, device)?)
    }

    fn names() -> Vec<NameMap> {
        Self::names()
    }

    fn run(
        &self,
        inputs: &Inputs,
        prompt: Option<&Prompt>,
        place: &Place,
    ) -> Result<Outputs, Error> {
        let device = &place.device;
        let ids = inputs.needed("input_ids", device)?;
        let batch = ids.dims()[0];
        let mut input = LlamaInput::new(ids);
        input.attention_mask = inputs.integers("attention_mask", device)?;
        input.position_ids = inputs.integers("position_ids", device)?;
        input.prompt = prompt.map(|prompt| prompt(batch));
        let found = self.forward(input)?;
        Ok(vec![
            ("last_hidden_state", output(found.last_hidden_state)),
            ("logits", output(found.logits)),
        ])
    }
}

/// Images take no virtual tokens here, as in PEFT.
fn no_prompt(prompt: Option<&Prompt>) -> Result<(), Error> {
    match prompt {
        None => Ok(()),
        Some(_) => Err(Error::Arguments {
            problem: "prompt tuning is for models of text".into(),
        }),
    }
}
