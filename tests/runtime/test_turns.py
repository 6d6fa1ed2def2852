"""When all threads are taken, networks take turns (sec-2)."""

from __future__ import annotations

import asyncio

from coinos.turns import Turns


async def waiting(turns: Turns, *callers: str) -> tuple[list[asyncio.Task[None]], list[str]]:
    """These callers wait, in this order; the list says who had a place, in which order."""
    served: list[str] = []

    async def wait(caller: str) -> None:
        await turns.take(lambda: caller)
        served.append(caller)

    tasks = [asyncio.create_task(wait(caller)) for caller in callers]
    await asyncio.sleep(0)
    return tasks, served


def test_whoever_asks_once_does_not_wait_for_all_that_another_asked() -> None:
    """sec-2"""

    async def run() -> None:
        turns = Turns(1)
        await turns.take(lambda: "mallory")
        tasks, served = await waiting(turns, *["mallory"] * 5, "alice", "bob")
        for _ in tasks:
            turns.give_back()
            await asyncio.sleep(0)
        assert served == ["mallory", "alice", "bob", *["mallory"] * 4]
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_a_free_place_is_taken_at_once_and_none_is_lost() -> None:
    async def run() -> None:
        turns = Turns(2)
        for _ in range(2):
            await turns.take(lambda: "alice")
        (gone, stays), served = await waiting(turns, "charlie", "bob")
        gone.cancel()
        await asyncio.wait([gone])
        turns.give_back()
        await stays
        assert served == ["bob"]
        turns.give_back()
        turns.give_back()
        for _ in range(2):
            await asyncio.wait_for(turns.take(lambda: "alice"), 5)

    asyncio.run(run())
