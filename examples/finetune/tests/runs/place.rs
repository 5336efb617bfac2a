//! A folder with small models and data, and the program to run there.
//!
//! The models have random weights: they are the fixtures of the crate `burn-hf-models`, whose README says
//! where they come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use finetune::history::History;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Words of the vocabulary, behind the special tokens.
const WORDS: usize = 60;
/// Classes of the texts.
pub const CLASSES: [&str; 3] = ["alpha", "beta", "gamma"];

pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A model folder, with a tokenizer for the words of [`texts`](Self::texts).
    pub fn model(&self, fixture: &str) -> PathBuf {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures");
        let folder = self.path(&fixture.replace('/', "-"));
        fs::create_dir_all(&folder).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(fixtures.join(fixture).join(file), folder.join(file)).unwrap();
        }
        fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        folder
    }

    /// 36 rows of each class, which a word in the middle decides.
    pub fn texts(&self) -> PathBuf {
        let rows = (0..108usize).map(|row| {
            let class = row % CLASSES.len();
            let word = |place: usize| format!("w{}", 10 + (row * 7 + place * 13) % (WORDS - 10));
            let (before, after) = (word(1), word(2));
            let more = match row % 4 {
                0 => String::new(),
                _ => format!(" {} {}", word(3), word(4 + row % 5)),
            };
            // The number of the row makes every text another one.
            format!(
                "{before} w{class} {after}{more} n{row},{}\n",
                CLASSES[class]
            )
        });
        let path = self.path("texts.csv");
        let header = std::iter::once("text,label\n".to_string());
        fs::write(&path, header.chain(rows).collect::<String>()).unwrap();
        path
    }

    /// 20 pictures of 16 × 16 pixels of each of two classes, dark and light.
    pub fn pictures(&self) -> PathBuf {
        let folder = self.path("pictures");
        for (class, base) in [("dark", 40u8), ("light", 180)] {
            fs::create_dir_all(folder.join(class)).unwrap();
            for number in 0..20u8 {
                let picture = RgbImage::from_fn(16, 16, |x, y| {
                    let speckle = (x * 7 + y * 3 + u32::from(number) * 5) % 40;
                    Rgb([base + speckle as u8, base, base + number])
                });
                let path = folder.join(class).join(format!("{number}.png"));
                picture.save(path).unwrap();
            }
        }
        folder
    }

    /// The program with these flags.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_finetune"));
        command.args(flags).current_dir(self.folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().unwrap()
    }

    /// Run, and expect success.
    pub fn succeed(&self, flags: &[&str]) -> String {
        let output = self.run(flags);
        assert!(
            output.status.success(),
            "{flags:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Run, and expect this exit code; returns what it says.
    pub fn fail(&self, code: i32, flags: &[&str]) -> String {
        let output = self.run(flags);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {said}");
        said
    }

    pub fn history(&self, run: &str) -> History {
        History::read(&self.path(run)).unwrap()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Wait until a file is there, or the program has ended.
pub fn wait_for(file: &Path, child: &mut Child) {
    while !file.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn tokenizer() -> Value {
    let special = ["<pad>", "</s>", "<unk>", "[CLS]", "[SEP]"].map(String::from);
    let words = (0..WORDS).map(|word| format!("w{word}"));
    let classes = CLASSES.map(String::from);
    let all = special.into_iter().chain(classes).chain(words);
    let vocabulary: serde_json::Map<String, Value> = all
        .enumerate()
        .map(|(id, word)| (word, json!(id)))
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary},
    })
}
