"""A wrong setting stops the start with a sentence that names it."""

import os
import runpy
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from coinos import crypto, embedded, nodes, secret_keys

ROOT = Path(__file__).resolve().parent.parent.parent
NODES = {"LIGHTNING_RPC": "/run/lightning-rpc", "BITCOIN_RPC_URL": "http://u:p@127.0.0.1:8332"}
DATABASE = {"DATABASE_URL": "postgresql://app@db/coinos"}
HTTPS = {"PUBLIC_URL": "https://wallet.example.com", "TRUSTED_PROXIES": "1"}
MAINNET = {"NETWORK": "bitcoin", **NODES, **DATABASE, **HTTPS}


@pytest.fixture
def data_dir() -> Iterator[str]:
    """Short, so that no link to it is left in the temporary folder."""
    with tempfile.TemporaryDirectory(prefix="coinos-") as folder:
        yield folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, data_dir: str) -> Any:
    """Read the settings anew with just these variables."""

    def read(**environment: str) -> dict[str, Any]:
        path = os.environ["PATH"]
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in {"PATH": path, "COINOS_DATA_DIR": data_dir, **environment}.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "coinos" / "settings.py"))

    return read


def test_with_nothing_set_the_server_is_a_local_simulated_one(read):
    settings = read()
    assert settings["SIMNET"]
    assert settings["PUBLIC_URL"] == "http://127.0.0.1:8000"
    assert settings["DATABASE_IS_EMBEDDED"]
    assert settings["REDIS_IS_EMBEDDED"]
    assert not settings["DEBUG"]


def test_a_real_server_is_strict(read):
    settings = read(**MAINNET)
    assert settings["SESSION_COOKIE_NAME"] == "__Host-sessionid"
    assert settings["SESSION_COOKIE_HTTPONLY"]
    assert settings["CSRF_COOKIE_HTTPONLY"]
    assert settings["SECURE_HSTS_SECONDS"] >= 31536000
    assert settings["ALLOW_PRIVATE_URLS"] == []
    assert not settings["ADMIN_ENABLED"]


NOT_FOR_THIS_PROCESS = dict.fromkeys(
    ("LIGHTNING_RPC", "BITCOIN_RPC_URL", "SECRET_KEY", "JWT_SIGNING_KEY", "FIELD_KEY"), "none"
)


def test_a_process_can_be_kept_from_nodes_and_keys(read, data_dir, settings):
    """sec-16: nothing falls back to simnet or to keys in a file, and nothing is sealed for ever."""
    found = [read(**MAINNET | NOT_FOR_THIS_PROCESS) for _ in range(2)]
    assert not found[0]["SIMNET"]
    for name in ("SECRET_KEY", "JWT_SIGNING_KEY"):
        assert not secret_keys.is_sample(found[0][name])
        assert found[0][name] != found[1][name]
    assert list(Path(data_dir).iterdir()) == []
    for name in ("LIGHTNING_RPC", "BITCOIN_RPC_URL", "FIELD_KEYS"):
        setattr(settings, name, found[0][name])
    for forbidden in (
        nodes.lightning,
        nodes.bitcoin,
        lambda: crypto.seal("hunter2", place="here"),
        lambda: crypto.unseal("v1.aaaa", place="here"),
    ):
        with pytest.raises(ImproperlyConfigured, match="has no business with"):
            forbidden()


def test_one_node_may_be_for_a_process_and_the_other_not(read):
    found = read(**MAINNET | {"BITCOIN_RPC_URL": "none"})
    assert (found["LIGHTNING_RPC"], found["BITCOIN_RPC_URL"]) == ("/run/lightning-rpc", "none")


