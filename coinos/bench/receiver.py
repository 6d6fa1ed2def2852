"""Webhook receivers, a process of its own: `receiver.py <live> <dead>` prints its ports, live ones
first. Live ones answer 200 to every POST; dead ones accept it and never answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            await reader.readexactly(length)
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass
    writer.close()


async def main(live: int, dead: int) -> None:
    servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(live)]
    servers += [await asyncio.start_server(keep_silent, "127.0.0.1", 0) for _ in range(dead)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the bench closes it
    os._exit(0)  # connections may still be open


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
