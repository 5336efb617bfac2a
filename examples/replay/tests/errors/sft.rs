//! Errors of `sft`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::changed_folders::fixture;
use crate::program::{Contents, Folder, entries};

impl Folder {
    fn refuses_sft(
        &self,
        folders: [PathBuf; 2],
        case: &Path,
        arguments: &[&str],
        message: &[&str],
    ) {
        let before = entries(&self.0);
        let [model, adapter] = folders;
        let output = Command::new(env!("CARGO_BIN_EXE_replay"))
            .arg("sft")
            .arg("--model")
            .arg(model)
            .arg("--adapter")
            .arg(adapter)
            .arg("--case")
            .arg(case)
            .arg("--out")
            .arg(self.0.join("out.safetensors"))
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.starts_with("error: ") && !said.contains("panicked"),
            "{said}"
        );
        for part in message {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        assert_eq!(entries(&self.0), before, "something was written");
    }

    /// A changed copy of the case of Llama.
    fn changed_sft(&self, edit: impl FnOnce(&mut Contents)) -> PathBuf {
        let bytes = fs::read(case()).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_string(), tensor)
        });
        let mut contents = Contents {
            metadata: header.metadata().clone().unwrap(),
            tensors: tensors.collect(),
        };
        edit(&mut contents);
        let views = contents.tensors.iter().map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let path = self.0.join("case.safetensors");
        fs::write(
            &path,
            safetensors::serialize(views, Some(contents.metadata)).unwrap(),
        )
        .unwrap();
        path
    }
}

fn case() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sft/llama.safetensors")
}

fn llama() -> [PathBuf; 2] {
    [fixture("llama"), fixture("llama/lora")]
}

#[test]
fn arguments_that_do_not_go_together() {
    let folder = Folder::new("sft-arguments");
    let refuses = |arguments: &[&str], message: &[&str]| {
        folder.refuses_sft(llama(), &case(), arguments, message);
    };
    refuses(&["--chunk", "3"], &["--chunk", "--head chunked"]);
    refuses(
        &["--head", "chunked", "--chunk", "0"],
        &["--chunk", "at least 1"],
    );
    refuses(&["--shards", "1,2"], &["--shards 1,2 sum to 3", "4"]);
    refuses(&["--shards", "4,x"], &["--shards", "found `x`"]);
    let missing = folder.0.join("none.safetensors");
    folder.refuses_sft(llama(), &missing, &[], &["cannot read", "none.safetensors"]);
    let bert = [fixture("bert"), fixture("bert/lora")];
    folder.refuses_sft(bert, &case(), &[], &["causal language modelling"]);
    let prompt = [fixture("llama"), fixture("llama/prompt_tuning")];
    folder.refuses_sft(prompt, &case(), &[], &["sft", "soft prompt"]);
    let other = [fixture("llama"), fixture("qwen2/lora")];
    folder.refuses_sft(other, &case(), &[], &["lora_"]);
    // Its own input is not overwritten.
    let copy = folder.0.join("out.safetensors");
    fs::copy(case(), &copy).unwrap();
    folder.refuses_sft(llama(), &copy, &[], &["a file that is read"]);
}

#[test]
fn damaged_cases() {
    let folder = Folder::new("sft-cases");
    let refuses = |edit: &dyn Fn(&mut Contents), message: &[&str]| {
        let case = folder.changed_sft(edit);
        for head in ["plain", "chunked"] {
            folder.refuses_sft(llama(), &case, &["--head", head], message);
        }
    };
    for name in ["labels", "labels_sampled", "input.input_ids"] {
        refuses(
            &|contents| drop(contents.tensors.remove(name)),
            &[name, "missing"],
        );
    }
    // The fifth token of the first sample has a label.
    for wrong in [100, -1, -99, i64::MAX] {
        for name in ["labels", "labels_sampled"] {
            refuses(
                &|contents| contents.set_integer(name, 4, wrong),
                &[name, &format!("has the label {wrong}"), "0 to 99"],
            );
        }
    }
    refuses(
        &|contents| contents.set_integer("labels_sampled", 4, -100),
        &["labels_sampled", "-100"],
    );
    refuses(
        &|contents| contents.set_integer("input.input_ids", 4, 100),
        &["input_ids", "100"],
    );
    refuses(
        &|contents| contents.set_integer("input.attention_mask", 4, 2),
        &["attention_mask", "2"],
    );
    refuses(
        &|contents| {
            let (_, shape, _) = contents.tensors.get_mut("labels").unwrap();
            *shape = vec![9, 4];
        },
        &["labels", "[4, 9]", "[9, 4]"],
    );
    refuses(
        &|contents| {
            let (dtype, _, _) = contents.tensors.get_mut("labels").unwrap();
            *dtype = Dtype::F64;
        },
        &["labels", "I64 or I32", "float"],
    );
    refuses(
        &|contents| {
            contents.metadata.insert("dropout".into(), "0.1".into());
        },
        &["unknown metadata: dropout"],
    );
    refuses(
        &|contents| {
            contents.metadata.insert("lams".into(), "[\"0\"]".into());
        },
        &["`lams`", "numbers above 0"],
    );
    refuses(
        &|contents| {
            let ids = contents.tensors["input.input_ids"].clone();
            contents.tensors.insert("input.token_type_ids".into(), ids);
        },
        &["input.token_type_ids"],
    );
}
