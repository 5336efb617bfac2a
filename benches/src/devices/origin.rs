//! Where a row comes from: the machine, what the device calls itself, and the versions.

use std::fs;

use burn::tensor::Device;

/// Where a row was measured.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// The processor, its threads and the memory.
    pub machine: String,
    /// The graphics processor or its software driver, as it names itself; the instruction set for
    /// devices of the processor.
    pub hardware: String,
    /// Burn and CubeCL.
    pub versions: String,
}

impl Origin {
    /// Of a device of this machine.
    pub fn of(device: &Device) -> Self {
        Self {
            machine: machine(),
            hardware: hardware(device),
            versions: versions(include_str!("../../../Cargo.lock")),
        }
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn hardware(device: &Device) -> String {
    let identity = device.identity();
    identity.map_or_else(instructions, |identity| identity.name)
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
fn hardware(_device: &Device) -> String {
    instructions()
}

/// What Burn's products on the processor were compiled for.
fn instructions() -> String {
    if cfg!(feature = "x86-v4") {
        "AVX-512 allowed".into()
    } else {
        "up to AVX2".into()
    }
}

fn machine() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let processor = value(&file("/proc/cpuinfo"), "model name")
        .unwrap_or_else(|| format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    let memory = value(&file("/proc/meminfo"), "MemTotal").and_then(|text| {
        let kib: f64 = text.split_whitespace().next()?.parse().ok()?;
        Some(format!(", {:.0} GiB", kib / 1024.0 / 1024.0))
    });
    format!(
        "{processor}, {threads} threads{}",
        memory.unwrap_or_default()
    )
}

/// The value of the first line `name : value`.
fn value(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_string())
}

/// Versions from the workspace's lock file.
fn versions(lock: &str) -> String {
    let of = |name: &str| {
        let start = format!("name = \"{name}\"\nversion = \"");
        let (_, rest) = lock.split_once(&start)?;
        let (version, _) = rest.split_once('"')?;
        Some(format!("{name} {version}"))
    };
    let names = ["burn", "cubecl-runtime"];
    names
        .into_iter()
        .filter_map(of)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_the_versions() {
        let origin = Origin::of(&Device::flex());
        assert!(origin.versions.starts_with("burn 0.22."), "{origin:?}");
        assert!(
            origin.versions.contains(", cubecl-runtime 0."),
            "{origin:?}"
        );
        assert!(origin.machine.contains(" threads"), "{origin:?}");
        assert!(origin.hardware.contains("AVX"), "{origin:?}");
    }

    #[test]
    fn values_are_those_of_the_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: EPYC\nmodel name\t: EPYC 2\n";
        assert_eq!(value(text, "model name").as_deref(), Some("EPYC"));
        assert_eq!(value(text, "name"), None);
    }
}
