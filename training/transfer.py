"""`python -m training.transfer BASE OTHER...`: time and accuracy of weights in one folder against those in others.

For instance sizes trained from scratch against the same sizes started from a smaller one's weights.
"""

from __future__ import annotations

import math
import re
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

from training.checkpoint import Metadata, load_metadata
from training.errors import TrainingError, require

HEADER = (
    "| image size, px | weights | started from | epoch | time, s | accuracy | time against base | accuracy gained |",
    "|---:|:---|:---|---:|---:|---:|---:|---:|",
)


@dataclass(frozen=True)
class Trained:
    """Weights that were trained here: `accuracy` in 0..1, `fit_s` in seconds."""

    metadata: Metadata
    accuracy: float
    fit_s: float


def read_folder(folder: Path) -> dict[tuple[str, int], Trained]:
    """The best weights in `folder`, by network and image size in px.

    Raises TrainingError when there are none, or some were not trained here.
    """
    files = [path for path in folder.glob("best_*.json") if re.fullmatch(r"best_\w+_\d+", path.stem)]
    require(
        bool(files), f"{folder}: holds no best_<network>_<size>.json; give a --weights_dir of python -m training fit"
    )
    found = {}
    for path in files:
        metadata = load_metadata(path.with_suffix(".pth"))
        if metadata.accuracy is None or metadata.fit_s is None:
            raise TrainingError(f"{path}: tells no accuracy and time: these weights were not trained here")
        found[metadata.arch, metadata.image_size] = Trained(metadata, metadata.accuracy, metadata.fit_s)
    return found


def accuracy_gain(base: Trained, other: Trained) -> tuple[float, float]:
    """Accuracy gained over `base` and the half-width of its 95% interval (0..1).

    Each accuracy as a share of independent images, so the interval is wide: both saw the same validation images.
    """
    variance = sum(m.accuracy * (1 - m.accuracy) / m.metadata.data["val_images"] for m in (base, other))
    return other.accuracy - base.accuracy, 1.96 * math.sqrt(variance)


def compare(folders: list[Path]) -> list[str]:
    """A Markdown table: every network and size of the first folder that another has, each beside the first folder's.

    Raises:
        TrainingError: a folder without weights, no size in common, or other validation images.
    """
    base, *others = [read_folder(folder) for folder in folders]
    rows = []
    for key, reference in sorted(base.items()):
        compared = [(folder, held[key]) for folder, held in zip(folders[1:], others, strict=True) if key in held]
        if compared:
            rows.append(describe(folders[0], reference) + " | 1.00 | |")
        for folder, trained in compared:
            one, other = reference.metadata, trained.metadata
            same = other.data == one.data and other.classes == one.classes
            where = f"{folder}: {one.image_size} px"
            require(same, f"{where} was trained on other data than in {folders[0]}; compare like with like")
            gain, half = accuracy_gain(reference, trained)
            ratio = trained.fit_s / reference.fit_s
            rows.append(f"{describe(folder, trained)} | {ratio:.2f} | {100 * gain:+.1f} ± {100 * half:.1f} points |")
    require(bool(rows), f"{folders[0]}: has no image size in common with the other folders")
    return [*HEADER, *rows]


def describe(folder: Path, trained: Trained) -> str:
    """The left part of a row."""
    metadata = trained.metadata
    start = Path(metadata.init_from).stem if metadata.init_from else "scratch"
    outcome = f"{metadata.epoch} | {trained.fit_s:.0f} | {trained.accuracy:.1%}"
    return f"| {metadata.image_size} | {folder} | {start} | {outcome}"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 bad input."""
    parser = ArgumentParser(prog="python -m training.transfer", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER", help="--weights_dir of a training; base first"
    )
    folders = parser.parse_args(arguments).folders
    try:
        require(len(folders) > 1, "give two folders or more: the base first, then those to compare with it")
        print("\n".join(compare(folders)))
    except TrainingError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
