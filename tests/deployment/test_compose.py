"""docker-compose.yml is held to what it promises: who reaches whom, who knows what, and how little
a container may do.

sec-16: secrets stood on command lines, one flat network held everything, and every process had
every secret and both nodes."""

from __future__ import annotations

import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import pytest
import redis
import yaml

from coinos import embedded, limits
from coinos.bodies import UPLOAD_TIMEOUT_S
from coinos.celery import app
from coinos.management.commands import up
from coinos.management.commands.up import Command
from coinos.nodes import bitcoind
from coinos.web_server import HEADERS_TIMEOUT_S, STOP_S
from tests.web_server import WebServer

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "docker-compose.yml"

OURS = {"web", "worker", "watcher", "webhooks", "beat", "migrate"}
SECRETS = (
    "SECRET_KEY JWT_SIGNING_KEY FIELD_KEY POSTGRES_PASSWORD DATABASE_PASSWORD"
    " DATABASE_OWNER_PASSWORD REDIS_PASSWORD BITCOIN_RPC_PASSWORD LIGHTNING_RPC_PASSWORD"
).split()
HASHES = ["BITCOIN_RPC_AUTH", "LIGHTNING_RPC_AUTH"]


# --- Reading it as Compose does ------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What .env holds after the commands in the first lines of the file have been run."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("deployment")
    comments = FILE.read_text().split("\nx-hardened")[0].splitlines()
    lines = [line[4:] for line in comments if line.startswith("#   ")]
    script = "\n".join(line for line in lines if not line.startswith("docker compose"))
    subprocess.run(["bash", "-euc", script], cwd=folder, check=True, timeout=60)
    assert (folder / ".env").stat().st_mode & 0o077 == 0
    found = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    return {name: value.strip("'").split(" #")[0].strip() for name, value in found.items()}


def interpolated(text: str, environment: dict[str, str]) -> str:
    """`${NAME:?…}`, `${NAME:-default}` and `${NAME:+replacement}`; `$$` is a dollar."""

    def value(found: re.Match[str]) -> str:
        name, how, rest = found["name"], found["how"], found["rest"] or ""
        if how == "?":
            assert environment.get(name), f"the first lines of the file do not make {name}"
            return environment[name]
        if how == "+":
            return rest if environment.get(name) else ""
        return environment.get(name) or rest

    pattern = r"\$\{(?P<name>\w+)(?::(?P<how>[-?+])(?P<rest>(?:[^{}]|\{[^{}]*\})*))?\}"
    return re.sub(pattern, value, text).replace("$$", "$")


@pytest.fixture(scope="module")
def compose(environment: dict[str, str]) -> dict[str, Any]:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(part) for name, part in value.items()}
        if isinstance(value, list):
            return [filled(part) for part in value]
        return interpolated(value, environment) if isinstance(value, str) else value

    found: dict[str, Any] = filled(yaml.safe_load(FILE.read_text()))
    return found


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def neighbours(services: dict[str, Any], name: str) -> set[str]:
    """Who shares a network with this service."""
    mine = set(services[name]["networks"])
    return {other for other, it in services.items() if mine & set(it["networks"])} - {name}


# --- Everything runs -----------------------------------------------------------------------------


def test_every_service_of_a_server_is_there(services: dict[str, Any]) -> None:
    assert set(services) == OURS | {"proxy", "postgres", "redis", "bitcoind", "lightningd"}


def test_every_queue_has_a_worker_in_both() -> None:
    queues = {"celery"} | {route["queue"] for route in app.conf.task_routes.values()}
    compose = re.findall(r"--queues=(\w+)", FILE.read_text())
    assert set(compose) == queues
    up = (ROOT / "coinos/management/commands/up.py").read_text()
    workers = up[up.index("def workers") :]
    assert {queue for queue in queues if f'"{queue}"' in workers} == queues
    assert [child.name for child in Command().workers()] == ["worker", "watch", "webhooks"]


