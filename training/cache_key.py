"""What a cache on disk holds, as a few plain values: other values make another cache."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torchvision

from training import builtin, resample
from training.folder import list_folder

VERSION = 1  # of the files in a cache, and of how pictures are decoded and resized


def identify(
    source: str,
    root: Path | None,
    image_size: int,
    *,
    train_images: int,
    val_images: int,
    val_fraction: float,
    seed: int,
    on_bad_image: str,
) -> dict[str, Any]:
    """All that decides which images the cache holds. `contents` differs when the source itself has changed.

    Raises:
        TrainingError: as list_folder.
    """
    common = {"version": VERSION, "source": source, "image_size": image_size, "seed": seed}
    if source == "builtin":
        code = b"".join(Path(str(module.__file__)).read_bytes() for module in (builtin, resample))
        renderer = hashlib.sha256(code).hexdigest()
        return common | {"root": None, "train_images": train_images, "val_images": val_images, "contents": renderer}
    common["val_fraction"] = val_fraction
    if source == "folder":
        contents = _digest_files(root, image_size)
        return common | {"root": str(root and root.resolve()), "on_bad_image": on_bad_image, "contents": contents}
    return common | {"root": str((root or Path("data")).resolve()), "contents": torchvision.__version__}


def key_of(identity: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits: the name of the cache's folder."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _digest_files(root: Path | None, image_size: int) -> str:
    """Over the name, size and time of change of every picture, without opening one."""
    digest = hashlib.sha256()
    for part, images in sorted(list_folder(root, image_size).items()):
        for name, label in images.samples:
            path = Path(name)
            found = path.stat() if path.exists() else path.lstat()  # a broken link is a bad image, and told later
            line = (part, label, path.relative_to(images.root).as_posix(), found.st_size, found.st_mtime_ns)
            digest.update(f"{line!r}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
