//! Every family in f64 against `transformers` and `peft`, on models with the less usual fields set:
//! windows, soft caps, rotary scalings, biases, padding on both sides.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::reference;

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::bert::{BertConfig, BertForSequenceClassification, BertInput, BertModel};
use burn_hf_models::distilbert::{
    DistilBertForSequenceClassification, DistilBertForTokenClassification,
};
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput};
use burn_hf_models::modernbert::{
    ModernBertForSequenceClassification, ModernBertForTokenClassification, ModernBertModel,
};
use burn_hf_models::roberta::{RobertaForSequenceClassification, RobertaForTokenClassification};
use burn_hf_models::weights::load_named;
use burn_ief::jacobian::{Jacobian, validate};
use burn_ief::{LossScale, Tape};
use burn_peft::{AdapterFolder, NameMap, Peft};
use reference::{Tensors, device_f64, folder, relative};

/// Largest difference to `transformers`, relative to the largest value.
const GOLDEN: f64 = 1e-9;
/// Recorded rows against sample-by-sample ones.
const ROWS: f64 = 1e-9;
/// Tokens of a row, and of the shorter text.
const LENGTH: usize = 9;
const SHORT: usize = 5;

const DECODERS: [&str; 10] = [
    "llama_llama3",
    "llama_dynamic",
    "llama_yarn",
    "qwen2_yarn",
    "mistral",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "smollm3",
];

fn golden(name: &str) -> Tensors {
    Tensors::golden(&format!("families/{name}"))
}

/// Compare an output, that of padding left out: nobody reads it.
fn compare(golden: &Tensors, found: &Tensor<3>, name: &str) {
    let [rows, length, width] = found.dims();
    let mask = golden.values("input.attention_mask");
    let is_token = |at: usize| mask.get(at / width).is_none_or(|&seen| seen == 1.0);
    let found: Vec<f64> = found.clone().try_to_vec_as::<f64>().unwrap();
    let expected = golden.values(name);
    assert_eq!(expected.len(), rows * length * width, "{name}");
    let of = |values: &[f64]| -> Vec<f64> {
        let values = values.iter().enumerate();
        values
            .filter(|(at, _)| rows == 1 || is_token(*at))
            .map(|(_, value)| *value)
            .collect()
    };
    let difference = relative(&of(&found), &of(expected));
    println!("{name}: {difference:.1e}");
    assert!(difference <= GOLDEN, "{name}: {difference:e}");
}

/// Compare `output(model, rows, length)` with the plain model, an adapter on it, the adapter merged, the
/// folder that is written of it, and a shorter text. The model is on an autodiff device, its outputs are
/// not, so that nothing is dropped.
fn check<M: Module>(
    name: &str,
    model: M,
    names: &[NameMap],
    key: &str,
    output: impl Fn(&M, &Tensors, Range<usize>, usize) -> Tensor<3>,
) {
    let golden = golden(name);
    let run = |model: &M| output(&model.valid(), &golden, 0..3, LENGTH);
    let expected = |variant: &str| format!("{variant}.{key}.f64");
    compare(&golden, &run(&model), &expected("base"));
    let short = output(&model.valid(), &golden, 0..1, SHORT);
    compare(&golden, &short, &expected("short"));
    let read = AdapterFolder::read(folder(&format!("families/{name}/lora"))).unwrap();
    let adapted = model.load_adapter("default", &read, names).unwrap();
    compare(&golden, &run(&adapted), &expected("lora"));
    let again = adapted.update_folder("default", &read, names).unwrap();
    assert_eq!(again, read);
    let merged = adapted.merge_and_unload().unwrap();
    compare(&golden, &run(&merged), &expected("lora.merged"));
}

fn part(
    golden: &Tensors,
    name: &str,
    rows: Range<usize>,
    length: usize,
    device: &Device,
) -> Tensor<2, Int> {
    golden.ids::<2>(name, device).slice([rows, 0..length])
}

fn decoder_input(
    golden: &Tensors,
    rows: Range<usize>,
    length: usize,
    device: &Device,
) -> LlamaInput {
    let of = |name| part(golden, name, rows.clone(), length, device);
    LlamaInput::new(of("input.input_ids")).with_attention_mask(of("input.attention_mask"))
}

