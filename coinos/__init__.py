"""The project package: settings, URLs and schedule on top, a small kit for the apps below."""

# Loaded with Django, so that whoever rings a task by name reaches our broker.
from coinos.celery import app as celery_app

__all__ = ["celery_app"]
