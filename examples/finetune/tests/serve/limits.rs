//! Full queues, clients that leave, and the end of the server.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::{JSON, Open, get, open, parts, post};
use crate::model::Running;
use crate::{CHAT, chat, joined, of_whole};

/// Longer than any test.
const LONG: usize = 1_000_000;

/// A stream of an answer that does not end by itself.
fn endless(server: &Running) -> Open {
    let body = chat(
        "tiny",
        "is it",
        json!({"max_tokens": LONG - 100, "stream": true}),
    );
    open(
        server.address,
        "POST",
        CHAT,
        &[JSON],
        body.to_string().as_bytes(),
    )
}

#[test]
fn a_full_queue_refuses_and_clients_that_leave_make_room() {
    let server = Running::start(LONG, |settings| {
        settings.at_once = 1;
        settings.queue = 1;
    });
    let mut first = endless(&server);
    assert_eq!(first.status, 200);
    first.chunk().unwrap();
    server.wait_for("finetune_running_answers", 1.0);
    let short = chat("tiny", "is it", json!({"max_tokens": 3}));
    let address = server.address;
    let waiting = {
        let short = short.clone();
        std::thread::spawn(move || post(address, CHAT, &short))
    };
    server.wait_for("finetune_waiting_requests", 1.0);
    let refused = post(address, CHAT, &short);
    assert_eq!(
        (refused.status, refused.headers["retry-after"].as_str()),
        (503, "2")
    );
    assert_eq!(refused.json()["error"]["code"], "queue_full");
    // The model is busy, and these answer.
    let since = Instant::now();
    assert_eq!(get(address, "/health").status, 200);
    assert_eq!(get(address, "/v1/models").status, 200);
    assert!(since.elapsed() < Duration::from_secs(5));
    drop(first);
    let answered = waiting.join().unwrap();
    assert_eq!(of_whole(&answered.json()).2, 3);
    server.wait_for("finetune_answers_total{end=\"cancelled\"}", 1.0);
    server.wait_for("finetune_running_answers", 0.0);
    assert_eq!(post(address, CHAT, &short).status, 200);
}

#[test]
fn a_client_that_leaves_before_its_whole_answer_ends_it() {
    let server = Running::start(LONG, |_| ());
    let body = chat("tiny", "is it", json!({"max_tokens": LONG - 100})).to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).unwrap();
    server.wait_for("finetune_running_answers", 1.0);
    drop(stream);
    server.wait_for("finetune_answers_total{end=\"cancelled\"}", 1.0);
    server.wait_for("finetune_running_answers", 0.0);
}

#[test]
fn answers_are_written_in_turns() {
    let server = Running::start(LONG, |settings| settings.at_once = 2);
    let mut long = endless(&server);
    long.chunk().unwrap();
    // It does not wait for the first, which has no end.
    let short = post(
        server.address,
        CHAT,
        &chat("tuned", "is it", json!({"max_tokens": 5})),
    );
    assert_eq!(of_whole(&short.json()).2, 5);
}

#[test]
fn a_stop_cuts_what_does_not_end_in_time() {
    let server = Running::start(LONG, |settings| settings.at_once = 1);
    let mut streamed = endless(&server);
    streamed.chunk().unwrap();
    let address = server.address;
    let waiting = std::thread::spawn(move || post(address, CHAT, &chat("tiny", "a", json!({}))));
    server.wait_for("finetune_waiting_requests", 1.0);
    let ended = std::thread::spawn(move || server.end());
    let waited = waiting.join().unwrap();
    assert_eq!(
        (
            waited.status,
            waited.json()["error"]["code"].as_str().unwrap()
        ),
        (503, "stopping")
    );
    let (rest, is_whole) = streamed.rest();
    assert!(is_whole && !rest.contains("[DONE]"));
    let last = parts(&rest).pop().unwrap();
    assert_eq!(last["error"]["code"], "stopping");
    assert!(ended.join().unwrap().is_ok());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_stop_lets_short_answers_end() {
    let server = Running::start(4_000, |settings| settings.grace = Duration::from_secs(60));
    let body = chat("tiny", "is it", json!({"max_tokens": 300, "stream": true}));
    let expected = joined(&post(server.address, CHAT, &body).parts());
    let mut streamed = open(
        server.address,
        "POST",
        CHAT,
        &[JSON],
        body.to_string().as_bytes(),
    );
    let first = streamed.chunk().unwrap();
    let ended = std::thread::spawn(move || server.end());
    let (rest, is_whole) = streamed.rest();
    let body = first + &rest;
    let body = body.strip_suffix("data: [DONE]\n\n").unwrap();
    assert!(is_whole);
    assert_eq!(joined(&parts(body)), expected);
    assert!(ended.join().unwrap().is_ok());
}

#[test]
fn a_client_that_does_not_read_keeps_nobody_from_answers_nor_the_end() {
    let server = Running::start(LONG, |settings| settings.at_once = 1);
    let slow = endless(&server);
    server.wait_for("finetune_running_answers", 1.0);
    // More than fits into the connection; the model goes on, and others get their turn when it is gone.
    std::thread::sleep(Duration::from_millis(300));
    let before = server.metric("finetune_requests_total{path=\"/health\",status=\"200\"}");
    get(server.address, "/health");
    server.wait_for(
        "finetune_requests_total{path=\"/health\",status=\"200\"}",
        before + 1.0,
    );
    let since = Instant::now();
    assert!(server.end().is_ok());
    assert!(since.elapsed() < Duration::from_secs(20));
    drop(slow);
}
