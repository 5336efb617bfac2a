//! `finetune serve` and `finetune generate`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::http::post;
use crate::model::{fixtures, folder};
use crate::{CHAT, chat, of_whole};

fn finetune(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetune"));
    command.args(flags).env_remove("SERVE_TEST_TOKEN");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_program_serves_what_it_generates_and_ends_with_0() {
    let folder = folder(64);
    let model = folder.path().to_str().unwrap();
    let lora = fixtures().join("llama/lora");
    let adapter = format!("--adapter=mine={}", lora.display());
    let mut serve = finetune(&["serve", model, "--port=0", "--name=tiny", &adapter]);
    let mut serve = serve
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(serve.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();

    let flags = [
        "--prompt=is it",
        "--max-new-tokens=9",
        "--temperature=1.1",
        "--seed=5",
    ];
    let more = json!({"max_tokens": 9, "temperature": 1.1, "seed": 5});
    let both: [(&str, &[&str]); 2] = [
        ("tiny", &["generate", model]),
        (
            "mine",
            &["generate", lora.to_str().unwrap(), "--model", model],
        ),
    ];
    for (name, command) in both {
        let Output {
            status,
            stdout,
            stderr,
        } = finetune(&[command, &flags[..]].concat()).output().unwrap();
        assert!(status.success(), "{}", text(&stderr));
        let speed = text(&stderr);
        assert!(
            speed.contains("9 written in") && speed.contains("tokens per second"),
            "{speed}"
        );
        let served = post(address, CHAT, &chat(name, "is it", more.clone()));
        assert_eq!(text(&stdout), format!("{}\n", of_whole(&served.json()).0));
    }

    let sent = Command::new("kill")
        .args(["-INT", &serve.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let status = serve.wait().unwrap();
    let mut said = String::new();
    serve
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(
        said.contains("model mine, chat template:") && said.contains("stopping"),
        "{said}"
    );
}

#[test]
fn what_is_unsafe_or_wrong_is_refused_before_the_model_is_loaded() {
    let folder = folder(64);
    let model = folder.path().to_str().unwrap();
    let refused = |flags: &[&str], expected: &str| {
        let output = finetune(flags).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    refused(&["serve", model, "--host=0.0.0.0"], "--token-env");
    refused(
        &["serve", model, "--token-env=SERVE_TEST_TOKEN"],
        "SERVE_TEST_TOKEN",
    );
    refused(&["serve", model, "--queue=0"], "--queue");
    refused(&["serve", model, "--adapter=mine"], "NAME=FOLDER");
    refused(
        &["serve", model, &format!("--adapter=mine={model}")],
        "a PEFT folder",
    );
    let lora = fixtures().join("llama/lora");
    let twice = format!("--adapter=a={}", lora.display());
    refused(
        &["serve", model, "--port=0", &twice, &twice],
        "no other model has",
    );
    refused(
        &["serve", lora.to_str().unwrap()],
        "give its path with --model",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("--port={}", taken.local_addr().unwrap().port());
    refused(&["serve", model, &port], "a free port");
}

#[test]
fn settings_of_the_model_are_heard() {
    let folder = folder(64);
    let model = folder.path().to_str().unwrap();
    let generate = |more: &[&str]| {
        let flags = [&["generate", model, "--prompt=is it"][..], more].concat();
        let output = finetune(&flags).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (free, _) = generate(&["--max-new-tokens=8"]);
    let letter = free.chars().nth(2).unwrap().to_string();
    let (stopped, said) = generate(&["--max-new-tokens=8", "--stop", &letter]);
    assert!(free.starts_with(stopped.trim_end_matches('\n')) && !stopped.contains(&letter));
    assert!(said.contains("finished: stop"), "{said}");

    let settings = folder.path().join("generation_config.json");
    let write = |json: serde_json::Value| std::fs::write(&settings, json.to_string()).unwrap();
    // Every token ends an answer.
    write(json!({"eos_token_id": (0..100).collect::<Vec<_>>()}));
    let (nothing, said) = generate(&[]);
    assert_eq!(nothing, "\n");
    assert!(
        said.contains("1 written") && said.contains("finished: stop"),
        "{said}"
    );
    write(json!({"max_new_tokens": 2, "do_sample": true, "temperature": 5.0}));
    let (drawn, said) = generate(&[]);
    assert!(
        said.contains("2 written") && said.contains("finished: length"),
        "{said}"
    );
    assert_eq!(generate(&[]).0, drawn);
    let seeds = (2..9).map(|seed| generate(&[&format!("--seed={seed}")]).0);
    assert!(seeds.into_iter().any(|other| other != drawn));
    assert_eq!(generate(&["--temperature=0", "--max-new-tokens=8"]).0, free);
    std::fs::write(&settings, "{").unwrap();
    let output = finetune(&["generate", model, "--prompt=a"])
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("generation_config.json"));
}
