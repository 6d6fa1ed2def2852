-- What the application's role ({app_role}) may run of the ledger: what names a kind, and nothing else.
REVOKE ALL ON FUNCTION ledger_post, ledger_receive, ledger_receive_each, ledger_hold, ledger_settle,
    ledger_void, ledger_reverse FROM {app_role};
GRANT EXECUTE ON FUNCTION ledger_receive_lightning, ledger_receive_onchain, ledger_reverse_onchain,
    ledger_repay_shortfall, ledger_receive_unmatched, ledger_move_internal, ledger_make_gift,
    ledger_take_gift, ledger_return_gift, ledger_hold_payment, ledger_settle_payment,
    ledger_release_payment, ledger_return_withdrawal TO {app_role};
