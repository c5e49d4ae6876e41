"""What is exported: trained weights with their JSON, and the sample images that belong to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision

from export.artifacts import image_sizes, samples_path
from export.files import BadInputError, sha256_of
from export.samples import Samples, read_samples, synthetic_samples


@dataclass(frozen=True)
class Source:
    """Checked weights (`network` holds them) with everything an export needs to know about them."""

    weights: Path
    sha256: str
    arch: str
    image_size: int
    classes: list[str]
    mean: list[float]
    std: list[float]
    network: torch.nn.Module
    samples: Samples


def find_weights(weights_dir: Path, wanted: list[int] | None) -> list[Path]:
    """Weights files in `weights_dir`, ascending by image size: all, or those of the `wanted` sizes in px.

    Raises BadInputError when there are none, or not of a wanted size.
    """
    if not weights_dir.is_dir():
        raise BadInputError(f"--weights_dir: {weights_dir} is no folder; train first (`make train`)")
    found = image_sizes([path.name for path in weights_dir.iterdir()])
    if not found:
        raise BadInputError(f"--weights_dir: no best_<arch>_<size>.pth in {weights_dir}; train first (`make train`)")
    for size in wanted or []:
        if size not in found:
            sizes = ", ".join(map(str, found))
            raise BadInputError(f"--image_size: no weights for {size} px in {weights_dir}; found: {sizes}")
    return [weights_dir / name for size, name in found.items() if wanted is None or size in wanted]


def read_source(weights: Path) -> Source:
    """Load and check weights and samples. Raises BadInputError or training's CheckpointError, both one line."""
    about = json.loads(weights.with_suffix(".json").read_text())
    network = torchvision.models.resnet18(num_classes=about["num_classes"])
    network.load_state_dict(torch.load(weights, weights_only=True))
    samples = samples_path(weights)
    size = about["image_size"]
    return Source(
        weights,
        sha256_of(weights) or "",
        about["arch"],
        size,
        about["classes"],
        about["normalization"]["mean"],
        about["normalization"]["std"],
        network.eval(),
        read_samples(samples, size, about["num_classes"]) if samples.exists() else synthetic_samples(size),
    )
