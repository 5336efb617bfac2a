//! A small HTTP client: bytes as they are, so that wrong ones can be sent, too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The parts of a stream; it must have ended well.
    pub fn parts(&self) -> Vec<Value> {
        let body = self.body.strip_suffix("data: [DONE]\n\n");
        let body = body.unwrap_or_else(|| panic!("no end: {}", self.body));
        parts(body)
    }
}

pub fn parts(body: &str) -> Vec<Value> {
    let events = body.split_terminator("\n\n");
    let part = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    events.map(part).collect()
}

/// A response whose body is still to be read.
pub struct Open {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    reader: BufReader<TcpStream>,
}

impl Open {
    /// The next chunk of a body in chunks, empty at the end, `None` if the connection breaks.
    pub fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut bytes = vec![0; size + 2];
        self.reader.read_exact(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..size].to_vec()).unwrap())
    }

    /// All that is left, and whether it came to its end.
    pub fn rest(mut self) -> (String, bool) {
        let mut body = String::new();
        const NO_CONTENT: u16 = 204;
        if self.status == NO_CONTENT {
            return (body, true);
        }
        if let Some(length) = self.headers.get("content-length") {
            let length: usize = length.parse().unwrap();
            let read = (&mut self.reader)
                .take(length as u64)
                .read_to_string(&mut body);
            return (body, read.is_ok_and(|read| read == length));
        }
        while let Some(chunk) = self.chunk() {
            if chunk.is_empty() {
                return (body, true);
            }
            body += &chunk;
        }
        (body, false)
    }
}

/// Send bytes as they are.
pub fn send(address: SocketAddr, bytes: &[u8]) -> Open {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses a body may close before it has all of it.
    let _ = stream.write_all(bytes);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no status: {line:?}"));
    let status = status.parse().unwrap();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_string());
    }
    Open {
        status,
        headers,
        reader,
    }
}

pub fn open(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Open {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        head += &format!("Host: {address}\r\n");
    }
    for header in headers {
        head += &format!("{header}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    send(address, &[head.as_bytes(), body].concat())
}

pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Response {
    let open = open(address, method, path, headers, body);
    let (status, headers) = (open.status, open.headers.clone());
    let (body, is_whole) = open.rest();
    assert!(is_whole, "broke off: {body}");
    Response {
        status,
        headers,
        body,
    }
}

pub fn get(address: SocketAddr, path: &str) -> Response {
    ask(address, "GET", path, &[], b"")
}

pub const JSON: &str = "Content-Type: application/json";

pub fn post(address: SocketAddr, path: &str, body: &Value) -> Response {
    ask(address, "POST", path, &[JSON], body.to_string().as_bytes())
}
