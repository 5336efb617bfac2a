//! Vectors of texts: BERT, RoBERTa, DistilBERT and ModernBERT as sentence-transformers uses them.

mod pooling;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_hf_models::bert::{BertConfig, BertInput, BertModel};
use burn_hf_models::modernbert::{ModernBertConfig, ModernBertModel};
use burn_hf_models::weights::read_config;
use programs::guard;
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::data::load_tokenizer;
use crate::error::Error;
use pooling::{SentencePooling, TextVector};

/// Tokens of a batch, padding included.
const BATCH: usize = 4096;

/// An encoder with its tokenizer.
///
/// ```no_run
/// use burn::tensor::Device;
/// use finetune::embedding::TextEncoder;
///
/// let encoder = TextEncoder::open("minilm".as_ref(), &Device::flex())?;
/// let embedded = encoder.embed(&["A natural gradient", "A steep path"])?;
/// assert_eq!(embedded.vectors.len(), 2);
/// assert_eq!(embedded.vectors[0].len(), encoder.width());
/// # Ok::<(), finetune::Error>(())
/// ```
pub struct TextEncoder {
    model: Model,
    tokenizer: Tokenizer,
    pooling: SentencePooling,
    width: usize,
    longest: usize,
    device: Device,
}

enum Model {
    Bert(BertModel),
    ModernBert(ModernBertModel),
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Embedded {
    /// One for each text, in order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts, special ones included.
    pub tokens: usize,
}

impl TextEncoder {
    /// Load the folder of an encoder. Which vector a text gets is as `modules.json` says; without it the mean over its
    /// tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Model`], [`Error::Data`] and [`Error::Read`] for its files; [`Error::Config`] for what
    /// sentence-transformers can do and this cannot.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Stated {
            model_type: Option<String>,
        }
        let stated: Stated = read_config(folder)?;
        let pooling = SentencePooling::from_folder(folder)?;
        let (model, vocabulary, width, longest) =
            if stated.model_type.as_deref() == Some("modernbert") {
                let config = ModernBertConfig::from_folder(folder)?;
                let model = ModernBertModel::load(folder, device)?.valid();
                let sizes = (
                    config.vocab_size,
                    config.hidden_size,
                    config.max_position_embeddings,
                );
                (Model::ModernBert(model), sizes.0, sizes.1, sizes.2)
            } else {
                let config = BertConfig::from_folder(folder)?;
                let model = BertModel::load(folder, false, device)?.valid();
                let longest = config.longest_sequence();
                (
                    Model::Bert(model),
                    config.vocab_size,
                    config.hidden_size,
                    longest,
                )
            };
        let mut tokenizer = load_tokenizer(folder, vocabulary)?;
        // Nothing is cut off silently, and padding is added here.
        tokenizer.with_padding(None);
        let uncut = tokenizer.with_truncation(None).map(|_| ());
        uncut.map_err(|error| Error::config("tokenizer.json: truncation", error, "null"))?;
        Ok(Self {
            model,
            tokenizer,
            width,
            longest: pooling.longest.map_or(longest, |own| own.min(longest)),
            pooling,
            device: device.clone(),
        })
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Tokens of the longest text, special ones included.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The vectors of texts. Texts of similar length share a batch.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a text that cannot be turned into tokens, [`Error::PromptTooLong`] for one that is too long,
    /// [`Error::Model`] if the model refuses it.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embedded, Error> {
        let ids = texts.iter().enumerate();
        let ids = ids.map(|(index, text)| self.encode(index, text.as_ref()));
        let ids: Vec<Vec<i64>> = ids.collect::<Result<_, _>>()?;
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&index| ids[index].len());
        let mut vectors = vec![Vec::new(); ids.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            // The last of a batch is the longest.
            let fits = |count: &usize| ids[rest[count - 1]].len() * count <= BATCH;
            let count = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (batch, after) = rest.split_at(count);
            let rows: Vec<&[i64]> = batch.iter().map(|&index| ids[index].as_slice()).collect();
            for (&index, vector) in batch.iter().zip(self.batch(&rows)?) {
                vectors[index] = vector;
            }
            rest = after;
        }
        Ok(Embedded {
            vectors,
            tokens: ids.iter().map(Vec::len).sum(),
        })
    }

    fn encode(&self, index: usize, text: &str) -> Result<Vec<i64>, Error> {
        let failed = |problem: String| {
            Error::from(crate::data::Error::Tokens {
                index,
                text: text.chars().take(40).collect(),
                problem,
            })
        };
        let mut whole = format!("{}{text}", self.pooling.prefix);
        if self.pooling.lower_case {
            whole = whole.to_lowercase();
        }
        let encoding = guard::catch(|| self.tokenizer.encode(whole, true));
        let encoding = encoding
            .map_err(|panic| failed(panic.message))?
            .map_err(|error| failed(error.to_string()))?;
        let ids: Vec<i64> = encoding.get_ids().iter().map(|&id| id.into()).collect();
        if ids.is_empty() {
            return Err(failed("it has no token".into()));
        }
        if ids.len() > self.longest {
            let (tokens, most) = (ids.len(), self.longest);
            return Err(Error::PromptTooLong { tokens, most });
        }
        Ok(ids)
    }

    fn batch(&self, rows: &[&[i64]]) -> Result<Vec<Vec<f32>>, Error> {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let shape = [rows.len(), longest];
        let filled = |token: fn(i64) -> i64| {
            let padded = rows.iter().flat_map(|row| {
                let padding = std::iter::repeat_n(0, longest - row.len());
                row.iter().map(move |&id| token(id)).chain(padding)
            });
            let data = TensorData::new(padded.collect::<Vec<i64>>(), shape);
            Tensor::<2, Int>::from_data(data, &self.device)
        };
        let mask = filled(|_| 1);
        let input = BertInput::new(filled(|id| id)).with_attention_mask(mask.clone());
        let hidden = match &self.model {
            Model::Bert(bert) => bert.forward(input)?.last_hidden_state,
            Model::ModernBert(bert) => bert.forward(input)?,
        };
        let vectors: Tensor<2> = match self.pooling.vector {
            TextVector::First => hidden.narrow(1, 0, 1).squeeze_dim(1),
            TextVector::Mean => {
                let mask: Tensor<3> = mask.float().cast(hidden.dtype()).unsqueeze_dim(2);
                let counts: Tensor<2> = mask.clone().sum_dim(1).squeeze_dim(1);
                let sums: Tensor<2> = (hidden * mask).sum_dim(1).squeeze_dim(1);
                sums / counts
            }
        };
        let values = vectors.try_to_vec_as::<f32>();
        let values = values.map_err(|error| burn_hf_models::Error::Input {
            name: "vectors",
            reason: error.to_string(),
        })?;
        let mut vectors: Vec<Vec<f32>> = values.chunks(self.width).map(<[f32]>::to_vec).collect();
        if self.pooling.normalize {
            vectors.iter_mut().for_each(|vector| normalize(vector));
        }
        Ok(vectors)
    }
}

/// To length 1; zeros stay.
fn normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&x| f64::from(x).powi(2)).sum();
    // As `torch.nn.functional.normalize`.
    let length = squares.sqrt().max(1e-12);
    for x in vector {
        *x = (f64::from(*x) / length) as f32;
    }
}
