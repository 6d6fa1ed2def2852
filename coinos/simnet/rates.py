"""Simnet's source of fiat rates: GET /rates, the same numbers every day unless told otherwise."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from coinos.simnet.control import ControlMethod

PORT_FILE = "rates-port"
LARGEST_REQUEST = 16 * 1024

# Units of the currency per bitcoin. Round, so that examples can be followed by hand.
DEFAULT_RATES: dict[str, float] = {
    "USD": 100_000,
    "AED": 367_250,
    "ARS": 145_000_000,
    "AUD": 152_000,
    "BRL": 540_000,
    "CAD": 135_000,
    "CHF": 80_000,
    "CNY": 712_000,
    "COP": 385_000_000,
    "CRC": 50_000_000,
    "CZK": 2_100_000,
    "DKK": 687_000,
    "EUR": 92_000,
    "GBP": 78_000,
    "INR": 8_900_000,
    "JPY": 15_000_000,
    "KES": 12_900_000,
    "MXN": 1_850_000,
    "NGN": 145_000_000,
    "NOK": 1_010_000,
    "PHP": 5_850_000,
    "PLN": 365_000,
    "SEK": 945_000,
    "THB": 3_240_000,
    "ZAR": 1_720_000,
}


class RatesServer:
    """Serves the rates over HTTP on loopback; the port stands in the file `rates-port`."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        self.port = port
        self.rates = dict(DEFAULT_RATES)
        self.down = False
        self._server: asyncio.Server | None = None

    @property
    def control_methods(self) -> dict[str, ControlMethod]:
        return {
            "set_rate": lambda p: self.set_rate(p["currency"], p["rate"]),
            "rates_down": lambda p: self.rates_down(p["on"]),
        }

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=LARGEST_REQUEST
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.directory.mkdir(parents=True, exist_ok=True)
        draft = self.directory / f"{PORT_FILE}.new"
        draft.write_text(str(self.port))
        draft.replace(self.directory / PORT_FILE)

    async def stop(self) -> None:
        (self.directory / PORT_FILE).unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()

    def set_rate(self, currency: str, rate: Any) -> None:
        """Quote `rate` (any JSON, so that nonsense can be tried) from now on; null removes it."""
        if rate is None:
            self.rates.pop(currency, None)
        else:
            self.rates[currency] = rate

    def rates_down(self, on: bool) -> None:
        """While on, every request is answered with 503."""
        self.down = on

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout=5)
            status, body = self._answer(head.split(b" ", 2)[:2])
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (
            ConnectionError,
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            pass  # whoever it was has gone, or does not speak HTTP
        finally:
            writer.close()

    def _answer(self, request: list[bytes]) -> tuple[str, bytes]:
        if request != [b"GET", b"/rates"]:
            return "404 Not Found", b"{}"
        if self.down:
            return "503 Service Unavailable", b"{}"
        return "200 OK", json.dumps(self.rates).encode()
