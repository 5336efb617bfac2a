//! DoRA, VeRA, LoHa, LoKr and IA³ against PEFT, in f64: outputs, merged weights and gradients. A process for f64
//! alone, because the precision of a device is set once.

use crate::reference;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use burn_hf_models::bert::{BertForSequenceClassification, BertInput};
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput};
use burn_hf_models::vit::{ViTForImageClassification, ViTInput};
use burn_ief::jacobian::Jacobian;
use burn_ief::{LossScale, Tape};
use burn_peft::{
    AdapterFolder, EvaConfig, KeyValuePrefix, LoraConfig, NameMap, Peft, PeftConfig, PrefixConfig,
};
use reference::{Tensors, device_f64, folder, in_folder, relative};

/// The bar of the reference vectors, relative to the largest entry of each.
const TOLERANCE: f64 = 1e-9;

/// A folder `model/case`, the logits `[M, …, C]` of the model, and which of them count.
fn check<M: Module, const D: usize>(
    (name, case): (&str, &str),
    base: M,
    names: &[NameMap],
    weights: Tensor<D>,
    logits: impl Fn(&M) -> Tensor<D>,
) {
    let mut peft = AdapterFolder::read(folder(&format!("{name}/{case}"))).unwrap();
    // Gradients are compared in f64.
    for data in peft.tensors.values_mut() {
        *data = data.clone().convert_dtype(DType::F64);
    }
    let expected = Tensors::read(&format!("{name}/{case}.safetensors"));
    let model = base.load_adapter("default", &peft, names).unwrap();

    let found = logits(&model);
    expected.compare(&found, &format!("{case}.logits.f64"), TOLERANCE);
    let merged = logits(&model.clone().merge_and_unload().unwrap());
    expected.compare(&merged, &format!("{case}.merged.logits.f64"), TOLERANCE);

    let near = |direction: &GradientsParams| {
        let written = in_folder(&model, direction, &peft, names);
        let gradients = expected.under("gradient");
        assert_eq!(gradients.len(), direction.len());
        for (key, expected) in gradients {
            let error = relative(&written[&key], &expected);
            assert!(error < TOLERANCE, "{name}/{case}, {key}: {error:e}");
        }
    };
    let loss = |logits: Tensor<D>| (logits.square() * weights.clone()).sum();
    let grads = loss(found).backward();
    near(&GradientsParams::from_grads(grads, &model));

    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let grads = loss(logits(&model)).backward();
    let jacobian = Jacobian::from_tape(tape, grads, &model).unwrap();
    near(&jacobian.t_matvec(&vec![1.0; jacobian.samples()]).unwrap());
}

fn vit(case: &str) {
    let device: Device = device_f64().autodiff();
    let golden = Tensors::golden("vit");
    let images = golden.floats::<4>("input.pixel_values", &device);
    let options = ViTForImageClassification::load_options();
    let model = ViTForImageClassification::load(&folder("vit"), &options, &device).unwrap();
    let all = Tensor::ones([1, 1], &device);
    let names = ViTForImageClassification::names();
    check(("vit", case), model, &names, all, |model| {
        model.forward(ViTInput::new(images.clone())).unwrap().logits
    });
}

#[test]
fn dora_on_patch_convolutions_is_that_of_peft() {
    vit("dora_everywhere");
}

/// On the patch convolution and linear layers, inputs and outputs, with names of `transformers` 5.
#[test]
fn ia3_of_images_is_that_of_peft() {
    vit("ia3");
    vit("ia3_inputs");
}

#[test]
fn ia3_of_text_is_that_of_peft() {
    bert("ia3");
}

/// `vera_key` has no shared matrices: they are drawn from its seed.
#[test]
fn vera_is_that_of_peft() {
    bert("vera");
    llama("vera_key");
}

/// Ranks with fewer and with more products of rows and columns than the weight has entries.
#[test]
fn loha_is_that_of_peft() {
    bert("loha");
}

/// LoRA with rows of the table of the input.
#[test]
fn rows_of_tokens_are_those_of_peft() {
    bert("tokens_named");
    llama("tokens");
}

