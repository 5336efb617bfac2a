//! An adapter that is trained here and loaded by PEFT: the folder is the first argument.

// ANCHOR: imports
use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::bert::{BertForSequenceClassification, BertInput};
use burn_ief::prelude::*;
use burn_peft::settings::TaskType;
use burn_peft::{AdapterFolder, LoraConfig, Peft};
// ANCHOR_END: imports

/// Sequences whose class depends on their second token.
fn batch(device: &Device) -> (Tensor<2, Int>, Tensor<1, Int>) {
    let ids = [
        [2, 10, 31, 44, 3],
        [2, 11, 52, 67, 3],
        [2, 12, 78, 85, 3],
        [2, 10, 93, 36, 3],
        [2, 11, 41, 59, 3],
        [2, 12, 62, 74, 3],
    ];
    let labels = [0, 1, 2, 0, 1, 2];
    (
        Tensor::from_data(ids, device),
        Tensor::from_data(labels, device),
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let model_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert");
    let scratch = tempfile::tempdir()?;
    let target = env::args_os().nth(1).map(PathBuf::from);
    let target = target.unwrap_or_else(|| scratch.path().join("adapter"));

    let device = Device::flex().autodiff();
    device.seed(1);
    let options = BertForSequenceClassification::load_options();
    let base = BertForSequenceClassification::load(&model_folder, &options, &device)?;
    let (ids, labels) = batch(&device);

    // ANCHOR: train
    let settings = LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(8.0)
        .with_target_modules(["query", "value"])
        // As in PEFT, this also puts the classifier into `modules_to_save`.
        .with_task_type(TaskType::SequenceClassification)
        .with_base_model("tiny-bert");
    let names = BertForSequenceClassification::names();
    let mut model = base.clone().adapt("default", &settings, &names)?;
    println!("{}", model.trainable());

    // Every step has the same batch: there are no other batches whose updates to remember.
    let solve = SolveOptions::new().with_momentum(Some(0.0));
    let mut optim = IefConfig::new().with_solve(solve).init(&model);
    for step in 1..=10 {
        let tape = optim.start();
        let logits = mark_output(model.forward(BertInput::new(ids.clone()))?.logits);
        let cross_entropy = CrossEntropyLossConfig::new().init(&device);
        let loss = cross_entropy.forward(logits, labels.clone());
        println!(
            "step {step:2}  loss {:.4}",
            loss.clone().into_scalar::<f32>()
        );
        model = optim.step(1.0, model, tape, loss.backward())?;
    }
    // ANCHOR_END: train

    // ANCHOR: save
    let folder = model.save_adapter("default", &settings, &names)?;
    folder.write(&target)?;
    // ANCHOR_END: save
    for (key, data) in &folder.tensors {
        println!("{key} {:?}", data.shape().as_slice());
    }

    // ANCHOR: again
    let read = AdapterFolder::read(&target)?;
    let again = base.load_adapter("default", &read, &names)?;
    let logits = |model: &BertForSequenceClassification| {
        // `valid`: without dropout.
        let output = model.valid().forward(BertInput::new(ids.clone().inner()))?;
        Ok::<_, burn_hf_models::Error>(output.logits)
    };
    let difference = (logits(&again)? - logits(&model)?).abs().max();
    println!(
        "read again, largest difference {:.1e}",
        difference.into_scalar::<f32>()
    );
    let rows = logits(&again)?.into_data().try_to_vec::<f32>()?;
    for row in rows.chunks(3) {
        println!("{row:8.4?}");
    }
    // ANCHOR_END: again
    Ok(())
}
