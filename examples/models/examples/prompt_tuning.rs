//! A soft prompt of PEFT: load it, compare, train it on, write it back.

// ANCHOR: imports
use std::error::Error;
use std::path::Path;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_hf_models::bert::{BertForSequenceClassification, BertInput};
use burn_ief::prelude::*;
use burn_peft::{AdapterFolder, Peft, SoftPrompt};
use safetensors::SafeTensors;
// ANCHOR_END: imports

// ANCHOR: model
/// A model and the virtual tokens that it reads first.
#[derive(Module, Debug)]
struct Tuned {
    prompt: SoftPrompt,
    model: BertForSequenceClassification,
}

impl Tuned {
    /// Logits `[M, classes]`.
    fn forward(&self, input: BertInput) -> Result<Tensor<2>, burn_hf_models::Error> {
        let [batch, _] = input.input_ids.dims();
        let input = input.with_prompt(self.prompt.forward(batch));
        Ok(self.model.forward(input)?.logits)
    }
}
// ANCHOR_END: model

/// A tensor of `golden.safetensors`.
fn golden(bytes: &[u8], name: &str, dtype: DType) -> Result<TensorData, Box<dyn Error>> {
    let tensors = SafeTensors::deserialize(bytes)?;
    let view = tensors.tensor(name)?;
    let (bytes, shape) = (view.data().to_vec(), view.shape().to_vec());
    Ok(TensorData::from_bytes_vec(bytes, shape, dtype))
}

fn main() -> Result<(), Box<dyn Error>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert");
    let bytes = std::fs::read(fixtures.join("golden.safetensors"))?;
    let device = Device::flex().autodiff();
    let ids = |name| {
        let data = golden(&bytes, name, DType::I64)?;
        Ok::<_, Box<dyn Error>>(Tensor::<2, Int>::from_data(data, &device))
    };
    let input = BertInput::new(ids("input.input_ids")?)
        .with_attention_mask(ids("input.attention_mask")?)
        .with_token_type_ids(ids("input.token_type_ids")?);
    let expected = golden(&bytes, "prompt_tuning.logits.f32", DType::F32)?;

    // ANCHOR: load
    let options = BertForSequenceClassification::load_options();
    let model = BertForSequenceClassification::load(&fixtures, &options, &device)?;
    let folder = AdapterFolder::read(fixtures.join("prompt_tuning"))?;
    let names = BertForSequenceClassification::names();
    let mut tuned = Tuned {
        prompt: SoftPrompt::from_folder(&folder, &device)?,
        // Freezes the model, but for the classifier that the folder brings.
        model: model.load_adapter("default", &folder, &names)?,
    };
    // ANCHOR_END: load
    println!("{}", tuned.trainable());
    let difference = tuned.forward(input.clone())? - Tensor::from_data(expected, &device);
    let difference: f32 = difference.abs().max().into_scalar();
    println!("largest difference to PEFT: {difference:.1e}");
    if difference > 1e-4 {
        return Err("the outputs are not those of PEFT".into());
    }

    let labels = Tensor::<1, Int>::from_data([0, 1, 2, 0], &device);
    let mut optim = IefConfig::new().init(&tuned);
    for step in 1..=5 {
        let tape = optim.start();
        let logits = mark_output(tuned.forward(input.clone())?);
        let loss = CrossEntropyLossConfig::new().init(&device);
        let loss = loss.forward(logits, labels.clone());
        println!("step {step}  loss {:.4}", loss.clone().into_scalar::<f32>());
        tuned = optim.step(0.5, tuned, tape, loss.backward())?;
    }

    let parent = tempfile::tempdir()?;
    // ANCHOR: save
    let folder = tuned.prompt.update_folder(&folder)?;
    let folder = tuned.model.update_folder("default", &folder, &names)?;
    folder.write(parent.path().join("prompt"))?;
    // ANCHOR_END: save
    for (key, data) in &folder.tensors {
        println!("{key} {:?}", data.shape().as_slice());
    }
    Ok(())
}
