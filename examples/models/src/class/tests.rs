//! Folders and adapters, and the classes that they are for.

use super::*;
use burn::tensor::TensorData;
use burn_peft::LoraConfig;
use burn_peft::settings::TaskType;

/// The class for a folder with this configuration and an adapter with this task and key.
fn choose(
    (model_type, architecture): (&str, &str),
    stated: Option<TaskType>,
    key: &str,
) -> Result<ModelClass, Error> {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({"model_type": model_type, "architectures": [architecture]});
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let config = LoraConfig::new().with_target_modules(["query"]);
    let config = match stated {
        Some(task) => config.with_task_type(task),
        None => config,
    };
    let adapter = AdapterFolder::new(
        config,
        [(key.to_string(), TensorData::zeros::<f32, _>([1, 1]))],
    );
    ModelClass::choose(folder.path(), Some(&adapter), None)
}

const BERT_KEY: &str = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight";
const BASE_KEY: &str = "base_model.model.encoder.layer.0.attention.self.query.lora_A.weight";
const LLAMA_KEY: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const LLAMA_BASE_KEY: &str = "base_model.model.layers.0.self_attn.q_proj.lora_A.weight";
const VIT_KEY: &str = "base_model.model.vit.layers.0.attention.q_proj.lora_A.weight";

#[test]
fn the_adapter_decides_first_and_then_the_folder() {
    use ModelClass as C;
    use TaskType as T;
    for (folder, stated, key, expected) in [
        (
            ("bert", "BertModel"),
            Some(T::SequenceClassification),
            BERT_KEY,
            C::BertForSequenceClassification,
        ),
        (
            ("bert", "BertForPreTraining"),
            Some(T::TokenClassification),
            BERT_KEY,
            C::BertForTokenClassification,
        ),
        (
            ("bert", "BertForMaskedLM"),
            Some(T::FeatureExtraction),
            BASE_KEY,
            C::BertModel,
        ),
        (("bert", "BertForMaskedLM"), None, BASE_KEY, C::BertModel),
        (
            ("bert", "BertForSequenceClassification"),
            Some(T::FeatureExtraction),
            BASE_KEY,
            C::BertModel,
        ),
        (
            ("bert", "BertForSequenceClassification"),
            None,
            BERT_KEY,
            C::BertForSequenceClassification,
        ),
        (
            ("bert", "BertForTokenClassification"),
            None,
            BERT_KEY,
            C::BertForTokenClassification,
        ),
        (("bert", "BertModel"), None, BASE_KEY, C::BertModel),
        (
            ("bert", "BertModel"),
            Some(T::SequenceClassification),
            "prompt_embeddings",
            C::BertForSequenceClassification,
        ),
        (
            ("bert", "BertModel"),
            None,
            "prompt_embeddings",
            C::BertModel,
        ),
        (
            ("llama", "LlamaForCausalLM"),
            None,
            LLAMA_KEY,
            C::LlamaForCausalLM,
        ),
        (
            ("qwen2", "Qwen2ForCausalLM"),
            Some(T::FeatureExtraction),
            LLAMA_BASE_KEY,
            C::LlamaModel,
        ),
        (
            ("llama", "LlamaForCausalLM"),
            None,
            LLAMA_BASE_KEY,
            C::LlamaModel,
        ),
        (
            ("llama", "LlamaModel"),
            None,
            LLAMA_KEY,
            C::LlamaForCausalLM,
        ),
        (
            ("gemma3_text", "Gemma3ForCausalLM"),
            Some(T::CausalLm),
            LLAMA_KEY,
            C::LlamaForCausalLM,
        ),
        (
            ("gemma3_text", "Gemma3TextModel"),
            None,
            LLAMA_BASE_KEY,
            C::LlamaModel,
        ),
        (
            ("smollm3", "SmolLM3ForCausalLM"),
            None,
            LLAMA_KEY,
            C::LlamaForCausalLM,
        ),
        (
            ("roberta", "RobertaForMaskedLM"),
            Some(T::SequenceClassification),
            "base_model.model.roberta.encoder.layer.0.attention.self.query.lora_A.weight",
            C::RobertaForSequenceClassification,
        ),
        (("roberta", "RobertaModel"), None, BASE_KEY, C::BertModel),
        (
            ("distilbert", "DistilBertForTokenClassification"),
            None,
            "base_model.model.distilbert.transformer.layer.0.attention.q_lin.lora_A.weight",
            C::DistilBertForTokenClassification,
        ),
        (
            ("distilbert", "DistilBertForSequenceClassification"),
            Some(T::SequenceClassification),
            "base_model.model.pre_classifier.weight",
            C::DistilBertForSequenceClassification,
        ),
        (
            ("modernbert", "ModernBertForMaskedLM"),
            Some(T::TokenClassification),
            "base_model.model.model.layers.0.attn.Wqkv.lora_A.weight",
            C::ModernBertForTokenClassification,
        ),
        (
            ("modernbert", "ModernBertForSequenceClassification"),
            None,
            "base_model.model.layers.0.attn.Wqkv.lora_A.weight",
            C::ModernBertModel,
        ),
        (
            ("vit", "ViTModel"),
            None,
            VIT_KEY,
            C::ViTForImageClassification,
        ),
        (
            ("vit", "ViTForImageClassification"),
            Some(T::FeatureExtraction),
            BASE_KEY,
            C::ViTModel,
        ),
        (
            ("t5", "T5ForConditionalGeneration"),
            None,
            "base_model.model.encoder.block.0.x.lora_A.weight",
            C::T5ForConditionalGeneration,
        ),
        (
            ("t5", "T5WithLMHeadModel"),
            Some(T::Seq2SeqLm),
            "prompt_embeddings",
            C::T5ForConditionalGeneration,
        ),
    ] {
        let found = choose(folder, stated, key);
        assert_eq!(found.unwrap(), expected, "{folder:?} {stated:?} {key}");
    }
}

