//! Scalars in TensorBoard's event files.
//!
//! A file is a sequence of records (length, checksum of the length, data, checksum of the data), whose data are
//! protocol buffers of TensorFlow's `Event`: `double wall_time = 1; int64 step = 2; string file_version = 3; Summary
//! summary = 5`, and in a summary `repeated Value value = 1` with `string tag = 1; float simple_value = 2`.

use std::time::{SystemTime, UNIX_EPOCH};

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// An event file in the making.
pub(super) struct Events {
    bytes: Vec<u8>,
    time: f64,
}

impl Events {
    pub fn new() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::at(time.map_or(0.0, |time| time.as_secs_f64()))
    }

    /// All events are of this time, in seconds.
    fn at(time: f64) -> Self {
        let mut events = Self {
            bytes: Vec::new(),
            time,
        };
        let mut version = Vec::new();
        text(&mut version, 3, "brain.Event:2");
        events.event(0, &version);
        events
    }

    /// Scalars after a step.
    pub fn add<T: AsRef<str>>(&mut self, step: usize, scalars: impl IntoIterator<Item = (T, f64)>) {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut scalar = Vec::new();
            text(&mut scalar, 1, tag.as_ref());
            key(&mut scalar, 2, FIXED_32);
            scalar.extend((value as f32).to_le_bytes());
            field(&mut summary, 1, &scalar);
        }
        let mut event = Vec::new();
        field(&mut event, 5, &summary);
        self.event(step, &event);
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn event(&mut self, step: usize, rest: &[u8]) {
        let mut event = Vec::new();
        key(&mut event, 1, FIXED_64);
        event.extend(self.time.to_le_bytes());
        if step > 0 {
            key(&mut event, 2, VARINT);
            varint(&mut event, step as u64);
        }
        event.extend(rest);
        let length = (event.len() as u64).to_le_bytes();
        self.bytes.extend(length);
        self.bytes.extend(masked(&length).to_le_bytes());
        self.bytes.extend(&event);
        self.bytes.extend(masked(&event).to_le_bytes());
    }
}

/// The checksum of a record, rotated and shifted so that sums of sums do not repeat.
fn masked(data: &[u8]) -> u32 {
    const SHIFT: u32 = 0xa282_ead8;
    crc32c::crc32c(data).rotate_right(15).wrapping_add(SHIFT)
}

fn text(to: &mut Vec<u8>, number: u64, text: &str) {
    field(to, number, text.as_bytes());
}

fn field(to: &mut Vec<u8>, number: u64, data: &[u8]) {
    key(to, number, BYTES);
    varint(to, data.len() as u64);
    to.extend(data);
}

fn key(to: &mut Vec<u8>, number: u64, wire: u64) {
    varint(to, number << 3 | wire);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `EventFileWriter` of the Python package tensorboard 2.21 writes for the same two events.
    #[test]
    fn the_bytes_are_those_of_tensorboard() {
        let mut events = Events::at(1.5);
        events.add(300, [("train/loss", 0.25), ("valid/accuracy", 0.5)]);
        let found: String = events
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(found, include_str!("events.hex").trim());
    }
}
