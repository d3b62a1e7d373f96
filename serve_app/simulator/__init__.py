"""Devices for whoever has none: a video, a folder of pictures or a camera as any number of vehicles over MQTT.

    python -m serve_app simulate clip.mp4 --vehicles 8 --fps 10 --loss 0.05

Every vehicle has a connection of its own, MQTT 3.1.1, with `close_stream` as its last will, as real devices do.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Sequence

from serve_app.settings import Settings, SettingsError, load_settings
from serve_app.simulator.replay import BrokerError, Security, Sent, replay
from serve_app.simulator.source import SourceError, TimedJpeg, extended, load_source

__all__ = [
    "BrokerError",
    "Security",
    "Sent",
    "SourceError",
    "TimedJpeg",
    "add_arguments",
    "load_source",
    "main",
    "replay",
]

_EXIT_USAGE = 2
_EXIT_NOT_CLOSED = 1
_EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m serve_app simulate`."""
    parser.add_argument("source", metavar="SOURCE", help="video file, folder of pictures, or index of a camera")
    parser.add_argument("--vehicles", type=_count, default=1, metavar="N", help="how many vehicles send it (1)")
    parser.add_argument("--uuid", type=_uuid, help="of the first vehicle (random)")
    parser.add_argument("--fps", type=_positive, metavar="F", help="frames a second (the source's own; pictures: 10)")
    parser.add_argument("--loss", type=_share, default=0.0, metavar="P", help="share of frames to drop, 0 to 1 (0)")
    parser.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="2 is twice as fast (1)")
    parser.add_argument("--seed", type=int, default=0, help="says which frames are dropped (0)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--duration", type=_positive, metavar="S", help="send for so many seconds, again if need be")
    parser.add_argument("--host", help="of the broker (that of the settings)")
    parser.add_argument("--port", type=_port, help="of the broker (that of the settings)")
    parser.add_argument("--progress", action="store_true", help="show the bar also where stderr is no terminal")


def main(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0; 1 when a stream could not be closed properly; 2 with a line on stderr when settings, source or broker do not
        serve.
    """
    try:
        sent = _run(args, load_settings())
    except SettingsError as error:
        sys.stderr.writelines(f"{line}\n" for line in error.lines)
        return _EXIT_USAGE
    except (SourceError, BrokerError) as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_USAGE
    except KeyboardInterrupt:
        # Before the first frame; later, `replay` ends in good order.
        return _EXIT_INTERRUPTED
    sys.stdout.write(_summary(sent))
    return 0 if all(one.closed for one in sent) else _EXIT_NOT_CLOSED


def _run(args: argparse.Namespace, settings: Settings) -> list[Sent]:
    source = load_source(args.source, fps=args.fps)
    if source.live and args.speed != 1:
        raise SourceError(f"--speed {args.speed:g}: should be 1 with a camera")
    host, port, security = _broker(settings, args)
    duration_s = args.duration and args.duration * args.speed
    return replay(
        extended(source, loop=args.loop, duration_s=duration_s),
        vehicles=[args.uuid or uuid.uuid4(), *(uuid.uuid4() for _ in range(args.vehicles - 1))],
        host=host,
        port=port,
        security=security,
        speed=args.speed,
        loss=args.loss,
        seed=args.seed,
        total=None if args.loop or args.duration else source.frames,
        progress=args.progress or None,
    )


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


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} should be a UUID") from None
