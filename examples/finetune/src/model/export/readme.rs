//! How a folder is loaded in Python.

use std::path::Path;

use super::full::WEIGHTS;
use super::{Destination, HEAD};
use crate::config::{AdapterKind, Architecture, Pooling};
use crate::data::{TextExample, question};
use crate::model::{EncoderSizes, normalization};
use crate::problem::Problem;

/// What reads a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A class of `transformers` with a head on the whole text.
    Classifier,
    /// A class of `transformers` that gives a tag to each token.
    Tags,
    /// An encoder, with a head on the mean of its tokens.
    Mean,
    /// A class of `transformers` that classifies images.
    Images(Architecture),
    /// A class of `transformers` that answers a text with another one.
    Words,
    /// A class of `transformers` that goes on with a text.
    Language,
    /// PyTorch, with your own layers.
    Layers,
}

impl Reader {
    /// What reads a model of this kind.
    pub fn of(architecture: Architecture, pooling: Pooling, problem: Problem) -> Self {
        match (architecture, pooling) {
            (Architecture::Bert, _) if problem == Problem::Tokens => Self::Tags,
            (Architecture::Bert, Pooling::Pooler) => Self::Classifier,
            (Architecture::Bert, Pooling::Mean) => Self::Mean,
            (Architecture::Vit | Architecture::Dinov2, _) => Self::Images(architecture),
            (Architecture::T5, _) => Self::Words,
            (Architecture::Causal, _) => Self::Language,
            (Architecture::Mlp, _) => Self::Layers,
        }
    }
}

/// What reads the folder, in a sentence, and the program that does.
pub(super) fn in_python(reader: Reader, folder: &Path, to: &Destination<'_>) -> String {
    let kind = to.config.adapter.kind;
    let what = match (reader, kind) {
        (Reader::Mean, AdapterKind::Full) => format!(
            "The head reads the mean of the text's tokens. `transformers` has no class for that: this folder \
             holds the encoder (`AutoModel`), and `{HEAD}` the head. `AutoModelForSequenceClassification` would put \
             a new, random head on another vector. So load it like this:"
        ),
        (Reader::Mean, _) => format!(
            "The head reads the mean of the text's tokens. `transformers` and PEFT have no class for that: the \
             adapter is one of the encoder (`AutoModel`, task FEATURE_EXTRACTION), and `{HEAD}` holds the head. On \
             `AutoModelForSequenceClassification` it would compute something else. So load it like this:"
        ),
        (Reader::Layers, _) => "Linear layers with ReLU between them:".into(),
        (Reader::Language, kind)
            if kind != AdapterKind::Full
                && to
                    .base()
                    .is_some_and(burn_hf_models::gguf::GgufFile::is_named) =>
        {
            format!(
                "The base is a GGUF file. PEFT needs its values as a Hugging Face folder, which \
                 `finetune merge {} --out base` writes; then:",
                to.base().unwrap_or(Path::new("")).display()
            )
        }
        (_, AdapterKind::Full) => "The classes of `transformers` load it:".into(),
        _ => "PEFT loads it on the class of `transformers` that it was trained as:".into(),
    };
    let code = match reader {
        Reader::Classifier => classifier(folder, to),
        Reader::Tags => tags(folder, to),
        Reader::Mean => mean(folder, to),
        Reader::Images(architecture) => images(architecture, folder, to),
        Reader::Words => words(folder, to),
        Reader::Language => language(folder, to),
        Reader::Layers => layers(folder),
    };
    format!("{what}\n\n```python\n{code}```\n")
}

/// A string of Python.
fn string(text: impl AsRef<str>) -> String {
    serde_json::to_string(text.as_ref()).unwrap_or_default()
}

fn path(path: &Path) -> String {
    string(path.display().to_string())
}

fn base(to: &Destination<'_>) -> String {
    path(to.base().unwrap_or(Path::new("")))
}

/// A list of Python.
fn labels(to: &Destination<'_>) -> String {
    let labels: Vec<String> = to.labels.iter().map(string).collect();
    format!("[{}]", labels.join(", "))
}

