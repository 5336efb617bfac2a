//! Show conversations as a model reads them, or render a template for `scripts/compare_templates.py`.
//!
//! ```text
//! conversations show DATA FOLDER [MAX_LENGTH]    # the first samples, with what is trained between ⟦ and ⟧
//! conversations render < REQUEST                 # see `scripts/compare_templates.py`
//! ```
//!
//! FOLDER has a `tokenizer.json`, and perhaps `tokenizer_config.json` and `chat_template.jinja`.

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use finetune::conversation::{
    ChatTemplate, ConversationEncoder, EncodeOptions, Form, Layout, Message, ReadOptions,
    SpecialTokens, load,
};
use finetune::data::{DataSource, load_tokenizer};
use serde_json::{Value, json};

/// Samples that are shown.
const SHOWN: usize = 3;

fn main() -> ExitCode {
    programs::guard::keep_messages();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = programs::guard::catch(|| match arguments[..] {
        ["render"] => render(),
        ["show", data, folder] => show(data, folder, 2048),
        ["show", data, folder, length] => show(data, folder, length.parse()?),
        _ => Err("expected `show DATA FOLDER [MAX_LENGTH]` or `render`".into()),
    });
    let problem = match done {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => programs::printing::message(&error),
        Err(panic) => {
            programs::err_line!("panic: {panic}");
            return ExitCode::from(101);
        }
    };
    programs::err_line!("error: {problem}");
    ExitCode::from(2)
}

/// The first samples of a file or folder.
fn show(data: &str, folder: &str, length: usize) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(folder);
    let tokenizer = load_tokenizer(folder, usize::MAX)?;
    let special = SpecialTokens::from_folder(folder)?;
    let found = load(&DataSource::new(data), &ReadOptions::default())?;
    programs::out_line!("{found}");
    let plain = matches!(found.form, Form::PromptCompletion | Form::Text);
    let template = ChatTemplate::of_model(folder, None, &tokenizer)?;
    let layout = match template.filter(|_| !plain) {
        Some(template) => template.into(),
        None => Layout::Plain,
    };
    let encoder =
        ConversationEncoder::new(tokenizer, layout, &special, EncodeOptions::new(length))?;
    let encoded = encoder.encode(&found.splits.train)?;
    programs::out_line!("{}", encoded.summary);
    for sample in found.splits.train.iter().take(SHOWN) {
        programs::out_line!("\n{}", encoder.preview(sample)?);
    }
    Ok(())
}

/// Render each case of a request with its template.
fn render() -> Result<(), Box<dyn Error>> {
    let mut request = String::new();
    std::io::stdin().read_to_string(&mut request)?;
    let request: Value = serde_json::from_str(&request)?;
    let text = |key: &str| request[key].as_str().ok_or(format!("no text `{key}`"));
    let tokens = request["special"]
        .as_object()
        .ok_or("no object `special`")?;
    let tokens = tokens
        .iter()
        .filter_map(|(role, token)| Some((role.clone(), token.as_str()?.to_string())));
    let special = SpecialTokens::new(tokens);
    let time = request["time"].as_i64().ok_or("no number `time`")?;
    let template = ChatTemplate::new("of the request", text("template")?, &special);
    let cases = request["cases"].as_array().ok_or("no list `cases`")?;
    let answers = cases.iter().map(|case| {
        let rendered = template.as_ref().map_err(ToString::to_string).and_then(|template| {
            let mut template = template.clone().with_time(time);
            for (name, value) in case["variables"].as_object().into_iter().flatten() {
                template = template.with_variable(name, value.clone());
            }
            let messages = Message::list(&case["messages"]).map_err(|error| error.to_string())?;
            let prompt = case["add_generation_prompt"].as_bool().unwrap_or_default();
            let rendered = template.render(&messages, case.get("tools"), prompt);
            rendered.map_err(|error| error.to_string())
        });
        match rendered {
            Ok(rendered) => json!({
                "text": rendered.text,
                "answers": rendered.answers.unwrap_or_default().iter().map(|range| rendered.text[range.clone()].to_string())
                    .collect::<Vec<_>>(),
            }),
            Err(error) => json!({"error": error}),
        }
    });
    let answers: Vec<Value> = answers.collect();
    let takes_parts = template.as_ref().is_ok_and(ChatTemplate::takes_parts);
    programs::out_line!("{}", json!({"cases": answers, "takes_parts": takes_parts}));
    Ok(())
}
