//! Damaged adapter folders: each is refused with an error or read as a whole, and never a panic.
//!
//! `cargo test` tries 2,000 of them. For more:
//!
//! ```sh
//! BURN_PEFT_FUZZ_CASES=1000000 cargo test --release --test peft fuzz_folders -- --ignored --nocapture
//! ```

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::Instant;

use burn_peft::{AdapterFolder, ModuleKind, PeftConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value};

/// Folders of each kind of adapter.
const FOLDERS: [&str; 15] = [
    "bert/dora",
    "bert/ia3",
    "bert/loha",
    "bert/lokr",
    "bert/lora_bias_all",
    "bert/lora_seqcls",
    "bert/prompt_tuning",
    "bert/vera",
    "llama/lora_embedding",
    "llama/prompt_tuning",
    "qwen2/lora",
    "t5_relu/prompt_tuning_2sub",
    "vit/dora_conv",
    "vit/ia3_inputs",
    "vit/lora_tf5",
];

/// Texts that mean something to a reader of these files.
const WORDS: [&str; 46] = [
    "",
    "LORA",
    "PROMPT_TUNING",
    "IA3",
    "feedforward_modules",
    "init_ia3_weights",
    "LOHA",
    "LOKR",
    "VERA",
    "OFT",
    "alpha",
    "decompose_factor",
    "projection_prng_key",
    "lycoris",
    "r",
    "lora_alpha",
    "rank_pattern",
    "bias",
    "all",
    "lora_only",
    "all-linear",
    "query",
    "q_proj",
    ".*",
    ".*(query|value)",
    "(",
    "a)(b",
    "(?!a)b",
    "[",
    r"\d{1,1000}",
    "(a*)*b",
    "(x{50}){50}",
    "layer",
    "(?P<idx>a)",
    "classifier",
    "SEQ_CLS",
    "TEXT",
    "pissa",
    "pissa_niter_99999999999999999999",
    "0.21.2",
    "\u{0}",
    "größer",
    "F64",
    "I64",
    "base_model.model.a.lora_A.weight",
    "prompt_embeddings",
];

/// One piece of damage to a text or to bytes.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Delete(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat(Index, u8),
    Swap(Index, Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let span = |at: &Index, size: u8| {
            let start = at.index(length);
            start..(start + usize::from(size)).min(length)
        };
        match self {
            Self::Cut(at) => bytes.truncate(at.index(length)),
            Self::Flip(at, mask) => bytes[at.index(length)] ^= mask,
            Self::Delete(at, size) => drop(bytes.drain(span(at, *size))),
            Self::Insert(at, new) => {
                let at = at.index(length);
                drop(bytes.splice(at..at, new.iter().copied()));
            }
            Self::Repeat(at, size) => {
                let piece = bytes[span(at, *size)].to_vec();
                let at = at.index(length);
                drop(bytes.splice(at..at, piece));
            }
            Self::Swap(a, b) => bytes.swap(a.index(length), b.index(length)),
        }
    }
}

/// One change of a JSON object that leaves it one.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, Value),
    Add(String, Value),
    Remove(Index),
    Rename(Index, String),
}

impl Edit {
    fn apply(&self, object: &mut Map<String, Value>) {
        let name = |at: &Index| object.keys().nth(at.index(object.len().max(1))).cloned();
        match self {
            Self::Add(name, value) => drop(object.insert(name.clone(), value.clone())),
            Self::Set(at, value) => {
                if let Some(name) = name(at) {
                    object.insert(name, value.clone());
                }
            }
            Self::Remove(at) => {
                if let Some(name) = name(at) {
                    object.remove(&name);
                }
            }
            Self::Rename(at, new) => {
                if let Some(value) = name(at).and_then(|name| object.remove(&name)) {
                    object.insert(new.clone(), value);
                }
            }
        }
    }
}

/// All that happens to a folder.
#[derive(Debug, Clone)]
struct Case {
    folder: usize,
    /// Edits of the configuration, then damage to its text.
    config: (Vec<Edit>, Vec<Damage>),
    /// Edits of one tensor's entry in the header and of the header, damage to the header's text
    /// (with its length put right), damage to the whole file.
    weights: (Index, Vec<Edit>, Vec<Edit>, Vec<Damage>, Vec<Damage>),
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(WORDS.as_slice()).prop_map(str::to_string),
        1 => ".{0,12}",
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0u64..70).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((words(), inner), 0..4).prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        5 => (any::<Index>(), values()).prop_map(|(at, value)| Edit::Set(at, value)),
        1 => (words(), values()).prop_map(|(name, value)| Edit::Add(name, value)),
        1 => any::<Index>().prop_map(Edit::Remove),
        1 => (any::<Index>(), words()).prop_map(|(at, name)| Edit::Rename(at, name)),
    ];
    prop_oneof![2 => Just(Vec::new()), 3 => vec(edit, 1..4)]
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<Index>;
    let new = prop_oneof![vec(any::<u8>(), 1..9), words().prop_map(String::into_bytes)];
    let damage = prop_oneof![
        1 => at().prop_map(Damage::Cut),
        4 => (at(), any::<u8>()).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        2 => (at(), 1u8..60).prop_map(|(at, size)| Damage::Delete(at, size)),
        2 => (at(), new).prop_map(|(at, new)| Damage::Insert(at, new)),
        1 => (at(), 1u8..).prop_map(|(at, size)| Damage::Repeat(at, size)),
        1 => (at(), at()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ];
    prop_oneof![3 => Just(Vec::new()), 2 => vec(damage, 1..4)]
}

