"""The HTTP side: health, open streams, what is stored, footage."""

from serve_app.api.app import make_api
from serve_app.api.deployment import Api

__all__ = ["Api", "make_api"]
