"""Attacks by making the server ask others, who never answer (sec-4)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from tests.attack.attacks import Tried, attack
from tests.attack.strangers import Answer, Stranger
from tests.attack.world import World

ATTACKS_S = 5
TOKENS = 6
AT_ONCE = 130


class HangingHost:
    """Accepts every connection and never answers."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(512)
        self.port = int(self.listener.getsockname()[1])
        self.calls = 0
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.calls += 1
            self._kept.append(connection)

    def close(self) -> None:
        """Nobody waits any longer."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self._kept:
            connection.close()


@contextmanager
def hanging_host() -> Iterator[HangingHost]:
    host = HangingHost()
    try:
        yield host
    finally:
        host.close()


@attack("lookups", "sec-4")
def hanging_lookups(world: World) -> Tried:
    """Payments to a Lightning Address whose server accepts and never answers."""
    poor, rich = world.newcomer("poor"), world.newcomer("rich", sats=50)
    tokens = []
    for person in (poor, rich):
        for _ in range(TOKENS // 2):
            stranger = world.stranger()
            stranger.patience_s = ATTACKS_S + 2
            login = {"username": person.name, "password": person.password}
            answer = world.expect(partial(stranger.post, "/login", login))
            stranger.token = answer.body["token"]
            tokens.append(stranger)
    with hanging_host() as host:
        tried = Tried("")
        until = time.monotonic() + ATTACKS_S

        def again_and_again(stranger: Stranger) -> list[Answer]:
            seen = []
            while time.monotonic() < until:
                seen.append(stranger.post(f"/send/x@127.0.0.1:{host.port}/1"))
            return seen

        with ThreadPoolExecutor(AT_ONCE) as pool:
            callers = [tokens[number % TOKENS] for number in range(AT_ONCE)]
            answers = [one for seen in pool.map(again_and_again, callers) for one in seen]
        for answer in answers:
            tried.answers[str(answer)] += 1
            tried.require(answer.is_polite, f"a {answer} without Retry-After")
        tried.what = (
            f"{len(answers):,} payments over {AT_ONCE} connections to an address that never"
            f" answers; it was called {host.calls:,} times"
        )
    return tried
