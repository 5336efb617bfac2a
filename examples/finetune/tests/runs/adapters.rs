//! The options of adapters, and runs that go on from a folder.

use burn_peft::{AdapterFolder, InitLoraWeights, PeftConfig};

use super::language::{SUMS, place as sums};
use super::place::Place;
use super::used::{new_rows, predict, same};
use super::{learned, on_texts};

fn config(place: &Place, out: &str) -> PeftConfig {
    let folder = AdapterFolder::read(place.path(&format!("{out}/ief-seed1/adapter")));
    folder.unwrap().config
}

#[test]
fn every_option_of_lora_trains_and_is_in_the_folder() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let train = |out: &str, more: &[&str]| {
        let flags = [&["--epochs=4", "--step-size=1", "--out", out][..], more].concat();
        place.succeed(&on_texts("bert", &flags));
        let history = place.history(&format!("{out}/ief-seed1"));
        assert!(learned(&history), "{out}: {:?}", history.epochs);
        match config(&place, out) {
            PeftConfig::Lora(lora) => lora,
            other => panic!("{other:?}"),
        }
    };
    let lora = train("dora", &["--dora", "--rslora", "--alpha=4", "--rank=4"]);
    assert!(lora.use_dora && lora.use_rslora && lora.lora_alpha == 4.0);
    for (name, init) in [
        ("pissa", InitLoraWeights::Pissa),
        ("olora", InitLoraWeights::Olora),
        ("gaussian", InitLoraWeights::Gaussian),
        ("orthogonal", InitLoraWeights::Orthogonal),
    ] {
        assert_eq!(train(name, &["--init", name]).init_lora_weights, init);
    }
    let lora = train(
        "patterns",
        &[
            "--targets=query,key,value,intermediate.dense",
            "--exclude=value",
            "--layers=1",
            "--rank-pattern=query=2,key=3",
            "--alpha-pattern=query=6",
            "--modules-to-save=LayerNorm",
        ],
    );
    assert_eq!(lora.rank_pattern, [("query".into(), 2), ("key".into(), 3)]);
    assert_eq!(lora.alpha_pattern, [("query".into(), 6.0)]);
    let folder = AdapterFolder::read(place.path("patterns/ief-seed1/adapter")).unwrap();
    let adapted = folder.adapted_modules().unwrap();
    assert!(
        adapted
            .iter()
            .all(|name| name.contains("layer.1.") && !name.ends_with("value")),
        "{adapted:?}"
    );
    let rank = |end: &str| {
        let mut tensors = folder.tensors.iter();
        let (_, a) = tensors.find(|(key, _)| key.ends_with(end)).unwrap();
        a.shape()[0]
    };
    assert_eq!(rank("query.lora_A.weight"), 2);
    assert_eq!(rank("key.lora_A.weight"), 3);
    assert!(folder.tensors.keys().any(|key| key.contains("LayerNorm")));
    let lora = train("tokens", &["--trainable-tokens=11,12,13"]);
    assert_eq!(lora.trainable_token_indices, Some([11, 12, 13].into()));
    let folder = AdapterFolder::read(place.path("tokens/ief-seed1/adapter")).unwrap();
    let mut tensors = folder.tensors.iter();
    let (_, rows) = tensors
        .find(|(key, _)| key.ends_with("trainable_tokens_delta"))
        .unwrap();
    assert_eq!(rows.shape()[0], 3);
}

#[test]
fn ia3_trains_on_classifiers_and_language_models() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    place.succeed(&on_texts(
        "bert",
        &["--adapter=ia3", "--epochs=4", "--step-size=1"],
    ));
    assert!(learned(&place.history("runs/ief-seed1")));
    let PeftConfig::Ia3(ia3) = config(&place, "runs") else {
        panic!("another method");
    };
    assert_eq!(ia3.feedforward_modules, Some(["output.dense"].into()));
    // The head on the mean: an adapter of the encoder alone.
    place.succeed(&on_texts(
        "bert",
        &[
            "--adapter=ia3",
            "--pooling=mean",
            "--epochs=1",
            "--out=mean",
        ],
    ));

    let place = sums();
    // The last --targets counts.
    let flags = [
        "--adapter=ia3",
        "--targets=k_proj,v_proj,down_proj",
        "--method=ief,adamw",
    ];
    place.succeed(&[&SUMS[..], &flags, &["--epochs=1"]].concat());
    let PeftConfig::Ia3(ia3) = config(&place, "runs") else {
        panic!("another method");
    };
    assert_eq!(ia3.feedforward_modules, Some(["down_proj"].into()));
}

#[test]
fn vera_loha_and_lokr_train_predict_and_merge() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    new_rows(&place);
    for (kind, more) in [
        ("vera", &["--rank=16", "--bias=all"][..]),
        ("loha", &["--rank=3", "--rank-pattern=query=2"]),
        (
            "lokr",
            &[
                "--alpha=4",
                "--exclude=query",
                "--targets=query,value,output.dense",
            ],
        ),
    ] {
        let adapter = format!("--adapter={kind}");
        let out = format!("--out={kind}");
        let flags = [&[&adapter[..], &out, "--epochs=4", "--step-size=1"], more].concat();
        place.succeed(&on_texts("bert", &flags));
        let run = format!("{kind}/ief-seed1");
        assert!(learned(&place.history(&run)), "{kind}");
        match (kind, config(&place, kind)) {
            ("vera", PeftConfig::Vera(vera)) => assert_eq!(vera.r, 16),
            ("loha", PeftConfig::Loha(loha)) => {
                assert_eq!(loha.rank_pattern, [("query".into(), 2)]);
            }
            ("lokr", PeftConfig::Lokr(lokr)) => assert_eq!((lokr.r, lokr.alpha), (8, 4.0)),
            (_, other) => panic!("{other:?}"),
        }
        // On the encoder alone, by a pattern.
        let mean = format!("--out={kind}-mean");
        let flags = [&adapter[..], &mean, "--pooling=mean", "--epochs=1"];
        place.succeed(&on_texts("bert", &flags));
        predict(&place, &format!("{run}/adapter"), "adapter.jsonl", &[]);
        let merged = format!("{kind}-merged");
        place.succeed(&["merge", &run, &format!("--out={merged}")]);
        predict(&place, &merged, "merged.jsonl", &[]);
        same(&place, "adapter.jsonl", "merged.jsonl");
    }
}

