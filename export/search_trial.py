"""One trial of a search: its ONNX file, its engine, how fast that is and what it answers."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from export.artifacts import Artifact
from export.builder import Builder, TookTooLongError
from export.engine_settings import parse_profile
from export.files import BadInputError, CheckFailedError, sha256_of
from export.manifest import read_manifest
from export.parity import accuracy
from export.quantize import Placement, build_int8
from export.samples import normalise
from export.search_judge import count_layers, find_contradiction, judge_answers, rate_batches
from export.search_options import Options, held_batches
from export.search_plan import Trial
from export.source import find_weights, read_source
from export.stem import Stem, rewrite_stem
from export.to_engine import is_strongly_typed, name_folder
from export.to_fp16 import build_fp16
from export.to_opset17 import write_opset17

Record = dict[str, Any]
TIMING_SLACK_S = 120.0  # for loading the engine and the images, beyond what --seconds asks for


class Bench:
    """Runs trials of one network on the builder's GPU; `folder` holds what is not kept."""

    def __init__(self, options: Options, builder: Builder, folder: Path) -> None:
        """Raises BadInputError when something that the trials need is missing, stale or does not allow them."""
        import onnx  # noqa: PLC0415 - heavy

        self.options, self.builder, self.folder = options, builder, folder
        self.images, self.engine = folder / "images.npy", folder / "trial.engine"
        (weights,) = find_weights(options.weights_dir, options.arch, [options.image_size])
        self.source = read_source(weights)
        self.fp32 = self._find(Artifact("onnx", options.arch, options.image_size))
        reference = self._find(Artifact("reference", options.arch, options.image_size))
        with np.load(reference) as arrays:
            self.labels = arrays["labels"] if self.source.samples.labelled else None
            self.logits = arrays["logits"]
            np.save(self.images, normalise(arrays["images"], self.source.mean, self.source.std))
        for stem in options.stems:
            rewrite_stem(onnx.load(self.fp32), stem)
        self.about = builder.describe()

    def _find(self, artifact: Artifact) -> Path:
        path = artifact.path(self.options.weights_dir)
        manifest = read_manifest(artifact.manifest_path(self.options.weights_dir))
        digest = sha256_of(path)
        if manifest is None or digest is None or digest != manifest.get("sha256"):
            problem = "missing or damaged"
        elif manifest.get("weights_sha256") != self.source.sha256:
            problem = "made from other weights"
        else:
            return path
        command = f"python -m export --image_size {artifact.image_size} --to '[reference,onnx]'"
        raise BadInputError(f"{path}: {problem}; run `{command}`")

    @cached_property
    def _made_from(self) -> Record:
        return {
            "arch": self.options.arch,
            "image_size": self.options.image_size,
            "precision": self.options.precision,
            "seconds": self.options.seconds,
            "gpu": self.about["gpu"],
            "tensorrt": self.about["tensorrt"],
            "onnx_sha256": sha256_of(self.fp32),
            "samples_sha256": self.source.samples.sha256,
        }

    def identify(self, trial: Trial) -> Record:
        """What makes a trial the same as an earlier one."""
        sizes = held_batches(trial.profile, self.options.batch_sizes)
        return {**self._made_from, **asdict(trial), "batch_sizes": sizes}

    def run(self, trial: Trial) -> Record:
        """Build, time and judge: a record with `status` ok, wrong, refused or timeout, and the `reason` of the rest."""
        record = {
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **self.identify(trial),
            "max_build_seconds": self.options.max_build_seconds,
            "reference_accuracy": None if self.labels is None else accuracy(self.logits, self.labels),
        }
        try:
            record |= self._build(trial)
            return {**record, **self._time(record)}
        except CheckFailedError as error:
            reason = re.split(r"; (?:the whole|its) log is", str(error))[0]
            return {
                **record,
                "status": "timeout" if isinstance(error, TookTooLongError) else "refused",
                "reason": reason,
            }

    def _build(self, trial: Trial) -> Record:
        cache = self._timing_cache(trial)
        known_bytes = cache.stat().st_size if cache.exists() else 0
        request = {
            "onnx": str(self.write_onnx(trial.stem, trial.quantized)),
            "out": str(self.engine),
            "precision": self.options.precision,
            "profiles": [parse_profile(trial.profile)],
            "optimization_level": trial.optimization_level,
            "timing_cache": str(cache),
            "timing_iterations": trial.timing_iterations,
            "tactic_sources": trial.tactic_sources,
            "input_layout": trial.input_layout,
        }
        built = self.builder.build("engine", request, self.options.max_build_seconds)
        layers = count_layers(built.pop("layers"))  # kept as counts: whole, they are a hundred kilobytes a trial
        if built["timing_cache"] == "warm" and cache.stat().st_size > known_bytes:
            built["timing_cache"] = "partly warm"  # other shapes or layers than those of the trials before
        return {**built, **layers, "engine_bytes": self.engine.stat().st_size}

    def _time(self, record: Record) -> Record:
        sizes, seconds = record["batch_sizes"], self.options.seconds
        answers = self.folder / "answers.npz"
        request = {
            "engine": str(self.engine),
            "images": str(self.images),
            "out": str(answers),
            "batch_sizes": sizes,
            "seconds": seconds,
            "input_layout": record["input_layout"],
        }
        timed = self.builder.build("time", request, TIMING_SLACK_S + 3 * seconds * len(sizes))
        with np.load(answers) as arrays:
            judged = judge_answers(dict(arrays), self.logits, self.labels, self.options.precision)
        batches = rate_batches(timed["samples_ms"])
        best = max(batches, key=lambda size: batches[size]["images_per_s"])
        reason = judged["reason"] or find_contradiction(record["compute_dtypes"], self.options.precision)
        return {
            "status": "wrong" if reason else "ok",
            "images_per_s": batches[best]["images_per_s"],
            "batch_size": int(best),
            "batches": batches,
            **judged,
            "reason": reason,
        }

    def _timing_cache(self, trial: Trial) -> Path:
        """One for all trials whose kernels are timed alike: a time that another setting found must not be reused."""
        folder = self.options.weights_dir / "engines" / name_folder(self.about) / "search"
        folder.mkdir(parents=True, exist_ok=True)
        words = (self.options.precision, trial.optimization_level, trial.timing_iterations, trial.tactic_sources)
        return (folder / f"{'_'.join(map(str, words))}.cache").resolve()

    def write_onnx(self, stem: Stem, quantized: Placement | None) -> Path:
        """The file that an engine is built from, written once. Raises CheckFailedError."""
        import onnx  # noqa: PLC0415 - heavy

        path = self.folder / f"{stem}_{quantized}.onnx"
        if path.exists():
            return path
        if stem != "plain":
            model = onnx.load(self.write_onnx("plain", quantized))
            rewrite_stem(model, stem)
        elif quantized:
            calibration = normalise(self.source.samples.train_images, self.source.mean, self.source.std)
            model = build_int8(self.fp32, calibration, "tensorrt", quantized)
        elif is_strongly_typed(self.about["tensorrt"]):
            model = build_fp16(self.fp32)
        else:
            model = onnx.load(write_opset17(self.fp32, self.folder / "opset17.onnx"))
        onnx.save(model, path)
        return path