/// Factors that are matrices and products, and a given size of the first.
#[test]
fn lokr_is_that_of_peft() {
    bert("lokr");
    llama("lokr_factor");
}

#[test]
fn dora_on_embeddings_is_that_of_peft() {
    llama("dora_everywhere");
}

/// Ranks and first values are those of the exact components of the layers' inputs, which PEFT approximates.
#[test]
fn eva_begins_with_the_components_of_the_inputs() {
    let device: Device = device_f64().autodiff();
    let golden = Tensors::golden("bert");
    let expected = Tensors::read("bert/eva.safetensors").under("a");
    let options = BertForSequenceClassification::load_options();
    let model = BertForSequenceClassification::load(&folder("bert"), &options, &device).unwrap();
    let names = BertForSequenceClassification::names();
    let config = LoraConfig::new()
        .with_r(3)
        .with_lora_alpha(4.0)
        .with_target_modules(["query", "intermediate.dense", "output.dense"]);
    let eva = EvaConfig::new();
    let plain = device.inner();
    let adapted = model.adapt_to_inputs("default", &config, &eva, &names, |model| {
        let input = BertInput {
            attention_mask: Some(golden.ids("input.attention_mask", &plain)),
            token_type_ids: Some(golden.ids("input.token_type_ids", &plain)),
            ..BertInput::new(golden.ids("input.input_ids", &plain))
        };
        model.forward(input).unwrap();
    });
    let (model, config) = adapted.unwrap();
    let written = model.save_adapter("default", &config, &names).unwrap();
    assert_eq!(written.tensors.len(), 2 * expected.len());
    for (module, expected) in expected {
        let key = format!("base_model.model.{module}.lora_A.weight");
        let found = written.tensors[&key].clone().try_into_vec::<f64>().unwrap();
        let error = relative(&found, &expected);
        assert!(error < TOLERANCE, "{module}: {error:e}");
        assert!((config.scale_of(&module).unwrap() - 4.0 / 3.0).abs() < 1e-12);
    }
}

fn bert(case: &str) {
    let device: Device = device_f64().autodiff();
    let golden = Tensors::golden("bert");
    let options = BertForSequenceClassification::load_options();
    let model = BertForSequenceClassification::load(&folder("bert"), &options, &device).unwrap();
    let names = BertForSequenceClassification::names();
    let all = Tensor::ones([1, 1], &device);
    check(("bert", case), model, &names, all, |model| {
        let input = BertInput {
            attention_mask: Some(golden.ids("input.attention_mask", &device)),
            token_type_ids: Some(golden.ids("input.token_type_ids", &device)),
            ..BertInput::new(golden.ids("input.input_ids", &device))
        };
        model.forward(input).unwrap().logits
    });
}

fn llama(case: &str) {
    let device: Device = device_f64().autodiff();
    let golden = Tensors::golden("llama");
    let ids = golden.ids("input.input_ids", &device);
    let mask = golden.ids::<2>("input.attention_mask", &device);
    // PyTorch gives the table's row for padding no gradient.
    let real = mask.clone().float().unsqueeze_dim::<3>(2);
    let model = LlamaForCausalLM::load(&folder("llama"), &device).unwrap();
    let names = LlamaForCausalLM::names();
    check(("llama", case), model, &names, real, |model| {
        let input = LlamaInput::new(ids.clone()).with_attention_mask(mask.clone());
        model.forward(input).unwrap().logits
    });
}

/// Llama behind keys and values that train.
#[derive(Module, Debug)]
struct Prefixed {
    prefix: KeyValuePrefix,
    model: LlamaForCausalLM,
}

