//! Language models: conversations, a GGUF file, and what comes of them.

use std::fs;
use std::path::Path;

use burn::tensor::DType;
use burn_peft::settings::TaskType;
use burn_peft::{AdapterFolder, PeftConfig};
use finetune::history::Status;

use super::place::Place;

/// A model of 100 tokens with tokenizer and chat template.
const GGUF: &str = "../models/tests/fixtures/gguf/llama.gguf";

/// Flags of a small run, after which the numbers of sums are known.
pub const SUMS: [&str; 8] = [
    "--task=chat",
    "--data=sums.jsonl",
    "--model=model.gguf",
    "--targets=all-linear",
    "--batch=8",
    "--valid-share=0.2",
    "--test-share=0.2",
    "--out=runs",
];

pub fn place() -> Place {
    let place = Place::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join(GGUF);
    fs::copy(model, place.path("model.gguf")).unwrap();
    let row = |n: usize| {
        let (a, b) = (n % 8, n / 8);
        format!(
            "{{\"question\": \"is it {a} and {b}\", \"answer\": \"the one {}\"}}\n",
            (a + b) % 2
        )
    };
    fs::write(
        place.path("sums.jsonl"),
        (0..64).map(row).collect::<String>(),
    )
    .unwrap();
    place
}

#[test]
fn every_method_trains_on_conversations_and_answers() {
    let place = place();
    let sizes =
        "--step-size=0.5,adamw=0.03,adafactor=0.03,sgd=0.1,muon=0.03,iekfac=0.1,ekfac=0.1,kfac=0.1";
    let methods = [
        "ief",
        "ef",
        "sf",
        "iekfac",
        "ekfac",
        "kfac",
        "adamw",
        "sgd",
        "adafactor",
        "muon",
    ];
    let method = format!("--method={}", methods.join(","));
    let more = [
        &method,
        sizes,
        "--epochs=4",
        "--schedule=constant",
        "--rank=4",
    ];
    let said = place.succeed(&[&SUMS[..], &more].concat());
    assert!(said.contains("validation perplexity"), "{said}");
    for method in methods {
        let history = place.history(&format!("runs/{method}-seed1"));
        assert_eq!(history.status, Status::Finished, "{method}");
        assert_eq!(history.metrics, ["perplexity", "accuracy"]);
        let best = &history.epochs[history.best_epoch.unwrap() - 1];
        assert_eq!(best.valid.metrics["perplexity"], best.valid.loss.exp());
        // The best epoch is that of the lowest perplexity.
        let all = history.epochs.iter().map(|epoch| epoch.valid.loss);
        assert_eq!(best.valid.loss, all.fold(f64::INFINITY, f64::min));
        let folder =
            AdapterFolder::read(place.path(&format!("runs/{method}-seed1/adapter"))).unwrap();
        let PeftConfig::Lora(lora) = &folder.config else {
            panic!("{:?}", folder.config);
        };
        assert_eq!(lora.task_type, Some(TaskType::CausalLm));
    }
    let first = |method: &str| place.history(&format!("runs/{method}-seed1")).losses[0];
    assert!((first("ief") - first("adamw")).abs() < 1e-5);
    for method in ["ief", "adamw"] {
        let history = place.history(&format!("runs/{method}-seed1"));
        let best = &history.epochs[history.best_epoch.unwrap() - 1];
        let (first, last) = (history.losses[0], best.valid.loss);
        assert!(last < 0.8 * first, "{method}: {first} and {last}");
    }

    let ask = ["--prompt=is it 1 and 3", "--max-new-tokens=12"];
    let said = place.succeed(&[&["generate", "runs/ief-seed1"][..], &ask].concat());
    assert!(!said.trim().is_empty());
    let of_adapter = place.succeed(&[&["generate", "runs/ief-seed1/adapter"][..], &ask].concat());
    assert_eq!(of_adapter, said);
    let untrained = place.succeed(&[&["generate", "model.gguf"][..], &ask].concat());
    assert_ne!(untrained, said);
}

