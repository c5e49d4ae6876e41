"""Which engines a run may load: of this GPU, of the version its interpreter has, of these weights, unchanged."""

import json

import pytest
from conftest import sha256

from harness.artifacts import ArtifactError, find_models
from harness.commands import find_artifact, make_load_command
from harness.config import BenchConfig
from harness.schema import Job

GPU, VERSION = "NVIDIA H200", "8.6.0"


def add_engine(folder, precision="fp16", runtime="tensorrt_engine", gpu=GPU, version=VERSION, **changes):
    """An engine for the 8 px weights; answers its path."""
    place = folder / "engines" / f"{gpu}-{version}"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"resnet18_8_{precision}_{runtime}.engine"
    path.write_bytes(f"{precision} {runtime} {gpu} {version}".encode())
    manifest = {
        "kind": "engines", "image_size": 8, "precision": precision, "runtime": runtime, "gpu": gpu,
        "tensorrt": version, "artifact": path.name, "sha256": sha256(path),
        "weights_sha256": sha256(folder / "best_resnet18_8.pth"), **changes,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(manifest))
    return path


def find(folder, versions=None):
    return find_models(folder, [8], gpu=GPU, tensorrt=versions or {"tensorrt_engine": VERSION, "torch_trt": VERSION})[8]


def job(backend="tensorrt_engine", variant="default", precision="fp16"):
    return Job(backend, variant, precision, 8, 1)


def test_a_job_gets_the_engine_of_its_gpu_version_and_precision(weights_dir):
    """Others stand beside it and are left alone."""
    wanted = add_engine(weights_dir)
    add_engine(weights_dir, gpu="NVIDIA A100")
    other = add_engine(weights_dir, version="11.1.0")
    add_engine(weights_dir, precision="int8")
    model = find(weights_dir, {"tensorrt_engine": VERSION, "tensorrt_engine@new": "11.1.0"})
    assert find_artifact(job(), model).path == wanted
    assert find_artifact(job("tensorrt_engine@new"), model).path == other
    assert find_artifact(job(variant="graph"), model).path == wanted
    assert find_artifact(job(variant="graph+again"), model).path == wanted
    assert find_artifact(job(precision="tf32"), model) is None


def test_torch_trt_gets_the_module_of_its_front_end(weights_dir):
    """The graph variants share the file of the others."""
    dynamo = add_engine(weights_dir, runtime="torch_trt_dynamo")
    traced = add_engine(weights_dir, runtime="torch_trt_torchscript")
    model = find(weights_dir)
    for variant, path in (("dynamo", dynamo), ("dynamo_graph", dynamo), ("torchscript_graph", traced)):
        assert find_artifact(job("torch_trt", variant), model).path == path


def test_the_worker_is_told_the_checksum(weights_dir):
    """It compares the bytes it loads."""
    path = add_engine(weights_dir)
    command = make_load_command(job(), BenchConfig(), find(weights_dir), "cuda", 1)
    assert (command["spec"]["artifact"], command["spec"]["artifact_sha256"]) == (str(path), sha256(path))


def test_a_swapped_engine_stops_the_run_before_anything_is_loaded(weights_dir):
    """Its bytes are not those of the manifest."""
    add_engine(weights_dir).write_bytes(b"import os")
    with pytest.raises(ArtifactError, match=r"sha256 differs\): run `python -m export --image_size 8 --to engine`"):
        find(weights_dir)


def test_an_engine_of_other_weights_is_refused(weights_dir):
    """After a new training."""
    add_engine(weights_dir, weights_sha256="0" * 64)
    with pytest.raises(ArtifactError, match=r"made from other weights than .*--to engine"):
        find(weights_dir)


def test_engines_matter_only_to_runs_that_use_them(weights_dir):
    """A run without TensorRT does not look at them."""
    path = add_engine(weights_dir)
    path.write_bytes(b"import os")
    path.with_suffix(".json").write_text("{")
    assert find_models(weights_dir, [8])[8].engines == {}
    assert find_models(weights_dir, [8], gpu=GPU, tensorrt={})[8].engines == {}


def test_what_a_killed_writer_left_is_no_manifest(weights_dir):
    """Files are written under a hidden name first."""
    (weights_dir / "reference" / ".resnet18_8.abc123.json").write_text("")
    assert list(find_models(weights_dir, [])) == [8]


def test_copies_of_weights_under_other_names_are_left_aside(weights_dir):
    """Those that training has replaced, and a user's own; whole or not."""
    kept = find_models(weights_dir, [])[8].weights
    for name in ("best_resnet18_8.previous", "best_resnet18_8_old", "best_resnet18_8 (copy)"):
        (weights_dir / f"{name}.json").write_text(json.dumps(kept.manifest | {"sha256": "0" * 64}))
    assert find_models(weights_dir, [])[8].weights == kept
