"""Commands: `python -m serve_app run | demo | simulate`."""

from __future__ import annotations

import argparse
import sys

from serve_app import demo, run, simulator


def main() -> int:
    """Run the command that the arguments name; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m serve_app", description="Driver monitoring")
    commands = parser.add_subparsers(dest="command", required=True)
    run.add_arguments(commands.add_parser("run", help="the service, until Ctrl-C (what `make run` does)"))
    commands.add_parser("demo", help="service, one vehicle, its stored trip (what `make demo` does)")
    simulate = commands.add_parser("simulate", help="devices: a video, a folder of images or a camera as N vehicles")
    simulator.add_arguments(simulate)
    args = parser.parse_args()
    if args.command == "run":
        return run.main(args.config)
    if args.command == "demo":
        return demo.main()
    return simulator.main(args)


if __name__ == "__main__":
    sys.exit(main())
