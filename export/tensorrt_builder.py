"""ONNX file -> TensorRT engine. Runs in the builder's process: Python 3.10, standard library and TensorRT.

TensorRT 8.6 takes precision from builder flags; 10 and newer from the graph (a strongly typed network: an fp16 or Q-DQ
ONNX file), and 11 has no other way. `choose_mode` is where the two differ.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

STRONGLY_TYPED_SINCE = 10
WORKSPACE_BYTES = 8 << 30
FORMATS = {"nhwc": "HWC", "nhwc8": "HWC8"}  # TensorRT's names of input layouts
LIBRARIES = ("CUBLAS", "CUBLAS_LT", "CUDNN")  # tactic sources that are not TensorRT's own


class Mode(NamedTuple):
    """Names of TensorRT's flags: of the network, those set and those cleared in the builder, and the I/O type."""

    network_flags: tuple[str, ...]
    builder_flags: tuple[str, ...]
    cleared_flags: tuple[str, ...]
    io_type: str | None  # None: as in the ONNX file


def choose_mode(version: str, precision: str) -> Mode:
    """How `precision` (fp32, tf32, fp16, int8) is asked for in a TensorRT version.

    TF32 is on unless cleared. A layer without an fp16 or INT8 kernel may fall back to fp32, which is never TF32 then.
    """
    tf32 = precision == "tf32"
    switch = {"builder_flags": ("TF32",) if tf32 else (), "cleared_flags": () if tf32 else ("TF32",)}
    if int(version.split(".", maxsplit=1)[0]) >= STRONGLY_TYPED_SINCE:
        return Mode(("STRONGLY_TYPED",), io_type=None, **switch)
    if precision in ("fp32", "tf32"):
        return Mode(("EXPLICIT_BATCH",), io_type=None, **switch)
    flags = ("FP16",) if precision == "fp16" else ("FP16", "INT8")
    return Mode(("EXPLICIT_BATCH",), flags, ("TF32",), "HALF")


def build(
    *,
    onnx: str,
    out: str,
    precision: str,
    profiles: list[list[int]],
    optimization_level: int,
    timing_cache: str,
    timing_iterations: int | None = None,
    tactic_sources: str = "default",
    input_layout: str = "nchw",
) -> dict[str, Any]:
    """Build an engine from the file `onnx` into `out`; answers with manifest fields, the inspector's layers among them.

    `profiles`: [smallest, best, largest] batch each. `timing_cache`: a file that is read if it is there, and renewed.
    `timing_iterations`, `tactic_sources`: see `choose_tactics`; by default TensorRT's own. `input_layout`: nchw, nhwc,
    or nhwc8 (padded with zeros to 8 channels). Raises RuntimeError with TensorRT's own reasons when it refuses.
    """
    start = time.perf_counter()
    trt, logger, builder = open_builder()
    mode = choose_mode(trt.__version__, precision)
    network = builder.create_network(add_bits(trt.NetworkDefinitionCreationFlag, mode.network_flags))
    parse(trt, network, logger, Path(onnx))
    config = configure(trt, builder, mode, optimization_level)
    choose_tactics(trt, config, timing_iterations, tactic_sources)
    for limits in profiles:
        config.add_optimization_profile(make_profile(builder, network, limits))
    if mode.io_type:
        for tensor in (network.get_input(0), network.get_output(0)):
            tensor.dtype = getattr(trt.DataType, mode.io_type)
    if input_layout != "nchw":
        network.get_input(0).allowed_formats = 1 << int(getattr(trt.TensorFormat, FORMATS[input_layout]))
    warm = load_timing_cache(config, Path(timing_cache))
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        open_builder.cache_clear()  # a GPU that ran out of memory may have left it without its handles
        raise RuntimeError("TensorRT could not build the engine (its reasons are in the log)")
    build_s = time.perf_counter() - start
    content = bytes(serialized)
    write_whole(Path(timing_cache), bytes(config.get_timing_cache().serialize()))
    Path(out).write_bytes(content)
    return {"build_s": round(build_s, 2), "timing_cache": warm, "layers": inspect(trt, logger, content)}


@functools.cache
def open_builder() -> tuple[Any, Any, Any]:
    """TensorRT, a logger and a builder, made once: each new builder loads its library of kernels again."""
    trt = importlib.import_module("tensorrt")
    logger = trt.Logger(trt.Logger.WARNING)
    return trt, logger, trt.Builder(logger)


def parse(trt: Any, network: Any, logger: Any, onnx: Path) -> None:
    """Fill the network. Raises RuntimeError with the parser's errors."""
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx.read_bytes()):
        reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise RuntimeError(f"TensorRT {trt.__version__} does not parse {onnx.name}: {reasons}")


def configure(trt: Any, builder: Any, mode: Mode, optimization_level: int) -> Any:
    """The builder's configuration; detailed verbosity keeps the layers' precisions in the engine."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = optimization_level
    for name in mode.builder_flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    for name in mode.cleared_flags:
        config.clear_flag(getattr(trt.BuilderFlag, name))
    return config


def choose_tactics(trt: Any, config: Any, timing_iterations: int | None, tactic_sources: str) -> None:
    """How often each candidate kernel is timed (its average counts), and where candidates come from.

    `own`: TensorRT's kernels alone. `all`: cuDNN, cuBLAS and cuBLASLt too, and in 8.6 without the preview feature that
    keeps them out whatever the sources are (TensorRT 11 knows neither).
    """
    if timing_iterations is not None:
        config.avg_timing_iterations = timing_iterations
    if tactic_sources == "default":
        return
    names = [name for name in trt.TacticSource.__members__ if tactic_sources == "all" or name not in LIBRARIES]
    if not config.set_tactic_sources(add_bits(trt.TacticSource, tuple(names))):
        raise RuntimeError(f"TensorRT refused the tactic sources {', '.join(names)}")
    feature = getattr(getattr(trt, "PreviewFeature", None), "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805", None)
    if tactic_sources == "all" and feature is not None:
        config.set_preview_feature(feature, False)


def make_profile(builder: Any, network: Any, limits: list[int]) -> Any:
    """An optimisation profile over the batch axis of the one input."""
    source = network.get_input(0)
    image = tuple(source.shape)[1:]
    profile = builder.create_optimization_profile()
    profile.set_shape(source.name, *((batch, *image) for batch in limits))
    return profile


def load_timing_cache(config: Any, path: Path) -> str:
    """Give the configuration the cache in `path`, or an empty one; answers `warm` or `cold`.

    A cache of another GPU or version is refused by TensorRT; then an empty one is used.
    """
    content = path.read_bytes() if path.exists() else b""
    if content and config.set_timing_cache(config.create_timing_cache(content), False):
        return "warm"
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return "cold"


def inspect(trt: Any, logger: Any, content: bytes) -> list[Any]:
    """Layers of the engine as its inspector describes them (8.6 writes raw control characters into its JSON)."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(content)
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return json.loads(text, strict=False).get("Layers", [])


def add_bits(flags: Any, names: tuple[str, ...]) -> int:
    """A bit set of an enumeration's members."""
    return sum(1 << int(getattr(flags, name)) for name in names)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file at once: an interrupted build leaves the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
