//! The time that templates ask for.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use minijinja::{Error, ErrorKind};

/// Seconds since 1970-01-01 00:00 UTC, now.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// A time in the format of `strftime`, in UTC.
pub(super) fn format(seconds: i64, format: &str) -> Result<String, Error> {
    let refuse = |problem: String| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now: {problem}"),
        )
    };
    let time =
        DateTime::from_timestamp(seconds, 0).ok_or_else(|| refuse(format!("no time {seconds}")))?;
    let mut text = String::new();
    let written = write!(text, "{}", time.format(format));
    written.map_err(|_| refuse(format!("unknown format `{format}`")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_of_python() {
        let seconds = 1_721_952_123;
        assert_eq!(format(seconds, "%d %b %Y").unwrap(), "26 Jul 2024");
        assert_eq!(
            format(seconds, "%B %-d, %Y, %A %H:%M:%S %j").unwrap(),
            "July 26, 2024, Friday 00:02:03 208"
        );
        let error = format(seconds, "%!").unwrap_err().to_string();
        assert!(error.contains("unknown format `%!`"), "{error}");
        assert!(now() > seconds);
    }
}
