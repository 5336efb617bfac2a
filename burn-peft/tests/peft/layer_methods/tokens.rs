//! Rows of an embedding table that train in addition to LoRA's factors.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use burn_ief::Tape;
use burn_ief::jacobian::Jacobian;
use burn_peft::lora::TokenIndices;
use burn_peft::{
    AdapterFolder, ForwardAdapted, LoraConfig, NameMap, Peft, PeftConfig, unembed_adapted,
};

use super::net::{Shake, largest};

#[derive(Module, Debug)]
struct Reader {
    embed_tokens: Embedding,
    query: Linear,
    lm_head: Linear,
}

impl Reader {
    fn new(device: &Device) -> Self {
        Self {
            embed_tokens: EmbeddingConfig::new(7, 4).init(device),
            query: LinearConfig::new(4, 4).init(device),
            lm_head: LinearConfig::new(4, 7).init(device),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let x = self.embed_tokens.forward_adapted(ids).tanh();
        let x = self.query.forward_adapted(x).tanh();
        self.lm_head.forward_adapted(x)
    }
}

fn config() -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_target_modules(["query"])
        .with_trainable_token_indices([5, 2])
}

/// Two of the three samples have tokens that train, one of them twice.
fn ids(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data([[5, 1, 5], [0, 2, 3], [1, 6, 0]], device)
}

fn shaken(device: &Device) -> Reader {
    let model = Reader::new(device).adapt("default", config(), &[]).unwrap();
    model.map(&mut Shake)
}

#[test]
fn rows_match_one_backward_per_sample() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let (model, ids) = (shaken(&device), ids(&device));
    let loss = |logits: Tensor<3>| logits.square().sum_dim(2).sum_dim(1);
    let tape = Tape::start();
    let grads = loss(model.forward(ids.clone())).mean().backward();
    let jacobian = Jacobian::from_tape(tape, grads, &model).unwrap();
    assert_eq!(jacobian.columns(), 2 * 4 + 2 * 2 * 4);
    let oracle = Jacobian::by_sample(&model, 3, |model, n| {
        loss(model.forward(ids.clone().narrow(0, n, 1))).sum()
    })
    .unwrap();
    for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
        for (a, b) in row.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn only_these_rows_change() {
    let device = Device::flex().autodiff();
    device.seed(2);
    let base = Reader::new(&device);
    let model = base.clone().adapt("default", config(), &[]).unwrap();
    let difference = model.forward(ids(&device)) - base.forward(ids(&device));
    assert_eq!(largest(difference), 0.0);
    let merged = model.map(&mut Shake).merge_and_unload().unwrap();
    let change = merged.embed_tokens.weight.val() - base.embed_tokens.weight.val();
    let changed: Vec<f32> = change.abs().sum_dim(1).into_data().iter().collect();
    for (token, change) in changed.iter().enumerate() {
        assert_eq!(*change > 0.0, [2, 5].contains(&token), "{token}");
    }
    // What is picked stays frozen when adapters are switched.
    let model = base.adapt("one", config(), &[]).unwrap();
    let trainable = model.trainable().trainable;
    let model = model.adapt("two", config(), &[]).unwrap();
    let model = model.with_active_adapters(&[("one", 1.0)]).unwrap();
    assert_eq!(model.trainable().trainable, trainable);
    assert_eq!(trainable, 2 * 4 + 2 * 2 * 4);
}

#[test]
fn folders_have_the_rows_themselves() {
    let device = Device::flex().autodiff();
    device.seed(3);
    let model = shaken(&device);
    let folder = model.save_adapter("default", config(), &[]).unwrap();
    let key = "base_model.model.embed_tokens.token_adapter.trainable_tokens_delta";
    let rows: Vec<f32> = folder.tensors[key].iter().collect();
    let whole = model.clone().merge_and_unload().unwrap();
    let table: Vec<f32> = whole.embed_tokens.weight.val().into_data().iter().collect();
    for (row, token) in rows.chunks(4).zip([5, 2]) {
        for (a, b) in row.iter().zip(&table[token * 4..]) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
    assert_eq!(
        folder
            .adapted_modules()
            .unwrap()
            .into_iter()
            .collect::<Vec<_>>(),
        ["query"]
    );
    let (text, weights) = folder.to_bytes().unwrap();
    let read = AdapterFolder::parse(text.as_bytes(), &weights).unwrap();
    assert_eq!(read, folder);
    // The table of another base: these rows are replaced and not added to.
    let other = Reader {
        embed_tokens: EmbeddingConfig::new(7, 4).init(&device),
        ..model.clone().unload()
    };
    let loaded = other.load_adapter("mine", &read, &[]).unwrap();
    let only = Tensor::<2, Int>::from_data([[5, 2, 2]], &device);
    let difference = loaded.forward(only.clone()) - model.forward(only);
    assert!(largest(difference) < 1e-5);
}

/// A model whose output head is the table.
#[derive(Module, Debug)]
struct Tied {
    embed_tokens: Embedding,
    query: Linear,
}

#[test]
fn what_does_not_fit_is_named() {
    let device = Device::flex().autodiff();
    let refused = |config: LoraConfig, part: &str| {
        let error = Reader::new(&device)
            .adapt("default", config, &[])
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("trainable_token_indices") && text.contains(part),
            "{text}"
        );
    };
    refused(config().with_trainable_token_indices([7]), "token 7");
    refused(config().with_trainable_token_indices([1, 1]), "twice");
    refused(
        config().with_trainable_token_indices(Vec::new()),
        "at least one",
    );
    let named = |name: &str| TokenIndices::Named(vec![(name.into(), vec![1])]);
    let with = |tokens: TokenIndices| config().with_trainable_token_indices(tokens);
    refused(with(named("words")), "does not have");
    refused(with(named("lm_head")), "embedding tables");
    let both = config().with_target_modules(["query", "embed_tokens"]);
    refused(both, "target_modules chooses too");

    let tied = Tied {
        embed_tokens: EmbeddingConfig::new(7, 4).init(&device),
        query: LinearConfig::new(4, 4).init(&device),
    };
    let hidden = Tensor::<2>::ones([1, 4], &device);
    assert_eq!(unembed_adapted(&tied.embed_tokens, hidden).dims(), [1, 7]);
    let names = NameMap::default().with_tied_head("lm_head", "embed_tokens");
    let error = tied.adapt("default", config(), &[names]).unwrap_err();
    assert!(error.to_string().contains("`lm_head` shares"), "{error}");

    for (value, accepted) in [
        ("[0, 3]", true),
        (r#"{"embed_tokens": [1], "other": [2]}"#, true),
        ("null", true),
        ("[-1]", false),
        ("[[1]]", false),
        (r#"{"a": 1}"#, false),
        ("\"a\"", false),
    ] {
        let text = format!(r#"{{"peft_type": "LORA", "trainable_token_indices": {value}}}"#);
        let read = PeftConfig::parse(text.as_bytes());
        assert_eq!(read.is_ok(), accepted, "{text}");
        if let Ok(config) = read {
            assert!(config.unknown_fields().is_empty());
            let again = PeftConfig::parse(config.to_json().unwrap().as_bytes());
            assert_eq!(again, Ok(config));
        }
    }
}
