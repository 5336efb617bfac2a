//! What all requests see.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use programs::printing::{quoted_list, short};

use super::api_error::ApiError;
use super::jobs::Jobs;
use super::metrics::Metrics;
use super::replies::Reply;
use super::request::Interface;
use super::settings::ServeSettings;

/// What all requests see.
pub(super) struct Shared {
    pub(super) settings: ServeSettings,
    /// Whether only this machine can reach the server.
    pub(super) is_local: bool,
    /// Names and chat templates; there is at least one.
    pub(super) models: Vec<(String, Option<String>)>,
    pub(super) context: Option<usize>,
    pub(super) created: u64,
    pub(super) replies: AtomicU64,
    pub(super) jobs: Jobs,
    pub(super) metrics: Metrics,
    /// Whether the model's thread works.
    pub(super) is_alive: AtomicBool,
    /// Whether running answers are to end now.
    pub(super) cut: AtomicBool,
}

impl Shared {
    /// The name of the model that is asked for, or of the first.
    pub(super) fn model(&self, name: Option<&str>) -> Result<String, ApiError> {
        let mut names = self.models.iter().map(|(name, _)| name);
        let found = match name {
            None => names.next(),
            Some(name) => names.find(|known| *known == name),
        };
        found
            .cloned()
            .ok_or_else(|| self.unknown_model(name.unwrap_or_default()))
    }

    pub(super) fn reply(&self, interface: Interface, model: String, with_usage: bool) -> Reply {
        let number = self.replies.fetch_add(1, Ordering::Relaxed);
        Reply {
            interface,
            number: format!("{:x}-{number:x}", self.created),
            created: now(),
            model,
            with_usage,
        }
    }

    pub(super) fn unknown_model(&self, name: &str) -> ApiError {
        let known = quoted_list(self.models.iter().map(|(name, _)| name));
        ApiError::model(format!(
            "there is no model `{}`, expected one of {known}",
            short(name)
        ))
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