impl Prefixed {
    /// With the table and the layers of this file.
    fn new(config: &PrefixConfig, values: &Tensors, device: &Device) -> Self {
        let mut prefix = KeyValuePrefix::new(config, device).unwrap();
        let two = |name: &str| values.floats::<2>(&format!("encoder.{name}"), device);
        let trained = |value: Tensor<2>| Param::from_tensor(value).set_require_grad(true);
        prefix.embeddings = trained(two("embedding.weight"));
        if let Some(projection) = &mut prefix.projection {
            let layers = [(0, &mut projection.first), (2, &mut projection.second)];
            for (number, layer) in layers {
                layer.weight = trained(two(&format!("transform.{number}.weight")).transpose());
                let bias = format!("encoder.transform.{number}.bias");
                let bias = values.floats::<1>(&bias, device);
                layer.bias = Some(Param::from_tensor(bias).set_require_grad(true));
            }
        }
        let model = LlamaForCausalLM::load(&folder("llama"), device).unwrap();
        let model = model.no_grad();
        Self { prefix, model }
    }

    /// A direction under PEFT's names and in its layouts.
    fn keyed(&self, direction: &GradientsParams) -> Vec<(String, Vec<f64>)> {
        let values = |tensor: Tensor<2>| tensor.into_data().try_into_vec::<f64>().unwrap();
        let two = |param: &Param<Tensor<2>>| direction.get::<2>(param.id).unwrap();
        let table = values(two(&self.prefix.embeddings));
        let mut keyed = vec![("embedding.weight".to_string(), table)];
        if let Some(projection) = &self.prefix.projection {
            for (number, layer) in [(0, &projection.first), (2, &projection.second)] {
                let bias = direction.get::<1>(layer.bias.as_ref().unwrap().id);
                let weight = values(two(&layer.weight).transpose());
                keyed.push((format!("transform.{number}.weight"), weight));
                keyed.push((
                    format!("transform.{number}.bias"),
                    values(bias.unwrap().unsqueeze()),
                ));
            }
        }
        keyed
    }
}

/// Logits, gradients and recorded rows behind a prefix, with and without the layers that make it.
#[test]
fn prefixes_are_those_of_peft() {
    let device: Device = device_f64().autodiff();
    let golden = Tensors::golden("llama");
    let ids = golden.ids::<2>("input.input_ids", &device);
    let mask = golden.ids::<2>("input.attention_mask", &device);
    let real = mask.clone().float().unsqueeze_dim::<3>(2);
    for case in ["prefix", "prefix_projected"] {
        let expected = Tensors::read(&format!("llama/{case}.safetensors"));
        let theirs = AdapterFolder::read(folder(&format!("llama/{case}"))).unwrap();
        let PeftConfig::Prefix(config) = &theirs.config else {
            panic!("another method");
        };
        let model = Prefixed::new(config, &expected, &device);
        let logits = |model: &Prefixed| {
            let [samples, _] = ids.dims();
            let input = LlamaInput::new(ids.clone()).with_attention_mask(mask.clone());
            let input = input.with_prefix(model.prefix.forward(samples));
            model.model.forward(input).unwrap().logits
        };
        let found = logits(&model);
        expected.compare(&found, &format!("{case}.logits.f64"), TOLERANCE);
        let near = |direction: &GradientsParams| {
            let gradients = expected.under("gradient.prompt_encoder");
            let keyed = model.keyed(direction);
            assert_eq!(keyed.len(), gradients.len());
            for (name, found) in keyed {
                let error = relative(&found, &gradients[&name]);
                assert!(error < TOLERANCE, "{case}, {name}: {error:e}");
            }
        };
        let loss = |logits: Tensor<3>| (logits.square() * real.clone()).sum();
        near(&GradientsParams::from_grads(loss(found).backward(), &model));
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let grads = loss(logits(&model)).backward();
        let jacobian = Jacobian::from_tape(tape, grads, &model).unwrap();
        near(&jacobian.t_matvec(&vec![1.0; jacobian.samples()]).unwrap());

        // The folder has what the layers make; PEFT wrote it in f32.
        let ours = model.prefix.to_folder(config).unwrap();
        let [ours, theirs] = [&ours, &theirs].map(|folder| {
            let table = folder.tensors["prompt_embeddings"].clone();
            table
                .convert_dtype(DType::F64)
                .try_into_vec::<f64>()
                .unwrap()
        });
        assert!(relative(&theirs, &ours) < 1e-6);
    }
}
