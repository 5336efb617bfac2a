//! The entry points: a working command for each, and the input that a case changes.

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::inputs::{byte_level_tokens, chats, index, pictures, table, texts};
use crate::runs::{
    ON_TEXTS, broken_run, finetune, finished_run, long_run, on_pictures, settings, words,
};
use crate::{change, copy};

/// An input of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Table,
    Tokenizer,
    ModelConfig,
    ModelWeights,
    RunConfig,
    Flags,
    Images,
    Report,
    Resume,
    FiguresRun,
    ReplayModelConfig,
    ReplayModelWeights,
    ReplayAdapter,
    ReplayInputs,
    ReplayIndex,
    ReplayGolden,
    Conversations,
    ChatTemplate,
    Gguf,
    Predict,
    Merge,
    MergeGguf,
    GenerationConfig,
}

/// The models of `replay adapter`: a folder, and an adapter in it.
const MODELS: [(&str, &str); 6] = [
    ("bert", "lora"),
    ("bert", "prompt_tuning"),
    ("vit", "lora"),
    ("t5_relu", "lora"),
    ("llama", "lora"),
    ("qwen2", "lora"),
];

/// Bytes of `llama.gguf` before its weights.
const GGUF_HEADER: usize = 3_840;

/// Flags of `finetune` that take a value.
const FLAGS: [&str; 24] = [
    "step-size",
    "epochs",
    "batch",
    "max-length",
    "rank",
    "seed",
    "hidden",
    "momentum",
    "damping",
    "weight-decay",
    "normalize",
    "trust-region",
    "train-rows",
    "split-seed",
    "method",
    "schedule",
    "virtual-tokens",
    "solve-momentum",
    "lora-alpha",
    "lora-dropout",
    "image-size",
    "draws",
    "factor-interval",
    "patience",
];

