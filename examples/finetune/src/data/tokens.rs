//! Tokenizers of model folders, and texts as tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_hf_models::gguf::GgufFile;
use programs::printing::{message, short};
use programs::{guard, reading};
use tokenizers::{EncodeInput, Encoding, Tokenizer, TruncationParams};

use super::error::Error;

const FILE: &str = "tokenizer.json";
/// Names of the padding token in BERT's and T5's vocabularies.
const PADDING: [&str; 2] = ["[PAD]", "<pad>"];
/// Characters of a text that a message shows.
pub(super) const SHOWN: usize = 40;

/// The tokenizer of a model folder: its `tokenizer.json`, or of a GGUF file: as its metadata say.
///
/// `vocabulary` is the model's number of embeddings.
///
/// ```no_run
/// use std::path::Path;
/// use finetune::data::load_tokenizer;
///
/// let tokenizer = load_tokenizer(Path::new("minilm"), 30_522)?;
/// assert!(tokenizer.get_vocab_size(true) <= 30_522);
/// # Ok::<(), finetune::data::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Missing`] without the file, [`Error::File`] if it is damaged or has tokens that the
/// model does not know.
pub fn load_tokenizer(folder: &Path, vocabulary: usize) -> Result<Tokenizer, Error> {
    let path = folder.join(FILE);
    let expected = "the model's tokenizer in the format of Hugging Face's `tokenizers` \
                    (`AutoTokenizer.from_pretrained(…).save_pretrained(…)` writes it)";
    let (path, bytes) = if GgufFile::is_named(folder) {
        let text = gguf(folder, |file| file.tokenizer_json())?;
        (folder.to_path_buf(), text.into_bytes())
    } else {
        let bytes = reading::bytes(&path).map_err(|source| Error::read(&path, source, expected))?;
        (path, bytes)
    };
    let refuse = |problem: &dyn std::fmt::Display| {
        Error::file(&path, format!("not a tokenizer: {}", message(problem)))
    };
    // The library panics on JSON that breaks off inside of a decoder or a normalizer, or that does not have their
    // fields.
    serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|error| refuse(&error))?;
    let tokenizer = guard::catch(|| Tokenizer::from_bytes(bytes))
        .map_err(|panic| refuse(&panic.message))?
        .map_err(|error| refuse(&error))?;
    if let Some(padding) = tokenizer.get_padding() {
        let table = Table::tokens(folder, vocabulary);
        table.refuse(padding.pad_id, "`padding.pad_id`")?;
    }
    let highest = tokenizer
        .get_vocab(true)
        .into_iter()
        .max_by_key(|(_, id)| *id);
    match highest {
        None => Err(Error::file(&path, "the vocabulary is empty")),
        Some((token, id)) if id as usize >= vocabulary => Err(Error::file(
            &path,
            format!(
                "token {id} (\"{}\") is unknown to the model, which has {vocabulary} embeddings: \
                 the tokenizer is of another model",
                short(&token)
            ),
        )),
        Some(_) => Ok(tokenizer),
    }
}

/// Something of a GGUF file.
pub(crate) fn gguf<T>(
    path: &Path,
    read: impl FnOnce(GgufFile) -> Result<T, burn_hf_models::Error>,
) -> Result<T, Error> {
    GgufFile::open(path).and_then(read).map_err(|error| {
        Error::file(
            path,
            match error {
                burn_hf_models::Error::Weights { reason, .. } => message(&reason),
                other => message(&other),
            },
        )
    })
}

/// A table of the model that a tokenizer's numbers are looked up in.
pub(crate) struct Table {
    file: PathBuf,
    entries: usize,
    what: &'static str,
}

impl Table {
    /// Of tokens.
    pub(crate) fn tokens(folder: &Path, entries: usize) -> Self {
        Self {
            file: folder.join(FILE),
            entries,
            what: "token",
        }
    }

    /// Of the segments that distinguish the texts of a pair.
    pub(crate) fn segments(folder: &Path, entries: usize) -> Self {
        Self {
            what: "type_id",
            ..Self::tokens(folder, entries)
        }
    }

    /// Check the numbers that a text became.
    pub(crate) fn check(&self, numbers: &[u32], text: &str) -> Result<(), Error> {
        match numbers.iter().max() {
            Some(&number) => {
                let place = || format!("the text `{}` (see `post_processor`)", short(text));
                self.refuse_with(number, place)
            }
            None => Ok(()),
        }
    }

    /// Check one number.
    fn refuse(&self, number: u32, place: &str) -> Result<(), Error> {
        self.refuse_with(number, || place.into())
    }

