"""The synthetic driver as a labelled test: what the face and object models say of the clip is what its truth says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from models.face import FaceModel
from models.objects import OWN_WEIGHTS, ObjectModel
from models.packs import PACKS, FacePack
from models.types import Face
from serve_app.synthetic import FPS, TRUTH, Clip, ClipError, What, make_clip

INSET_S = 0.5
AWAY_YAW_DEG, AWAY_PITCH_DEG = 25.0, 20.0

Image = NDArray[np.uint8]

CONDITIONS: dict[What, Callable[[Face, FacePack], bool]] = {
    "eyes closed": lambda face, pack: face.ear < pack.ear_closed_below,
    "mouth open": lambda face, pack: face.mar > pack.mar_open_above,
    "head away": lambda face, _: abs(face.yaw_deg) > AWAY_YAW_DEG or abs(face.pitch_deg) > AWAY_PITCH_DEG,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    try:
        return make_clip(tmp_path_factory.mktemp("data"))
    except ClipError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def images(clip: Clip) -> list[Image]:
    with av.open(clip.video) as file:
        return [np.asarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8) for frame in file.decode(video=0)]


@pytest.fixture(scope="module", params=PACKS)
def pack(request: pytest.FixtureRequest, model_files: Path) -> FacePack:
    found = PACKS[request.param]
    if not all((model_files / name).is_file() for name in found.files):
        pytest.skip(f"no face models {found.name} in {model_files}")
    return found


@pytest.fixture(scope="module")
def faces(pack: FacePack, images: list[Image], model_files: Path) -> list[Face | None]:
    return FaceModel(pack=pack, folder=model_files).observe(images)


def seconds(frame: int) -> float:
    return frame / FPS


def inside(what: What) -> list[int]:
    """Frames in which it is to be seen for certain."""
    return [
        i
        for x in TRUTH
        if x.what == what
        for i in range(1000)
        if x.start_s + INSET_S <= seconds(i) <= x.end_s - INSET_S
    ]


def outside(what: What, frames: int) -> list[int]:
    """Frames in which it is certainly not to be seen."""
    mine = [x for x in TRUTH if x.what == what]
    return [i for i in range(frames) if not any(x.start_s - INSET_S < seconds(i) < x.end_s + INSET_S for x in mine)]


def test_the_clip_is_what_a_browser_plays_and_no_two_frames_are_equal(clip: Clip, images: list[Image]) -> None:
    with av.open(clip.video) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (640, 480)
        assert stream.average_rate == FPS
    assert seconds(len(images)) == pytest.approx(25.0)
    assert len({image.tobytes() for image in images}) == len(images)


def test_the_truth_lies_beside_the_clip(clip: Clip) -> None:
    lines = clip.video.with_suffix(".csv").read_text().splitlines()
    assert lines == ["start_s,end_s,what", *(f"{x.start_s},{x.end_s},{x.what}" for x in clip.truth)]


def test_the_clip_is_made_once(clip: Clip) -> None:
    made = clip.video.stat().st_mtime_ns
    assert make_clip(clip.video.parents[1], say=pytest.fail) == clip
    assert clip.video.stat().st_mtime_ns == made


def test_the_driver_is_found_throughout(faces: list[Face | None]) -> None:
    assert sum(face is None for face in faces) == 0


@pytest.mark.parametrize("what", CONDITIONS)
def test_a_condition_is_measured_where_it_is_shown(what: What, pack: FacePack, faces: list[Face | None]) -> None:
    seen = [bool(face and CONDITIONS[what](face, pack)) for face in faces]
    wanted = [seen[i] for i in inside(what)]
    assert np.mean(wanted) >= 0.9


@pytest.mark.parametrize("what", CONDITIONS)
def test_a_condition_is_not_measured_for_a_second_elsewhere(
    what: What, pack: FacePack, faces: list[Face | None]
) -> None:
    elsewhere = set(outside(what, len(faces)))
    wrong = [bool(face and i in elsewhere and CONDITIONS[what](face, pack)) for i, face in enumerate(faces)]
    longest = max((len(list(run)) for value, run in groupby(wrong) if value), default=0)
    assert seconds(longest) < 1.0


def test_the_cup_is_found_where_it_is_shown_and_nothing_elsewhere(images: list[Image], tmp_path: Path) -> None:
    model = ObjectModel(weights=OWN_WEIGHTS, cache=tmp_path, image_size_px=320, confidence=0.25)
    found = [bool(detections) for detections in model.detect(images)]
    assert np.mean([found[i] for i in inside("cup")]) >= 0.9
    assert not any(found[i] for i in outside("cup", len(images)))
