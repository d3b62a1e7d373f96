"""What training does between its runs, on a network of the real shape that has learned nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.objects import OWN_WEIGHTS, checkpoint, keep_quiet
from models.train import NAMES, mix

SHIFT = 1.0


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """The values of the project's weights, all moved by `SHIFT`."""
    keep_quiet(tmp_path)
    values = checkpoint(OWN_WEIGHTS).model.float().state_dict()
    path = tmp_path / "start.pt"
    torch.save({name: value - SHIFT if value.is_floating_point() else value for name, value in values.items()}, path)
    return path


def test_weights_lie_between_before_and_after_by_their_part_of_the_network(start: Path, tmp_path: Path) -> None:
    out = tmp_path / "mixed.pt"
    mix(OWN_WEIGHTS, start, out, backbone=0.25, head=0.75)
    before, after = torch.load(start), checkpoint(out).model.float().state_dict()
    cigarette = NAMES.index("cigarette")
    for name, share in {
        "model.0.conv.weight": 0.25,
        "model.10.cv1.conv.weight": 0.25,
        "model.13.cv1.conv.weight": 0.75,
        "model.23.cv2.0.0.conv.weight": 0.75,
        "model.22.cv1.conv.weight": 0.0,
        "model.23.cv3.2.2.weight": 0.0,
    }.items():
        assert (after[name] - before[name]).mean() == pytest.approx(share * SHIFT, abs=2e-3), name
    rows = (after["model.23.cv3.0.2.bias"] - before["model.23.cv3.0.2.bias"]).tolist()
    assert rows == pytest.approx([0.75 if number != cigarette else 1.0 for number in range(len(NAMES))], abs=0.02)
    assert not list(tmp_path.glob("*unfinished*"))
