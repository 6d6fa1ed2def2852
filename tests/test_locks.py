"""One at a time over all processes, and the next one as soon as the first is done."""

from __future__ import annotations

from coinos.locks import only_one


def test_a_lock_that_is_given_back_is_free_at_once(db: None) -> None:
    """A busy server notices a closed connection late; the next round must not be skipped for it."""
    for _ in range(50):
        with only_one("test") as mine:
            assert mine


def test_two_at_once_are_refused(db: None) -> None:
    with only_one("test") as first, only_one("test") as second, only_one("other") as other:
        assert (first, second, other) == (True, False, True)
