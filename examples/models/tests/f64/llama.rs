//! Llama and Qwen2 in f64 from end to end, against `transformers` and against themselves.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::llama_golden;
use crate::reference;

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::llama::{LlamaConfig, LlamaForCausalLM, LlamaInput, RopeScaling};
use burn_ief::jacobian::{Jacobian, validate};
use burn_ief::nn::expand_param;
use burn_ief::{LossScale, Tape};
use llama_golden::{compare, input, model, prompt};
use reference::{Tensors, device_f64, relative};

/// Largest difference to `transformers`, relative to the largest value.
const GOLDEN: f64 = 1e-9;
/// Recorded rows against sample-by-sample ones.
const ROWS: f64 = 1e-9;

#[test]
fn base_models_are_those_of_transformers() {
    for name in ["llama", "qwen2"] {
        for device in [device_f64(), device_f64().autodiff()] {
            let golden = Tensors::golden(name);
            let output = model(name, &device).forward(input(&golden, &device));
            compare(&golden, output.unwrap(), "base", ("f64", GOLDEN));
        }
    }
}

#[test]
fn merged_folders_load() {
    for name in ["llama", "qwen2"] {
        let golden = Tensors::golden(name);
        let merged = model(&format!("{name}/lora_merged"), &device_f64());
        // The file holds the merged weights rounded to f32.
        let output = merged.forward(input(&golden, &device_f64())).unwrap();
        compare(&golden, output, "lora.merged", ("f64", 1e-6));
    }
}

#[test]
fn recorded_outputs_are_those_of_transformers() {
    let device = device_f64().autodiff();
    for name in ["llama", "qwen2"] {
        let golden = Tensors::golden(name);
        let model = model(name, &device);
        for model in [model.clone(), model.no_grad()] {
            let tape = Tape::start();
            let output = model.forward(input(&golden, &device)).unwrap();
            drop(tape);
            compare(&golden, output, "base", ("f64", GOLDEN));
        }
    }
}

#[test]
fn prompts_are_those_of_peft() {
    let device = device_f64();
    let golden = Tensors::golden("llama");
    let input = input(&golden, &device).with_prompt(prompt(4, &device));
    let output = model("llama", &device).forward(input).unwrap();
    compare(&golden, output, "prompt_tuning", ("f64", GOLDEN));
}

#[test]
fn given_positions_take_the_place_of_counted_ones() {
    let device = device_f64();
    let golden = Tensors::golden("qwen2");
    let model = model("qwen2", &device);
    let counted = Tensor::<1, Int>::arange(0..7, &device).unsqueeze::<2>();
    for positions in [counted.clone(), counted.clone().repeat_dim(0, 4)] {
        let input = input(&golden, &device).with_position_ids(positions);
        compare(
            &golden,
            model.forward(input).unwrap(),
            "base",
            ("f64", GOLDEN),
        );
    }
    // Distances alone count, so that all may be moved; scaled ones are others.
    let moved = input(&golden, &device).with_position_ids(counted.clone() + 5);
    compare(
        &golden,
        model.forward(moved).unwrap(),
        "base",
        ("f64", GOLDEN),
    );
    let plain = model.forward(input(&golden, &device)).unwrap().logits;
    let scaled = input(&golden, &device).with_position_ids(counted * 2);
    let scaled = model.forward(scaled).unwrap().logits;
    assert!(relative(&values(scaled), &values(plain)) > 1e-3);
}

#[test]
fn padding_on_the_left_changes_nothing() {
    let device = device_f64();
    for name in ["llama", "qwen2"] {
        let model = model(name, &device);
        let ids = |ids: &[i64]| Tensor::<1, Int>::from_data(ids, &device).unsqueeze::<2>();
        let alone = model.forward(LlamaInput::new(ids(&[5, 17, 90]))).unwrap();
        let padded = LlamaInput::new(ids(&[0, 0, 5, 17, 90]))
            .with_attention_mask(ids(&[0, 0, 1, 1, 1]))
            .with_position_ids(ids(&[0, 0, 0, 1, 2]));
        let padded = model.forward(padded).unwrap();
        assert!(values(padded.logits.clone()).iter().all(|x| x.is_finite()));
        let tokens = values(padded.logits.narrow(1, 2, 3));
        assert!(relative(&tokens, &values(alone.logits)) < 1e-12);
    }
}

