//! `/classify`: classes, labels, numbers and tags of texts.

use serde_json::{Value, json};

use super::api_error::ApiError;
use super::fields::Fields;
use crate::predict::{Prediction, applying, number, tag_name};

/// Texts of a request at most: they are one batch.
const TEXTS: usize = 256;

/// What a body asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub model: Option<String>,
    /// Texts, or pairs of texts.
    pub texts: Vec<(String, Option<String>)>,
}

impl Wanted {
    /// Read a body, for a classifier of texts or of pairs.
    pub fn parse(body: &[u8], takes_pairs: bool) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let first = fields.texts("input", TEXTS)?;
        if first.is_empty() {
            let problem = "`input` is missing, expected a text, or a list of texts";
            return Err(ApiError::field("input", problem));
        }
        let second = fields.texts("second", TEXTS)?;
        let expected = if takes_pairs { first.len() } else { 0 };
        if second.len() != expected {
            let why = if takes_pairs {
                "the model was trained on pairs"
            } else {
                "the model was trained on single texts"
            };
            let problem = format!(
                "`second` has {} texts, expected {expected}: {why}",
                second.len()
            );
            return Err(ApiError::field("second", problem));
        }
        let model = fields.text("model")?;
        fields.ignore(&["user"]);
        fields.finish()?;
        let mut second = second.into_iter();
        let texts = first.into_iter().map(|first| (first, second.next()));
        Ok(Self {
            model,
            texts: texts.collect(),
        })
    }
}

/// The reply, in the form of vLLM's `/classify`; labels, numbers and tags have fields of their own.
pub(super) fn reply(model: &str, labels: &[String], found: &[Prediction], id: &str) -> Value {
    let classes = |index: usize, probabilities: &[f32]| {
        let best = probabilities
            .iter()
            .enumerate()
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        let label = best.and_then(|(place, _)| labels.get(place));
        json!({
            "index": index, "label": label, "probs": probabilities, "num_classes": labels.len(),
        })
    };
    let entry = |(index, found): (usize, &Prediction)| match found {
        Prediction::Classes(probabilities) => classes(index, probabilities),
        Prediction::Labels(probabilities) => json!({
            "index": index, "labels": applying(labels, probabilities), "probs": probabilities,
            "num_classes": labels.len(),
        }),
        Prediction::Number(found) => json!({"index": index, "number": number(*found)}),
        Prediction::Tags { words, tags } => {
            let tags: Vec<_> = tags.iter().map(|tag| tag_name(labels, *tag)).collect();
            json!({"index": index, "words": words, "tags": tags})
        }
        Prediction::Answer(text) => json!({"index": index, "text": text}),
    };
    let data: Vec<Value> = found.iter().enumerate().map(entry).collect();
    json!({
        "id": format!("classify-{id}"), "object": "list", "model": model, "labels": labels, "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_for_models_of_pairs() {
        let parse = |body: Value, pairs| Wanted::parse(body.to_string().as_bytes(), pairs);
        let wanted = parse(json!({"input": ["a", "b"]}), false).unwrap();
        assert_eq!(wanted.texts, [("a".into(), None), ("b".into(), None)]);
        let wanted = parse(json!({"input": "a", "second": "b", "model": "m"}), true).unwrap();
        assert_eq!(wanted.texts, [("a".into(), Some("b".into()))]);
        for (body, pairs) in [
            (json!({}), false),
            (json!({"input": []}), false),
            (json!({"input": "a"}), true),
            (json!({"input": "a", "second": "b"}), false),
            (json!({"input": ["a", "b"], "second": ["c"]}), true),
            (json!({"input": [1]}), false),
            (json!({"input": "a", "inputs": "b"}), false),
        ] {
            assert!(parse(body.clone(), pairs).is_err(), "{body}");
        }
    }

    #[test]
    fn the_label_is_that_of_the_largest_probability() {
        let labels = ["no".to_string(), "yes".to_string()];
        let found = [vec![0.25, 0.75], vec![0.5, 0.5]].map(Prediction::Classes);
        let reply = reply("m", &labels, &found, "1");
        assert_eq!(reply["data"][0]["label"], "yes");
        assert_eq!(reply["data"][1]["label"], "no");
        assert_eq!(reply["data"][1]["probs"], json!([0.5, 0.5]));
    }

    #[test]
    fn labels_numbers_and_tags_have_fields_of_their_own() {
        let labels = ["O".to_string(), "B-X".to_string()];
        let found = [
            Prediction::Labels(vec![0.25, 0.75]),
            Prediction::Number(2.5),
            Prediction::Tags {
                words: vec!["a".into(), "b".into()],
                tags: vec![Some(1), None],
            },
        ];
        let reply = reply("m", &labels, &found, "1");
        assert_eq!(reply["data"][0]["labels"], json!(["B-X"]));
        assert_eq!(reply["data"][1], json!({"index": 1, "number": 2.5}));
        assert_eq!(reply["data"][2]["tags"], json!(["B-X", null]));
    }
}
