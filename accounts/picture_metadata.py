"""Uploaded pictures without what cameras and programs write beside the pixels: places, times,
names, small copies of the uncropped picture. Pure.

Only the containers are read, part by part, and nothing is decoded. A part that is not known to be
needed for drawing is left out, and so is whatever follows the end of the picture. The orientation
and the colour profile go, too: our own script has applied both before it sends a picture.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Malformed(ValueError):
    """Raised for what begins like a picture and is not built like one."""


def without_metadata(content: bytes, type: str) -> bytes:
    """The same picture with the parts that draw it. `type` is image/jpeg, image/png or image/webp.

    Takes time in proportion to the length. Raises `Malformed` for a file that is cut off or not
    built as its format says."""
    return {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp}[type](content)


# --- JPEG (ITU-T T.81, annex B) ------------------------------------------------------------------

_SOI, _EOI, _SOS, _APP0, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE, 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# tables: Huffman, arithmetic, quantisation; restart interval, number of lines
_JPEG_DRAWS = _FRAMES | {0xC4, 0xCC, 0xDB, 0xDC, 0xDD, _SOS}
# In the data of a scan a marker is what follows FF, except FF00 (a byte FF) and restarts.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _jpeg(content: bytes) -> bytes:
    kept = [content[:2]]
    seen: set[int] = set()
    at = 2
    while True:
        while content[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if len(content) < at + 2 or content[at] != 0xFF:
            raise Malformed("no marker where one must be")
        marker = content[at + 1]
        if marker == _EOI:
            break
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        body = content[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise Malformed("a segment is cut off")
        end = at + 2 + length
        if marker == _SOS:
            following = _MARKER_IN_SCAN.search(content, end)
            if following is None:
                raise Malformed("the picture is cut off")
            end = following.start()
            body = content[at + 4 : end]
        seen.add(marker)
        kept += _jpeg_segment(marker, body, length)
        at = end
    if _SOS not in seen or not seen & _FRAMES:
        raise Malformed("there is no picture in it")
    return b"".join([*kept, bytes([0xFF, _EOI])])


def _jpeg_segment(marker: int, body: bytes, length: int) -> Iterator[bytes]:
    """The segment as it is kept, if it is."""
    if marker in _JPEG_DRAWS:
        yield bytes([0xFF, marker]) + length.to_bytes(2, "big") + body
    elif marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        yield bytes([0xFF, _APP0, 0, 16]) + body[:12] + b"\0\0"  # a thumbnail of 0 × 0
    elif marker == _APP14 and body.startswith(b"Adobe") and len(body) == 12:
        yield bytes([0xFF, _APP14, 0, 14]) + body  # says how colours are coded
    elif not (_APP0 <= marker <= 0xEF or marker == _COM):
        raise Malformed("a marker that no picture of ours has")


# --- PNG (https://www.w3.org/TR/png-3/) ----------------------------------------------------------

_PNG_DRAWS = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD"),
    *(b"pHYs", b"acTL", b"fcTL", b"fdAT"),
}


def _png(content: bytes) -> bytes:
    kept = [PNG_SIGNATURE]
    names: list[bytes] = []
    at = len(PNG_SIGNATURE)
    while not names or names[-1] != b"IEND":
        length, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 12 + length
        chunk = content[at:end]
        if len(content) < at + 12 or len(chunk) != 12 + length:
            raise Malformed("a chunk is cut off")
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise Malformed("a chunk has the wrong check sum")
        if name in _PNG_DRAWS:
            kept.append(chunk)
        names.append(name)
        at = end
    if names[0] != b"IHDR" or b"IDAT" not in names:
        raise Malformed("there is no picture in it")
    return b"".join(kept)


# --- WebP (RFC 9649) -----------------------------------------------------------------------------

_WEBP_DRAWS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"}
_ALPHA_AND_ANIMATION = 0x12  # of the flags of VP8X; the others announce what we leave out
_FRAME_HEAD_BYTES = 16


def _webp(content: bytes) -> bytes:
    size = int.from_bytes(content[4:8], "little")
    if size < 4 or size > len(content) - 8:
        raise Malformed("the file is cut off")
    kept: list[bytes] = []
    names: set[bytes] = set()
    for name, body in _webp_chunks(content[12 : 8 + size]):
        names.add(name)
        if name == b"VP8X":
            if len(body) != 10:
                raise Malformed("a chunk has the wrong length")
            body = bytes([body[0] & _ALPHA_AND_ANIMATION]) + body[1:]
        elif name == b"ANMF":
            inner = _webp_chunks(body[_FRAME_HEAD_BYTES:])
            body = body[:_FRAME_HEAD_BYTES] + b"".join(
                _webp_chunk(*chunk) for chunk in inner if chunk[0] in (b"ALPH", b"VP8 ", b"VP8L")
            )
        if name in _WEBP_DRAWS:
            kept.append(_webp_chunk(name, body))
    if not names & {b"VP8 ", b"VP8L", b"ANMF"}:
        raise Malformed("there is no picture in it")
    drawn = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(drawn).to_bytes(4, "little") + drawn


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        body = content[at + 8 : at + 8 + size]
        if len(content) < at + 8 or len(body) != size:
            raise Malformed("a chunk is cut off")
        yield content[at : at + 4], body
        at += 8 + size + size % 2


def _webp_chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
