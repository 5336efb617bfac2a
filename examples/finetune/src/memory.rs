//! The peak of resident memory.

use std::fs;

/// Forget the peak so far, where the system allows it.
pub(crate) fn reset_peak() {
    // 5 resets the high-water mark of resident memory (proc(5)); elsewhere it covers the process.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The peak of resident memory since the last reset, in MiB; `None` where the system does not
/// tell.
pub(crate) fn peak() -> Option<f64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read() {
        let status = "VmPeak:\t 900 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 10 kB\n";
        assert_eq!(parse(status), Some(2.0));
        assert_eq!(parse("VmRSS:\t 10 kB\n"), None);
    }
}
