//! What the server does not take.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{JSON, ask, get, parts, post, send};
use crate::model::Running;
use crate::{CHAT, chat, of_whole};

/// The error of a reply, which must have all fields.
fn error(body: &Value) -> (&str, &Value, &Value) {
    let error = &body["error"];
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "type", "param", "code"]);
    assert!(error["type"].is_string());
    (
        error["message"].as_str().unwrap(),
        &error["param"],
        &error["code"],
    )
}

#[test]
fn wrong_bodies_are_named() {
    let server = Running::start(64, |settings| settings.max_body = 5_000);
    for (body, status, param, expected) in [
        (json!({}), 400, "messages", "missing"),
        (json!([]), 400, "", "JSON object"),
        (
            chat("tiny", "a", json!({"temperature": -1})),
            400,
            "temperature",
            "from 0 to 2",
        ),
        (
            chat("tiny", "a", json!({"temperature": "warm"})),
            400,
            "temperature",
            "warm",
        ),
        (
            chat("tiny", "a", json!({"max_tokens": 0})),
            400,
            "max_tokens",
            "from 1",
        ),
        (
            chat("tiny", "a", json!({"stream": "yes"})),
            400,
            "stream",
            "true or false",
        ),
        (
            chat("tiny", "a", json!({"n": 2})),
            400,
            "n",
            "does not support",
        ),
        (
            chat("tiny", "a", json!({"max_token": 2})),
            400,
            "",
            "`max_token`",
        ),
        (
            chat("nobody", "a", json!({})),
            404,
            "model",
            "expected one of `tiny`, `tuned`, `prompted`",
        ),
        (
            chat("tiny", &"a ".repeat(100), json!({})),
            400,
            "messages",
            "expected at most 63",
        ),
        (
            chat(
                "tiny",
                "a",
                json!({"messages": [{"role": "tool", "content": "a"}]}),
            ),
            422,
            "messages",
            "no tools",
        ),
        (
            chat("tiny", &"a".repeat(6_000), json!({})),
            413,
            "",
            "at most 5000 bytes",
        ),
    ] {
        for stream in [false, true] {
            let mut body = body.clone();
            if stream && body.is_object() && body.get("stream").is_none() {
                body["stream"] = json!(true);
            }
            let response = post(server.address, CHAT, &body);
            let reply = response.json();
            let (message, found, _) = error(&reply);
            assert_eq!(response.status, status, "{reply}");
            assert!(message.contains(expected), "{reply}");
            assert_eq!(found.as_str().unwrap_or_default(), param, "{reply}");
        }
    }
    let too_long = post(
        server.address,
        CHAT,
        &chat("tiny", &"a ".repeat(100), json!({})),
    )
    .json();
    assert_eq!(error(&too_long).2, "context_length_exceeded");
    let nothing = post(
        server.address,
        "/v1/completions",
        &json!({"prompt": "a\u{fdd0}\u{0}b", "max_tokens": 1}),
    );
    assert_eq!(nothing.status, 200, "any text is a text: {}", nothing.body);
    // It still answers.
    let answer = post(
        server.address,
        CHAT,
        &chat("tiny", "a", json!({"max_tokens": 2})),
    );
    assert_eq!(of_whole(&answer.json()).2, 2);
}

