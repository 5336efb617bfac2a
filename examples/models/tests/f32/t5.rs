//! T5 in f32: outputs of `transformers`.

use crate::golden;
use crate::reference;

use burn::module::Module;
use burn::tensor::{DType, Device};
use golden::{Folder, MODELS};
use reference::Cast;

const TOLERANCE: f64 = 1e-4;

#[test]
fn outputs_are_those_of_transformers() {
    let device = Device::flex();
    for model in MODELS {
        let folder = Folder::new(model);
        let t5 = folder.model(&device);
        for case in ["base", "prompt_tuning", "prompt_tuning_2sub"] {
            let input = match case {
                "base" => folder.input(&device),
                adapter => folder.prompted_input(adapter, &device),
            };
            let difference = folder.difference(&t5.forward(input).unwrap(), case, "f32");
            println!("{model} {case}: {difference:.1e}");
            assert!(difference < TOLERANCE, "{model} {case}: {difference:e}");
        }
    }
}

#[test]
fn a_prompt_stands_before_a_model_of_half_precision() {
    let device = Device::flex();
    for model in MODELS {
        let folder = Folder::new(model);
        let t5 = folder.model(&device).map(&mut Cast(DType::F16));
        let input = folder.prompted_input("prompt_tuning", &device);
        let output = t5.forward(input).unwrap();
        assert_eq!(output.logits.dtype(), DType::F16);
        // f16 keeps three digits of each of some dozens of rounded operations.
        let difference = folder.difference(&output, "prompt_tuning", "f32");
        assert!(difference < 0.02, "{model}: {difference:e}");
    }
}
