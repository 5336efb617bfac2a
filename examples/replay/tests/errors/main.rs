//! Every error of the program: exit code 2, a message that says what and where, no output file.

mod adapters;
#[path = "../changed_folders/mod.rs"]
mod changed_folders;
mod inputs;
mod outputs;
mod program;
mod sft;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use program::{Folder, entries, golden};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

const SUPPORTED: [&str; 2] = ["--only", "logits,losses,s,gram,grad,imbalance,ef,ief,sf"];

#[test]
fn supported_results_are_written_and_nothing_else() {
    let folder = Folder::new("written");
    let output = folder.run(&golden("c_mlp"), &["--only", "gram,ief.lam_1.0"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let out = folder.0.join("out.safetensors");
    assert_eq!(entries(&folder.0), std::slice::from_ref(&out));
    let bytes = fs::read(out).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    let expected = [
        "gram",
        "gram_sampled",
        "ief.lam_1.0.fc1.bias",
        "ief.lam_1.0.fc1.weight",
        "ief.lam_1.0.fc2.bias",
        "ief.lam_1.0.fc2.weight",
        "ief.lam_1.0.fc3.bias",
        "ief.lam_1.0.fc3.weight",
    ];
    assert_eq!(names, expected);
}

#[test]
fn unreadable_files() {
    let folder = Folder::new("unreadable");
    let missing = folder.0.join("none.safetensors");
    folder.refuses(&missing, &SUPPORTED, &["cannot read", "none.safetensors"]);
    let text = folder.0.join("text.safetensors");
    fs::write(&text, "this is no safetensors file, whatever its name says").unwrap();
    folder.refuses(
        &text,
        &SUPPORTED,
        &["text.safetensors", "not a safetensors file"],
    );
    let bytes = fs::read(golden("c_mlp")).unwrap();
    let cut = folder.0.join("cut.safetensors");
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    folder.refuses(
        &cut,
        &SUPPORTED,
        &["cut.safetensors", "not a safetensors file"],
    );
}

#[test]
fn shards_that_do_not_fit() {
    let folder = Folder::new("shards");
    let c = golden("c_mlp");
    let refuses = |shards, message: &str| {
        let arguments = ["--only", "gram", "--shards", shards];
        folder.refuses(&c, &arguments, &["--shards", message]);
    };
    refuses("3,5", "sum to 8: expected");
    refuses("3,0", "at least 1, found `0`");
    refuses("3,x", "at least 1, found `x`");
    refuses("", "at least 1, found ``");
    let arguments = ["--only", "kfac", "--shards", "1,1"];
    folder.refuses(&c, &arguments, &["--shards 1,1 sum to 2"]);
}

#[test]
fn unknown_metadata() {
    let folder = Folder::new("metadata");
    let set = |key: &'static str, value: &'static str| {
        folder.edited("c_mlp", move |contents| {
            contents.metadata.insert(key.into(), value.into());
        })
    };
    let refuses = |key, value, message: &[&str]| {
        folder.refuses(&set(key, value), &SUPPORTED, message);
    };
    refuses("case", "h_rnn", &["unknown case `h_rnn`", "c_mlp"]);
    refuses(
        "loss",
        "hinge",
        &["`loss` is `hinge`", "softmax_cross_entropy"],
    );
    refuses("activation", "tanh", &["unknown metadata: activation"]);
    refuses(
        "lams",
        "[\"1e-3\", \"much\"]",
        &["`lams`", "numbers above 0"],
    );
    refuses("lams", "[\"-1.0\"]", &["`lams`", "numbers above 0"]);
    refuses("lams", "1e-3", &["`lams`", "JSON list of strings"]);
    refuses(
        "param_order",
        "[\"fc1.weight\"]",
        &["`param_order`", "fc3.bias"],
    );
    refuses(
        "param_order",
        "[\"fc9.weight\"]",
        &["`param.fc9.weight` is missing"],
    );
    refuses("M", "13", &["`M` is `13`", "expected 12"]);
    refuses("P", "1", &["`P` is `1`", "expected 1285"]);
    let nameless = folder.edited("c_mlp", |contents| {
        contents.metadata.remove("case");
    });
    folder.refuses(&nameless, &SUPPORTED, &["`case` is missing"]);
    let heads = |value: &'static str| {
        folder.edited("e_transformer_full", move |contents| {
            contents.metadata.insert("heads".into(), value.into());
        })
    };
    folder.refuses(&heads("3"), &SUPPORTED, &["`heads` is 3", "divisor", "16"]);
    folder.refuses(&heads("0"), &SUPPORTED, &["`heads` is `0`", "above 0"]);
}

#[test]
fn missing_tensors() {
    let folder = Folder::new("missing");
    for (case, tensor) in [
        ("a_linear_least_squares", "input.x"),
        ("b_logistic_regression", "labels_sampled"),
        ("c_mlp", "labels"),
        ("c_mlp", "labels_sampled"),
        ("e_transformer_full", "input.mask"),
        ("e_transformer_lora", "frozen.blocks.0.k.weight"),
        ("f_cnn", "input.x"),
    ] {
        let path = folder.edited(case, |contents| {
            contents.tensors.remove(tensor).unwrap();
        });
        folder.refuses(&path, &SUPPORTED, &[tensor, "is missing"]);
    }
    // A parameter is missed under the name that `param_order` has for it.
    let path = folder.edited("d_mlp_duplicates", |contents| {
        contents.tensors.remove("param.fc2.bias").unwrap();
    });
    folder.refuses(&path, &SUPPORTED, &["`param.fc2.bias` is missing"]);
    // What is not needed may be missing.
    let path = folder.edited("c_mlp", |contents| {
        contents.tensors.remove("labels_sampled").unwrap();
    });
    let output = folder.run(&path, &["--only", "ief,ef"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn wrong_shapes() {
    let folder = Folder::new("shapes");
    for (case, tensor, shape, expected) in [
        ("a_linear_least_squares", "labels", vec![1, 2], "[2]"),
        ("c_mlp", "input.x", vec![20, 12], "[12, 20]"),
        ("c_mlp", "param.fc2.weight", vec![32, 16], "[?, 32]"),
        ("e_transformer_full", "input.mask", vec![7, 6], "[6, 7]"),
        (
            "e_transformer_lora",
            "param.blocks.0.q.lora_B",
            vec![2, 16],
            "[16, 2]",
        ),
        (
            "f_cnn",
            "param.conv2.weight",
            vec![4, 6, 3, 3],
            "[?, 4, 3, 3]",
        ),
        ("g_mlp_trained", "labels_sampled", vec![3, 4], "[12]"),
    ] {
        let path = folder.edited(case, |contents| {
            contents.tensors.get_mut(tensor).unwrap().1 = shape.clone();
        });
        let message = [
            &format!("`{tensor}`: expected"),
            &format!("found {shape:?}"),
            expected,
        ];
        folder.refuses(&path, &SUPPORTED, &message);
    }
}

#[test]
fn wrong_dtypes_and_values() {
    let folder = Folder::new("values");
    let path = folder.edited("c_mlp", |contents| {
        contents.tensors.get_mut("labels").unwrap().0 = Dtype::F64;
    });
    folder.refuses(
        &path,
        &SUPPORTED,
        &["`labels`: expected", "found a float", "I64"],
    );
    let path = folder.edited("c_mlp", |contents| {
        contents.tensors.get_mut("input.x").unwrap().0 = Dtype::U64;
    });
    folder.refuses(&path, &SUPPORTED, &["`input.x`: expected", "found U64"]);
    let path = folder.edited("c_mlp", |contents| contents.set_integer("labels", 3, 5));
    folder.refuses(&path, &SUPPORTED, &["`labels` has the label 5", "0 to 4"]);
    let path = folder.edited("e_transformer_prompt", |contents| {
        contents.set_integer("input.ids", 0, 50);
    });
    folder.refuses(&path, &SUPPORTED, &["`input.ids` has the id 50", "0 to 49"]);
    let path = folder.edited("e_transformer_full", |contents| {
        contents.set_float("input.mask", 0, 0.5);
    });
    folder.refuses(&path, &SUPPORTED, &["`input.mask` has the entry 0.5"]);
    let path = folder.edited("e_transformer_full", |contents| {
        // Sample 3 has one real token.
        contents.set_float("input.mask", 21, 0.0);
    });
    folder.refuses(
        &path,
        &SUPPORTED,
        &["`input.mask` has a sample without a real token"],
    );
    let path = folder.edited("b_logistic_regression", |contents| {
        contents.set_float("labels", 0, 2.0);
    });
    folder.refuses(&path, &SUPPORTED, &["`labels` has the label 2"]);
    // A file of some KB that asks for ten billion points.
    let path = folder.edited("b_logistic_regression", |contents| {
        contents.tensors.remove("theta");
        let axis = (Dtype::F32, vec![100_000], vec![0; 400_000]);
        contents.tensors.insert("axis".into(), axis);
    });
    folder.refuses(
        &path,
        &SUPPORTED,
        &["`axis` has 100000 values", "at most 1000"],
    );
    let path = folder.edited("c_mlp", |contents| {
        contents.set_float("input.x", 25, f64::NAN)
    });
    folder.refuses(
        &path,
        &SUPPORTED,
        &["cannot compute", "sample(s) 1 are NaN or infinite"],
    );
}

#[test]
fn tensors_without_a_place() {
    let folder = Folder::new("unused");
    let path = folder.edited("c_mlp", |contents| {
        let bias = contents.tensors["param.fc2.bias"].clone();
        contents
            .tensors
            .insert("frozen.fc5.bias".into(), bias.clone());
        contents.tensors.insert("input.mask".into(), bias);
    });
    let message = ["an MLP has no place for", "frozen.fc5.bias", "input.mask"];
    folder.refuses(&path, &SUPPORTED, &message);
    let path = folder.edited("c_mlp", |contents| {
        let bias = contents.tensors["param.fc2.bias"].clone();
        contents.tensors.insert("frozen.fc2.bias".into(), bias);
    });
    folder.refuses(
        &path,
        &SUPPORTED,
        &["`param.fc2.bias` is also there as `frozen.fc2.bias`"],
    );
    let path = folder.edited("e_transformer_lora", |contents| {
        let bias = contents
            .tensors
            .remove("frozen.blocks.0.q.base.bias")
            .unwrap();
        contents
            .tensors
            .insert("param.blocks.0.q.base.bias".into(), bias);
        contents.metadata.remove("param_order");
        contents.metadata.remove("P");
    });
    let message = ["`param.blocks.0.q.base.bias` is trainable under a LoRA adapter"];
    folder.refuses(&path, &SUPPORTED, &message);
}

#[test]
fn requests_that_cannot_be_met() {
    let folder = Folder::new("requests");
    let mlp = golden("c_mlp");
    folder.refuses(&mlp, &["--only", "gramm"], &["--only gramm", "no result"]);
    folder.refuses(&mlp, &["--only", ","], &["no result"]);
    folder.refuses(
        &mlp,
        &["--only", "fisher,ngd"],
        &["nothing to compute for an MLP"],
    );
}

#[test]
fn devices_that_are_not_built_in() {
    let folder = Folder::new("devices");
    let with = |device: &'static str| [&SUPPORTED[..], &["--device", device]].concat();
    let message = |device: &str| format!("device `{device}` is not part of this build");
    if cfg!(not(feature = "ndarray")) {
        folder.refuses(&golden("c_mlp"), &with("ndarray"), &[&message("ndarray")]);
    }
    if cfg!(not(feature = "cuda")) {
        folder.refuses(&golden("c_mlp"), &with("cuda"), &[&message("cuda")]);
    }
    if cfg!(not(feature = "wgpu")) {
        folder.refuses(&golden("c_mlp"), &with("wgpu"), &[&message("wgpu")]);
    } else {
        // WebGPU has no f64.
        let message = ["device `wgpu` cannot be used with f64"];
        folder.refuses(&golden("c_mlp"), &with("wgpu"), &message);
    }
}

#[test]
fn files_that_cannot_be_written() {
    let folder = Folder::new("unwritable");
    let run = |case: &Path, out: &Path| {
        Command::new(env!("CARGO_BIN_EXE_replay"))
            .arg("golden")
            .arg(case)
            .arg("--out")
            .arg(out)
            .args(SUPPORTED)
            .output()
            .unwrap()
    };
    let said = |output: &Output| {
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).to_string()
    };
    let nowhere = folder.0.join("none/out.safetensors");
    let message = said(&run(&golden("c_mlp"), &nowhere));
    assert!(
        message.contains("cannot write") && message.contains("none"),
        "{message}"
    );
    let message = said(&run(&golden("c_mlp"), &folder.0));
    assert!(message.contains("cannot write"), "{message}");
    assert!(entries(&folder.0).is_empty());
    let case = folder.edited("c_mlp", |_| {});
    let before = fs::read(&case).unwrap();
    let message = said(&run(&case, &case));
    assert!(message.contains("is a file that is read"), "{message}");
    assert_eq!(fs::read(&case).unwrap(), before);
}
