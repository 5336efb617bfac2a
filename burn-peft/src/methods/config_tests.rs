use super::*;
use crate::InitLoraWeights;
use crate::settings::{Bias, Modules, OneOrMany, TaskType};
use serde_json::Value;

fn parse(text: &str) -> Result<PeftConfig, Error> {
    PeftConfig::parse(text.as_bytes())
}

fn lora(fields: &str) -> Result<LoraConfig, Error> {
    match parse(&format!(r#"{{"peft_type": "LORA"{fields}}}"#))? {
        PeftConfig::Lora(settings) => Ok(settings),
        other => panic!("{other:?}"),
    }
}

fn prompt(fields: &str) -> Result<PeftConfig, Error> {
    parse(&format!(
        r#"{{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4{fields}}}"#
    ))
}

/// Field by field, as JSON values.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn missing_fields_have_the_defaults_of_peft() {
    let settings = lora("").unwrap();
    assert_eq!((settings.r, settings.lora_alpha), (8, 8.0));
    assert_eq!(settings.bias, Bias::None);
    assert_eq!(settings.init_lora_weights, InitLoraWeights::Kaiming);
    assert_eq!(settings.target_modules, None);
    assert_eq!(settings.peft_version, None);
}

#[test]
fn typed_fields_are_read() {
    let settings = lora(
        r#", "r": 16, "lora_alpha": 11.5, "lora_dropout": 0.05, "use_rslora": true,
        "use_dora": true, "bias": "lora_only", "fan_in_fan_out": true, "target_modules": "q|v",
        "exclude_modules": ["a"], "rank_pattern": {"z": 2, "a": 4}, "alpha_pattern": {"z": 0.5},
        "modules_to_save": ["score"], "init_lora_weights": "pissa_niter_4",
        "task_type": "CAUSAL_LM", "inference_mode": true, "revision": "main",
        "base_model_name_or_path": "m""#,
    );
    let settings = settings.unwrap();
    assert_eq!((settings.r, settings.lora_alpha), (16, 11.5));
    assert_eq!(settings.target_modules, Some(Modules::pattern("q|v")));
    let order: Vec<_> = settings.rank_pattern.iter().map(|(key, _)| key).collect();
    assert_eq!(order, ["z", "a"]);
    assert_eq!(settings.init_lora_weights, InitLoraWeights::PissaNiter(4));
    assert_eq!(settings.task_type, Some(TaskType::CausalLm));
    assert_eq!(settings.scale_of("z").unwrap(), 0.5 / 2f64.sqrt());
    let layers = lora(r#", "layers_to_transform": 3, "layers_pattern": "h""#).unwrap();
    assert_eq!(layers.layers_to_transform, Some(OneOrMany(vec![3])));
    assert_eq!(layers.layers_pattern, Some(OneOrMany(vec!["h".into()])));
}

#[test]
fn what_is_not_touched_is_written_as_it_was() {
    let text = r#"{
  "zeta": {"b": [1.5, null], "a": "x"},
  "peft_type": "LORA",
  "lora_alpha": 16.0,
  "layers_to_transform": 3,
  "megatron_core": "megatron.core",
  "loftq_config": {"loftq_bits": 4},
  "fan_in_fan_out": null,
  "target_modules": ["q"],
  "merge_weights": false
}"#;
    let config = parse(text).unwrap();
    assert_eq!(config.unknown_fields(), ["zeta"]);
    let written = config.to_json().unwrap();
    assert_eq!(value(&written), value(text));
    let names = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("  \""));
        lines
            .map(|line| line.split('"').nth(1).unwrap().to_string())
            .collect()
    };
    assert_eq!(names(&written), names(text));
    let zeta = config.field("zeta").unwrap();
    assert_eq!(value(zeta.as_str()), value(text)["zeta"]);
}

#[test]
fn what_is_changed_is_written_in_its_place() {
    let text = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 16.0, "a": 1}"#;
    let Ok(PeftConfig::Lora(mut settings)) = parse(text) else {
        panic!("not read");
    };
    settings.r = 2;
    settings.use_dora = true;
    settings.layers_to_transform = Some([1, 2].into());
    settings.target_modules = Some(Modules::from(["q"]));
    let written = PeftConfig::from(settings.clone()).to_json().unwrap();
    let expected = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 16.0, "a": 1, "use_dora": true,
        "layers_to_transform": [1, 2], "target_modules": ["q"]}"#;
    assert_eq!(value(&written), value(expected));
    let Ok(PeftConfig::Lora(read)) = parse(&written) else {
        panic!("not read");
    };
    assert_eq!((read.r, read.use_dora), (2, true));
}

