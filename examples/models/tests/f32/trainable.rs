//! Counts of trainable parameters at the sizes of the paper's models, without their weights.

use burn::tensor::Device;
use burn_hf_models::t5::T5Config;
use burn_hf_models::vit::ViTConfig;
use burn_peft::settings::Bias;
use burn_peft::{LoraConfig, Peft, PromptConfig, SoftPrompt};

fn t5_base() -> T5Config {
    // https://huggingface.co/google-t5/t5-base/blob/main/config.json
    let config = r#"{
        "model_type": "t5", "d_ff": 3072, "d_kv": 64, "d_model": 768, "num_heads": 12,
        "num_layers": 12, "vocab_size": 32128, "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-06, "relative_attention_num_buckets": 32
    }"#;
    T5Config::from_json(config).unwrap()
}

/// The paper (app. E): 884,736 of 223,788,288 with LoRA of rank 8 on q and v.
#[test]
fn t5_base_with_lora() {
    let device = Device::flex().autodiff();
    let model = t5_base().init(&device).unwrap();
    let settings = LoraConfig::new().with_r(8).with_target_modules(["q", "v"]);
    let names = burn_hf_models::t5::T5ForConditionalGeneration::names();
    let model = model.adapt("default", &settings, &names).unwrap();
    assert_eq!(
        model.trainable().to_string(),
        "trainable params: 884,736 || all params: 223,788,288 || trainable%: 0.3953"
    );
}

/// The paper (app. E): 15,360 of 222,918,912 with 20 virtual tokens.
#[test]
fn t5_base_with_a_prompt() {
    let device = Device::flex().autodiff();
    let model = t5_base().init(&device).unwrap();
    let settings = PromptConfig::new(20)
        .with_token_dim(768)
        .with_num_transformer_submodules(1);
    let prompt = SoftPrompt::random(&settings, &device).unwrap();
    let (model, prompt) = (model.trainable(), prompt.trainable());
    assert_eq!(prompt.trainable, 15_360);
    assert_eq!(model.all + prompt.all, 222_918_912);
}

/// The paper (app. E): 294,912 in the factors, 313,344 with the biases of the adapted layers.
#[test]
fn vit_base_with_lora() {
    let device = Device::flex().autodiff();
    // https://huggingface.co/google/vit-base-patch16-224/blob/main/config.json
    let config: ViTConfig = serde_json::from_str(
        r#"{
            "model_type": "vit", "hidden_size": 768, "num_hidden_layers": 12,
            "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
            "image_size": 224, "patch_size": 16, "num_channels": 3, "qkv_bias": true,
            "layer_norm_eps": 1e-12
        }"#,
    )
    .unwrap();
    let config = config.with_labels(1000);
    let settings = LoraConfig::new()
        .with_r(8)
        .with_target_modules(["query", "value"]);
    let names = burn_hf_models::vit::ViTForImageClassification::names();
    let adapted = |settings: &LoraConfig| {
        let model = config.init_classifier(&device).unwrap();
        let model = model.adapt("default", settings, &names).unwrap();
        model.trainable()
    };
    let factors = adapted(&settings);
    assert_eq!(factors.trainable, 294_912);
    // With a head of 1000 classes, as the paper counts.
    assert_eq!(factors.all, 86_862_568);
    let biased = adapted(&settings.with_bias(Bias::LoraOnly));
    assert_eq!(biased.trainable, 313_344);
}
