//! Changes of inputs, by format.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// Change a file, by the ending of its name.
pub fn file(name: &str, bytes: &[u8], generator: &mut ChaCha8Rng) -> Vec<u8> {
    // Now and then without regard to the format.
    if generator.random_range(0..6) == 0 {
        return any(bytes, generator);
    }
    let ending = name.rsplit('.').next().unwrap_or_default();
    match ending {
        "json" => json_text(bytes, generator),
        "safetensors" => safetensors(bytes, generator),
        "csv" | "tsv" | "jsonl" | "toml" | "jinja" => lines(bytes, generator),
        _ => any(bytes, generator),
    }
}

fn pick<'a, T>(values: &'a [T], generator: &mut ChaCha8Rng) -> &'a T {
    &values[generator.random_range(0..values.len())]
}

/// Flip, cut, repeat, insert.
fn any(bytes: &[u8], generator: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..generator.random_range(1..4) {
        let at = generator.random_range(0..bytes.len().max(1));
        match generator.random_range(0..7) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << generator.random_range(0..8),
            2 if !bytes.is_empty() => bytes[at] = generator.random_range(0..=255),
            3 => {
                let more = vec![generator.random_range(0..=255); generator.random_range(1..40)];
                bytes.splice(at..at, more);
            }
            4 => {
                let tail = bytes[at..].to_vec();
                bytes.extend(tail.into_iter().take(1000));
            }
            5 => bytes.clear(),
            _ => {
                let starts: [&[u8]; 5] = [
                    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                    b"<!doctype html><html>404</html>",
                    b"PK\x03\x04",
                    b"\xff\xfea\0b\0",
                    b"\x1f\x8b\x08",
                ];
                bytes = pick(&starts, generator).to_vec();
            }
        }
    }
    bytes
}

/// A value that a field may not expect.
fn value(generator: &mut ChaCha8Rng) -> Value {
    match generator.random_range(0..16) {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(-1),
        3 => json!(1),
        4 => json!(i64::MAX),
        5 => json!(u64::MAX),
        6 => json!(1u64 << generator.random_range(1..63)),
        7 => json!(1e39),
        8 => json!(-0.5),
        9 => json!(""),
        10 => json!("x".repeat(generator.random_range(1..5000))),
        11 => json!(true),
        12 => json!([]),
        13 => json!({}),
        14 => json!([[1, "a", null], {"a": []}]),
        _ => json!(generator.random_range(-100_000..100_000)),
    }
}

