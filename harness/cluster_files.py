"""Weights and exports of an image size, carried to a machine that does not have these very files."""

from __future__ import annotations

import json
from pathlib import Path

from harness.artifacts import ArtifactError, Model, find_models

Files = dict[str, bytes]


def list_checksums(model: Model) -> list[str]:
    """sha256 of everything there is for one image size."""
    return sorted(artifact.sha256 for artifact in model.artifacts)


def find_same(
    weights_dir: Path, image_size: int, arch: str, checksums: list[str], *, gpu: str, tensorrt: dict[str, str]
) -> Model | None:
    """The model of `arch` in `weights_dir` when all its files are those of `checksums`; None otherwise.

    `gpu` and `tensorrt` say which engines belong to it, as in `find_models`.
    """
    try:
        model = find_models(weights_dir, [image_size], arch, gpu, tensorrt)[image_size]
    except (ArtifactError, OSError):
        return None
    return model if list_checksums(model) == checksums else None


def pack(model: Model) -> Files:
    """Content of every file and of its manifest, by path below the weights folder."""
    root = model.weights.path.parent
    files = {}
    for artifact in model.artifacts:
        name = artifact.path.relative_to(root)
        files[name.as_posix()] = artifact.path.read_bytes()
        files[name.with_suffix(".json").as_posix()] = json.dumps(artifact.manifest).encode()
    return files


def unpack(files: Files, weights_dir: Path) -> None:
    """Write packed files below `weights_dir`. Raises ArtifactError for a path that leads out of it."""
    for name, content in files.items():
        path = (weights_dir / name).resolve()
        if not path.is_relative_to(weights_dir.resolve()):
            raise ArtifactError(f"{name}: leads out of the weights folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
