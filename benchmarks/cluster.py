"""The service on a Ray cluster of several nodes, all of them on this machine, each with one CPU of its own by its word.

    python -m benchmarks.cluster NODES [--config serve_config.yaml]

Like `python -m serve_app run`. It shows how the service behaves on nodes, not how fast: they share these cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from serve_app import run
from serve_app.settings import load_settings

CPUS = 1
"""A Detector that wants one gets a node for itself."""


def main() -> int:
    """Run it until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", type=int)
    parser.add_argument("--config", type=Path, default=run.CONFIG)
    arguments = parser.parse_args()
    os.environ.update(run.environment(load_settings()))  # every node hands its own to its processes
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - Ray reads at its import that it is to keep to loopback

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS})
    try:
        for _ in range(arguments.nodes - 1):
            cluster.add_node(num_cpus=CPUS)
        if not cluster.address.startswith("127."):
            raise RuntimeError(f"Ray listens on {cluster.address}, where others can reach it")
        os.environ["RAY_ADDRESS"] = cluster.address
        return run.main(arguments.config)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    sys.exit(main())
