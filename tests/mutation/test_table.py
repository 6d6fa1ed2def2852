"""The table of mutations fits the tree: a guard that is written anew is looked for here again."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mutation.__main__ import ROOT
from tests.mutation.table import MUTATIONS, Mutation

FROM_THE_REVIEW = 27


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: str(mutation.number))
def test_what_a_mutation_breaks_is_there_once(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: str(mutation.number))
def test_the_tests_that_must_fail_are_there(mutation: Mutation) -> None:
    for test in mutation.kills:
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / path).read_text()


def test_every_mutation_has_a_number_of_its_own_and_those_of_the_review_are_all_there() -> None:
    numbers = Counter(mutation.number for mutation in MUTATIONS)
    assert set(numbers.values()) == {1}
    assert set(range(1, FROM_THE_REVIEW + 1)) <= set(numbers)
