//! Llama and Qwen2 in f32, against `transformers`; inputs and folders that do not fit.

use crate::llama_golden;
use crate::reference;

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use burn_hf_models::Error;
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput};
use burn_ief::jacobian::validate;
use llama_golden::{compare, input, model, prompt};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use reference::{Cast, Tensors, folder};

/// Largest difference, relative to the largest value.
const TOLERANCE: f64 = 1e-4;

#[test]
fn base_models_are_those_of_transformers() {
    let device = Device::flex();
    for name in ["llama", "qwen2"] {
        let golden = Tensors::golden(name);
        let output = model(name, &device).forward(input(&golden, &device));
        compare(&golden, output.unwrap(), "base", ("f32", TOLERANCE));
    }
}

#[test]
fn merged_folders_are_those_of_peft() {
    let device = Device::flex();
    for name in ["llama", "qwen2"] {
        let golden = Tensors::golden(name);
        let merged = model(&format!("{name}/lora_merged"), &device);
        let output = merged.forward(input(&golden, &device)).unwrap();
        compare(&golden, output, "lora.merged", ("f32", TOLERANCE));
    }
}

#[test]
fn prompts_are_those_of_peft() {
    let device = Device::flex();
    let golden = Tensors::golden("llama");
    let input = input(&golden, &device).with_prompt(prompt(4, &device));
    let output = model("llama", &device).forward(input).unwrap();
    compare(&golden, output, "prompt_tuning", ("f32", TOLERANCE));
}

#[test]
fn recorded_rows_are_those_of_single_samples() {
    let device = Device::flex().autodiff();
    for name in ["llama", "qwen2"] {
        let golden = Tensors::golden(name);
        let input = input(&golden, &device);
        let report = validate(&model(name, &device), 4, 1e-4, |model, range| {
            let mask = input.attention_mask.clone().unwrap();
            let ids = input.input_ids.clone().slice([range.clone()]);
            let input = LlamaInput::new(ids).with_attention_mask(mask.slice([range]));
            model.forward(input).unwrap().logits.square().sum()
        });
        assert_eq!(report.unwrap().unused, Vec::<String>::new());
    }
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let device = Device::flex();
    let model = model("llama", &device);
    let ids = |rows: [[i64; 2]; 2]| Tensor::<2, Int>::from_data(rows, &device);
    let input = || LlamaInput::new(ids([[1, 99], [0, 3]]));
    assert!(model.validate(&input()).is_ok());
    let wide = Tensor::<2, Int>::ones([2, 3], &device);
    let cases = [
        (LlamaInput::new(ids([[1, 100], [0, 3]])), "input_ids"),
        (LlamaInput::new(ids([[1, 2], [-1, 3]])), "input_ids"),
        (LlamaInput::new(Tensor::empty([2, 0], &device)), "input_ids"),
        (input().with_attention_mask(wide.clone()), "attention_mask"),
        (
            input().with_attention_mask(ids([[1, 2], [1, 1]])),
            "attention_mask",
        ),
        (input().with_position_ids(wide), "position_ids"),
        (
            input().with_position_ids(ids([[0, 1], [-1, 0]])),
            "position_ids",
        ),
        (
            input().with_prompt(Tensor::zeros([3, 4, 32], &device)),
            "prompt",
        ),
        (
            input().with_prompt(Tensor::zeros([2, 4, 31], &device)),
            "prompt",
        ),
        (
            // Positions must be given for virtual tokens, too.
            input()
                .with_prompt(Tensor::zeros([2, 4, 32], &device))
                .with_position_ids(ids([[0, 1], [0, 1]])),
            "position_ids",
        ),
    ];
    for (input, expected) in cases {
        let Err(Error::Input { name, .. }) = model.validate(&input) else {
            panic!("an input with wrong {expected} was accepted");
        };
        assert_eq!(name, expected);
    }
}

#[test]
fn shapes_are_looked_at_in_every_forward_pass() {
    let device = Device::flex();
    let model = model("llama", &device);
    let ids = |columns: usize| Tensor::<2, Int>::ones([2, columns], &device);
    let input = || LlamaInput::new(ids(2));
    for input in [
        LlamaInput::new(ids(0)),
        input().with_attention_mask(ids(3)),
        input().with_position_ids(ids(3)),
        input().with_prompt(Tensor::zeros([2, 4, 31], &device)),
    ] {
        assert!(matches!(model.forward(input), Err(Error::Input { .. })));
    }
}

#[test]
fn folders_that_do_not_fit_are_errors() {
    let device = Device::flex();
    let edited = |change: &dyn Fn(&mut serde_json::Value)| {
        let target = tempfile::tempdir().unwrap();
        let source = folder("llama");
        let text = std::fs::read_to_string(source.join("config.json")).unwrap();
        let mut config = serde_json::from_str(&text).unwrap();
        change(&mut config);
        std::fs::write(target.path().join("config.json"), config.to_string()).unwrap();
        let weights = "model.safetensors";
        std::fs::copy(source.join(weights), target.path().join(weights)).unwrap();
        LlamaForCausalLM::load(target.path(), &device)
    };
    let copy = |change: fn(&mut serde_json::Value)| edited(&change);
    let with_layers = |layers: u64| edited(&|config| config["num_hidden_layers"] = layers.into());
    assert!(copy(|_| ()).is_ok());
    // Found before any layer is made.
    for layers in [1u64, 3, 4096] {
        let error = with_layers(layers).unwrap_err().to_string();
        let expected = format!(
            "`num_hidden_layers`: expected 2, the layers in the folder's weights, found {layers}"
        );
        assert!(
            error.contains(&expected) && error.contains("config.json"),
            "{error}"
        );
    }
    let wider = copy(|config| config["vocab_size"] = 101.into());
    assert!(matches!(wider, Err(Error::Shape { .. })));
    let empty = tempfile::tempdir().unwrap();
    let nothing = LlamaForCausalLM::load(empty.path(), &device);
    assert!(matches!(nothing, Err(Error::Read { .. })));
}

#[test]
fn half_precision_runs_from_end_to_end() {
    let device = Device::flex();
    for name in ["llama", "qwen2"] {
        let golden = Tensors::golden(name);
        // Three and two digits for a dozen rounded operations one after the other.
        for (dtype, tolerance) in [(DType::F16, 1e-2), (DType::BF16, 5e-2)] {
            let model = model(name, &device).map(&mut Cast(dtype));
            let output = model.forward(input(&golden, &device)).unwrap();
            assert_eq!(output.logits.dtype(), dtype);
            compare(&golden, output, "base", ("f32", tolerance));
            let greedy = model.config().sampling(3);
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let input = input(&golden, &device);
            assert!(model.generate(input, &greedy, &mut rng).is_ok());
        }
    }
}
