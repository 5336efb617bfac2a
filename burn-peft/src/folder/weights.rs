//! The tensors of `adapter_model.safetensors`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use burn::tensor::{DType, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::error::{Cause, Error};
use crate::settings::{Fields, Json, json};

/// Bytes before the header: its length.
const LENGTH: usize = 8;
const METADATA: &str = "__metadata__";

/// Read the contents of a file.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, TensorData>, Error> {
    check_header(bytes)?;
    let file = SafeTensors::deserialize(bytes).map_err(failed)?;
    let tensors = file.iter();
    tensors
        .map(|(key, view)| {
            let Some(dtype) = burn_dtype(view.dtype()) else {
                return Err(Error::Dtype {
                    key: key.into(),
                    dtype: view.dtype().to_string(),
                });
            };
            let data = view.data().to_vec();
            let data = TensorData::try_from_bytes_vec(data, view.shape().to_vec(), dtype);
            Ok((key.to_string(), data.map_err(damaged)?))
        })
        .collect()
}

/// What the `safetensors` crate does not look at: a key that is there twice (it takes one of the two)
/// and ends of tensors beyond the file (it adds them up without a check).
fn check_header(bytes: &[u8]) -> Result<(), Error> {
    let header = header(bytes).ok_or_else(|| damaged(instead(bytes)))?;
    let Json::Object(header) = json::parse(super::WEIGHTS, header)? else {
        return Err(damaged("the header is not an object"));
    };
    let tensors = header.iter().filter(|(key, _)| *key != METADATA);
    for (key, info) in tensors {
        let end = match info {
            Json::Object(info) => end(info),
            _ => None,
        };
        let end = end.ok_or_else(|| damaged(format!("tensor `{key}` has no offsets")))?;
        if end > bytes.len() as u64 {
            return Err(damaged(format!("tensor `{key}` ends beyond the file")));
        }
    }
    Ok(())
}

/// What a file without a header is.
fn instead(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let start = &bytes[..bytes.len().min(SHOWN)];
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"\x80\x02") {
        return "the file is of PyTorch (a pickle), not safetensors: save the adapter with \
                `save_pretrained` of PEFT 0.5 or later"
            .into();
    }
    let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if start.iter().all(printable) {
        let text = String::from_utf8_lossy(start);
        return format!("the file holds text, not tensors: {text:?}");
    }
    "the header is cut off: download or copy the file again".into()
}

fn header(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    rest.get(..length)
}

fn end(info: &Fields) -> Option<u64> {
    let Some(Json::Array(offsets)) = info.get("data_offsets") else {
        return None;
    };
    match offsets.as_slice() {
        [_, Json::Number(end)] => end.as_u64(),
        _ => None,
    }
}

/// The contents of a file with these tensors.
pub(super) fn write(tensors: &BTreeMap<String, TensorData>) -> Result<Vec<u8>, Error> {
    let entries = tensors.iter().map(|(key, data)| {
        let dtype = dtype(key, data)?;
        Ok((key.as_str(), Stored { data, dtype }))
    });
    let entries: Vec<_> = entries.collect::<Result<_, Error>>()?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(entries, Some(metadata)).map_err(failed)
}

/// The type of a tensor in the file.
pub(super) fn dtype(key: &str, data: &TensorData) -> Result<Dtype, Error> {
    match data.dtype() {
        DType::F64 => Ok(Dtype::F64),
        DType::F32 => Ok(Dtype::F32),
        DType::F16 => Ok(Dtype::F16),
        DType::BF16 => Ok(Dtype::BF16),
        other => Err(Error::Dtype {
            key: key.into(),
            dtype: format!("{other:?}"),
        }),
    }
}

fn burn_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

fn damaged(message: impl ToString) -> Error {
    Error::Weights {
        message: message.to_string(),
        source: None,
    }
}

/// The safetensors reader or writer failed.
fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Weights {
        message: error.to_string(),
        source: Some(Cause::new(error)),
    }
}

struct Stored<'a> {
    data: &'a TensorData,
    dtype: Dtype,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.data.shape().as_slice()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.data.as_bytes().into()
    }

    fn data_len(&self) -> usize {
        self.data.as_bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this header and so many bytes of data.
    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        bytes
    }

    #[test]
    fn every_floating_type_survives() {
        let half = |dtype| TensorData::from_bytes_vec(vec![1, 60, 2, 61], [2], dtype);
        let tensors = BTreeMap::from([
            (
                "a".to_string(),
                TensorData::from([[1f32, -2.5], [3.0, f32::MIN]]),
            ),
            ("b".to_string(), TensorData::from([0.1f64])),
            ("c".to_string(), half(DType::F16)),
            ("d".to_string(), half(DType::BF16)),
            ("e".to_string(), TensorData::zeros::<f32, _>([0, 3])),
        ]);
        let bytes = write(&tensors).unwrap();
        assert_eq!(read(&bytes), Ok(tensors));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = metadata.metadata().clone().unwrap();
        assert_eq!(metadata, HashMap::from([("format".into(), "pt".into())]));
    }

    #[test]
    fn integers_are_refused_by_name() {
        let header = r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
        let (key, dtype) = ("a".to_string(), "I64".to_string());
        assert_eq!(read(&file(header, 8)), Err(Error::Dtype { key, dtype }));
        let tensors = BTreeMap::from([("a".to_string(), TensorData::from([1i64]))]);
        assert!(matches!(write(&tensors), Err(Error::Dtype { .. })));
    }

    #[test]
    fn damage_is_found() {
        let tensor = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
        let whole = file(&format!("{{{tensor}}}"), 8);
        assert!(read(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let big = 1u64 << 63;
        for header in [
            format!("{{{tensor},{tensor}}}"),
            format!("[{{{tensor}}}]"),
            r#"{"a":1}"#.into(),
            r#"{"a":{"dtype":"F32","shape":[2]}}"#.into(),
            r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#.into(),
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#.into(),
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#.into(),
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-1,8]}}"#.into(),
            format!(r#"{{"a":{{"dtype":"U8","shape":[{big}],"data_offsets":[0,{big}]}}}}"#),
            r#"{"__metadata__":{"format":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#
                .into(),
        ] {
            assert!(read(&file(&header, 8)).is_err(), "{header}");
        }
        let mut longer = whole;
        longer[7] = 0xff;
        assert!(read(&longer).is_err());
        for (contents, words) in [
            (b"Entry not found".as_slice(), "text, not tensors: \"Entry"),
            (b"PK\x03\x04\0\0\0\0\0\0", "PyTorch"),
            (b"\x10\0\0\0\0\0\0\0{", "cut off"),
        ] {
            let error = read(contents).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
