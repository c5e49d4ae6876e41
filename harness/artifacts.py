"""Finds what training and export left: reads their JSON manifests and never guesses from file names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.schema import ARCH, network_flags


class ArtifactError(ValueError):
    """A weights or export file that is missing or not what its manifest says. One line, with the mend."""


@dataclass(frozen=True)
class Artifact:
    """A file and the manifest beside it."""

    path: Path
    manifest: dict[str, Any]

    @property
    def sha256(self) -> str:
        """As recorded when the file was written (and checked by `verify`)."""
        return self.manifest["sha256"]

    def verify(self, mend: str) -> None:
        """Raises ArtifactError when the file is missing or its bytes are not those the manifest names."""
        if not self.path.is_file():
            raise ArtifactError(f"{self.path} is missing: {mend}")
        with self.path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != self.sha256:
                raise ArtifactError(f"{self.path} is not the file its JSON describes (sha256 differs): {mend}")


@dataclass(frozen=True)
class Model:
    """Everything there is for one image size."""

    image_size: int
    weights: Artifact
    reference: Artifact
    exported: dict[str, Artifact]  # by the name `name_export` gives
    engines: dict[str, dict[str, Artifact]] = field(default_factory=dict)  # by backend, then by `name_engine`

    @property
    def artifacts(self) -> list[Artifact]:
        """All files, weights first."""
        engines = {artifact.path: artifact for built in self.engines.values() for artifact in built.values()}
        return [self.weights, self.reference, *self.exported.values(), *engines.values()]


def find_models(
    weights_dir: Path,
    image_sizes: list[int],
    arch: str = ARCH,
    gpu: str = "",
    tensorrt: dict[str, str] | None = None,
) -> dict[int, Model]:
    """Models of the network `arch` by image size; all that are found when `image_sizes` is empty. Files are verified.

    Engines are those that were built for `gpu`, by the TensorRT version (`tensorrt`) that each backend runs.
    Raises ArtifactError naming the first thing that is missing or changed, and the command that makes it.
    """
    current = read_manifests(weights_dir, "best_*.json", is_wanted=_is_current)
    if not current:
        raise ArtifactError(f"--weights_dir {weights_dir}: no trained weights there; run `make train export` first")
    weights = {a.manifest["image_size"]: a for a in current if is_of(a, arch)}
    if not weights:
        known = ", ".join(sorted({artifact.manifest.get("arch", ARCH) for artifact in current}))
        raise ArtifactError(f"--arch {arch}: no weights of it in {weights_dir}, which has {known}; {_train(arch)}")
    exports = [a for folder in ("reference", "onnx") for a in read_manifests(weights_dir / folder, "*.json")]
    exports = [artifact for artifact in exports if is_of(artifact, arch)]
    references = {a.manifest["image_size"]: a for a in exports if a.path.parent.name == "reference"}
    exported = [artifact for artifact in exports if artifact.path.parent.name == "onnx"]
    built = read_manifests(weights_dir / "engines", "*/*.json") if tensorrt else []
    built = [artifact for artifact in built if is_of(artifact, arch)]
    built = [artifact for artifact in built if artifact.manifest.get("gpu") == gpu]
    models = {}
    for size in image_sizes or sorted(set(weights) & set(references)):
        if size not in weights:
            known = ", ".join(map(str, sorted(weights)))
            raise ArtifactError(f"--image_sizes {size}: no weights for it (there are {known}); {_train(arch, size)}")
        if size not in references:
            raise ArtifactError(f"--image_sizes {size}: not exported; {_export(arch, size)}")
        mine = {name_export(a): a for a in exported if a.manifest["image_size"] == size}
        engines = {name: find_engines(built, size, version) for name, version in (tensorrt or {}).items()}
        models[size] = Model(size, weights[size], references[size], mine, engines)
        check_model(models[size])
    if not models:
        raise ArtifactError(f"--weights_dir {weights_dir}: nothing is exported; {_export(arch)}")
    return models


def name_export(artifact: Artifact) -> str:
    """The precision, and for INT8 files made for another runtime than the CPU's, whose: `int8_tensorrt`."""
    style = artifact.manifest.get("int8_style")
    return artifact.manifest["precision"] + (f"_{style}" if style not in (None, "cpu") else "")


