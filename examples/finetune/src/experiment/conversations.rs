//! Conversations as the tokens of a language model.

use std::path::Path;
use std::sync::Arc;

use super::batches::{Data, Parts};
use crate::config::Config;
use crate::conversation::{
    ChatTemplate, ConversationBatcher, ConversationEncoder, Conversations, EncodeOptions, Layout,
    SpecialTokens,
};
use crate::data::load_tokenizer;
use crate::error::Error;
use crate::model::CausalLm;

/// Samples as tokens with labels. The notes say what was read, how it is written down, what was left out, and show
/// one sample.
pub(super) fn conversations(
    config: &Config,
    found: &Conversations,
    notes: &mut Vec<String>,
) -> Result<Data, Error> {
    let folder = config.model.folder.as_deref().unwrap_or(Path::new(""));
    let tokenizer = load_tokenizer(folder, CausalLm::vocabulary(config, folder)?)?;
    let special = SpecialTokens::from_folder(folder)?;
    notes.push(found.to_string());
    let layout = if config.task()?.is_plain() {
        Layout::Plain
    } else {
        let named = config.data.template.as_deref();
        let Some(template) = ChatTemplate::of_model(folder, named, &tokenizer)? else {
            let expected = "a model with a chat template (chat_template.jinja, or in tokenizer_config.json), or the \
                            task completion";
            return Err(Error::config("model.folder", "no template", expected));
        };
        let template = template.with_time(config.data.template_time);
        notes.push(format!("chat template: {}", template.name()));
        template.into()
    };
    let batcher = ConversationBatcher::for_tokenizer(&tokenizer, &special);
    let options = EncodeOptions::new(config.max_length())
        .with_train_on(config.data.train_on)
        .with_control_tokens(config.data.control_tokens);
    let encoder = ConversationEncoder::new(tokenizer, layout, &special, options)?;
    let splits = &found.splits;
    let mut parts = Vec::new();
    for (name, samples) in [
        ("training", &splits.train),
        ("validation", &splits.valid),
        ("test", &splits.test),
    ] {
        let encoded = encoder.encode(samples)?;
        notes.push(format!(
            "{name}, texts of up to {} tokens: {}",
            config.max_length(),
            encoded.summary
        ));
        parts.push(Arc::new(encoded.items));
    }
    if let Some(first) = splits.train.first() {
        notes.push(encoder.preview(first)?);
    }
    match <[_; 3]>::try_from(parts) {
        Ok(parts) => Ok(Data::Language(Parts(parts), batcher)),
        Err(_) => unreachable!("three parts went in"),
    }
}
