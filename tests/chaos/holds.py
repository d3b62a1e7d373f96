"""What keeps a flush from going on for as long as a block lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.chaos.proxy import Mode
from tests.chaos.world import World


@contextlib.contextmanager
def storage_is(world: World, mode: Mode, *, cut_after_bytes: int = 0) -> Iterator[None]:
    """The storage misbehaves; see `proxy.Mode`."""
    world.proxy.set(mode, cut_after_bytes=cut_after_bytes)
    try:
        yield
    finally:
        world.proxy.set("pass")


def uploads_held(world: World) -> contextlib.AbstractContextManager[None]:
    """The storage answers nothing."""
    return storage_is(world, "stall")


@contextlib.contextmanager
def rows_held(world: World) -> Iterator[None]:
    """A transaction that has written its row of `videos` waits for the table `alerts`."""
    with contextlib.closing(world.mariadb.root(world.database)) as root, root.cursor() as cursor:
        cursor.execute("LOCK TABLES alerts WRITE")
        yield
