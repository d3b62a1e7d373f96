"""What only a folder or only a bucket can get wrong, and which of them the settings choose."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from google.api_core.exceptions import NotFound, RetryError
from google.auth.exceptions import DefaultCredentialsError

from serve_app.adapters.folder import FolderStore
from serve_app.adapters.footage import URL_MAX_CHARS
from serve_app.adapters.gcs import GcsStore
from serve_app.adapters.storage import footage_store
from tests import servers
from tests.contract.objects import PUBLIC_URL, content, make_gcs, make_mp4, make_name, make_service_account


def test_without_a_bucket_it_is_a_folder(tmp_path: Path) -> None:
    store = footage_store(data_dir=tmp_path, public_url=PUBLIC_URL + "/", bucket="")
    name = make_name()
    store.put(name, make_mp4(tmp_path, 10))
    assert (tmp_path / "footage" / name).stat().st_size == 10
    assert store.url(name) == f"{PUBLIC_URL}/footage/{name}"


def test_with_a_bucket_it_is_the_bucket(emulator: servers.Gcs, tmp_path: Path) -> None:
    bucket = emulator.bucket()
    store = footage_store(data_dir=tmp_path, public_url=PUBLIC_URL, bucket=bucket, public=True)
    name = make_name()
    store.put(name, make_mp4(tmp_path, 10))
    assert store.url(name) == f"https://storage.googleapis.com/{bucket}/{name}"


@pytest.mark.usefixtures("emulator")
def test_the_longest_urls_fit_their_column(tmp_path: Path) -> None:
    base_url, name = "http://" + "h" * 80, make_name(part=9999)
    stores = [
        footage_store(data_dir=tmp_path, public_url=base_url),
        footage_store(data_dir=tmp_path, public_url=base_url, bucket="fleet"),
        footage_store(data_dir=tmp_path, public_url=base_url, bucket="b" * 63, public=True),
    ]
    for store in stores:
        assert len(store.url(name)) <= URL_MAX_CHARS


@pytest.mark.usefixtures("emulator")
def test_a_url_that_would_not_fit_its_column_stops_the_start(tmp_path: Path) -> None:
    base_url = "http://" + "h" * 90
    with pytest.raises(ValueError, match=r"PUBLIC_URL is too long: .*/footage', at most 97 characters fit"):
        footage_store(data_dir=tmp_path, public_url=base_url)
    with pytest.raises(ValueError, match="PUBLIC_URL is too long"):
        footage_store(data_dir=tmp_path, public_url=base_url, bucket="fleet")
    with pytest.raises(ValueError, match="GOOGLE_STORAGE_BUCKET_NAME is too long"):
        footage_store(data_dir=tmp_path, public_url=PUBLIC_URL, bucket="b" * 80, public=True)


def test_a_bucket_without_credentials_is_an_error_at_its_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    (tmp_path / "wrong.json").write_text("{}")
    for file in ("missing.json", "wrong.json"):
        store = footage_store(data_dir=tmp_path, public_url=PUBLIC_URL, bucket="b", credentials_file=tmp_path / file)
        with pytest.raises(DefaultCredentialsError, match=file):
            store.ping()
        with pytest.raises(DefaultCredentialsError, match=file):
            store.put(make_name(), make_mp4(tmp_path, 10))


def test_a_process_that_never_touches_the_bucket_needs_neither_credentials_nor_google(tmp_path: Path) -> None:
    """As where the metadata server is down, which is asked for credentials when nothing else has them."""
    code = (
        "import pathlib, sys; from serve_app.adapters.storage import footage_store\n"
        "store = footage_store(data_dir=pathlib.Path('x'), public_url='http://h', bucket='fleet', public=True)\n"
        "assert store.url(sys.argv[1]).startswith('https://storage.googleapis.com/fleet/')\n"
        "assert not [name for name in sys.modules if name.startswith(('google.', 'requests'))]\n"
    )
    nobody = {"HOME": str(tmp_path), "PATH": "", "NO_GCE_CHECK": "true"}
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code, make_name()], cwd=root, env=nobody, check=True)


# Only a folder


def test_a_put_that_was_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    """The copying process is stopped for good in the middle; the repeat takes its file over."""
    name, mp4 = make_name(), make_mp4(tmp_path, 100_000)
    part = tmp_path / "footage" / f"{name[:11]}.{name[11:]}.part"
    code = (
        "import os, pathlib, shutil, signal, sys; from serve_app.adapters import folder\n"
        "def die(source, copy, _):\n"
        "    copy.write(b'half'); copy.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "shutil.copyfileobj = die\n"
        "folder.FolderStore(pathlib.Path(sys.argv[1]), 'http://h').put(sys.argv[2], pathlib.Path(sys.argv[3]))\n"
    )
    args = [sys.executable, "-c", code, str(tmp_path / "footage"), name, str(mp4)]
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run(args, cwd=root, check=False).returncode == -signal.SIGKILL
    store = FolderStore(tmp_path / "footage", PUBLIC_URL)
    assert part.read_bytes() == b"half"
    assert store.size(name) is None
    store.put(name, mp4)
    assert content(store, name) == mp4.read_bytes()
    assert [file.name for file in part.parent.iterdir()] == [name[11:]]


def test_processes_that_put_the_same_at_once(tmp_path: Path) -> None:
    mp4 = make_mp4(tmp_path, 500_000)
    names = [make_name() for _ in range(10)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn) as pool:
        for done in [pool.submit(_put_all, tmp_path / "footage", names, mp4) for _ in range(2)]:
            done.result(60)
    store = FolderStore(tmp_path / "footage", PUBLIC_URL)
    for name in names:
        assert content(store, name) == mp4.read_bytes()
    assert not list((tmp_path / "footage").rglob("*.part"))


def _put_all(folder: Path, names: list[str], mp4: Path) -> None:
    store = FolderStore(folder, PUBLIC_URL)
    for name in names:
        store.put(name, mp4)


def test_a_folder_that_cannot_be_fails_the_ping(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        FolderStore(tmp_path / "file", PUBLIC_URL).ping()


# Only a bucket


def test_a_long_trip_goes_in_several_requests(emulator: servers.Gcs, tmp_path: Path) -> None:
    store = make_gcs(emulator.bucket())
    name, mp4 = make_name(), make_mp4(tmp_path, 20 * 1024 * 1024 + 5)
    store.put(name, mp4)
    store.put(name, mp4)
    assert content(store, name) == mp4.read_bytes()


def test_a_browser_is_told_that_it_is_a_video(emulator: servers.Gcs, tmp_path: Path) -> None:
    bucket, name = emulator.bucket(), make_name()
    make_gcs(bucket).put(name, make_mp4(tmp_path, 100).rename(tmp_path / "part-1"))  # nothing to guess it from
    with urllib.request.urlopen(f"{emulator.url}/{bucket}/{name}", timeout=10) as answer:  # noqa: S310 our own server
        assert answer.headers["Content-Type"] == "video/mp4"


def test_a_bucket_that_is_not_there_fails_put_and_ping(emulator: servers.Gcs, tmp_path: Path) -> None:
    emulator.bucket()
    store = make_gcs("no-such-bucket")
    with pytest.raises(NotFound):
        store.ping()
    with pytest.raises(NotFound):
        store.put(make_name(), make_mp4(tmp_path, 10))


def test_a_store_that_is_down_is_an_error_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{servers.HOST}:{servers.free_port()}")
    store = make_gcs("fleet", retry_for_s=0.1)
    with pytest.raises(requests.ConnectionError):
        store.ping()
    with pytest.raises((RetryError, requests.ConnectionError)):
        store.put(make_name(), make_mp4(tmp_path, 10))


def test_a_store_that_hangs_up_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.gcs() as server, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        store, name, mp4 = make_gcs(server.bucket()), make_name(), make_mp4(tmp_path, 1000)
        server.stop()
        with socket.create_server((servers.HOST, server.port)) as rude:
            waiting = pool.submit(store.put, name, mp4)
            rude.accept()[0].close()
        server.start()
        waiting.result(60)
        assert content(store, name) == mp4.read_bytes()


def test_two_clients_that_put_the_same_long_trip_at_once(emulator: servers.Gcs, tmp_path: Path) -> None:
    """The slower one is told at its last request that the object is there."""
    bucket, name, mp4 = emulator.bucket(), make_name(), make_mp4(tmp_path, 9 * 1024 * 1024)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda store: store.put(name, mp4), [make_gcs(bucket), make_gcs(bucket)]))
    assert content(make_gcs(bucket), name) == mp4.read_bytes()


def test_a_service_account_signs_a_url_for_five_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed on this machine, so no Google is asked."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    store = GcsStore(
        bucket="fleet",
        project=None,
        credentials_file=make_service_account(tmp_path),
        public=False,
        public_url=PUBLIC_URL,
    )
    name = make_name()
    url = store.signed_url(name)
    assert url is not None
    assert url.startswith(f"https://storage.googleapis.com/fleet/{name}?X-Goog-Algorithm=GOOG4-RSA-SHA256")
    assert "X-Goog-Expires=300&" in url


def test_a_folder_needs_no_google(tmp_path: Path) -> None:
    """A vehicle is a process; what it does not import, it does not carry."""
    code = (
        "import pathlib, sys; from serve_app.adapters.storage import footage_store\n"
        "footage_store(data_dir=pathlib.Path(sys.argv[1]), public_url='http://h').ping()\n"
        "assert not [name for name in sys.modules if name.startswith(('google.', 'requests', 'sqlalchemy'))]\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=True)
