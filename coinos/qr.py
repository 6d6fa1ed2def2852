"""QR codes: inside a page, and as pictures to save, print or put on a page of one's own."""

from __future__ import annotations

import io
import re
from functools import lru_cache

import segno

PICTURE_PX = 1024  # at least: sharp on a poster
QUIET_ZONE = 4  # modules of white around, as the standard wants it

TYPES = {"svg": "image/svg+xml", "png": "image/png"}


def inline(payload: str) -> str:
    """As inline SVG, black on nothing: the page puts it on white, in dark mode too."""
    svg: str = _code(payload).svg_inline(
        border=1, omitsize=True, svgclass=None, lineclass=None, dark="#000"
    )
    return svg


@lru_cache(maxsize=128)
def picture(payload: str, format: str) -> bytes:
    """As a file, black on white: `svg`, or `png` of at least 1,024 pixels a side."""
    code = _code(payload)
    out = io.BytesIO()
    if format == "svg":
        code.save(out, kind="svg", border=QUIET_ZONE, scale=8, light="#fff")
    else:
        side = code.symbol_size(border=QUIET_ZONE)[0]
        code.save(out, kind="png", border=QUIET_ZONE, scale=-(-PICTURE_PX // side))
    return out.getvalue()


def _code(payload: str) -> segno.QRCode:
    # The parts of a link apart, so that those in capitals take 5.5 bits a letter and not 8.
    parts = [part for part in re.split(r"([?&][a-z]+=)", payload) if part]
    return segno.make(parts, error="l", boost_error=True, micro=False)  # type: ignore[arg-type]
