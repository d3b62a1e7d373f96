"""Landmarks of MediaPipe's own face landmarker, to compare with; needs an environment with `mediapipe` 1.2.

    python mediapipe_reference.py face_landmarker.task DATA_DIR landmarks.npz

`mediapipe` is not among the project's requirements: make a scratch environment for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision


def main(task: Path, data: Path, output: Path) -> None:
    """Write one array per picture with a face, shape (faces, 478, 2), pixels, under its path relative to `data`."""
    options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(task)), num_faces=5)
    landmarks = {}
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for path in sorted(data.rglob("*.jpg")):
            picture = cv2.imread(str(path))
            if picture is None:
                continue
            rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            faces = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=rgb)).face_landmarks
            size_px = np.array([rgb.shape[1], rgb.shape[0]])
            if faces:
                landmarks[str(path.relative_to(data))] = (
                    np.array([[(p.x, p.y) for p in face] for face in faces]) * size_px
                )
    np.savez_compressed(output, **landmarks)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
