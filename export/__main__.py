"""`python -m export`: trained weights -> reference logits, ONNX files and TensorRT engines."""

from __future__ import annotations

import atexit
import gc
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn, get_args

from jsonargparse import ArgumentParser

from export.engine_settings import EngineSettings, Layout, parse_profile
from export.quantize import Placement
from export.stem import Stem

PROG = "python -m export"
Target = Literal["reference", "onnx", "fp16", "int8", "engine", "torch_trt"]
Precision = Literal["fp32", "tf32", "fp16", "int8"]
EXPECTED = {
    "image_size": "an image size in px or a list such as '[224,384]'",
    "to": "reference, onnx, fp16, int8, engine, torch_trt or a list such as '[onnx,int8]'",
    "reference_images": "a number of images",
    "int8_style": "cpu or tensorrt",
    "engine_precisions": "a list of fp32, tf32, fp16, int8",
    "engine_profiles": "a list such as '[1-256-1024]'",
    "engine_optimization_level": "a level from 0 to 5",
    "engine_stem": f"one of {', '.join(get_args(Stem))}",
    "engine_input": f"one of {', '.join(get_args(Layout))}",
    "engine_quantized": f"one of {', '.join(get_args(Placement))}",
}


@dataclass
class Options:
    """What to export, from where, and what to leave alone.

    Args:
        image_size: Image size in px, or a list of sizes such as '[224,384]'. Default: every size in --weights_dir.
        to: Artefacts to make: reference (a seeded batch with PyTorch's fp32 logits), onnx (fp32), fp16 (half
            precision ONNX, for GPUs), int8 (quantised ONNX), engine (TensorRT engines from ONNX), torch_trt (modules
            compiled by Torch-TensorRT). All but reference make the ONNX files they need too; the last two need a GPU.
        weights: A state_dict of your own (.pth, or a Lightning checkpoint), instead of those in --weights_dir. A .json
            beside it may say arch, image_size, classes, normalization and accuracy. It is kept in --weights_dir under
            the name that training would give it, where harness and analysis find it.
        arch: The network, as torchvision names it. Default: resnet18, or with --weights what its .json or its layers
            say.
        weights_dir: Folder with training's weights; artefacts go to its onnx/ and reference/.
        reference_images: Validation images in the reference and in every parity check (a number of images).
        int8_style: cpu fuses best in ONNX Runtime and OpenVINO on a CPU; tensorrt is what TensorRT accepts and goes to
            a file of its own (..._int8_tensorrt.onnx).
        engine_precisions: Precisions to build engine and torch_trt in (torch_trt offers no int8).
        engine_profiles: Batch sizes that an engine is tuned for, each smallest-best-largest (one dynamic range) or one
            number (static): '[1,256,1-256-1024]'. An engine holds them all, and a batch takes the narrowest that
            fits; a module of torch_trt is compiled for each (an exported program holds the first alone).
        engine_optimization_level: TensorRT's builder level, 0 (fast build) to 5. Default: 2 for int8, 3 for the rest.
        engine_stem: How an engine's first convolution is written: plain, padded or folded; with the same answers, and
            `python -m export.engine_search` tells which is fastest.
        engine_input: How the images lie in memory that an engine is given: nchw, nhwc (channels last) or nhwc8
            (channels last, five of zeros after the three). What TensorRT's kernels do not read it rewrites every time.
        engine_quantized: Where the Q-DQ pairs of --int8_style tensorrt stand, and so of int8 engines: shortcuts, all,
            inputs, pool, no_add or convolutions (see `python -m export.engine_search --help`).
        engine_python: Python interpreter with TensorRT. Default: .venv-tensorrt/bin/python, where it exists, else this.
        force: Export again what is up to date (a flag without a value).
    """

    image_size: int | list[int] | None = None
    to: Target | list[Target] = field(default_factory=lambda: ["reference", "onnx", "int8"])
    weights: Path | None = None
    arch: str | None = None
    weights_dir: Path = Path("weights")
    reference_images: int = 128
    int8_style: Literal["cpu", "tensorrt"] = "cpu"
    engine_precisions: list[Precision] = field(default_factory=lambda: ["fp16", "int8"])
    engine_profiles: list[int | str] = field(default_factory=lambda: ["1-256-1024"])
    engine_optimization_level: int | None = None
    engine_stem: Stem = "plain"
    engine_input: Layout = "nchw"
    engine_quantized: Placement = "shortcuts"
    engine_python: Path | None = None
    force: bool = False


