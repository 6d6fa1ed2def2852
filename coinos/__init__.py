"""The project package: settings, URLs and schedule on top, a small kit for the apps below."""
