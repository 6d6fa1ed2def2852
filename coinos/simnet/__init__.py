"""Simnet: a simulated Lightning and bitcoin network in one process, with persistent state.

It speaks the RPC of Core Lightning on a unix socket and that of Bitcoin Core over HTTP, so
that development, tests and fault injection use the production adapters over real sockets.
This package knows nothing of Django and nothing of the wallet.
"""
