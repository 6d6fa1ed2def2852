"""sec-18: an uploaded picture tells where it was taken to nobody, whoever sent it and how."""

from __future__ import annotations

import random

import pytest

from accounts.picture_metadata import Malformed, without_metadata
from tests.accounts.pictures import (
    GPS,
    JPEG,
    PNG,
    WEBP,
    jpeg_segment,
    png_chunk,
    webp,
    webp_chunk,
    with_metadata,
)

PICTURES = [(JPEG, "image/jpeg"), (PNG, "image/png"), (WEBP, "image/webp")]


@pytest.mark.parametrize(("picture", "type"), PICTURES)
def test_a_picture_without_metadata_stays_as_it_is(picture: bytes, type: str) -> None:
    assert without_metadata(picture, type) == picture


@pytest.mark.parametrize(("picture", "type"), PICTURES)
def test_what_a_camera_wrote_goes_and_the_picture_stays(picture: bytes, type: str) -> None:
    sent = with_metadata(picture)
    assert sent.count(GPS) >= 4
    kept = without_metadata(sent, type)
    assert GPS[:3] not in kept
    if type == "image/webp":  # it says of itself that nothing else is in it
        assert kept == webp(webp_chunk(b"VP8X", b"\0\0\0\0\x08\0\0\x06\0\0"), WEBP[12:])
    else:
        assert kept == picture


def test_how_colours_are_coded_is_no_secret_and_stays() -> None:
    adobe = jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
    sent = JPEG[:20] + adobe + jpeg_segment(0xEE, b"Adobe" + GPS) + JPEG[20:]
    assert without_metadata(sent, "image/jpeg") == JPEG[:20] + adobe + JPEG[20:]


def test_the_frames_of_an_animation_hold_no_metadata_either() -> None:
    head, still = bytes(16), WEBP[12:]
    first = webp_chunk(b"VP8X", b"\x02\0\0\0\x08\0\0\x06\0\0") + webp_chunk(b"ANIM", bytes(6))
    sent = webp(first, webp_chunk(b"ANMF", head + still + webp_chunk(b"XMP ", GPS)))
    assert without_metadata(sent, "image/webp") == webp(first, webp_chunk(b"ANMF", head + still))


@pytest.mark.parametrize(
    ("content", "type"),
    [
        (JPEG[:-2], "image/jpeg"),  # no end
        (JPEG[:100], "image/jpeg"),
        (JPEG[:2] + JPEG[-2:], "image/jpeg"),  # nothing between beginning and end
        (JPEG[:20] + b"\0" + JPEG[20:], "image/jpeg"),
        (JPEG[:2] + b"\xff\xe1\0\1" + JPEG[2:], "image/jpeg"),  # shorter than its own length
        (JPEG[:2] + b"\xff\x01\0\2" + JPEG[2:], "image/jpeg"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (PNG[:-1], "image/png"),
        (PNG[:8], "image/png"),
        (PNG[:8] + png_chunk(b"IEND", b""), "image/png"),
        (PNG[:30] + b"!" + PNG[31:], "image/png"),  # check sum
        (PNG[:8] + png_chunk(b"tEXt", b"") + PNG[8:], "image/png"),  # the head is not first
        (PNG[:8] + b"\xff\xff\xff\xff" + PNG[12:], "image/png"),
        (WEBP[:-2], "image/webp"),
        (webp(), "image/webp"),
        (webp(webp_chunk(b"VP8X", bytes(9)), WEBP[12:]), "image/webp"),
        (webp(webp_chunk(b"EXIF", GPS)), "image/webp"),
        (webp(WEBP[12:], b"EXIF"), "image/webp"),
    ],
)
def test_what_is_not_built_like_a_picture_is_refused(content: bytes, type: str) -> None:
    with pytest.raises(Malformed):
        without_metadata(content, type)


@pytest.mark.parametrize(("picture", "type"), PICTURES)
def test_noise_is_refused_or_read_and_nothing_else_happens(picture: bytes, type: str) -> None:
    noise = random.Random(18)
    sent = with_metadata(picture)
    for _ in range(2000):
        damaged = bytearray(sent)
        for _ in range(noise.randint(1, 5)):
            damaged[noise.randrange(3, len(sent))] = noise.randrange(256)
        try:
            kept = without_metadata(bytes(damaged), type)
        except Malformed:
            continue
        assert without_metadata(kept, type) == kept


@pytest.mark.parametrize(
    ("content", "type"),
    [
        (JPEG[:-2] + b"\xff" * 199_000 + b"\0" + JPEG[-2:], "image/jpeg"),
        (JPEG[:20] + b"\xff" * 199_000 + JPEG[21:], "image/jpeg"),
        (JPEG[:20] + jpeg_segment(0xFE, b"") * 49_000 + JPEG[20:], "image/jpeg"),
        (PNG[:33] + png_chunk(b"tEXt", b"") * 16_000 + PNG[33:], "image/png"),
        (webp(webp_chunk(b"ALPH", b"") * 24_000, WEBP[12:]), "image/webp"),
    ],
)
def test_the_longest_file_takes_no_time_worth_speaking_of(content: bytes, type: str) -> None:
    """Work that grows with the square of the length would be seen: it takes minutes."""
    assert len(without_metadata(content, type)) <= len(content)