#[test]
fn contradictions_and_gaps_stop() {
    use TaskType as T;
    for (folder, stated, key, expected) in [
        (
            ("bert", "BertForTokenClassification"),
            Some(T::SequenceClassification),
            BERT_KEY,
            "BertForTokenClassification",
        ),
        (
            ("bert", "BertForQuestionAnswering"),
            Some(T::SequenceClassification),
            BERT_KEY,
            "BertForQuestionAnswering",
        ),
        (
            ("bert", "BertModel"),
            Some(T::SequenceClassification),
            BASE_KEY,
            "contradicts itself",
        ),
        (
            ("bert", "BertModel"),
            Some(T::FeatureExtraction),
            BERT_KEY,
            "contradicts itself",
        ),
        (("bert", "BertModel"), None, BERT_KEY, "nothing tells"),
        (
            ("bert", "BertForPreTraining"),
            None,
            BERT_KEY,
            "nothing tells",
        ),
        (("bert", "BertModel"), Some(T::CausalLm), BERT_KEY, "causal"),
        (
            ("bert", "BertModel"),
            Some(T::QuestionAnswering),
            BERT_KEY,
            "QUESTION_ANS",
        ),
        (
            ("llama", "LlamaForCausalLM"),
            Some(T::SequenceClassification),
            LLAMA_KEY,
            "sequence classification",
        ),
        (
            ("llama", "LlamaForSequenceClassification"),
            Some(T::CausalLm),
            LLAMA_KEY,
            "LlamaForSequenceClassification",
        ),
        (
            ("t5", "T5EncoderModel"),
            None,
            "base_model.model.encoder.block.0.x.lora_A.weight",
            "nothing tells",
        ),
        (
            ("t5", "T5ForConditionalGeneration"),
            Some(T::SequenceClassification),
            "prompt_embeddings",
            "sequence to sequence",
        ),
        (
            ("gpt2", "GPT2Model"),
            None,
            LLAMA_KEY,
            "expected bert, roberta, distilbert, modernbert, vit, dinov2, t5, llama, mistral, qwen2, qwen3, gemma2, gemma3_text, phi3 or smollm3, found `gpt2`",
        ),
    ] {
        let error = choose(folder, stated, key).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{folder:?} {stated:?} {key}: {error}"
        );
    }
}
