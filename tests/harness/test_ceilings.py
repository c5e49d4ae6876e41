"""The machine's ceilings: plausible numbers from a real child process, and a run that goes on without them."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.artifacts import Artifact, Model
from harness.ceilings import CalibrationFailed, choose_precisions, describe_ceilings, measure_ceilings
from harness.launch import ROOT
from harness.machine import describe_gpu
from harness.run import calibrate, describe_models
from harness.store import RunFolder
from harness.time_sheet import TimeSheet

CPU = {"device": "CPU", "kind": "cpu", "cpu": {"features": []}}


@pytest.mark.parametrize(
    ("kind", "features", "expected"),
    [
        ("cpu", ["avx2", "avx512f"], ("fp32",)),
        ("cpu", ["amx_tile", "amx_bf16"], ("fp32", "bf16")),
        ("cpu", ["avx512_bf16"], ("fp32", "bf16")),
        ("cuda", [], ("fp32", "tf32", "fp16", "bf16", "int8")),
    ],
)
def test_precisions_worth_a_try(kind, features, expected):
    """Emulated bf16 is no ceiling of a CPU."""
    assert choose_precisions({"kind": kind, "cpu": {"features": features}}) == expected


def test_products_and_copies_on_tiny_sizes():
    """Over 0.1 GFLOP/s and GB/s; under what a whole rack could do; a size that would take too long is left out."""
    from harness.calibrate import measure_copy, measure_matmuls

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for one another take for ever where other tests use the cores
    by_size = measure_matmuls("cpu", "fp32", (128, 256, 1 << 20), cell_s=0.1)
    torch.set_num_threads(threads)
    assert set(by_size) == {128, 256}
    assert all(1e-4 < tflops < 1000 for tflops in by_size.values())
    assert 0.1 < measure_copy("cpu", 1 << 20, cell_s=0.01) < 100_000


def test_a_precision_that_fails_is_named(monkeypatch):
    """The others keep their ceilings; the reason is one line."""
    from harness import calibrate as child

    def multiply(device, precision, sizes, cell_s):
        if precision == "int8":
            raise RuntimeError("no kernel\nC++ frames follow")
        return {1024: 1.0, 2048: 3.0, 4096: 2.0}

    monkeypatch.setattr(child, "measure_matmuls", multiply)
    monkeypatch.setitem(child.COPY_BYTES, "cpu", 1 << 20)
    monkeypatch.setitem(child.CELL_S, "cpu", 0.01)
    monkeypatch.setattr(child, "measure_convolutions", lambda *_: {(64, 56, 8): 3.5, (256, 14, 16): 2.5})
    found = child.measure("cpu", ["fp32", "int8"])
    assert found["matmul_tflops"] == {"fp32": 3.0}
    assert found["method"]["best_size"] == {"fp32": 2048}
    assert found["method"]["failed"] == {"int8": "no kernel"}
    assert describe_ceilings(found).startswith("Ceilings: matrix products fp32 3 TFLOP/s, copy ")
    assert describe_ceilings(found).endswith("; int8: no kernel")


def test_a_cpu_s_convolutions_count_beside_its_products(monkeypatch):
    """Which shape was the best is in the method, and both are said; a GPU has products alone."""
    from harness import calibrate as child

    monkeypatch.setattr(child, "measure_matmuls", lambda *_: {1024: 1.0, 2048: 3.0})
    monkeypatch.setattr(child, "measure_convolutions", lambda *_: {(64, 56, 8): 3.5, (256, 14, 16): 2.5})
    monkeypatch.setattr(child, "measure_copy", lambda *_: 20.0)
    monkeypatch.setattr(child, "limit_copy_bytes", lambda *_: 1 << 20)
    cpu, gpu = (json.loads(json.dumps(child.measure(device, ["fp32"]))) for device in ("cpu", "cuda"))
    assert (cpu["matmul_tflops"], cpu["convolution_tflops"]) == ({"fp32": 3.0}, {"fp32": 3.5})
    assert cpu["method"]["best_shape"] == {"fp32": [64, 56, 8]}
    assert cpu["method"]["best_shape"]["fp32"] in cpu["method"]["convolution_shapes"]
    said = "Ceilings: matrix products fp32 3 TFLOP/s, copy 20 GB/s"
    assert describe_ceilings(cpu) == f"{said}, convolutions fp32 3.5 TFLOP/s"
    assert (gpu["matmul_tflops"], gpu["convolution_tflops"], describe_ceilings(gpu)) == ({"fp32": 3.0}, {}, said)
    assert "convolution" not in gpu["method"]


@pytest.mark.parametrize("shape", [(8, 6, 2), (16, 5, 3)])
def test_a_convolution_s_work_is_what_torch_counts(monkeypatch, shape):
    """In a second of its own: TFLOP/s are then the operations of one call, the border's among them."""
    from harness import calibrate as child

    counter = FlopCounterMode(display=False)

    def take_a_second(run, device, cell_s):
        with counter:
            run()
        return 1.0

    monkeypatch.setattr(child, "median_s", take_a_second)
    assert child.measure_convolutions("fp32", (shape,), 0.1)[shape] == pytest.approx(1e-12 * counter.get_total_flops())
    assert counter.get_total_flops() == 2 * 9 * shape[0] ** 2 * shape[1] ** 2 * shape[2]


