"""The evaluation with the models that there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np


def test_a_report_says_what_the_issue_asks_for(tmp_path: Path, model_files: Path) -> None:
    data = tmp_path / "data" / "phones"
    for folder in ("images", "labels"):
        (data / folder).mkdir(parents=True)
    (data / "data.yaml").write_text("names: [phone]\n")
    for name, lines in {"a": "0 0.5 0.5 0.2 0.4", "b": ""}.items():
        noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3)).astype(np.uint8)
        cv2.imwrite(str(data / "images" / f"{name}.jpg"), noise)
        (data / "labels" / f"{name}.txt").write_text(lines)
    out = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "models.evaluate", "--data", str(tmp_path / "data"), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["labels"]["phone"]["boxes"] == 1 and report["labels"]["phone"]["pictures"] == 2
    assert set(report["eyes"]) == {"closed", "open", "yawn", "no_face", "unknown"}
    assert report["events"] == [] and report["ms_per_frame"] > 0
