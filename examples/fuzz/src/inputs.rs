//! The inputs that the cases start from: small models, tokenizers, tables, conversations and pictures.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

/// The index of a model of one shard.
pub fn index(bytes: &[u8]) -> Result<Value> {
    let bad = || Error::new(ErrorKind::InvalidData, "not a safetensors file");
    let length = bytes
        .get(..8)
        .and_then(|start| start.try_into().ok())
        .ok_or_else(bad)?;
    let length = u64::from_le_bytes(length) as usize;
    let header = bytes.get(8..8 + length).ok_or_else(bad)?;
    let header: Value = serde_json::from_slice(header)?;
    let names = header.as_object().ok_or_else(bad)?.keys();
    let names = names.filter(|name| *name != "__metadata__");
    let map: serde_json::Map<String, Value> = names
        .map(|name| (name.clone(), json!("a.safetensors")))
        .collect();
    Ok(json!({"metadata": {"total_size": bytes.len()}, "weight_map": map}))
}

/// A byte-level BPE of 100 tokens or fewer.
pub fn byte_level_tokens() -> Value {
    let letters = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
    let all = letters
        .chain(["ab", "abc", "<end>"].map(String::from))
        .enumerate();
    let vocabulary: serde_json::Map<String, Value> =
        all.map(|(id, token)| (token, json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 28, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"], ["ab", "c"]]},
    })
}

/// A small BERT with a tokenizer, and a table of texts.
pub fn texts(fixtures: &Path, folder: &Path) -> Result<()> {
    let model = folder.join("model");
    fs::create_dir_all(&model)?;
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixtures.join("bert").join(name), model.join(name))?;
    }
    fs::write(model.join("tokenizer.json"), tokenizer().to_string())?;
    fs::write(folder.join("texts.csv"), table("csv"))
}

pub fn table(ending: &str) -> String {
    let rows = (0..36usize).map(|row| {
        let class = ["alpha", "beta", "gamma"][row % 3];
        (format!("w{} w{} n{row}", row % 3, 3 + row % 40), class)
    });
    let header = match ending {
        "csv" => "text,label\n",
        "tsv" => "text\tlabel\n",
        _ => "",
    };
    let lines = rows.map(|(text, label)| match ending {
        "csv" => format!("{text},{label}\n"),
        "tsv" => format!("{text}\t{label}\n"),
        _ => format!("{}\n", json!({"text": text, "label": label})),
    });
    header.to_string() + &lines.collect::<String>()
}

fn tokenizer() -> Value {
    let special = ["<pad>", "</s>", "<unk>", "[CLS]", "[SEP]"].map(String::from);
    let words = (0..60).map(|word| format!("w{word}"));
    let all = special.into_iter().chain(words).enumerate();
    let vocabulary: serde_json::Map<String, Value> =
        all.map(|(id, word)| (word, json!(id))).collect();
    json!({
        "version": "1.0",
        "truncation": {"max_length": 12, "stride": 0, "strategy": "LongestFirst", "direction": "Right"},
        "padding": {
            "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
        },
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "BertProcessing", "sep": ["[SEP]", 4], "cls": ["[CLS]", 3]
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary},
    })
}

/// A template with the constructs that models' templates have.
const CHAT_TEMPLATE: &str = "\
{%- macro turn(role) %}<|im_start|>{{ role }}
{% endmacro %}
{%- set ns = namespace(count=0) %}
{%- for message in messages %}
    {{- turn(message.role) }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
            {{- message['content'].split('</think>')[-1].lstrip('\\n') }}
            {%- for call in message.tool_calls %}
                {{- '\\n' + (call.function | tojson(indent=2)) }}
            {%- endfor %}
            {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
    {%- set ns.count = ns.count + 1 %}
{%- endfor %}
{%- if ns.count > 99 %}{{ raise_exception('too long, on ' ~ strftime_now('%d %b %Y')) }}{% endif %}
{%- if add_generation_prompt %}{{ turn('assistant') }}{% endif %}
";

/// Conversations in every format, and a tokenizer with a template.
pub fn chats(root: &Path, folder: &Path) -> Result<()> {
    let fixtures = root.join("examples/finetune/tests/conversation/fixtures");
    fs::create_dir_all(folder.join("model"))?;
    for (from, to) in [
        ("bytes/tokenizer.json", "model/tokenizer.json"),
        ("bytes/tokenizer_config.json", "model/tokenizer_config.json"),
        ("messages.parquet", "chats.parquet"),
    ] {
        fs::copy(fixtures.join(from), folder.join(to))?;
    }
    fs::write(folder.join("model/chat_template.jinja"), CHAT_TEMPLATE)?;
    let roles = [["role", "content"], ["from", "value"]];
    let [chats, turns] = roles.map(|[role, content]| {
        let rows = (0..9).map(|row| {
            let call = json!([{"function": {"name": "f", "arguments": "{\"x\": 1}"}}]);
            json!({"messages": [
                {role: "system", content: "Be brief."},
                {role: "user", content: format!("What is {row} plus 5?")},
                {role: "assistant", content: [{"type": "text", "text": "9"}], "tool_calls": call},
                {role: "tool", content: "9"},
                {role: "assistant", content: format!("Grüße {row} \u{1F600}")},
            ]})
        });
        rows.collect::<Vec<_>>()
    });
    let lines = |rows: &[Value]| {
        rows.iter()
            .map(|row| format!("{row}\n"))
            .collect::<String>()
    };
    fs::write(folder.join("chats.jsonl"), lines(&chats))?;
    fs::write(folder.join("turns.jsonl"), lines(&turns))?;
    fs::write(
        folder.join("chats.json"),
        json!({"version": 1, "data": chats}).to_string(),
    )
}

/// Pictures of two classes.
pub fn pictures(folder: &Path) -> Result<()> {
    for (class, base) in [("dark", 40u8), ("light", 180)] {
        fs::create_dir_all(folder.join("pictures").join(class))?;
        for number in 0..10u8 {
            let picture = RgbImage::from_fn(8, 8, |x, y| {
                Rgb([base + (x * 7 + y * 3) as u8 % 40, base, base + number])
            });
            let path = folder.join(format!("pictures/{class}/{number}.png"));
            picture.save(path).map_err(Error::other)?;
        }
    }
    Ok(())
}
