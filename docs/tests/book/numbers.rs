//! Numbers that pages quote from `benches/results` are those of the files.

use serde_json::Value;

use super::markdown::{read, root};

/// A number of a results file.
enum Source {
    /// Median time over that of SGD: file, method, batch size.
    Time(&'static str, &'static str, u64),
    /// Peak memory over that of SGD: file, method, batch size.
    Memory(&'static str, &'static str, u64),
    /// Time of a LoRA layer over Burn's `apply_lora`: file, whether the input needs a gradient.
    Layer(&'static str, bool),
    /// Memory of a LoRA layer over Burn's `apply_lora`: file, whether the input needs a gradient.
    LayerMemory(&'static str, bool),
    /// Time of γ over a forward and backward pass: setting, way.
    Gamma(&'static str, &'static str),
    /// Median milliseconds: file, method, batch size.
    Milliseconds(&'static str, &'static str, u64),
    /// Peak memory in MiB of a step with an output head: loss, method, vocabulary.
    HeadMemory(&'static str, &'static str, u64),
    /// A field of a step of a language model, by side.
    LanguageStep(&'static str, &'static str),
}
use Source::*;

/// A text of a page with its numbers, as they are written there.
struct Quote {
    page: &'static str,
    text: &'static str,
    numbers: &'static [(&'static str, Source)],
}

