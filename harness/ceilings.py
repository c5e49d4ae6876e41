"""Has a child process measure the machine's ceilings; a run goes on without them when that fails."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from harness.launch import ROOT, make_environment
from harness.store import utc_now

TIMEOUT_S = 120.0
CUDA_PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")
BF16_FEATURES = {"avx512_bf16", "amx_bf16"}


class CalibrationFailed(Exception):  # noqa: N818 - an outcome to report, not a mistake of the caller
    """There are no ceilings; the message says why."""


def measure_ceilings(interpreter: str, machine: dict[str, Any], threads: int, log: Path) -> dict[str, Any]:
    """TFLOP/s per precision of products and convolutions, copy GB/s, as ceilings.json has them.

    Raises CalibrationFailed.

    The child's output goes to `log`. Raises OSError where that cannot be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("ab") as stream:
        out = Path(folder) / "ceilings.json"
        command = [interpreter, "-m", "harness.calibrate", "--device", machine["kind"], "--threads", str(threads)]
        command += ["--precisions", *choose_precisions(machine), "--out", str(out)]
        try:
            status = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **make_environment(machine["kind"], threads)},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                timeout=TIMEOUT_S,
                check=False,
                start_new_session=True,  # Ctrl-C reaches the parent only, which ends the run in order
            ).returncode
        except subprocess.TimeoutExpired:
            raise CalibrationFailed(f"not done within {TIMEOUT_S:g} s") from None
        except OSError as error:
            raise CalibrationFailed(f"cannot start {interpreter}: {error.strerror}") from None
        if status:
            raise CalibrationFailed(f"ended with exit status {status}; see {log}")
        measured = json.loads(out.read_text(encoding="utf-8"))
    return {"device": machine["device"], "measured_at": utc_now(), **measured}


def try_ceilings(interpreter: str, machine: dict[str, Any], threads: int, log: Path) -> dict[str, Any]:
    """As measure_ceilings, or `failed` with the reason."""
    try:
        return measure_ceilings(interpreter, machine, threads, log)
    except CalibrationFailed as failure:
        return {"failed": str(failure)}
    except OSError as error:
        return {"failed": f"cannot write {error.filename} ({error.strerror})"}


def choose_precisions(machine: dict[str, Any]) -> tuple[str, ...]:
    """What is worth a try: on a CPU fp32, and bf16 where its instructions exist (elsewhere it is emulated, slowly)."""
    if machine["kind"] == "cuda":
        return CUDA_PRECISIONS
    return ("fp32", "bf16") if BF16_FEATURES & set(machine["cpu"]["features"]) else ("fp32",)


def describe_ceilings(ceilings: dict[str, Any]) -> str:
    """One line for the log."""
    copy = f"copy {ceilings['copy_gb_per_s']:.3g} GB/s"
    failed = "".join(f"; {name}: {reason}" for name, reason in ceilings["method"]["failed"].items())
    convolutions = _list_tflops(ceilings.get("convolution_tflops", {}))
    convolutions = f", convolutions {convolutions}" if convolutions else ""
    return f"Ceilings: matrix products {_list_tflops(ceilings['matmul_tflops'])}, {copy}{convolutions}{failed}"


def _list_tflops(by_precision: dict[str, float]) -> str:
    listed = ", ".join(f"{name} {tflops:.3g}" for name, tflops in by_precision.items())
    return f"{listed} TFLOP/s" if listed else ""
