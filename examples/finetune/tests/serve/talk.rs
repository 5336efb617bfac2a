//! `finetune chat` without a terminal, and the conversation behind it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use finetune::chat::{Chat, Reply};
use finetune::conversation::{Message, Role};
use finetune::language::PromptText;
use serde_json::json;

use crate::model::{answer, fixtures, folder, language, question};
use crate::options;

fn chat(flags: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetune"));
    let command = command.arg("chat").args(flags);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn lines_are_answered_with_what_was_said_before() {
    let alone = language(400);
    let folder = folder(400);
    let model = folder.path().to_str().unwrap();
    let adapter = format!(
        "--adapter=tuned={}",
        fixtures().join("llama/lora").display()
    );
    let input = "is it\n\n/adapter tuned\nis it\n/adapter nobody\n/system be short\n/reset\nis it\n/quit\nis it\n";
    let (code, answers, notes) = chat(
        &[model, "--name=tiny", &adapter, "--max-new-tokens=6"],
        input,
    );
    assert_eq!(code, 0, "{notes}");

    let ask = |model: &str, messages: Vec<Message>| {
        let mut request = question(model, "");
        request.prompt = PromptText::Messages(messages);
        request.options = options(json!({"max_new_tokens": 6}));
        answer(&alone, &request).0
    };
    let user = || Message::new(Role::User, "is it");
    let first = ask("tiny", vec![user()]);
    let said = vec![user(), Message::new(Role::Assistant, &first), user()];
    let second = ask("tuned", said);
    let third = ask(
        "tuned",
        vec![Message::new(Role::System, "be short"), user()],
    );
    assert_eq!(answers, format!("{first}\n{second}\n{third}\n"));
    for note in [
        "tuned answers from now on",
        "no `nobody`, expected one of `tiny`, `tuned`",
        "tokens per second",
    ] {
        assert!(notes.contains(note), "{notes}");
    }
}

#[test]
fn what_goes_wrong_ends_a_conversation_through_pipes() {
    let folder = folder(64);
    let model = folder.path().to_str().unwrap();
    let long = format!("{}\nis it\n", "a ".repeat(100));
    let (code, answers, said) = chat(&[model], &long);
    assert_eq!((code, answers.as_str()), (2, ""));
    assert!(said.contains("expected at most 63"), "{said}");
    let (code, _, said) = chat(&[model, "--context=30"], &long);
    assert!(code == 2 && said.contains("expected at most 29"), "{said}");
    let (code, _, said) = chat(&[model, "--temperature=-1"], "");
    assert!(code == 2 && said.contains("temperature"), "{said}");
    let file = folder.path().join("chat_template.jinja");
    std::fs::remove_file(file).unwrap();
    let (code, _, said) = chat(&[model], "");
    assert!(
        code == 2 && said.contains("without a chat template"),
        "{said}"
    );
    assert_eq!(
        chat(
            &[&fixtures().join("gguf/llama.gguf").display().to_string()],
            ""
        )
        .0,
        0
    );
}

#[test]
fn a_stopped_answer_stays_as_far_as_it_was_written() {
    let language = language(1_000_000);
    let mut chat = Chat::new(&language);
    chat.options = options(json!({"max_new_tokens": 900_000}));
    let stop = AtomicBool::new(false);
    let mut written = String::new();
    let reply = chat.reply("is it", &stop, |piece| {
        written += piece;
        stop.store(written.len() > 20, std::sync::atomic::Ordering::Relaxed);
    });
    let Reply::Answered { numbers, reason } = reply.unwrap() else {
        panic!("an answer");
    };
    assert!(reason.is_none() && numbers.new_tokens < 200);
    assert_eq!(chat.messages()[1], Message::new(Role::Assistant, &written));
    // An error leaves the conversation as it was.
    stop.store(false, std::sync::atomic::Ordering::Relaxed);
    chat.stops = vec![String::new()];
    assert!(chat.reply("again", &stop, |_| ()).is_err());
    assert_eq!(chat.messages().len(), 2);
    assert_eq!(
        chat.reply("/reset", &stop, |_| ()).unwrap(),
        Reply::Note("a new conversation".into())
    );
    assert!(chat.messages().is_empty());
}
