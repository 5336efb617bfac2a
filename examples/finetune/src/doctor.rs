//! What this program finds on this machine.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use burn_hf_models::gguf::GgufFile;
use burn_hf_models::llama::is_family;
use clap::ValueEnum;
use programs::printing::short;
use programs::{DeviceError, DeviceKind, memory, reading};
use serde_json::Value;

use crate::history::{FILE as RUN, History};

/// Folders below those that were given.
const DEPTH: usize = 4;
/// Entries that are looked at; the rest of a huge folder is left out, and the report says so.
const MOST: usize = 20_000;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// A report: version, features, devices, processor, memory, and the models, adapters and runs in these folders.
///
/// ```
/// let report = finetune::doctor::report(&["no-such-folder".into()]);
/// assert!(report.contains("device flex"));
/// assert!(report.contains("no-such-folder: not found"));
/// ```
pub fn report(folders: &[PathBuf]) -> String {
    let mut text = format!("finetune {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    line(format!("built with: {}", features().join(", ")));
    for kind in DeviceKind::value_variants() {
        let state = match kind.open() {
            Ok(_) => "works".into(),
            Err(DeviceError::NotBuilt(_)) => format!("not built in (feature {kind})"),
            Err(DeviceError::NotFound(_)) => "not found on this machine".into(),
            Err(error) => error.to_string(),
        };
        line(format!("device {kind}: {state}"));
    }
    let threads = available_parallelism().map_or("unknown".into(), |count| count.to_string());
    line(format!("processor: {threads} threads, {}", vectors()));
    line(match memory::available_bytes() {
        Some(bytes) => format!("memory: {:.1} GiB free", bytes / GIB),
        None => "memory: unknown".into(),
    });
    for folder in folders {
        if !folder.is_dir() {
            line(format!("{}: not found", folder.display()));
            continue;
        }
        let mut found = Found::default();
        found.search(folder, DEPTH);
        line(format!("{}:", folder.display()));
        if found.entries.is_empty() {
            line("  no models, adapters or runs".into());
        }
        for (path, what) in &found.entries {
            line(format!("  {}: {what}", path.display()));
        }
        if found.looked_at >= MOST {
            line(format!("  (more than {MOST} files; the rest was left out)"));
        }
    }
    text
}

fn features() -> Vec<&'static str> {
    let all = [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("cuda", cfg!(feature = "cuda")),
        ("x86-v4", cfg!(feature = "x86-v4")),
    ];
    let named = all.into_iter().filter(|(_, is_on)| *is_on);
    named.map(|(name, _)| name).collect()
}

/// Vector instructions that the processor has.
fn vectors() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
            ("FMA", std::arch::is_x86_feature_detected!("fma")),
            ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        ];
        let found = all.into_iter().filter(|(_, is_there)| *is_there);
        let found: Vec<&str> = found.map(|(name, _)| name).collect();
        if found.is_empty() {
            "without AVX2".into()
        } else {
            found.join(", ")
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH.into()
}

/// What a search found, by path.
#[derive(Default)]
struct Found {
    entries: BTreeMap<PathBuf, String>,
    looked_at: usize,
}

impl Found {
    fn search(&mut self, folder: &Path, depth: usize) {
        if let Some(what) = folder_kind(folder) {
            self.entries.insert(folder.into(), what);
        }
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            self.looked_at += 1;
            if self.looked_at >= MOST {
                return;
            }
            let path = entry.path();
            let name = entry.file_name();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            // Links may lead in circles.
            if kind.is_dir() && depth > 0 && !name.to_string_lossy().starts_with('.') {
                self.search(&path, depth - 1);
            } else if kind.is_file() && GgufFile::is_named(&path) {
                let what = match GgufFile::open(&path) {
                    Ok(_) => "a GGUF file".into(),
                    Err(error) => format!(
                        "a GGUF file that cannot be used: {}",
                        short(&error.to_string())
                    ),
                };
                self.entries.insert(path, what);
            }
        }
    }
}

/// What a folder is, if it is of use here.
fn folder_kind(folder: &Path) -> Option<String> {
    if folder.join(RUN).is_file() {
        return Some(match History::read(folder) {
            Ok(history) => {
                let state = format!("{:?}", history.status).to_lowercase();
                format!("a run of {}, {state}", history.method.title())
            }
            Err(error) => format!("a run that cannot be read: {}", short(&error.to_string())),
        });
    }
    let field = |file: &str, name: &str| -> Option<String> {
        let text = reading::text(&folder.join(file)).ok()?;
        let json: Value = serde_json::from_str(&text).ok()?;
        Some(short(json.get(name)?.as_str()?))
    };
    if let Some(method) = field("adapter_config.json", "peft_type") {
        let base = field("adapter_config.json", "base_model_name_or_path");
        let base = base.unwrap_or_else(|| "an unknown base".into());
        return Some(format!("an adapter ({method}) of {base}"));
    }
    let family = field("config.json", "model_type")?;
    let kind = if is_family(&family) {
        "language model"
    } else {
        "model"
    };
    let missing = ["tokenizer.json"]
        .into_iter()
        .filter(|file| !folder.join(file).is_file());
    let missing: Vec<String> = missing.map(|file| format!(", without {file}")).collect();
    Some(format!("a {kind} ({family}){}", missing.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_adapters_and_damaged_files_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures");
        let to = |name: &str| folder.path().join(name);
        let copy = |from: &str, name: &str| {
            fs::create_dir_all(to(name).parent().unwrap()).unwrap();
            fs::copy(fixtures.join(from), to(name)).unwrap();
        };
        copy("llama/config.json", "models/llama/config.json");
        copy(
            "llama/lora/adapter_config.json",
            "adapters/a/adapter_config.json",
        );
        copy("gguf/llama.gguf", "models/llama.gguf");
        fs::write(to("models/broken.GGUF"), "GGUF").unwrap();
        fs::create_dir_all(to(".hidden")).unwrap();
        fs::write(to(".hidden/config.json"), "{\"model_type\": \"bert\"}").unwrap();
        let report = report(&[folder.path().into()]);
        for expected in [
            "models/llama: a language model (llama), without tokenizer.json",
            "adapters/a: an adapter (LORA) of tiny-llama",
            "models/llama.gguf: a GGUF file\n",
            "broken.GGUF: a GGUF file that cannot be used",
        ] {
            assert!(report.contains(expected), "{expected}\n{report}");
        }
        assert!(!report.contains("bert"), "{report}");
    }
}
