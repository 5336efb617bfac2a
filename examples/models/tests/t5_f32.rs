//! T5 in f32: outputs of `transformers`.

#[path = "t5_golden/compare.rs"]
mod compare;
#[path = "t5_golden/mod.rs"]
mod golden;

use burn::tensor::Device;
use compare::difference;
use golden::{Folder, MODELS};

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
            let difference = difference(&folder, t5.forward(input).unwrap(), case, "f32");
            println!("{model} {case}: {difference:.1e}");
            assert!(difference < TOLERANCE, "{model} {case}: {difference:e}");
        }
    }
}