@pytest.mark.parametrize(
    ("environment", "hosts"),
    [
        ({}, ["127.0.0.1", "localhost", "[::1]"]),
        ({"HOST": "0.0.0.0"}, ["0.0.0.0", "127.0.0.1", "localhost", "[::1]"]),
        ({"PUBLIC_URL": "http://localhost"}, ["localhost", "127.0.0.1", "[::1]"]),
        ({"PUBLIC_URL": "http://[fd00::1]:8000"}, ["[fd00::1]"]),
        (HTTPS, ["wallet.example.com"]),
        ({**HTTPS, "ALLOWED_HOSTS": "a.onion,127.0.0.1"},
            ["wallet.example.com", "a.onion", "127.0.0.1"]),
    ],
)  # fmt: skip
def test_only_a_server_on_this_machine_answers_to_the_names_of_loopback(read, environment, hosts):
    """sec-18"""
    assert read(**environment)["ALLOWED_HOSTS"] == hosts


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"NETWORK": "mainnet"}, "NETWORK is 'mainnet': write one of bitcoin"),
        ({"NETWORK": "signet"}, "no node is given"),
        ({"LIGHTNING_RPC": "/run/rpc"}, "BITCOIN_RPC_URL is not"),
        ({**NODES, "BITCOIN_RPC_URL": "localhost"}, "BITCOIN_RPC_URL must look like"),
        ({"PORT": "eighty"}, "PORT is 'eighty': write a whole number"),
        ({"PORT": "-1"}, "PORT is '-1'"),
        ({"DEBUG": "maybe"}, "DEBUG is 'maybe': write on or off"),
        ({"PUBLIC_URL": "wallet.example.com"}, "PUBLIC_URL is"),
        ({"PUBLIC_URL": "https://wallet.example.com"}, "set TRUSTED_PROXIES=1"),
        ({"SECRET_KEY": "changeme" * 8}, "SECRET_KEY is a sample value"),
        ({"JWT_SIGNING_KEY": "short"}, "JWT_SIGNING_KEY is a sample value"),
        ({"FIELD_KEY": "0123456789abcdef" * 3}, "FIELD_KEY must be 32 random bytes"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL must begin with"),
        ({"DATABASE_URL": "postgresql://app@db"}, "name the database"),
        (
            {"DATABASE_URL": "mysql://app@db/coinos"},
            "DATABASE_URL: it must begin with postgresql://",
        ),
        ({"DATABASE_OWNER_URL": "postgresql://o@db/c"}, "set both or neither"),
        ({"EMAIL_URL": "smtp://mail.example"}, "Set both EMAIL_URL and EMAIL_FROM"),
        ({"EMAIL_FROM": "a@b.example"}, "Set both EMAIL_URL and EMAIL_FROM"),
        ({"EMAIL_URL": "mail.example:25", "EMAIL_FROM": "a@b.example"}, "must look like smtp://"),
        ({"EMAIL_URL": "smtp://mail:x", "EMAIL_FROM": "a@b.example"}, "must look like smtp://"),
        ({"EMAIL_URL": "smtp://u@mail", "EMAIL_FROM": "a@b.example"}, "must look like smtp://"),
        ({"EMAIL_URL": "smtps://mail", "EMAIL_FROM": "wallet"}, "EMAIL_FROM must be an address"),
        ({"EXPLORER_URL": "https://explorer.example/tx/"}, "EXPLORER_URL is"),
        ({"EXPLORER_URL": "explorer.example/tx/{txid}"}, "EXPLORER_URL is"),
        ({"EXPLORER_URL": "javascript:alert('{txid}')"}, "EXPLORER_URL is"),
        ({"EXPLORER_URL": "http://explorer.example/{txid}"}, "http is for an explorer on this"),
        ({"EXPLORER_URL": "https://{txid}.example/"}, "EXPLORER_URL is"),
        ({"EXPLORER_URL": "https://[::1/{txid}"}, "EXPLORER_URL is"),
        ({"ALLOW_PRIVATE_URLS": "10.0.0.1/8"}, "Write networks such as"),
        ({"ADMIN_HOST": "https://admin.example.com"}, "write a host name of its own"),
        ({"ADMIN_HOST": "127.0.0.1"}, "write a host name of its own"),
        ({**MAINNET, "ADMIN_HOST": "admin.example.com"}, "ADMIN_ENABLED is not"),
        ({**MAINNET, "RATE_LIMITS": "off"}, "RATE_LIMITS=off is refused on mainnet"),
        ({**MAINNET, "SEND_RETRY_FOR": "2"}, "may not be shorter"),
        ({**MAINNET, "ALLOW_PRIVATE_URLS": "10.0.0.0/8"}, "refused on mainnet"),
        ({**MAINNET, "DEBUG": "on"}, "DEBUG is refused on mainnet"),
        ({**MAINNET, "PUBLIC_URL": "http://wallet.example.com"}, "needs an https PUBLIC_URL"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_sentence(read, environment, sentence):
    """input-C26, input-C27"""
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(**environment)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://explorer.example:8443/testnet4/#/tx/{txid}",
        "http://127.0.0.1:1080/tx/{txid}",
        "http://[::1]/tx?id={txid}",
        "http://localhost/{txid}",
    ],
)
def test_a_block_explorer_is_elsewhere_by_https_or_on_this_machine(read, url):
    assert read(EXPLORER_URL=url)["EXPLORER_URL"] == url