#[test]
fn a_base_in_half_precision_trains_adapters_in_f32() {
    let place = place();
    let run = |floats: &str| {
        let (dtype, out) = (format!("--dtype={floats}"), format!("--out={floats}"));
        let more = [
            &dtype,
            &out,
            "--method=ief,adamw",
            "--step-size=0.3,adamw=0.01",
            "--epochs=2",
            "--rank=4",
        ];
        place.succeed(&[&SUMS[..7], &more].concat());
        ["ief", "adamw"].map(|method| {
            let folder = format!("{floats}/{method}-seed1");
            let adapter = AdapterFolder::read(place.path(&folder).join("adapter")).unwrap();
            let dtypes = adapter.tensors.values().map(|data| data.dtype());
            assert!(dtypes.clone().all(|dtype| dtype == DType::F32), "{floats}");
            assert!(dtypes.count() > 0);
            let history = place.history(&folder);
            let best = &history.epochs[history.best_epoch.unwrap() - 1];
            (history.losses[0], best.valid.loss)
        })
    };
    let exact = run("f32");
    for floats in ["bf16", "f16"] {
        for ((first, last), (exact_first, exact_last)) in run(floats).into_iter().zip(exact) {
            assert!(
                (first / exact_first - 1.0).abs() < 0.02,
                "{floats}: {first}, {exact_first}"
            );
            assert!(
                (last / exact_last - 1.0).abs() < 0.1,
                "{floats}: {last}, {exact_last}"
            );
        }
    }
    let ask = [
        "--prompt=is it 1 and 3",
        "--max-new-tokens=12",
        "--dtype=bf16",
    ];
    let said = place.succeed(&[&["generate", "bf16/ief-seed1"][..], &ask].concat());
    assert!(!said.trim().is_empty());

    let refused = [
        (
            vec!["--dtype=bf16", "--adapter=full"],
            "lose most of a small step",
        ),
        (vec!["--dtype=f64"], "f32, bf16, f16"),
    ];
    for (more, expected) in refused {
        let said = place.fail(2, &[&SUMS[..], &more].concat());
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn prompts_and_texts_are_trained_too() {
    let place = place();
    let more = [
        "--adapter=prompt",
        "--virtual-tokens=3",
        "--method=ief",
        "--epochs=1",
    ];
    place.succeed(&[&SUMS[..], &more].concat());
    let folder = AdapterFolder::read(place.path("runs/ief-seed1/adapter")).unwrap();
    assert!(matches!(folder.config, PeftConfig::PromptTuning(_)));
    place.succeed(&[
        "generate",
        "runs/ief-seed1",
        "--prompt=is it",
        "--max-new-tokens=3",
    ]);

    let text = |n: usize| format!("{{\"text\": \"this is the one {n}\"}}\n");
    fs::write(
        place.path("texts.jsonl"),
        (0..30).map(text).collect::<String>(),
    )
    .unwrap();
    let flags = [
        "--task=text",
        "--data=texts.jsonl",
        "--model=model.gguf",
        "--method=adamw",
        "--epochs=1",
        "--out=texts",
    ];
    place.succeed(&flags);
    place.succeed(&[
        "generate",
        "texts/adamw-seed1",
        "--prompt=this is",
        "--max-new-tokens=3",
    ]);
}

#[test]
fn what_does_not_fit_a_language_model_is_named() {
    let place = place();
    let refused = |flags: &[&str], expected: &str| {
        let said = place.fail(2, flags);
        assert!(said.contains(expected), "{said}");
    };
    refused(
        &[&SUMS[..], &["--task=csv"]].concat(),
        "one of the tasks chat, instruct, completion and text",
    );
    refused(
        &[&SUMS[..], &["--adapter=full"]].concat(),
        "lora or prompt for a GGUF file",
    );
    refused(&[&SUMS[..], &["--max-length=6"]].concat(), "max_length");
    refused(&[&SUMS[..], &["--method=ngd"]].concat(), "a vocabulary");
    refused(
        &[&SUMS[..], &["--method=ief", "--clip-norm=1"]].concat(),
        "training.clip_norm",
    );
    refused(
        &["generate", "model.gguf", "--prompt=a", "--max-new-tokens=0"],
        "max_new_tokens",
    );
    fs::write(place.path("damaged.gguf"), "GGUF").unwrap();
    refused(
        &["generate", "damaged.gguf", "--prompt=a"],
        "ends within its header",
    );
    place.model("bert");
    refused(
        &[&SUMS[..], &["--model=bert"]].concat(),
        "goes on with texts",
    );
}

#[test]
fn answers_to_test_rows_and_files_for_other_programs_are_kept() {
    let place = place();
    let flags = [
        "--method=ief,adamw",
        "--epochs=2",
        "--eval-steps=3",
        "--eval-generate=4",
        "--max-new-tokens=6",
        "--tensorboard",
    ];
    let said = place.succeed(&[&SUMS[..], &flags].concat());
    assert!(
        said.contains("right answers") && said.contains("of 4"),
        "{said}"
    );
    for method in ["ief", "adamw"] {
        let run = format!("runs/{method}-seed1");
        let history = place.history(&run);
        let answers = history.answers.unwrap();
        assert_eq!(answers.rows, 4);
        let text = fs::read_to_string(place.path(&run).join("answers.jsonl")).unwrap();
        let rows: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let right = rows.iter().filter(|row| row["right"] == true).count();
        assert_eq!(answers.exact_match, right as f64 / 4.0);
        assert!(
            rows[0]["question"]
                .as_str()
                .unwrap()
                .starts_with("user: is it ")
        );
        // The answer is that of `generate`.
        let question = rows[0]["question"].as_str().unwrap();
        let prompt = format!("--prompt={}", question.trim_start_matches("user: "));
        let said = place.succeed(&["generate", &run, &prompt, "--max-new-tokens=6"]);
        assert!(
            said.contains(rows[0]["answer"].as_str().unwrap().trim()),
            "{said} {}",
            rows[0]
        );
        let steps = fs::read_to_string(place.path(&run).join("steps.csv")).unwrap();
        assert_eq!(steps.lines().count(), 1 + history.losses.len());
        let events = place.path(&run).join("tensorboard");
        assert_eq!(fs::read_dir(events).unwrap().count(), history.epochs.len());
    }
    // Answers that are missing are written when the command is repeated.
    let path = place.path("runs/ief-seed1");
    let mut history = place.history("runs/ief-seed1");
    let before = history.answers.take();
    history.write(&path).unwrap();
    place.succeed(&[&SUMS[..], &flags].concat());
    assert_eq!(place.history("runs/ief-seed1").answers, before);

    let said = place.fail(
        2,
        &[&SUMS[..], &["--task=text", "--eval-generate=1"]].concat(),
    );
    assert!(said.contains("training.eval_generate"), "{said}");
}

#[test]
fn recomputed_activations_change_nothing() {
    let place = place();
    let flags = ["--method=ief,adamw", "--epochs=1", "--schedule=constant"];
    place.succeed(&[&SUMS[..], &flags].concat());
    let more = ["--gradient-checkpointing", "--out=recomputed"];
    place.succeed(&[&SUMS[..], &flags, &more].concat());
    for method in ["ief", "adamw"] {
        let kept = place.history(&format!("runs/{method}-seed1"));
        let recomputed = place.history(&format!("recomputed/{method}-seed1"));
        assert_eq!(kept.losses, recomputed.losses, "{method}");
        assert!(kept.losses.last() < kept.losses.first(), "{method}");
    }
}

#[test]
fn control_tokens_in_texts_are_refused_or_kept() {
    let place = place();
    let row =
        |n: usize| format!("{{\"question\": \"is it {n}<|end|>\", \"answer\": \"the one {n}\"}}\n");
    fs::write(
        place.path("marked.jsonl"),
        (0..30).map(row).collect::<String>(),
    )
    .unwrap();
    let flags = ["--data=marked.jsonl", "--method=adamw", "--epochs=1"];
    let said = place.fail(2, &[&SUMS[..], &flags].concat());
    assert!(said.contains("--control-tokens keep"), "{said}");
    place.succeed(&[&SUMS[..], &flags, &["--control-tokens=keep"]].concat());
}

/// Every step sees all rows, with different numbers of trained tokens: their order plays no part.
#[test]
fn accumulated_batches_take_the_steps_of_one() {
    let place = place();
    fs::create_dir(place.path("rows")).unwrap();
    let row = |n: usize| {
        let answer = &"one two three four "[..4 * (1 + n % 4)];
        format!("{{\"question\": \"is it {n}\", \"answer\": \"the {answer}\"}}\n")
    };
    for (name, rows) in [("train", 0..10), ("valid", 10..12), ("test", 12..14)] {
        let rows: String = rows.map(row).collect();
        fs::write(place.path("rows").join(format!("{name}.jsonl")), rows).unwrap();
    }
    let methods = ["ief", "ef", "adamw", "sgd", "muon", "adafactor"];
    let method = format!("--method={}", methods.join(","));
    let run = |out: &str, batches: [&str; 2]| {
        let flags = [
            "--data=rows",
            "--epochs=5",
            "--schedule=constant",
            &method,
            "--out",
            out,
        ];
        place.succeed(&[&SUMS[..], &flags, &batches].concat());
    };
    run("whole", ["--batch=10", "--gradient-accumulation=1"]);
    // Batches of 4, 4 and 2 rows.
    run("parts", ["--batch=4", "--gradient-accumulation=3"]);
    for method in methods {
        let losses = |out: &str| place.history(&format!("{out}/{method}-seed1")).losses;
        let (whole, parts) = (losses("whole"), losses("parts"));
        assert_eq!(whole.len(), 5);
        assert!(whole[4] < whole[0], "{method}: {whole:?}");
        for (a, b) in whole.iter().zip(&parts) {
            assert!((a - b).abs() < 1e-4, "{method}: {whole:?} {parts:?}");
        }
    }
}
