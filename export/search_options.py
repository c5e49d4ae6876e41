"""The flags of `python -m export.engine_search`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn, get_args

from jsonargparse import ArgumentParser

from export.engine_settings import Layout, parse_profile
from export.quantize import Placement
from export.stem import Stem

PROG = "python -m export.engine_search"
DESCRIPTION = "The fastest TensorRT engine for a network: what was tried on this GPU, and what it gave."
Sources = Literal["default", "all", "own"]
FACTORS = ("profiles", "optimization_levels", "timing_iterations", "tactic_sources", "stems", "inputs", "quantized")


@dataclass(frozen=True)
class Options:
    """What to try, one factor at a time from the first value of each list; then the best values together.

    Args:
        image_size: Side of the images, in pixels: one for which `python -m export --to '[reference,onnx]'` has run.
        arch: The network, as torchvision names it. Default: resnet18.
        weights_dir: Folder with training's weights, and with onnx/ and reference/ from the export.
        precision: fp16 or int8.
        batch_sizes: Batch sizes to time, where the engine's profile holds them.
        seconds: Time for the samples of each batch size; half as long before them is not counted.
        profiles: Batch sizes that an engine is tuned for: smallest-best-largest, or one number (static).
        optimization_levels: TensorRT's builder levels, 0 to 5.
        timing_iterations: How often the builder times each candidate kernel, to take the average.
        tactic_sources: default (TensorRT's choice), all (cuDNN, cuBLAS and cuBLASLt too) or own (none of these).
        stems: How the first convolution is written: plain (7 x 7), padded (images with a fourth channel of zeros) or
            folded (2 x 2 pixels become 12 channels, for a 4 x 4 convolution). The answers are the same.
        inputs: How the images lie in memory: nchw, nhwc (channels last) or nhwc8 (and five channels of zeros more).
        quantized: For int8, where Q-DQ pairs stand: shortcuts (what quantised operators read, but sums read their
            convolution as it is; as the export has it), all (inputs and outputs of every operator), inputs,
            pool (as inputs, and before the max-pooling), no_add (as inputs, but not for sums), convolutions (their
            inputs alone).
        max_build_seconds: A build that takes longer is given up.
        engine_python: Python interpreter with TensorRT. Default: .venv-tensorrt/bin/python, where it exists, else this.
        output: File (.jsonl) to which one line is appended for each trial; what stands there with the same settings,
            GPU, TensorRT and ONNX file is not tried again. A table of all its lines stands beside it (.md).
    """

    image_size: int = 224
    arch: str = "resnet18"
    weights_dir: Path = Path("weights")
    precision: Literal["fp16", "int8"] = "fp16"
    batch_sizes: list[int] = field(default_factory=lambda: [128, 256, 512, 1024, 2048])
    seconds: float = 2.0
    profiles: list[int | str] = field(default_factory=lambda: ["128-512-2048", 512])
    optimization_levels: list[int] = field(default_factory=lambda: [3, 4, 5])
    timing_iterations: list[int] = field(default_factory=lambda: [1, 8])
    tactic_sources: list[Sources] = field(default_factory=lambda: list(get_args(Sources)))
    stems: list[Stem] = field(default_factory=lambda: list(get_args(Stem)))
    inputs: list[Layout] = field(default_factory=lambda: list(get_args(Layout)))
    quantized: list[Placement] = field(default_factory=lambda: list(get_args(Placement)))
    max_build_seconds: float = 600.0
    engine_python: Path | None = None
    output: Path = Path("results/engine_search.jsonl")


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
    for name in (*FACTORS, "batch_sizes"):
        if not getattr(options, name):
            parser.error(f"--{name}: empty; give one value or more")
    for name in ("seconds", "max_build_seconds", "batch_sizes", "timing_iterations"):
        value = getattr(options, name)
        if min(value if isinstance(value, list) else [value]) <= 0:
            parser.error(f"--{name}: {value}; give more than 0")
    if not set(options.optimization_levels) <= set(range(6)):
        parser.error(f"--optimization_levels: {options.optimization_levels}; give levels from 0 to 5")
    if options.output.suffix != ".jsonl":
        parser.error(f"--output: {options.output}; give a file that ends in .jsonl")
    for profile in options.profiles:
        try:
            held = held_batches(str(profile), options.batch_sizes)
        except ValueError as error:
            parser.error(f"--profiles: {error}")
        if not held:
            parser.error(f"--profiles: {profile} holds none of --batch_sizes {options.batch_sizes}")
    return options


def held_batches(profile: str, batch_sizes: list[int]) -> list[int]:
    """Those batch sizes that a profile takes, ascending. Raises ValueError for what is no profile."""
    smallest, _, largest = parse_profile(profile)
    return sorted({size for size in batch_sizes if smallest <= size <= largest})


def list_values(options: Options) -> dict[str, list[int] | list[str] | list[None]]:
    """The values of each factor of a trial, by its name."""
    return {
        "profile": [str(profile) for profile in options.profiles],
        "optimization_level": options.optimization_levels,
        "timing_iterations": options.timing_iterations,
        "tactic_sources": [str(name) for name in options.tactic_sources],
        "stem": [str(name) for name in options.stems],
        "input_layout": [str(name) for name in options.inputs],
        "quantized": [str(name) for name in options.quantized] if options.precision == "int8" else [None],
    }
