"""The driver's face in a frame: detector, mesh, eye refiner or blendshapes, read by OpenVINO and run on the CPU."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.blendshapes import POINTS as BLENDSHAPE_POINTS
from models.blendshapes import movements
from models.face_detection import FoundFace, largest_face, letterbox
from models.geometry import DRAWN_POINTS, eye_aspect_ratio, head_pose, mouth_aspect_ratio
from models.packs import FacePack
from models.types import Face

# As in MediaPipe's face landmark graph.
_FACE_MARGIN = 1.5
_EYE_MARGIN = 2.3
_MIN_PRESENCE = 0.5

# Mesh numbers of the refiner's first 16 contour points: lower lid from the outer to the inner corner, then upper lid.
# MediaPipe feeds the picture's left eye as it is and the other one mirrored.
_LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
_RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
_OUTER, _INNER = 0, 8


class FaceModel:
    """Finds the driver, who is the largest face, and measures the face. To be used by one thread at a time.

    Args:
        pack: Which models, and which numbers belong to them.
        folder: Holds `pack.files`.

    Raises:
        FileNotFoundError: A file of the pack is not in the folder.
    """

    def __init__(self, *, pack: FacePack, folder: Path) -> None:
        missing = [name for name in pack.files if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"face models {pack.name}: no {', '.join(missing)} in {folder}")
        self.pack = pack
        with _unpacked(pack, folder) as models:
            self._detector = _Network(Path(models, pack.detector))
            self._mesh = _Network(Path(models, pack.mesh))
            self._eyes = _Network(Path(models, pack.eyes)) if pack.eyes else None
            blendshapes = pack.blendshapes
            self._blendshapes = _Network(Path(models, blendshapes)) if blendshapes else None

    def observe(self, images: Sequence[NDArray[np.uint8]]) -> list[Face | None]:
        """Measure the driver's face in each picture.

        Args:
            images: BGR, each of shape (h, w, 3); sizes may differ.

        Returns:
            As many as `images`; None where there is no face.
        """
        drivers = self._drivers(images)
        shapes = iter(self._shapes([driver for driver in drivers if driver]))
        return [None if driver is None else self._measure(driver, next(shapes)) for driver in drivers]

    def landmarks(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32] | None]:
        """The mesh of the driver's face in each picture.

        Args:
            images: As for `observe`.

        Returns:
            For each picture shape (478 or 468, 3): x, y in pixels of the frame, z in the same unit, smaller is nearer;
            None where there is no face.
        """
        return [None if driver is None else driver.points for driver in self._drivers(images)]

    def _drivers(self, images: Sequence[NDArray[np.uint8]]) -> list[_Driver | None]:
        boxed = [letterbox(image) for image in images]
        outputs = self._detector([box for box, _ in boxed])
        found = [
            largest_face(raw.reshape(-1, 16), logits.ravel(), matrix)
            for (raw, logits), (_, matrix) in zip(outputs, boxed, strict=True)
        ]
        seen = [(i, face, _face_square(face)) for i, face in enumerate(found) if face]
        meshes = self._mesh([square.cut(images[i], self._mesh.size_px) for i, _, square in seen])
        drivers: list[_Driver | None] = [None] * len(images)
        for (i, face, square), (mesh, presence, *_) in zip(seen, meshes, strict=True):
            if 1 / (1 + np.exp(-presence.item())) >= _MIN_PRESENCE:
                drivers[i] = _Driver(face, square.back(mesh.reshape(-1, 3), self._mesh.size_px))
        if self._eyes:
            _refine_eyes(self._eyes, [(image, d.points) for image, d in zip(images, drivers, strict=True) if d])
        return drivers

    def _shapes(self, drivers: Sequence[_Driver]) -> list[NDArray[np.float32] | None]:
        """Of each face the 52 blendshapes, if the pack has them."""
        if self._blendshapes is None:
            return [None] * len(drivers)
        points = [driver.points[BLENDSHAPE_POINTS, :2][None] for driver in drivers]
        return [found for [found] in self._blendshapes(points)]

    def _measure(self, driver: _Driver, shapes: NDArray[np.float32] | None) -> Face:
        yaw, pitch, roll = head_pose(driver.points)
        moved = None if shapes is None else movements(shapes.tolist(), yaw)
        left, top, right, bottom = driver.found.xyxy.tolist()
        return Face(
            confidence=driver.found.score,
            xyxy=(left, top, right, bottom),
            ear=eye_aspect_ratio(driver.points),
            mar=mouth_aspect_ratio(driver.points),
            yaw_deg=yaw,
            pitch_deg=pitch,
            roll_deg=roll,
            pack=self.pack.name,
            eye_blink=moved.eye_blink if moved else None,
            jaw_open=moved.jaw_open if moved else None,
            points=tuple((x, y) for x, y in driver.points[DRAWN_POINTS, :2].round(1).tolist()),
        )


@dataclass(frozen=True, slots=True)
class _Driver:
    """A face and its mesh, shape (n, 3), pixels of the frame."""

    found: FoundFace
    points: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Square:
    """A square part of a picture, which may lie askew and reach beyond it.

    Args:
        x: Of the middle, pixels.
        y: Of the middle, pixels.
        side_px: Length of a side.
        angle: Clockwise in the picture, radians.
        mirrored: Whether the cut shows it mirrored, left and right.
    """

    x: float
    y: float
    side_px: float
    angle: float
    mirrored: bool = False

    def cut(self, image: NDArray[np.uint8], size_px: int) -> NDArray[np.float32]:
        """The part as a model's input, RGB 0..1, shape (1, size_px, size_px, 3)."""
        import cv2  # noqa: PLC0415 - heavy

        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        part = cv2.warpAffine(
            image, self._matrix(size_px), (size_px, size_px), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return (part[None, :, :, ::-1] / np.float32(255)).astype(np.float32)

    def back(self, points: NDArray[np.float32], size_px: int) -> NDArray[np.float32]:
        """Points of the cut, shape (n, 3), as points of the picture."""
        matrix = self._matrix(size_px)
        xy = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return np.column_stack([xy, points[:, 2] * (self.side_px / size_px)]).astype(np.float32)

    def _matrix(self, size_px: int) -> NDArray[np.float64]:
        """Picture from cut, shape (2, 3)."""
        scale = self.side_px / size_px
        cos, sin = scale * np.cos(self.angle), scale * np.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if self.mirrored else 1.0, 1.0])
        return np.column_stack([turn, np.array([self.x, self.y]) - turn @ np.full(2, size_px / 2)])


