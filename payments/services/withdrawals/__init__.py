"""What becomes of an accepted withdrawal: sign once, broadcast the same hex for ever, follow it.

| step      | committed by it                    | the process dies here: what finishes it        |
|-----------|------------------------------------|------------------------------------------------|
| hold      | payment `created` + hold, together | `advance_withdrawals` searches, then prepares  |
| prepare   | nothing                            | the same; nobody has seen what was signed      |
| sign      | `signed` with hex and inputs       | `advance_withdrawals` broadcasts the hex       |
| broadcast | `broadcast_attempted_at`           | the same hex again, never another transaction  |
| book      | `broadcast` + ledger, together     | `advance_withdrawals` counts confirmations     |

The fee is exact in the signed transaction, so the hold is resolved when it is broadcast.

A database can lose what it had committed: a standby takes over, a backup is restored. The wallet
of the node does not forget with it, so it is searched before anything is prepared later than in
the first moments (`search`), and what it has sent is adopted (`adopting`).
"""

from payments.services.withdrawals.adopting import match
from payments.services.withdrawals.ending import abandon
from payments.services.withdrawals.rounds import advance, advance_withdrawals
from payments.services.withdrawals.signing import prepare
from payments.services.withdrawals.versions import add_version

__all__ = ["abandon", "add_version", "advance", "advance_withdrawals", "match", "prepare"]
