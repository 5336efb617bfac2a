//! What PEFT knows about kinds of model: their output head and their usual targets.

use super::target::ModuleKind;
use crate::settings::TaskType;

/// Where `transformers` keeps the layer that turns hidden vectors into logits over the vocabulary.
const LANGUAGE_HEADS: [&str; 7] = [
    "lm_head",
    "lm_head.decoder",
    "cls.predictions.decoder",
    "predictions.decoder",
    "generator_lm_head",
    "embed_out",
    "proj_out",
];

/// Whether `transformers` calls an output head so.
pub(crate) fn is_language_head(module: &str) -> bool {
    LANGUAGE_HEADS.contains(&module)
}

/// Where it keeps the head of a sequence classifier.
const CLASSIFIERS: [&str; 2] = ["score", "classifier"];

/// The module that `all-linear` leaves out: the language modelling head, or if there is none and
/// the task is sequence classification, the classifier. `None` where neither is there.
///
/// ```
/// use burn_peft::ModuleKind;
/// use burn_peft::settings::TaskType;
/// use burn_peft::targets::output_head;
///
/// let modules = ["bert.pooler.dense", "classifier"];
/// let modules = modules.map(|name| (name.to_string(), ModuleKind::Linear));
/// let task = Some(TaskType::SequenceClassification);
/// assert_eq!(output_head(task, &modules), Some("classifier"));
/// assert_eq!(output_head(None, &modules), None);
/// ```
pub fn output_head(
    task: Option<TaskType>,
    modules: &[(String, ModuleKind)],
) -> Option<&'static str> {
    let linear = |head: &&str| {
        let mut modules = modules.iter();
        modules.any(|(name, kind)| name == head && *kind == ModuleKind::Linear)
    };
    if let Some(head) = LANGUAGE_HEADS.into_iter().find(linear) {
        return Some(head);
    }
    match task {
        Some(TaskType::SequenceClassification) => CLASSIFIERS
            .into_iter()
            .find(|head| modules.iter().any(|(name, _)| name == head)),
        _ => None,
    }
}

/// The `target_modules` that PEFT takes for LoRA on a kind of model (`model_type` in the base model's
/// `config.json`) if none are given; `None` for a kind that is not known here.
///
/// ```
/// use burn_peft::targets::default_targets;
///
/// assert_eq!(default_targets("t5"), Some(["q", "v"].as_slice()));
/// assert_eq!(default_targets("vit"), None);
/// ```
pub fn default_targets(model_type: &str) -> Option<&'static [&'static str]> {
    match model_type {
        "t5" | "mt5" => Some(&["q", "v"]),
        "bert" | "roberta" | "xlm-roberta" | "electra" | "layoutlm" => Some(&["query", "value"]),
        "bart" | "opt" | "llama" | "llama4" | "mistral" | "mixtral" | "stablelm" | "gemma"
        | "gemma2" | "gemma3_text" | "qwen2" | "qwen3" => Some(&["q_proj", "v_proj"]),
        "gpt2" => Some(&["c_attn"]),
        "gpt_neox" | "bloom" | "falcon" => Some(&["query_key_value"]),
        _ => None,
    }
}
