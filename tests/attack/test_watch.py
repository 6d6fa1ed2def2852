"""How the watch beside an attack judges what it saw."""

from __future__ import annotations

from tests.attack.watch import Seen, broken_promises, is_quick_again, worst_ms

CALM = {"health": 500.0, "payment": 500.0}


def seen(kind: str, at: float, wait_ms: float = 10, status: int = 200) -> Seen:
    return Seen(kind, at, wait_ms, status)


def both(at: float, wait_ms: float = 10) -> list[Seen]:
    return [seen("health", at, wait_ms), seen("payment", at, wait_ms)]


def test_two_seconds_are_kept_by_answers_that_come_in_time():
    assert broken_promises([*both(10.5), *both(11, 2000)], since=10, until=14) == []


def test_an_answer_that_was_asked_for_before_the_attack_and_came_late_counts():
    late = [seen("health", 9.9, 2500), seen("payment", 11)]
    assert broken_promises(late, since=10, until=14) == ["health waited 2.5 s"]


def test_an_answer_that_came_before_the_attack_or_was_asked_for_after_it_does_not_count():
    around = [*both(5, 4000), *both(11, 20), *both(14.1, 9000)]
    assert broken_promises(around, since=10, until=14) == []
    assert worst_ms(around, "health", since=10, until=14) == 20


def test_a_refused_payment_breaks_the_promise_although_it_was_quick():
    refused = [seen("health", 11), seen("payment", 11, status=503)]
    [sentence] = broken_promises(refused, since=10, until=14)
    assert "503" in sentence


def test_a_broken_connection_breaks_the_promise():
    cut = [seen("health", 11, status=0), seen("payment", 11)]
    assert broken_promises(cut, since=10, until=14) == ["health had no answer 1 times"]


def test_what_was_not_measured_is_not_called_good():
    assert broken_promises([seen("health", 11)], since=10, until=14) == ["payment was not measured"]


def test_as_before_needs_two_quick_answers_of_each_kind_after_the_attack():
    assert not is_quick_again(both(14.1), since=14, within_ms=CALM)
    assert is_quick_again([*both(14.1, 900), *both(14.5), *both(15)], since=14, within_ms=CALM)
    assert not is_quick_again([*both(14.1), *both(14.5, 900)], since=14, within_ms=CALM)
    assert not is_quick_again([*both(13), *both(14.5)], since=14, within_ms=CALM)