/// All places in a document, as pointers.
fn places(value: &Value, at: String, all: &mut Vec<String>) {
    all.push(at.clone());
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(inner, format!("{at}/{key}"), all);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places(inner, format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

fn change_json(document: &mut Value, generator: &mut ChaCha8Rng) {
    for _ in 0..generator.random_range(1..3) {
        let mut all = Vec::new();
        places(document, String::new(), &mut all);
        let at = pick(&all, generator).clone();
        let new = value(generator);
        match generator.random_range(0..5) {
            // Take a field out.
            0 => {
                if let Some((parent, key)) = at.rsplit_once('/')
                    && let Some(Value::Object(fields)) = document.pointer_mut(parent)
                {
                    fields.remove(key);
                }
            }
            // Add one.
            1 => {
                if let Some(Value::Object(fields)) = document.pointer_mut(&at) {
                    fields.insert(format!("new{}", generator.random_range(0..9)), new);
                }
            }
            // A number near the old one.
            2 => {
                if let Some(place) = document.pointer_mut(&at)
                    && let Some(number) = place.as_i64()
                {
                    let factor = *pick(&[-1, 2, 3, 1000, 1 << 20, 1 << 40], generator);
                    *place = json!(number.saturating_mul(factor).saturating_add(1));
                }
            }
            _ => {
                if let Some(place) = document.pointer_mut(&at) {
                    *place = new;
                }
            }
        }
    }
}

fn json_text(bytes: &[u8], generator: &mut ChaCha8Rng) -> Vec<u8> {
    let Ok(mut document) = serde_json::from_slice::<Value>(bytes) else {
        return any(bytes, generator);
    };
    change_json(&mut document, generator);
    let text = document.to_string();
    match generator.random_range(0..12) {
        0 => format!("\u{feff}{text}").into_bytes(),
        1 => text.replacen("\":", "\":\u{0}", 1).into_bytes(),
        2 => text.replace("true", "NaN").into_bytes(),
        // A field twice.
        3 => text.replacen('{', "{\"model_type\":3,", 1).into_bytes(),
        _ => text.into_bytes(),
    }
}

/// The header is JSON behind its length; the data follow.
fn safetensors(bytes: &[u8], generator: &mut ChaCha8Rng) -> Vec<u8> {
    let length = bytes.get(..8).and_then(|start| start.try_into().ok());
    let length = length.map_or(0, u64::from_le_bytes) as usize;
    let Some(header) = bytes.get(8..8usize.saturating_add(length)) else {
        return any(bytes, generator);
    };
    let mut data = bytes[8 + length..].to_vec();
    let Ok(Value::Object(mut header)) = serde_json::from_slice::<Value>(header) else {
        return any(bytes, generator);
    };
    match generator.random_range(0..6) {
        0 => {
            let at = generator.random_range(0..data.len().max(1));
            data.truncate(at);
        }
        1 => {
            // NaN and infinity.
            let special = *pick(&[f32::NAN, f32::INFINITY, 3e38], generator);
            for _ in 0..generator.random_range(1..20) {
                let at = generator.random_range(0..data.len().max(4) / 4) * 4;
                if let Some(place) = data.get_mut(at..at + 4) {
                    place.copy_from_slice(&special.to_le_bytes());
                }
            }
        }
        2 => rename(&mut header, generator),
        3 => {
            let names: Vec<String> = header.keys().cloned().collect();
            if !names.is_empty() {
                header.remove(pick(&names, generator));
            }
        }
        _ => {
            let mut all = Value::Object(header);
            change_json(&mut all, generator);
            header = match all {
                Value::Object(header) => header,
                _ => Map::new(),
            };
        }
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn rename(header: &mut Map<String, Value>, generator: &mut ChaCha8Rng) {
    let names: Vec<String> = header.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = pick(&names, generator).clone();
    if let Some(tensor) = header.remove(&name) {
        let new = match generator.random_range(0..4) {
            0 => format!("module.{name}"),
            1 => name
                .replace(".0.", ".99999999999.")
                .replace("weight", "weights"),
            2 => name.replace('.', "/"),
            _ => String::new(),
        };
        header.insert(new, tensor);
    }
}

fn lines(bytes: &[u8], generator: &mut ChaCha8Rng) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    for _ in 0..generator.random_range(1..5) {
        if lines.is_empty() {
            break;
        }
        let at = generator.random_range(0..lines.len());
        let line = lines[at].clone();
        let marks = [
            "\"", "\"\"", ",", "\t", "\u{0}", "\r", "{", "\u{feff}", "=", "[", "1e999", "ä", "{%",
            "}}", "-%}",
        ];
        match generator.random_range(0..8) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, line),
            2 => lines[at] = String::new(),
            3 => lines[at] = line.repeat(generator.random_range(2..400)),
            4 => lines[at] = line.chars().rev().collect(),
            5 => {
                let mark = *pick::<&str>(&marks, generator);
                lines[at] = line.replacen(',', mark, 1);
            }
            6 => lines.swap(0, at),
            _ => {
                let place = generator.random_range(0..=line.chars().count());
                let (start, end): (String, String) = (
                    line.chars().take(place).collect(),
                    line.chars().skip(place).collect(),
                );
                lines[at] = format!("{start}{}{end}", pick(&marks, generator));
            }
        }
    }
    let end = *pick(&["\n", "\r\n", "\r", "\n\n"], generator);
    lines.join(end).into_bytes()
}

/// Values for flags.
pub fn flag_value(generator: &mut ChaCha8Rng) -> String {
    let values = [
        "0",
        "-1",
        "1",
        "2",
        "1e9",
        "1e39",
        "-1e-9",
        "nan",
        "inf",
        "18446744073709551616",
        "4294967296",
        "1048577",
        "",
        " ",
        "x",
        "0,0",
        "1,,2",
        "../..",
        "/dev/null",
        "none",
        "true",
        "ä",
        "0.5",
        "1e-300",
    ];
    if generator.random_range(0..12) == 0 {
        return "9".repeat(generator.random_range(1..3000));
    }
    (*pick(&values, generator)).to_string()
}
