//! A small language model with two adapters, and a server for it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_hf_models::gguf::GgufFile;
use finetune::Error;
use finetune::conversation::{Message, Role};
use finetune::language::{AnswerRequest, FinishReason, Language, Place, PromptText};
use finetune::serve::{ServeSettings, Served, Server, StopServer};
use tempfile::TempDir;

use crate::http::get;

/// What can answer: the base, LoRA, and a prompt of virtual tokens.
pub const NAMES: [&str; 3] = ["tiny", "tuned", "prompted"];
const TEMPLATE: &str = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}\
                        <|im_start|>{{ m['role'] }} {{ m['content'] }}<|end|>{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant {% endif %}";

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures")
}

/// Texts from here on have no end tokens, so that answers are as long as they may be.
pub const ENDLESS: usize = 1_000;

/// The model of the fixtures as a folder that allows texts of so many tokens.
pub fn folder(context: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = fixtures();
    let config = fs::read_to_string(from.join("llama/config.json")).unwrap();
    let own = "\"max_position_embeddings\": 64";
    assert!(config.contains(own));
    let mut config = config.replace(own, &format!("\"max_position_embeddings\": {context}"));
    if context >= ENDLESS {
        config = config.replace("\"eos_token_id\": 2", "\"eos_token_id\": null");
    }
    fs::write(folder.path().join("config.json"), config).unwrap();
    let weights = "model.safetensors";
    fs::copy(
        from.join("llama").join(weights),
        folder.path().join(weights),
    )
    .unwrap();
    let gguf = GgufFile::open(&from.join("gguf/llama.gguf")).unwrap();
    fs::write(
        folder.path().join("tokenizer.json"),
        gguf.tokenizer_json().unwrap(),
    )
    .unwrap();
    fs::write(folder.path().join("chat_template.jinja"), TEMPLATE).unwrap();
    folder
}

pub fn language(context: usize) -> Language {
    let folder = folder(context);
    let place = Place::of(folder.path()).unwrap();
    let mut language = Language::open_named(NAMES[0], &place, &Device::flex()).unwrap();
    for (name, adapter) in [(NAMES[1], "llama/lora"), (NAMES[2], "llama/prompt_tuning")] {
        let place = Place::of_adapter(&fixtures().join(adapter), folder.path()).unwrap();
        language.add(name, &place).unwrap();
    }
    language
}

/// A conversation of one question.
pub fn question(model: &str, text: &str) -> AnswerRequest {
    let messages = vec![Message::new(Role::User, text)];
    let mut request = AnswerRequest::new(PromptText::Messages(messages));
    request.model = Some(model.into());
    request
}

/// The answer without a server.
pub fn answer(language: &Language, request: &AnswerRequest) -> (String, FinishReason) {
    let mut answer = language.start(request).unwrap();
    let text: String = (&mut answer).map(Result::unwrap).collect();
    (text, answer.finish_reason().unwrap())
}

/// A server in this process; it is stopped in the end.
pub struct Running {
    pub address: SocketAddr,
    pub stop: StopServer,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Running {
    pub fn start(context: usize, change: impl FnOnce(&mut ServeSettings)) -> Self {
        Self::serve(language(context), change)
    }

    pub fn serve(served: impl Into<Served>, change: impl FnOnce(&mut ServeSettings)) -> Self {
        let mut settings = ServeSettings::default();
        settings.address.set_port(0);
        settings.grace = Duration::ZERO;
        change(&mut settings);
        let server = Server::bind(served, settings).unwrap();
        Self {
            address: server.address(),
            stop: server.stopper(),
            thread: Some(std::thread::spawn(move || server.run())),
        }
    }

    /// A value of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = get(self.address, "/metrics").body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Wait until a value of `/metrics` is this.
    pub fn wait_for(&self, name: &str, value: f64) {
        let since = Instant::now();
        while self.metric(name) != value {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{name} is {}",
                self.metric(name)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stop it, and wait until it has ended.
    pub fn end(mut self) -> Result<(), Error> {
        self.stop.request();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || matches!(ended, Ok(Ok(()))));
        }
    }
}
