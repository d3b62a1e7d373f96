"""The settings as documents: the README's table and `.env.example`; a test keeps them equal to the fields."""

from __future__ import annotations

from serve_app.settings.fields import NAMES


def settings_table() -> str:
    """The table of all settings, in Markdown, without a line end."""
    rows = [f"| `{name}` | {when_empty(name)} | {field.description} |" for name, field in NAMES.items()]
    return "\n".join(["| name | default when empty | meaning |", "|---|---|---|", *rows])


def env_example() -> str:
    """The text of `.env.example`."""
    head = (
        "# Settings; copy to .env. The environment wins over this file. Empty means the default, so as it stands\n"
        "# everything runs on this machine with nothing else installed.\n"
    )
    settings = (f"\n# {field.description}\n# Empty: {when_empty(name)}.\n{name}=\n" for name, field in NAMES.items())
    return head + "".join(settings).replace("`", "")


def when_empty(name: str) -> str:
    """What the setting is when it is empty, for a person."""
    field = NAMES[name]
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "when_empty" in extra:
        return str(extra["when_empty"])
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
