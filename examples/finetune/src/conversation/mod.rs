//! Conversations and texts for the training of language models: files, chat templates, tokens, labels and batches.
//!
//! [`load`] reads JSON lines, JSON and Parquet in the usual [forms](Form) into [`Sample`]s. A [`ConversationEncoder`]
//! turns them into tokens and labels, through a [`ChatTemplate`] or as plain text, and says in an [`EncodeSummary`]
//! what did not fit. A [`ConversationBatcher`] makes tensors of them, in the batches of a
//! `burn_ief::train::EpochLoader`, whose `with_lengths` puts samples of similar length together.
//!
//! Samples are never packed: several conversations in one row would be one sample to a method that needs the gradient
//! of each.
//!
//! ```
//! use burn::data::dataloader::batcher::Batcher;
//! use burn::tensor::Device;
//! use finetune::conversation::{
//!     ChatTemplate, ConversationBatcher, ConversationEncoder, EncodeOptions, Form, ReadOptions, SpecialTokens, load,
//! };
//! use finetune::data::DataSource;
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("chats.jsonl");
//! let row = |n| format!(
//!     "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{n}\"}}, {{\"role\": \"assistant\", \"content\": \"yes\"}}]}}\n"
//! );
//! std::fs::write(&file, (0..10).map(row).collect::<String>())?;
//! let found = load(&DataSource::new(&file), &ReadOptions::default())?;
//! assert_eq!(found.form, Form::Messages);
//!
//! // A tokenizer whose tokens are words.
//! # let json = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
//! #     "added_tokens": [
//! #         {"id": 1, "content": "<|im_start|>", "single_word": false, "lstrip": false, "rstrip": false,
//! #          "normalized": false, "special": true},
//! #         {"id": 2, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false,
//! #          "normalized": false, "special": true}],
//! #     "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
//! #     "model": {"type": "WordLevel", "unk_token": "?", "vocab": {
//! #         "?": 0, "<|im_start|>": 1, "<|im_end|>": 2, "user": 3, "assistant": 4, "yes": 5}}}"#;
//! # let tokenizer: tokenizers::Tokenizer = json.parse().unwrap();
//! let special = SpecialTokens::new([("eos_token", "<|im_end|>")]);
//! let batcher = ConversationBatcher::for_tokenizer(&tokenizer, &special);
//! let encoder = ConversationEncoder::new(tokenizer, ChatTemplate::chatml().into(), &special, EncodeOptions::new(64))?;
//! let encoded = encoder.encode(&found.splits.train)?;
//! assert_eq!(encoded.items[0].ids, [1, 3, 0, 2, 1, 4, 5, 2]);
//! assert_eq!(encoded.items[0].labels, [-100, -100, -100, -100, -100, -100, 5, 2]);
//! assert!(encoder.preview(&found.splits.train[0])?.contains("assistant\n⟦yes<|im_end|>⟧"));
//!
//! let batch = batcher.batch(encoded.items, &Device::flex());
//! assert_eq!(batch.labels.dims(), [8, 8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answers;
mod batch;
mod columns;
mod encode;
mod encoded;
mod files;
mod form;
mod load;
mod message;
mod options;
mod place;
mod preview;
mod row;
mod rows;
mod sample;
mod summary;
mod template;
mod tokenized;
mod turns;

pub use answers::TrainOn;
pub use batch::{ConversationBatch, ConversationBatcher, PaddingSide};
pub use columns::Columns;
pub use encode::ConversationEncoder;
pub use encoded::{EncodedSample, NO_LABEL};
pub use form::Form;
pub use load::{Conversations, ReadOptions, load};
pub use message::{Message, Role};
pub use options::{ControlTokens, EncodeOptions, Layout};
pub use place::Place;
pub use sample::{Content, Sample};
pub use summary::{EncodeSummary, EncodedConversations};
pub(crate) use template::template_text;
pub use template::{ChatTemplate, Rendered, SpecialTokens};
