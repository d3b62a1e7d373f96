"""The frames that every benchmark takes: the synthetic driver's, as a small camera would send them."""

from __future__ import annotations

from itertools import islice

from models.fetch import default_data_dir
from serve_app.simulator import load_source
from serve_app.synthetic import make_clip

EVERY = 3
"""One of so many of the clip, which has 15 a second and 25 s: all that it shows comes in one round."""


def jpegs() -> list[bytes]:
    """640x480, BGR made of a photograph, in order; made at the first call and the same ever after."""
    clip = make_clip(default_data_dir())
    return [frame.jpeg for frame in islice(load_source(clip.video), 0, None, EVERY)]


def calm_and_drink() -> tuple[bytes, bytes]:
    """One frame of an attentive driver, and one of a driver who drinks."""
    clip = make_clip(default_data_dir())
    cup = next(interval for interval in clip.truth if interval.what == "cup")
    frames = {round(frame.at_s, 1): frame.jpeg for frame in load_source(clip.video)}
    return frames[1.0], frames[round((cup.start_s + cup.end_s) / 2, 1)]
