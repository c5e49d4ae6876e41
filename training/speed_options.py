"""The flags of `python -m training.speed`, and what they mean on this machine."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from jsonargparse import ArgumentParser

PROG = "python -m training.speed"
DESCRIPTION = "How fast training is here, by step, by loop and by loader, in images per second."
Measurement = Literal["step", "bare", "gather", "loader", "together"]
Mode = Literal["eager", "compile"]
Fed = Literal["none", "memory", "disk", "gpu"]


@dataclass(frozen=True)
class Options:
    """What to measure, and how long.

    Args:
        image_size: Side of the square images, in pixels, or a list such as '[224,512]'.
        batch_size: Images per step, or a list with one number for each image size. Default: on a GPU 512 up to 256 px
            and 256 above, on a CPU 8 and 4.
        device: cuda, cpu, or auto: the GPU where there is one.
        seconds: Time for each measurement after its warm-up, shared among --windows.
        windows: Repetitions; the median is reported and all are kept.
        measurements: A list of step (the training step under Lightning, one batch that stays on the device), bare (the
            same step in a plain PyTorch loop, window by window in turn with step), gather (one thread that puts
            batches together from the memory cache, into the same memory again and again as for a GPU), loader (loading
            alone) and together (training fed by the loader).
        caches: A list of where loader and together take images from: none (made or decoded at every epoch), memory and
            disk (as --data.cache), gpu (as --data.resident_on_gpu). Default: all on a GPU; all but gpu on a CPU.
        source: builtin (drawn), jpeg (files of 500 x 375 px, written to a temporary folder first), or any
            --data.source, with --root.
        root: As --data.root, for --source folder.
        modes: A list of eager and compile (torch.compile). Default: both on a GPU, eager on a CPU.
        precision: bf16-mixed, 16-mixed or 32-true. Default: what `python -m training` takes on this machine.
        optimizer: sgd or adamw, fused on a GPU.
        channels_last: Memory format of images and weights: channels_last, or contiguous (false).
        augment: none, flip or crop, as --data.augment of `python -m training`.
        train_images: Images of builtin and jpeg. Default, in whole batches: about a gigapixel on a GPU (20000 at
            224 px), 8 batches on a CPU.
        workers: Processes that load images. Default: one less than the CPU cores, at most 16.
        min_step: Target for step in its fastest mode at the first image size, in images per second; a target that is
            missed is named at the end, and the exit status is 1.
        min_together: Target for together with memory over step, as a share, at each image size in its fastest mode.
        max_overhead: Target for Lightning's overhead over bare, as a share of the time of a step, everywhere.
        output: File to which one JSON line is appended for each measurement; a table of all its lines stands beside it
            (.md).
    """

    image_size: int | list[int] = 224
    batch_size: int | list[int] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seconds: float = 5.0
    windows: int = 5
    measurements: list[Measurement] = field(default_factory=lambda: list(get_args(Measurement)))
    caches: list[Fed] | None = None
    source: str = "builtin"
    root: Path | None = None
    modes: list[Mode] | None = None
    precision: Literal["bf16-mixed", "16-mixed", "32-true"] | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    channels_last: bool = True
    augment: Literal["none", "flip", "crop"] = "flip"
    train_images: int | None = None
    workers: int | None = None
    min_step: float | None = None
    min_together: float | None = None
    max_overhead: float | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Settings:
    """Options of one image size with every default filled in; `window_s` in seconds."""

    image_size: int
    batch_size: int
    device: Literal["cpu", "cuda"]
    window_s: float
    windows: int
    measurements: list[Measurement]
    caches: list[Fed]
    source: str
    root: Path | None
    modes: list[Mode]
    precision: str
    optimizer: Literal["sgd", "adamw"]
    channels_last: bool
    augment: Literal["none", "flip", "crop"]
    train_images: int
    workers: int | None


class OneLineParser(ArgumentParser):
    """Reports a bad flag as one line, without the usage text."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print `message` as one line and exit with status 2."""
        message = re.sub(r'Parser key "([\w.]+)":', r"--\1:", message)
        self.exit(2, f"{PROG}: error: {' '.join(message.split())}; see {PROG} --help\n")


def read_options(arguments: list[str] | None = None) -> Options:
    """Parse the command line; exits with status 2 and one line when a flag is wrong."""
    parser = OneLineParser(prog=PROG, description=DESCRIPTION)
    parser.add_class_arguments(Options, as_group=False)
    options = Options(**vars(parser.instantiate(parser.parse_args(arguments))))
    for name in ("seconds", "windows", "batch_size", "train_images", "min_step", "min_together", "max_overhead"):
        value = getattr(options, name)
        if value is not None and not all(number < math.inf for number in as_list(value)):  # nor NaN
            parser.error(f"--{name}: {value}; give a finite number")
        if value is not None and min(as_list(value), default=0) <= 0:
            parser.error(f"--{name}: {value}; give more than 0")
    sizes, batches = as_list(options.image_size), as_list(options.batch_size)
    if not sizes or (isinstance(options.batch_size, list) and len(batches) != len(sizes)):
        parser.error(f"--batch_size: {batches} for --image_size {sizes}; give one for each size, or one for all")
    if options.train_images and options.train_images < max(batch or 1 for batch in batches):
        parser.error(f"--train_images: {options.train_images}; give at least one batch, {options.batch_size}")
    if "bare" in options.measurements and "step" not in options.measurements:
        parser.error("--measurements: bare is measured in turn with step; add step")
    return options


def as_list(value: Any) -> list[Any]:
    """One value as a list of one."""
    return value if isinstance(value, list) else [value]


def fill_in(options: Options) -> list[Settings]:
    """One for each image size, with this machine's defaults. Raises TrainingError when the device is not here."""
    import torch  # noqa: PLC0415 - takes seconds: --help and bad flags do not wait

    from training.__main__ import fast_precision  # noqa: PLC0415
    from training.errors import TrainingError  # noqa: PLC0415

    has_gpu = torch.cuda.is_available()
    if options.device == "cuda" and not has_gpu:
        raise TrainingError("--device: no CUDA GPU is usable here; give cpu or auto")
    on_gpu = has_gpu and options.device != "cpu"
    sizes, batches = as_list(options.image_size), as_list(options.batch_size)
    kept = {name: value for name, value in vars(options).items() if name in Settings.__dataclass_fields__}
    filled = []
    for image_size, given in zip(sizes, batches if len(batches) == len(sizes) else batches * len(sizes), strict=True):
        small = image_size <= 256
        batch_size = given or ((512 if small else 256) if on_gpu else (8 if small else 4))
        # whole batches: a smaller last one makes cuDNN search again, in the middle of a window
        batches_per_epoch = max(1, round(20_000 * (224 / image_size) ** 2 / batch_size)) if on_gpu else 8
        values: dict[str, Any] = {
            "image_size": image_size,
            "batch_size": batch_size,
            "device": "cuda" if on_gpu else "cpu",
            "window_s": options.seconds / options.windows,
            "caches": options.caches or ["none", "memory", "disk", *(["gpu"] if on_gpu else [])],
            "modes": options.modes or (["eager", "compile"] if on_gpu else ["eager"]),
            "precision": options.precision or fast_precision(),
            "train_images": options.train_images or batches_per_epoch * batch_size,
        }
        filled.append(Settings(**(kept | values)))
    return filled