    fn refuse_with(&self, number: u32, place: impl FnOnce() -> String) -> Result<(), Error> {
        if (number as usize) < self.entries {
            return Ok(());
        }
        let (what, entries) = (self.what, self.entries);
        let problem = format!(
            "{}: found {what} {number}, expected one below {entries}, the entries of the model's table",
            place()
        );
        Err(Error::file(&self.file, problem))
    }
}

/// The tokens of one text or pair.
///
/// ```
/// use finetune::data::Tokens;
///
/// let tokens = Tokens { ids: vec![101, 7592, 102], types: vec![0, 0, 0] };
/// assert_eq!(tokens.ids.len(), tokens.types.len());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Index of each token in the vocabulary.
    pub ids: Vec<u32>,
    /// 1 in the second text of a pair where the tokenizer distinguishes them, otherwise 0.
    pub types: Vec<u32>,
}

/// Texts as tokens, made once for all epochs.
///
/// ```
/// use finetune::data::Encoded;
///
/// let encoded = Encoded { items: vec!["a", "b"], truncated: 1, unknown: 0 };
/// assert_eq!(encoded.to_string(), "1 of 2 texts were cut to the longest input");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded<I> {
    /// One for each example, in their order.
    pub items: Vec<I>,
    /// Texts that were longer than the batcher's `max_length` and lost their end.
    pub truncated: usize,
    /// Texts with a word or character that is not in the vocabulary.
    pub unknown: usize,
}

impl<I> Encoded<I> {
    pub(super) fn map<J>(self, f: impl FnMut(I) -> J) -> Encoded<J> {
        Encoded {
            items: self.items.into_iter().map(f).collect(),
            truncated: self.truncated,
            unknown: self.unknown,
        }
    }
}

impl<I> std::fmt::Display for Encoded<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.items.len();
        let parts = [
            (self.truncated, "were cut to the longest input"),
            (self.unknown, "have unknown words"),
        ];
        let parts = parts.iter().filter(|(some, _)| *some > 0);
        let parts: Vec<_> = parts
            .map(|(some, what)| format!("{some} of {count} texts {what}"))
            .collect();
        if parts.is_empty() {
            write!(f, "{count} texts fit")
        } else {
            f.write_str(&parts.join(", "))
        }
    }
}

/// A tokenizer set to a longest input, without padding.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    tokenizer: Arc<Tokenizer>,
    pub(super) padding: u32,
    unknown: Option<u32>,
}

