//! Files of other kinds in the place of a text, by their first bytes.

/// What a file is that is not the text which was expected, and what to do about it.
pub(crate) struct Foreign {
    /// In words.
    pub(crate) what: &'static str,
    /// What to do.
    pub(crate) fix: &'static str,
}

const CONVERT: &str = "write its rows as CSV or JSON lines first";
const UNPACK: &str = "unpack it first";
const UTF_8: &str = "save the file as UTF-8 (`iconv -f utf-16 -t utf8` does it; in Excel the format is \
                     \"CSV UTF-8\")";
const UTF_32: &str = "save the file as UTF-8 (`iconv -f utf-32 -t utf8` does it)";

/// First bytes of files that are never text.
const BINARY: [(&[u8], &str, &str); 17] = [
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"ARROW1", "an Arrow file", CONVERT),
    (b"ORC", "an ORC file", CONVERT),
    (b"Obj\x01", "an Avro file", CONVERT),
    (b"\x89HDF", "an HDF5 file", CONVERT),
    (b"SQLite format 3", "an SQLite database", CONVERT),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Office document (xls, doc)",
        CONVERT,
    ),
    (b"\x93NUMPY", "a NumPy array", CONVERT),
    (b"\x80\x04\x95", "a pickle of Python", CONVERT),
    (b"%PDF", "a PDF document", CONVERT),
    (
        b"\x89PNG",
        "a PNG picture",
        "choose `--task images` for pictures",
    ),
    (
        b"\xff\xd8\xff",
        "a JPEG picture",
        "choose `--task images` for pictures",
    ),
];

/// What bytes are, if not a text in UTF-8 or Latin-1.
pub(crate) fn recognised(bytes: &[u8]) -> Option<Foreign> {
    let found = |what, fix| Some(Foreign { what, fix });
    let starts = |start: &[u8]| bytes.starts_with(start);
    // Texts with their own first words.
    if starts(b"version https://git-lfs.github.com/")
        || starts(b"version https://hawser.github.com/")
    {
        let fix = "it stands for a file that was not downloaded: `git lfs pull` gets it";
        return found("a pointer of Git LFS", fix);
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    if head.starts_with("<!doctype html") || head.starts_with("<html") {
        return found(
            "an HTML page",
            "download the file itself, not the page that shows it",
        );
    }
    // Byte-order marks: that of UTF-32 begins like that of UTF-16.
    if starts(b"\xff\xfe\0\0") || starts(b"\0\0\xfe\xff") {
        return found("text in UTF-32", UTF_32);
    }
    if starts(b"\xff\xfe") {
        return found(
            "text in UTF-16 (little endian, by its byte-order mark)",
            UTF_8,
        );
    }
    if starts(b"\xfe\xff") {
        return found("text in UTF-16 (big endian, by its byte-order mark)", UTF_8);
    }
    if !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok() {
        return None;
    }
    if starts(b"PAR1") {
        let fix = "write its rows as CSV or JSON lines first (`pandas.read_parquet(file).to_csv(…, index=False)`)";
        return found("a Parquet file", fix);
    }
    if starts(b"PK\x03\x04") {
        // The names of its files are not compressed.
        let names = &bytes[..bytes.len().min(4096)];
        let has = |name: &[u8]| names.windows(name.len()).any(|window| window == name);
        return if has(b"xl/") || has(b"[Content_Types].xml") {
            found(
                "an Excel workbook (xlsx)",
                "save its sheet as \"CSV UTF-8\" first",
            )
        } else {
            found("a zip archive", UNPACK)
        };
    }
    if let Some(&(_, what, fix)) = BINARY.iter().find(|(start, ..)| starts(start)) {
        return found(what, fix);
    }
    wide(bytes).and_then(|what| found(what, UTF_8))
}

/// UTF-16 without a byte-order mark, by the zero in each of the first Latin letters.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    let pairs = bytes.chunks_exact(2).take(32);
    let all = |of: fn(&[u8]) -> bool| pairs.len() >= 4 && pairs.clone().all(of);
    if all(|pair| pair[0] != 0 && pair[1] == 0) {
        Some("text in UTF-16 (little endian)")
    } else if all(|pair| pair[0] == 0 && pair[1] != 0) {
        Some("text in UTF-16 (big endian)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(bytes: &[u8]) -> &'static str {
        recognised(bytes).map_or("text", |foreign| foreign.what)
    }

    fn utf_16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn both_orders_of_utf_16_are_named() {
        for mark in ["\u{feff}", ""] {
            let text = format!("{mark}text,label\ngut,x\n");
            let little = what(&utf_16(&text, u16::to_le_bytes));
            let big = what(&utf_16(&text, u16::to_be_bytes));
            assert!(little.contains("UTF-16 (little endian"), "{little}");
            assert!(big.contains("UTF-16 (big endian"), "{big}");
        }
        assert_eq!(what(b"\xff\xfe\0\0t\0\0\0"), "text in UTF-32");
    }

    #[test]
    fn tables_of_other_programs_are_named() {
        assert_eq!(what(b"PAR1\x15\x04\x15\x00PAR1"), "a Parquet file");
        assert_eq!(
            what(b"PK\x03\x04\x14\0\x08\0[Content_Types].xml"),
            "an Excel workbook (xlsx)"
        );
        assert_eq!(what(b"PK\x03\x04\x14\0\x08\0train.csv"), "a zip archive");
        assert_eq!(what(b"\x1f\x8b\x08\x00"), "a gzip archive");
        assert_eq!(what(b"\n <!DOCTYPE HTML>\n<html>"), "an HTML page");
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n";
        assert_eq!(what(pointer), "a pointer of Git LFS");
    }

    #[test]
    fn texts_that_begin_like_other_files_stay_texts() {
        for text in [
            "PAR1,label\n",
            "ORC,label\n",
            "BZh9 a text",
            "%PDF is a format",
            "PK\u{3}\u{4}",
            "text,label\nversion https://git-lfs.github.com/,x\n",
            "\u{feff}text,label\n",
            "",
        ] {
            assert_eq!(what(text.as_bytes()), "text", "{text}");
        }
        // Latin-1 is for the reader to name.
        assert_eq!(what(b"caf\xe9"), "text");
    }
}
