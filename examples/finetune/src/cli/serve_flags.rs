//! Flags of `finetune serve`.

use std::net::{IpAddr, SocketAddr};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use programs::printing::quoted_list;
use programs::{err_line, out_line};

use super::language_flags::LanguageFlags;
use crate::embedding::TextEncoder;
use crate::error::Error;
use crate::predict::{Classifier, PredictOptions};
use crate::serve::{ServeSettings, Served, Server};

/// The exit code of a program that Ctrl-C ended at once.
const AT_ONCE: i32 = 130;

/// Serve a language model to clients of OpenAI's interface, with a page to chat at `/`; or an encoder of texts, for their
/// vectors; or a classifier of texts, for their classes.
///
/// The field `model` of a request chooses the model that was opened, its base, or an adapter by its name. Ctrl-C ends the
/// server: running answers get --grace seconds, and a second Ctrl-C ends it at once.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    language: LanguageFlags,

    /// Address to listen at; others than those of this machine alone need a token.
    #[arg(long, default_value = "127.0.0.1", help_heading = "Access")]
    host: IpAddr,
    /// Port to listen at; 0 for a free one.
    #[arg(long, default_value_t = 8080, help_heading = "Access")]
    port: u16,
    /// Environment variable with the bearer token that clients must send.
    #[arg(long, value_name = "VARIABLE", help_heading = "Access")]
    token_env: Option<String>,
    /// Listen at an address that other machines reach, without a token.
    #[arg(long, conflicts_with = "token_env", help_heading = "Access")]
    without_token: bool,
    /// Origin whose pages may ask, such as `https://example.org`; may be given several times [default: none].
    #[arg(long, value_name = "ORIGIN", help_heading = "Access")]
    cors: Vec<String>,

    /// Requests that may wait; more are refused.
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Limits")]
    queue: usize,
    /// Answers that are written in turns.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Limits")]
    at_once: usize,
    /// Bytes of a request at most.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, help_heading = "Limits")]
    max_body: usize,
    /// Seconds that an answer may take, with its time in the queue.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        help_heading = "Limits"
    )]
    time_limit: u64,
    /// Seconds that running answers may go on after Ctrl-C.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 5,
        help_heading = "Limits"
    )]
    grace: u64,
}

impl ServeArgs {
    /// Serve until Ctrl-C.
    ///
    /// # Errors
    ///
    /// Those of the model's files, and of [`Server::bind`] and [`Server::run`].
    pub fn serve(&self) -> Result<(), Error> {
        let settings = self.settings()?;
        // Before the model is loaded.
        settings.validate()?;
        let server = Server::bind(self.served()?, settings)?;
        let (stop, grace) = (server.stopper(), self.grace);
        let asked = AtomicBool::new(false);
        let listening = ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::Relaxed) {
                exit(AT_ONCE);
            }
            err_line!("\nstopping, running answers get {grace} s; once more: at once");
            stop.request();
        });
        if let Err(error) = listening {
            err_line!("warning: Ctrl-C will end the program at once: {error}");
        }
        out_line!("http://{}", server.address());
        server.run()
    }

    fn served(&self) -> Result<Served, Error> {
        if let Some((name, target)) = self.language.classifier()? {
            let device = self.language.device.open()?.inner();
            let classifier = Classifier::open(&target, &PredictOptions::default(), &device)?;
            let labels = quoted_list(classifier.labels());
            err_line!("classifier {name} of {labels}");
            return Ok(Served::classifier(name, classifier));
        }
        if let Some((name, folder)) = self.language.encoder()? {
            let device = self.language.device.open()?.inner();
            let encoder = TextEncoder::open(folder, &device)?;
            err_line!("encoder {name}, vectors of {} numbers", encoder.width());
            return Ok(Served::encoder(name, encoder));
        }
        let language = self.language.open()?;
        for name in language.names() {
            let template = language.template(name).unwrap_or("none, completions alone");
            err_line!("model {name}, chat template: {template}");
        }
        Ok(language.into())
    }

    fn settings(&self) -> Result<ServeSettings, Error> {
        let expected = |variable| format!("the token in the environment variable {variable}");
        let token = self.token_env.as_ref().map(|variable| {
            let token = std::env::var(variable);
            token.map_err(|error| Error::config("--token-env", error, expected(variable)))
        });
        Ok(ServeSettings {
            address: SocketAddr::new(self.host, self.port),
            token: token.transpose()?,
            without_token: self.without_token,
            cors: self.cors.clone(),
            queue: self.queue,
            at_once: self.at_once,
            max_body: self.max_body,
            time_limit: Duration::from_secs(self.time_limit),
            grace: Duration::from_secs(self.grace),
            ..ServeSettings::default()
        })
    }
}
