"""The commands as they are found, before one of them runs."""

from __future__ import annotations

import subprocess
import sys


def test_no_command_imports_ray_before_its_environment_is_set() -> None:
    # Ray reads its environment when it is imported: whether it keeps to loopback, for one.
    look = "import sys, serve_app.__main__; print([name for name in ('ray', 'torch', 'cv2') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
