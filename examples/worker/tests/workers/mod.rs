//! Worker processes and their devices.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use burn::remote::RemoteHost;
use burn::tensor::{Device, FloatDType};

pub const TOKEN: &str = "a secret of this test";

/// A worker process; it is killed when dropped.
pub struct Worker {
    process: Child,
    pub url: String,
}

impl Worker {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// A new worker at the address of this one, which has ended.
    pub fn restart(&self) -> Self {
        Self::start_at(self.url.strip_prefix("ws://").expect("an address"))
    }

    fn start_at(address: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_worker"))
            .args(["--bind", address])
            .env("BURN_WORKER_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the worker starts");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        output
            .read_line(&mut line)
            .expect("the worker says where it is");
        let url = line.trim().strip_prefix("flex on ");
        let url = url.unwrap_or_else(|| panic!("{line}")).to_string();
        Self { process, url }
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// Send a signal, by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.expect("`kill` is there").success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The device of a worker, in f64 with autodiff.
pub fn remote(url: &str) -> Device {
    let host = RemoteHost::websocket(url).with_credential(TOKEN);
    let mut device = Device::remote_options(&host)
        .init()
        .expect("the worker answers");
    device
        .configure(FloatDType::F64)
        .expect("before the first tensor");
    device.autodiff()
}
