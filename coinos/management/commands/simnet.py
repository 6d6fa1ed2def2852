"""`manage.py simnet run` starts the simulated network; the other words move its outside world."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from coinos.simnet.control import Control, ControlError
from coinos.simnet.network import OUTSIDE
from coinos.simnet.server import AlreadyRunning, serve


class Command(BaseCommand):
    help = "Run the simulated Lightning and bitcoin network, or act as its outside world."
    requires_system_checks = ()  # it needs no database

    def add_arguments(self, parser: CommandParser) -> None:
        words = parser.add_subparsers(dest="word", required=True)
        run = words.add_parser("run", help="run the network in the foreground")
        run.add_argument(
            "--block-interval", type=float, default=30, help="seconds; 0: blocks only on command"
        )
        run.add_argument("--bitcoin-port", type=int, default=_bitcoin_port())
        pay = words.add_parser("pay", help="pay an invoice of ours from outside")
        pay.add_argument("invoice")
        _sats(pay)
        invoice = words.add_parser("invoice", help="an outside invoice for us to pay")
        _sats(invoice)
        invoice.add_argument("--node", choices=OUTSIDE, default="carol")
        invoice.add_argument("--description", default="simnet")
        deposit = words.add_parser("deposit", help="send coins to an address of ours")
        deposit.add_argument("address")
        deposit.add_argument("sats", type=int)
        mine = words.add_parser("mine", help="mine blocks")
        mine.add_argument("n", type=int, nargs="?", default=1)
        words.add_parser("address", help="an address of the outside wallet")
        reorg = words.add_parser("reorg", help="disconnect blocks and mine others")
        reorg.add_argument("n", type=int)

    def handle(self, *args: Any, word: str, **given: Any) -> None:
        if not settings.SIMNET:
            raise CommandError("LIGHTNING_RPC and BITCOIN_RPC_URL are set: there is no simnet.")
        if word == "run":
            self._run(given["bitcoin_port"], given["block_interval"])
            return
        try:
            self.stdout.write(self._act(word, given))
        except ControlError as error:
            raise CommandError(f"{error.code}: {error.message}") from None
        except OSError as error:
            raise CommandError(f"simnet does not answer ({error}). Is it running?") from None

    @staticmethod
    def _run(bitcoin_port: int, block_interval_s: float) -> None:
        try:
            asyncio.run(
                serve(
                    settings.SIMNET_CONTROL.parent,
                    bitcoin_port=bitcoin_port,
                    block_interval_s=block_interval_s,
                )
            )
        except AlreadyRunning as error:
            raise CommandError(str(error)) from None

    @staticmethod
    def _act(word: str, given: dict[str, Any]) -> str:
        control = Control(settings.SIMNET_CONTROL)
        sats = given.get("sats")
        amount_msat = None if sats is None else sats * 1000
        match word:
            case "pay":
                return str(control.pay(given["invoice"], amount_msat)["preimage"])
            case "invoice":
                return control.invoice(amount_msat, given["description"], node=given["node"])
            case "deposit":
                return control.deposit(given["address"], given["sats"])
            case "mine":
                return "\n".join(control.mine(given["n"]))
            case "address":
                return control.address()
            case _:
                return "\n".join(control.reorg(given["n"]))


def _sats(parser: ArgumentParser) -> None:
    parser.add_argument("sats", type=int, nargs="?", help="needed when the invoice has no amount")


def _bitcoin_port() -> int:
    """The port in `BITCOIN_RPC_URL`, which the rest of the server will call."""
    return int(settings.BITCOIN_RPC_URL.rsplit(":", 1)[1])
