"""What is written about the settings is what they are."""

from __future__ import annotations

import pytest

from serve_app.settings import PROJECT
from serve_app.settings.docs import env_example, settings_table

BEGIN, END = "<!-- settings -->", "<!-- /settings -->"


def test_the_example_file_lists_every_setting() -> None:
    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    assert text == env_example(), "run: python -m serve_app.settings env > .env.example"


def test_the_readme_lists_every_setting() -> None:
    readme = PROJECT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README.md")
    text = readme.read_text(encoding="utf-8")
    assert BEGIN in text, f"README.md needs the table of `python -m serve_app.settings` between {BEGIN} and {END}"
    assert text.split(BEGIN)[1].split(END)[0].strip() == settings_table()
