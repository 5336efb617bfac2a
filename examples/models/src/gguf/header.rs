//! The header of a GGUF file: metadata, and names, shapes and places of its tensors.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Nothing is allocated that the file is too
//! short for, whatever its counts say.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::block::BlockType;
use super::value::GgufValue;
use crate::message::short;

/// What the header says.
#[derive(Debug)]
pub(super) struct Header {
    pub metadata: BTreeMap<String, GgufValue>,
    pub tensors: Vec<TensorInfo>,
}

/// One tensor of the file.
#[derive(Debug, Clone)]
pub(super) struct TensorInfo {
    pub name: String,
    /// Outermost dimension first, as in PyTorch; the file has them the other way round.
    pub shape: Vec<usize>,
    pub block: BlockType,
    /// From the beginning of the file.
    pub start: u64,
    /// Bytes of its blocks.
    pub bytes: usize,
}

/// Why a header cannot be read.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Format(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Format("the file ends within its header".into()),
            _ => Self::Io(error),
        }
    }
}

const MAGIC: &[u8] = b"GGUF";
/// As ggml.
const MOST_DIMENSIONS: u32 = 4;
/// Values of all arrays together; a vocabulary has a few hundred thousand. In memory they take more room than in the file.
const MOST_VALUES: u64 = 1 << 24;
/// Arrays in arrays in arrays do not occur.
const MOST_NESTED: usize = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

impl Header {
    /// Read a header from the start of a file of `size` bytes.
    pub fn read(reader: impl Read, size: u64) -> Result<Self, Failure> {
        let mut reader = Bounded {
            reader,
            at: 0,
            size,
            values: 0,
        };
        let magic = reader.bytes(4)?;
        if magic != MAGIC {
            return failed("the file does not begin with `GGUF`");
        }
        let version = reader.u32()?;
        if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
            return failed(
                "a GGUF file in big-endian order; convert it on a machine in little-endian order",
            );
        }
        if version != 2 && version != 3 {
            return failed(format!("GGUF version {version}; expected 2 or 3"));
        }
        // A name, a kind and a place take 24 bytes or more, an entry of the metadata 13 or more.
        let tensors = reader.count("tensors", 24)?;
        let entries = reader.count("entries of metadata", 13)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = reader.value(kind, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return failed(format!("the metadata has `{}` twice", short(&key)));
            }
        }
        let mut infos = Vec::new();
        for _ in 0..tensors {
            infos.push(reader.tensor()?);
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(value) => match value.as_usize() {
                Some(value) if value.is_power_of_two() && value <= 1 << 20 => value as u64,
                _ => {
                    return failed(format!(
                        "general.alignment is {value}; expected a power of two"
                    ));
                }
            },
        };
        let data = reader.at.next_multiple_of(alignment);
        place(&mut infos, data, size)?;
        Ok(Self {
            metadata,
            tensors: infos,
        })
    }
}

/// Turn offsets into places in the file, and check that the tensors lie in it.
fn place(infos: &mut [TensorInfo], data: u64, size: u64) -> Result<(), Failure> {
    let mut names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return failed(format!("two tensors have the name `{}`", short(pair[0])));
    }
    for info in infos {
        let start = data.checked_add(info.start);
        let end = start.and_then(|start| start.checked_add(info.bytes as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= size => info.start = start,
            _ => {
                return failed(format!(
                    "`{}` lies beyond the end of the file ({size} bytes): the download is incomplete, or the file \
                     is damaged",
                    short(&info.name)
                ));
            }
        }
    }
    Ok(())
}

fn failed<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Format(reason.into()))
}

/// A reader that knows how many bytes the file has left.
struct Bounded<R> {
    reader: R,
    at: u64,
    size: u64,
    /// Values of arrays so far.
    values: u64,
}

impl<R: Read> Bounded<R> {
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Failure> {
        if count > self.size.saturating_sub(self.at) {
            return failed("the file ends within its header");
        }
        let mut bytes = vec![0; count as usize];
        self.reader.read_exact(&mut bytes)?;
        self.at += count;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Failure> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Failure> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things that take at least `least` bytes each.
    fn count(&mut self, what: &str, least: u64) -> Result<u64, Failure> {
        let count = self.u64()?;
        let left = self.size.saturating_sub(self.at);
        if count.checked_mul(least).is_none_or(|bytes| bytes > left) {
            return failed(format!(
                "the header announces {count} {what}, more than the file has room for"
            ));
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<String, Failure> {
        let length = self.count("bytes of text", 1)?;
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes).or_else(|error| {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            failed(format!("`{}` is not UTF-8", short(&text)))
        })
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<GgufValue, Failure> {
        Ok(match kind {
            0 => GgufValue::Integer(self.array::<1>()?[0].into()),
            1 => GgufValue::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => GgufValue::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => GgufValue::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => GgufValue::Integer(self.u32()?.into()),
            5 => GgufValue::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => GgufValue::Float(shortest(f32::from_le_bytes(self.array()?))),
            7 => match self.array::<1>()?[0] {
                0 => GgufValue::Bool(false),
                1 => GgufValue::Bool(true),
                other => return failed(format!("a truth value of the metadata is {other}")),
            },
            8 => GgufValue::Text(self.text()?),
            9 if depth < MOST_NESTED => {
                let kind = self.u32()?;
                let least = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    8 | 10..=12 => 8,
                    _ => 12,
                };
                let count = self.count("values of an array", least)?;
                self.values = self.values.saturating_add(count);
                if self.values > MOST_VALUES {
                    return failed(format!(
                        "the arrays of the metadata have more than {MOST_VALUES} values"
                    ));
                }
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(kind, depth + 1)?);
                }
                GgufValue::Array(values)
            }
            9 => return failed("arrays of the metadata are nested too deeply"),
            10 => GgufValue::Integer(self.u64()?.into()),
            11 => GgufValue::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => GgufValue::Float(f64::from_le_bytes(self.array()?)),
            other => {
                return failed(format!(
                    "the metadata has a value of the unknown kind {other}"
                ));
            }
        })
    }

