"""What operators may do to money and payments, by hand: each act a row, with a reason.

`acts` keeps the rows: proposed, approved by a second operator where that is asked for, carried out
once. `verbs` is the table of what can be done; the modules beside it do it, through services.
"""

from __future__ import annotations

from payments.operations.acts import (
    By,
    approve,
    ask,
    carry_out,
    drop,
    open_acts,
)
from payments.operations.verb import ActRefused
from payments.operations.verbs import VERBS

__all__ = ["VERBS", "ActRefused", "By", "approve", "ask", "carry_out", "drop", "open_acts"]
