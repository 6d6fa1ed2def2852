"""Services of money going out: accept it, send it, find out what became of it."""

from payments.services.autowithdraw import check_auto_withdraw, save_auto_withdraw
from payments.services.bump import bump, bump_own
from payments.services.cancel import cancel
from payments.services.funds import (
    make_gift_of_fund,
    replace_link_of_fund,
    take_back_gift_of_fund,
    take_out,
)
from payments.services.gifts import make_gift, replace_link, take_back, take_gift
from payments.services.internal import pay_own_invoice, send_to_user
from payments.services.lightning import decode, pay_lightning, payment_request_of
from payments.services.lnurl import pay_address
from payments.services.onchain import quote_onchain, send_onchain
from payments.services.resolution import resolve_due
from payments.services.withdrawals import advance_withdrawals

__all__ = [
    "advance_withdrawals",
    "bump",
    "bump_own",
    "cancel",
    "check_auto_withdraw",
    "decode",
    "make_gift",
    "make_gift_of_fund",
    "pay_address",
    "pay_lightning",
    "pay_own_invoice",
    "payment_request_of",
    "quote_onchain",
    "replace_link",
    "replace_link_of_fund",
    "resolve_due",
    "save_auto_withdraw",
    "send_onchain",
    "send_to_user",
    "take_back",
    "take_back_gift_of_fund",
    "take_gift",
    "take_out",
]