class OneLineParser(ArgumentParser):
    """Reports a bad flag as one line that names it and what it takes, without the usage text."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print `message` as one line and exit with status 2."""
        if match := re.match(r'Parser key "(\w+)".*?(?:Got|Given) value: (\S+)', message, re.DOTALL):
            flag, value = match.groups()
            message = f"--{flag}: {value} is not {EXPECTED.get(flag, 'a value it takes')}; see {PROG} --help"
        self.exit(2, f"{PROG}: error: {' '.join(message.split())}\n")


def read_options(arguments: list[str] | None = None) -> Options:
    """Parse the command line; exits with status 2 and one line when a flag is wrong."""
    parser = OneLineParser(prog=PROG, description=__doc__)
    parser.add_class_arguments(Options, as_group=False, skip={"force"})
    parser.add_argument("--force", action="store_true", help="Export again what is up to date.")
    options = Options(**vars(parser.instantiate(parser.parse_args(arguments))))
    if options.reference_images < 1:
        parser.error(f"--reference_images: {options.reference_images} is not at least 1")
    if not options.to:
        parser.error(f"--to: empty; name one or more of {', '.join(get_args(Target))}")
    if options.image_size == []:
        parser.error("--image_size: empty; name one or more sizes in px, or leave it out for all")
    make_engine_settings(options, parser)
    return options


def make_engine_settings(options: Options, parser: OneLineParser | None = None) -> EngineSettings:
    """The flags for engines; a wrong one ends the program with status 2 where a `parser` is given."""
    try:
        if not options.engine_profiles or not options.engine_precisions:
            raise ValueError("--engine_profiles and --engine_precisions need at least one each")
        if options.engine_optimization_level not in (None, *range(6)):
            raise ValueError(f"--engine_optimization_level: {options.engine_optimization_level} is not 0 to 5")
        return EngineSettings(
            list(options.engine_precisions),
            [_parse_profile(text) for text in options.engine_profiles],
            options.engine_optimization_level,
            options.engine_stem,
            options.engine_input,
        )
    except ValueError as error:
        if parser is None:
            raise
        parser.error(str(error))


def _parse_profile(text: int | str) -> list[int]:
    try:
        return parse_profile(text)
    except ValueError as error:
        raise ValueError(f"--engine_profiles: {error}") from None


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 an artefact failed its check and was not kept, 2 bad input, 130 interrupted."""
    try:
        return _run(read_options(arguments))
    except KeyboardInterrupt:
        return _stop(130, "interrupted; finished files are whole, run it again for the rest")


def _run(options: Options) -> int:
    from export.files import BadInputError  # noqa: PLC0415 - torch takes seconds: --help and bad flags do not wait
    from training.checkpoint import TrainingError  # noqa: PLC0415

    try:
        return _export(options)
    except (BadInputError, TrainingError) as error:
        return _stop(2, f"error: {error}")
    except OSError as error:
        return _stop(2, f"error: {error.filename}: {error.strerror}; check its permissions and the free space")


def _stop(status: int, line: str) -> int:
    print(f"{PROG}: {line}", file=sys.stderr)
    return status


def _export(options: Options) -> int:
    from rich.console import Console  # noqa: PLC0415

    from export.builder import Builder, find_interpreter  # noqa: PLC0415
    from export.own_weights import adopt  # noqa: PLC0415
    from export.pipeline import CheckFailedError, Settings, WeightsExport  # noqa: PLC0415
    from export.source import find_weights, read_source  # noqa: PLC0415
    from export.to_engine import export_target  # noqa: PLC0415
    from training.network import ARCH  # noqa: PLC0415

    wanted = [options.image_size] if isinstance(options.image_size, int) else options.image_size
    targets = [options.to] if isinstance(options.to, str) else options.to
    if options.weights:
        paths, notes = adopt(options.weights, wanted, options.arch, options.weights_dir, may_replace=options.force)
    else:
        paths, notes = find_weights(options.weights_dir, options.arch or ARCH, wanted), []
    settings = Settings(
        options.weights_dir, options.reference_images, options.int8_style, options.engine_quantized, options.force
    )
    console, engine, status = Console(), make_engine_settings(options), 0
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    with Builder(find_interpreter(options.engine_python), options.weights_dir / "engines" / "builder.log") as builder:
        for path in paths:
            source = read_source(path)
            if not source.samples.labelled:
                beside = f"{path}: no samples/{path.stem}.npz beside it"
                line = f"{beside}: synthetic images are used, accuracy cannot be told"
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            export = WeightsExport(source, settings, console)
            try:
                for target in get_args(Target):  # what others build on comes first
                    if target in targets:
                        export_target(export, target, builder, engine)
            except CheckFailedError as error:  # the other sizes may be well
                status = _stop(1, str(error))
    return status


if __name__ == "__main__":
    atexit.register(gc.freeze)  # taking torch apart, which takes a second, is then left to the system
    sys.exit(main())
