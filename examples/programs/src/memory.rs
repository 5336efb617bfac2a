//! Resident memory of this process, and what the machine has left.

use std::fs;

/// Forget the peak so far, where the system allows it; elsewhere the peak covers the whole process.
pub fn reset_peak() {
    // 5 resets the high-water mark of resident memory (proc(5)).
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Largest resident set since the last reset, in MiB; `None` where the system does not report it.
pub fn peak_mib() -> Option<f64> {
    Some(status("VmHWM:")? / 1024.0)
}

/// Resident set now, in MiB; `None` where the system does not report it.
pub fn resident_mib() -> Option<f64> {
    Some(status("VmRSS:")? / 1024.0)
}

/// Bytes that can still be had: of the machine, of the control group if that is limited, and of the address space
/// of this process if that is limited (`ulimit -v`). `None` where the system does not report it.
pub fn available_bytes() -> Option<f64> {
    let physical = physical_bytes()?;
    let limit = fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|limits| field(&limits, "Max address space"));
    let used = status("VmSize:").unwrap_or(0.0) * 1024.0;
    Some(limit.map_or(physical, |limit| physical.min(limit - used)))
}

fn physical_bytes() -> Option<f64> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = field(&memory, "MemAvailable:")? * 1024.0;
    let number = |path: &str| -> Option<f64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
    let limit = number("/sys/fs/cgroup/memory.max");
    let used = number("/sys/fs/cgroup/memory.current");
    Some(match (limit, used) {
        (Some(limit), Some(used)) => machine.min(limit - used),
        _ => machine,
    })
}

fn status(name: &str) -> Option<f64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, name)
}

/// The number after `name` in lines `name number unit`.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read() {
        let status = "VmPeak:\t 900 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 10 kB\n";
        assert_eq!(field(status, "VmHWM:"), Some(2048.0));
        assert_eq!(field("VmRSS:\t 10 kB\n", "VmHWM:"), None);
        let limits = "Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(field(limits, "Max address space"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_reports_memory() {
        let before = peak_mib().unwrap();
        let block = vec![1u8; 64 << 20];
        let pages = block.iter().step_by(4096).map(|&x| x as usize);
        assert_eq!(pages.sum::<usize>(), 16384);
        assert!(peak_mib().unwrap() >= before.min(64.0));
        assert!(peak_mib().unwrap() >= 64.0);
        assert!(resident_mib().unwrap() > 0.0);
        assert!(available_bytes().unwrap() > 0.0);
    }
}
