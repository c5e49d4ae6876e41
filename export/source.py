"""What is exported: trained weights with their JSON, and the sample images that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch

from export.artifacts import image_sizes
from export.files import BadInputError
from export.samples import Samples, check_samples, synthetic_samples
from training.checkpoint import StateDict, find_not_finite, load_samples, load_weights, samples_path
from training.network import build_network, check_arch, network_arguments

LARGEST_NUMBER = 3.4e38  # of float32


@dataclass(frozen=True)
class Source:
    """Checked weights (`network` holds them, in evaluation mode) with all that an export needs to know about them."""

    weights: Path
    sha256: str
    arch: str
    arch_arguments: dict[str, Any]
    image_size: int
    classes: list[str]
    mean: list[float]
    std: list[float]
    network: torch.nn.Module
    samples: Samples


def find_weights(weights_dir: Path, arch: str, wanted: list[int] | None) -> list[Path]:
    """Weights files of a network in `weights_dir`, ascending by image size: all, or those of the `wanted` sizes in px.

    Raises BadInputError when there are none, or not of a wanted size.
    """
    check_arch(arch, "--arch")
    if not weights_dir.is_dir():
        raise BadInputError(f"--weights_dir: {weights_dir} is no folder; train first (`make train`)")
    networks = image_sizes([path.name for path in weights_dir.iterdir()])
    if not networks:
        raise BadInputError(f"--weights_dir: no best_<arch>_<size>.pth in {weights_dir}; train first (`make train`)")
    if arch not in networks:
        raise BadInputError(f"--arch: no weights of {arch} in {weights_dir}; there are: {', '.join(networks)}")
    found = networks[arch]
    for size in wanted or []:
        if size not in found:
            sizes = ", ".join(map(str, found))
            raise BadInputError(f"--image_size: no weights for {size} px in {weights_dir}; found: {sizes}")
    return [weights_dir / name for size, name in found.items() if wanted is None or size in wanted]


def read_source(weights: Path) -> Source:
    """Load and check weights and samples; synthetic samples when there are none.

    Raises BadInputError, or training's TrainingError, when a file is missing, damaged, unsafe or contradicts another.
    """
    state_dict, about = load_weights(weights)
    size = about.image_size
    mean, std = read_normalization(weights.with_suffix(".json"), about.normalization)
    check_finite(weights, state_dict)
    network = build_network(about.num_classes, arch=about.arch, image_size=size)
    network.load_state_dict(state_dict)
    file = samples_path(weights)
    samples = check_samples(file, load_samples(weights), size, about.num_classes) if file.exists() else None
    return Source(
        weights=weights,
        sha256=about.sha256,
        arch=about.arch,
        arch_arguments=network_arguments(about.arch, size),
        image_size=size,
        classes=about.classes,
        mean=mean,
        std=std,
        network=network.eval(),
        samples=samples or synthetic_samples(size),
    )


def read_normalization(file: Path, given: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the three channels, as `file` gives them. Raises BadInputError."""
    mean, std = (given.get(name) if isinstance(given, dict) else None for name in ("mean", "std"))
    if not _three_numbers(mean) or not _three_numbers(std) or min(std) <= 0:
        raise BadInputError(f"{file}: normalization needs three numbers each for mean and std, std above 0; mend it")
    return mean, std


def check_finite(weights: Path, state_dict: StateDict) -> None:
    """Raises BadInputError for weights of a training that diverged."""
    if name := find_not_finite(state_dict):
        raise BadInputError(
            f"{weights}: {name} is not finite: its training diverged; train it again with a lower learning rate"
        )


def _three_numbers(values: Any) -> TypeGuard[list[float]]:
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    return numbers and len(values) == 3 and all(abs(value) <= LARGEST_NUMBER for value in values)  # no NaN
