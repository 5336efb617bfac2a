//! Outputs that cannot be written are found before the training.

use std::fs;
use std::path::Path;
use std::process::Command;

fn quickstart(folder: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    let output = command.args(flags).current_dir(folder).output().unwrap();
    // Nothing was trained: the first line of the program comes before that.
    assert!(output.stdout.is_empty(), "{flags:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[test]
fn what_cannot_be_written_ends_the_program_at_once() {
    let folder = std::env::temp_dir().join(format!("quickstart-outputs-{}", std::process::id()));
    fs::create_dir_all(folder.join("taken/quickstart.svg")).unwrap();
    fs::write(folder.join("file"), "kept").unwrap();
    let refused = |flags: &[&str], expected: &str| {
        let (code, said) = quickstart(&folder, flags);
        assert_eq!(code, Some(1), "{flags:?}: {said}");
        assert!(
            said.contains("cannot write") && said.contains(expected),
            "{flags:?}: {said}"
        );
    };
    refused(&["--out=file"], "file is not a folder");
    refused(&["--out=taken"], "taken/quickstart.svg");
    refused(&["--json=no/where/rows.json"], "no/where/rows.json");
    refused(&["--json=taken"], "found a folder");
    if cfg!(unix) {
        refused(&["--out=/dev/null"], "/dev/null is not a folder");
        refused(&["--json=/dev/null"], "found a device");
    }
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "kept");
    fs::remove_dir_all(folder).unwrap();
}
