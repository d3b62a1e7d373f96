"""Commands: `python -m serve_app run | demo | simulate | streams | close | recover`."""

from __future__ import annotations

import argparse
import sys
import uuid

from serve_app import demo, operate, recover, run, simulator


def main() -> int:
    """Run the command that the arguments name; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m serve_app", description="Driver monitoring")
    commands = parser.add_subparsers(dest="command", required=True)
    run.add_arguments(commands.add_parser("run", help="the service, until Ctrl-C (what `make run` does)"))
    commands.add_parser("demo", help="service, one vehicle, its stored trip (what `make demo` does)")
    simulate = commands.add_parser("simulate", help="devices: a video, a folder of images or a camera as N vehicles")
    simulator.add_arguments(simulate)
    commands.add_parser("streams", help="the open streams of the running service")
    close = commands.add_parser("close", help="end a vehicle's trip, as its close_stream would")
    close.add_argument("vehicle", type=uuid.UUID, help="the vehicle's UUID")
    commands.add_parser("recover", help="list and finish the journals of trips that no service looks after")
    args = parser.parse_args()
    if args.command == "run":
        return run.main(args.config)
    if args.command == "demo":
        return demo.main()
    if args.command == "streams":
        return operate.streams()
    if args.command == "close":
        return operate.close(args.vehicle)
    if args.command == "recover":
        return recover.main()
    return simulator.main(args)


if __name__ == "__main__":
    sys.exit(main())