const QUOTES: &[Quote] = &[
    Quote {
        page: "docs/src/language-models.md",
        text: "| PEFT and PyTorch, AdamW | 1334 | 282 | 2647 | | `finetune`, AdamW | 1029 | 366 | 1122 | | `finetune`, iEF | \
               1402 | 268 | 1197 |",
        numbers: &[
            ("1334", LanguageStep("PEFT and PyTorch, AdamW", "median_ms")),
            (
                "282",
                LanguageStep("PEFT and PyTorch, AdamW", "tokens_per_second"),
            ),
            ("2647", LanguageStep("PEFT and PyTorch, AdamW", "peak_mib")),
            ("1029", LanguageStep("finetune, AdamW", "median_ms")),
            ("366", LanguageStep("finetune, AdamW", "tokens_per_second")),
            ("1122", LanguageStep("finetune, AdamW", "peak_mib")),
            ("1402", LanguageStep("finetune, iEF", "median_ms")),
            ("268", LanguageStep("finetune, iEF", "tokens_per_second")),
            ("1197", LanguageStep("finetune, iEF", "peak_mib")),
        ],
    },
    Quote {
        page: "docs/src/vocabulary.md",
        text: "| AdamW | in slices | 334 | 569 | | iEF | all logits | 354 | 5,215 | | iEF | in slices | 328 | 568 |",
        numbers: &[
            ("334", HeadMemory("sliced", "adamw", 1000)),
            ("569", HeadMemory("sliced", "adamw", 151_936)),
            ("354", HeadMemory("plain", "ief", 1000)),
            ("5215", HeadMemory("plain", "ief", 151_936)),
            ("328", HeadMemory("sliced", "ief", 1000)),
            ("568", HeadMemory("sliced", "ief", 151_936)),
        ],
    },
    Quote {
        page: "docs/src/vocabulary.md",
        text: "| AdamW | all logits | 310 | 2,899 |",
        numbers: &[
            ("310", HeadMemory("plain", "adamw", 1000)),
            ("2899", HeadMemory("plain", "adamw", 151_936)),
        ],
    },
    Quote {
        page: "README.md",
        text: "a step of the paper's rule takes 0.89 to 1.27 SGD steps on a 10.5-million-parameter \
               MLP, and 0.96 to 1.12 on a LoRA transformer",
        numbers: &[
            ("0.89", Time("mlp-zen4", "ief", 32)),
            ("1.27", Time("mlp-zen4", "ief", 1024)),
            ("0.96", Time("lora-large-zen4", "ief", 64)),
            ("1.12", Time("lora-large-zen4", "ief", 1024)),
        ],
    },
    Quote {
        page: "README.md",
        text: "which makes that 1.30 to 1.68 on the MLP",
        numbers: &[
            ("1.30", Time("mlp-zen4", "ief_momentum", 64)),
            ("1.68", Time("mlp-zen4", "ief_momentum", 1024)),
        ],
    },
    Quote {
        page: "README.md",
        text: "takes 0.39 to 0.53 of the time of Burn's `apply_lora` and 0.13 to 0.21 of its memory",
        numbers: &[
            ("0.39", Layer("lora-layer-x86-v4", false)),
            ("0.53", Layer("lora-layer-zen4", true)),
            ("0.13", LayerMemory("lora-layer-zen4", false)),
            ("0.21", LayerMemory("lora-layer-x86-v4", true)),
        ],
    },
    Quote {
        page: "docs/src/introduction.md",
        text: "| MLP, 10.5 million parameters | 64 | 0.91 | 0.92 | `mlp-zen4.json` | \
               | the same | 1,024 | 1.27 | 1.09 | `mlp-zen4.json` | \
               | transformer 6 × 384 with LoRA | 32 | 0.99 | 1.01 | `lora-32-zen4.json` |",
        numbers: &[
            ("0.91", Time("mlp-zen4", "ief", 64)),
            ("0.92", Memory("mlp-zen4", "ief", 64)),
            ("1.27", Time("mlp-zen4", "ief", 1024)),
            ("1.09", Memory("mlp-zen4", "ief", 1024)),
            ("0.99", Time("lora-32-zen4", "ief", 32)),
            ("1.01", Memory("lora-32-zen4", "ief", 32)),
        ],
    },
    Quote {
        page: "docs/src/introduction.md",
        text: "with it the MLP's step takes 1.30 SGD steps (AdamW: 1.74)",
        numbers: &[
            ("1.30", Time("mlp-zen4", "ief_momentum", 64)),
            ("1.74", Time("mlp-zen4", "adamw", 64)),
        ],
    },
    Quote {
        page: "docs/src/methods.md",
        text: "At M = 1,024 the MLP's step takes 1.27 SGD steps with AVX2 (`mlp-zen4.json`) and 1.35 with \
               AVX-512 on both sides",
        numbers: &[
            ("1.27", Time("mlp-zen4", "ief", 1024)),
            ("1.35", Time("mlp-x86-v4", "ief", 1024)),
        ],
    },
    Quote {
        page: "docs/src/momentum.md",
        text: "1.30 SGD steps on AMD Zen 4 (iEF without momentum 0.91, AdamW 1.74; `mlp-zen4.json`) and 1.21 \
               on Sapphire Rapids (0.91, 1.83;",
        numbers: &[
            ("1.30", Time("mlp-zen4", "ief_momentum", 64)),
            ("0.91", Time("mlp-zen4", "ief", 64)),
            ("1.74", Time("mlp-zen4", "adamw", 64)),
            ("1.21", Time("mlp", "ief_momentum", 64)),
            ("0.91", Time("mlp", "ief", 64)),
            ("1.83", Time("mlp", "adamw", 64)),
        ],
    },
    Quote {
        page: "docs/src/fused.md",
        text: "takes 509 ms by these operations (`benches/results/lora-32-fused.json`), and 409 ms in PyTorch \
               2.15 on the same cores (`benches/results/torch-lora.json`)",
        numbers: &[
            ("509", Milliseconds("lora-32-fused", "sgd", 32)),
            ("409", Milliseconds("torch-lora", "sgd", 32)),
        ],
    },
    Quote {
        page: "docs/src/kfac.md",
        text: "takes 129 ms on two cores of a Sapphire Rapids server, 4.5 to 4.6 SGD steps \
               (`mlp-kfac-fused.json`); an iEF step takes 0.9 (`mlp-fused.json`). On 2026-11-28 it took \
               224 ms (`mlp-kfac.json`), when SGD was slower too and this was 4.2 SGD steps; on AMD Zen \
               4 it was 6.7 to 6.8 (`mlp-kfac-zen4.json`)",
        numbers: &[
            ("129", Milliseconds("mlp-kfac-fused", "kfac", 64)),
            ("4.5", Time("mlp-kfac-fused", "iekfac", 64)),
            ("4.6", Time("mlp-kfac-fused", "ekfac", 64)),
            ("0.9", Time("mlp-fused", "ief", 64)),
            ("224", Milliseconds("mlp-kfac", "kfac", 64)),
            ("6.7", Time("mlp-kfac-zen4", "kfac", 64)),
            ("6.8", Time("mlp-kfac-zen4", "iekfac", 64)),
            ("4.2", Time("mlp-kfac", "iekfac", 64)),
            ("4.2", Time("mlp-kfac", "ekfac", 64)),
        ],
    },
    Quote {
        page: "docs/src/drawn-labels.md",
        text: "1.25 to 2.77 SGD steps on the MLP and 1.99 on the LoRA transformer",
        numbers: &[
            ("1.25", Time("mlp-zen4", "sf", 32)),
            ("2.77", Time("mlp-zen4", "sf", 1024)),
            ("1.99", Time("lora-32-zen4", "sf", 32)),
        ],
    },
    Quote {
        page: "docs/src/quality.md",
        text: "1.5 (1,000 tokens at 64 positions), 2.7 (MLP with 1,000 classes), 3.5 (MLP with 10 classes)",
        numbers: &[
            ("1.5", Gamma("tokens", "differences")),
            ("2.7", Gamma("mlp_1000", "differences")),
            ("3.5", Gamma("mlp_10", "differences")),
        ],
    },
    Quote {
        page: "docs/src/quality.md",
        text: "7.8 for 10 classes",
        numbers: &[("7.8", Gamma("mlp_10", "exact"))],
    },
    Quote {
        page: "docs/src/recording.md",
        text: "it takes 4,823 ms where SGD takes 58 ms (`mlp-naive.json`)",
        numbers: &[
            ("4823", Milliseconds("mlp-naive", "by_sample", 64)),
            ("58", Milliseconds("mlp-naive", "sgd", 64)),
        ],
    },
    Quote {
        page: "docs/src/peft/adapters.md",
        text: "| AMD Zen 4, the input needs no gradient | 0.42 |",
        numbers: &[("0.42", Layer("lora-layer-zen4", false))],
    },
    Quote {
        page: "docs/src/peft/adapters.md",
        text: "| AMD Zen 4, the input needs a gradient | 0.53 |",
        numbers: &[("0.53", Layer("lora-layer-zen4", true))],
    },
    Quote {
        page: "docs/src/peft/adapters.md",
        text: "| Sapphire Rapids, AVX-512 on both sides, no gradient | 0.39 |",
        numbers: &[("0.39", Layer("lora-layer-x86-v4", false))],
    },
    Quote {
        page: "docs/src/peft/adapters.md",
        text: "| Sapphire Rapids, AVX-512 on both sides, with a gradient | 0.50 |",
        numbers: &[("0.50", Layer("lora-layer-x86-v4", true))],
    },
];

