"""Settings: defaults, sources, and every fault said at once in words for a person."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serve_app.adapters.folder import FolderStore
from serve_app.adapters.gcs import GcsStore
from serve_app.settings import PROJECT, Address, SettingsError, load_settings, passthrough, process_settings, values
from serve_app.settings.fields import NAMES, Settings
from tests.contract.objects import make_name


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / "test.env"


def load(env_file: Path, text: str = "", **environ: str) -> Settings:
    env_file.write_text(text, encoding="utf-8")
    return load_settings({"DMS_ENV_FILE": str(env_file), **environ}, probe=True)


def faults(env_file: Path, text: str = "", **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(env_file, text, **environ)
    assert not [line for line in caught.value.lines if "\n" in line]
    return caught.value.lines


def test_nothing_set_runs_on_one_machine(env_file: Path) -> None:
    s = load(env_file)
    assert (s.mqtt, s.mysql, s.google_storage_bucket_name, s.model_path, s.api_token) == (None, None, None, None, None)
    assert (s.mqtt_broker_port, s.http_host, s.public_url) == (1883, "127.0.0.1", "http://127.0.0.1:8000")
    assert s.data_dir == PROJECT / "data"


def test_the_example_file_means_the_defaults(env_file: Path) -> None:
    assert load(env_file, (PROJECT / ".env.example").read_text()) == load(env_file)


def test_empty_and_blank_mean_the_default(env_file: Path) -> None:
    assert load(env_file, "HTTP_PORT=\nAPI_TOKEN='  '\n", IMAGE_SIZE="", POLICY_PROFILE=" ") == load(env_file)


def test_the_environment_wins_over_the_file_and_an_empty_one_does_not(env_file: Path) -> None:
    s = load(env_file, "HTTP_PORT=8001\nIMAGE_SIZE=640\n", HTTP_PORT="8002", IMAGE_SIZE="")
    assert (s.http_port, s.image_size) == (8002, 640)


@pytest.mark.parametrize("text", ["a$b", "${HOME}", "p#w", "a'b"])
def test_a_password_survives_as_it_is_written(env_file: Path, text: str) -> None:
    s = load(env_file, f'MYSQL_HOST=db\nMYSQL_USER=u\nMYSQL_DATABASE=d\nMYSQL_PASSWORD="{text}"\n')
    assert s.mysql_password is not None
    assert s.mysql_password.get_secret_value() == text
    assert text not in repr(s)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("YES", True), ("0", False), ("no", False)])
def test_yes_and_no_in_many_words(env_file: Path, text: str, *, value: bool) -> None:
    s = load(
        env_file, GOOGLE_STORAGE_PUBLIC=text, GOOGLE_STORAGE_BUCKET_NAME="bucket", STORAGE_EMULATOR_HOST="http://x"
    )
    assert s.google_storage_public is value


def test_all_faults_are_said_at_once(env_file: Path) -> None:
    lines = faults(
        env_file,
        "MQTT_BROKR_URL=typo\nSTREAM_IDLE_TIMEOUT_S=soon\nMYSQL_HOST=db\nMYSQL_USER=u\n",
        MQTT_BROKER_PORT="70000",
        MODEL_PATH="none.pt",
    )
    assert lines == [
        f"MQTT_BROKR_URL in {env_file}: no such setting; did you mean MQTT_BROKER_URL?",
        "MQTT_BROKER_PORT=70000: should be a whole number from 1 to 65535",
        "STREAM_IDLE_TIMEOUT_S=soon: should be a number from 1 to 86400",
        "MYSQL_DATABASE: should be set, as MYSQL_HOST is",
        "MODEL_PATH=none.pt: there is no such file or folder",
    ]


def test_a_secret_is_in_no_line(env_file: Path) -> None:
    secret = "geheim mit leerzeichen"  # a blank makes it wrong as a token
    lines = faults(
        env_file, f"MYSQL_PASWORD={secret}\n", MYSQL_PASSWORD=secret, MQTT_PASSWORD=secret, API_TOKEN=secret,
        MQTT_BROKER_URL=f"mqtt://me:{secret}@broker", PUBLIC_URL=f"https://me:{secret}@fleet.example",
    )  # fmt: skip
    assert {line.split(":")[0].split(" ")[0] for line in lines} == {
        "MYSQL_PASWORD", "MYSQL_PASSWORD", "MQTT_PASSWORD", "API_TOKEN", "MQTT_BROKER_URL", "PUBLIC_URL"
    }  # fmt: skip
    assert "geheim" not in "".join(lines)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("MQTT_BROKER_PORT", "0", "a whole number from 1 to 65535"),
        ("HTTP_PORT", "80.5", "a whole number from 1 to 65535"),
        ("IMAGE_SIZE", "100", "a multiple of 32 from 32 to 1920"),
        ("OBJECT_CONFIDENCE", "1.1", "a number from 0 to 1"),
        ("OBJECT_CONFIDENCE", "nan", "a number from 0 to 1"),
        ("STREAM_IDLE_TIMEOUT_S", "inf", "a number from 1 to 86400"),
        ("MAX_FRAME_BYTES", "99999999", "a whole number from 1024 to 3000000"),
        ("GOOGLE_STORAGE_PUBLIC", "maybe", "true or false"),
        ("POLICY_PROFILE", "strict", "'default' or 'legacy'"),
        ("MQTT_CLIENT_ID", "x" * 200, "at most 128 characters"),
        ("MQTT_BROKER_URL", "ws://broker", "mqtts://host:port"),
        ("MQTT_BROKER_URL", "a broker", "mqtt://"),
        ("MQTT_BROKER_URL", "broker:70000", "mqtt://"),
        ("MQTT_BROKER_URL", "broker/path", "mqtt://"),
        ("MQTT_BROKER_URL", "a..b", "mqtt://"),
        ("MQTT_BROKER_URL", "x" * 64, "mqtt://"),
        ("MQTT_BROKER_URL", "[::1]x:1883", "mqtt://"),
        ("MYSQL_HOST", "mysql://db", "host or host:port"),
        ("MYSQL_HOST", "a..b", "host or host:port"),
        ("MYSQL_HOST", "db:x", "host or host:port"),
        ("MYSQL_HOST", "db:70000", "host or host:port"),
        ("MYSQL_HOST", "db/name", "host or host:port"),
        ("MYSQL_HOST", ":3306", "host or host:port"),
        ("HTTP_HOST", "http://x", "a host name or an IP address"),
        ("HTTP_HOST", "a..b", "a host name or an IP address"),
        ("HTTP_PORT", "1883", "another port than that of the embedded broker"),
        ("PUBLIC_URL", "ftp://x", "http://host[:port]"),
        ("PUBLIC_URL", "https://", "http://host[:port]"),
        ("PUBLIC_URL", "https://x/?a=b", "http://host[:port]"),
        ("PUBLIC_URL", "https://" + "x" * 82, "at most 89 characters"),
        ("DATA_DIR", "~nouser/x", "~nouser is nobody's home"),
        ("DATA_DIR", f"{Path(__file__)}/below", "test_settings.py is no folder"),
        ("MODEL_PATH", "~nouser/x.pt", "~nouser is nobody's home"),
        ("MODEL_PATH", "x" * 300, "cannot be looked at: File name too long"),
        ("GOOGLE_STORAGE_BUCKET_NAME", "gs://bucket", "the bucket's name alone"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(env_file: Path, name: str, value: str, right: str) -> None:
    lines = faults(env_file, **{name: value})
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}={value[:80]}")
    assert right in lines[0]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("broker", Address("broker", 1883)),
        ("broker:1884", Address("broker", 1884)),
        ("10.0.0.7", Address("10.0.0.7", 1883)),
        ("::1", Address("::1", 1883)),
        ("mqtt://[::1]:1884/", Address("::1", 1884)),
        ("tcp://broker.example", Address("broker.example", 1883)),
        ("mqtts://broker", Address("broker", 8883, tls=True)),
        ("mqtts://broker:1883", Address("broker", 1883, tls=True)),
    ],
)
def test_forms_of_a_brokers_address(env_file: Path, url: str, address: Address) -> None:
    assert load(env_file, MQTT_BROKER_URL=url).mqtt == address


def test_a_port_given_beside_the_brokers_address(env_file: Path) -> None:
    assert load(env_file, MQTT_BROKER_URL="mqtts://b", MQTT_BROKER_PORT="1883").mqtt == Address("b", 1883, tls=True)
    assert faults(env_file, MQTT_BROKER_URL="b:1884", MQTT_BROKER_PORT="1885") == [
        "MQTT_BROKER_PORT=1885: should be 1884 as in MQTT_BROKER_URL, or empty"
    ]


def test_tls_files_of_the_broker(env_file: Path, tmp_path: Path) -> None:
    pem = tmp_path / "some.pem"
    pem.touch()
    url = {"MQTT_BROKER_URL": "broker"}
    assert load(env_file, **url, MQTT_TLS_CA=str(pem)).mqtt == Address("broker", 1883, tls=True)
    both = {"MQTT_TLS_CERT": str(pem), "MQTT_TLS_KEY": str(pem)}
    assert load(env_file, **url, **both).mqtt == Address("broker", 1883, tls=True)
    assert faults(env_file, **url, MQTT_TLS_KEY=str(pem)) == [f"MQTT_TLS_KEY={pem}: needs MQTT_TLS_CERT"]
    assert faults(env_file, **url, MQTT_TLS_CA="no.pem") == ["MQTT_TLS_CA=no.pem: there is no such file"]
    assert "embedded broker speaks no TLS" in faults(env_file, MQTT_TLS_CA=str(pem))[0]


def test_the_client_id_is_stable_and_one_per_data_folder(env_file: Path) -> None:
    one = load(env_file).mqtt_client_id
    assert one.startswith("dms-")
    assert one == load(env_file).mqtt_client_id != load(env_file, DATA_DIR="/elsewhere").mqtt_client_id
    assert load(env_file, MQTT_CLIENT_ID="mine").mqtt_client_id == "mine"


def test_mysql_is_wanted_whole_or_not_at_all(env_file: Path) -> None:
    s = load(env_file, MYSQL_HOST="db:3307", MYSQL_USER="u", MYSQL_DATABASE="d")
    assert s.mysql == Address("db", 3307)
    for host, address in {"::1": Address("::1", 3306), "[::1]:3307": Address("::1", 3307)}.items():
        assert load(env_file, MYSQL_HOST=host, MYSQL_USER="u", MYSQL_DATABASE="d").mysql == address
    assert faults(env_file, MYSQL_DATABASE="d") == ["MYSQL_DATABASE=d: needs MYSQL_HOST, else SQLite is used"]


def test_a_bucket_wants_credentials(env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no gcloud login of the person who runs this
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    bucket = {"GOOGLE_STORAGE_BUCKET_NAME": "footage"}
    lines = faults(env_file, **bucket)
    assert len(lines) == 1
    assert "GOOGLE_APPLICATION_CREDENTIALS" in lines[0]
    load(env_file, **bucket, STORAGE_EMULATOR_HOST="http://127.0.0.1:1")
    load(env_file, "STORAGE_EMULATOR_HOST=http://127.0.0.1:1\n", **bucket)
    key = tmp_path / "key.json"
    assert "there is no such file" in faults(env_file, **bucket, GOOGLE_APPLICATION_CREDENTIALS=str(key))[0]
    for content in ("", "no JSON", "[]", "{}", '{"type": "service_account"}'):
        key.write_text(content)
        [line] = faults(env_file, **bucket, GOOGLE_APPLICATION_CREDENTIALS=str(key))
        assert "should be a JSON file with credentials" in line
    login = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "t"}
    key.write_text(json.dumps(login))
    assert load(env_file, **bucket, GOOGLE_APPLICATION_CREDENTIALS=str(key))
    assert (
        "GOOGLE_STORAGE_PUBLIC=yes: needs GOOGLE_STORAGE_BUCKET_NAME"
        in faults(env_file, GOOGLE_STORAGE_PUBLIC="yes")[0]
    )
    long = "b" * 80
    assert "at most 66 characters" in faults(
        env_file, GOOGLE_STORAGE_BUCKET_NAME=long, GOOGLE_STORAGE_PUBLIC="yes", STORAGE_EMULATOR_HOST="x"
    )[0]  # fmt: skip


def test_the_longest_urls_that_settings_take_the_stores_take_too(env_file: Path, tmp_path: Path) -> None:
    bucket = {"GOOGLE_STORAGE_BUCKET_NAME": "b" * 66, "GOOGLE_STORAGE_PUBLIC": "yes", "STORAGE_EMULATOR_HOST": "x"}
    s = load(env_file, PUBLIC_URL="https://" + "x" * 81, **bucket)
    assert len(FolderStore(tmp_path, s.public_url).url(make_name(part=9999))) == 191
    gcs = GcsStore(bucket="b" * 66, project=None, credentials_file=None, public=True, public_url=s.public_url)
    assert len(gcs.url(make_name(part=9999))) <= 191


def test_what_a_model_may_be(env_file: Path, tmp_path: Path) -> None:
    weights, folder, text, upper = (tmp_path / name for name in ("w.onnx", "model", "w.txt", "w.ONNX"))
    for file in (weights, text, upper):
        file.touch()
    folder.mkdir()
    assert load(env_file, MODEL_PATH=str(weights)).model_path == weights
    assert "OpenVINO folder" in faults(env_file, MODEL_PATH=str(folder))[0]
    assert "OpenVINO folder" in faults(env_file, MODEL_PATH=str(text))[0]
    assert faults(env_file, MODEL_PATH=str(upper)) == [
        f"MODEL_PATH={upper}: should be a .pt, .onnx or .engine file or an OpenVINO folder (with an .xml in it)"
    ]
    (folder / "m.xml").touch()
    assert load(env_file, MODEL_PATH=str(folder)).model_path == folder


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(env_file: Path, host: str) -> None:
    assert load(env_file, HTTP_HOST=host).http_host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example"])  # noqa: S104 - refused here
def test_a_reachable_host_needs_a_token(env_file: Path, host: str) -> None:
    assert faults(env_file, HTTP_HOST=host) == [f"HTTP_HOST={host}: other than loopback needs API_TOKEN"]
    assert load(env_file, HTTP_HOST=host, API_TOKEN="x").http_host == host


def test_a_public_url_follows_the_port_and_loses_its_slash(env_file: Path) -> None:
    assert load(env_file, HTTP_PORT="9000").public_url == "http://127.0.0.1:9000"
    assert load(env_file, PUBLIC_URL="https://fleet.example/dms/").public_url == "https://fleet.example/dms"


def test_a_wrong_setting_is_not_blamed_on_the_defaults_that_follow_it(env_file: Path) -> None:
    assert faults(env_file, HTTP_PORT="x") == ["HTTP_PORT=x: should be a whole number from 1 to 65535"]


def test_a_data_folder_that_is_a_file(env_file: Path) -> None:
    env_file.touch()
    assert faults(env_file, DATA_DIR=str(env_file)) == [f"DATA_DIR={env_file}: should be a folder"]


def test_names_that_the_file_may_hold_for_others(env_file: Path) -> None:
    load(env_file, "RAY_AUTH_MODE=disabled\nexport YOLO_VERBOSE=0\nSTORAGE_EMULATOR_HOST=http://x\n")
    environ = {"DMS_ENV_FILE": str(env_file), "YOLO_VERBOSE": "1"}
    assert passthrough(environ) == {"RAY_AUTH_MODE": "disabled", "STORAGE_EMULATOR_HOST": "http://x"}


def test_a_process_takes_its_settings_and_passes_on_the_rest(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("HTTP_PORT=8001\nYOLO_TRIAL=1\n")
    monkeypatch.setenv("DMS_ENV_FILE", str(env_file))
    monkeypatch.delenv("HTTP_PORT", raising=False)
    monkeypatch.setenv("YOLO_TRIAL", "")
    assert process_settings().http_port == 8001
    assert os.environ["YOLO_TRIAL"] == "1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look anywhere: see the next test")
def test_what_may_not_be_looked_at(env_file: Path, tmp_path: Path) -> None:
    _assert_faults_of_what_is_closed(env_file, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_what_another_user_may_not_look_at() -> None:
    """In a process of its own, as a user who is not root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        code = (
            "import os, sys, pathlib; from tests.unit import test_settings as t; f = pathlib.Path(sys.argv[1])\n"
            "t.load(f / 'y.env')\n"  # what is imported late may lie where only root looks
            "os.setuid(65534); t._assert_faults_of_what_is_closed(f / 'x.env', f)"
        )
        subprocess.run([sys.executable, "-c", code, folder], cwd=PROJECT, check=True)


