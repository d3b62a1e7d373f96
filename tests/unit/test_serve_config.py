"""The Serve config file is refused with a line for each fault, before Ray is started."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from models.logs import ENCODING
from serve_app.run import CONFIG
from serve_app.serve_config import ConfigError, checked_config
from serve_app.settings import Settings, load_settings


def settings(tmp_path: Path, **more: str) -> Settings:
    return load_settings({"DMS_ENV_FILE": "/dev/null", "DATA_DIR": str(tmp_path), **more})


def test_the_projects_own_file_serves_as_it_is(tmp_path: Path) -> None:
    assert checked_config(CONFIG, settings(tmp_path)) == CONFIG


def test_host_and_port_of_the_settings_win(tmp_path: Path) -> None:
    changed = checked_config(CONFIG, settings(tmp_path, HTTP_PORT="8001"))
    was, now = (yaml.safe_load(path.read_text()) for path in (CONFIG, changed))
    assert now == {**was, "http_options": {"host": "127.0.0.1", "port": 8001}}
    without = tmp_path / "without.yaml"
    without.write_text(yaml.safe_dump({name: part for name, part in was.items() if name != "http_options"}))
    assert yaml.safe_load(checked_config(without, settings(tmp_path)).read_text())["http_options"]["port"] == 8000


def test_serves_own_files_are_json_where_ours_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENCODING, "JSON")
    was, now = (yaml.safe_load(path.read_text()) for path in (CONFIG, checked_config(CONFIG, settings(tmp_path))))
    assert now == {**was, "logging_config": {**was["logging_config"], "encoding": "JSON"}}
    without = tmp_path / "without.yaml"
    without.write_text(yaml.safe_dump({name: part for name, part in was.items() if name != "logging_config"}))
    now = yaml.safe_load(checked_config(without, settings(tmp_path)).read_text())
    assert now["logging_config"] == {"encoding": "JSON"}


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        ("max_batch_size: 16", "max_batch_sise: 16", "max_batch_sise: Extra inputs are not permitted"),
        ("max_batch_size: 16", "max_batch_size: 0", "max_batch_size: Input should be greater than or equal to 1"),
        ("num_gpus: 0\n", "num_gpus: many\n", "num_gpus: Input should be a valid number"),
        ("name: dms", "name: other", "should hold an application named dms"),
        ("applications:", "applications: [", "no YAML"),
    ],
)
def test_a_fault_in_the_file_is_named(tmp_path: Path, was: str, now: str, line: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(CONFIG.read_text().replace(was, now, 1))
    with pytest.raises(ConfigError) as caught:
        checked_config(file, settings(tmp_path))
    assert str(caught.value).startswith(f"{file}: ")
    assert line in str(caught.value)


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    with pytest.raises(ConfigError, match=f"^--config {file}: No such file"):
        checked_config(file, settings(tmp_path))
    file.write_text("")
    with pytest.raises(ConfigError, match=f"^{file}: "):
        checked_config(file, settings(tmp_path))