def find_engines(built: list[Artifact], image_size: int, version: str) -> dict[str, Artifact]:
    """Those of one image size and TensorRT version, by `name_engine`."""
    wanted = {"image_size": image_size, "tensorrt": version}
    return {name_engine(a): a for a in built if wanted.items() <= a.manifest.items()}


def name_engine(artifact: Artifact) -> str:
    """What runs it, and the precision: `tensorrt_engine/fp16`, `torch_trt_dynamo/fp16`."""
    return f"{artifact.manifest.get('runtime')}/{artifact.manifest['precision']}"


def check_model(model: Model) -> None:
    """Every file is whole, and every export was made from these very weights. Raises ArtifactError."""
    arch = model.weights.manifest.get("arch", ARCH)
    model.weights.verify(f"train again: {_train(arch, model.image_size)}")
    for artifact in model.artifacts[1:]:
        target = {"tensorrt_engine": " --to engine", None: ""}.get(artifact.manifest.get("runtime"), " --to torch_trt")
        export = _export(arch, model.image_size, target)
        if artifact.manifest["weights_sha256"] != model.weights.sha256:
            raise ArtifactError(f"{artifact.path} was made from other weights than {model.weights.path}: {export}")
        artifact.verify(export)


def read_manifests(
    folder: Path, pattern: str, is_wanted: Callable[[Path, dict[str, Any]], bool] | None = None
) -> list[Artifact]:
    """Manifests of a folder that are wanted (all, unless told), sorted by name.

    Hidden files are left aside: what a writer that was killed had not finished. Raises ArtifactError for one that is
    not readable JSON, or lacks what is needed.
    """
    found = []
    for path in sorted(path for path in folder.glob(pattern) if not path.name.startswith(".")):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if is_wanted is not None and not is_wanted(path, manifest):
                continue
            wrong = [name for name, kind in _needed(path).items() if type(manifest[name]) is not kind]
            if wrong:
                raise TypeError(f"{wrong[0]} is {manifest[wrong[0]]!r}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{path} is not a manifest ({error!r}): delete it and run its stage again") from None
        found.append(Artifact(_artifact_path(path, manifest), manifest))
    return found


def _needed(path: Path) -> dict[str, type]:
    """What a manifest must hold, by what it describes."""
    if path.name.startswith("best_"):
        return {"image_size": int, "sha256": str, "num_classes": int}
    derived = {"image_size": int, "sha256": str, "weights_sha256": str}
    return derived if path.parent.name == "reference" else {**derived, "precision": str}


def _artifact_path(manifest_path: Path, manifest: dict[str, Any]) -> Path:
    """The file beside its manifest. Exports name it; weights are a .pth and a reference is a .npz of the same stem."""
    name = manifest.get("artifact") or manifest_path.stem + (".npz" if manifest.get("kind") == "reference" else ".pth")
    if not isinstance(name, str) or Path(name).name != name:
        raise ArtifactError(f"{manifest_path}: artifact {name!r} must be a file name in the same folder")
    return manifest_path.with_name(name)


def is_of(artifact: Artifact, arch: str) -> bool:
    """Whether a file belongs to this network."""
    return artifact.manifest.get("arch", ARCH) == arch


def _train(arch: str, size: int | str = "S") -> str:
    return f"run `python -m training fit{'' if arch == ARCH else f' --model.arch {arch}'} --data.image_size {size}`"


def _export(arch: str, size: int | None = None, target: str = "") -> str:
    return f"run `{f'python -m export {network_flags(arch, size)}'.rstrip()}{target}`"


def _is_current(path: Path, manifest: dict[str, Any]) -> bool:
    """Whether weights have the name that training gives; replaced ones (*.previous.*) and users' copies have others."""
    return path.stem == f"best_{manifest.get('arch', ARCH)}_{manifest.get('image_size')}"