#[test]
fn samples_without_a_token_give_numbers() {
    let device = device_f64().autodiff();
    let ids = Tensor::<2, Int>::from_data([[1, 2], [3, 4]], &device);
    let mask = Tensor::<2, Int>::from_data([[0, 0], [1, 0]], &device);
    let model = model("llama", &device);
    let output = model
        .forward(LlamaInput::new(ids).with_attention_mask(mask))
        .unwrap();
    assert!(values(output.logits.clone()).iter().all(|x| x.is_finite()));
    let grads = output.logits.square().sum().backward();
    let grad = model.model.embed_tokens.weight.grad(&grads).unwrap();
    assert!(values(grad).iter().all(|x| x.is_finite()));
}

/// A model behind a trainable soft prompt.
#[derive(Module, Debug)]
struct Prompted {
    llama: LlamaForCausalLM,
    prompt: Param<Tensor<2>>,
}

/// The recorded rows of every parameter are those of sample-by-sample gradients.
fn check_rows(llama: LlamaForCausalLM, device: &Device) {
    const SAMPLES: usize = 4;
    let golden = Tensors::golden("llama");
    let ids = golden.ids("input.input_ids", device);
    // Padding on the right, and in one row on the left.
    let mask = golden.ids("input.attention_mask", device);
    let left = Tensor::<2, Int>::from_data([[0, 0, 1, 1, 1, 1, 1]], device);
    let mask = mask.slice_assign([0..1, 0..7], left);
    let model = Prompted {
        prompt: Param::from_tensor(prompt(1, device).squeeze_dim::<2>(0)),
        llama,
    };
    let loss = |model: &Prompted, range: Range<usize>| {
        let rows = range.len();
        let of = |ids: &Tensor<2, Int>| ids.clone().slice([range.clone()]);
        let input = LlamaInput::new(of(&ids))
            .with_attention_mask(of(&mask))
            .with_prompt(expand_param(&model.prompt, rows));
        let output = model.llama.forward(input).unwrap();
        output.logits.square().sum() * 0.1 + output.last_hidden_state.powi_scalar(3).sum()
    };
    let report = validate(&model, SAMPLES, ROWS, loss).unwrap();
    assert_eq!(report.unused, Vec::<String>::new());
    // Every parameter has a gradient, so that zeros did not agree with zeros. (A key's bias adds
    // the same to all scores of a query; without rotations its gradient would be zero.)
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let grads = loss(&model, 0..SAMPLES).backward();
    let jacobian = Jacobian::from_tape(tape, grads, &model).unwrap();
    let rows = jacobian.to_dense();
    let mut start = 0;
    for param in jacobian.params() {
        let columns = start..start + param.shape.num_elements();
        start = columns.end;
        let largest = rows[0][columns]
            .iter()
            .fold(0.0, |m: f64, x| m.max(x.abs()));
        println!("{}: {largest:.1e}", param.path);
        assert!(largest > 1e-6, "{}", param.path);
    }
    println!("{report}");
}

#[test]
fn recorded_rows_are_those_of_single_samples() {
    let device = device_f64().autodiff();
    // Untied without biases, tied with biases of queries, keys and values.
    check_rows(model("llama", &device), &device);
    check_rows(model("qwen2", &device), &device);
    // The other way round, with every bias, one key for all queries, and scaled positions.
    let config = LlamaConfig::new(100, 32, 12, 1, 4).with_initializer_range(0.25);
    let tied = config.clone().with_tie_word_embeddings(true);
    check_rows(tied.init(&device).unwrap(), &device);
    let llama3 = RopeScaling::Llama3 {
        factor: 4.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 16.0,
    };
    let biased = config
        .with_qkv_bias(true)
        .with_output_bias(true)
        .with_mlp_bias(true)
        .with_num_key_value_heads(Some(1))
        .with_head_dim(Some(6))
        .with_rope_scaling(llama3);
    check_rows(biased.init(&device).unwrap(), &device);
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.try_to_vec_as::<f64>().unwrap()
}