    fn tensor(&mut self) -> Result<TensorInfo, Failure> {
        let name = self.text()?;
        let shown = short(&name);
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return failed(format!(
                "`{shown}` has {dimensions} dimensions; expected at most {MOST_DIMENSIONS}"
            ));
        }
        let mut shape = Vec::new();
        let mut entries = Some(1usize);
        for _ in 0..dimensions {
            let size = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
            entries = entries.and_then(|entries| entries.checked_mul(size));
            shape.push(size);
        }
        shape.reverse();
        let kind = self.u32()?;
        let Some(block) = BlockType::from_code(kind) else {
            return failed(format!(
                "`{shown}` is stored as {}, which is not read; expected {}",
                BlockType::name_of(kind),
                BlockType::known()
            ));
        };
        let start = self.u64()?;
        // A block never spans two rows.
        let whole = shape
            .last()
            .is_none_or(|row| row.is_multiple_of(block.entries()));
        let bytes = entries.and_then(|n| (n / block.entries()).checked_mul(block.bytes()));
        match bytes {
            Some(bytes) if whole => Ok(TensorInfo {
                name,
                shape,
                block,
                start,
                bytes,
            }),
            _ => failed(format!(
                "`{shown}` has the shape {shape:?}, which {} blocks of {} cannot fill",
                block,
                block.entries()
            )),
        }
    }
}

/// The shortest decimal number that rounds to this value in f32.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    /// A header with one number and one tensor of two rows of 32 values in Q8_0.
    fn small(alignment: u32) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        text(&mut bytes, "general.alignment");
        bytes.extend(4u32.to_le_bytes());
        bytes.extend(alignment.to_le_bytes());
        text(&mut bytes, "a.weight");
        bytes.extend(2u32.to_le_bytes());
        bytes.extend(32u64.to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        bytes.extend([0; 68]);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Header, String> {
        Header::read(bytes, bytes.len() as u64).map_err(|failure| match failure {
            Failure::Io(error) => error.to_string(),
            Failure::Format(reason) => reason,
        })
    }

    #[test]
    fn tensors_have_their_outermost_dimension_first_and_their_place() {
        let bytes = small(64);
        let header = read(&bytes).unwrap();
        let tensor = &header.tensors[0];
        assert_eq!(tensor.shape, [2, 32]);
        assert_eq!((tensor.bytes, tensor.start), (68, bytes.len() as u64 - 68));
        assert_eq!(header.metadata["general.alignment"].as_usize(), Some(64));
    }

    #[test]
    fn damaged_headers_are_refused() {
        for alignment in [0, 3] {
            let error = read(&small(alignment)).unwrap_err();
            assert!(error.contains("power of two"), "{error}");
        }
        let whole = small(64);
        for length in 0..whole.len() {
            assert!(
                read(&whole[..length]).is_err(),
                "{length} bytes were accepted"
            );
        }
        let mut many = whole.clone();
        many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&many).unwrap_err().contains("more than the file"));
        let mut old = whole.clone();
        old[4] = 1;
        assert_eq!(read(&old).unwrap_err(), "GGUF version 1; expected 2 or 3");
        let place = whole.windows(8).position(|w| w == b"a.weight").unwrap() + 8 + 4 + 16;
        let mut unknown = whole.clone();
        unknown[place] = 16;
        let error = read(&unknown).unwrap_err();
        assert!(error.contains("`a.weight` is stored as IQ2_XXS"), "{error}");
    }

    #[test]
    fn long_arrays_are_refused_before_they_are_read() {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        text(&mut bytes, "a");
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((MOST_VALUES + 1).to_le_bytes());
        // A file of this size could hold them.
        let size = bytes.len() as u64 + MOST_VALUES + 1;
        let failure = Header::read(&bytes[..], size).unwrap_err();
        let Failure::Format(reason) = failure else {
            panic!("{failure:?}");
        };
        assert!(reason.contains("more than 16777216 values"), "{reason}");
    }

    #[test]
    fn short_floats_have_their_shortest_value() {
        assert_eq!(shortest(1e-5), 1e-5);
        assert_eq!(shortest(0.1), 0.1);
        assert!(shortest(f32::NAN).is_nan());
    }
}
