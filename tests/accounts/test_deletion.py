"""An account that owns or owned money stays."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from accounts.models import User
from tests.cast import fund


@pytest.mark.parametrize("sats", [0, 5])
def test_an_account_of_the_books_cannot_be_deleted(alice: User, sats: int) -> None:
    """A05: not by Django, and not by SQL."""
    if sats:
        fund(alice, sats)
    with pytest.raises(ProtectedError), transaction.atomic():
        alice.delete()
    with pytest.raises(IntegrityError), transaction.atomic():
        delete_by_sql(alice)
    assert User.objects.filter(id=alice.id).exists()


def delete_by_sql(user: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("DELETE FROM accounts_user WHERE id = %s", [user.id])
