"""Manifests: the JSON beside each artefact that says what it is and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from export.files import replacing

MANIFEST_FORMAT = 2  # 2: the reference lists the network's layers
LIBRARIES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "numpy")


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest as JSON, atomically. Raises ValueError for NaN or infinity, which are not JSON."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """A manifest, or None when it is missing or no JSON object (then its artefact is made again)."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def is_current(manifest: Mapping[str, Any] | None, made_from: Mapping[str, Any], sha256: str | None) -> bool:
    """Whether an artefact needs no new export.

    Its `manifest` (None: missing or unreadable) must agree with every field of `made_from`, and the `sha256` of the
    file on disk (None: missing) with the one that the manifest recorded.
    """
    if manifest is None or sha256 is None or manifest.get("sha256") != sha256:
        return False
    return all(manifest.get(field) == value for field, value in made_from.items())


def summary(manifest: Mapping[str, Any]) -> str:
    """What the progress line says of an artefact: size, distance from PyTorch, accuracy (where they apply)."""
    parts = [f"{manifest['bytes'] / 1e6:.1f} MB"]
    if parity := manifest.get("parity"):
        parts.append(f"rel_l2 {parity['rel_l2']:.1e}, top-1 agreement {parity['top1_agreement']:.1%}")
    if manifest["accuracy"] is not None:
        parts.append(f"accuracy {manifest['accuracy']:.1%}")
    return ", ".join(parts)


def library_versions() -> dict[str, str]:
    """Versions of those `LIBRARIES` that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
