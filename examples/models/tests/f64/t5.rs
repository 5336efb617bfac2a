//! T5 in f64 from end to end: outputs of `transformers`.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::golden;
use crate::reference;

use burn::tensor::Device;
use burn_hf_models::t5::T5Input;

use golden::{Folder, MODELS};
use reference::device_f64;

const TOLERANCE: f64 = 1e-9;

fn check(input: impl Fn(&Folder, &Device) -> T5Input, case: &str) {
    let device = device_f64();
    for model in MODELS {
        let folder = Folder::new(model);
        let output = folder.model(&device).forward(input(&folder, &device));
        let difference = folder.difference(&output.unwrap(), case, "f64");
        println!("{model} {case}: {difference:.1e}");
        assert!(difference < TOLERANCE, "{model} {case}: {difference:e}");
    }
}

#[test]
fn outputs_are_those_of_transformers() {
    check(Folder::input, "base");
}

#[test]
fn prompts_come_before_the_input_of_the_encoder() {
    for adapter in ["prompt_tuning", "prompt_tuning_2sub"] {
        check(
            |folder, device| folder.prompted_input(adapter, device),
            adapter,
        );
    }
}

#[test]
fn outputs_are_the_same_inside_a_recording() {
    let device = device_f64().autodiff();
    for model in MODELS {
        let folder = Folder::new(model);
        let t5 = folder.model(&device);
        let tape = burn_ief::Tape::start();
        let output = t5.forward(folder.input(&device)).unwrap();
        drop(tape);
        let difference = folder.difference(&output, "base", "f64");
        assert!(difference < TOLERANCE, "{model}: {difference:e}");
    }
}
