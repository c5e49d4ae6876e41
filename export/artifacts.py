"""What the exported files are called and where they belong. Pure: touches no disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

WEIGHTS_NAME = re.compile(r"best_(?P<arch>\w+)_(?P<size>\d+)\.pth")


@dataclass(frozen=True)
class Artifact:
    """One file of the export and the manifest beside it.

    `kind` is a folder of weights/: "onnx", "reference" or "engines/<gpu>-trt<version>". `runtime`: what runs an
    engine.
    """

    kind: str
    arch: str
    image_size: int
    precision: str = "fp32"
    int8_style: str | None = None
    runtime: str = "tensorrt_engine"

    @property
    def name(self) -> str:
        """File name without its folder, e.g. `resnet18_224_int8.onnx`; only the style for TensorRT is spelled out."""
        if self.kind == "reference":
            return f"{self.arch}_{self.image_size}.npz"
        if self.kind.startswith("engines/"):
            suffix = ".engine" if self.runtime == "tensorrt_engine" else f"_{self.runtime}.pt"
            return f"{self.arch}_{self.image_size}_{self.precision}{suffix}"
        style = "_tensorrt" if self.int8_style == "tensorrt" else ""
        return f"{self.arch}_{self.image_size}_{self.precision}{style}.onnx"

    def path(self, weights_dir: Path) -> Path:
        """Where the file belongs below `weights_dir`."""
        return weights_dir / self.kind / self.name

    def manifest_path(self, weights_dir: Path) -> Path:
        """Where its manifest belongs: the same stem, `.json`."""
        return self.path(weights_dir).with_suffix(".json")


def image_sizes(names: list[str]) -> dict[str, dict[int, str]]:
    """Network -> image size in px -> weights file name, ascending, of those `names` that training writes."""
    matches = [match for name in names if (match := WEIGHTS_NAME.fullmatch(name))]
    found: dict[str, dict[int, str]] = {}
    for match in sorted(matches, key=lambda match: (match["arch"], int(match["size"]))):
        found.setdefault(match["arch"], {})[int(match["size"])] = match[0]
    return found