def _face_square(face: FoundFace) -> _Square:
    left, top, right, bottom = face.xyxy.tolist()
    side_px = max(right - left, bottom - top) * _FACE_MARGIN
    return _Square((left + right) / 2, (top + bottom) / 2, side_px, _slope(face.eyes[0], face.eyes[1]))


def _refine_eyes(refiner: _Network, faces: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> None:
    """Replace the eye contours of meshes, in place, by those of the eye refiner."""
    eyes = [
        (image, points, numbers, _eye_square(points, numbers))
        for image, points in faces
        for numbers in (_LEFT_EYE, _RIGHT_EYE)
    ]
    outputs = refiner([square.cut(image, refiner.size_px) for image, _, _, square in eyes])
    for (_, points, numbers, square), (contour, *_) in zip(eyes, outputs, strict=True):
        fine = square.back(contour.reshape(-1, 3)[: len(numbers)], refiner.size_px)
        points[list(numbers), :2] = fine[:, :2]


def _eye_square(points: NDArray[np.float32], numbers: Sequence[int]) -> _Square:
    outer, inner = points[numbers[_OUTER], :2], points[numbers[_INNER], :2]
    x, y = ((outer + inner) / 2).tolist()
    side_px = float(np.linalg.norm(outer - inner)) * _EYE_MARGIN
    if numbers is _RIGHT_EYE:
        return _Square(x, y, side_px, _slope(inner, outer), mirrored=True)
    return _Square(x, y, side_px, _slope(outer, inner))


def _slope(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Of the line from one point to another, clockwise in the picture, radians."""
    x, y = (right - left).tolist()
    return float(np.arctan2(y, x))


class _Network:
    """One model on the CPU.

    The models take one picture at a time; several run at once on a queue that OpenVINO sizes for the machine. On two
    cores that is as fast as a call with a batch of 8 (ms a picture: newer mesh 3.4 against 4.3, detector 0.87 against
    0.82, older mesh 0.99 against 0.97, an eye 1.1 against 1.0). It needs no compilation for each number of pictures and
    no change to the reshapes to batch 1 inside these files, and gives a picture the same result beside any others.
    """

    def __init__(self, path: Path) -> None:
        import openvino as ov  # noqa: PLC0415 - heavy

        core = ov.Core()
        model = core.read_model(path)
        shape = [1, *[side.get_length() for side in list(model.input(0).partial_shape)[1:]]]
        model.reshape(shape)
        self.size_px: int = shape[1]
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": "f32",
            # A thread held to its core waits there for whoever else runs on it, and the others spin meanwhile.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(model, "CPU", config)
        self._outputs = range(len(compiled.outputs))
        self._queue = ov.AsyncInferQueue(compiled)
        self._queue.set_callback(self._done)

    def __call__(self, inputs: Sequence[NDArray[np.float32]]) -> list[list[NDArray[np.float32]]]:
        """All outputs of the model for each input: (1, size_px, size_px, 3), or of the blendshapes (1, 146, 2)."""
        results: list[list[NDArray[np.float32]]] = [[] for _ in inputs]
        for value, result in zip(inputs, results, strict=True):
            self._queue.start_async(value, userdata=result, share_inputs=True)
        self._queue.wait_all()
        return results

    def _done(self, request: Any, result: list[NDArray[np.float32]]) -> None:
        # The request's memory is used again by the next picture.
        result.extend(np.array(request.get_output_tensor(i).data) for i in self._outputs)


def _unpacked(pack: FacePack, folder: Path) -> AbstractContextManager[str | Path]:
    """A folder with the pack's models as files, which is all that OpenVINO reads."""
    if pack.archive is None:
        return nullcontext(folder)
    models = tempfile.TemporaryDirectory(prefix="dms-face-")
    names = (pack.detector, pack.mesh, pack.eyes, pack.blendshapes)
    with zipfile.ZipFile(folder / pack.archive) as archive:
        archive.extractall(models.name, members=[name for name in names if name])
    return models
