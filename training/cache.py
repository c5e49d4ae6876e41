"""--data.cache: images decoded once, in memory or in a folder under data/cache.

data/cache/<key>/<split>_images.npy   uint8 (N, 3, S, S), mapped into memory when it is read
data/cache/<key>/<split>_labels.npy   int64 (N,)
data/cache/<key>/cache.json           what the cache was made from (training/cache_key.py), and its classes
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import psutil
import torch

from training.augment import PER_IMAGE, Augment
from training.cache_key import key_of
from training.errors import TrainingError, require
from training.resident import DecodedImages, room_for
from training.splits import Images, Splits

Cache = Literal["none", "memory", "disk"]
CACHE_DIR = Path("data/cache")
RAM_SHARE = 0.9  # of what is available: training itself needs some
Decode = Callable[[Images, DecodedImages], DecodedImages]


def check_placement(cache: Cache, resident_on_gpu: bool | None, augment: Augment) -> None:
    """Raises TrainingError where the flags ask for images in places that exclude one another."""
    require(
        not (resident_on_gpu and augment in PER_IMAGE),
        f"--data.resident_on_gpu: {augment} changes images one by one, in the loader; give false or null, or "
        "--data.augment crop",
    )
    require(
        not (cache == "memory" and resident_on_gpu),
        "--data.cache memory and --data.resident_on_gpu true exclude each other; drop one",
    )


def available_ram(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: of the machine, or of the container (cgroup v2) where that is less."""
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError, KeyError):  # no such files, or the limit is "max"
        limit, used = (int((cgroup / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(stat["inactive_file"]))
    return free


def hold_in_memory(splits: Splits, image_size: int, decode: Decode, processes: int = 1) -> Splits:
    """Training and validation images decoded into RAM; the test images are left as they are.

    Args:
        splits: What the source gives.
        image_size: Side of the images, in pixels.
        decode: Fills the second argument with the first.
        processes: How many of this machine hold a copy each.

    Raises:
        TrainingError: they do not fit into the RAM that is available.
    """
    count = _length(splits.train) + _length(splits.val)
    needed, free = processes * count * 3 * image_size**2, available_ram()
    if needed > RAM_SHARE * free:
        copies = f" ({processes} copies, one for each process)" if processes > 1 else ""
        raise TrainingError(
            f"--data.cache memory: {count:,} images of {image_size} px take {needed / 1e9:.1f} GB{copies} and "
            f"{free / 1e9:.1f} GB of RAM are available; give disk, a smaller --data.image_size or fewer images"
        )
    train, val = (decode(s, room_for(_length(s), image_size, torch.device("cpu"))) for s in (splits.train, splits.val))
    return Splits(train, val, val if splits.test is splits.val else splits.test, splits.classes)


def open_on_disk(
    identity: dict[str, Any],
    open_source: Callable[[], Splits],
    decode: Decode,
    cache_dir: Path = CACHE_DIR,
    say: Callable[[str], None] = print,
) -> Splits:
    """The images of `identity` from their cache, which is built from `open_source()` when it is not there yet.

    One process builds, others that want the same cache wait for it. A build that is killed leaves a hidden folder that
    the next one deletes.

    Raises:
        TrainingError: the disk is too small, or the cache is damaged.
    """
    folder = cache_dir / key_of(identity)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _locked(cache_dir / f".{folder.name}.lock", lambda: say(f"{folder}: another process builds it; waiting")):
        if not folder.is_dir():
            _build(folder, identity, open_source(), decode)
            say(f"{folder}: built, {_megabytes(folder):,.0f} MB; later runs on the same images start from it")
    for stale in _stale_caches(cache_dir, identity):
        say(f"{stale}: made from images that have changed since, {_megabytes(stale):,.0f} MB; delete it: rm -r {stale}")
    return _load(folder)


def _build(folder: Path, identity: dict[str, Any], splits: Splits, decode: Decode) -> None:
    parts = {"train": splits.train, "val": splits.val} | (
        {} if splits.test is splits.val else {"test": splits.test}
    )  # fmt: skip
    side = identity["image_size"]
    needed, free = sum(map(_length, parts.values())) * 3 * side**2, shutil.disk_usage(folder.parent).free
    if needed > free:
        raise TrainingError(
            f"--data.cache disk: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free in {folder.parent}; "
            "make room, or give none"
        )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for name, split in parts.items():
            shape = (_length(split), 3, side, side)
            images = np.lib.format.open_memmap(partial / f"{name}_images.npy", "w+", np.uint8, shape)
            decoded = decode(split, DecodedImages(torch.from_numpy(images), torch.empty(shape[0], dtype=torch.int64)))
            images.flush()
            np.save(partial / f"{name}_labels.npy", decoded.labels.numpy())
        described = {"identity": identity, "classes": splits.classes, "splits": list(parts)}
        (partial / "cache.json").write_text(json.dumps(described, indent=2, ensure_ascii=False), encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _load(folder: Path) -> Splits:
    try:
        described = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        parts = {name: _map(folder, name) for name in described["splits"]}
        classes = described["classes"]
        return Splits(parts["train"], parts["val"], parts.get("test", parts["val"]), classes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{folder}: a damaged cache ({type(error).__name__}); delete it (rm -r {folder}) and it is built again"
        ) from error


def _map(folder: Path, name: str) -> DecodedImages:
    # "c": what is written to a page stays in this process; torch wants arrays that can be written to
    images = np.load(folder / f"{name}_images.npy", mmap_mode="c", allow_pickle=False)
    labels = np.load(folder / f"{name}_labels.npy", allow_pickle=False)
    if images.dtype != np.uint8 or images.shape[:1] != labels.shape:
        raise ValueError(name)
    return DecodedImages(torch.from_numpy(images), torch.from_numpy(labels))


def _stale_caches(cache_dir: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Caches of the same source, of any image size, as it was before."""
    for description in sorted(cache_dir.glob("*/cache.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            other = json.loads(description.read_text(encoding="utf-8"))["identity"]
            same = (other["source"], other["root"]) == (identity["source"], identity["root"])
            if same and any(other[name] != identity[name] for name in ("version", "contents")):
                yield description.parent


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Alone among processes; the system gives the lock back when its holder is killed."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def _length(split: Images) -> int:
    return len(cast(Any, split))
