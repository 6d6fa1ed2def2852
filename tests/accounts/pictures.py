"""Three real pictures of 9 × 7 pixels, and the same with what a camera writes into them."""

from __future__ import annotations

import base64
import zlib

JPEG = base64.b64decode(  # progressive: several scans, with tables between them
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVt"
    "VkVGZIhlbXd7gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
    "fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/wgARCAAHAAkDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAA"
    "AAX/xAAVAQEBAAAAAAAAAAAAAAAAAAACBf/aAAwDAQACEAMQAAABniiv/8QAFRABAQAAAAAAAAAAAAAAAAAAABL/"
    "2gAIAQEAAQUCpT//xAAWEQADAAAAAAAAAAAAAAAAAAAAAhP/2gAIAQMBAT8Bu5//xAAXEQADAQAAAAAAAAAAAAAA"
    "AAAAAxRR/9oACAECAQE/AZ14f//EABQQAQAAAAAAAAAAAAAAAAAAABD/2gAIAQEABj8CP//EABQQAQAAAAAAAAAA"
    "AAAAAAAAABD/2gAIAQEAAT8hD//aAAwDAQACAAMAAAAQ8//EABURAQEAAAAAAAAAAAAAAAAAAABh/9oACAEDAQE/"
    "EKv/xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oACAECAQE/EA//xAAUEAEAAAAAAAAAAAAAAAAAAAAQ/9oACAEBAAE/"
    "ED//2Q=="
)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAHEAIAAAAFaSx0AAAAUElEQVQY052PwQ2AMAwDzxLTlHXIPp0nnSfzhAcP"
    "KlWAwj0tO7GVyQ8UBs1nBYCPY1sY7KP8rQN9ka/q0mPMDNwpojYgDhIQel01eXRXqnAC+NsUATdVOuIAAAAASUVO"
    "RK5CYII="
)
WEBP = base64.b64decode(
    "UklGRkIAAABXRUJQVlA4IDYAAAAwAgCdASoJAAcABABoJagCdGuA/gAFue1poAD+2cMzP56/lMp7Nq//6En8Jn4v"
    "WecNUDsAAAA="
)

GPS = b"48.8584N 2.2945E"


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def png_chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(name + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + name + body + check


def webp_chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def webp(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def with_metadata(picture: bytes) -> bytes:
    """As a phone would have sent it."""
    exif = b"Exif\0\0" + GPS
    if picture == JPEG:
        thumbnail = jpeg_segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\1" + GPS[:3])
        segments = [jpeg_segment(0xE1, exif), jpeg_segment(0xE2, b"ICC_PROFILE\0" + GPS)]
        segments += [jpeg_segment(0xED, GPS), jpeg_segment(0xFE, GPS), b"\xff"]
        return JPEG[:2] + thumbnail + b"".join(segments) + JPEG[20:] + GPS
    if picture == PNG:
        head = len(b"\x89PNG\r\n\x1a\n") + 12 + 13
        chunks = [png_chunk(b"eXIf", exif), png_chunk(b"tEXt", b"Comment\0" + GPS)]
        chunks += [png_chunk(b"zTXt", GPS), png_chunk(b"iTXt", GPS), png_chunk(b"tIME", GPS)]
        chunks += [png_chunk(b"prVt", GPS)]
        return PNG[:head] + b"".join(chunks) + PNG[head:] + GPS
    extended = b"\x2c\0\0\0" + b"\x08\0\0" + b"\x06\0\0"  # announces ICC, EXIF, XMP; 9 × 7
    chunks = [webp_chunk(b"VP8X", extended), webp_chunk(b"ICCP", GPS), WEBP[12:]]
    chunks += [webp_chunk(b"EXIF", exif), webp_chunk(b"XMP ", GPS), webp_chunk(b"own!", GPS)]
    return webp(*chunks) + GPS
