//! A server that speaks OpenAI's interface, for a language model with adapters on it, or for an encoder of texts.
//!
//! | path | what it does |
//! | --- | --- |
//! | `/v1/models` | the names: the model that was opened, its base, adapters |
//! | `/v1/chat/completions` | an answer through the chat template, whole or as it is written |
//! | `/v1/completions` | how a text goes on, without the template |
//! | `/v1/embeddings` | vectors of texts, where the model is an encoder |
//! | `/health` | whether the model's thread works |
//! | `/metrics` | counts and times for Prometheus |
//! | `/` | a page to chat |
//!
//! Connections are served by threads of their own, so that these paths answer while the model computes. The model has
//! one thread behind a bounded queue. It writes several answers in turns, a token each. They are not computed in one
//! batch: a product of several rows may be rounded differently from that of one, and an answer is to be the one that
//! `finetune generate` gives with the same seed.

mod access;
mod api_error;
mod classify;
mod connections;
mod embeddings;
mod fields;
mod jobs;
mod metrics;
mod queue;
mod replies;
mod request;
mod routes;
mod served;
mod settings;
mod shared;
mod text_jobs;
mod worker;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::watch;

use crate::error::Error;
use metrics::Metrics;
use shared::{Shared, now};

pub use served::Served;
pub use settings::ServeSettings;

/// Threads for connections.
const THREADS: usize = 2;
/// After running answers were cut, clients that do not read get this time.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A server that listens.
///
/// ```no_run
/// use burn::tensor::Device;
/// use finetune::language::{Language, Place};
/// use finetune::serve::{ServeSettings, Server};
///
/// let place = Place::of("model.gguf".as_ref())?;
/// let language = Language::open_named("mine", &place, &Device::flex())?;
/// let server = Server::bind(language, ServeSettings::default())?;
/// println!("http://{}", server.address());
/// let stop = server.stopper();
/// std::thread::spawn(move || stop.request());
/// server.run()?;
/// # Ok::<(), finetune::Error>(())
/// ```
pub struct Server {
    served: Served,
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

/// Ends a server.
#[derive(Debug, Clone)]
pub struct StopServer(watch::Sender<bool>);

impl StopServer {
    /// Take no more requests. Answers that are being written get the time of [`ServeSettings::grace`], then they are cut,
    /// and [`Server::run`] returns. Requests that wait are refused.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Listen at the address of the settings; a request is answered as soon as the server [runs](Self::run).
    ///
    /// # Errors
    ///
    /// Those of [`ServeSettings::validate`], and [`Error::Config`] for an address that cannot be had.
    pub fn bind(served: impl Into<Served>, settings: ServeSettings) -> Result<Self, Error> {
        let served = served.into();
        settings.validate()?;
        let address = settings.address;
        let refuse = |error: std::io::Error| {
            let expected = "an address of this machine with a free port";
            Error::config(
                "--host and --port",
                format!("{address} ({error})"),
                expected,
            )
        };
        let listener = TcpListener::bind(address).map_err(refuse)?;
        listener.set_nonblocking(true).map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        let shared = Shared {
            is_local: address.ip().is_loopback(),
            models: served.models(),
            context: served.context(),
            created: now(),
            replies: AtomicU64::new(0),
            jobs: served.jobs(settings.queue),
            metrics: Metrics::default(),
            is_alive: AtomicBool::new(true),
            cut: AtomicBool::new(false),
            settings,
        };
        Ok(Self {
            served,
            listener,
            address,
            shared: Arc::new(shared),
            stop: watch::Sender::new(false),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends it, from another thread.
    pub fn stopper(&self) -> StopServer {
        StopServer(self.stop.clone())
    }

    /// Answer requests until it is stopped. This blocks the thread.
    ///
    /// # Panics
    ///
    /// Panics inside of an asynchronous runtime, as it starts its own.
    ///
    /// # Errors
    ///
    /// [`Error::Serve`] if threads or connections cannot be had.
    pub fn run(self) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Serve(error.to_string());
        let Self {
            served,
            listener,
            shared,
            stop,
            ..
        } = self;
        let mut builder = runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let of_worker = shared.clone();
        let worker = std::thread::Builder::new().name("model".into());
        let worker = worker.spawn(move || {
            let shared = of_worker;
            let _dead = Alive(&shared);
            served.work(&shared);
        });
        let worker = worker.map_err(failed)?;
        let served = runtime.block_on(connections::serve(listener, shared.clone(), stop));
        shared.jobs.close();
        shared.cut.store(true, Ordering::Relaxed);
        // A pass of the model cannot be broken off.
        let ended = worker.join();
        runtime.shutdown_timeout(LAST_WORDS);
        served.map_err(failed)?;
        ended.map_err(|_| Error::Serve("the model's thread panicked".into()))
    }
}

/// Tells that the model's thread has ended, also by a panic.
struct Alive<'a>(&'a Shared);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.is_alive.store(false, Ordering::Relaxed);
        self.0.jobs.close();
    }
}
