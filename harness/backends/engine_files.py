"""What both TensorRT backends need before they load anything: the library, a GPU, and bytes that were exported here.

Engines and TorchScript files run code when they are loaded, so the bytes are compared with the checksum that the parent
read from the manifest, in memory: nothing can be swapped between the check and the load. Python 3.10, no library.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from typing import Any

from harness.backends.base import BackendUnavailable, Spec, UnsupportedJob


def import_library(name: str) -> Any:
    """Import `tensorrt` or `torch_tensorrt`. Raises BackendUnavailable with the library's own reason.

    They fail in many ways where something is missing: ImportError, RuntimeError (no GPU), plain Exception.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ModuleNotFoundError):
            reason = f"{reason}: run `make setup-tensorrt`"
        elif library := re.search(r"lib\w+\.so(\.\d+)*", reason):
            reason = f"needs {library[0]}: {reason}"
        raise BackendUnavailable(f"cannot import {name}: {reason}"[:300]) from error


def check_job(spec: Spec, offered: tuple[str, ...], name: str) -> None:
    """Raises BackendUnavailable without a GPU or an artefact, UnsupportedJob for a precision that is not offered."""
    if spec.device != "cuda":
        raise BackendUnavailable(f"{name} needs an NVIDIA GPU")
    if spec.precision not in offered:
        raise UnsupportedJob(f"{name} offers {', '.join(offered)}")
    if spec.artifact is None:
        target = "engine" if name == "tensorrt_engine" else name
        flags = f"{spec.export_flags} --to {target} --engine_precisions '[{spec.precision}]'"
        raise BackendUnavailable(
            f"nothing built at {spec.precision} and {spec.image_size} px for this GPU and TensorRT version: "
            f"run `python -m export {flags}`"
        )


def read_artifact(spec: Spec) -> tuple[bytes, dict[str, Any]]:
    """The artefact's bytes and its manifest. Raises BackendUnavailable when they are not those that were exported."""
    assert spec.artifact is not None  # noqa: S101 - check_job was asked first
    content = spec.artifact.read_bytes()
    if hashlib.sha256(content).hexdigest() != spec.artifact_sha256:
        raise BackendUnavailable(
            f"{spec.artifact.name} is not the file its JSON describes (sha256 differs) and was not loaded: export again"
        )
    return content, json.loads(spec.artifact.with_suffix(".json").read_text(encoding="utf-8"))


def describe_build(manifest: dict[str, Any]) -> dict[str, Any]:
    """How the artefact was built, for the row."""
    known = ("build_s", "optimization_level", "profiles", "stem", "input_layout", "timing_cache", "tensorrt", "gpu")
    return {name: manifest[name] for name in known if name in manifest}
