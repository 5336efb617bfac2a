//! The entry points: a working command for each, and the input that a case changes.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use image::{Rgb, RgbImage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

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
    pub const ALL: [Self; 23] = [
        Self::Table,
        Self::Tokenizer,
        Self::ModelConfig,
        Self::ModelWeights,
        Self::RunConfig,
        Self::Flags,
        Self::Images,
        Self::Report,
        Self::Resume,
        Self::FiguresRun,
        Self::ReplayModelConfig,
        Self::ReplayModelWeights,
        Self::ReplayAdapter,
        Self::ReplayInputs,
        Self::ReplayIndex,
        Self::ReplayGolden,
        Self::Conversations,
        Self::ChatTemplate,
        Self::Gguf,
        Self::Predict,
        Self::Merge,
        Self::MergeGguf,
        Self::GenerationConfig,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "finetune-table",
            Self::Tokenizer => "finetune-tokenizer",
            Self::ModelConfig => "finetune-model-config",
            Self::ModelWeights => "finetune-model-weights",
            Self::RunConfig => "finetune-config",
            Self::Flags => "finetune-flags",
            Self::Images => "finetune-images",
            Self::Report => "finetune-report",
            Self::Resume => "finetune-resume",
            Self::FiguresRun => "figures-run",
            Self::ReplayModelConfig => "replay-model-config",
            Self::ReplayModelWeights => "replay-model-weights",
            Self::ReplayAdapter => "replay-adapter",
            Self::ReplayInputs => "replay-inputs",
            Self::ReplayIndex => "replay-sharded-index",
            Self::ReplayGolden => "replay-golden",
            Self::Conversations => "finetune-conversations",
            Self::ChatTemplate => "finetune-chat-template",
            Self::Gguf => "finetune-gguf",
            Self::Predict => "finetune-predict",
            Self::Merge => "finetune-merge",
            Self::MergeGguf => "finetune-merge-gguf",
            Self::GenerationConfig => "finetune-generation-config",
        }
    }

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

const ON_TEXTS: [&str; 2] = ["--task=csv", "--data=texts.csv"];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_string()).collect()
}

fn finetune(more: &[&str]) -> Vec<String> {
    let own = [
        "finetune",
        "--model=model",
        "--method=adamw",
        "--step-size=0.01",
        "--max-length=12",
        "--batch=16",
        "--epochs=1",
        "--out=runs",
        "--plain",
        "--keep-checkpoints",
    ];
    words(&[&own[..], more].concat())
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

/// The index of a model of one shard.
fn index(bytes: &[u8]) -> Result<Value> {
    let bad = || Error::new(ErrorKind::InvalidData, "not a safetensors file");
    let length = bytes
        .get(..8)
        .and_then(|start| start.try_into().ok())
        .ok_or_else(bad)?;
    let length = u64::from_le_bytes(length) as usize;
    let header = bytes.get(8..8 + length).ok_or_else(bad)?;
    let header: Value = serde_json::from_slice(header)?;
    let names = header.as_object().ok_or_else(bad)?.keys();
    let names = names.filter(|name| *name != "__metadata__");
    let map: serde_json::Map<String, Value> = names
        .map(|name| (name.clone(), json!("a.safetensors")))
        .collect();
    Ok(json!({"metadata": {"total_size": bytes.len()}, "weight_map": map}))
}

/// A byte-level BPE of 100 tokens or fewer.
fn byte_level_tokens() -> Value {
    let letters = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
    let all = letters
        .chain(["ab", "abc", "<end>"].map(String::from))
        .enumerate();
    let vocabulary: serde_json::Map<String, Value> =
        all.map(|(id, token)| (token, json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 28, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"], ["ab", "c"]]},
    })
}

/// A small BERT with a tokenizer, and a table of texts.
fn texts(fixtures: &Path, folder: &Path) -> Result<()> {
    let model = folder.join("model");
    fs::create_dir_all(&model)?;
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixtures.join("bert").join(name), model.join(name))?;
    }
    fs::write(model.join("tokenizer.json"), tokenizer().to_string())?;
    fs::write(folder.join("texts.csv"), table("csv"))
}

fn table(ending: &str) -> String {
    let rows = (0..36usize).map(|row| {
        let class = ["alpha", "beta", "gamma"][row % 3];
        (format!("w{} w{} n{row}", row % 3, 3 + row % 40), class)
    });
    let header = match ending {
        "csv" => "text,label\n",
        "tsv" => "text\tlabel\n",
        _ => "",
    };
    let lines = rows.map(|(text, label)| match ending {
        "csv" => format!("{text},{label}\n"),
        "tsv" => format!("{text}\t{label}\n"),
        _ => format!("{}\n", json!({"text": text, "label": label})),
    });
    header.to_string() + &lines.collect::<String>()
}

fn tokenizer() -> Value {
    let special = ["<pad>", "</s>", "<unk>", "[CLS]", "[SEP]"].map(String::from);
    let words = (0..60).map(|word| format!("w{word}"));
    let all = special.into_iter().chain(words).enumerate();
    let vocabulary: serde_json::Map<String, Value> =
        all.map(|(id, word)| (word, json!(id))).collect();
    json!({
        "version": "1.0",
        "truncation": {"max_length": 12, "stride": 0, "strategy": "LongestFirst", "direction": "Right"},
        "padding": {
            "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
        },
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "BertProcessing", "sep": ["[SEP]", 4], "cls": ["[CLS]", 3]
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary},
    })
}