fn encoder_input(
    golden: &Tensors,
    rows: Range<usize>,
    length: usize,
    device: &Device,
) -> BertInput {
    let of = |name| part(golden, name, rows.clone(), length, device);
    BertInput::new(of("input.input_ids")).with_attention_mask(of("input.attention_mask"))
}

fn decoder(name: &str, device: &Device) -> LlamaForCausalLM {
    LlamaForCausalLM::load(&folder(&format!("families/{name}")), device).unwrap()
}

#[test]
fn decoders_are_those_of_transformers() {
    for name in DECODERS {
        println!("{name}");
        let model = decoder(name, &device_f64().autodiff());
        let names = LlamaForCausalLM::names();
        let device = device_f64();
        check(
            name,
            model,
            &names,
            "logits",
            |model, golden, rows, length| {
                let input = decoder_input(golden, rows, length, &device);
                model.validate(&input).unwrap();
                model.forward(input).unwrap().logits
            },
        );
    }
}

macro_rules! check_encoder {
    ($name:expr, $class:ident, $hidden:ident) => {{
        let (device, tracked) = (device_f64(), device_f64().autodiff());
        let path = folder(&format!("families/{}", $name));
        let model = $class::load(&path, &$class::load_options(), &tracked).unwrap();
        let names = $class::names();
        check(
            $name,
            model,
            &names,
            "logits",
            |model, golden, rows, length| {
                let input = encoder_input(golden, rows, length, &device);
                model.$hidden.check(&input).unwrap();
                let logits = model.forward(input).unwrap().logits;
                let [rows, ..] = logits.dims();
                let classes = *logits.dims().last().unwrap();
                logits.reshape([rows as i32, -1, classes as i32])
            },
        );
    }};
}

#[test]
fn classifiers_of_texts_and_tokens_are_those_of_transformers() {
    check_encoder!(
        "distilbert",
        DistilBertForSequenceClassification,
        distilbert
    );
    check_encoder!(
        "distilbert_tokens",
        DistilBertForTokenClassification,
        distilbert
    );
    check_encoder!("roberta", RobertaForSequenceClassification, roberta);
    check_encoder!("roberta_tokens", RobertaForTokenClassification, roberta);
    check_encoder!("modernbert", ModernBertForSequenceClassification, model);
    check_encoder!("modernbert_tokens", ModernBertForTokenClassification, model);
}

#[test]
fn encoders_without_a_head_are_those_of_transformers() {
    let (device, tracked) = (device_f64(), device_f64().autodiff());
    let path = folder("families/roberta_base");
    let model = BertModel::load(&path, false, &tracked).unwrap();
    let names = BertModel::names();
    let key = "last_hidden_state";
    check(
        "roberta_base",
        model,
        &names,
        key,
        |model, golden, rows, length| {
            let input = encoder_input(golden, rows, length, &device);
            model.forward(input).unwrap().last_hidden_state
        },
    );
    let path = folder("families/modernbert_base");
    let model = ModernBertModel::load(&path, &tracked).unwrap();
    let names = ModernBertModel::names();
    check(
        "modernbert_base",
        model,
        &names,
        key,
        |model, golden, rows, length| {
            let input = encoder_input(golden, rows, length, &device);
            model.forward(input).unwrap()
        },
    );
    // The encoder of a classifier, whose names have a prefix.
    for name in ["distilbert", "roberta"] {
        let model = BertModel::load(&folder(&format!("families/{name}")), false, &device);
        assert_eq!(model.unwrap().encoder.layer.len(), 2, "{name}");
    }
    assert!(ModernBertModel::load(&folder("families/modernbert"), &device).is_ok());
}

/// The recorded rows of every parameter are those of sample-by-sample gradients, and none is zero.
fn check_rows<M: Module>(name: &str, model: &M, loss: impl Fn(&M, Range<usize>) -> Tensor<1>) {
    const SAMPLES: usize = 3;
    let report = validate(model, SAMPLES, ROWS, &loss).unwrap();
    println!("{name}: {report}");
    assert_eq!(report.unused, Vec::<String>::new(), "{name}");
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let grads = loss(model, 0..SAMPLES).backward();
    let jacobian = Jacobian::from_tape(tape, grads, model).unwrap();
    let rows = jacobian.to_dense();
    let mut start = 0;
    for param in jacobian.params() {
        let columns = start..start + param.shape.num_elements();
        start = columns.end;
        let row = rows[0][columns].iter();
        let largest = row.fold(0.0, |most: f64, x| most.max(x.abs()));
        // Without rotations the bias of a key adds the same to all scores of a query.
        let is_key_bias = param.path.ends_with("k_proj.bias") || param.path.ends_with("key.bias");
        assert!(largest > 1e-7 || is_key_bias, "{name}: {}", param.path);
    }
}

