//! A proxy in front of a server of Burn, such as the program `worker`, that counts and delays what passes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// What passed a proxy.
#[derive(Debug, Default)]
struct Counts {
    /// Bytes of other servers, to this one and back.
    servers: AtomicU64,
    /// Answers to the client, each after something that it sent.
    round_trips: AtomicU64,
    /// Whether the client sent something since the last answer.
    asked: AtomicBool,
    /// Microseconds.
    delay: AtomicU64,
}

/// A proxy in front of a server. It counts the bytes between this server and others, and the round trips of
/// the client, and delays what passes between the client and the server.
///
/// ```
/// use std::net::TcpListener;
/// use programs::proxy::Proxy;
///
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let proxy = Proxy::start(&format!("ws://{}", server.local_addr()?))?;
/// assert!(proxy.url().starts_with("ws://127.0.0.1:"));
/// assert_eq!((proxy.bytes_between_servers(), proxy.round_trips()), (0, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Proxy {
    url: String,
    counts: Arc<Counts>,
}

impl Proxy {
    /// In front of the server at `ws://ADDRESS:PORT`.
    ///
    /// # Errors
    ///
    /// For another address, and if no port is free.
    pub fn start(server: &str) -> io::Result<Self> {
        let address = server.strip_prefix("ws://").unwrap_or_default();
        let address: SocketAddr = address.parse().map_err(|_| {
            let problem = format!("expected ws://ADDRESS:PORT, found `{server}`");
            io::Error::new(io::ErrorKind::InvalidInput, problem)
        })?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("ws://{}", listener.local_addr()?);
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(address)) else {
                    continue;
                };
                let counts = shared.clone();
                // A connection that fails ends, as it would without the proxy.
                thread::spawn(move || pass(client, server, &counts));
            }
        });
        Ok(Self { url, counts })
    }

    /// Where clients and other servers reach the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, what passes between the client and the server takes so long in each direction.
    pub fn set_delay(&self, delay: Duration) {
        let delay = delay.as_micros().try_into().unwrap_or(u64::MAX);
        self.counts.delay.store(delay, Ordering::SeqCst);
    }

    /// Bytes between this server and others, in both directions.
    pub fn bytes_between_servers(&self) -> u64 {
        self.counts.servers.load(Ordering::SeqCst)
    }

    /// How often the client sent something and got an answer.
    pub fn round_trips(&self) -> u64 {
        self.counts.round_trips.load(Ordering::SeqCst)
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    ToServer,
    FromServer,
}

/// The two ends of a connection.
struct Connection {
    counts: Arc<Counts>,
    is_client: bool,
}

impl Connection {
    fn count(&self, way: Way, bytes: usize) {
        let counts = &self.counts;
        if !self.is_client {
            counts.servers.fetch_add(bytes as u64, Ordering::SeqCst);
        } else if way == Way::ToServer {
            counts.asked.store(true, Ordering::SeqCst);
        } else if counts.asked.swap(false, Ordering::SeqCst) {
            counts.round_trips.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn delay(&self) -> Duration {
        if self.is_client {
            Duration::from_micros(self.counts.delay.load(Ordering::SeqCst))
        } else {
            Duration::ZERO
        }
    }
}

fn pass(mut client: TcpStream, server: TcpStream, counts: &Arc<Counts>) -> io::Result<()> {
    // The request says who it is: `GET /session` is a client, everything else another server.
    let mut first = vec![0; 1 << 16];
    let length = client.read(&mut first)?;
    first.truncate(length);
    let connection = Connection {
        counts: counts.clone(),
        is_client: first.starts_with(b"GET /session"),
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    thread::scope(|scope| {
        let connection = &connection;
        scope.spawn(move || {
            copy(
                from_server,
                to_client,
                Vec::new(),
                connection,
                Way::FromServer,
            )
        });
        copy(client, server, first, connection, Way::ToServer)
    })
}

/// Pass bytes on, each the delay after it came.
fn copy(
    mut from: TcpStream,
    to: TcpStream,
    first: Vec<u8>,
    connection: &Connection,
    way: Way,
) -> io::Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    let mut writer = to.try_clone()?;
    let writing = thread::spawn(move || {
        for (due, bytes) in receiver {
            sleep(due.saturating_duration_since(Instant::now()));
            if writer.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = writer.shutdown(Shutdown::Write);
    });
    let send = |bytes: Vec<u8>| {
        if !bytes.is_empty() {
            connection.count(way, bytes.len());
        }
        sender.send((Instant::now() + connection.delay(), bytes))
    };
    let mut open = send(first).is_ok();
    let mut buffer = vec![0; 1 << 16];
    while open && let Ok(length) = from.read(&mut buffer) {
        open = length > 0 && send(buffer[..length].to_vec()).is_ok();
    }
    drop(sender);
    let _ = writing.join();
    let _ = to.shutdown(Shutdown::Both);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each byte with two of them.
    fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    stream.write_all(&[byte[0]; 2]).unwrap();
                }
            }
        });
        url
    }

    fn talk(proxy: &Proxy, words: &[&str]) {
        let address = proxy.url().strip_prefix("ws://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        for word in words {
            stream.write_all(word.as_bytes()).unwrap();
            let mut answer = vec![0; 2 * word.len()];
            stream.read_exact(&mut answer).unwrap();
        }
    }

    #[test]
    fn bytes_of_servers_and_answers_to_clients_are_counted() {
        let proxy = Proxy::start(&server()).unwrap();
        talk(&proxy, &["GET /data", "abc"]);
        assert_eq!(proxy.bytes_between_servers(), 3 * (9 + 3));
        assert_eq!(proxy.round_trips(), 0);
        talk(&proxy, &["GET /session", "x", "y"]);
        assert_eq!(proxy.bytes_between_servers(), 3 * (9 + 3));
        assert_eq!(proxy.round_trips(), 3);
    }

    #[test]
    fn a_delay_holds_for_clients_from_when_it_is_set() {
        let proxy = Proxy::start(&server()).unwrap();
        let time = |words: &[&str]| {
            let start = Instant::now();
            talk(&proxy, words);
            start.elapsed()
        };
        proxy.set_delay(Duration::from_millis(60));
        assert!(time(&["GET /session"]) >= Duration::from_millis(120));
        assert!(Proxy::start("http://127.0.0.1:80").is_err());
    }
}