def test_the_container_and_up_start_the_web_server_that_the_tests_start(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """input-I11: with all of its options, of which the container lacked those for stopping."""
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(up, "start_python", lambda name, argv, **more: started.append(argv))
    Command().web().start()
    assert started == [WebServer.COMMAND]
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (command,) = [line.removeprefix("CMD ") for line in lines if line.startswith("CMD ")]
    assert json.loads(command) == ["python", *WebServer.COMMAND]
    assert "command" not in services["web"]
    assert int(services["web"]["stop_grace_period"].removesuffix("s")) >= 2 * STOP_S


def test_the_image_contains_every_package_of_ours() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "COPY . ." in dockerfile
    let_through = (ROOT / ".dockerignore").read_text().split()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    for name in ("manage.py", "requirements.txt", "templates", "static", *packages):
        assert f"!{name}" in let_through


LOADS = {
    "web": "import coinos.asgi",
    "migrate": "from django.core.management import get_commands; get_commands()",
}
ASKS = """
import django, json
django.setup()
from django.conf import settings
{load}
print(json.dumps({{
    "simnet": settings.SIMNET, "lightning": settings.LIGHTNING_RPC,
    "bitcoin": settings.BITCOIN_RPC_URL.rpartition("@")[2], "sealed": len(settings.FIELD_KEYS),
    "embedded": [settings.DATABASE_IS_EMBEDDED, settings.REDIS_IS_EMBEDDED],
}}))
"""


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_process_starts_with_what_it_is_given(
    services: dict[str, Any], name: str, tmp_path: Path
) -> None:
    """On a public network, and without a file of keys."""
    load = LOADS.get(name, "from coinos.celery import app; app.loader.import_default_modules()")
    given = services[name]["environment"]
    public = {"NETWORK": "signet", "PUBLIC_URL": "https://wallet.example.com"}
    done = subprocess.run(
        [sys.executable, "-c", ASKS.format(load=load)],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "coinos.settings",
            "COINOS_DATA_DIR": str(tmp_path),
            **given,
            **public,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["simnet"] is False
    assert found["lightning"] == given["LIGHTNING_RPC"]
    assert found["bitcoin"] == given["BITCOIN_RPC_URL"].rpartition("@")[2]
    assert found["sealed"] == (given["FIELD_KEY"] != "none")
    assert found["embedded"] == ["DATABASE_URL" not in given, "REDIS_URL" not in given]
    assert not (tmp_path / "secrets").exists()


# --- Who knows what ------------------------------------------------------------------------------

KNOWS = {
    "web": {
        *("SECRET_KEY", "JWT_SIGNING_KEY", "FIELD_KEY", "DATABASE_PASSWORD"),
        *("REDIS_PASSWORD", "BITCOIN_RPC_PASSWORD"),
    },
    "worker": {"FIELD_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD", "BITCOIN_RPC_PASSWORD"},
    "watcher": {"FIELD_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD"},
    # It signs the links in e-mails.
    "webhooks": {"SECRET_KEY", "FIELD_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD"},
    "beat": {"REDIS_PASSWORD"},
    "migrate": {"DATABASE_PASSWORD", "DATABASE_OWNER_PASSWORD"},
    "postgres": {"POSTGRES_PASSWORD", "DATABASE_PASSWORD", "DATABASE_OWNER_PASSWORD"},
    "redis": {"REDIS_PASSWORD"},
    "lightningd": {"LIGHTNING_RPC_PASSWORD"},
    "bitcoind": set(),  # it has hashes of passwords
    "proxy": set(),
}


def test_each_container_knows_the_secrets_that_it_needs(
    services: dict[str, Any], environment: dict[str, str]
) -> None:
    found = {
        name: {
            secret
            for secret in SECRETS
            if environment[secret] in json.dumps(service.get("environment", {}))
        }
        for name, service in services.items()
    }
    assert found == KNOWS


def test_no_secret_stands_on_a_command_line(
    services: dict[str, Any], environment: dict[str, str]
) -> None:
    """`docker inspect` and `ps` show those to everybody on the machine."""
    for name, service in services.items():
        lines = [service.get("command"), service.get("entrypoint"), service.get("healthcheck")]
        for secret in SECRETS:
            assert environment[secret] not in json.dumps(lines), (name, secret)


@pytest.mark.parametrize("name", [*SECRETS, *HASHES, "PUBLIC_URL"])
def test_a_secret_has_no_default(name: str) -> None:
    text = FILE.read_text()
    assert f"${{{name}:?" in text
    assert f"${{{name}:-" not in text


@pytest.mark.parametrize("name", ["BITCOIN", "LIGHTNING"])
def test_the_commands_at_the_top_make_what_bitcoin_core_checks(
    environment: dict[str, str], name: str
) -> None:
    """As its own share/rpcauth/rpcauth.py does it."""
    salt, hashed = environment[f"{name}_RPC_AUTH"].split("$")
    password = environment[f"{name}_RPC_PASSWORD"]
    assert hmac.new(salt.encode(), password.encode(), "sha256").hexdigest() == hashed


# --- Who reaches whom ----------------------------------------------------------------------------


def test_only_the_proxy_is_published_and_it_reaches_the_web_only(services: dict[str, Any]) -> None:
    assert {name for name, it in services.items() if "ports" in it} == {"proxy"}
    assert neighbours(services, "proxy") == {"web"}


def test_only_who_moves_money_reaches_the_nodes(services: dict[str, Any]) -> None:
    """The watcher reads Lightning receipts, by the socket; the web pays while its payer waits."""
    assert neighbours(services, "bitcoind") == {"web", "worker", "lightningd"}
    assert neighbours(services, "lightningd") == {"web", "worker", "bitcoind"}
    mounts = {
        name: [volume for volume in it.get("volumes", []) if volume.startswith("lightning-rpc:")]
        for name, it in services.items()
    }
    assert {name: found for name, found in mounts.items() if found} == {
        "web": ["lightning-rpc:/lightning:ro"],
        "worker": ["lightning-rpc:/lightning:ro"],
        "watcher": ["lightning-rpc:/lightning:ro"],
        "lightningd": ["lightning-rpc:/rpc"],
    }


def test_the_socket_of_lightning_is_for_one_group(services: dict[str, Any]) -> None:
    group = services["lightningd"]["user"].partition(":")[2]
    assert "--rpc-file-mode=0660" in services["lightningd"]["command"][0]
    members = {name for name, it in services.items() if group in it.get("group_add", [])}
    assert members == {"web", "worker", "watcher"}


def test_databases_reach_nobody_and_only_ours_reach_them(services: dict[str, Any]) -> None:
    assert neighbours(services, "postgres") == OURS - {"beat"}
    assert neighbours(services, "redis") == OURS - {"migrate"}


def test_who_calls_the_urls_of_users_is_alone_in_its_network(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    outside = {name for name, it in compose["networks"].items() if not (it or {}).get("internal")}
    assert set(services["webhooks"]["networks"]) & outside == {"calls"}
    assert {name for name, it in services.items() if "calls" in it["networks"]} == {"webhooks"}
    cut_off = {name for name, it in services.items() if not outside & set(it["networks"])}
    assert cut_off == {"watcher", "beat", "migrate", "postgres", "redis"}


def test_bitcoin_core_lets_us_call_what_we_call(services: dict[str, Any]) -> None:
    called = {*get_args(bitcoind.NodeMethod), *get_args(bitcoind.WalletMethod)}
    assert whitelists(services)["coinos"] == called


def test_lightning_cannot_touch_our_wallet(services: dict[str, Any]) -> None:
    """What its plugin bcli calls; nothing of a wallet."""
    allowed = whitelists(services)["lightning"]
    assert {"getblock", "getblockhash", "gettxout", "sendrawtransaction"} <= allowed
    ours = {*get_args(bitcoind.WalletMethod), "loadwallet", "createwallet"}
    assert not allowed & (ours | {"dumpprivkey", "listdescriptors", "sendtoaddress", "stop"})


def whitelists(services: dict[str, Any]) -> dict[str, set[str]]:
    found = {}
    for argument in services["bitcoind"]["command"]:
        name, _, value = argument.partition("=")
        if name == "-rpcwhitelist":
            user, _, methods = value.partition(":")
            found[user] = set(methods.split(","))
    return found


# --- How little a container may do ---------------------------------------------------------------

CAPABILITIES = {
    "proxy": {"NET_BIND_SERVICE"},
    "bitcoind": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
}
WRITABLE = {"bitcoind": "its entrypoint gives its home folder to its user at each start"}


@pytest.mark.parametrize(
    "name", sorted(OURS | {"proxy", "postgres", "redis", "bitcoind", "lightningd"})
)
def test_a_container_may_do_what_it_must(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", [])) == CAPABILITIES.get(name, set())
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in WRITABLE)
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["tmpfs"]
    for folder in service["tmpfs"]:
        assert re.search(r":size=\d+m(,mode=0700)?$", folder), folder
    for key in ("privileged", "network_mode", "pid", "ipc", "devices", "userns_mode"):
        assert key not in service
    assert "docker.sock" not in json.dumps(service)


@pytest.mark.parametrize("name", ["proxy", "postgres", "redis", "bitcoind", "lightningd"])
def test_images_of_others_have_a_version(services: dict[str, Any], name: str) -> None:
    assert re.search(r":v?\d+\.\d+(\.\d+)?$", services[name]["image"])


# --- The parts that can be run here --------------------------------------------------------------


def test_redis_asks_for_its_password_which_is_on_no_command_line(
    services: dict[str, Any], tmp_path: Path
) -> None:
    service = services["redis"]
    (script,) = service["command"]
    socket = tmp_path / "socket"
    script = script.replace("requirepass", f"port 0\nunixsocket {socket}\nrequirepass")
    password = service["environment"]["REDISCLI_AUTH"]
    (tmp_path / "redis-server").symlink_to(embedded.redis_server())
    server = subprocess.Popen(
        [*service["entrypoint"], script],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **service["environment"]},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not embedded_answers(socket):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with redis.Redis(unix_socket_path=str(socket)) as stranger:
            with pytest.raises(redis.AuthenticationError):
                stranger.ping()
        with redis.Redis(unix_socket_path=str(socket), password=password) as client:
            assert client.ping()
            assert client.config_get("save") == {"save": ""}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        command_line = Path(f"/proc/{server.pid}/cmdline")
        if command_line.exists():
            assert b"redis-server" in command_line.read_bytes()  # no shell is left before it
            assert password.encode() not in command_line.read_bytes()
    finally:
        server.kill()
        server.wait()


def embedded_answers(socket: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            client.ping()
    except redis.AuthenticationError:
        return True
    except (redis.RedisError, OSError):
        return False
    return True


def test_lightningd_gets_its_password_by_a_file(services: dict[str, Any], tmp_path: Path) -> None:
    """A stand-in says how it was called; the shell is the real one."""
    service = services["lightningd"]
    (script,) = service["command"]
    stand_in = tmp_path / "lightningd"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"; env\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        [*service["entrypoint"], script.replace("/run/lightningd", str(tmp_path))],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **service["environment"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    password = service["environment"]["LIGHTNING_RPC_PASSWORD"]
    assert (tmp_path / "config").read_text() == f"bitcoin-rpcpassword={password}\n"
    assert (tmp_path / "config").stat().st_mode & 0o077 == 0
    arguments = done.stdout.splitlines()
    assert f"--conf={tmp_path}/config" in arguments
    assert "--rpc-file-mode=0660" in arguments
    assert "--network=regtest" in arguments
    assert password not in done.stdout


def test_the_proxy_lets_go_of_a_connection_before_the_server_does() -> None:
    """Else a request could be sent down one that the server has just closed."""
    found = re.search(r"keepalive (\d+)s", (ROOT / "docker" / "Caddyfile").read_text())
    assert found
    assert int(found[1]) < HEADERS_TIMEOUT_S


def test_the_proxy_waits_as_long_for_a_body_as_the_server_does() -> None:
    """And takes no body that the server would not."""
    text = (ROOT / "docker" / "Caddyfile").read_text()
    assert f"read_body {UPLOAD_TIMEOUT_S:.0f}s" in text
    assert "max_size 300KB" in text
    assert limits.UPLOAD_BYTES.at_most >= 300_000