/// A template with the constructs that models' templates have.
const CHAT_TEMPLATE: &str = "\
{%- macro turn(role) %}<|im_start|>{{ role }}
{% endmacro %}
{%- set ns = namespace(count=0) %}
{%- for message in messages %}
    {{- turn(message.role) }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
            {{- message['content'].split('</think>')[-1].lstrip('\\n') }}
            {%- for call in message.tool_calls %}
                {{- '\\n' + (call.function | tojson(indent=2)) }}
            {%- endfor %}
            {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
    {%- set ns.count = ns.count + 1 %}
{%- endfor %}
{%- if ns.count > 99 %}{{ raise_exception('too long, on ' ~ strftime_now('%d %b %Y')) }}{% endif %}
{%- if add_generation_prompt %}{{ turn('assistant') }}{% endif %}
";

/// Conversations in every format, and a tokenizer with a template.
fn chats(root: &Path, folder: &Path) -> Result<()> {
    let fixtures = root.join("examples/finetune/tests/conversation/fixtures");
    fs::create_dir_all(folder.join("model"))?;
    for (from, to) in [
        ("bytes/tokenizer.json", "model/tokenizer.json"),
        ("bytes/tokenizer_config.json", "model/tokenizer_config.json"),
        ("messages.parquet", "chats.parquet"),
    ] {
        fs::copy(fixtures.join(from), folder.join(to))?;
    }
    fs::write(folder.join("model/chat_template.jinja"), CHAT_TEMPLATE)?;
    let roles = [["role", "content"], ["from", "value"]];
    let [chats, turns] = roles.map(|[role, content]| {
        let rows = (0..9).map(|row| {
            let call = json!([{"function": {"name": "f", "arguments": "{\"x\": 1}"}}]);
            json!({"messages": [
                {role: "system", content: "Be brief."},
                {role: "user", content: format!("What is {row} plus 5?")},
                {role: "assistant", content: [{"type": "text", "text": "9"}], "tool_calls": call},
                {role: "tool", content: "9"},
                {role: "assistant", content: format!("Grüße {row} \u{1F600}")},
            ]})
        });
        rows.collect::<Vec<_>>()
    });
    let lines = |rows: &[Value]| {
        rows.iter()
            .map(|row| format!("{row}\n"))
            .collect::<String>()
    };
    fs::write(folder.join("chats.jsonl"), lines(&chats))?;
    fs::write(folder.join("turns.jsonl"), lines(&turns))?;
    fs::write(
        folder.join("chats.json"),
        json!({"version": 1, "data": chats}).to_string(),
    )
}

/// Pictures of two classes.
fn pictures(folder: &Path) -> Result<()> {
    for (class, base) in [("dark", 40u8), ("light", 180)] {
        fs::create_dir_all(folder.join("pictures").join(class))?;
        for number in 0..10u8 {
            let picture = RgbImage::from_fn(8, 8, |x, y| {
                Rgb([base + (x * 7 + y * 3) as u8 % 40, base, base + number])
            });
            let path = folder.join(format!("pictures/{class}/{number}.png"));
            picture.save(path).map_err(Error::other)?;
        }
    }
    Ok(())
}

/// Training of a perceptron on pictures.
fn on_pictures(epochs: &str) -> Vec<String> {
    words(&[
        "finetune",
        "--task=images",
        "--data=pictures",
        "--adapter=full",
        "--hidden=4",
        "--image-size=8",
        "--method=adamw",
        "--batch=8",
        "--out=runs",
        "--plain",
        "--keep-checkpoints",
        epochs,
    ])
}

/// A run that takes long enough to be broken off.
fn long_run() -> Vec<String> {
    [finetune(&ON_TEXTS), words(&["--epochs=60"])].concat()
}

/// A finished run of a perceptron on pictures, made once.
fn finished_run(programs: &Path) -> Result<&'static Path> {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    if let Some(run) = RUN.get() {
        return Ok(run.path());
    }
    let folder = tempfile::tempdir()?;
    pictures(folder.path())?;
    let status = start(programs, &on_pictures("--epochs=2"), folder.path())?.wait()?;
    if !status.success() {
        return Err(Error::other("the run that the cases start from fails"));
    }
    Ok(RUN.get_or_init(|| folder).path())
}

/// A run of a small BERT that was killed after a few epochs, made once.
fn broken_run(fixtures: &Path, programs: &Path) -> Result<&'static Path> {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    if let Some(run) = RUN.get() {
        return Ok(run.path());
    }
    let folder = tempfile::tempdir()?;
    texts(fixtures, folder.path())?;
    let mut child = start(programs, &long_run(), folder.path())?;
    let record = folder.path().join("runs/adamw-seed1/run.json");
    let epochs = || {
        let record = fs::read(&record).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        record["epochs"].as_array().map(Vec::len)
    };
    while epochs().unwrap_or(0) < 3 {
        if child.try_wait()?.is_some() {
            return Err(Error::other("the run that the cases start from ends early"));
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    Ok(RUN.get_or_init(|| folder).path())
}

fn start(programs: &Path, command: &[String], folder: &Path) -> Result<Child> {
    Command::new(fs::canonicalize(programs.join(&command[0]))?)
        .args(&command[1..])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// The settings of the command as a configuration file.
fn settings(programs: &Path, folder: &Path) -> Result<&'static str> {
    static SETTINGS: OnceLock<String> = OnceLock::new();
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings);
    }
    let command = finetune(&ON_TEXTS);
    let output = Command::new(fs::canonicalize(programs.join(&command[0]))?)
        .args(&command[1..])
        .arg("--write-config")
        .current_dir(folder)
        .output()?;
    let text = String::from_utf8(output.stdout).map_err(Error::other)?;
    if text.is_empty() {
        return Err(Error::other("`finetune --write-config` prints nothing"));
    }
    Ok(SETTINGS.get_or_init(|| text))
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
