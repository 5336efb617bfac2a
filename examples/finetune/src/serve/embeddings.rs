//! `/v1/embeddings`: vectors of texts.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::api_error::ApiError;
use super::fields::{Fields, wrong};
use crate::embedding::Embedded;

/// Texts of a request at most, as in OpenAI's interface.
const TEXTS: usize = 2048;

/// What a body asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub model: Option<String>,
    pub texts: Vec<String>,
    /// Whether vectors are written as bytes in Base64, which the Python client asks for.
    pub as_bytes: bool,
}

impl Wanted {
    /// Read a body, for an encoder whose vectors have so many numbers.
    pub fn parse(body: &[u8], width: usize) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let texts = fields.texts("input", TEXTS)?;
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            let problem =
                "`input` is missing or holds an empty text, expected a text, or a list of texts";
            return Err(ApiError::field("input", problem));
        }
        let model = fields.text("model")?;
        const FORMAT: &str = "encoding_format";
        let as_bytes = match fields.text(FORMAT)?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => return Err(wrong(FORMAT, &json!(other), "float or base64")),
        };
        fields.neutral("dimensions", &[json!(width)])?;
        fields.ignore(&["user"]);
        fields.finish()?;
        Ok(Self {
            model,
            texts,
            as_bytes,
        })
    }
}

/// The reply.
pub(super) fn reply(model: &str, embedded: &Embedded, as_bytes: bool) -> Value {
    let vector = |vector: &Vec<f32>| {
        if as_bytes {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            json!(BASE64.encode(&bytes))
        } else {
            json!(vector)
        }
    };
    let vectors = embedded.vectors.iter().enumerate();
    let data: Vec<Value> = vectors
        .map(|(index, found)| json!({"object": "embedding", "index": index, "embedding": vector(found)}))
        .collect();
    json!({
        "object": "list", "data": data, "model": model,
        "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
    })
}
