"""ONNX files -> TensorRT engines, and weights -> modules compiled by Torch-TensorRT; built by a child process.

Both are bound to a GPU and a TensorRT version, so they go to a folder of their own: engines/<gpu>-trt<version>/.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from export.artifacts import Artifact
from export.builder import Builder
from export.engine_settings import EngineSettings
from export.files import CheckFailedError, replacing, sha256_of
from export.pipeline import Fields, WeightsExport
from export.stem import Stem, rewrite_stem
from export.to_opset17 import write_opset17
from export.torch_trt_builder import read_version, select_profiles

STRONGLY_TYPED_SINCE = 10  # TensorRT versions from which precision comes from the ONNX file
FRONTENDS = ("dynamo", "torchscript")
TORCH_TRT_PRECISIONS = ("fp32", "tf32", "fp16")


def export_target(export: WeightsExport, target: str, builder: Builder, settings: EngineSettings) -> None:
    """Make what `target` names, unless it is up to date. Raises CheckFailedError or BadInputError."""
    if target == "engine":
        export_engines(export, builder, settings)
    elif target == "torch_trt":
        export_torch_trt(export, builder, settings)
    else:
        export.export(target)


def export_engines(export: WeightsExport, builder: Builder, settings: EngineSettings) -> None:
    """One engine per precision for an image size, whatever is missing or stale. Raises CheckFailedError."""
    about = builder.describe()
    folder = name_folder(about)
    for precision in settings.precisions:
        source = find_source(export, about["tensorrt"], precision)
        artifact = Artifact(f"engines/{folder}", export.source.arch, export.source.image_size, precision)
        request = {
            "precision": precision,
            "profiles": settings.profiles,
            "optimization_level": settings.level(precision),
            "input_layout": settings.layout,
        }
        made_from = {
            **identify(about, "tensorrt_engine", settings, precision),
            "stem": settings.stem,
            "input_layout": settings.layout,
            "onnx": source.name,
            "onnx_sha256": sha256_of(source),
        }
        cache = export.settings.weights_dir / "engines" / folder / "timing.cache"

        def write(
            artifact: Artifact = artifact, source: Path = source, request: Fields = request, cache: Path = cache
        ) -> Fields:
            with readable(source, about["tensorrt"], settings.stem) as onnx:
                paths = {"onnx": str(onnx), "timing_cache": str(cache.resolve())}
                return build(export, builder, artifact, "engine", {**request, **paths})

        export.make(artifact, made_from, write)


def export_torch_trt(export: WeightsExport, builder: Builder, settings: EngineSettings) -> None:
    """One module per front end and precision; a front end that the release lacks is said and left out."""
    about = builder.describe()
    if "torch_tensorrt" not in about:
        raise CheckFailedError(f"--to torch_trt: torch_tensorrt cannot be imported: {about['torch_tensorrt_missing']}")
    source = export.source
    for frontend in FRONTENDS:
        profiles = select_profiles(read_version(about["torch_tensorrt"]), frontend, settings.profiles)
        held = replace(settings, profiles=profiles)
        for precision in (name for name in held.precisions if name in TORCH_TRT_PRECISIONS):
            runtime = f"torch_trt_{frontend}"
            kind = f"engines/{name_folder(about)}"
            artifact = Artifact(kind, source.arch, source.image_size, precision, runtime=runtime)
            request = {
                "weights": str(source.weights.resolve()),
                "arch": source.arch,
                "arch_arguments": source.arch_arguments,
                "num_classes": len(source.classes),
                "image_size": source.image_size,
                "precision": precision,
                "frontend": frontend,
                "profiles": held.profiles,
                "optimization_level": held.level(precision),
            }
            made_from = {**identify(about, runtime, held, precision), "torch_tensorrt": about["torch_tensorrt"]}

            def write(artifact: Artifact = artifact, request: Fields = request) -> Fields:
                return build(export, builder, artifact, "torch_trt", request)

            try:
                export.make(artifact, made_from, write)
            except CheckFailedError as error:
                if "TS frontend is not available" not in str(error):
                    raise
                export.say(f"{artifact.path(export.settings.weights_dir)}: {error}")


def build(export: WeightsExport, builder: Builder, artifact: Artifact, what: str, request: Fields) -> Fields:
    """Have the file built under a temporary name and put in place; manifest fields."""
    with replacing(artifact.path(export.settings.weights_dir)) as temporary:
        fields = builder.build(what, {**request, "out": str(temporary.resolve())})
    return {**fields, "built_with": builder.describe(), "accuracy": None}


def identify(about: Fields, runtime: str, settings: EngineSettings, precision: str) -> Fields:
    """What an engine is bound to: when one of these differs, it is built again."""
    return {
        "runtime": runtime,
        "gpu": about["gpu"],
        "tensorrt": about["tensorrt"],
        "profiles": settings.profiles,
        "optimization_level": settings.level(precision),
    }


def name_folder(about: Fields) -> str:
    """`nvidia-h200-trt8.6.0`."""
    gpu = re.sub(r"[^a-z0-9]+", "-", about["gpu"].lower()).strip("-")
    return f"{gpu}-trt{about['tensorrt']}"


def find_source(export: WeightsExport, tensorrt: str, precision: str) -> Path:
    """The ONNX file that an engine is built from, made if it is missing."""
    if precision == "int8":
        return export.export_int8("tensorrt")
    return export.export("fp16" if precision == "fp16" and is_strongly_typed(tensorrt) else "onnx")


def is_strongly_typed(tensorrt: str) -> bool:
    """Whether precision comes from the ONNX file alone."""
    return int(tensorrt.split(".", maxsplit=1)[0]) >= STRONGLY_TYPED_SINCE


@contextlib.contextmanager
def readable(source: Path, tensorrt: str, stem: Stem) -> Iterator[Path]:
    """The file itself, or a copy: in opset 17 for TensorRT before 10 (its INT8 files are so already), with its stem."""
    import onnx  # noqa: PLC0415 - heavy

    with tempfile.TemporaryDirectory() as folder:
        path = source.resolve()
        if not is_strongly_typed(tensorrt) and not source.stem.endswith("_int8_tensorrt"):
            path = write_opset17(source, Path(folder) / source.name)
        if stem != "plain":
            model = onnx.load(path)
            rewrite_stem(model, stem)
            path = Path(folder) / f"{stem}_{source.name}"
            onnx.save(model, path)
        yield path
