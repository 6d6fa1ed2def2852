"""Files go out packed where they are text, as they lie in the tree, and never out of date."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings

STYLE = Path("static/wallet.css")
PICTURE = Path("static/icons/app-192.png")


def content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


@pytest.fixture
def client() -> Client:
    return Client()


def test_text_is_packed_for_who_takes_gzip(client: Client) -> None:
    answer = client.get(f"/{STYLE}", headers={"accept-encoding": "gzip, br"})
    packed = content(answer)
    assert (answer["Content-Encoding"], answer["Vary"]) == ("gzip", "Accept-Encoding")
    assert answer["Content-Type"] == 'text/css; charset="utf-8"'
    assert int(answer["Content-Length"]) == len(packed) < STYLE.stat().st_size / 2
    assert gzip.decompress(packed) == STYLE.read_bytes()
    head = client.head(f"/{STYLE}", headers={"accept-encoding": "gzip"})
    assert (head["Content-Length"], content(head)) == (answer["Content-Length"], b"")


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br, gzip; q=0.0, identity"])
def test_it_stays_as_it_is_for_who_does_not(client: Client, accepted: str) -> None:
    answer = client.get(f"/{STYLE}", headers={"accept-encoding": accepted})
    assert ("Content-Encoding" in answer, answer["Vary"]) == (False, "Accept-Encoding")
    assert content(answer) == STYLE.read_bytes()


def test_a_picture_and_a_part_of_a_file_are_not_packed(client: Client) -> None:
    picture = client.get(f"/{PICTURE}", headers={"accept-encoding": "gzip"})
    assert not picture.has_header("Content-Encoding")
    assert content(picture) == PICTURE.read_bytes()
    part = client.get(f"/{STYLE}", headers={"accept-encoding": "gzip", "range": "bytes=0-9"})
    assert (part.status_code, part.has_header("Content-Encoding")) == (206, False)
    assert content(part) == STYLE.read_bytes()[:10]


def test_what_the_browser_has_is_not_sent_again(client: Client) -> None:
    first = client.get(f"/{STYLE}", headers={"accept-encoding": "gzip"})
    again = client.get(
        f"/{STYLE}", headers={"accept-encoding": "gzip", "if-none-match": first["ETag"]}
    )
    assert (again.status_code, again["Vary"]) == (304, "Accept-Encoding")


@pytest.mark.parametrize("path", ["/", "/api/health"])
def test_no_page_and_no_answer_of_the_api_is_packed(client: Client, db: None, path: str) -> None:
    answer = client.get(path, headers={"accept-encoding": "gzip"})
    assert not answer.has_header("Content-Encoding")


def test_whoever_works_on_a_file_sees_it_at_once(tmp_path: Path) -> None:
    file = tmp_path / "new.css"
    with override_settings(
        DEBUG=True, WHITENOISE_MAX_AGE=0, STATICFILES_DIRS=[tmp_path], STATIC_ROOT=None
    ):
        client = Client()
        for second, text in enumerate([b"a { color: red }", b"a { color: tan }"]):
            file.write_bytes(text)
            os.utime(file, (second, second))
            answer = client.get("/static/new.css", headers={"accept-encoding": "gzip"})
            assert gzip.decompress(content(answer)) == text
            assert answer["Cache-Control"] == "max-age=0, public"