@pytest.mark.parametrize(
    ("url", "host", "port", "at_once", "starttls"),
    [
        ("smtps://me:p%40ss@mail.example", "mail.example", 465, True, False),
        ("smtp://me:p%40ss@mail.example:2525", "mail.example", 2525, False, True),
        ("smtp://me:p%40ss@127.0.0.1:25", "127.0.0.1", 25, False, False),
        ("smtp://me:p%40ss@[::1]", "::1", 587, False, False),
    ],
)
def test_a_password_reaches_a_mail_server_elsewhere_only_encrypted(
    read, url, host, port, at_once, starttls
):
    settings = read(EMAIL_URL=url, EMAIL_FROM="Wallet <wallet@pay.example>")
    assert (settings["EMAIL_HOST"], settings["EMAIL_PORT"]) == (host, port)
    assert (settings["EMAIL_HOST_USER"], settings["EMAIL_HOST_PASSWORD"]) == ("me", "p@ss")
    assert (settings["EMAIL_USE_SSL"], settings["EMAIL_USE_TLS"]) == (at_once, starttls)


def test_a_wrong_mail_url_is_refused_without_showing_its_password(read):
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(EMAIL_URL="smtp://me:hunter2@mail.example/path", EMAIL_FROM="a@b.example")
    assert "hunter2" not in str(refusal.value)


def test_mainnet_as_root_with_the_embedded_database_is_refused(read, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ImproperlyConfigured, match="as root with the embedded database"):
        read(NETWORK="bitcoin", **NODES, **HTTPS)


def test_keys_are_made_once_and_only_their_owner_reads_them(tmp_path):
    path = tmp_path / "secrets" / "KEY"
    seen: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: seen.append(secret_keys.generated_once(path, secret_keys.random_text))
        )
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 16
    assert len(set(seen)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["KEY"]
    assert not secret_keys.is_sample(seen[0])


def test_a_long_data_dir_still_has_sockets_that_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    data_dir = tmp_path / ("long" * 30)
    path = embedded.socket_path(data_dir, "simnet/lightning-rpc")
    try:
        assert len(str(path)) <= embedded.SOCKET_PATH_BYTES_MAX
        assert path == embedded.socket_path(data_dir, "simnet/lightning-rpc")
        assert path.parent.parent.readlink() == data_dir

        path.parent.parent.unlink()
        path.parent.parent.symlink_to("/tmp/somebody-elses")
        with pytest.raises(embedded.CannotStart, match="choose a shorter COINOS_DATA_DIR"):
            embedded.socket_path(data_dir, "simnet/lightning-rpc")
    finally:
        path.parent.parent.unlink()