#[test]
fn p_tuning_trains_texts_and_language_models() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    new_rows(&place);
    place.succeed(&on_texts(
        "bert",
        &[
            "--adapter=p-tuning",
            "--virtual-tokens=3",
            "--encoder-width=16",
            "--epochs=4",
            "--step-size=1",
        ],
    ));
    assert!(learned(&place.history("runs/ief-seed1")));
    predict(&place, "runs/ief-seed1/adapter", "out.jsonl", &[]);
    let said = place.fail(2, &["merge", "runs/ief-seed1", "--out=merged"]);
    assert!(
        said.contains("P_TUNING") && said.contains("cannot be merged"),
        "{said}"
    );

    let place = sums();
    let flags = [
        "--adapter=p-tuning",
        "--virtual-tokens=3",
        "--epochs=1",
        "--method=ief,adamw",
    ];
    place.succeed(&[&SUMS[..], &flags].concat());
    // The table, and the network as wide as a token.
    let trained = place.history("runs/adamw-seed1").model.trainable;
    assert_eq!(trained, 3 * 32 + 3 * (32 + 1) * 32);
    let PeftConfig::PTuning(config) = self::config(&place, "runs") else {
        panic!("another method");
    };
    assert_eq!((config.num_virtual_tokens, config.token_dim), (3, Some(32)));
    // A folder has the tokens alone: they train on as a table.
    let again = [
        "--adapter-from=runs/adamw-seed1/adapter",
        "--epochs=1",
        "--method=adamw",
        "--out=b",
    ];
    place.succeed(&[&SUMS[..], &again].concat());
    assert_eq!(place.history("b/adamw-seed1").model.trainable, 3 * 32);
}

#[test]
fn a_run_goes_on_from_a_folder() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    for (kind, first) in [
        ("lora", &["--rank=3", "--dora"][..]),
        ("ia3", &["--adapter=ia3"]),
        ("vera", &["--adapter=vera", "--rank=8"]),
    ] {
        let flags = |out: &str, more: &[&str]| {
            let flags = [&["--epochs=2", "--out", out][..], more].concat();
            let flags = on_texts("bert", &flags);
            let flags: Vec<String> = flags.into_iter().map(str::to_string).collect();
            flags
        };
        let run = |out: &str, more: &[&str]| {
            let flags = flags(out, more);
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            place.succeed(&flags);
            place.history(&format!("{out}/ief-seed1"))
        };
        let first = run(kind, first);
        let from = format!("--adapter-from={kind}/ief-seed1/adapter");
        let second = run(&format!("{kind}-again"), &[&from]);
        // It begins where the first ended, not where that began.
        let ended = first.epochs[first.best_epoch.unwrap() - 1].train_loss;
        let (began, fresh) = (second.losses[0], first.losses[0]);
        assert!(
            began < (fresh + ended) / 2.0,
            "{kind}: {fresh}, {ended}, {began}"
        );
        assert_eq!(second.model.trainable, first.model.trainable);
        assert_eq!(second.config.adapter.kind, first.config.adapter.kind);
    }
    // Another file in the folder is another run.
    let flags = on_texts(
        "bert",
        &[
            "--epochs=2",
            "--out=again",
            "--adapter-from=lora/ief-seed1/adapter",
        ],
    );
    place.succeed(&flags);
    let tensors = "adapter/adapter_model.safetensors";
    std::fs::copy(
        place.path(&format!("lora-again/ief-seed1/{tensors}")),
        place.path(&format!("lora/ief-seed1/{tensors}")),
    )
    .unwrap();
    let said = place.fail(2, &flags);
    assert!(
        said.contains("adapter_model.safetensors of the model"),
        "{said}"
    );

    let place = sums();
    let prompt = [
        "--adapter=prompt",
        "--virtual-tokens=3",
        "--epochs=1",
        "--method=adamw",
    ];
    place.succeed(&[&SUMS[..], &prompt].concat());
    let again = [
        "--adapter-from=runs/adamw-seed1/adapter",
        "--epochs=1",
        "--method=adamw",
        "--out=b",
    ];
    place.succeed(&[&SUMS[..], &again].concat());
    assert_eq!(place.history("b/adamw-seed1").model.trainable, 3 * 32);
}

#[test]
fn options_that_do_not_fit_are_named() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let refused = |flags: &[&str], expected: &str| {
        let said = place.fail(2, &on_texts("bert", flags));
        assert!(said.contains(expected), "{said}");
    };
    refused(&["--rank-pattern=query"], "PATTERN=RANK");
    refused(&["--adapter=ia3", "--layers=0"], "adapter.layers");
    refused(&["--adapter-from=nothing"], "nothing");
    refused(&["--adapter-from=a", "--adapter=full"], "adapter.from");
    refused(&["--targets=nothing"], "nothing");
    place.succeed(&on_texts(
        "bert",
        &["--pooling=mean", "--epochs=1", "--out=mean"],
    ));
    let from = "--adapter-from=mean/ief-seed1/adapter";
    refused(&[from], "an adapter folder with `classifier` among them");
    refused(&[from, "--pooling=mean"], "pooler");
}
