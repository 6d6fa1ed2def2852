"""A Celery app with the server's broker settings and two tasks, for `test_broker.py`."""

from __future__ import annotations

import time
from pathlib import Path

from celery import Celery
from django.conf import settings

app = Celery("broker")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.broker_url = settings.CELERY_BROKER_URL


@app.task
def hold(folder: str, name: str) -> None:
    """Say that it runs, and end when it is told to."""
    (Path(folder) / name).touch()
    while not (Path(folder) / "release").exists():
        time.sleep(0.02)
    (Path(folder) / f"{name} has ended").touch()


@app.task
def ring(folder: str) -> None:
    (Path(folder) / "rung").touch()
