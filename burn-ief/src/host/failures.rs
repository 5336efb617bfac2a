//! Devices that fail.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use burn::tensor::Device;

use crate::error::Error;

/// Whether a device is that of another process.
pub(crate) fn is_remote(device: &Device) -> bool {
    format!("{device:?}").contains("Remote(")
}

/// Run work that Burn answers with a panic if the device is lost.
pub(crate) fn on_device<T>(device: &Device, work: impl FnOnce() -> T) -> Result<T, Error> {
    // Nothing that the work borrows is used after a panic.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    result.map_err(|cause| device_failed(device, &*cause))
}

/// The error of a device, from the cause of a panic.
pub(crate) fn device_failed(device: &Device, cause: &(dyn Any + Send)) -> Error {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or(cause.downcast_ref::<&str>().copied());
    lost(device, text.unwrap_or_default())
}

pub(super) fn lost(device: &Device, reason: &str) -> Error {
    let reason = if reason.is_empty() {
        "it did not say why"
    } else {
        reason
    };
    // Burn's reasons have several lines.
    let words: Vec<&str> = reason.split_whitespace().collect();
    Error::Device {
        device: device_name(device),
        reason: words.join(" "),
    }
}

/// A device in messages: the address of a remote one, Burn's name of all others.
pub(crate) fn device_name(device: &Device) -> String {
    let debug = format!("{:?}", device.clone().inner());
    // Burn shows the address in the debug form alone.
    let between = |start: &str, end: char| {
        let rest = &debug[debug.find(start)? + start.len()..];
        rest.find(end).map(|end| &rest[..end])
    };
    if debug.contains("Remote(")
        && let (Some(host), Some(port)) = (between("host: \"", '"'), between("port: Some(", ')'))
    {
        return format!("ws://{host}:{port}");
    }
    let inner = debug.strip_prefix("Device<");
    let inner = inner.and_then(|inner| inner.strip_suffix('>'));
    inner.unwrap_or(&debug).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_failure_of_the_device() {
        let device = Device::default();
        assert_eq!(on_device(&device, || 3), Ok(3));
        for (failed, reason) in [
            (
                on_device(&device, || panic!("out of\n  memory")),
                "out of memory",
            ),
            (on_device(&device, || panic!("{} bytes", 7)), "7 bytes"),
            (
                on_device(&device, || panic::panic_any(1u8)),
                "it did not say why",
            ),
        ] {
            let failed: Result<(), Error> = failed;
            let Err(Error::Device {
                device,
                reason: found,
            }) = failed
            else {
                panic!("{failed:?}")
            };
            assert_eq!(
                (device.contains("Autodiff"), found.as_str()),
                (false, reason)
            );
        }
    }
}
