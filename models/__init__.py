"""What is seen in a frame and what it means: types, policy, footage ring and the model wrappers. No I/O of its own."""

import sys

# OpenVINO reports its use to its maker unless this package is missing; it must be so before the first import of it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
