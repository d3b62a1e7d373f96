"""What simulated devices send and when; no broker."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app import simulator
from serve_app.simulator.replay import Pace
from serve_app.simulator.schedule import AWAY_S, Mishaps, Step, schedule
from serve_app.simulator.source import JpegFormat, SourceError, TimedJpeg, extended, load_source


def video(path: Path, *, times_ms: Sequence[int], size: tuple[int, int] = (64, 48)) -> Path:
    """A video whose pictures come at these times."""
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), i * 3 % 256, np.uint8), format="bgr24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def folder(path: Path, names: Sequence[str] = ("b.jpg", "a.jpg", "c.JPEG")) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"\xff\xd8 any bytes of " + name.encode())
    return path


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, dtype=np.uint8)


class Clock:
    """Time that passes only when someone waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.now_s += seconds


def test_jpegs_of_a_folder_are_sent_byte_for_byte_in_order_of_their_names(tmp_path: Path) -> None:
    source = load_source(folder(tmp_path / "pictures"))
    assert [(frame.at_s, frame.jpeg[-6:]) for frame in source] == [(0, b" a.jpg"), (0.1, b" b.jpg"), (0.2, b"c.JPEG")]
    assert source.frames == 3


def test_other_pictures_of_a_folder_become_jpegs(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((48, 64, 3), 99, np.uint8))
    [frame] = load_source(tmp_path, fps=5)
    assert abs(int(decoded(frame.jpeg)[0, 0, 0]) - 99) <= 1


def test_a_video_keeps_its_own_times_which_begin_at_0(tmp_path: Path) -> None:
    source = load_source(video(tmp_path / "v.mp4", times_ms=[500, 533, 900, 1700]))
    assert [frame.at_s for frame in source] == pytest.approx([0, 0.033, 0.4, 1.2], abs=0.001)
    assert source.frames == 4


