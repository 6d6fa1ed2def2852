"""Take another Lightning node, or one that has lost records, for ours."""

from __future__ import annotations

from collections.abc import Callable

from coinos import nodes
from invoices.services import node as known_node
from payments.models import OperatorAct
from payments.operations.verb import Arguments, Claim, Parameter, Verb


def node_id(text: str) -> str:
    """The id of a Lightning node, 33 bytes in hex."""
    if len(bytes.fromhex(text)) != 33:
        raise ValueError(text)
    return text.lower()


def _look(arguments: Arguments) -> Claim:
    known_node.require_that_node(nodes.lightning(), arguments["node"])
    refusal = known_node.refusal()
    about = f"adopt the Lightning node {arguments['node']}"
    return Claim(f"{about}, although {refusal}" if refusal else about, None)


def _begin(act: OperatorAct) -> Callable[[], str]:
    """Adopting twice does what adopting once does."""
    known_node.adopt(act.arguments["node"])
    return lambda: "what it has received is compared with the books from the beginning"


ADOPT = Verb(
    name="adopt",
    help="Take the Lightning node as it is now for the one whose books are read.",
    parameters=(Parameter("node", "the id of the node, as getinfo says it", node_id),),
    look=_look,
    begin=_begin,
)
