"""The object model: YOLO weights of any kind that Ultralytics loads, told apart by file name, as the contract's labels.

On a CPU a `.pt` runs as an OpenVINO export of itself, which is three times as fast there as torch. Ultralytics'
own `predict` does the rest: at 8 pictures of 640x480 it is within a tenth of the same network driven by hand
(6.1 against 5.6 ms a picture at 320 px on two cores, best of 30), and it reads end-to-end and classic heads alike.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from models.types import Detection, Label

OWN_WEIGHTS: Final = Path(__file__).parent / "weights" / "drivers11n.pt"
"""Made by `models.train`; see `models/MODEL_CARD.md`."""

LABELS: Final[dict[str, Label]] = {
    **{label: label for label in get_args(Label)},
    "cell phone": "phone",
    "wine glass": "bottle",
    "cup": "bottle",
}
"""A model's class name, in lower case, to the contract's label. Classes that are not here are dropped."""

OPENVINO_SUFFIX: Final = "_openvino_model"
"""By the end of its name Ultralytics knows an OpenVINO folder."""

_QUIET: Final = {
    "YOLO_AUTOINSTALL": "false",  # it would call pip at run time
    "YOLO_OFFLINE": "true",  # neither usage statistics nor downloads
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "true",  # a .pt is a pickle: load weights, run no code
    "ORT_DISABLE_TELEMETRY": "1",
}


class ObjectModel:
    """Finds the contract's objects in pictures.

    On CUDA a `.pt` runs in half precision with torch and an `.engine` as it is. Everything else runs on the CPU. There
    OpenVINO computes in bfloat16 where the processor has it: on 233 pictures of drivers at 320 px that moved boxes by
    0.4 px of the network's input (median) and changed the labels of one picture, at 1.4 times the speed of float32.

    Args:
        weights: A `.pt`, `.onnx` or `.engine` file, or an OpenVINO folder (with an `.xml` in it).
        cache: Folder for the OpenVINO export of a `.pt`, links to OpenVINO folders and Ultralytics' own settings file.
        image_size_px: Longer side that pictures are scaled to, rounded up to a multiple of 32. Exports with a fixed
            size keep theirs.
        confidence: 0..1; detections below it are dropped.

    Raises:
        FileNotFoundError: There is nothing at `weights`.
        ValueError: What is there is no detection model, or one that knows none of `LABELS`.
    """

    def __init__(self, *, weights: Path, cache: Path, image_size_px: int, confidence: float) -> None:
        if not weights.exists():
            raise FileNotFoundError(f"object model {weights}: there is no such file or folder")
        if not (any(weights.glob("*.xml")) if weights.is_dir() else weights.suffix in {".pt", ".onnx", ".engine"}):
            raise ValueError(
                f"object model {weights}: expected a .pt, .onnx or .engine file or an OpenVINO folder (with an .xml)"
            )
        self.sha256 = _sha256(weights)
        stem = weights.name.removesuffix(OPENVINO_SUFFIX) if weights.is_dir() else weights.stem
        self.name = f"{stem}-{self.sha256[:8]}"
        keep_quiet(cache)
        try:
            self._predictor = _load(
                _openvino_link(weights, self.sha256, cache) if weights.is_dir() else weights,
                sha256=self.sha256,
                cache=cache,
                image_size_px=image_size_px,
                confidence=confidence,
            )
        except OSError:
            raise  # the disk's fault, not the model's
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ValueError(f"object model {weights}: no usable model ({type(error).__name__}: {reason})") from error
        self._labels: dict[int, Label] = _labels(self._predictor.model.names)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[Detection, ...]]:
        """Find objects in a batch. May be called from several threads: the calls then follow one another.

        Args:
            images: BGR pictures of shape (h, w, 3), sizes may differ. Pictures of one size run together, so that what
                is found in a picture does not depend on the others.

        Returns:
            The detections of each picture, most confident first; boxes in pixels of that picture.
        """
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(position)
        found: list[tuple[Detection, ...]] = [()] * len(images)
        for positions in by_shape.values():
            results = self._predictor([images[position] for position in positions])
            for position, result in zip(positions, results, strict=True):
                found[position] = tuple(
                    Detection(label=self._labels[int(number)], confidence=confidence, xyxy=(left, top, right, bottom))
                    for left, top, right, bottom, confidence, number in result.boxes.data.tolist()
                )
        return found


def _load(weights: Path, *, sha256: str, cache: Path, image_size_px: int, confidence: float) -> Any:
    """The predictor of Ultralytics, warm, that answers with the classes in `LABELS` only."""
    import torch  # noqa: PLC0415 - heavy
    from ultralytics.models import YOLO  # noqa: PLC0415 - heavy

    cuda = torch.cuda.is_available() and weights.suffix in {".pt", ".engine"}
    if weights.suffix == ".engine" and not cuda:
        raise ValueError("an .engine needs CUDA, and there is none")
    exported = weights.suffix == ".pt" and not cuda
    if exported:
        weights = _openvino_export(weights, sha256, cache, image_size_px)
    model: Any = checkpoint(weights) if weights.suffix == ".pt" else YOLO(weights, task="detect")
    options: dict[str, Any] = {"imgsz": image_size_px, "conf": confidence, "save": False, "verbose": False}
    options |= {"device": 0, "quantize": 16} if cuda else {"device": "cpu"}
    blank = np.zeros((image_size_px, image_size_px, 3), np.uint8)
    try:
        model.predict([blank], **options)
    except Exception as error:
        if not exported:
            raise
        raise RuntimeError(f"its export is damaged, remove {weights} and start again: {error}") from error
    loaded = model.predictor.model
    _check_task(loaded.task or model.task)  # torch's backend does not say
    wanted = sorted(_labels(loaded.names))
    if not wanted:
        raise ValueError(f"none of its {len(loaded.names)} classes is one of {', '.join(LABELS)}")
    if loaded.format == "openvino":
        _let_threads_move(loaded.backend, weights)
    model.predict([blank], **options, classes=wanted)
    return model.predictor


def _openvino_export(weights: Path, sha256: str, cache: Path, image_size_px: int) -> Path:
    """The OpenVINO folder made of a `.pt`, float32, any batch and size; made once for these weights and versions."""
    import ultralytics  # noqa: PLC0415 - heavy

    versions = f"ultralytics{ultralytics.__version__}-openvino{importlib.metadata.version('openvino')}"
    folder = cache / f"{sha256[:16]}-{image_size_px}px-{versions}{OPENVINO_SUFFIX}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "export.lock"):
        for left_over in cache.glob(".export-*"):  # of an export that was killed: none runs while we hold the lock
            shutil.rmtree(left_over, ignore_errors=True)
        if not folder.is_dir():
            bar = tqdm(desc=f"{weights.name} to OpenVINO, once", total=1, unit=" model", disable=None)
            with tempfile.TemporaryDirectory(dir=cache, prefix=".export-") as scratch, warnings.catch_warnings(), bar:
                warnings.simplefilter("ignore")  # torch's FutureWarnings about how Ultralytics traces
                # Ultralytics writes beside the weights, which may lie where nothing may be written.
                copy = Path(shutil.copyfile(weights, Path(scratch) / "model.pt"))
                options = {"imgsz": image_size_px, "dynamic": True, "device": "cpu", "verbose": False}
                made = Path(checkpoint(copy).export(format="openvino", **options))
                for file in made.iterdir():  # or a power cut leaves a whole folder of empty files
                    with file.open("rb") as written:
                        os.fsync(written.fileno())
                made.rename(folder)
                bar.update()
    return folder


def _openvino_link(weights: Path, sha256: str, cache: Path) -> Path:
    """The folder under a name by which Ultralytics knows what it is."""
    if weights.name.endswith(OPENVINO_SUFFIX):
        return weights
    link = cache / f"{sha256[:16]}-linked{OPENVINO_SUFFIX}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "export.lock"):
        new = cache / ".export-link"
        new.unlink(missing_ok=True)
        new.symlink_to(weights.resolve())
        new.replace(link)  # in one step, as another process may be reading through the old one
    return link


def checkpoint(weights: Path) -> Any:
    """A `.pt` as Ultralytics' model; call `keep_quiet` before.

    Raises:
        ValueError: It is no detection model.
    """
    from ultralytics.models import YOLO  # noqa: PLC0415 - heavy

    model = YOLO(weights)
    _check_task(model.task)
    return model


def _check_task(task: str | None) -> None:
    if task != "detect":
        raise ValueError(f"it was made to {task}, expected one made to detect")


def _let_threads_move(backend: Any, folder: Path) -> None:
    """Compile anew without holding threads to cores, for which Ultralytics has no option; see `models.face`."""
    if backend.ov_compiled_model.get_property("EXECUTION_DEVICES") == ["CPU"]:
        backend.compile_model.keywords["config"]["ENABLE_CPU_PINNING"] = False
        backend.ov_compiled_model = backend.compile_model(str(next(folder.glob("*.xml"))))


def _labels(names: dict[int, str]) -> dict[int, Label]:
    """Class number to label, for the classes that have one."""
    return {number: LABELS[name.lower()] for number, name in names.items() if name.lower() in LABELS}


def _sha256(path: Path) -> str:
    """Of a file, or of a folder's files with their names, in order."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(path.iterdir()):
            digest.update(f"{file.name} {_sha256(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def keep_quiet(cache: Path) -> None:
    """Stop what the libraries send, print and write at home; before their first import. The environment wins."""
    for name, value in {**_QUIET, "YOLO_CONFIG_DIR": str(cache)}.items():
        os.environ.setdefault(name, value)
