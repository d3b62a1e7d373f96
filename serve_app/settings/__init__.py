"""The settings of this process, from its environment and the file DMS_ENV_FILE.

settings = load_settings()  # SettingsError.lines: every fault, one line each
"""

from serve_app.settings.fields import Settings
from serve_app.settings.load import SettingsError, load_settings, passthrough, process_settings
from serve_app.settings.values import PROJECT, Address

__all__ = ["PROJECT", "Address", "Settings", "SettingsError", "load_settings", "passthrough", "process_settings"]
