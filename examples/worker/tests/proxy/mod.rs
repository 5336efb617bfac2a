//! A proxy in front of a worker that counts what other workers send, and delays what the client sends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// What passed a proxy.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes of other workers, to this one and back.
    workers: AtomicU64,
}

impl Counts {
    /// Bytes between this worker and others.
    pub fn between(&self) -> u64 {
        self.workers.load(Ordering::SeqCst)
    }
}

/// A proxy.
pub struct Proxy {
    pub url: String,
    pub counts: Arc<Counts>,
}

impl Proxy {
    /// In front of a worker. What passes between it and the client takes `delay` in each direction.
    pub fn start(worker: &str, delay: Duration) -> Self {
        let worker: SocketAddr = worker.strip_prefix("ws://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(worker)) else {
                    continue;
                };
                let counts = shared.clone();
                thread::spawn(move || pass(client, server, &counts, delay));
            }
        });
        Self { url, counts }
    }
}

fn pass(mut client: TcpStream, server: TcpStream, counts: &Arc<Counts>, delay: Duration) {
    // The request says who it is: `GET /session` is a client, everything else another worker.
    let mut first = vec![0; 1 << 16];
    let Ok(length) = client.read(&mut first) else {
        return;
    };
    first.truncate(length);
    let from_client = first.starts_with(b"GET /session");
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let delay = if from_client { delay } else { Duration::ZERO };
    let count = move |counts: &Counts, bytes: usize| {
        if !from_client {
            counts.workers.fetch_add(bytes as u64, Ordering::SeqCst);
        }
    };
    let shared = counts.clone();
    let returning = thread::spawn(move || {
        copy(back.0, back.1, Vec::new(), delay, |bytes| {
            count(&shared, bytes)
        });
    });
    copy(client, server, first, delay, |bytes| count(counts, bytes));
    let _ = returning.join();
}

/// Pass bytes on, each `delay` after it came.
fn copy(
    mut from: TcpStream,
    to: TcpStream,
    first: Vec<u8>,
    delay: Duration,
    count: impl Fn(usize),
) {
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    let mut writer = to.try_clone().unwrap();
    let writing = thread::spawn(move || {
        for (came, bytes) in receiver {
            sleep((came + delay).saturating_duration_since(Instant::now()));
            if writer.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = writer.shutdown(Shutdown::Write);
    });
    count(first.len());
    let _ = sender.send((Instant::now(), first));
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 {
            break;
        }
        count(length);
        if sender
            .send((Instant::now(), buffer[..length].to_vec()))
            .is_err()
        {
            break;
        }
    }
    drop(sender);
    let _ = writing.join();
    let _ = to.shutdown(Shutdown::Both);
}
