//! Running the program on changed copies of the reference cases.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// A folder of its own for each test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("replay-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn run(&self, case: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_replay"))
            .arg("golden")
            .arg(case)
            .arg("--out")
            .arg(self.0.join("out.safetensors"))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The program refuses the case and says all of `message`.
    pub fn refuses(&self, case: &Path, arguments: &[&str], message: &[&str]) {
        let before = entries(&self.0);
        let output = self.run(case, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("error: "), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        for part in message {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        assert_eq!(entries(&self.0), before, "something was written");
    }

    /// A changed copy of a reference case.
    pub fn edited(&self, case: &str, edit: impl FnOnce(&mut Contents)) -> PathBuf {
        let bytes = fs::read(golden(case)).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut contents = Contents {
            metadata: header.metadata().clone().unwrap(),
            tensors: file
                .iter()
                .map(|(name, view)| {
                    let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                    (name.to_string(), tensor)
                })
                .collect(),
        };
        edit(&mut contents);
        let views = contents.tensors.iter().map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let path = self.0.join("case.safetensors");
        let bytes = safetensors::serialize(views, Some(contents.metadata)).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

pub struct Contents {
    pub metadata: HashMap<String, String>,
    pub tensors: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Contents {
    pub fn set_integer(&mut self, tensor: &str, index: usize, value: i64) {
        let (_, _, data) = self.tensors.get_mut(tensor).unwrap();
        data[8 * index..8 * (index + 1)].copy_from_slice(&value.to_le_bytes());
    }

    pub fn set_float(&mut self, tensor: &str, index: usize, value: f64) {
        let (_, _, data) = self.tensors.get_mut(tensor).unwrap();
        data[8 * index..8 * (index + 1)].copy_from_slice(&value.to_le_bytes());
    }
}

pub fn golden(case: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(format!("{case}.safetensors"))
}

pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
