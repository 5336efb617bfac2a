"""Read PNG files of 8-bit RGB with the standard library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from errors import FetchError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = 3


def read_rows(path: Path, width: int, height: int) -> Iterator[bytes]:
    """Yield the rows of an image of this size, red, green and blue of each pixel."""
    header, data = _read_chunks(path)
    found = struct.unpack(">IIBBBBB", header) if len(header) == 13 else None
    # 8 bits, RGB, and the only compression and filter there are; not interlaced.
    if found != (width, height, 8, 2, 0, 0, 0):
        raise FetchError(
            f"{path.name}: expected {width} x {height} pixels of 8-bit RGB, found {found}"
        )
    length = CHANNELS * width
    try:
        lines = zlib.decompress(data)
    except zlib.error as error:
        raise FetchError(f"{path.name}: {error}") from error
    if len(lines) != height * (1 + length):
        raise FetchError(f"{path.name}: its data do not fill {height} rows")
    above = bytes(length)
    for start in range(0, len(lines), 1 + length):
        above = unfilter(lines[start], lines[start + 1 : start + 1 + length], above)
        yield above


def _read_chunks(path: Path) -> tuple[bytes, bytes]:
    """Return the header and the compressed data."""
    content = path.read_bytes()
    if content[:8] != SIGNATURE:
        raise FetchError(f"{path.name} is not a PNG file")
    header, data, at = b"", [], 8
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        chunk = content[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IHDR":
            header = chunk
        elif kind == b"IDAT":
            data.append(chunk)
    return header, b"".join(data)


def unfilter(kind: int, line: bytes, above: bytes) -> bytes:
    """Undo a filter of the PNG standard; `above` is the row before, without its filter."""
    if kind == 0:
        return line
    if kind == 1:
        # Nearly all rows: sums along each channel.
        row = bytearray(len(line))
        for channel in range(CHANNELS):
            sums = accumulate(line[channel::CHANNELS])
            row[channel::CHANNELS] = bytes(value & 255 for value in sums)
        return bytes(row)
    if kind == 2:
        return bytes((value + up) & 255 for value, up in zip(line, above))
    predict = {3: _average, 4: _paeth}.get(kind)
    if predict is None:
        raise FetchError(f"PNG: filter {kind} does not exist")
    # Pixels left of the first one count as zero.
    row, above = bytearray(CHANNELS), bytes(CHANNELS) + above
    for index, value in enumerate(line):
        guess = predict(row[index], above[index + CHANNELS], above[index])
        row.append((value + guess) & 255)
    return bytes(row[CHANNELS:])


def _average(left: int, up: int, _corner: int) -> int:
    return (left + up) // 2


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    # The nearest; the first of equals.
    return min((left, up, corner), key=lambda value: abs(guess - value))
