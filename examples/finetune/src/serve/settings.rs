//! Settings of the server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::error::Error;

/// Shortest token, in bytes: shorter ones are guessed.
const SHORTEST_TOKEN: usize = 8;

/// Where the server listens, whom it answers, and its limits.
///
/// ```
/// use finetune::serve::ServeSettings;
///
/// let mut settings = ServeSettings::default();
/// assert_eq!(settings.address.to_string(), "127.0.0.1:8080");
/// settings.address = "0.0.0.0:8080".parse()?;
/// assert!(settings.validate().is_err());
/// settings.token = Some("a-long-and-secret-word".into());
/// assert!(settings.validate().is_ok());
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeSettings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// The bearer token that clients must send.
    pub token: Option<String>,
    /// Whether an address that other machines reach may be without a token.
    pub without_token: bool,
    /// Origins whose pages may ask, such as `https://example.org`; `*` for all.
    pub cors: Vec<String>,
    /// Requests that may wait, in addition to those that are being answered.
    pub queue: usize,
    /// Answers that are written in turns.
    pub at_once: usize,
    /// Bytes of a body at most.
    pub max_body: usize,
    /// Connections at once; more wait to be accepted. The default leaves room below the 1,024 files that a process may
    /// usually have open.
    pub connections: usize,
    /// How long a request may take to arrive: its head, and then its body.
    pub arrival: Duration,
    /// How long an answer may take, with the time in the queue.
    pub time_limit: Duration,
    /// How long running answers may go on when the server stops.
    pub grace: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 8080).into(),
            token: None,
            without_token: false,
            cors: Vec::new(),
            queue: 64,
            at_once: 4,
            max_body: 1 << 20,
            connections: 512,
            arrival: Duration::from_secs(30),
            time_limit: Duration::from_secs(600),
            grace: Duration::from_secs(5),
        }
    }
}

impl ServeSettings {
    /// Check all of them.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first that is out of range, and for an address that other machines reach without a
    /// token.
    pub fn validate(&self) -> Result<(), Error> {
        if !self.address.ip().is_loopback() && self.token.is_none() && !self.without_token {
            let expected = "127.0.0.1, or a token for it (--token-env VARIABLE), or --without-token if everybody who \
                            reaches it may use it";
            return Err(Error::config("--host", self.address.ip(), expected));
        }
        if let Some(token) = &self.token
            && (token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let found = format!("{} bytes", token.len());
            let expected = format!("at least {SHORTEST_TOKEN} letters, digits and signs of ASCII");
            return Err(Error::config("the token", found, expected));
        }
        for origin in self.cors.iter().filter(|origin| *origin != "*") {
            let host = origin.split_once("://").map(|(_, host)| host);
            if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
                let expected = "an origin such as https://example.org, without a path, or *";
                return Err(Error::config("--cors", origin, expected));
            }
        }
        for (name, number) in [
            ("--queue", self.queue),
            ("--at-once", self.at_once),
            ("--max-body", self.max_body),
            ("connections", self.connections),
        ] {
            if number == 0 {
                return Err(Error::config(name, 0, "at least 1"));
            }
        }
        for (name, time) in [
            ("--time-limit", self.time_limit),
            ("the time to arrive", self.arrival),
        ] {
            if time.is_zero() {
                return Err(Error::config(name, 0, "at least 1 s"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_out_of_range_is_named() {
        let check = |change: &dyn Fn(&mut ServeSettings), expected: &str| {
            let mut settings = ServeSettings::default();
            change(&mut settings);
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&|settings| settings.queue = 0, "--queue");
        check(&|settings| settings.at_once = 0, "--at-once");
        check(&|settings| settings.max_body = 0, "--max-body");
        check(
            &|settings| settings.time_limit = Duration::ZERO,
            "--time-limit",
        );
        check(
            &|settings| settings.cors = vec!["https://a.example/".into()],
            "--cors",
        );
        check(
            &|settings| settings.cors = vec!["a.example".into()],
            "--cors",
        );
        check(
            &|settings| settings.token = Some("short".into()),
            "the token",
        );
        check(
            &|settings| settings.token = Some("with a space".into()),
            "the token",
        );
        check(
            &|settings| settings.address.set_ip([10, 0, 0, 1].into()),
            "--host",
        );
        let mut open = ServeSettings::default();
        open.address.set_ip([0, 0, 0, 0].into());
        open.without_token = true;
        assert!(open.validate().is_ok());
        open.address = "[::1]:0".parse().unwrap();
        open.without_token = false;
        assert!(open.validate().is_ok());
    }
}
