"""docker-compose.yml and `manage.py up` run the same thing."""

import re
from pathlib import Path

import pytest
import yaml

from coinos.celery import app
from coinos.management.commands.up import Command

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_every_service_of_a_server_is_there(compose):
    assert set(compose["services"]) >= {
        "web", "worker", "watcher", "webhooks", "beat", "migrate",
        "postgres", "redis", "bitcoind", "lightningd",
    }  # fmt: skip


SECRETS = (
    "SECRET_KEY JWT_SIGNING_KEY FIELD_KEY POSTGRES_PASSWORD DATABASE_PASSWORD"
    " DATABASE_OWNER_PASSWORD BITCOIN_RPC_PASSWORD PUBLIC_URL"
).split()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_has_no_default(name):
    text = (ROOT / "docker-compose.yml").read_text()
    assert f"${{{name}:?" in text
    assert f"${{{name}:-" not in text


def test_every_queue_has_a_worker_in_both():
    queues = {"celery"} | {route["queue"] for route in app.conf.task_routes.values()}
    compose = re.findall(r"--queues=(\w+)", (ROOT / "docker-compose.yml").read_text())
    assert set(compose) == queues
    up = (ROOT / "coinos/management/commands/up.py").read_text()
    workers = up[up.index("def workers") :]
    assert {queue for queue in queues if f'"{queue}"' in workers} == queues
    assert [child.name for child in Command().workers()] == ["worker", "watch", "webhooks"]


def test_only_the_migration_gets_the_role_that_owns_the_tables(compose):
    holders = {
        name
        for name, service in compose["services"].items()
        if "DATABASE_OWNER_URL" in service.get("environment", {})
    }
    assert holders == {"migrate"}


def test_the_image_contains_every_package_of_ours():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "COPY . ." in dockerfile
    let_through = (ROOT / ".dockerignore").read_text().split()
    for name in ("manage.py", "requirements.txt", *packages()):
        assert f"!{name}" in let_through


def packages() -> set[str]:
    """Folders in the repository with code or files that a server needs."""
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    return found | {"templates", "static"}


def test_the_container_and_up_start_the_same_web_server():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert dockerfile.rstrip().endswith('CMD ["python", "-m", "coinos.web_server"]')
    up = (ROOT / "coinos/management/commands/up.py").read_text()
    assert '("web", "-m", "coinos.web_server"' in up
