//! The reference folders, and what is compared.

// Each test binary uses its own part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::replay::{AdapterCase, Inputs, Output, Place, adapter, roundtrip};
use burn_peft::AdapterFolder;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

/// A model, its adapters, and whether each can be merged.
pub struct Case {
    pub model: &'static str,
    /// Folder, prefix of its outputs in the reference, whether it can be merged.
    pub adapters: &'static [(&'static str, &'static str, bool)],
}

pub const CASES: &[Case] = &[
    Case {
        model: "bert",
        adapters: &[
            ("lora", "lora", true),
            ("rslora", "rslora", true),
            ("dora", "dora", true),
            ("lora_seqcls", "lora_seqcls", true),
            ("prompt_tuning", "prompt_tuning", false),
        ],
    },
    Case {
        model: "vit",
        // The same adapter under the names of transformers 5.
        adapters: &[("lora", "lora", true), ("lora_tf5", "lora", true)],
    },
    Case {
        model: "t5_relu",
        adapters: T5,
    },
    Case {
        model: "t5_gated_gelu",
        adapters: T5,
    },
    Case {
        model: "llama",
        adapters: &[
            ("lora", "lora", true),
            ("prompt_tuning", "prompt_tuning", false),
        ],
    },
    Case {
        model: "qwen2",
        adapters: &[("lora", "lora", true)],
    },
];

const T5: &[(&str, &str, bool)] = &[
    ("lora", "lora", true),
    ("lora_seq2seq", "lora_seq2seq", true),
    ("prompt_tuning", "prompt_tuning", false),
    ("prompt_tuning_2sub", "prompt_tuning_2sub", false),
];

/// The folders of transformers and PEFT, kept with the models' own tests.
pub fn folder(model: &str) -> PathBuf {
    let fixtures = "../models/tests/fixtures";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(fixtures)
        .join(model)
}

/// Compare a model's adapters, adapted and merged, with the outputs `<prefix>.<name>.<dtype>`.
pub fn check(case: &Case, dtype: &str, tolerance: f64, place: &Place) {
    let model = folder(case.model);
    let golden = model.join("golden.safetensors");
    let inputs = Inputs::read(&golden).unwrap();
    for (name, prefix, merges) in case.adapters {
        let case = AdapterCase::new(&model, model.join(name));
        let outputs = adapter(&case, &inputs, false, place).unwrap();
        compare(&golden, prefix, dtype, &outputs, tolerance);
        if *merges {
            let outputs = adapter(&case, &inputs, true, place).unwrap();
            compare(
                &golden,
                &format!("{prefix}.merged"),
                dtype,
                &outputs,
                tolerance,
            );
        }
        let again = roundtrip(&case, place).unwrap();
        let read = AdapterFolder::read(&case.adapter).unwrap();
        assert_eq!(again, read, "{}", case.adapter.display());
    }
}

/// Folders of IA³, with the logits in a file of their own.
const IA3: [(&str, &str); 3] = [("bert", "ia3"), ("vit", "ia3"), ("vit", "ia3_inputs")];

/// Compare the logits with IA³, adapted and merged, in f64, and write the folders again.
pub fn check_ia3(tolerance: f64, place: &Place) {
    for (model, name) in IA3 {
        let model = folder(model);
        let inputs = Inputs::read(&model.join("golden.safetensors")).unwrap();
        let case = AdapterCase::new(&model, model.join(name));
        let golden = model.join(format!("{name}.safetensors"));
        for (prefix, merged) in [(name.to_string(), false), (format!("{name}.merged"), true)] {
            let mut outputs = adapter(&case, &inputs, merged, place).unwrap();
            outputs.retain(|output, _| output == "logits");
            compare(&golden, &prefix, "f64", &outputs, tolerance);
        }
        let again = roundtrip(&case, place).unwrap();
        let read = AdapterFolder::read(&case.adapter).unwrap();
        assert_eq!(again, read, "{}", case.adapter.display());
    }
}

pub fn compare(
    golden: &Path,
    prefix: &str,
    dtype: &str,
    outputs: &BTreeMap<String, Output>,
    tolerance: f64,
) {
    let bytes = std::fs::read(golden).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut compared = 0;
    for (name, output) in outputs {
        let key = format!("{prefix}.{name}.{dtype}");
        let view = file.tensor(&key).unwrap();
        assert_eq!(
            (view.dtype(), view.shape()),
            (Dtype::F64, &output.shape[..])
        );
        let (expected, _) = view.data().as_chunks::<8>();
        let expected: Vec<f64> = expected.iter().map(|x| f64::from_le_bytes(*x)).collect();
        let largest = expected
            .iter()
            .fold(0.0f64, |largest, x| largest.max(x.abs()));
        let errors = expected
            .iter()
            .zip(&output.values)
            .map(|(a, b)| (a - b).abs());
        let error = errors.fold(0.0, f64::max) / largest;
        println!("{} {key} {error:.1e}", golden.display());
        assert!(error < tolerance, "{key}: {error:e}");
        compared += 1;
    }
    assert_eq!(compared, outputs.len());
    assert!(compared > 0);
}
