//! Devices of other machines, which run `examples/worker`.

use std::env;

use burn::tensor::Device;

/// The environment variable with the token of the workers.
pub const WORKER_TOKEN: &str = "BURN_WORKER_TOKEN";

/// A worker that cannot be used.
///
/// ```
/// let error = programs::open_worker("http://gpu:7700").unwrap_err();
/// assert!(error.to_string().starts_with("worker `http://gpu:7700`: expected ws://HOST:PORT"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("worker `{url}`: {problem}")]
pub struct WorkerError {
    /// Where it was looked for.
    pub url: String,
    /// What is wrong.
    pub problem: String,
}

/// Open the device of a worker at `ws://HOST:PORT`, with autodiff. The token is that of [`WORKER_TOKEN`], if it is set.
///
/// # Errors
///
/// [`WorkerError`] for another address, in a build without feature `remote`, and if the worker does not answer or refuses
/// the token.
pub fn open_worker(url: &str) -> Result<Device, WorkerError> {
    let wrong = |problem: String| WorkerError {
        url: url.into(),
        problem,
    };
    let place = url.strip_prefix("ws://");
    let place = place.and_then(|place| place.rsplit_once(':'));
    if !place.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        let problem = "expected ws://HOST:PORT, the address that the program `worker` prints";
        return Err(wrong(problem.into()));
    }
    let token = match env::var(WORKER_TOKEN) {
        Ok(token) => Some(token),
        Err(env::VarError::NotPresent) => None,
        Err(env::VarError::NotUnicode(_)) => {
            return Err(wrong(format!("{WORKER_TOKEN} is not UTF-8")));
        }
    };
    open(url, token).map_err(wrong)
}

#[cfg(feature = "remote")]
fn open(url: &str, token: Option<String>) -> Result<Device, String> {
    use burn::remote::RemoteHost;
    let mut host = RemoteHost::websocket(url);
    let known = token.is_some();
    if let Some(token) = token {
        host = host.with_credential(token);
    }
    match Device::remote_options(&host).init() {
        Ok(device) => Ok(device.autodiff()),
        Err(error) if known => Err(error.to_string()),
        Err(error) => Err(format!("{error} ({WORKER_TOKEN} is not set)")),
    }
}

#[cfg(not(feature = "remote"))]
fn open(_url: &str, _token: Option<String>) -> Result<Device, String> {
    Err(
        "devices of other machines are not part of this build: build with `--features remote`"
            .into(),
    )
}