#[test]
fn wrong_requests_are_named() {
    let server = Running::start(64, |_| ());
    let address = server.address;
    let whole = chat("tiny", "a", json!({})).to_string();
    for (method, path, headers, body, status) in [
        ("POST", CHAT, vec![JSON], &whole[..whole.len() / 2], 400),
        ("POST", CHAT, vec![JSON], "\u{0}", 400),
        ("POST", CHAT, vec![JSON], "", 400),
        ("POST", CHAT, vec![], &whole, 415),
        ("POST", CHAT, vec!["Content-Type: text/plain"], &whole, 415),
        ("GET", CHAT, vec![], "", 405),
        ("POST", "/health", vec![JSON], "{}", 405),
        (
            "OPTIONS",
            CHAT,
            vec!["Origin: https://example.org"],
            "",
            405,
        ),
        ("POST", "/v1/images/generations", vec![JSON], "{}", 404),
        ("GET", "/../etc/passwd", vec![], "", 404),
        ("GET", "/v1/models/%ff", vec![], "", 400),
        ("POST", CHAT, vec![JSON, "Host: evil.example"], &whole, 403),
    ] {
        let response = ask(address, method, path, &headers, body.as_bytes());
        assert_eq!(
            response.status, status,
            "{method} {path} {headers:?}: {}",
            response.body
        );
        assert!(!response.headers.contains_key("access-control-allow-origin"));
        if status != 400 || path == CHAT {
            error(&response.json());
        }
    }
    // What is not HTTP, and a body that does not come.
    assert_eq!(send(address, b"\x16\x03\x01 hello\r\n\r\n").status, 400);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 100\r\n\r\n{{"
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(get(address, "/health").json(), json!({"status": "ok"}));
}

#[test]
fn a_token_is_asked_for() {
    let token = "correct-horse";
    let server = Running::start(64, |settings| {
        settings.token = Some(token.into());
        settings.cors = vec!["https://mine.example".into()];
    });
    let body = chat("tiny", "a", json!({"max_tokens": 1})).to_string();
    let with = |headers: &[&str]| {
        ask(
            server.address,
            "POST",
            CHAT,
            &[&[JSON], headers].concat(),
            body.as_bytes(),
        )
    };
    for headers in [
        &[][..],
        &["Authorization: Bearer wrong-horse"],
        &["Authorization: Bearer correct-hors"],
    ] {
        let response = with(headers);
        assert_eq!(
            (
                response.status,
                response.headers["www-authenticate"].as_str()
            ),
            (401, "Bearer")
        );
        assert_eq!(error(&response.json()).2, "invalid_api_key");
    }
    let right = format!("Authorization: Bearer {token}");
    assert_eq!(with(&[&right]).status, 200);
    assert_eq!(get(server.address, "/v1/models").status, 401);
    assert_eq!(get(server.address, "/metrics").status, 401);
    assert_eq!(get(server.address, "/nothing").status, 401);
    assert_eq!(get(server.address, "/health").status, 200);
    assert_eq!(get(server.address, "/").status, 200);

    // Pages of the origin that was let in, and of no other.
    let allowed = "access-control-allow-origin";
    let mine = with(&[&right, "Origin: https://mine.example"]);
    assert_eq!(mine.headers[allowed], "https://mine.example");
    let other = with(&[&right, "Origin: https://other.example"]);
    assert!(!other.headers.contains_key(allowed));
    let first = ask(
        server.address,
        "OPTIONS",
        CHAT,
        &["Origin: https://mine.example"],
        b"",
    );
    assert_eq!(
        (first.status, first.headers[allowed].as_str()),
        (204, "https://mine.example")
    );
    assert!(first.headers["access-control-allow-headers"].contains("authorization"));
}

#[test]
fn an_error_in_a_stream_is_a_part_of_it() {
    let server = Running::start(1_000_000, |settings| {
        settings.time_limit = Duration::from_millis(300);
    });
    let body = chat("tiny", "is it", json!({"max_tokens": 900_000}));
    let whole = post(server.address, CHAT, &body);
    assert_eq!(
        (whole.status, error(&whole.json()).2),
        (504, &json!("timeout"))
    );
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let response = post(server.address, CHAT, &streamed);
    let parts = parts(&response.body);
    assert_eq!(response.status, 200);
    assert_eq!(error(parts.last().unwrap()).2, "timeout");
    assert!(!response.body.contains("[DONE]"));
    server.wait_for("finetune_answers_total{end=\"timeout\"}", 2.0);
}

#[test]
fn requests_that_do_not_arrive_are_given_up() {
    let server = Running::start(64, |settings| {
        settings.arrival = Duration::from_millis(300);
        settings.connections = 3;
    });
    let start = |bytes: &str| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    };
    // Not a whole head, and nothing at all.
    for silent in ["GET /health HTT", ""] {
        let said = start(silent);
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 408"),
            "{said}"
        );
    }
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{JSON}\r\nContent-Length: 9\r\n\r\n{{"
    );
    let said = start(&head);
    assert!(
        said.starts_with("HTTP/1.1 408") && said.contains("did not arrive in time"),
        "{said}"
    );
    // Connections beyond the limit wait until others end.
    let many: Vec<TcpStream> = (0..12)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    assert_eq!(get(server.address, "/health").status, 200);
    drop(many);
}

#[test]
fn a_request_that_waits_too_long_is_told() {
    let server = Running::start(1_000_000, |settings| {
        settings.time_limit = Duration::from_millis(300);
        settings.at_once = 1;
    });
    let body = chat("tiny", "is it", json!({"max_tokens": 900_000}));
    let statuses = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| post(server.address, CHAT, &body).status));
        both.map(|one| one.join().unwrap())
    });
    assert_eq!(statuses, [504, 504]);
}
