//! Adapters that were trained in Python: load, compare, merge, switch and mix.

// ANCHOR: imports
use std::error::Error;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_hf_models::bert::{BertForSequenceClassification, BertInput};
use burn_peft::{AdapterFolder, Peft};
use safetensors::SafeTensors;
// ANCHOR_END: imports

/// Inputs, and outputs of `transformers` and PEFT.
struct Golden(Vec<u8>);

impl Golden {
    fn data(&self, name: &str, dtype: DType) -> Result<TensorData, Box<dyn Error>> {
        let tensors = SafeTensors::deserialize(&self.0)?;
        let view = tensors.tensor(name)?;
        let bytes = view.data().to_vec();
        Ok(TensorData::from_bytes_vec(
            bytes,
            view.shape().to_vec(),
            dtype,
        ))
    }

    fn input(&self, device: &Device) -> Result<BertInput, Box<dyn Error>> {
        let ids = |name: &str| {
            let data = self.data(name, DType::I64)?;
            Ok::<_, Box<dyn Error>>(Tensor::from_data(data, device))
        };
        Ok(BertInput::new(ids("input.input_ids")?)
            .with_attention_mask(ids("input.attention_mask")?)
            .with_token_type_ids(ids("input.token_type_ids")?))
    }

    fn logits(&self, case: &str, device: &Device) -> Result<Tensor<2>, Box<dyn Error>> {
        let data = self.data(&format!("{case}.logits.f32"), DType::F32)?;
        Ok(Tensor::from_data(data, device))
    }
}

/// Prints the largest difference, and fails if it is more than rounding.
fn compare(what: &str, ours: Tensor<2>, expected: Tensor<2>) -> Result<(), Box<dyn Error>> {
    let difference: f32 = (ours - expected).abs().max().into_scalar();
    println!("{what:44} {difference:.1e}");
    if difference < 1e-4 {
        Ok(())
    } else {
        Err(format!("{what}: {difference}").into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // A small BERT with random weights, and adapters of PEFT 0.18.1 for it.
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert");
    let device = Device::flex();
    let golden = Golden(std::fs::read(fixtures.join("golden.safetensors"))?);
    let input = golden.input(&device)?;
    let python = |case| golden.logits(case, &device);

    // ANCHOR: load
    let options = BertForSequenceClassification::load_options();
    let base = BertForSequenceClassification::load(&fixtures, &options, &device)?;

    let folder = AdapterFolder::read(fixtures.join("lora"))?;
    let names = BertForSequenceClassification::names();
    let model = base.load_adapter("first", &folder, &names)?;
    println!("adapters: {:?}", model.adapter_names());
    for field in folder.config.unknown_fields() {
        println!("warning: the field `{field}` of adapter_config.json has no effect");
    }
    // ANCHOR_END: load

    println!("\nlargest difference of the logits");
    // ANCHOR: merge
    let logits = |model: &BertForSequenceClassification| {
        let output = model.forward(input.clone())?;
        Ok::<_, burn_hf_models::Error>(output.logits)
    };
    let adapted = logits(&model)?;
    compare("first, to PEFT", adapted.clone(), python("lora")?)?;
    let merged = model.clone().merge_and_unload()?;
    compare("first merged, to first", logits(&merged)?, adapted.clone())?;
    // ANCHOR_END: merge

    // ANCHOR: several
    let second = AdapterFolder::read(fixtures.join("rslora"))?;
    let model = model.load_adapter("second", &second, &names)?;
    // What was loaded last is active.
    compare("second, to PEFT", logits(&model)?, python("rslora")?)?;

    let model = model.with_active_adapters(&[("first", 1.0)])?;
    compare("switched to first", logits(&model)?, adapted)?;

    let mixed = model.with_active_adapters(&[("first", 0.3), ("second", 0.7)])?;
    let merged = mixed.clone().merge_adapters()?;
    let mixture = logits(&mixed)?;
    compare("0.3 first + 0.7 second, merged", logits(&merged)?, mixture)?;

    let off = merged.unmerge_adapters().with_adapters_enabled(false);
    compare("switched off, to the base", logits(&off)?, python("base")?)?;
    // ANCHOR_END: several

    // ANCHOR: unknown
    if let Err(error) = off.with_active_adapters(&[("third", 1.0)]) {
        println!("\n{error}");
    }
    // ANCHOR_END: unknown
    Ok(())
}
