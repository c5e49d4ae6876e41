"""Weights that a user brings: read, recognised, described, and kept where training would have left them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from export.files import BadInputError, sha256_of
from export.source import check_finite, read_normalization
from training.checkpoint import (
    CheckpointError,
    Metadata,
    StateDict,
    load_metadata,
    load_samples,
    load_state_dict,
    load_tensors,
    samples_path,
    save_weights,
    weights_path,
)
from training.network import check_arch, check_state_dict, count_classes, network_arguments, recognise

SMALLEST_PX, LARGEST_PX = 32, 2048
WRAPPERS = ("state_dict", "model")  # keys under which training programs save a state_dict beside other things
PREFIXES = ("module.", "network.", "model.", "_orig_mod.")  # of DDP, Lightning modules, torch.compile
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TRAINED = ("accuracy", "val_loss", "epoch", "seed", "fit_s", "device")  # known of one image size only


def adopt(
    weights: Path, image_sizes: list[int] | None, arch: str | None, weights_dir: Path, *, may_replace: bool
) -> tuple[list[Path], list[str]]:
    """Keep `weights` as `weights_dir`/best_<arch>_<size>.pth with its JSON, for each image size in px.

    Answers the paths and, line by line, what had to be assumed. What stands at a path already is left alone when it is
    the same, and replaced on `may_replace` alone. Raises BadInputError or TrainingError for what cannot be used.
    """
    state_dict, given = read_state_dict(weights), read_description(weights)
    sizes = image_sizes or find_size(weights, given)
    if not sizes:
        mend = "give the size to export it for, e.g. --image_size 224"
        raise BadInputError(f"--image_size: {weights} has no {weights.stem}.json that says its image size; {mend}")
    for size in sizes:
        if not isinstance(size, int) or not SMALLEST_PX <= size <= LARGEST_PX:
            raise BadInputError(f"--image_size: {size} px; give {SMALLEST_PX} to {LARGEST_PX}")
    arch = find_arch(weights, state_dict, given.get("arch"), arch, sizes[0])
    described = [describe(weights, state_dict, given, arch, size) for size in sizes]
    paths = [weights_path(weights_dir, size, arch) for size in sizes]
    for path, metadata in zip(paths, described, strict=True):
        if weights.resolve() != path.resolve() and not is_same(path, state_dict, metadata):
            if path.exists() and not may_replace:
                raise BadInputError(
                    f"--weights: {path} holds other weights; give another --weights_dir, or --force to replace them "
                    f"(they are kept as {path.stem}.previous.pth)"
                )
            fits = samples_path(weights).exists() and metadata.image_size == given.get("image_size")
            save_weights(path, state_dict, metadata, load_samples(weights) if fits else None)
    return paths, make_notes(weights, given, described[0])


def read_state_dict(path: Path) -> StateDict:
    """The network's tensors in `path`: of a plain state_dict, or one wrapped by a training program.

    Raises CheckpointError when there are none, or when the file holds a whole module or other objects.
    """
    content = load_tensors(path, "give the path of a state_dict with --weights")
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path}: is no state_dict; save one with torch.save(model.state_dict(), path)")
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors; save a state_dict with torch.save(model.state_dict(), path)")
    return tensors


def read_description(weights: Path) -> dict[str, Any]:
    """The JSON beside `weights`, {} when there is none. Raises BadInputError: no JSON object, or of another file."""
    file = weights.with_suffix(".json")
    if not file.is_file():
        return {}
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInputError(f"{file}: is not JSON ({error}); mend it, or move it away") from None
    if not isinstance(given, dict):
        raise BadInputError(f"{file}: holds no JSON object; mend it, or move it away")
    if given.get("sha256") not in (None, "", sha256_of(weights)):
        raise BadInputError(f"{weights}: sha256 differs from {file.name}; mend or delete its `sha256`")
    return given


def find_size(weights: Path, given: dict[str, Any]) -> list[int]:
    """The image size in px that the JSON beside `weights` names, if any. Raises BadInputError when it is no number."""
    if given.get("image_size") is None:
        return []
    if type(given["image_size"]) is not int:
        raise BadInputError(
            f"{weights.with_suffix('.json')}: image_size {given['image_size']!r} is no whole number; mend or delete it"
        )
    return [given["image_size"]]


def find_arch(weights: Path, state_dict: StateDict, described: Any, asked: str | None, image_size: int) -> str:
    """The network that the JSON, the flag or the layers name. Raises BadInputError or TrainingError.

    Layers that several networks share leave the choice to the user.
    """
    if described is not None and asked is not None and described != asked:
        raise BadInputError(f"--arch: {asked}, but {weights.with_suffix('.json')} says {described!r}; drop one of them")
    named = described if described is not None else asked
    if named is not None:
        check_arch(str(named), "--arch" if described is None else f"{weights.with_suffix('.json')}: arch")
        return str(named)
    fitting = recognise(state_dict, image_size)
    if len(fitting) != 1:
        said = f"fit {', '.join(fitting)}" if fitting else f"fit no classifier of torchvision at {image_size} px"
        raise BadInputError(f"{weights}: its layers {said}; name the network with --arch, e.g. --arch resnet50")
    return fitting[0]


def describe(weights: Path, state_dict: StateDict, given: dict[str, Any], arch: str, image_size: int) -> Metadata:
    """What is known of the weights at one image size. Raises BadInputError or TrainingError when they do not fit."""
    file = weights.with_suffix(".json")
    arguments = network_arguments(arch, image_size, "--image_size")
    found = count_classes(state_dict, arch) or 0
    if reason := check_state_dict(state_dict, found, arch, image_size):
        raise BadInputError(f"{weights}: {reason}; name another with --arch")
    classes = given.get("classes") or [str(number) for number in range(found)]
    if not isinstance(classes, list) or len(classes) != found or given.get("num_classes", found) != found:
        raise BadInputError(f"{file}: its classes are not the {found} of {weights.name}; mend or delete `classes`")
    accuracy = given.get("accuracy")
    if accuracy is not None and not (isinstance(accuracy, int | float) and 0 <= accuracy <= 1):
        raise BadInputError(f"{file}: accuracy {accuracy!r} is not a share from 0 to 1; mend or delete it")
    normalization = given.get("normalization") or IMAGENET
    read_normalization(file, normalization)
    check_finite(weights, state_dict)
    same_size = given.get("image_size", image_size) == image_size
    known: dict[str, Any] = {name: given.get(name) if same_size else None for name in TRAINED}
    return Metadata(
        image_size=image_size,
        num_classes=found,
        classes=[str(name) for name in classes],
        normalization=normalization,
        data=given["data"] if isinstance(given.get("data"), dict) else {},
        init_from=str(weights),
        created_at=str(given.get("created_at") or datetime.now(UTC).isoformat(timespec="seconds")),
        versions=given["versions"] if isinstance(given.get("versions"), dict) else {},
        arch=arch,
        arch_arguments=arguments,
        **known,
    )


def is_same(path: Path, state_dict: StateDict, metadata: Metadata) -> bool:
    """Whether these very weights, so described, stand at `path`; creation time and checksum aside."""
    try:
        there, about = load_state_dict(path), load_metadata(path)
    except CheckpointError:
        return False
    if replace(about, created_at="", sha256="") != replace(metadata, created_at="", sha256=""):
        return False
    return there.keys() == state_dict.keys() and all(
        there[name].dtype == tensor.dtype and torch.equal(there[name], tensor) for name, tensor in state_dict.items()
    )


def make_notes(weights: Path, given: dict[str, Any], metadata: Metadata) -> list[str]:
    """One line on what was assumed; none where the JSON said everything."""
    assumed = [] if given.get("arch") else [f"network {metadata.arch}"]
    assumed += [] if given.get("classes") else [f"{metadata.num_classes} classes, numbered"]
    assumed += [] if given.get("normalization") else ["normalised as for ImageNet"]
    if not assumed:
        return []
    file = weights.with_suffix(".json")
    return [
        f"{weights}: taken as {'; '.join(assumed)} ({file.name} beside it may say `arch`, `classes`, `normalization`)"
    ]
