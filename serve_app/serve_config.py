"""The Serve config file, known to be right before anything is started."""

from __future__ import annotations

from pathlib import Path

from models.logs import as_json
from serve_app.settings import Settings

APP = "dms"
"""The application's name in it."""


class ConfigError(Exception):
    """The file cannot be used; the message has a line for each fault."""


def checked_config(path: Path, settings: Settings) -> Path:
    """The file itself, or a copy of it with HTTP_HOST, HTTP_PORT and the logs' encoding where the settings differ.

    Imports Ray, so what Ray reads from the environment must be there.

    Args:
        path: `serve_config.yaml`.
        settings: For host, port and the folder of the copy, which must exist.

    Raises:
        ConfigError: It cannot be read, or holds what Serve or the application does not take.
        OSError: The copy cannot be written.
    """
    import yaml  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

    from serve_app.app import AppArgs  # noqa: PLC0415

    try:
        config = yaml.safe_load(path.read_text())
        apps = {app.name: app for app in ServeDeploySchema.model_validate(config).applications}
        if APP not in apps:
            raise ConfigError(f"{path}: should hold an application named {APP}")
        AppArgs.model_validate(apps[APP].args)
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        faults = [f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ConfigError("\n".join(faults)) from error
    wanted = {**config, "http_options": {"host": settings.http_host, "port": settings.http_port}}
    if as_json():  # Serve's files; from the environment it does not take it
        wanted["logging_config"] = {**(config.get("logging_config") or {}), "encoding": "JSON"}
    if wanted == config:
        return path
    changed = settings.data_dir / "serve_config.yaml"
    changed.write_text(yaml.safe_dump(wanted, sort_keys=False))
    return changed
