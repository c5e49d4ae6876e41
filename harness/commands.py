"""What a worker is told, and what a row says of its job before it is measured."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np
from scipy.special import stdtrit

from harness.artifacts import Artifact, Model
from harness.backends import family
from harness.backends.base import Spec
from harness.config import BenchConfig
from harness.measure import StopRule
from harness.schema import AGAIN, ARCH, SCHEMA_VERSION, Job


def find_artifact(job: Job, model: Model) -> Artifact | None:
    """The exported file a job reads; None for PyTorch, which reads the weights themselves.

    INT8 and ONNX Runtime's FP16 have files of their own; other precisions are made from the fp32 file by the library.
    TensorRT's backends read what was built for this GPU and their version; one file serves all batches and graphs.
    """
    backend, variant = family(job.backend), job.variant.removesuffix(AGAIN)
    if backend == "pytorch":
        return None
    if backend in ("tensorrt_engine", "torch_trt"):
        runtime = backend if backend == "tensorrt_engine" else f"torch_trt_{variant.removesuffix('_graph')}"
        return model.engines.get(job.backend, {}).get(f"{runtime}/{job.precision}")
    if (backend, variant, job.precision) == ("onnx_runtime", "tensorrt", "int8"):
        return model.exported.get("int8_tensorrt")
    own = job.precision == "int8" or (backend == "onnx_runtime" and job.precision == "fp16")
    return model.exported.get(job.precision if own else "fp32")


def describe_job(job: Job, model: Model, machine: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row that are known whatever happens while it is measured."""
    used = find_artifact(job, model) or model.weights
    return {
        "schema_version": SCHEMA_VERSION,
        "arch": model.weights.manifest.get("arch", ARCH),
        "job": asdict(job),
        "device": machine["device"],
        "clock": "cuda_events" if machine["kind"] == "cuda" else "cpu",
        "artifact": used.path.name,
        "artifact_sha256": used.sha256,
        "artifact_bytes": used.path.stat().st_size,
        "weights_sha256": model.weights.sha256,
        "flops_per_image": model.reference.manifest.get("flops_per_image"),
    }


def make_load_command(job: Job, config: BenchConfig, model: Model, device: str, threads: int) -> dict[str, Any]:
    """The message that makes a worker load a job's model; see harness.worker."""
    artifact = find_artifact(job, model)
    spec = Spec(
        variant=job.variant.removesuffix(AGAIN),
        precision=job.precision,
        image_size=job.image_size,
        device=device,
        threads=threads,
        arch=model.weights.manifest.get("arch", ARCH),
        arch_arguments=model.weights.manifest.get("arch_arguments", {}),
        num_classes=model.weights.manifest["num_classes"],
        weights=model.weights.path.resolve(),
        artifact=artifact.path.resolve() if artifact else None,
        artifact_sha256=artifact.sha256 if artifact else None,
    )
    paths = {"weights": str(spec.weights), "artifact": str(spec.artifact) if spec.artifact else None}
    return {
        "do": "load",
        "backend": job.backend,
        "spec": {**asdict(spec), **paths},
        "rule": asdict(make_stop_rule(config)),
        "boundary_seconds": config.boundary_seconds,
        "l2_flush": config.l2_flush,
        "reference": str(model.reference.path.resolve()),
        "reference_images": config.reference_images,
    }


def make_stop_rule(config: BenchConfig) -> StopRule:
    """The worker's part of the configuration, with Student's t quantiles (`scipy.stats` takes long to import)."""
    freedom = np.arange(1, min(config.max_samples, 1000) + 1)
    shared = {field.name: getattr(config, field.name) for field in fields(StopRule) if field.name != "t_975"}
    return StopRule(**shared, t_975=tuple(stdtrit(freedom, 0.975).tolist()))
