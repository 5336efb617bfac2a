//! Memory that will be asked for, compared with what there is before it is allocated.
//!
//! An allocation that fails ends the program without a word. Estimates are lower bounds, so that nothing that
//! would run is refused.

use programs::DeviceKind;
use programs::memory::available_bytes;

use crate::error::Error;

/// Bytes of a number on the device.
pub(crate) const NUMBER: f64 = 4.0;

/// The most that any device has, about.
const MOST: f64 = 1e13;

/// Bytes that are left for a device: those of the machine, if the device is its processor.
pub(crate) fn left(device: DeviceKind) -> f64 {
    let machine = match device {
        DeviceKind::Flex | DeviceKind::Ndarray => available_bytes(),
        _ => None,
    };
    machine.unwrap_or(MOST).min(MOST)
}

/// Refuse a setting that makes `what` larger than the memory that is left.
///
/// # Errors
///
/// [`Error::Config`] with the estimate.
pub(crate) fn fits(
    left: f64,
    field: &str,
    found: impl ToString,
    what: &str,
    bytes: f64,
) -> Result<(), Error> {
    if bytes <= left {
        return Ok(());
    }
    let (bytes, left) = (size(bytes), size(left));
    let expected = format!(
        "a smaller value: {what} would take at least {bytes}, and {left} of memory are left"
    );
    Err(Error::config(field, found, expected))
}

/// Bytes in a unit that people read.
pub(crate) fn size(bytes: f64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes.max(0.0);
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value {
        value if value < 1e6 => format!("{value:.1} {}", units[unit]),
        value => format!("{value:.1e} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size(12.0), "12.0 bytes");
        assert_eq!(size(1536.0 * 1048576.0), "1.5 GiB");
        assert_eq!(size(1e30), "9.1e17 TiB");
    }

    #[test]
    fn the_message_has_the_estimate() {
        let text = fits(1e9, "model.hidden", 7, "the weights", 4e9).unwrap_err();
        assert_eq!(
            text.to_string(),
            "`model.hidden` is 7, expected a smaller value: the weights would take at least 3.7 GiB, \
             and 953.7 MiB of memory are left"
        );
        assert!(fits(1e9, "model.hidden", 7, "the weights", 1e9).is_ok());
        assert!(fits(1e9, "model.hidden", 7, "the weights", f64::NAN).is_err());
    }

    #[test]
    fn devices_of_their_own_do_not_share_the_machines_memory() {
        assert!(left(DeviceKind::Cuda) >= left(DeviceKind::Flex));
        assert!(left(DeviceKind::Flex) > 0.0);
    }
}