def _assert_faults_of_what_is_closed(env_file: Path, folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o000)
    url = {"MQTT_BROKER_URL": "broker"}
    for name, more in {"DATA_DIR": {}, "MODEL_PATH": {}, "MQTT_TLS_CA": url}.items():
        inside = str(closed / "some.pt")
        assert faults(env_file, **{"DATA_DIR": str(folder), name: inside}, **more) == [
            f"{name}={inside}: cannot be looked at: Permission denied"
        ]
    assert faults(env_file, DATA_DIR=str(closed)) == [f"DATA_DIR={closed}: cannot be read"]
    with pytest.raises(SettingsError, match=r"^DMS_ENV_FILE=.*: Permission denied"):
        load_settings({"DMS_ENV_FILE": str(closed / "x.env")})
    closed.chmod(0o555)
    assert faults(env_file, DATA_DIR=str(closed)) == [f"DATA_DIR={closed}: cannot be written to"]
    below = closed / "data"
    assert faults(env_file, DATA_DIR=str(below)) == [f"DATA_DIR={below}: {closed} cannot be written to"]


def test_what_the_file_may_not_hold(env_file: Path) -> None:
    assert faults(env_file, "DMS_ENV_FILE=other\nPATH=/bin\nHTTP_PORT\nthis is no line\n") == [
        f"DMS_ENV_FILE in {env_file}: has no effect there; set it in the environment",
        f"PATH in {env_file}: no such setting; see .env.example",
        f"HTTP_PORT in {env_file}: should be HTTP_PORT=value, or HTTP_PORT= for the default",
        f"line 4 of {env_file}: should be NAME=value",
    ]


