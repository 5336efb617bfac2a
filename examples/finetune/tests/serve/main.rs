//! The server, and what it answers, against the same model without a server.

mod classes;
mod embeddings;
mod http;
mod limits;
mod model;
mod program;
mod refused;
mod talk;

use burn_hf_models::generate::Sampling;
use finetune::language::{FinishReason, GenerationOptions, Language};
use serde_json::{Value, json};

use http::{get, post};
use model::{NAMES, Running, answer, language, question};

const CHAT: &str = "/v1/chat/completions";

fn options(json: Value) -> GenerationOptions {
    serde_json::from_value(json).unwrap()
}

/// A body for [`CHAT`], with more fields.
fn chat(model: &str, text: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The text of a whole answer, why it ended, and its tokens.
fn of_whole(body: &Value) -> (String, String, u64) {
    let choice = &body["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap();
    let reason = choice["finish_reason"].as_str().unwrap();
    let usage = &body["usage"];
    let [prompt, new, all] = ["prompt_tokens", "completion_tokens", "total_tokens"]
        .map(|name| usage[name].as_u64().unwrap());
    assert_eq!(prompt + new, all);
    (text.into(), reason.into(), new)
}

/// The joined text of a stream's parts.
fn joined(parts: &[Value]) -> String {
    let pieces = parts
        .iter()
        .filter_map(|part| part["choices"][0]["delta"]["content"].as_str());
    pieces.collect()
}

/// Settings of the tests: options, and the rest of a body that has the same meaning.
fn settings() -> Vec<(GenerationOptions, Vec<String>, Value)> {
    vec![
        (
            options(json!({"max_new_tokens": 12})),
            vec![],
            json!({"max_tokens": 12}),
        ),
        (
            options(json!({"max_new_tokens": 20, "temperature": 1.5, "top_k": 40, "top_p": 0.95})),
            vec![],
            json!({"max_completion_tokens": 20, "temperature": 1.5, "top_k": 40, "top_p": 0.95}),
        ),
        (
            options(
                json!({"max_new_tokens": 20, "temperature": 0.0, "repetition_penalty": 1.5, "frequency_penalty": 0.5}),
            ),
            vec!["e".into(), "on".into()],
            json!({"max_tokens": 20, "temperature": 0, "repetition_penalty": 1.5, "frequency_penalty": 0.5,
                   "stop": ["e", "on"]}),
        ),
    ]
}

#[test]
fn answers_are_those_without_a_server() {
    let alone = language(64);
    let server = Running::start(64, |_| ());
    let mut texts = Vec::new();
    for name in NAMES {
        for (at, (options, stops, body)) in settings().into_iter().enumerate() {
            let mut request = question(name, "is it");
            request.options = options;
            request.stops = stops;
            request.seed = 7;
            let (expected, reason) = answer(&alone, &request);
            let mut body = chat(name, "is it", body);
            body["seed"] = json!(7);
            let whole = post(server.address, CHAT, &body);
            assert_eq!(whole.status, 200, "{}", whole.body);
            let (text, found_reason, tokens) = of_whole(&whole.json());
            assert_eq!(
                (&text, found_reason.as_str()),
                (&expected, reason.name()),
                "{name} {at}"
            );
            if reason == FinishReason::Length {
                assert_eq!(tokens, body["max_tokens"].as_u64().unwrap_or(20));
            }
            body["stream"] = json!(true);
            let parts = post(server.address, CHAT, &body).parts();
            assert_eq!(joined(&parts), expected, "{name} {at}");
            assert_eq!(
                parts.last().unwrap()["choices"][0]["finish_reason"],
                reason.name()
            );
            texts.push(expected);
        }
    }
    texts.sort();
    texts.dedup();
    assert!(
        texts.len() >= 6,
        "adapters and settings make a difference: {texts:?}"
    );
}

#[test]
fn plain_texts_are_continued_without_a_template() {
    let alone = language(64);
    let server = Running::start(64, |_| ());
    let mut request = question(NAMES[1], "");
    request.prompt = finetune::language::PromptText::Plain("the one".into());
    request.options = options(json!({"max_new_tokens": 9}));
    let (expected, _) = answer(&alone, &request);
    // By the first model, and in one piece.
    request.model = None;
    let greedy = Sampling::new(9);
    assert_eq!(
        alone.continued("the one", &greedy, 1).unwrap(),
        answer(&alone, &request).0
    );
    let mut body = json!({"model": NAMES[1], "prompt": ["the one"], "max_tokens": 9});
    let whole = post(server.address, "/v1/completions", &body).json();
    assert_eq!(whole["object"], "text_completion");
    assert_eq!(whole["choices"][0]["text"], expected);
    body["stream"] = json!(true);
    let parts = post(server.address, "/v1/completions", &body).parts();
    let text: String = parts
        .iter()
        .filter_map(|part| part["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, expected);
}

#[test]
fn streams_have_the_parts_that_clients_expect() {
    let server = Running::start(64, |_| ());
    let body = chat("tiny", "is it", json!({"max_tokens": 3, "stream": true}));
    let response = post(server.address, CHAT, &body);
    assert_eq!(response.headers["content-type"], "text/event-stream");
    let parts = response.parts();
    for part in &parts {
        assert_eq!(part["object"], "chat.completion.chunk");
        assert_eq!(part["id"], parts[0]["id"]);
        assert!(part["created"].is_u64() && part["choices"][0]["delta"].is_object());
        assert!(part.get("usage").is_none());
    }
    let (first, last) = (
        &parts[0]["choices"][0],
        &parts.last().unwrap()["choices"][0],
    );
    assert_eq!(first["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(
        (&last["delta"], &last["finish_reason"]),
        (&json!({}), &json!("length"))
    );
    let before = &parts[..parts.len() - 1];
    assert!(
        before
            .iter()
            .all(|part| part["choices"][0]["finish_reason"].is_null())
    );

    let asked = json!({"max_tokens": 3, "stream": true, "stream_options": {"include_usage": true}});
    let parts = post(server.address, CHAT, &chat("tiny", "is it", asked)).parts();
    let (usage, others) = parts.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    assert!(
        others
            .iter()
            .all(|part| part["usage"].is_null() && part.get("usage").is_some())
    );
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let alone = language(64);
    let server = Running::start(64, |settings| settings.at_once = 3);
    let expected = |index: usize| {
        let mut request = question(NAMES[index % 3], &format!("a {index}"));
        request.options = options(json!({"max_new_tokens": 4 + index % 9, "temperature": 1.2}));
        request.seed = index as u64;
        request
    };
    let requests: Vec<_> = (0..24).map(expected).collect();
    let texts: Vec<String> = requests
        .iter()
        .map(|request| answer(&alone, request).0)
        .collect();
    std::thread::scope(|scope| {
        for (index, text) in texts.iter().enumerate() {
            let address = server.address;
            scope.spawn(move || {
                let more = json!({"max_tokens": 4 + index % 9, "temperature": 1.2, "seed": index,
                                  "stream": index % 2 == 0});
                let body = chat(NAMES[index % 3], &format!("a {index}"), more);
                let response = post(address, CHAT, &body);
                assert_eq!(response.status, 200, "{}", response.body);
                let found = if index % 2 == 0 {
                    joined(&response.parts())
                } else {
                    of_whole(&response.json()).0
                };
                assert_eq!(found, *text, "{index}");
            });
        }
    });
    let ended = ["length", "stop"]
        .map(|end| server.metric(&format!("finetune_answers_total{{end=\"{end}\"}}")));
    assert_eq!(ended.iter().sum::<f64>(), 24.0);
}

#[test]
fn models_are_listed_with_their_templates() {
    let server = Running::start(64, |_| ());
    let list = get(server.address, "/v1/models").json();
    let names: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, NAMES);
    let one = get(server.address, "/v1/models/tuned").json();
    assert_eq!(
        (&one["id"], &one["object"], &one["context_length"]),
        (&json!("tuned"), &json!("model"), &json!(64))
    );
    assert!(
        one["chat_template"]
            .as_str()
            .unwrap()
            .contains("chat_template.jinja")
    );
    assert_eq!(get(server.address, "/v1/models/other").status, 404);
    // Without a name the first model answers.
    let mut body = chat("tiny", "is it", json!({"max_tokens": 5}));
    let named = of_whole(&post(server.address, CHAT, &body).json());
    body.as_object_mut().unwrap().remove("model");
    let unnamed = post(server.address, CHAT, &body).json();
    assert_eq!(
        (of_whole(&unnamed), &unnamed["model"]),
        (named, &json!("tiny"))
    );
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let server = Running::start(64, |_| ());
    let page = get(server.address, "/");
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.headers["content-security-policy"].contains("default-src 'none'"));
    for elsewhere in ["http:", "https:", "src=", "href=", "@import", "innerHTML"] {
        assert!(!page.body.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn a_long_answer_is_the_same_at_every_room_of_the_cache() {
    // Beyond the first room for keys and values, and up to the end of the context.
    let long: Language = language(300);
    let mut request = question("tiny", "is it");
    request.options = options(json!({"max_new_tokens": 1000, "temperature": 2.0}));
    let mut whole = long.start(&request).unwrap();
    let text: String = (&mut whole).map(Result::unwrap).collect();
    let numbers = whole.numbers();
    if whole.finish_reason() == Some(FinishReason::Length) {
        assert_eq!(numbers.prompt_tokens + numbers.new_tokens, 300);
    }
    for most in [1, 40, 70, 130] {
        request.options.max_new_tokens = Some(most);
        let (start, _) = answer(&long, &request);
        assert!(
            text.starts_with(start.trim_end_matches('\u{fffd}')),
            "{most}"
        );
    }
}
