"""`manage.py operator …`: what operators may do to money and payments, from the server's machine.

The verbs are those of `payments.operations.verbs`. What needs no second operator is done at once;
the rest waits for `operator approve`, here or in the admin.
"""

from __future__ import annotations

import getpass
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts import names, services
from accounts.errors import OtpRequired
from accounts.management.commands.changepassword import whoever_runs_this
from accounts.models import User
from accounts.operators import has_what_operators_need
from coinos import alarms
from coinos.errors import CoinosError
from payments.models import OperatorAct
from payments.operations import VERBS, By, acts, books, unknown
from payments.services.comparison import compare


class Command(BaseCommand):
    help = (
        "Do to money and payments what only operators may. Each act needs a reason, and above"
        " OPERATOR_APPROVAL_SAT the approval of a second operator."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        asked = parser.add_subparsers(dest="verb", required=True, metavar="verb")
        asked.add_parser("list", help="What waits for an approval, or to be carried out.")
        asked.add_parser("suspense", help="What arrived for nobody and was not credited since.")
        asked.add_parser("alarms", help="What stands, and whether somebody has looked into it.")
        compare = asked.add_parser(
            "compare", help="What the books and the nodes disagree about. Takes a while."
        )
        compare.add_argument("--days", type=int, default=30, help="How far back in the wallet")
        approve = asked.add_parser("approve", help="Approve an act of another operator; do it.")
        carry_out = asked.add_parser("carry-out", help="Do what was approved before.")
        drop = asked.add_parser("drop", help="End an act that nobody wants any more.")
        for each in (approve, carry_out, drop):
            each.add_argument("act", type=UUID, help="The id of an act; `list` shows it")
        for verb in VERBS.values():
            own = asked.add_parser(verb.name, help=verb.help, description=verb.help)
            for parameter in verb.parameters:
                how: dict[str, Any] = {"action": "store_true"} if parameter.is_flag else {}
                if parameter.is_optional:
                    how = {"nargs": "?"}
                own.add_argument(parameter.option, help=parameter.help, **how)
            _add_who(own, reason=True)
        _add_who(approve, reason=True, operator=True)
        _add_who(carry_out, reason=False)
        _add_who(drop, reason=True)

    def handle(self, *args: Any, **options: Any) -> None:
        verb = options["verb"]
        if verb in LISTS:
            return LISTS[verb](self)
        if verb == "compare":
            return self._compare(options["days"])
        try:
            by = _by(options["operator"])
            self._do(verb, by, options)
        except CoinosError as error:
            raise CommandError(error.message) from error
        except OperatorAct.DoesNotExist:
            raise CommandError(f"There is no act {options['act']}.")
        return None

    def _do(self, verb: str, by: By, options: dict[str, Any]) -> None:
        if verb == "drop":
            acts.drop(options["act"], by=by, reason=options["reason"])
            self.stdout.write("Dropped: it will never be carried out.")
            return
        if verb == "approve":
            acts.approve(options["act"], by=by, reason=options["reason"])
        if verb in ("approve", "carry-out"):
            act = acts.carry_out(options["act"], by=by)
        else:
            act = acts.ask(verb, options, by=by, reason=options["reason"])
        if act.state == "carried out":
            self.stdout.write(f"Done: {act.outcome}.")
        elif act.state == "ready":
            self.stdout.write(
                f"Act {act.id} could not be carried out here: {act.problem}."
                f" Then: manage.py operator carry-out {act.id}"
            )
        else:
            self.stdout.write(
                f"Act {act.id} waits: {act.about}. Another operator approves it in the admin, or"
                f" by: manage.py operator approve {act.id} --operator NAME --reason …"
            )

    def _list(self) -> None:
        found = list(acts.open_acts())
        for act in found:
            self.stdout.write(
                f"{act.id}  {act.state}, asked by {act.asked_as} at {act.created:%Y-%m-%d %H:%M}\n"
                f"      {act.about}\n      reason: {act.reason}"
            )
            if act.problem:
                self.stdout.write(f"      could not be carried out: {act.problem}")
        if not found:
            self.stdout.write("Nothing waits.")

    def _suspense(self) -> None:
        items = books.suspense_items()
        for item in items:
            arrived = item.transfer
            self.stdout.write(
                f"{arrived.id}  {item.open_sat:,} sats open, arrived"
                f" {arrived.created:%Y-%m-%d %H:%M} as {arrived.external_id}"
                f" ({arrived.cause_kind} {arrived.cause_id})"
            )
        if not items:
            self.stdout.write("Nothing is in suspense.")

    def _alarms(self) -> None:
        found = list(alarms.standing())
        for alarm in found:
            seen_to = f"acknowledged by {alarm.acknowledged_by}: {alarm.reason}"
            self.stdout.write(
                f"{alarm.id}  {alarm.sentence}, since {alarm.first_seen:%Y-%m-%d %H:%M}; "
                + (seen_to if alarms.is_seen_to(alarm) else "not acknowledged")
            )
        if not found:
            self.stdout.write("No alarm stands.")

    def _compare(self, days: int) -> None:
        """Each line is something to do; without one, books and nodes agree."""
        try:
            found = compare()
            paid = unknown.unknown_payments(since=timezone.now() - timedelta(days=days))
        except CoinosError as error:
            raise CommandError(error.message) from error
        lines = [
            *(
                f"received at the node, in no book: {one.received_msat or 0:,} msat, payment hash"
                f" {one.payment_hash}, label {one.label!r}"
                for one in found.not_booked
            ),
            *(
                f"given back, and paid or in flight at the node: payment {one.id} of"
                f" {one.user.username}, {one.amount_sat:,} sats"
                for one in found.given_back
            ),
            *(
                f"in flight, and unknown to the node: payment {one.id} of {one.user.username},"
                f" {one.amount_sat:,} sats, sent {one.attempted_at:%Y-%m-%d %H:%M}"
                for one in found.not_known
            ),
            *(
                f"open, and unknown to the node: invoice {one.invoice_id} of"
                f" {one.invoice.user.username}"
                for one in found.not_payable
            ),
            *(f"paid, and no payment here: {one}\n      → operator charge" for one in paid),
            *(
                f"received, and nobody's: item {one.transfer.id}, {one.open_sat:,} sats"
                f" ({one.transfer.external_id})\n      → operator credit"
                for one in books.suspense_items()
            ),
        ]
        for line in lines:
            self.stdout.write(line)
        if not lines:
            self.stdout.write("The books and the nodes agree.")


LISTS = {"list": Command._list, "suspense": Command._suspense, "alarms": Command._alarms}


def _add_who(parser: Any, *, reason: bool, operator: bool = False) -> None:
    if reason:
        parser.add_argument("--reason", required=True, help="For the audit log")
    parser.add_argument(
        "--operator",
        metavar="NAME",
        required=operator,
        help="The operator who asks. The password, and the code of the second factor, are asked"
        " for, or read as lines from standard input",
    )


def _by(name: str | None) -> By:
    """Whoever has the machine; or the operator of this name, who proves it as at the sign-in."""
    if name is None:
        return By(whoever_runs_this())
    username = names.normalise(name)
    password = _typed(f"Password of {username}: ")
    try:
        operator = services.authenticate(username=username, password=password, code="")
    except OtpRequired:
        code = _typed("Code of the second factor: ")
        operator = services.authenticate(username=username, password=password, code=code)
    if not may_act(operator):
        raise CommandError(f"{username} is no operator who may do this.")
    return By(f"operator {operator.username}", operator)


def may_act(user: User) -> bool:
    """As the admin asks it: staff, with the permission, and a second factor where one is needed."""
    allowed = user.is_staff and user.has_perm("payments.change_operatoract")
    return allowed and has_what_operators_need(user)


def _typed(prompt: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return sys.stdin.readline().rstrip("\r\n")
