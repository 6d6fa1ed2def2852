"""Programs with real tokens, by the OpenAPI schema of the running server."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.attack.world import Person, World
from tests.fuzz.run import ANSWER_S, Findings
from tests.fuzz.texts import pasted

ENDLESS = {"/api/events"}
EXAMPLES = 12
SATS = 20_000


class Programs:
    """Goes round and round the operations, each time with other requests."""

    def __init__(self, world: World, findings: Findings, first_seed: int) -> None:
        self.world = world
        self.findings = findings
        self.base = f"http://127.0.0.1:{world.port}"
        schema = schemathesis.openapi.from_url(f"{self.base}/api/schema")
        operations = [found.ok() for found in schema.get_all_operations()]
        self.operations = itertools.cycle([one for one in operations if one.path not in ENDLESS])
        self.seeds = itertools.count(first_seed)
        self.known: list[str] = []
        """Of the caller: invoices, a payment, names."""
        self.callers = self._callers()

    def go_on(self, until: float) -> None:
        while time.monotonic() < until:
            headers = next(self.callers)
            self._call(next(self.operations), headers, until)

    def _callers(self) -> Iterator[dict[str, str]]:
        """Headers of somebody with money, again and again; of nobody now and then. Requests may
        have closed the account or ended its token."""
        person: Person | None = None
        for number in itertools.count():
            if number % 7 == 6:
                yield {}
                continue
            if person is None or person.program.get("/me").status != 200:
                person = self.world.newcomer("fuzz", sats=SATS)
                self.known = self._things_of(person)
            yield {"Authorization": f"Bearer {person.program.token}"}

    def _things_of(self, person: Person) -> list[str]:
        """Names of what is there, for the places in paths."""
        program = person.program
        found = [person.name, self.world.bank.name]
        for kind in ("lightning", "bitcoin"):
            made = program.post("/invoice", {"invoice": {"type": kind, "amount": 1000}}).body
            found += [made["id"], made["hash"]]
        sent = program.post("/send", {"username": self.world.bank.name, "amount": 10}).body
        return [*found, sent["id"], self.world.outside.invoice(1_000_000)]

    def _call(self, operation: Any, headers: dict[str, str], until: float) -> None:
        name = f"{operation.method.upper()} {operation.path}"

        @seed(next(self.seeds))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            case=operation.as_strategy(),
            words=pasted(),
            known=st.sampled_from(self.known),
            puts=st.integers(0, 3),
        )
        def call(case: Any, words: str, known: str, puts: int) -> None:
            if time.monotonic() > until:
                return
            if puts == 0:
                _put_into_body(case, words)
            if puts < 3:
                _put_into_path(case, known if puts else words)
            began = time.monotonic()
            try:
                answer = case.call(
                    base_url=self.base,
                    headers=dict(case.headers or {}) | headers,
                    timeout=ANSWER_S + 5,
                    allow_redirects=False,
                )
                status = int(answer.status_code)
            except requests.Timeout:
                status = 0
            except (requests.RequestException, ValueError, UnicodeError):
                return  # no request that could be sent
            self.findings.note(name, status, time.monotonic() - began, case.as_curl_command())

        call()


def _put_into_body(case: Any, words: str) -> None:
    """A text of people in the place of one of its values."""
    if isinstance(case.body, dict):
        for name, value in case.body.items():
            if isinstance(value, dict) and value:
                value[next(iter(value))] = words
                return
            if isinstance(value, str):
                case.body[name] = words
                return


def _put_into_path(case: Any, words: str) -> None:
    for name in case.path_parameters or {}:
        case.path_parameters[name] = words.replace("/", "%2F") or "x"
