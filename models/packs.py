"""The two sets of face models and the numbers that belong to each; pure data."""

from __future__ import annotations

from dataclasses import dataclass

from models.types import PackName


@dataclass(frozen=True, slots=True)
class FacePack:
    """A face detector, a face mesh and perhaps an eye refiner that were made for each other.

    Args:
        name: How the rest of the project calls the pack.
        files: The files that must lie in the model folder.
        archive: The one of `files` that is a zip and holds the models named below; None: they are files themselves.
        detector: Face detector, 128x128, 896 anchors.
        mesh: Face mesh; its points number as MediaPipe's canonical face mesh.
        eyes: Eye refiner, 64x64, 71 contour points; None: the mesh sees the eyelids well enough.
        blendshapes: 52 movements of the face, from points of the mesh; None: there is no such model.
        ear_closed_below: Eye aspect ratio below which this pack's eyes are closed.
        ear_open: Eye aspect ratio of open eyes, median.
        mar_open_above: Mouth aspect ratio above which the mouth is open as in a yawn.
    """

    name: PackName
    files: tuple[str, ...]
    archive: str | None
    detector: str
    mesh: str
    eyes: str | None
    blendshapes: str | None
    ear_closed_below: float
    ear_open: float
    mar_open_above: float


# Measured with benchmarks/face_accuracy.py on pictures with labelled eyes and yawns, each face once. Three numbers are
# the smallest, the median and the largest value.

# EAR: closed .01 .04 .09 and three outliers (.15 and .16, head tipped back; .72, from the side), open .25 .34 .46;
# below 0.13 are 19 of 22 closed and none of 23 open faces. MAR: yawning .93 1.37 1.91, else .2 .5 1.1; above 1.0 are
# 28 of 31 yawning and 2 of 45 other faces. Both limits are the original system's.
_LANDMARKER = FacePack(
    name="landmarker-478",
    files=("face_landmarker.task",),
    archive="face_landmarker.task",
    detector="face_detector.tflite",
    mesh="face_landmarks_detector.tflite",
    eyes=None,
    blendshapes="face_blendshapes.tflite",
    ear_closed_below=0.13,
    ear_open=0.34,
    mar_open_above=1.0,
)

# EAR: closed .04 .11 .17 and four outliers above (.21 and more; tipped back or from the side), open .25 .36 .45; below
# 0.20, which is as many standard deviations from one as from the other, are 19 of 23 closed and none of 23 open faces.
# MAR: yawning .78 1.04 1.40, else .3 .5 1.1; above 1.0 are 23 of 31 yawning and 1 of 46 other faces.
_MESH_AND_IRIS = FacePack(
    name="mesh-468-iris",
    files=("face_detection_short_range.tflite", "face_landmark.tflite", "iris_landmark.tflite"),
    archive=None,
    detector="face_detection_short_range.tflite",
    mesh="face_landmark.tflite",
    eyes="iris_landmark.tflite",
    blendshapes=None,
    ear_closed_below=0.20,
    ear_open=0.36,
    mar_open_above=1.0,
)

PACKS: dict[PackName, FacePack] = {pack.name: pack for pack in (_LANDMARKER, _MESH_AND_IRIS)}
"""The packs by name, best first."""