impl Encoder {
    pub(super) fn new(mut tokenizer: Tokenizer, max_length: usize) -> Result<Self, Error> {
        let refuse = |problem: String| Error::option("max_length", "another length", problem);
        // A pair needs room for its special tokens and one of each text.
        let shortest = 2 + special_tokens(&tokenizer, true);
        if max_length < shortest {
            let expected = format!("at least {shortest} tokens for this tokenizer");
            return Err(Error::option("max_length", expected, max_length));
        }
        let padding = tokenizer.get_padding().map(|padding| padding.pad_id);
        let named = || PADDING.iter().find_map(|name| tokenizer.token_to_id(name));
        let padding = padding.or_else(named).unwrap_or(0);
        let truncation = TruncationParams {
            max_length,
            ..TruncationParams::default()
        };
        // Files carry the settings of their last use: MiniLM's pads every text to 128 tokens.
        tokenizer.with_padding(None);
        let set = tokenizer.with_truncation(Some(truncation));
        set.map_err(|source| refuse(source.to_string()))?;
        let unknown = ["[UNK]", "<unk>"];
        let unknown = unknown.iter().find_map(|name| tokenizer.token_to_id(name));
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            padding,
            unknown,
        })
    }

    /// For texts that come as words: what is between spaces begins with a space for tokenizers of bytes, as with
    /// `add_prefix_space=True` in Python.
    pub(super) fn for_words(tokenizer: Tokenizer, max_length: usize) -> Result<Self, Error> {
        let refuse = |problem: String| Error::option("model", "a tokenizer for words", problem);
        let text = tokenizer
            .to_string(false)
            .map_err(|it| refuse(it.to_string()))?;
        let mut settings: serde_json::Value =
            serde_json::from_str(&text).map_err(|it| refuse(it.to_string()))?;
        if !begin_with_space(&mut settings["pre_tokenizer"]) {
            return Self::new(tokenizer, max_length);
        }
        let changed = guard::catch(|| settings.to_string().parse::<Tokenizer>());
        let changed = changed.map_err(|panic| refuse(panic.message))?;
        Self::new(changed.map_err(|it| refuse(it.to_string()))?, max_length)
    }

    /// Tokens of texts or pairs.
    pub(super) fn encode<'t>(
        &self,
        texts: impl Iterator<Item = (&'t str, Option<&'t str>)>,
    ) -> Result<Encoded<Tokens>, Error> {
        let texts: Vec<_> = texts.collect();
        let inputs = texts.iter().map(|&(first, second)| match second {
            Some(second) => EncodeInput::from((first, second)),
            None => EncodeInput::from(first),
        });
        let shown = |index: usize| texts.get(index).map_or("", |text| text.0).to_string();
        let encodings = self.encodings(inputs.collect(), shown)?;
        Ok(encodings.map(|encoding| tokens(&encoding)))
    }

    /// Tokens of texts in words, and of which word each is.
    pub(super) fn encode_words(&self, texts: &[&[String]]) -> Result<Encoded<WordTokens>, Error> {
        let inputs = texts.iter().map(|words| EncodeInput::from(words.to_vec()));
        let shown = |index: usize| {
            texts
                .get(index)
                .map_or(String::new(), |words| words.join(" "))
        };
        let encodings = self.encodings(inputs.collect(), shown)?;
        Ok(encodings.map(|encoding| {
            let words = encoding.get_word_ids().iter();
            let words = words.map(|word| word.map(|word| word as usize));
            WordTokens {
                tokens: tokens(&encoding),
                words: words.collect(),
            }
        }))
    }

    /// What the tokenizer makes of inputs; `shown` is the text of one of them.
    fn encodings(
        &self,
        inputs: Vec<EncodeInput<'_>>,
        shown: impl Fn(usize) -> String,
    ) -> Result<Encoded<Encoding>, Error> {
        let refuse = |index: usize, problem: String| Error::Tokens {
            index,
            text: shown(index).chars().take(SHOWN).collect(),
            problem,
        };
        let encodings = guard::catch(|| self.tokenizer.encode_batch(inputs, true));
        let encodings = encodings
            .map_err(|panic| refuse(0, panic.message))?
            .map_err(|source| refuse(0, source.to_string()))?;
        if let Some(index) = encodings.iter().position(|encoding| encoding.is_empty()) {
            return Err(refuse(index, "no tokens".into()));
        }
        let count = |of: &dyn Fn(&Encoding) -> bool| {
            encodings.iter().filter(|encoding| of(encoding)).count()
        };
        let has_unknown = |id: &u32| Some(*id) == self.unknown;
        Ok(Encoded {
            truncated: count(&|encoding| !encoding.get_overflowing().is_empty()),
            unknown: count(&|encoding| encoding.get_ids().iter().any(has_unknown)),
            items: encodings,
        })
    }
}

/// The tokens of a text in words.
pub(super) struct WordTokens {
    pub tokens: Tokens,
    /// The word of each token; special tokens have none.
    pub words: Vec<Option<usize>>,
}

fn tokens(encoding: &Encoding) -> Tokens {
    Tokens {
        ids: encoding.get_ids().to_vec(),
        types: encoding.get_type_ids().to_vec(),
    }
}

/// Let tokenizers of bytes put a space before each text; says whether there is one that did not.
fn begin_with_space(settings: &mut serde_json::Value) -> bool {
    const FIELD: &str = "add_prefix_space";
    if settings["type"] == "ByteLevel" {
        let changes = settings[FIELD] != true;
        settings[FIELD] = true.into();
        return changes;
    }
    let inner = settings.get_mut("pretokenizers");
    let inner = inner.and_then(serde_json::Value::as_array_mut);
    let mut changes = false;
    for settings in inner.into_iter().flatten() {
        changes |= begin_with_space(settings);
    }
    changes
}

/// Tokens that the tokenizer adds to one text, or to a pair.
fn special_tokens(tokenizer: &Tokenizer, pair: bool) -> usize {
    use tokenizers::PostProcessor;
    let processor = tokenizer.get_post_processor();
    processor.map_or(0, |processor| processor.added_tokens(pair))
}

/// Rows of ids as one table, filled up with `padding` to the longest; and where they are real.
pub(super) fn padded<'t>(
    rows: impl Iterator<Item = &'t [u32]> + Clone,
    padding: i64,
) -> (Vec<i64>, Vec<i64>, [usize; 2]) {
    let shape = [
        rows.clone().count(),
        rows.clone().map(<[u32]>::len).max().unwrap_or(0),
    ];
    let fill = |value: &dyn Fn(u32) -> i64, padding: i64| {
        let rows = rows.clone().flat_map(|row| {
            let rest = std::iter::repeat_n(padding, shape[1] - row.len());
            row.iter().map(|&id| value(id)).chain(rest)
        });
        rows.collect()
    };
    (fill(&i64::from, padding), fill(&|_| 1, 0), shape)
}