@pytest.mark.parametrize("turned_deg", [90, 180, 270])
def test_a_video_that_a_phone_recorded_turned_is_sent_upright(tmp_path: Path, turned_deg: int) -> None:
    corner = np.zeros((48, 64, 3), np.uint8)
    corner[:24, :32] = 255
    lying, path = tmp_path / "lying.mp4", tmp_path / "turned.mp4"
    with av.open(lying, "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(corner, format="bgr24")))
        file.mux(stream.encode())
    with av.open(lying) as source, av.open(path, "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(turned_deg)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    reader = cv2.VideoCapture(str(path))  # turns pictures as players do
    _, upright = reader.read()
    reader.release()
    [sent] = load_source(path)
    assert decoded(sent.jpeg).shape == upright.shape
    assert np.abs(decoded(sent.jpeg).astype(int) - upright).mean() < 2, "the white corner is where a player shows it"


def test_a_video_can_be_read_again(tmp_path: Path) -> None:
    source = load_source(video(tmp_path / "v.mp4", times_ms=[0, 100]))
    assert list(source) == list(source)


@pytest.mark.parametrize(
    ("size", "sent"), [((1280, 720), (640, 360)), ((480, 960), (240, 480)), ((320, 240), (320, 240))]
)
def test_a_video_larger_than_vga_is_made_smaller_in_proportion(
    tmp_path: Path, size: tuple[int, int], sent: tuple[int, int]
) -> None:
    [frame] = load_source(video(tmp_path / "v.mp4", times_ms=[0], size=size))
    assert decoded(frame.jpeg).shape == (sent[1], sent[0], 3)


def test_the_quality_of_encoded_pictures_can_be_chosen(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "noise.png"), noise)
    sizes = [len(next(iter(load_source(tmp_path, jpeg=JpegFormat(quality=q)))).jpeg) for q in (20, 80, 95)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_a_faster_video_is_thinned_evenly(tmp_path: Path) -> None:
    source = load_source(video(tmp_path / "v.mp4", times_ms=[i * 1000 // 30 for i in range(60)]), fps=10)
    assert [frame.at_s for frame in source] == pytest.approx([i / 10 for i in range(20)], abs=0.002)


def test_a_slower_video_stays_as_it_is(tmp_path: Path) -> None:
    source = load_source(video(tmp_path / "v.mp4", times_ms=[0, 200, 400]), fps=25)
    assert [frame.at_s for frame in source] == pytest.approx([0, 0.2, 0.4])


def test_a_loop_goes_on_in_the_same_step(tmp_path: Path) -> None:
    frames = extended(load_source(folder(tmp_path / "p"), fps=4), loop=True, duration_s=None)
    assert [frame.at_s for frame in itertools.islice(frames, 8)] == pytest.approx([i / 4 for i in range(8)])


@pytest.mark.parametrize(("duration_s", "frames"), [(0.2, 2), (0.25, 3), (1.0, 10)])
def test_a_duration_repeats_or_cuts_the_source(tmp_path: Path, duration_s: float, frames: int) -> None:
    source = load_source(folder(tmp_path / "p"))
    assert len(list(extended(source, loop=False, duration_s=duration_s))) == frames


def test_a_single_picture_can_be_repeated(tmp_path: Path) -> None:
    source = load_source(folder(tmp_path / "p", ["one.jpg"]))
    assert len(list(extended(source, loop=False, duration_s=1.0))) == 10


def test_sources_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_bytes(b"no picture")
    for name in ("absent.mp4", "empty", "broken.mp4", "broken", "x" * 300, "9" * 11):
        with pytest.raises(SourceError, match=f"{tmp_path / name}.*") as error:
            list(load_source(tmp_path / name))
        assert "\n" not in str(error.value)


def test_a_video_that_breaks_off_is_named_when_it_does(tmp_path: Path) -> None:
    path = video(tmp_path / "v.mkv", times_ms=[i * 100 for i in range(5)])
    source = load_source(path)
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=str(path)):
        list(source)


def test_a_delay_does_not_add_up() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    sent_s = []
    for i in range(10):
        pace.wait_for(i / 10)
        sent_s.append(clock.now_s - 1000)
        clock.now_s += 0.35 if i == 3 else 0.02  # what sending takes
    assert sent_s[:4] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert sent_s[7:] == pytest.approx([0.71, 0.8, 0.9])
    assert pace.late_s == pytest.approx(0.25)
    assert pace.put_off_s == 0


def test_after_a_long_delay_only_a_second_is_made_up_for() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    sent_s = []
    for i in range(30):
        pace.wait_for(i / 10)
        sent_s.append(clock.now_s - 1000)
        clock.now_s += 5.0 if i == 0 else 0.0
    assert pace.late_s == pytest.approx(4.9)
    assert pace.put_off_s == pytest.approx(3.9)
    assert sum(at_s == pytest.approx(5.0) for at_s in sent_s) == 11
    assert sent_s[-1] == pytest.approx(2.9 + 3.9)


def steps(n: int, mishaps: Mishaps, *, vehicles: int = 3, speed: float = 1.0) -> list[Step]:
    """What a fleet does with so many frames, ten a second."""
    frames = [TimedJpeg(i / 10, b"%d" % i) for i in range(n)]
    return list(schedule(frames, vehicles=vehicles, speed=speed, mishaps=mishaps))


def of(vehicle: int, found: list[Step]) -> list[Step]:
    return [step for step in found if step.vehicle == vehicle]


def test_the_vehicles_of_a_fleet_are_spread_over_the_time_between_two_frames() -> None:
    found = steps(3, Mishaps())
    assert [step.at_s for step in of(0, found)] == pytest.approx([0, 0.1, 0.2])
    assert [step.at_s for step in of(1, found)] == pytest.approx([0, 0.1 + 0.1 / 3, 0.2 + 0.1 / 3])
    assert {step.fate for step in found} == {"send"}


def test_a_frame_is_taken_when_the_one_before_it_has_been_sent() -> None:
    sent = 0

    def frames() -> Iterator[TimedJpeg]:
        for i in range(5):
            assert sent == 3 * i
            yield TimedJpeg(i / 10, b"")

    for _ in schedule(frames(), vehicles=3, speed=1, mishaps=Mishaps()):
        sent += 1
    assert sent == 15


def test_jitter_delays_each_frame_on_its_own_and_keeps_the_order_of_a_vehicle() -> None:
    plain, late = steps(300, Mishaps()), steps(300, Mishaps(jitter_s=0.25))
    assert [step.at_s for step in late] == sorted(step.at_s for step in late)
    for vehicle in range(3):
        mine = of(vehicle, late)
        assert [step.jpeg for step in mine] == [b"%d" % i for i in range(300)]
        delays_s = [a.at_s - b.at_s for a, b in zip(mine, of(vehicle, plain), strict=True)]
        assert 0 <= min(delays_s) < 0.05 and 0.2 < max(delays_s) <= 0.25
        assert len({round(delay_s, 3) for delay_s in delays_s}) > 100
    assert [step.at_s for step in of(0, late)] != [step.at_s for step in of(1, late)]


def test_jitter_and_reboots_count_in_seconds_whatever_the_speed() -> None:
    found = steps(6000, Mishaps(jitter_s=0.25, reboot_every_s=5), speed=10)
    assert all(0 <= step.at_s - int(step.jpeg) / 100 <= 0.26 for step in found)
    assert all(AWAY_S[0] - 0.1 <= away_s <= AWAY_S[1] + 0.1 for away_s in away(of(0, found))[:-1])


def away(found: list[Step]) -> list[float]:
    """How long a vehicle was without power each time."""
    runs = [list(run) for off, run in itertools.groupby(found, key=lambda step: step.fate == "miss") if off]
    return [run[-1].at_s - run[0].at_s for run in runs]


def test_reboots_come_as_often_as_asked_and_last_some_seconds() -> None:
    found = of(0, steps(100_000, Mishaps(reboot_every_s=30), vehicles=1))
    times = away(found)
    assert 220 < len(times) < 350, "10,000 s, one in 30 s of driving and 5 s of being away"
    usual = [away_s for away_s in times if AWAY_S[0] - 0.2 <= away_s <= AWAY_S[1]]
    assert len(usual) > 0.98 * len(times), "some vehicle loses its power again before its first frame"
    assert away(of(1, steps(3000, Mishaps(reboot_every_s=30)))) != times


def test_mishaps_are_the_same_for_the_same_seed_whatever_else_goes_wrong() -> None:
    calm, wild = Mishaps(loss=0.1), Mishaps(loss=0.1, jitter_s=0.3, reboot_every_s=20)
    assert steps(500, wild) == steps(500, wild)
    assert steps(500, wild) != steps(500, Mishaps(loss=0.1, jitter_s=0.3, reboot_every_s=20, seed=1))
    lost = {step.jpeg for step in of(1, steps(500, calm)) if step.fate == "lose"}
    assert 30 < len(lost) < 75
    assert {step.jpeg for step in of(1, steps(500, calm, vehicles=2)) if step.fate == "lose"} == lost
    assert {step.jpeg for step in of(1, steps(500, wild)) if step.fate == "lose"} <= lost


def test_nothing_is_lost_at_the_end_of_a_jittery_fleet() -> None:
    assert len(steps(10, Mishaps(jitter_s=5))) == 30


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    simulator.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def default_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "env").touch()
    monkeypatch.setenv("DMS_ENV_FILE", str(tmp_path / "env"))
    for name in ("MQTT_BROKER_URL", "MQTT_BROKER_PORT", "MQTT_USERNAME", "MQTT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "words",
    [
        ["--vehicles", "0"],
        ["--loss", "1.5"],
        ["--fps", "x"],
        ["--speed", "0"],
        ["--port", "70000"],
        ["--jitter", "-1"],
        ["--reboot", "often"],
        ["--url", "file:///etc/passwd"],
        ["--url", "127.0.0.1:8000"],
    ],
)
def test_wrong_arguments_end_with_a_line_that_says_what_would_be_right(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        arguments("clip.mp4", *words)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert words[0] in last
    assert f"{words[1]} should be" in last


def test_jitter_and_reboots_need_no_number() -> None:
    plain = arguments("clip.mp4")
    assert (plain.jitter, plain.reboot, plain.scoreboard) == (0.0, None, True)
    named = arguments("clip.mp4", "--vehicles", "50", "--loss", "0.02", "--jitter", "--reboot", "--no-scoreboard")
    assert (named.jitter, named.reboot, named.scoreboard) == (simulator.JITTER_S, simulator.REBOOT_EVERY_S, False)
    chosen = arguments("clip.mp4", "--jitter", "0.5", "--reboot", "20")
    assert (chosen.jitter, chosen.reboot) == (0.5, 20)


@pytest.mark.usefixtures("default_settings")
def test_an_absent_source_ends_the_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulator.main(arguments("absent.mp4")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "absent.mp4" in line


@pytest.mark.usefixtures("default_settings")
def test_a_host_that_cannot_be_ends_the_command_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulator.main(arguments(str(folder(tmp_path / "pictures")), "--host", "a..b")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "a..b" in line and "cannot be reached" in line


@pytest.mark.usefixtures("default_settings")
def test_a_camera_is_not_sped_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulator.main(arguments("9", "--speed", "2")) == 2
    assert capsys.readouterr().err == "--speed 2: should be 1 with a camera\n"


@pytest.mark.usefixtures("default_settings")
def test_wrong_settings_end_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MQTT_BROKER_PORT", "70000")
    assert simulator.main(arguments("absent.mp4")) == 2
    assert "MQTT_BROKER_PORT" in capsys.readouterr().err