fn cases() -> impl Strategy<Value = Case> {
    let config = (edits(), damage());
    let weights = (any::<Index>(), edits(), edits(), damage(), damage());
    // Damage to both at once finds little: the first error ends it.
    let config_only =
        (0..FOLDERS.len(), config, any::<Index>()).prop_map(|(folder, config, at)| Case {
            folder,
            config,
            weights: (at, vec![], vec![], vec![], vec![]),
        });
    let weights_only = (0..FOLDERS.len(), weights).prop_map(|(folder, weights)| Case {
        folder,
        config: (vec![], vec![]),
        weights,
    });
    prop_oneof![config_only, weights_only]
}

/// The two files of a folder.
struct Files {
    config: Vec<u8>,
    weights: Vec<u8>,
}

impl Files {
    fn all() -> Vec<Self> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let read = |folder: &str, file: &str| fs::read(fixtures.join(folder).join(file)).unwrap();
        let folders = FOLDERS.iter();
        folders
            .map(|folder| Self {
                config: read(folder, "adapter_config.json"),
                weights: read(folder, "adapter_model.safetensors"),
            })
            .collect()
    }

    fn damaged_config(&self, (edits, damage): &(Vec<Edit>, Vec<Damage>)) -> Vec<u8> {
        let mut text = self.config.clone();
        if !edits.is_empty() {
            let mut object: Map<String, Value> = serde_json::from_slice(&text).unwrap();
            edits.iter().for_each(|edit| edit.apply(&mut object));
            text = serde_json::to_vec(&object).unwrap();
        }
        damage.iter().for_each(|damage| damage.apply(&mut text));
        text
    }

    fn damaged_weights(&self, case: &Case) -> Vec<u8> {
        let (tensor, entry, header_edits, header_damage, damage) = &case.weights;
        let (length, rest) = self.weights.split_first_chunk::<8>().unwrap();
        let (text, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut text = text.to_vec();
        if !(entry.is_empty() && header_edits.is_empty()) {
            let mut header: Map<String, Value> = serde_json::from_slice(&text).unwrap();
            let name = header.keys().nth(tensor.index(header.len())).cloned();
            if let Some(Value::Object(fields)) = name.and_then(|name| header.get_mut(&name)) {
                entry.iter().for_each(|edit| edit.apply(fields));
            }
            header_edits.iter().for_each(|edit| edit.apply(&mut header));
            text = serde_json::to_vec(&header).unwrap();
        }
        let changes = header_damage.iter();
        changes.for_each(|damage| damage.apply(&mut text));
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text);
        file.extend(data);
        damage.iter().for_each(|damage| damage.apply(&mut file));
        file
    }
}

/// Read a damaged folder; whether that went well.
fn read(files: &Files, case: &Case) -> Result<bool, TestCaseError> {
    let config = files.damaged_config(&case.config);
    let weights = files.damaged_weights(case);
    if let Ok(config) = PeftConfig::parse(&config) {
        // A configuration without its tensors, put to the modules of a model.
        let modules = [
            (
                "bert.encoder.layer.0.attention.self.query",
                ModuleKind::Linear,
            ),
            ("model.layers.1.self_attn.q_proj", ModuleKind::Linear),
            ("bert.embeddings", ModuleKind::Other),
            ("classifier", ModuleKind::Linear),
        ];
        let modules = modules.map(|(name, kind)| (name.to_string(), kind));
        if let Ok(targets) = config.targets(&modules) {
            prop_assert!(!targets.is_empty());
        }
    }
    let folder = match AdapterFolder::parse(&config, &weights) {
        Ok(folder) => folder,
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            return Ok(false);
        }
    };
    // What is read is whole: it can be written, and reads as the same.
    prop_assert!(!folder.tensors.is_empty());
    let written = folder.to_bytes();
    prop_assert!(written.is_ok(), "{written:?}");
    let (config, weights) = written.unwrap();
    let again = AdapterFolder::parse(config.as_bytes(), &weights);
    prop_assert_eq!(again.as_ref(), Ok(&folder));
    Ok(true)
}

fn fuzz(count: u32) {
    let files = Files::all();
    let (whole, refused) = (Cell::new(0u32), Cell::new(0u32));
    let config = Config {
        cases: count,
        failure_persistence: None,
        ..Config::default()
    };
    let start = Instant::now();
    let outcome = TestRunner::new(config).run(&cases(), |case| {
        let counter = if read(&files[case.folder], &case)? {
            &whole
        } else {
            &refused
        };
        counter.set(counter.get() + 1);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (whole, refused) = (whole.get(), refused.get());
    let seconds = start.elapsed().as_secs_f64();
    println!("{count} folders in {seconds:.1} s: {refused} refused, {whole} read");
    assert_eq!(whole + refused, count);
    // Both ends are reached, or the damage is too much or too little.
    assert!(whole > count / 50 && refused > count / 4);
}

#[test]
fn damaged_folders_are_refused_or_whole() {
    fuzz(2_000);
}

#[test]
#[ignore = "takes minutes"]
fn many_damaged_folders_are_refused_or_whole() {
    let count = std::env::var("BURN_PEFT_FUZZ_CASES").ok();
    fuzz(
        count
            .and_then(|count| count.parse().ok())
            .unwrap_or(200_000),
    );
}
