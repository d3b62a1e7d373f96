"""Errors in one line, for logs."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """What went wrong, without the traceback that a remote call's error carries: `KeyError: 'x'`."""
    cause = getattr(error, "cause", None)  # Ray's, when code of ours failed in another process
    error = cause if isinstance(cause, BaseException) else error
    return f"{type(error).__name__}: {error}".splitlines()[0]