/// The row of a results file with these fields.
fn row(file: &str, fields: &[(&str, Value)]) -> Value {
    let path = root().join(format!("benches/results/{file}.json"));
    let rows: Vec<Value> = serde_json::from_str(&read(&path)).expect("an array of rows");
    rows.into_iter()
        .find(|row| fields.iter().all(|(name, value)| row[*name] == *value))
        .unwrap_or_else(|| panic!("{file}.json has no row with {fields:?}"))
}

fn step(file: &str, method: &str, batch: u64) -> Value {
    row(file, &[("method", method.into()), ("batch", batch.into())])
}

fn layer(file: &str, variant: &str, input_gradient: bool) -> Value {
    row(
        file,
        &[
            ("variant", variant.into()),
            ("input_gradient", input_gradient.into()),
        ],
    )
}

fn number(row: &Value, field: &str) -> f64 {
    row[field]
        .as_f64()
        .unwrap_or_else(|| panic!("`{field}` is no number in {row}"))
}

fn measured(source: &Source) -> f64 {
    let peak = |row: &Value| number(row, "peak_mib");
    match *source {
        Time(file, method, batch) => number(&step(file, method, batch), "ratio_to_sgd"),
        Memory(file, method, batch) => {
            peak(&step(file, method, batch)) / peak(&step(file, "sgd", batch))
        }
        Layer(file, gradient) => number(&layer(file, "burn_peft", gradient), "ratio_to_apply_lora"),
        LayerMemory(file, gradient) => {
            peak(&layer(file, "burn_peft", gradient)) / peak(&layer(file, "apply_lora", gradient))
        }
        Gamma(setting, way) => {
            let row = row("gamma", &[("setting", setting.into()), ("way", way.into())]);
            number(&row, "ratio_to_pass")
        }
        Milliseconds(file, method, batch) => number(&step(file, method, batch), "median_ms"),
        LanguageStep(side, field) => number(&row("smollm2-step", &[("side", side.into())]), field),
        HeadMemory(form, method, vocabulary) => {
            let of = [
                ("form", form.into()),
                ("method", method.into()),
                ("vocabulary", vocabulary.into()),
            ];
            peak(&row("head-memory", &of))
        }
    }
}

#[test]
fn quoted_numbers_are_those_of_the_results() {
    for quote in QUOTES {
        let page = read(&root().join(quote.page));
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains(quote.text),
            "{}: the text of a quote has changed, adapt docs/tests/book/numbers.rs: {}",
            quote.page,
            quote.text
        );
        for (written, source) in quote.numbers {
            let decimals = written
                .split_once('.')
                .map_or(0, |(_, digits)| digits.len());
            let found = measured(source);
            let rounded = format!("{found:.decimals$}");
            assert_eq!(
                rounded, *written,
                "{}: the results say {found}, in `{}`",
                quote.page, quote.text
            );
        }
    }
}