#[test]
fn recorded_rows_of_decoders_are_those_of_single_samples() {
    let device = device_f64().autodiff();
    for name in DECODERS {
        let mut model = decoder(name, &device);
        // Dropout would differ from pass to pass.
        for layer in &mut model.model.layers {
            layer.dropout.prob = 0.0;
        }
        let golden = golden(name);
        check_rows(name, &model, |model, rows| {
            let output = model.forward(decoder_input(&golden, rows, LENGTH, &device));
            let output = output.unwrap();
            output.logits.square().sum() * 0.1 + output.last_hidden_state.powi_scalar(3).sum()
        });
    }
}

macro_rules! check_encoder_rows {
    ($name:expr, $model:expr, $device:expr) => {{
        let golden = golden($name);
        check_rows($name, &$model, |model, rows| {
            let output = model.forward(encoder_input(&golden, rows, LENGTH, $device));
            let output = output.unwrap();
            output.logits.square().sum() + output.last_hidden_state.powi_scalar(3).sum()
        });
    }};
}

#[test]
fn recorded_rows_of_encoders_are_those_of_single_samples() {
    let device = &device_f64().autodiff();
    let path = |name: &str| folder(&format!("families/{name}"));
    let name = "modernbert";
    let options = ModernBertForSequenceClassification::load_options();
    let model = ModernBertForSequenceClassification::load(&path(name), &options, device);
    check_encoder_rows!(name, model.unwrap(), device);
    let name = "modernbert_tokens";
    let model = ModernBertForTokenClassification::load(&path(name), &options, device);
    check_encoder_rows!(name, model.unwrap(), device);
    // Dropout would differ from pass to pass.
    let config = |name: &str| BertConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        classifier_dropout: Some(0.0),
        ..BertConfig::from_folder(&path(name)).unwrap()
    };
    macro_rules! with_weights {
        ($name:expr, $class:ident, $init:ident) => {{
            let model = config($name).$init(device).unwrap();
            let options = $class::load_options();
            let model = load_named(model, &$class::names(), &path($name), &options);
            check_encoder_rows!($name, model.unwrap(), device);
        }};
    }
    with_weights!(
        "distilbert",
        DistilBertForSequenceClassification,
        init_distilbert_classifier
    );
    with_weights!(
        "distilbert_tokens",
        DistilBertForTokenClassification,
        init_distilbert_token_classifier
    );
    with_weights!(
        "roberta",
        RobertaForSequenceClassification,
        init_roberta_classifier
    );
    with_weights!(
        "roberta_tokens",
        RobertaForTokenClassification,
        init_roberta_token_classifier
    );
}

#[test]
fn roberta_refuses_texts_that_its_positions_do_not_reach() {
    let device = device_f64();
    let path = folder("families/roberta");
    let options = RobertaForSequenceClassification::load_options();
    let model = RobertaForSequenceClassification::load(&path, &options, &device).unwrap();
    // 14 rows, of which those up to the padding token's id 3 are not used.
    let text = |length| Tensor::<2, Int>::ones([1, length], &device);
    assert!(model.forward(BertInput::new(text(10))).is_ok());
    let error = model.forward(BertInput::new(text(11))).unwrap_err();
    assert!(error.to_string().contains("expected 1 to 10"), "{error}");
}

#[test]
fn a_class_refuses_the_folder_of_a_relative() {
    let device = device_f64();
    let path = folder("families/roberta");
    let error = BertForSequenceClassification::load(
        &path,
        &BertForSequenceClassification::load_options(),
        &device,
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`roberta`"), "{error}");
    let options = DistilBertForSequenceClassification::load_options();
    let error = DistilBertForSequenceClassification::load(&path, &options, &device);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("config.json") && error.contains("`roberta`"),
        "{error}"
    );
    let segments = Tensor::<2, Int>::zeros([1, 2], &device);
    let input = BertInput::new(segments.clone()).with_token_type_ids(segments);
    let path = folder("families/distilbert");
    let model = DistilBertForSequenceClassification::load(&path, &options, &device).unwrap();
    assert!(model.forward(input).is_err());
}
