"""Devices for whoever has none: a video, a folder of pictures or a camera as a fleet of vehicles over MQTT.

    python -m serve_app simulate clip.mp4 --vehicles 50 --loss 0.02 --jitter --reboot

Every vehicle has a connection of its own, MQTT 3.1.1, with `close_stream` as its last will, as real devices do. At the
end a scoreboard says what became of the frames, from outside only: a smoke test of whichever deployment it is led to.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

from serve_app.client import Client, token_of
from serve_app.settings import Settings, SettingsError, load_settings
from serve_app.simulator.asked import Asked
from serve_app.simulator.device import BrokerError, Security, Sent
from serve_app.simulator.heard import Listener
from serve_app.simulator.replay import replay
from serve_app.simulator.schedule import AWAY_S, Mishaps
from serve_app.simulator.scoreboard import Scoreboard
from serve_app.simulator.source import SourceError, TimedJpeg, extended, load_source

__all__ = [
    "BrokerError",
    "Mishaps",
    "Security",
    "Sent",
    "SourceError",
    "TimedJpeg",
    "add_arguments",
    "load_source",
    "main",
    "replay",
]

JITTER_S = 0.2
REBOOT_EVERY_S = 60.0

_EXIT_USAGE = 2
_EXIT_FAULT = 1
_EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m serve_app simulate`."""
    away = " to ".join(f"{limit_s:g}" for limit_s in AWAY_S)
    parser.add_argument("source", metavar="SOURCE", help="video file, folder of pictures, or index of a camera")
    parser.add_argument("--vehicles", type=_count, default=1, metavar="N", help="how many vehicles send it (1)")
    parser.add_argument("--uuid", type=_uuid, help="of the first vehicle (random)")
    parser.add_argument("--fps", type=_positive, metavar="F", help="frames a second (the source's own; pictures: 10)")
    parser.add_argument("--loss", type=_share, default=0.0, metavar="P", help="share of frames to drop, 0 to 1 (0)")
    parser.add_argument(
        "--jitter",
        type=_positive,
        nargs="?",
        const=JITTER_S,
        default=0.0,
        metavar="S",
        help=f"send each frame up to S seconds late ({JITTER_S:g}), in order",
    )
    parser.add_argument(
        "--reboot",
        type=_positive,
        nargs="?",
        const=REBOOT_EVERY_S,
        metavar="S",
        help=f"cut vehicles off, each after S seconds on average ({REBOOT_EVERY_S:g}), for {away} s each time",
    )
    parser.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="2 is twice as fast (1)")
    parser.add_argument("--seed", type=int, default=0, help="says what is lost, late and rebooted (0)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--duration", type=_positive, metavar="S", help="send for so many seconds, again if need be")
    parser.add_argument("--host", help="of the broker (that of the settings)")
    parser.add_argument("--port", type=_port, help="of the broker (that of the settings)")
    parser.add_argument("--url", type=_url, help="of the HTTP API, asked with API_TOKEN (that of the settings)")
    parser.add_argument(
        "--scoreboard",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="say at the end what became of the frames, once their trips are stored",
    )
    parser.add_argument("--progress", action="store_true", help="show the bar also where stderr is no terminal")


def main(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0; 1 when a stream could not be closed properly or the scoreboard shows what does not add up; 2 with a line on
        stderr when settings, source or broker do not serve.
    """
    try:
        return _run(args, load_settings())
    except SettingsError as error:
        sys.stderr.writelines(f"{line}\n" for line in error.lines)
        return _EXIT_USAGE
    except (SourceError, BrokerError) as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_USAGE
    except KeyboardInterrupt:
        # Before the first frame; later, `replay` ends in good order.
        return _EXIT_INTERRUPTED


def _run(args: argparse.Namespace, settings: Settings) -> int:
    source = load_source(args.source, fps=args.fps)
    if source.live and args.speed != 1:
        raise SourceError(f"--speed {args.speed:g}: should be 1 with a camera")
    vehicles = [args.uuid or uuid.uuid4(), *(uuid.uuid4() for _ in range(args.vehicles - 1))]
    host, port, security = _broker(settings, args)
    progress = args.progress or None
    duration_s = args.duration and args.duration * args.speed

    def drive(watch: Scoreboard | None) -> list[Sent]:
        sent = replay(
            extended(source, loop=args.loop, duration_s=duration_s),
            vehicles=vehicles,
            host=host,
            port=port,
            security=security,
            speed=args.speed,
            mishaps=Mishaps(loss=args.loss, jitter_s=args.jitter, reboot_every_s=args.reboot, seed=args.seed),
            watch=watch,
            total=None if args.loop or args.duration else source.frames,
            progress=progress,
        )
        sys.stdout.write(_summary(sent))
        sys.stdout.flush()  # before the scoreboard waits
        return sent

    faults: list[str] = []
    if args.scoreboard:
        service = Client(args.url, token_of(settings), is_own=False) if args.url else Client.own(settings)
        listener = Listener(vehicles, host, port, security)
        with Scoreboard(listener, Asked(service, vehicles), progress=progress) as scoreboard:
            sent = drive(scoreboard)
            score = scoreboard.score(sent)
        sys.stdout.write(f"{score}\n")
        faults = score.faults
    else:
        sent = drive(None)
    return 0 if all(one.closed for one in sent) and not faults else _EXIT_FAULT


def _broker(settings: Settings, args: argparse.Namespace) -> tuple[str, int, Security]:
    at = settings.mqtt
    password = settings.mqtt_password
    security = Security(
        username=settings.mqtt_username,
        password=password.get_secret_value() if password else None,
        tls=at is not None and at.tls,
        ca=settings.mqtt_tls_ca,
        cert=settings.mqtt_tls_cert,
        key=settings.mqtt_tls_key,
    )
    port = (at.port if at else None) or settings.mqtt_broker_port
    return args.host or (at.host if at else "127.0.0.1"), args.port or port, security


def _summary(sent: Sequence[Sent]) -> str:
    lines = [str(one) for one in sent]
    frames, megabytes = sum(one.frames for one in sent), sum(one.sent_bytes for one in sent) / 1e6
    lines.append(f"{len(sent)} vehicles: {frames} frames, {sum(one.lost for one in sent)} lost on purpose, ")
    lines[-1] += f"{megabytes:.1f} MB, {sum(one.fps for one in sent):.1f} frames/s; at most {sent[0].late_s:.2f} s late"
    if sent[0].put_off_s:
        lines[-1] += f", and put off by {sent[0].put_off_s:.1f} s in all: this machine did not keep up"
    return "\n".join(lines) + "\n"


def _count(text: str) -> int:
    return int(_within(text, 1, 100_000, whole=True))


def _port(text: str) -> int:
    return int(_within(text, 1, 65535, whole=True))


def _share(text: str) -> float:
    return _within(text, 0, 1)


def _positive(text: str) -> float:
    return _within(text, 1e-3, 1e6)


def _within(text: str, low: float, high: float, *, whole: bool = False) -> float:
    kind = "a whole number" if whole else "a number"
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{text} should be {kind} from {low:g} to {high:g}")
    return number


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"{text} should be http://host[:port] or https://host[:port]")
    return text


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} should be a UUID") from None
