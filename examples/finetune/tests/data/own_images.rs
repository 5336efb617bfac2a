//! A user's own folder of pictures.

use std::io::Cursor;

use finetune::data::{DataSource, Task};
use image::{ImageFormat, Rgb, RgbImage};

use super::{all, folder, images, refused};

/// A picture of one colour as a file.
fn picture(colour: [u8; 3], size: [u32; 2], format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_pixel(size[0], size[1], Rgb(colour));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(shade: u8) -> Vec<u8> {
    picture([shade, 0, 0], [5, 3], ImageFormat::Png)
}

#[test]
fn folders_are_classes_and_pictures_are_scaled() {
    let jpeg = picture([0, 0, 200], [40, 30], ImageFormat::Jpeg);
    let folder = folder(&[
        ("red/1.png", &png(200)),
        ("red/2.PNG", &png(201)),
        ("red/notes.txt", b"not a picture"),
        ("blue/1.jpeg", &jpeg),
        (".hidden/1.png", &png(1)),
    ]);
    let options = DataSource {
        image_size: 6,
        valid_share: 0.0,
        test_share: 0.0,
        ..DataSource::new(folder.path())
    };
    let splits = images(Task::Images, &options).unwrap();
    assert_eq!(splits.labels, ["blue", "red"]);
    assert_eq!(splits.train.len(), 3);
    for row in &splits.train {
        assert_eq!((row.height, row.width, row.pixels.len()), (6, 6, 108));
        let [red, _, blue] = row.pixels[..3] else {
            panic!()
        };
        assert_eq!(row.label, usize::from(red > blue));
    }
}

#[test]
fn parts_have_folders_of_their_own() {
    let folder = folder(&[
        ("train/a/1.png", &png(1)),
        ("train/a/2.png", &png(2)),
        ("train/b/3.png", &png(3)),
        ("train/b/4.png", &png(4)),
        ("valid/a/5.png", &png(5)),
        ("test/b/6.png", &png(6)),
        ("test/a/1.png", &png(1)),
    ]);
    let splits = images(
        Task::Images,
        &DataSource {
            image_size: 2,
            ..DataSource::new(folder.path())
        },
    );
    let splits = splits.unwrap();
    let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
    assert_eq!((sizes, splits.left_out.duplicates), ([3, 1, 2], 1));
    assert_eq!(all(&splits).len(), 6);
}

/// The header of a picture of this size, and hardly more.
fn header_only(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(1);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The checksum of PNG.
fn crc(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(!0, |sum: u32, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg())
        })
    });
    !sum
}

#[test]
fn the_size_of_a_header_is_refused_before_it_is_allocated() {
    // What is changed is the header alone: its own size is read.
    assert_eq!(header_only(5, 3), png(1));
    let (good, large) = (png(1), header_only(100_000, 100_000));
    let folder = folder(&[("a/1.png", &good), ("b/2.png", &large)]);
    let said = refused(Task::Images, folder.path());
    assert!(
        said.starts_with("b/2.png: its header states 100000 x 100000 pixels, 27.9 GiB; expected"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn a_fifo_among_the_pictures_is_not_waited_for() {
    let folder = folder(&[("a/1.png", &png(1)), ("b/1.png", &png(2))]);
    let fifo = folder.path().join("b/2.png");
    let made = std::process::Command::new("mkfifo").arg(fifo).status();
    assert!(made.unwrap().success());
    let said = refused(Task::Images, folder.path());
    assert!(said.starts_with("b/2.png: "), "{said}");
    assert!(
        said.contains("expected a regular file, found a FIFO"),
        "{said}"
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let refused = |files: &[(&str, &[u8])]| refused(Task::Images, folder(files).path());
    let png = png(9);
    let cut = refused(&[("a/1.png", &png), ("b/2.png", &png[..png.len() / 2])]);
    assert!(cut.starts_with("b/2.png: not a picture: "), "{cut}");
    let other = refused(&[("a/1.png", &png), ("b/2.jpg", b"GIF89a")]);
    assert!(other.starts_with("b/2.jpg: not a picture: "), "{other}");
    let empty = refused(&[("a/1.png", &png), ("b/2.txt", b"")]);
    assert_eq!(empty, "b: no PNG or JPEG file for this class");
    let one = refused(&[("a/1.png", &png)]);
    assert!(
        one.contains("1 folders of classes, expected two or more"),
        "{one}"
    );
    let unknown = refused(&[
        ("train/a/1.png", &png),
        ("train/b/1.png", &png),
        ("test/c/1.png", &png),
    ]);
    assert_eq!(unknown, "test/c: unknown class, expected one of `a`, `b`");
}