/// From a text to `inputs`, as they were in the training.
fn tokens(folder: &str, to: &Destination<'_>) -> String {
    format!(
        r#"tokenizer = Tokenizer.from_file({folder} + "/tokenizer.json")
tokenizer.enable_truncation({length})
tokenizer.enable_padding()
texts = tokenizer.encode_batch(["A text."])  # or pairs: [("One text.", "Another one.")]
inputs = {{
    "input_ids": torch.tensor([text.ids for text in texts]),
    "attention_mask": torch.tensor([text.attention_mask for text in texts]),
    "token_type_ids": torch.tensor([text.type_ids for text in texts]),
}}
"#,
        length = to.config.max_length(),
    ) + without_segments(to)
}

/// A line for models that do not distinguish the texts of a pair.
fn without_segments(to: &Destination<'_>) -> &'static str {
    let sizes = to.base().and_then(|base| EncoderSizes::of(base).ok());
    match sizes {
        Some(sizes) if sizes.model_type != "bert" => "del inputs[\"token_type_ids\"]\n",
        _ => "",
    }
}

/// The lines that print what logits `[texts, outputs]` say; `names` is a list of Python.
fn shown(problem: Problem, names: &str) -> String {
    match problem {
        Problem::Regression => "print(logits[:, 0].tolist())\n".into(),
        Problem::MultiLabel => format!(
            "print([[label for label, p in zip({names}, row) if p > 0.5] for row in logits.sigmoid().tolist()])\n"
        ),
        _ => format!("print([{names}[row] for row in logits.argmax(-1).tolist()])\n"),
    }
}

/// Names of labels, and what they are of, for a class of `transformers`.
fn of_labels(to: &Destination<'_>) -> String {
    let problem = match to.problem() {
        Problem::SingleLabel => String::new(),
        problem => problem
            .name()
            .map(|name| format!(", problem_type=\"{name}\""))
            .unwrap_or_default(),
    };
    format!("num_labels=len(labels), id2label=dict(enumerate(labels)){problem}")
}

/// A tag for each word, by its first token.
fn tags(folder: &Path, to: &Destination<'_>) -> String {
    let prefix = match to.base().and_then(|base| EncoderSizes::of(base).ok()) {
        Some(sizes) if ["roberta", "modernbert"].contains(&sizes.model_type.as_str()) => {
            ", add_prefix_space=True"
        }
        _ => "",
    };
    let more = format!(", {}, ignore_mismatched_sizes=True", of_labels(to));
    let names = match to.config.adapter.kind {
        AdapterKind::Full => String::new(),
        _ => format!("labels = {}\n", labels(to)),
    };
    format!(
        r#"import torch
{peft}from transformers import AutoModelForTokenClassification, AutoTokenizer

{names}{load}tokenizer = AutoTokenizer.from_pretrained(base{prefix})
texts = [["A", "text", "."]]  # words
inputs = tokenizer(
    texts, is_split_into_words=True, truncation=True, max_length={length}, padding=True, return_tensors="pt"
)
with torch.no_grad():
    logits = model(**inputs).logits
for number, tags in enumerate(logits.argmax(-1).tolist()):
    words = inputs.word_ids(number)
    first = [word is not None and word not in words[:place] for place, word in enumerate(words)]
    print([model.config.id2label[tag] for tag, is_first in zip(tags, first) if is_first])
"#,
        peft = peft(to),
        load = load("AutoModelForTokenClassification", &more, folder, to),
        length = to.config.max_length(),
    )
}

fn classifier(folder: &Path, to: &Destination<'_>) -> String {
    let end = format!(
        "with torch.no_grad():\n    logits = model(**inputs).logits\n{}",
        shown(to.problem(), "list(model.config.id2label.values())")
    );
    let folder = path(folder);
    if to.config.adapter.kind == AdapterKind::Full {
        let tokens = tokens("folder", to);
        return format!(
            r#"import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

folder = {folder}
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
{tokens}{end}"#
        );
    }
    let (base, labels, tokens) = (base(to), labels(to), tokens("base", to));
    format!(
        r#"import torch
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

base, folder = {base}, {folder}
labels = {labels}
model = AutoModelForSequenceClassification.from_pretrained(
    base, {heads}, ignore_mismatched_sizes=True
)
model = PeftModel.from_pretrained(model, folder).eval()
{tokens}{end}"#,
        heads = of_labels(to),
    )
}

fn mean(folder: &Path, to: &Destination<'_>) -> String {
    let (labels, folder) = (labels(to), path(folder));
    let (imports, load, at) = match to.config.adapter.kind {
        AdapterKind::Full => (
            "",
            format!(
                "folder = {folder}\nmodel = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()"
            ),
            "folder",
        ),
        _ => (
            "from peft import PeftModel\n",
            format!(
                "base, folder = {}, {folder}\nmodel = AutoModel.from_pretrained(base, add_pooling_layer=False)\n\
                 model = PeftModel.from_pretrained(model, folder).eval()",
                base(to)
            ),
            "base",
        ),
    };
    let encode = match to.config.adapter.kind {
        // PEFT leaves the segments of pairs out here.
        kind if kind.has_virtual_tokens() => format!(
            r#"virtual = {virtual_tokens}
def behind_prompt(values, first):
    return torch.cat([torch.full((len(texts), virtual), first), values], 1)
with torch.no_grad():
    own = model.get_input_embeddings()(inputs["input_ids"])
    tokens = model.get_base_model()(
        inputs_embeds=torch.cat([model.get_prompt(len(texts)).to(own), own], 1),
        attention_mask=behind_prompt(inputs["attention_mask"], 1),
        token_type_ids=behind_prompt(inputs["token_type_ids"], 0),
    ).last_hidden_state[:, virtual:]
"#,
            virtual_tokens = to.config.adapter.virtual_tokens,
        ),
        _ => "with torch.no_grad():\n    tokens = model(**inputs).last_hidden_state\n".into(),
    };
    let tokens = tokens(at, to);
    format!(
        r#"import torch
{imports}from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModel

{load}
head = load_file(folder + "/{HEAD}")
labels = {labels}
{tokens}{encode}mask = inputs["attention_mask"].unsqueeze(-1)
vectors = (tokens * mask).sum(1) / mask.sum(1)
logits = vectors @ head["classifier.weight"].T + head["classifier.bias"]
{end}"#,
        end = shown(to.problem(), "labels"),
    )
}

/// The lines that load an adapter on its base, or a whole model, as `class`.
fn load(class: &str, more: &str, folder: &Path, to: &Destination<'_>) -> String {
    let folder = path(folder);
    match to.config.adapter.kind {
        AdapterKind::Full => {
            format!("base = folder = {folder}\nmodel = {class}.from_pretrained(folder).eval()\n")
        }
        _ => {
            let is_gguf = to
                .base()
                .is_some_and(burn_hf_models::gguf::GgufFile::is_named);
            let base = if is_gguf { string("base") } else { base(to) };
            format!(
                "base, folder = {base}, {folder}\nmodel = {class}.from_pretrained(base{more})\n\
                 model = PeftModel.from_pretrained(model, folder).eval()\n"
            )
        }
    }
}

fn peft(to: &Destination<'_>) -> &'static str {
    match to.config.adapter.kind {
        AdapterKind::Full => "",
        _ => "from peft import PeftModel\n",
    }
}

fn images(architecture: Architecture, folder: &Path, to: &Destination<'_>) -> String {
    let (mean, deviation) = normalization(to.base(), architecture).unwrap_or(([0.5; 3], [0.5; 3]));
    let size = to
        .config
        .data
        .image_size
        .map_or("model.config.image_size".into(), |size| size.to_string());
    let names = match to.config.adapter.kind {
        AdapterKind::Full => String::new(),
        _ => format!("labels = {}\n", labels(to)),
    };
    let more =
        ", num_labels=len(labels), id2label=dict(enumerate(labels)), ignore_mismatched_sizes=True";
    let load = load("AutoModelForImageClassification", more, folder, to);
    let more = match architecture {
        Architecture::Vit => ", interpolate_pos_encoding=True",
        _ => "",
    };
    format!(
        r#"import torch
{peft}from transformers import AutoModelForImageClassification

{names}{load}size = {size}
pictures = torch.rand(1, 3, size, size)  # red, green and blue from 0 to 1, scaled to this size by bicubic interpolation
channels = lambda values: torch.tensor(values)[:, None, None]
pixels = (pictures - channels({mean:?})) / channels({deviation:?})
with torch.no_grad():
    logits = model(pixel_values=pixels{more}).logits
print([model.config.id2label[row] for row in logits.argmax(-1).tolist()])
"#,
        peft = peft(to),
    )
}

fn words(folder: &Path, to: &Destination<'_>) -> String {
    let asked = to
        .config
        .task()
        .map(|task| question(task, to.labels, &TextExample::new("A text.", 0)));
    format!(
        r#"import torch
{peft}from tokenizers import Tokenizer
from transformers import AutoModelForSeq2SeqLM

{load}tokenizer = Tokenizer.from_file(base + "/tokenizer.json")
ids = tokenizer.encode({asked}).ids
with torch.no_grad():
    answer = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=16)
print(tokenizer.decode(answer[0].tolist()))
"#,
        peft = peft(to),
        load = load("AutoModelForSeq2SeqLM", "", folder, to),
        asked = string(asked.unwrap_or_default()),
    )
}

fn language(folder: &Path, to: &Destination<'_>) -> String {
    let is_plain = to.config.task.is_some_and(|task| task.is_plain());
    let ids = if is_plain {
        r#"inputs = tokenizer("A text", return_tensors="pt")"#
    } else {
        r#"messages = [{"role": "user", "content": "A question?"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")"#
    };
    format!(
        r#"import torch
{peft}from transformers import AutoModelForCausalLM, AutoTokenizer

{load}tokenizer = AutoTokenizer.from_pretrained(base)
{ids}
with torch.no_grad():
    answer = model.generate(**inputs, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"#,
        peft = peft(to),
        load = load("AutoModelForCausalLM", "", folder, to),
    )
}

fn layers(folder: &Path) -> String {
    let folder = path(folder);
    format!(
        r#"import torch
from safetensors.torch import load_file

folder = {folder}
weights = load_file(folder + "/{WEIGHTS}")
count = len(weights) // 2

def logits(pixels):  # [pictures, 3, height, width], normalised
    x = pixels.flatten(1)
    for i in range(count):
        x = torch.nn.functional.linear(x, weights[f"layers.{{i}}.weight"], weights[f"layers.{{i}}.bias"])
        x = torch.relu(x) if i + 1 < count else x
    return x
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn of(kind: AdapterKind, reader: Reader, names: &[&str]) -> String {
        let mut config = Config::default();
        config.adapter.kind = kind;
        config.model.folder = Some("base".into());
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let to = Destination::new(Path::new("runs/a"), &config, &names);
        in_python(reader, Path::new("runs/a/adapter"), &to)
    }

    #[test]
    fn classes_and_folders_are_strings_of_python() {
        let text = of(
            AdapterKind::Lora,
            Reader::Classifier,
            &["a\"b", "c\\", "d\n"],
        );
        assert!(
            text.contains(r#"labels = ["a\"b", "c\\", "d\n"]"#),
            "{text}"
        );
        assert!(
            text.contains(r#"base, folder = "base", "runs/a/adapter""#),
            "{text}"
        );
    }

    #[test]
    fn only_the_mean_has_a_head_of_its_own() {
        for kind in [
            AdapterKind::Lora,
            AdapterKind::Prompt,
            AdapterKind::PTuning,
            AdapterKind::Full,
        ] {
            let text = of(kind, Reader::Mean, &["a", "b"]);
            assert!(
                text.contains(HEAD) && text.contains("AutoModel.from"),
                "{text}"
            );
            let text = of(kind, Reader::Classifier, &["a", "b"]);
            assert!(!text.contains(HEAD), "{text}");
        }
    }
}
