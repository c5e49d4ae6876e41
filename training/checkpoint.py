"""Weights on disk: a plain state_dict, a JSON file that describes it, and a few sample images.

    weights/best_<arch>_<size>.pth           torchvision.models.get_model(arch, num_classes=N).load_state_dict(...)
    weights/best_<arch>_<size>.json          Metadata, with the sha256 of the .pth file
    weights/samples/best_<arch>_<size>.npz   uint8 images for calibration and for a reference batch

`export` reads these and never the data set.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from training.errors import TrainingError
from training.network import ARCH, check_arch, check_state_dict

FORMAT = 1
StateDict = dict[str, torch.Tensor]


class CheckpointError(TrainingError):
    """A weights file that is missing, corrupt, unsafe or does not fit. One line: the file, the reason, the mend."""


@dataclass(frozen=True)
class Metadata:
    """What is known of a weights file. `accuracy` in 0..1 on the validation set; `fit_s` in seconds.

    What nobody knows of weights trained elsewhere is None. `arch_arguments`: what torchvision's builder of `arch` must
    be told beside the number of classes.
    """

    image_size: int
    num_classes: int
    classes: list[str]
    normalization: dict[str, list[float]]
    accuracy: float | None
    val_loss: float | None
    epoch: int | None
    seed: int | None
    data: dict[str, Any]
    init_from: str | None
    fit_s: float | None
    device: str | None
    created_at: str
    versions: dict[str, str]
    sha256: str = ""
    format: int = FORMAT
    arch: str = ARCH
    arch_arguments: dict[str, Any] = field(default_factory=dict)


def weights_path(weights_dir: Path, image_size: int, arch: str = ARCH) -> Path:
    """Where the best weights of a network for `image_size` (px) stand."""
    return weights_dir / f"best_{arch}_{image_size}.pth"


def samples_path(path: Path) -> Path:
    """The sample images that belong to the weights file `path`."""
    return path.parent / "samples" / f"{path.stem}.npz"


def save_weights(
    path: Path, state_dict: StateDict, metadata: Metadata, samples: dict[str, npt.NDArray[Any]] | None
) -> None:
    """Write the three files, without `samples` two. A pair that stands there is kept as `<stem>.previous.{pth,json}`.

    Samples that stand there belong to that pair: without new ones they are removed.
    """
    described_in = path.with_suffix(".json")
    buffer = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}, buffer)
    blob = buffer.getvalue()
    described = asdict(metadata) | {"sha256": hashlib.sha256(blob).hexdigest()}
    files = {samples_path(path): _to_npz(samples)} if samples is not None else {}
    files |= {path: blob, described_in: (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode()}
    samples_path(path).parent.mkdir(parents=True, exist_ok=True)
    partial = {file: file.with_name(f".{file.name}.partial") for file in files}
    try:
        for file, content in files.items():
            _write_whole(partial[file], content)
        # the JSON goes first and comes last: where it stands, `make` takes the size for trained
        for old in (described_in, path):
            if old.exists():
                old.replace(old.with_name(f"{old.stem}.previous{old.suffix}"))
        if samples is None:
            samples_path(path).unlink(missing_ok=True)
        for file, temporary in partial.items():
            temporary.replace(file)
    finally:
        for temporary in partial.values():
            temporary.unlink(missing_ok=True)


def load_state_dict(path: Path) -> StateDict:
    """The state_dict in `path`, on the CPU. Code inside the file is never run.

    Raises:
        CheckpointError: see load_tensors; also when the file holds something other than a state_dict.
    """
    content = load_tensors(path, "train that size first, or give the path of a .pth file")
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: is not a plain state_dict; save one with torch.save(model.state_dict(), path)")
    return dict(content)


def find_not_finite(state_dict: StateDict) -> str | None:
    """Name of the first tensor with a NaN or an infinity in it, which a training that diverged leaves; else None."""
    return next((name for name, tensor in state_dict.items() if not bool(torch.isfinite(tensor).all())), None)


def load_tensors(path: Path, mend: str) -> Any:
    """What `torch.save` wrote to `path`, on the CPU: tensors and plain values only (`weights_only=True`).

    Raises:
        CheckpointError: no such file (then `mend` is added), damaged, or it holds other objects, whose code is not run.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {mend}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "holds objects other than tensors" if "GLOBAL" in str(error) else "is damaged"
        raise CheckpointError(
            f"{path}: {reason}, so it was not loaded; save a plain state_dict: torch.save(model.state_dict(), path)"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or not a PyTorch file; copy or train it again") from error


def load_metadata(path: Path) -> Metadata:
    """The JSON beside the weights file `path`.

    Raises:
        CheckpointError: missing, not JSON, or fields missing, unknown or out of range.
    """
    file = path.with_suffix(".json")
    mend = f"train again: python -m training fit writes {path.name} and {file.name} together"
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file; {mend}")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        wanted = [each.name for each in fields(Metadata) if each.default_factory is MISSING or each.name in values]
        metadata = Metadata(**{name: values[name] for name in wanted})
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file}: not a description of weights ({type(error).__name__}: {error}); {mend}"
        ) from None
    if metadata.format != FORMAT:
        raise CheckpointError(f"{file}: format {metadata.format!r}; this program reads {FORMAT}; {mend}")
    check_arch(metadata.arch, f"{file}: arch")
    if len(metadata.classes) != metadata.num_classes or not 0.0 <= (metadata.accuracy or 0.0) <= 1.0:
        raise CheckpointError(f"{file}: classes, num_classes or accuracy contradict each other; {mend}")
    return metadata


def load_weights(path: Path) -> tuple[StateDict, Metadata]:
    """Weights and their description, proven to belong together and to fit the network that it names.

    Raises:
        CheckpointError: see load_metadata and load_state_dict; also when the sha256 or the network differs.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; train that size first: python -m training fit --data.image_size S"
        )
    metadata = load_metadata(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != metadata.sha256:
        raise CheckpointError(f"{path}: sha256 differs from {path.stem}.json; the file is damaged or from another run")
    state_dict = load_state_dict(path)
    if reason := check_state_dict(state_dict, metadata.num_classes, metadata.arch, metadata.image_size):
        raise CheckpointError(f"{path}: {reason}; train it again")
    return state_dict, metadata


def load_samples(path: Path) -> dict[str, npt.NDArray[Any]]:
    """`val_images`, `val_labels`, `train_images`, `train_labels` of the weights file `path`.

    Images are uint8 (n, 3, S, S), labels int64 (n,).

    Raises:
        CheckpointError: missing, damaged, or arrays that do not fit together.
    """
    file = samples_path(path)
    try:
        with np.load(file, allow_pickle=False) as archive:
            samples = {
                f"{split}_{kind}": archive[f"{split}_{kind}"]
                for split in ("val", "train")
                for kind in ("images", "labels")
            }
    except Exception as error:  # zipfile, zlib, ValueError, KeyError, OSError: all mean the same to the reader
        raise CheckpointError(f"{file}: missing or damaged ({type(error).__name__}); train that size again") from error
    for split in ("val", "train"):
        images, labels = samples[f"{split}_images"], samples[f"{split}_labels"]
        if images.ndim != 4 or images.dtype != np.uint8 or labels.shape != images.shape[:1] or not len(labels):
            raise CheckpointError(
                f"{file}: {split}_images and {split}_labels do not fit together; train that size again"
            )
    return samples


def _to_npz(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _write_whole(path: Path, content: bytes) -> None:
    """Raises OSError, which names the file, when the disk cannot hold it: a full one may say so at the end alone."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
