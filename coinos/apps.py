from django.apps import AppConfig


class CoinosConfig(AppConfig):
    name = "coinos"

    def ready(self) -> None:
        # So that whoever rings a task by name reaches our broker. Not in __init__: the simulated
        # network runs without Django.
        from coinos import celery, cookies  # noqa: F401

        cookies.read_in_one_pass()