#[test]
fn a_new_configuration_has_the_fields_of_peft_0_18() {
    let golden = include_str!("../../tests/fixtures/bert/lora_seqcls/adapter_config.json");
    let settings = LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(8.0)
        .with_target_modules(["query", "value"])
        .with_task_type(TaskType::SequenceClassification)
        .with_base_model("tiny-bert");
    let written = PeftConfig::from(settings).to_json().unwrap();
    assert_eq!(value(&written), value(golden));
    let golden =
        include_str!("../../tests/fixtures/t5_relu/prompt_tuning_2sub/adapter_config.json");
    let settings = PromptConfig::new(4)
        .with_token_dim(32)
        .with_num_transformer_submodules(2)
        .with_model_size(2, 4)
        .with_task_type(TaskType::Seq2SeqLm)
        .with_base_model("tiny-t5_relu");
    let written = PeftConfig::from(settings).to_json().unwrap();
    assert_eq!(value(&written), value(golden));
}

#[test]
fn other_methods_are_named() {
    for (text, expected) in [
        (r#"{"peft_type": "OFT"}"#, "\"OFT\""),
        (r#"{"peft_type": "ADALORA"}"#, "\"ADALORA\""),
        (r#"{"peft_type": 3}"#, "3"),
        (r#"{"r": 8}"#, "missing"),
    ] {
        let Err(Error::PeftType { peft_type, .. }) = parse(text) else {
            panic!("{text} was accepted");
        };
        assert_eq!(peft_type, expected);
    }
    let empty = parse("").unwrap_err();
    assert!(empty.to_string().contains("empty"), "{empty}");
    for text in [
        "[]",
        "{",
        "{\"peft_type\": \"LORA\", \"r\": 1, \"r\": 2}",
        "nan",
    ] {
        assert!(matches!(parse(text), Err(Error::Json { .. })), "{text}");
    }
}

#[test]
fn fields_in_use_that_are_not_supported_are_named() {
    for (name, value) in [
        ("use_qalora", "true"),
        ("megatron_config", r#"{"a":1}"#),
        ("layer_replication", "[[0,1]]"),
        ("lora_bias", "true"),
        ("target_parameters", r#"["a"]"#),
        ("alora_invocation_tokens", "[1,2]"),
        ("arrow_config", r#"{"top_k":3}"#),
        ("ensure_weight_tying", "true"),
        ("kasa_config", "{}"),
        ("use_bdlora", "{}"),
        ("velora_config", "{}"),
        ("monteclora_config", "{}"),
        ("init_lora_weights", "\"loftq\""),
        ("init_lora_weights", "\"corda\""),
    ] {
        let Err(Error::Unsupported {
            field,
            value: shown,
        }) = lora(&format!(r#", "{name}": {value}"#))
        else {
            panic!("{name} was accepted");
        };
        assert_eq!((field, shown.as_str()), (name, value));
        assert!(lora(&format!(r#", "{name}": null"#)).is_ok());
    }
}

#[test]
fn fields_without_effect_are_kept_in_silence() {
    for fields in [
        r#", "loftq_config": {"loftq_bits": 4}"#,
        r#", "init_lora_weights": "eva", "eva_config": {"rho": 2.0}"#,
        r#", "corda_config": {"corda_method": "ipm"}"#,
        r#", "init_lora_weights": "lora_ga", "lora_ga_config": {"scale": "unit"}"#,
        r#", "qalora_group_size": 16, "megatron_core": "megatron.core""#,
        r#", "future": null, "further": false, "more": [], "names": {}, "text": """#,
    ] {
        assert!(
            lora(fields).unwrap().unknown_fields().is_empty(),
            "{fields}"
        );
    }
}

#[test]
fn values_out_of_range_are_named() {
    for (fields, name) in [
        (r#""r": 0"#, "r"),
        (r#""r": -1"#, "r"),
        (r#""r": "8""#, "r"),
        (r#""r": null"#, "r"),
        (r#""r": 8.0"#, "r"),
        (r#""lora_alpha": "x""#, "lora_alpha"),
        (r#""lora_alpha": 0"#, "lora_alpha"),
        (r#""lora_alpha": -8"#, "lora_alpha"),
        (r#""lora_dropout": 1.5"#, "lora_dropout"),
        (r#""lora_dropout": 1.0"#, "lora_dropout"),
        (r#""lora_dropout": -0.1"#, "lora_dropout"),
        (r#""use_dora": 1"#, "use_dora"),
        (r#""bias": "some""#, "bias"),
        (r#""target_modules": [1]"#, "target_modules"),
        (r#""target_modules": {}"#, "target_modules"),
        (r#""exclude_modules": 1"#, "exclude_modules"),
        (r#""layers_to_transform": [-1]"#, "layers_to_transform"),
        (r#""layers_to_transform": false"#, "layers_to_transform"),
        (r#""layers_pattern": "h""#, "layers_pattern"),
        (
            r#""target_modules": "q", "layers_to_transform": [1]"#,
            "layers_to_transform",
        ),
        (
            r#""target_modules": "q", "layers_pattern": []"#,
            "layers_pattern",
        ),
        (r#""rank_pattern": {"q": 0}"#, "rank_pattern"),
        (r#""rank_pattern": {"q": 1.5}"#, "rank_pattern"),
        (r#""rank_pattern": []"#, "rank_pattern"),
        (r#""alpha_pattern": {"q": "x"}"#, "alpha_pattern"),
        (r#""alpha_pattern": {"q": 0}"#, "alpha_pattern"),
        (r#""modules_to_save": "score""#, "modules_to_save"),
        (r#""init_lora_weights": 1"#, "init_lora_weights"),
        (r#""task_type": "SEQ""#, "task_type"),
        (r#""base_model_name_or_path": 1"#, "base_model_name_or_path"),
    ] {
        let Err(Error::Config { field, .. }) = lora(&format!(", {fields}")) else {
            panic!("{fields} was accepted");
        };
        assert_eq!(field, name, "{fields}");
    }
}

#[test]
fn prompts_are_checked() {
    for (fields, name) in [
        (r#", "token_dim": 0"#, "token_dim"),
        (r#", "num_layers": 0"#, "num_layers"),
        (r#", "num_attention_heads": 0"#, "num_attention_heads"),
        (
            r#", "num_transformer_submodules": 0"#,
            "num_transformer_submodules",
        ),
        (
            r#", "num_transformer_submodules": 18446744073709551615"#,
            "num_virtual_tokens",
        ),
        (r#", "prompt_tuning_init": "WORDS""#, "prompt_tuning_init"),
        (
            r#", "prompt_tuning_init": "TEXT""#,
            "prompt_tuning_init_text",
        ),
        (
            r#", "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "a""#,
            "tokenizer_name_or_path",
        ),
        (r#", "tokenizer_kwargs": {"a": 1}"#, "tokenizer_kwargs"),
    ] {
        let Err(Error::Config { field, .. }) = prompt(fields) else {
            panic!("{fields} was accepted");
        };
        assert_eq!(field, name, "{fields}");
    }
    let none = parse(r#"{"peft_type": "PROMPT_TUNING"}"#);
    assert!(matches!(none, Err(Error::Config { .. })));
    let text = prompt(
        r#", "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Is it so?",
        "tokenizer_name_or_path": "t5-small", "tokenizer_kwargs": {"legacy": true}"#,
    );
    assert!(text.unwrap().unknown_fields().is_empty());
    let built = PromptConfig::new(4).with_text("Is it so?", "t5-small");
    assert_eq!(built.validate(), Ok(()));
}

#[test]
fn numbers_that_json_has_not_are_refused_before_writing() {
    let settings = LoraConfig::new().with_lora_alpha(f64::NAN);
    assert!(PeftConfig::from(settings).to_json().is_err());
}

#[test]
fn ia3_is_read_and_written() {
    let ia3 = |fields: &str| parse(&format!(r#"{{"peft_type": "IA3"{fields}}}"#));
    let config = ia3(r#", "target_modules": ["k", "wo"], "feedforward_modules": "x|wo", "new": 1"#);
    let config = config.unwrap();
    assert_eq!(config.unknown_fields(), ["new"]);
    let PeftConfig::Ia3(read) = &config else {
        panic!("{config:?}");
    };
    assert_eq!(read.feedforward_modules, Some(Modules::pattern("x|wo")));
    assert!(read.init_ia3_weights && !read.fan_in_fan_out);
    assert_eq!(parse(&config.to_json().unwrap()), Ok(config));
    for (fields, name) in [
        (r#", "target_modules": 1"#, "target_modules"),
        (r#", "exclude_modules": 1"#, "exclude_modules"),
        (r#", "feedforward_modules": 1"#, "feedforward_modules"),
        (
            r#", "target_modules": ["k"], "feedforward_modules": ["wo"]"#,
            "feedforward_modules",
        ),
        (r#", "init_ia3_weights": 2"#, "init_ia3_weights"),
        (r#", "fan_in_fan_out": 2"#, "fan_in_fan_out"),
        (r#", "modules_to_save": "score""#, "modules_to_save"),
    ] {
        let Err(Error::Config { field, .. }) = ia3(fields) else {
            panic!("{fields} was accepted");
        };
        assert_eq!(field, name, "{fields}");
    }
}

#[test]
fn the_table_finds_each_method_by_its_name() {
    for name in PeftConfig::METHODS {
        let text = format!(r#"{{"peft_type": "{name}", "num_virtual_tokens": 1}}"#);
        assert_eq!(parse(&text).unwrap().peft_type(), *name);
    }
}
