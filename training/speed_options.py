"""The flags of `python -m training.speed`, and what they mean on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from jsonargparse import ArgumentParser

PROG = "python -m training.speed"
DESCRIPTION = "How fast training is here, by step, by loop and by loader, in images per second."
Measurement = Literal["step", "loop_loader", "loop_resident", "loader"]
Mode = Literal["eager", "compile"]


@dataclass(frozen=True)
class Options:
    """What to measure, and how long.

    Args:
        image_size: Side of the square images, in pixels.
        batch_size: Images per step. Default: 512 on a GPU, 8 on a CPU.
        device: cuda, cpu, or auto: the GPU where there is one.
        seconds: Time for each measurement after its warm-up, shared among --windows.
        windows: Repetitions; the median is reported and all are kept.
        measurements: A list of step (training step, one batch that stays on the device), loop_loader (whole training
            loop, images rendered by the loader), loop_resident (the same, images kept on the device), loader (loading
            alone).
        modes: A list of eager and compile (torch.compile). Default: both on a GPU, eager on a CPU.
        precision: bf16-mixed, 16-mixed or 32-true. Default: what `python -m training` takes on this machine.
        optimizer: sgd or adamw, fused on a GPU.
        channels_last: Memory format of images and weights: channels_last, or contiguous (false).
        augment: none, flip or crop, as --data.augment of `python -m training`.
        train_images: Images of the built-in data. Default: 20000 on a GPU, 8 batches on a CPU.
        workers: Processes that load images. Default: one less than the CPU cores, at most 16.
        output: File to which one JSON line is appended for each measurement.
    """

    image_size: int = 224
    batch_size: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seconds: float = 5.0
    windows: int = 5
    measurements: list[Measurement] = field(default_factory=lambda: list(get_args(Measurement)))
    modes: list[Mode] | None = None
    precision: Literal["bf16-mixed", "16-mixed", "32-true"] | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    channels_last: bool = True
    augment: Literal["none", "flip", "crop"] = "flip"
    train_images: int | None = None
    workers: int | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Settings:
    """Options with every default filled in; `window_s` in seconds."""

    image_size: int
    batch_size: int
    device: Literal["cpu", "cuda"]
    window_s: float
    windows: int
    measurements: list[Measurement]
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
    for name in ("seconds", "windows", "batch_size", "train_images"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"--{name}: {value}; give more than 0")
    if options.train_images and options.train_images < (options.batch_size or 1):
        parser.error(f"--train_images: {options.train_images}; give at least one batch, {options.batch_size}")
    return options


def fill_in(options: Options) -> Settings:
    """The defaults of this machine. Raises TrainingError when the device asked for is not here."""
    import torch  # noqa: PLC0415 - takes seconds: --help and bad flags do not wait

    from training.__main__ import fast_precision  # noqa: PLC0415
    from training.errors import TrainingError  # noqa: PLC0415

    has_gpu = torch.cuda.is_available()
    if options.device == "cuda" and not has_gpu:
        raise TrainingError("--device: no CUDA GPU is usable here; give cpu or auto")
    on_gpu = has_gpu and options.device != "cpu"
    batch_size = options.batch_size or (512 if on_gpu else 8)
    values = {name: value for name, value in vars(options).items() if name not in ("seconds", "output")}
    filled: dict[str, Any] = {
        "batch_size": batch_size,
        "device": "cuda" if on_gpu else "cpu",
        "modes": options.modes or (["eager", "compile"] if on_gpu else ["eager"]),
        "precision": options.precision or fast_precision(),
        "train_images": options.train_images or (max(20_000, batch_size) if on_gpu else 8 * batch_size),
    }
    return Settings(**(values | filled), window_s=options.seconds / options.windows)
