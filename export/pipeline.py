"""One weights file -> its artefacts: what is up to date is kept, the rest is made, checked, and only then kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from export.artifacts import Artifact
from export.files import BadInputError, CheckFailedError, replacing, sha256_of
from export.flops import Cost, count_cost
from export.manifest import (
    MANIFEST_FORMAT,
    is_current,
    library_versions,
    read_manifest,
    summary,
    write_manifest,
)
from export.parity import accuracy, compare
from export.quantize import PERCENTILE, Int8Style, Placement, build_int8
from export.samples import normalise
from export.source import Source
from export.to_fp16 import build_fp16
from export.to_onnx import INPUT_NAME, OPSET, OUTPUT_NAME, build_onnx, run_onnx, set_metadata
from export.to_reference import Reference, read_logits, reference_logits, write_reference

if TYPE_CHECKING:  # heavy: imported where used
    import onnx

Fields = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What an export may be asked for; see `__main__.Options` for the words."""

    weights_dir: Path
    reference_images: int
    int8_style: Int8Style
    placement: Placement  # of the style tensorrt
    force: bool


class WeightsExport:
    """Exports of one `Source`. What several artefacts need (logits, cost) is computed once, when first needed."""

    def __init__(self, source: Source, settings: Settings, console: Console) -> None:
        self.source, self.settings, self._console = source, settings, console
        self._done: set[Path] = set()
        self.images = source.samples.val_images[: settings.reference_images]
        self.labels = source.samples.val_labels[: settings.reference_images]

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """PyTorch's logits of the reference images: from the reference, where it is up to date."""
        artifact = self._artifact("reference")
        path = artifact.path(self.settings.weights_dir)
        manifest = read_manifest(artifact.manifest_path(self.settings.weights_dir))
        if not self.settings.force and is_current(manifest, self._identity(artifact), sha256_of(path)):
            return read_logits(path)
        logits = reference_logits(self.source.network, self.images, self.source.mean, self.source.std)
        if not np.isfinite(logits).all():
            raise BadInputError(
                f"{self.source.weights}: PyTorch's logits are not finite, so nothing can be held against them; "
                f"train that size again, with a lower --model.learning_rate, or mend its normalization"
            )
        return logits

    @cached_property
    def cost(self) -> Cost:
        """FLOP and parameters of the network."""
        return count_cost(self.source.network, self.source.image_size)

    def export(self, target: str) -> Path:
        """Make the artefact of `target` ("reference", "onnx", "fp16", "int8") unless it is up to date; its path.

        Raises CheckFailedError when it is invalid or answers differently from PyTorch; nothing is replaced then.
        """
        return {
            "reference": self._export_reference,
            "onnx": self._export_onnx,
            "fp16": self._export_fp16,
            "int8": lambda: self.export_int8(self.settings.int8_style),
        }[target]()

    def _export_reference(self) -> Path:
        artifact = self._artifact("reference")

        def write() -> Fields:
            path = artifact.path(self.settings.weights_dir)
            reference = Reference(self.images, self.labels, self.logits, self.source.mean, self.source.std)
            write_reference(path, reference)
            layers = [asdict(layer) for layer in self.cost.layers]
            return {"images": len(self.images), "accuracy": self._accuracy(self.logits), "layers": layers}

        return self.make(artifact, {}, write)

    def _export_onnx(self) -> Path:
        artifact = self._artifact("onnx")

        def write() -> Fields:
            model = build_onnx(self.source.network, self.source.image_size, self._metadata())
            return self._keep_model(artifact, model)

        return self.make(artifact, {"opset": OPSET}, write)

    def _export_fp16(self) -> Path:
        self._export_onnx()  # what it is made from
        fp32 = self._artifact("onnx").path(self.settings.weights_dir)
        artifact = Artifact("onnx", self.source.arch, self.source.image_size, "fp16")

        def write() -> Fields:
            model = build_fp16(fp32)
            set_metadata(model, self._metadata())
            return self._keep_model(artifact, model)

        return self.make(artifact, {"fp32_sha256": sha256_of(fp32)}, write)

    def export_int8(self, style: Int8Style) -> Path:
        """Make the INT8 file of a style unless it is up to date; its path. Raises CheckFailedError."""
        self._export_onnx()  # what it is made from
        fp32 = self._artifact("onnx").path(self.settings.weights_dir)
        artifact = Artifact("onnx", self.source.arch, self.source.image_size, "int8", style)
        placement: Placement = self.settings.placement if style == "tensorrt" else "all"

        def write() -> Fields:
            calibration = normalise(self.source.samples.train_images, self.source.mean, self.source.std)
            model = build_int8(fp32, calibration, style, placement)
            set_metadata(model, self._metadata())
            return {**self._keep_model(artifact, model), "calibration_images": len(calibration)}

        made_from = {
            "int8_style": style,
            "placement": placement,
            "fp32_sha256": sha256_of(fp32),
            "calibration_percentile": PERCENTILE,
        }
        return self.make(artifact, made_from, write)

    def say(self, line: str) -> None:
        """One line for the user."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _artifact(self, kind: str) -> Artifact:
        return Artifact(kind, self.source.arch, self.source.image_size)

    def make(self, artifact: Artifact, made_from: Fields, write: Callable[[], Fields]) -> Path:
        """Call `write`, which puts the file in place and answers with manifest fields; then write the manifest, last.

        Answers with the file's path. Does nothing when the artefact is up to date: made from the same things, and
        whole.
        """
        root = self.settings.weights_dir
        path, manifest_path = artifact.path(root), artifact.manifest_path(root)
        identity = {**self._identity(artifact), **made_from}
        if path in self._done:
            return path
        self._done.add(path)
        if not self.settings.force and is_current(read_manifest(manifest_path), identity, sha256_of(path)):
            self.say(f"{path}: up to date")
            return path
        started = time.perf_counter()
        with self._console.status(f"{path}: being made"):  # shown on a terminal only
            fields = write()
        seconds = time.perf_counter() - started
        manifest = {
            **identity,
            **self._description(artifact),
            **fields,
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
            "export_s": round(seconds, 2),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": library_versions(),
        }
        write_manifest(manifest_path, manifest)
        self.say(f"{path}: {seconds:.1f} s, {summary(manifest)}")
        return path

    def _identity(self, artifact: Artifact) -> Fields:
        """What an artefact was made from: when one of these differs, it is stale. Engines name their ONNX file."""
        checked = {"samples_sha256": self.source.samples.sha256, "reference_images": len(self.images)}
        return {
            "format": MANIFEST_FORMAT,
            "kind": artifact.kind,
            "arch": artifact.arch,
            "image_size": artifact.image_size,
            "precision": artifact.precision,
            "weights": self.source.weights.name,
            "weights_sha256": self.source.sha256,
            **({} if artifact.kind.startswith("engines/") else checked),
        }

    def _description(self, artifact: Artifact) -> Fields:
        return {
            "artifact": artifact.name,
            "num_classes": len(self.source.classes),
            "classes": self.source.classes,
            "flops_per_image": self.cost.flops_per_image,
            "parameters": self.cost.parameters,
            "labelled": self.source.samples.labelled,
        }

    def _metadata(self) -> dict[str, str]:
        """Properties inside an ONNX file: enough to use it without its manifest."""
        source = self.source
        return {
            "arch": source.arch,
            "image_size": str(source.image_size),
            "classes": json.dumps(source.classes, ensure_ascii=False),
            "normalization": json.dumps({"mean": source.mean, "std": source.std}),
            "weights_sha256": source.sha256,
        }

    def _keep_model(self, artifact: Artifact, model: onnx.ModelProto) -> Fields:
        """Save the model, check it, compare it with PyTorch; put it in its place only when all hold."""
        import onnx  # noqa: PLC0415 - heavy

        size = self.source.image_size
        path = artifact.path(self.settings.weights_dir)
        with replacing(path) as temporary:
            onnx.save(model, temporary)
            logits = run_onnx(temporary, normalise(self.images, self.source.mean, self.source.std))
            parity = compare(logits, self.logits)
            if failure := parity.failure(artifact.precision, natural=self.source.samples.labelled):
                raise CheckFailedError(f"{path}: not kept: {failure} against PyTorch over {parity.images} images")
        return {
            "opset": _opset(model),
            "inputs": {INPUT_NAME: ["batch", 3, size, size]},
            "outputs": {OUTPUT_NAME: ["batch", len(self.source.classes)]},
            "parity": asdict(parity),
            "accuracy": self._accuracy(logits),
        }

    def _accuracy(self, logits: NDArray[np.float32]) -> float | None:
        return accuracy(logits, self.labels) if self.source.samples.labelled else None


def _opset(model: onnx.ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain == "")
