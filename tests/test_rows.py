"""Rows that are written together, in one statement."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection

from accounts.models import User
from coinos import rows
from invoices.models import Invoice
from tests.cast import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return make_user("alice")


def an_invoice(owner: User, **fields: object) -> Invoice:
    return Invoice(user=owner, amount_sat=5, currency="USD", expiry_s=60, **fields)


def test_a_row_is_read_back_as_it_was_written(alice: User) -> None:
    invoice = an_invoice(
        alice,
        memo='"quotes", {braces}, \\ and ¥ 100 % \U0001f355',
        rate=Decimal("123456.12345678"),
        items=[{"name": "tea", "price": 2, "sold": None}],
        settled_at=datetime(2026, 11, 26, 1, 2, 3, 456789, UTC),
        received_sat=2_100_000_000_000_000,
    )
    rows.insert_together(invoice)
    read = Invoice.objects.get(id=invoice.id)
    for field in Invoice._meta.concrete_fields:
        assert getattr(read, field.attname) == getattr(invoice, field.attname), field.name


def test_only_the_named_fields_of_these_rows_change(alice: User) -> None:
    first, second, other = [an_invoice(alice) for _ in range(3)]
    for invoice in (first, second, other):
        rows.insert_together(invoice)
        invoice.memo, invoice.received_sat = "not saved", 5
    rows.update_all([first, second], ["received_sat"])
    read = {one.id: (one.received_sat, one.memo) for one in Invoice.objects.all()}
    assert read == {first.id: (5, ""), second.id: (5, ""), other.id: (0, "")}


def test_one_row_of_many_is_found_by_its_key(alice: User) -> None:
    made = Invoice.objects.bulk_create(an_invoice(alice) for _ in range(2_000))
    change = rows.update([made[7]], ["received_sat", "settled_at"])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE invoices_invoice")
        cursor.execute(f"EXPLAIN {change.sql}", change.values)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Scan" in plan
    assert "Seq Scan" not in plan


def test_what_json_has_no_word_for_is_refused_not_guessed() -> None:
    with pytest.raises(TypeError):
        rows.as_json(["content"], [[b"bytes"]])
