"""Reads the settings and says everything that is wrong with them at once."""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from annotated_types import Ge, Le, MaxLen, MultipleOf
from dotenv.parser import parse_stream
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from serve_app.settings.fields import NAMES, Settings
from serve_app.settings.rules import faults_between
from serve_app.settings.values import SecretInValueError, in_project

FILE_NAME = "DMS_ENV_FILE"
_PASSED_ON = ("RAY_", "YOLO_", "STORAGE_EMULATOR_HOST")
_SHOWN_CHARS = 80


class SettingsError(Exception):
    """The settings are wrong.

    Args:
        lines: One line for each fault: name, value unless secret, what would be right.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class _File:
    values: dict[str, str]
    faults: list[str]


def load_settings(environ: Mapping[str, str] = os.environ, *, probe: bool = False) -> Settings:
    """The settings of this process: the environment, else the file, else the default; empty is as good as not given.

    Args:
        environ: The environment; only known names count in it.
        probe: Look for Application Default Credentials too when a bucket needs them. May take 5 s off GCP, so the
            command that starts the service does, not each of its processes.

    Raises:
        SettingsError: With every fault that there is.
    """
    file = _read_file(environ)
    given = {
        name: text for name in NAMES if (text := (environ.get(name, "").strip() or file.values.get(name, "").strip()))
    }
    faults = list(file.faults)
    try:
        settings = Settings.model_validate(_fields(given))
    except ValidationError as error:
        # Only what was given: a default that is worked out of a wrong setting is reported too, and is nobody's fault.
        wrong = {name: e for e in error.errors() if (name := str(e["loc"][0]).upper()) in given}
        faults += [_line(name, given[name], dict(e)) for name, e in wrong.items()]
        # The rest, so that what is wrong between the others is said too.
        settings = Settings.model_validate(_fields({n: v for n, v in given.items() if n not in wrong}))
    else:
        wrong = {}
    emulator = bool((environ.get("STORAGE_EMULATOR_HOST") or file.values.get("STORAGE_EMULATOR_HOST", "")).strip())
    for fault in faults_between(settings, set(given), emulator=emulator, probe=probe):
        if not wrong.keys() & set(fault.names):
            name = fault.names[0]
            faults.append(f"{_named(name, given.get(name, ''))}: {fault.right}")
    if faults:
        raise SettingsError(faults)
    return settings


def passthrough(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the file holds for Ray, YOLO and the storage client and the environment does not, to put into `os.environ`.

    These libraries read the environment by themselves, when they are imported or started. Nothing where the file
    cannot be read: `load_settings` says so.
    """
    file = _read_file(environ)
    return {n: v for n, v in file.values.items() if n.startswith(_PASSED_ON) and v and not environ.get(n)}


def process_settings() -> Settings:
    """The settings of this process, and `passthrough` into its environment: for what Ray starts, which inherits none.

    To be called before the libraries are imported that read the environment.

    Raises:
        SettingsError: With every fault that there is.
    """
    os.environ.update(passthrough())
    return load_settings()


def _fields(given: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in given.items()}


def _read_file(environ: Mapping[str, str]) -> _File:
    named = environ.get(FILE_NAME, "").strip()
    text, why = "", ""
    path = Path(named or ".env")
    try:
        path = in_project(path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        # Only the file that nobody asked for may be missing.
        why = "" if not named and isinstance(error, FileNotFoundError) else error.strerror or str(error)
    except UnicodeDecodeError:
        why = "is no UTF-8 text"
    except ValueError as error:
        why = str(error)
    if "\0" in text:
        text, why = "", "is no text"
    if why:
        return _File({}, [f"{FILE_NAME + '=' if named else ''}{path}: {why}; should be a file with lines NAME=value"])
    values: dict[str, str] = {}
    faults: list[str] = []
    # The parser alone: no interpolation, so a password with a $ in it survives.
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            faults.append(f"line {binding.original.line} of {path}: should be NAME=value")
        elif binding.key is not None:
            values[binding.key] = binding.value or ""
            faults += _refusal(binding.key, binding.value, path)
    return _File(values, faults)


def _refusal(name: str, value: str | None, path: Path) -> Iterator[str]:
    """What is wrong with a name in the file; its value is not shown, as it may be a secret under a mistyped name."""
    if name == FILE_NAME:
        yield f"{name} in {path}: has no effect there; set it in the environment"
    elif name not in NAMES and not name.startswith(_PASSED_ON):
        near = difflib.get_close_matches(name.upper(), NAMES, n=1)
        yield f"{name} in {path}: no such setting" + (f"; did you mean {near[0]}?" if near else "; see .env.example")
    elif value is None:
        yield f"{name} in {path}: should be {name}=value, or {name}= for the default"


def _line(name: str, value: str, error: dict[str, Any]) -> str:
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, ValueError):
        return f"{name if isinstance(raised, SecretInValueError) else _named(name, value)}: {raised}"
    return f"{_named(name, value)}: should be {_right(NAMES[name])}"


def _named(name: str, value: str) -> str:
    """`NAME=value`, without the value when it is secret."""
    if _is_secret(NAMES[name]) or not value:
        return name
    text = value if value.isprintable() else repr(value)
    return f"{name}={text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + '...'}"


def _is_secret(field: FieldInfo) -> bool:
    parts: list[Any] = [field.annotation]
    for part in parts:  # grows: through unions and `Annotated` down to the types
        parts += get_args(part)
    return SecretStr in parts


def _right(field: FieldInfo) -> str:
    """What a field takes, from its type and bounds."""
    if field.annotation is bool:
        return "true or false"
    bound: dict[type, Any] = {type(m): m for m in field.metadata}
    if field.annotation not in (int, float):
        if MaxLen in bound:
            return f"text of at most {bound[MaxLen].max_length} characters"
        return " or ".join(map(repr, get_args(field.annotation))) or "text"
    kind = "a whole number" if field.annotation is int else "a number"
    if MultipleOf in bound:
        kind = f"a multiple of {bound[MultipleOf].multiple_of}"
    return f"{kind} from {bound[Ge].ge:g} to {bound[Le].le:.15g}"
