"""Which interpreter runs a backend, and which TensorRT is in it: a child is asked, the parent imports no library."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from harness.backends import family
from harness.config import BenchConfig
from harness.launch import ROOT

TENSORRT_BACKENDS = ("torch_trt", "tensorrt_engine")
TENSORRT_PYTHON = ROOT / ".venv-tensorrt" / "bin" / "python"  # what `make setup-tensorrt-pypi` makes
PROBE_TIMEOUT_S = 120.0


def find_interpreter(backend: str, environments: dict[str, str]) -> str:
    """The configured interpreter; for TensorRT that of `.venv-tensorrt`, where it exists; else this one's."""
    if backend in environments:
        return environments[backend]
    if family(backend) in TENSORRT_BACKENDS and TENSORRT_PYTHON.exists():
        return str(TENSORRT_PYTHON)
    return sys.executable


def find_tensorrt_versions(config: BenchConfig, kind: str) -> dict[str, str]:
    """TensorRT's version by backend, of the planned backends that need engines of their own version.

    Empty on a CPU, and without a backend whose library does not answer: its worker will say why.
    """
    if kind != "cuda":
        return {}
    names = {backend for backend, _, _ in config.contenders if family(backend) in TENSORRT_BACKENDS}
    interpreters = {name: find_interpreter(name, config.environments) for name in sorted(names)}
    versions = {interpreter: probe_tensorrt(interpreter) for interpreter in set(interpreters.values())}
    return {name: version for name, interpreter in interpreters.items() if (version := versions[interpreter])}


def probe_tensorrt(interpreter: str) -> str | None:
    """`tensorrt.__version__` under `interpreter`; None when it does not answer."""
    command: list[Any] = [interpreter, "-c", "import tensorrt; print('tensorrt', tensorrt.__version__)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line.removeprefix("tensorrt ") for line in done.stdout.splitlines() if line.startswith("tensorrt ")]
    return lines[-1] if lines else None
