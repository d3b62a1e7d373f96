"""Keeps the port that Serve opens in every replica on loopback, where Ray itself is (docs/adr/0003-loopback.md)."""

from __future__ import annotations

import importlib
from typing import Any

import ray


def keep_to_loopback() -> None:
    """To be called in a deployment's `__init__`: Serve opens its port for calls between replicas after that.

    It listens on all interfaces, unpickles what it gets, and has no option for its address. On a cluster, whose nodes
    must reach each other, it is left alone.
    """
    if not str(ray.util.get_node_ip_address()).startswith("127."):  # type: ignore[no-untyped-call]
        return
    replica: Any = importlib.import_module("ray.serve._private.replica")
    listen = replica.add_port_to_grpc_server

    def listen_on_loopback(server: Any, address: str) -> Any:
        return listen(server, address.replace("[::]", "127.0.0.1"))

    replica.add_port_to_grpc_server = listen_on_loopback
