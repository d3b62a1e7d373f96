"""What is written is what there is."""

from __future__ import annotations

import argparse
import re
from typing import get_args

from models.profiles import ProfileName
from models.types import DropReason, EventKind
from serve_app import simulator
from serve_app.metrics import metrics_table
from serve_app.settings import PROJECT
from serve_app.settings.docs import env_example, settings_table

BEGIN, END = "<!-- settings -->", "<!-- /settings -->"
METRICS = "<!-- metrics -->"


def test_the_example_file_lists_every_setting() -> None:
    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    assert text == env_example(), "run: python -m serve_app.settings env > .env.example"


def test_the_readme_lists_every_setting() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert BEGIN in text, f"README.md needs the table of `python -m serve_app.settings` between {BEGIN} and {END}"
    assert text.split(BEGIN)[1].split(END)[0].strip() == settings_table()


def test_every_metric_is_described() -> None:
    text = (PROJECT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert METRICS in text, f"docs/metrics.md needs the table of `python -m serve_app.metrics` after {METRICS}"
    assert text.split(METRICS)[1].strip() == metrics_table()


def test_every_reason_for_which_something_is_dropped_stands_in_the_readme() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert [reason for reason in get_args(DropReason) if f"`{reason}`" not in readme] == []


def test_every_kind_of_event_and_every_profile_is_described() -> None:
    events = (PROJECT / "docs" / "events.md").read_text(encoding="utf-8")
    assert [kind for kind in get_args(EventKind) if f"| `{kind}` |" not in events] == []
    assert [name for name in get_args(ProfileName) if name not in events] == []


def test_every_option_of_the_simulator_stands_in_the_readme() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    simulator.add_arguments(parser)
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    options = [option for action in parser._actions for option in action.option_strings[-1:]]  # noqa: SLF001 - no other way
    assert [option for option in options if f"`{option}" not in readme] == []


def test_every_picture_and_file_that_a_document_points_to_is_there() -> None:
    documents = [PROJECT / "README.md", PROJECT / "SECURITY.md", *(PROJECT / "docs").rglob("*.md")]
    missing = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert missing == []
