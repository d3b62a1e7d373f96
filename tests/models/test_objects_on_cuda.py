"""The way of a `.pt` on CUDA: torch, no export. Without a card it is walked on the CPU, which Ultralytics is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
import ultralytics.models

from models.objects import ObjectModel


class OnCpu(ultralytics.models.YOLO):
    """A model that runs on the CPU whatever it is told, and says what that was."""

    told: ClassVar[list[dict[str, Any]]] = []

    def predict(self, source: Any = None, stream: bool = False, predictor: Any = None, **options: Any) -> Any:  # noqa: FBT001, FBT002 as there
        """See `YOLO.predict`."""
        self.told.append(options)
        return super().predict(source, stream, predictor, **{**options, "device": "cpu"})


def test_weights_run_in_torch_at_half_precision_and_are_not_exported(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ultralytics.models, "YOLO", OnCpu)
    weights = shared / "models" / "yolo11n_coco_from_int8.pt"
    model = ObjectModel(weights=weights, cache=tmp_path, image_size_px=320, confidence=0.25)
    picture = cv2.imread(str(shared / "data" / "dev" / "cup" / "coffee.jpg"))
    assert picture is not None
    ((found,),) = model.detect([picture.astype(np.uint8)])
    assert found.label == "bottle" and found.confidence > 0.8
    assert all((options["device"], options["quantize"]) == (0, 16) for options in OnCpu.told)
    assert not list(tmp_path.glob("*_openvino_model"))
