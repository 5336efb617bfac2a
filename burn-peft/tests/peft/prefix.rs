//! Prefixes: begin, record, go through folders.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use burn_ief::Tape;
use burn_ief::jacobian::Jacobian;
use burn_peft::{
    AdapterFolder, Error, KeyValuePrefix, LoraConfig, PeftConfig, PrefixConfig, SoftPrompt,
};

/// Two layers with two heads of keys, 6 wide together.
fn config() -> PrefixConfig {
    PrefixConfig::new(3).with_model_size(2, 2, 6)
}

#[test]
fn rows_match_one_backward_per_sample() {
    let device = Device::flex().autodiff();
    device.seed(1);
    for (config, columns) in [
        (config(), 3 * 24),
        (
            config().with_projection(4),
            3 * 6 + (6 + 1) * 4 + (4 + 1) * 24,
        ),
    ] {
        let prefix = KeyValuePrefix::new(&config, &device).unwrap();
        let x = Tensor::<3>::random([4, 3, 24], Distribution::Normal(0.0, 1.0), &device);
        let loss = |prefix: &KeyValuePrefix, x: Tensor<3>| {
            let [batch, _, _] = x.dims();
            (prefix.forward(batch) * x).tanh().sum_dim(2).sum_dim(1)
        };
        let tape = Tape::start();
        let grads = loss(&prefix, x.clone()).mean().backward();
        let jacobian = Jacobian::from_tape(tape, grads, &prefix).unwrap();
        assert_eq!(jacobian.columns(), columns);
        let oracle = Jacobian::by_sample(&prefix, 4, |prefix, n| {
            loss(prefix, x.clone().narrow(0, n, 1)).sum()
        })
        .unwrap();
        for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
            for (a, b) in row.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
        // A folder has what the layers make.
        let folder = prefix.to_folder(&config).unwrap();
        let (text, weights) = folder.to_bytes().unwrap();
        let read = AdapterFolder::parse(text.as_bytes(), &weights).unwrap();
        assert_eq!(read, folder);
        let plain = KeyValuePrefix::from_folder(&read, &device).unwrap();
        assert_eq!(plain.num_params(), 3 * 24);
        let difference = (plain.forward(2) - prefix.forward(2)).abs().max();
        assert!(difference.into_scalar::<f32>() < 1e-6);
    }
    for zero in [config(), config().with_projection(4)] {
        let prefix = KeyValuePrefix::new(&zero.with_zero_init(), &device).unwrap();
        assert_eq!(prefix.forward(1).abs().max().into_scalar::<f32>(), 0.0);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let device = Device::flex().autodiff();
    let prefix = KeyValuePrefix::new(&config(), &device).unwrap();
    let error = prefix.to_folder(&PrefixConfig::new(4).with_model_size(2, 2, 6));
    assert!(matches!(error, Err(Error::Shape { .. })));
    let key = "prompt_embeddings".to_string();
    let lora = LoraConfig::new().with_target_modules(["a"]);
    let tensors = [("a.lora_A.weight", [8, 2]), ("a.lora_B.weight", [2, 8])].map(|(key, shape)| {
        let key = format!("base_model.model.{key}");
        (key, TensorData::zeros::<f32, _>(shape))
    });
    let error = KeyValuePrefix::from_folder(&AdapterFolder::new(lora, tensors), &device);
    assert!(matches!(error, Err(Error::PeftType { .. })));
    let folder = prefix.to_folder(&config()).unwrap();
    assert!(matches!(
        SoftPrompt::from_folder(&folder, &device),
        Err(Error::PeftType { .. })
    ));
    let mut missing = folder;
    missing.tensors.remove(&key);
    assert_eq!(missing.check(), Err(Error::MissingKey { key }));
    let error = KeyValuePrefix::new(&PrefixConfig::new(3), &device).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "token_dim",
                ..
            }
        ),
        "{error}"
    );
    for (name, value) in [
        ("num_virtual_tokens", "0"),
        ("num_layers", "0"),
        ("encoder_hidden_size", "0"),
        ("init_weights", "\"ones\""),
        ("prefix_projection", "2"),
        ("token_dim", "7"),
    ] {
        let fields = [("num_virtual_tokens", "1"), ("num_attention_heads", "2")];
        let others = fields.into_iter().filter(|(other, _)| *other != name);
        let fields: Vec<String> = others
            .chain([(name, value)])
            .map(|(name, value)| format!(r#""{name}": {value}"#))
            .collect();
        let text = format!(r#"{{"peft_type": "PREFIX_TUNING", {}}}"#, fields.join(", "));
        let Err(Error::Config { field, .. }) = PeftConfig::parse(text.as_bytes()) else {
            panic!("{text} was accepted");
        };
        assert_eq!(field, name);
    }
}
