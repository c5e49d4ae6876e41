"""Realistic rows without a machine: t = a + b * batch * (size / 224)^2 per contender, with skewed noise."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.schema import Job, Parity, Row

WEIGHTS_SHA = "ab" * 32
STARTED_AT = "2026-11-23T10:00:00+00:00"


@dataclass(frozen=True)
class Model:
    """Latency in ms of one contender: overhead_ms per call and image_ms per image at 224 px."""

    backend: str
    variant: str
    precision: str
    overhead_ms: float
    image_ms: float
    noise: float = 0.01


CPU = (
    Model("pytorch", "eager", "fp32", 4.0, 16.5),
    Model("pytorch", "channels_last", "fp32", 4.0, 13.8),
    Model("pytorch", "compile", "fp32", 2.0, 11.0),
    Model("pytorch", "eager", "bf16", 4.5, 3.6),
    Model("onnx_runtime", "default", "fp32", 1.0, 10.5),
    Model("onnx_runtime", "tuned", "fp32", 1.0, 10.45),
    Model("openvino", "default", "fp32", 0.8, 10.6),
    Model("openvino", "default", "bf16", 0.8, 1.85),
)
GPU = (
    Model("pytorch", "eager", "fp32", 1.4, 0.090),
    Model("pytorch", "eager", "tf32", 1.4, 0.0448),
    Model("pytorch", "eager", "fp16", 1.35, 0.0191),
    Model("pytorch", "graph", "fp16", 0.33, 0.0189),
    Model("pytorch", "compile", "fp16", 0.28, 0.0118),
    Model("pytorch", "fused", "fp16", 0.195, 0.0116),
    Model("onnx_runtime", "default", "fp16", 0.55, 0.0238),
    Model("onnx_runtime", "tuned", "fp16", 0.23, 0.0156),
    Model("onnx_runtime", "tuned", "tf32", 0.28, 0.0277),
    Model("torch_trt", "default", "fp16", 0.39, 0.0101),
    Model("tensorrt_engine", "default", "fp16", 0.16, 0.0096),
    Model("tensorrt_engine", "default", "int8", 0.15, 0.0059),
)

STUDY = (
    Model("pytorch", "eager", "fp32", 1.4, 0.0875),
    Model("pytorch", "channels_last", "fp32", 1.4, 0.0860),
    Model("pytorch", "graph", "fp32", 0.40, 0.0858),
    Model("pytorch", "compile", "fp32", 0.36, 0.0800),
    Model("pytorch", "eager", "tf32", 1.4, 0.0448),
    Model("pytorch", "channels_last", "tf32", 1.4, 0.0330),
    Model("pytorch", "graph", "tf32", 0.36, 0.0328),
    Model("pytorch", "compile", "tf32", 0.31, 0.0250),
    Model("pytorch", "eager", "fp16", 1.35, 0.0220),
    Model("pytorch", "channels_last", "fp16", 1.35, 0.0191),
    Model("pytorch", "graph", "fp16", 0.33, 0.0189),
    Model("pytorch", "compile", "fp16", 0.26, 0.0110),
    Model("pytorch", "fused", "fp16", 0.195, 0.0116),
    Model("onnx_runtime", "default", "fp32", 0.60, 0.0890),
    Model("onnx_runtime", "tuned", "fp32", 0.35, 0.0830),
    Model("onnx_runtime", "default", "tf32", 0.58, 0.0400),
    Model("onnx_runtime", "tuned", "tf32", 0.28, 0.0277),
    Model("onnx_runtime", "default", "fp16", 0.55, 0.0238),
    Model("onnx_runtime", "tuned", "fp16", 0.23, 0.0156),
)
STUDY_SIZES, STUDY_BATCHES = (224, 256, 384, 512), (1, 4, 16, 64, 128, 256, 512, 1024)
# One layer that stands for the network; its traffic is that of the fused ResNet-18 at 224 px.
LAYERS = {
    "name": "all", "kind": "conv", "flops": 3_628_000_000, "input_elements": 3_000_000, "output_elements": 2_500_000,
    "weight_elements": 11_700_000, "extra_input_elements": 700_000,
}  # fmt: skip
CEILINGS = {
    "device": "NVIDIA H200", "measured_at": STARTED_AT, "copy_gb_per_s": 4200.0,
    "matmul_tflops": {"fp32": 51.0, "tf32": 399.0, "fp16": 780.0, "bf16": 790.0},
    "method": {}, "versions": {},
}  # fmt: skip


def study_rows(
    count: int = 3, batches: tuple[int, ...] = STUDY_BATCHES, models: tuple[Model, ...] = STUDY
) -> list[Row]:
    """A study on an H200-like card: four sizes, every PyTorch and ONNX Runtime contender, with telemetry."""
    return [
        make_row(m, s, b, count=count, device="NVIDIA H200", clock="cuda_events", telemetry=gpu_telemetry(m, s, b),
                 executed={"graph": m.variant in ("graph", "compile", "fused", "tuned")},
                 options={"l2_flush": False}, gpu_memory_mb=200.0 + 14.0 * b * (s / 224) ** 2)
        for m in models for s in STUDY_SIZES for b in batches
    ]  # fmt: skip


def gpu_telemetry(model: Model, size: int, batch: int) -> dict[str, object]:
    mean = latency_ms(model, size, batch)
    busy = 1 - model.overhead_ms / mean
    return {
        "worker_cpu_percent": 100.0, "enqueue_ms": 1.3 if model.overhead_ms > 1 else 0.05,
        "gpu_utilization_percent": 100.0, "sm_activity_percent": 40 + 55 * busy,
        "tensor_activity_percent": 50 * busy if model.precision != "fp32" else 0.0, "dram_activity_percent": 45 * busy,
        "power_w": 300 + 390 * busy, "sm_clock_mhz": 1980 - 450 * busy, "temperature_c": 60.0,
        "throttle_reasons": "sw_power_cap" if busy > 0.9 else "", "other_processes": 0,
        "gpu_process_memory_mb": 900.0 + 15.0 * batch * (size / 224) ** 2,
        "energy_j_per_image": (300 + 390 * busy) * mean / 1000 / batch, "load_window_s": 2.0, "telemetry_gap_s": 0.1,
    }  # fmt: skip


def write_gpu_facts(folder: Path) -> None:
    """ceilings.json and models.json as the harness leaves them."""
    models = {}
    for size in STUDY_SIZES:
        share = (size / 224) ** 2
        work = {name: int(LAYERS[name] * share) for name in LAYERS if name in ("flops", "input_elements",
                "output_elements", "extra_input_elements")}  # fmt: skip
        models[str(size)] = {"flops_per_image": work["flops"], "parameters": 11_700_000, "layers": [{**LAYERS, **work}]}
    (folder / "ceilings.json").write_text(json.dumps(CEILINGS), encoding="utf-8")
    (folder / "models.json").write_text(json.dumps(models), encoding="utf-8")


def latency_ms(model: Model, image_size: int, batch_size: int) -> float:
    return model.overhead_ms + model.image_ms * batch_size**0.99 * (image_size / 224) ** 2


def noisy(mean_ms: float, noise: float, count: int, rng: np.random.Generator) -> list[float]:
    """Normal noise with a long right tail, as timings have."""
    values = mean_ms * (1 + noise * rng.standard_normal(count) + noise * rng.exponential(0.5, count))
    return [round(float(v), 5) for v in values]


def make_row(
    model: Model, size: int, batch: int, *, run_id: str = "synthetic", round_: int = 1, count: int = 60,
    device: str = "Synthetic CPU", clock: str = "cpu", seed: int = 1, factor: float = 1.0, **changes: object,
) -> Row:  # fmt: skip
    """One measured row; `factor` scales every time, `changes` are fields of Row."""
    key = f"{run_id} {model} {size} {batch} {round_} {seed}"
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    mean = latency_ms(model, size, batch) * factor
    device_ms = noisy(mean, model.noise, count, rng)
    host_ms = noisy(mean * 1.02 + 0.02, model.noise, count, rng)
    samples = {"device_ms": device_ms, "host_ms": host_ms, "throughput_fps": noisy(batch * 1000 / mean, 0.005, 5, rng)}
    if clock != "cpu":
        samples["transfer_ms"] = noisy(mean + batch * (size / 224) ** 2 * 0.011, model.noise, count, rng)
    loss = {"int8": 0.02, "bf16": 0.005, "fp16": 0.0}.get(model.precision, 0.0)
    fields: dict[str, object] = {
        "artifact": f"resnet18_{size}_{model.precision}.onnx" if model.backend != "pytorch" else None,
        "artifact_bytes": 44_700_000,
        "weights_sha256": WEIGHTS_SHA,
        "options": {"threads": 2} if clock == "cpu" else {},
        "versions": {"python": "3.11.7", "torch": "2.14.1"} if model.backend == "pytorch" else {model.backend: "1.2.3"},
        "samples": samples,
        "same_as": {"transfer_ms": "device_ms"} if clock == "cpu" else {},
        "warmup_ms": device_ms[:3],
        "build_ms": 120.0,
        "load_ms": 80.0,
        "cpu_memory_mb": 700.0 + 2.5 * batch,
        "gpu_memory_mb": None if clock == "cpu" else 300.0 + 20.0 * batch,
        "telemetry": {"parent_cpu_percent": 0.4, "worker_cpu_percent": 196.0},
        "parity": Parity(128, 1e-5, 1e-6, 1.0 - loss / 2, 0.9 + 0.02 * (size > 224) - loss),
        "executed": {"tf32": False},
        "flops_per_image": int(3.628e9 * (size / 224) ** 2),
    }
    fields.update(changes)
    job = Job(model.backend, model.variant, model.precision, size, batch, round_)
    status = str(fields.pop("status", "ok"))
    return Row(run_id, STARTED_AT, job, device, clock, status, **fields)  # type: ignore[arg-type]


def failed_row(model: Model, size: int, batch: int, status: str, reason: str, **changes: object) -> Row:
    return make_row(model, size, batch, status=status, reason=reason, samples={}, same_as={}, parity=None, **changes)


def make_rows(
    models: tuple[Model, ...] = CPU, sizes: tuple[int, ...] = (224, 384), batches: tuple[int, ...] = (1, 2, 4, 8, 16),
    rounds: int = 1, **changes: object,
) -> list[Row]:  # fmt: skip
    return [
        make_row(m, s, b, round_=r, **changes)  # type: ignore[arg-type]
        for r in range(1, rounds + 1) for m in models for s in sizes for b in batches
    ]  # fmt: skip


def write_run(folder: Path, rows: list[Row], machine: dict | None = None, audit: dict | None = None) -> Path:
    """A run's folder as the harness leaves it."""
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(row.to_json() + "\n" for row in rows), encoding="utf-8")
    (folder / "config.yaml").write_text(
        "min_seconds: 1.0\nmax_seconds: 20.0\nmin_samples: 30\nrounds: 1\n", encoding="utf-8"
    )
    kind = "cpu" if not rows or rows[0].clock == "cpu" else "cuda"
    default = {
        "device": rows[0].device if rows else "none", "kind": kind,
        "cpu": {"name": "Synthetic CPU", "physical_cores": 2, "logical_cores": 2, "features": ["amx_bf16", "avx512f"]},
        "memory_mb": 25000,
        "gpu": {"name": "Synthetic GPU", "driver": "580", "memory_mb": 140000, "count": 1} if kind == "cuda" else None,
        "os": "Linux", "python": "3.11.7", "started_at": STARTED_AT,
    }  # fmt: skip
    (folder / "machine.json").write_text(json.dumps(machine if machine is not None else default), encoding="utf-8")
    if audit is not None:
        (folder / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    return folder


def write_weights(folder: Path, accuracies: dict[int, float], source: str = "builtin") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for size, accuracy in accuracies.items():
        record = {
            "format": 1, "arch": "resnet18", "image_size": size, "num_classes": 10,
            "classes": [f"c{i}" for i in range(10)],
            "accuracy": accuracy, "val_loss": 0.3, "epoch": 3, "seed": 1, "sha256": WEIGHTS_SHA,
            "data": {"source": source, "root": None, "train_images": 2000, "val_images": 1000},
        }  # fmt: skip
        (folder / f"best_resnet18_{size}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


AUDIT = {
    "noise_floor_percent": 0.8, "null_job_ms": 0.0004, "self_ratio": {"ratio": 1.002, "low": 0.994, "high": 1.01},
    "parent_cpu_percent": 0.5, "load_before": {"load_average_1min": 0.12},
    "time_sheet_s": {
        "wall": 610.0, "measuring": 420.0, "warm_up": 60.0, "building": 40.0,
        "importing": 50.0, "parity": 25.0, "other": 15.0,
    },
}  # fmt: skip