@pytest.mark.slow
def test_a_cpu_convolves_directly():
    """By the trace of oneDNN: no Winograd, which would count multiplications that were not done."""
    code = "from harness.calibrate import *; measure_convolutions('fp32', CONVOLUTIONS['cpu'], 0.01)"
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    traced = [line for line in out.splitlines() if ",convolution," in line]
    if not traced:
        pytest.skip("this PyTorch convolves without oneDNN")
    assert all("alg:convolution_direct" in line for line in traced)


def test_calls_that_fill_a_time():
    """Never fewer than needed for a median, never without end."""
    from harness.calibrate import count_calls

    assert [count_calls(0.4, call_s, 3) for call_s in (0.02, 1.0, 1e-6)] == [20, 3, 200]


def write_script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_the_child_writes_a_file_and_its_output_goes_to_the_log(tmp_path):
    """What a library prints does not reach the answer; the environment is that of a worker."""
    answer = json.dumps({"matmul_tflops": {"fp32": 1.5}, "copy_gb_per_s": 9.0, "method": {"failed": {}}})
    body = (
        f"echo \"chatter $OMP_NUM_THREADS [$CUDA_VISIBLE_DEVICES] $*\"\nfor last; do :; done\necho '{answer}' > $last"
    )
    log = tmp_path / "logs" / "calibrate.log"
    found = measure_ceilings(write_script(tmp_path / "python", body), CPU, 3, log)
    assert (found["device"], found["matmul_tflops"], found["copy_gb_per_s"]) == ("CPU", {"fp32": 1.5}, 9.0)
    assert found["measured_at"].endswith("Z")
    assert log.read_text().startswith(
        "chatter 3 [] -m harness.calibrate --device cpu --threads 3 --precisions fp32 --out"
    )


def test_failures_have_a_reason(tmp_path, monkeypatch):
    """A child that fails, hangs, or cannot be started."""
    log = tmp_path / "calibrate.log"
    with pytest.raises(CalibrationFailed, match=r"ended with exit status 3; see .*calibrate.log"):
        measure_ceilings(write_script(tmp_path / "fails", "exit 3"), CPU, 1, log)
    monkeypatch.setattr("harness.ceilings.TIMEOUT_S", 0.2)
    with pytest.raises(CalibrationFailed, match=r"not done within 0.2 s"):
        measure_ceilings(write_script(tmp_path / "hangs", "exec sleep 30"), CPU, 1, log)
    with pytest.raises(CalibrationFailed, match="cannot start /nonesuch: No such file"):
        measure_ceilings("/nonesuch", CPU, 1, log)


def test_a_run_goes_on_without_ceilings(tmp_path, monkeypatch, capsys):
    """The reason is printed, the time is on the sheet, and no file says that they were measured."""
    folder = RunFolder(tmp_path)
    monkeypatch.setattr(sys, "executable", "/nonesuch")
    sheet = TimeSheet()
    calibrate(folder, CPU, 1, sheet)
    assert capsys.readouterr().out == "No ceilings: cannot start /nonesuch: No such file or directory.\n"
    assert 0 < sheet.calibrating == sheet.wall
    assert not (tmp_path / "ceilings.json").exists()


def test_models_by_size_have_what_the_export_recorded(tmp_path):
    """FLOPs, parameters and layers of the reference manifest; older exports have fewer."""
    manifest = {"flops_per_image": 10, "parameters": 5, "layers": [{"name": "conv1"}], "accuracy": 0.5}
    models = {
        size: Model(size, None, Artifact(tmp_path, found), {})
        for size, found in {8: manifest, 16: {"flops_per_image": 40}}.items()
    }
    assert describe_models(models) == {
        "8": {"flops_per_image": 10, "parameters": 5, "layers": [{"name": "conv1"}]},
        "16": {"flops_per_image": 40},
    }


@pytest.mark.slow
def test_a_run_keeps_its_ceilings_and_models(run_harness, tmp_path):
    """The real child on this CPU: fp32 over 0.1 GFLOP/s, said in one line, timed on the sheet, kept with the run.

    A run that goes on keeps what it has.
    """
    code, out, err = run_harness("--backends", "[faulty/fine]", "--calibrate", "true", "--run_id", "run")
    assert code == 0, out + err
    folder = tmp_path / "results" / "run"
    found = json.loads((folder / "ceilings.json").read_text())
    assert found["matmul_tflops"]["fp32"] > 1e-4
    assert found["copy_gb_per_s"] > 0.1
    assert set(found["method"]["best_size"].values()) <= set(found["method"]["matmul_sizes"])
    assert out.count("Ceilings: matrix products fp32") == 1
    assert json.loads((folder / "audit.json").read_text())["time_sheet_s"]["calibrating"] > 0
    assert json.loads((folder / "models.json").read_text()) == {"8": {"flops_per_image": 1000}}
    rows = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join(rows[:-1]))
    code, out, err = run_harness("--resume", "run")
    assert (code, "1 jobs to measure" in out, "Ceilings" in out) == (0, True, False), out + err
    assert json.loads((folder / "ceilings.json").read_text()) == found


@pytest.mark.gpu
def test_ceilings_of_a_gpu_are_ordered(tmp_path):
    """TF32 and halves are faster than IEEE fp32 wherever tensor cores have them."""
    gpu = describe_gpu()
    if gpu is None or float(gpu["compute_capability"]) < 8.0:
        pytest.skip("no GPU with TF32")
    found = measure_ceilings(sys.executable, {"device": gpu["name"], "kind": "cuda"}, 4, tmp_path / "log")
    tflops = found["matmul_tflops"]
    assert tflops["fp32"] < tflops["tf32"] < tflops["fp16"]
    assert found["copy_gb_per_s"] > 50