def test_a_named_file_must_be_there_and_be_text(env_file: Path) -> None:
    with pytest.raises(SettingsError, match=r"^DMS_ENV_FILE=.*: No such file"):
        load_settings({"DMS_ENV_FILE": str(env_file)})
    env_file.write_bytes(b"A=\xff\xfe\n")
    for content, why in {b"A=\xff\xfe\n": "is no UTF-8 text", b"H\0=\0": "is no text"}.items():
        env_file.write_bytes(content)
        with pytest.raises(SettingsError, match=f"^DMS_ENV_FILE=.*: {why}"):
            load_settings({"DMS_ENV_FILE": str(env_file)})
        assert passthrough({"DMS_ENV_FILE": str(env_file)}) == {}
    with pytest.raises(SettingsError, match=r"^DMS_ENV_FILE=~nouser/x: should be a path; ~nouser is nobody's home"):
        load_settings({"DMS_ENV_FILE": "~nouser/x"})


def test_the_projects_own_file_may_be_missing_but_must_be_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "PROJECT", tmp_path)
    load_settings({})
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert caught.value.lines == [f"{tmp_path}/.env: is no UTF-8 text; should be a file with lines NAME=value"]


def test_every_field_has_words_and_numbers_have_bounds() -> None:
    for name, field in NAMES.items():
        assert field.title, name
        assert (field.description or "").endswith("."), name
        if field.annotation in (int, float):
            assert len(field.metadata) >= 2, name


def test_importing_settings_loads_nothing_heavy() -> None:
    code = "import sys, serve_app.settings; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert not {"google.auth", "google.cloud.storage", "ray", "cv2", "sqlalchemy", "pydantic_settings"} & set(
        out.split()
    )