impl Entry {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 23] = [
        (Self::Table, "finetune-table"),
        (Self::Tokenizer, "finetune-tokenizer"),
        (Self::ModelConfig, "finetune-model-config"),
        (Self::ModelWeights, "finetune-model-weights"),
        (Self::RunConfig, "finetune-config"),
        (Self::Flags, "finetune-flags"),
        (Self::Images, "finetune-images"),
        (Self::Report, "finetune-report"),
        (Self::Resume, "finetune-resume"),
        (Self::FiguresRun, "figures-run"),
        (Self::ReplayModelConfig, "replay-model-config"),
        (Self::ReplayModelWeights, "replay-model-weights"),
        (Self::ReplayAdapter, "replay-adapter"),
        (Self::ReplayInputs, "replay-inputs"),
        (Self::ReplayIndex, "replay-sharded-index"),
        (Self::ReplayGolden, "replay-golden"),
        (Self::Conversations, "finetune-conversations"),
        (Self::ChatTemplate, "finetune-chat-template"),
        (Self::Gguf, "finetune-gguf"),
        (Self::Predict, "finetune-predict"),
        (Self::Merge, "finetune-merge"),
        (Self::MergeGguf, "finetune-merge-gguf"),
        (Self::GenerationConfig, "finetune-generation-config"),
    ];

    /// Put a changed input into `folder`, and return the command that reads it.
    pub fn prepare(
        self,
        root: &Path,
        programs: &Path,
        folder: &Path,
        generator: &mut ChaCha8Rng,
    ) -> Result<Vec<String>> {
        let fixtures = root.join("examples/models/tests/fixtures");
        match self {
            Self::Table => {
                texts(&fixtures, folder)?;
                let endings = ["csv", "tsv", "jsonl"];
                let ending = endings[generator.random_range(0..endings.len())];
                let data = format!("texts.{ending}");
                fs::write(folder.join(&data), table(ending))?;
                alter(folder, &data, generator)?;
                Ok(finetune(&[
                    &format!("--task={ending}"),
                    &format!("--data={data}"),
                ]))
            }
            Self::Tokenizer => self.on_texts(&fixtures, folder, "model/tokenizer.json", generator),
            Self::ModelConfig => self.on_texts(&fixtures, folder, "model/config.json", generator),
            Self::ModelWeights => {
                self.on_texts(&fixtures, folder, "model/model.safetensors", generator)
            }
            Self::RunConfig => {
                texts(&fixtures, folder)?;
                fs::write(folder.join("run.toml"), settings(programs, folder)?)?;
                alter(folder, "run.toml", generator)?;
                Ok(words(&["finetune", "--config=run.toml", "--plain"]))
            }
            Self::Flags => {
                texts(&fixtures, folder)?;
                let mut command = finetune(&ON_TEXTS);
                for _ in 0..generator.random_range(1..3) {
                    let flag = FLAGS[generator.random_range(0..FLAGS.len())];
                    let value = change::flag_value(generator);
                    // A million epochs are no fault of the program.
                    let long = flag == "epochs" && value.parse::<u64>().is_ok_and(|n| n > 9);
                    command.push(format!("--{flag}={}", if long { "2" } else { &value }));
                }
                Ok(command)
            }
            Self::Images => {
                pictures(folder)?;
                let changed = format!("pictures/dark/{}.png", generator.random_range(0..10));
                alter(folder, &changed, generator)?;
                Ok(on_pictures("--epochs=1"))
            }
            Self::Report | Self::Resume | Self::FiguresRun => {
                self.on_a_run(&fixtures, programs, folder, generator)
            }
            Self::ReplayModelConfig => replay(&fixtures, folder, "model/config.json", generator),
            Self::ReplayModelWeights => {
                replay(&fixtures, folder, "model/model.safetensors", generator)
            }
            Self::ReplayAdapter => {
                let files = ["adapter_config.json", "adapter_model.safetensors"];
                let file = format!("adapter/{}", files[generator.random_range(0..2)]);
                replay(&fixtures, folder, &file, generator)
            }
            Self::ReplayInputs => replay(&fixtures, folder, "inputs.safetensors", generator),
            Self::ReplayIndex => {
                let command = replay(&fixtures, folder, "", generator)?;
                let model = folder.join("model");
                fs::rename(model.join("model.safetensors"), model.join("a.safetensors"))?;
                let index = index(&fs::read(model.join("a.safetensors"))?)?;
                fs::write(
                    model.join("model.safetensors.index.json"),
                    index.to_string(),
                )?;
                alter(folder, "model/model.safetensors.index.json", generator)?;
                Ok(command)
            }
            Self::Conversations => {
                chats(root, folder)?;
                let names = ["chats.jsonl", "chats.json", "turns.jsonl", "chats.parquet"];
                let data = names[generator.random_range(0..names.len())];
                alter(folder, data, generator)?;
                Ok(words(&["examples/conversations", "show", data, "model"]))
            }
            Self::ChatTemplate => {
                chats(root, folder)?;
                let names = ["chat_template.jinja", "tokenizer_config.json"];
                let file = format!("model/{}", names[generator.random_range(0..names.len())]);
                alter(folder, &file, generator)?;
                Ok(words(&[
                    "examples/conversations",
                    "show",
                    "chats.jsonl",
                    "model",
                ]))
            }
            Self::Gguf => {
                let mut file = fs::read(fixtures.join("gguf/llama.gguf"))?;
                // Most of the file is weights, whose values can be any.
                let header = file.split_off(GGUF_HEADER.min(file.len()));
                let header = std::mem::replace(&mut file, header);
                let mut changed = change::file("header", &header, generator);
                changed.append(&mut file);
                fs::write(folder.join("model.gguf"), changed)?;
                Ok(words(&[
                    "finetune",
                    "generate",
                    "model.gguf",
                    "--prompt=the one",
                    "--max-new-tokens=3",
                ]))
            }
            Self::Predict => {
                texts(&fixtures, folder)?;
                copy(&fixtures.join("bert/lora_seqcls"), &folder.join("adapter"))?;
                let labels = json!({"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}});
                fs::write(folder.join("adapter/labels.json"), labels.to_string())?;
                let endings = ["csv", "tsv", "jsonl"];
                let ending = endings[generator.random_range(0..endings.len())];
                let data = format!("rows.{ending}");
                fs::write(folder.join(&data), table(ending))?;
                let files = [&data, &data, "adapter/labels.json"];
                let file = files[generator.random_range(0..files.len())];
                alter(folder, file, generator)?;
                Ok(words(&[
                    "finetune",
                    "predict",
                    "adapter",
                    "--model=model",
                    "--data",
                    &data,
                ]))
            }
            Self::Merge => {
                let files = [
                    "model/config.json",
                    "adapter/adapter_config.json",
                    "adapter/adapter_model.safetensors",
                ];
                let file = files[generator.random_range(0..files.len())];
                replay(&fixtures, folder, file, generator)?;
                Ok(words(&[
                    "finetune",
                    "merge",
                    "adapter",
                    "--model=model",
                    "--out=merged",
                ]))
            }
            Self::MergeGguf => {
                let model = folder.join("model");
                fs::create_dir_all(&model)?;
                for name in ["config.json", "model.safetensors"] {
                    fs::copy(fixtures.join("llama").join(name), model.join(name))?;
                }
                let tokens = byte_level_tokens().to_string();
                fs::write(model.join("tokenizer.json"), tokens)?;
                fs::write(
                    model.join("tokenizer_config.json"),
                    json!({"bos_token": "a", "eos_token": {"content": "b"}}).to_string(),
                )?;
                let files = ["tokenizer.json", "tokenizer_config.json", "config.json"];
                let file = files[generator.random_range(0..files.len())];
                alter(folder, &format!("model/{file}"), generator)?;
                Ok(words(&["finetune", "merge", "model", "--gguf=out.gguf"]))
            }
            Self::GenerationConfig => {
                texts(&fixtures, folder)?;
                for file in ["config.json", "model.safetensors"] {
                    fs::copy(
                        fixtures.join("llama").join(file),
                        folder.join("model").join(file),
                    )?;
                }
                let settings = json!({
                    "do_sample": true, "temperature": 0.7, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.1,
                    "max_new_tokens": 5, "eos_token_id": [2, 7], "pad_token_id": 0, "transformers_version": "5.0.0",
                });
                let file = "model/generation_config.json";
                fs::write(folder.join(file), settings.to_string())?;
                alter(folder, file, generator)?;
                Ok(words(&[
                    "finetune",
                    "generate",
                    "model",
                    "--plain",
                    "--prompt=w1 w2",
                ]))
            }
            Self::ReplayGolden => {
                let cases = ["a_linear_least_squares", "b_logistic_regression", "c_mlp"];
                let case = cases[generator.random_range(0..cases.len())];
                let golden = root.join("examples/replay/tests/golden");
                let from = golden.join(format!("{case}.safetensors"));
                fs::copy(from, folder.join("case.safetensors"))?;
                alter(folder, "case.safetensors", generator)?;
                Ok(words(&[
                    "replay",
                    "golden",
                    "case.safetensors",
                    "--out=out.safetensors",
                ]))
            }
        }
    }

    fn on_texts(
        self,
        fixtures: &Path,
        folder: &Path,
        file: &str,
        generator: &mut ChaCha8Rng,
    ) -> Result<Vec<String>> {
        texts(fixtures, folder)?;
        alter(folder, file, generator)?;
        Ok(finetune(&ON_TEXTS))
    }

    /// Change a file of a run.
    fn on_a_run(
        self,
        fixtures: &Path,
        programs: &Path,
        folder: &Path,
        generator: &mut ChaCha8Rng,
    ) -> Result<Vec<String>> {
        let (run, command) = match self {
            Self::Resume => {
                let resume = [long_run(), words(&["--resume"])].concat();
                (broken_run(fixtures, programs)?, resume)
            }
            Self::Report => (
                finished_run(programs)?,
                words(&["finetune", "report", "runs"]),
            ),
            _ => {
                let own = [
                    "--run=runs/adamw-seed1",
                    "--out=figures",
                    "--batches=2",
                    "--batch-size=8",
                ];
                let command = [words(&["figures", "--lambdas=2"]), words(&own)].concat();
                (finished_run(programs)?, command)
            }
        };
        copy(run, folder)?;
        let mut files = Vec::new();
        list(&folder.join("runs"), &mut files)?;
        files.retain(|file| self != Self::Report || file.ends_with("run.json"));
        files.sort();
        let file = files[generator.random_range(0..files.len())].clone();
        let name = file
            .strip_prefix(folder)
            .expect("inside")
            .display()
            .to_string();
        alter(folder, &name, generator)?;
        Ok(command)
    }
}

/// Change one file of the folder.
fn alter(folder: &Path, name: &str, generator: &mut ChaCha8Rng) -> Result<()> {
    let path = folder.join(name);
    let bytes = fs::read(&path)?;
    fs::write(&path, change::file(name, &bytes, generator))
}

/// `replay adapter` on one of the models; `file` is changed, unless it is empty.
fn replay(
    fixtures: &Path,
    folder: &Path,
    file: &str,
    generator: &mut ChaCha8Rng,
) -> Result<Vec<String>> {
    let (model, adapter) = MODELS[generator.random_range(0..MODELS.len())];
    let from = fixtures.join(model);
    fs::create_dir_all(folder.join("model"))?;
    for name in ["config.json", "model.safetensors"] {
        fs::copy(from.join(name), folder.join("model").join(name))?;
    }
    copy(&from.join(adapter), &folder.join("adapter"))?;
    fs::copy(
        from.join("golden.safetensors"),
        folder.join("inputs.safetensors"),
    )?;
    if !file.is_empty() {
        alter(folder, file, generator)?;
    }
    Ok(words(&[
        "replay",
        "adapter",
        "--model=model",
        "--adapter=adapter",
        "--inputs=inputs.safetensors",
        "--out=out.safetensors",
    ]))
}

/// All files under a folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
