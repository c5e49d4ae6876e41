"""All stages in a row, as the Makefile calls them, on a tiny real run: stages meet in files alone."""

import json

import pytest

from harness.schema import read_rows
from tests.stage_process import run_stage


def stage(folder, name, *arguments):
    """Run `python -m NAME ...` in `folder` as its working directory."""
    done = run_stage(name, *arguments, cwd=folder, timeout_s=280)
    assert done.returncode == 0, f"{name} {arguments}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which one size was trained for a step, exported, measured and reported."""
    path = tmp_path_factory.mktemp("pipeline")
    fit = ["fit", "--data.train_images", 16, "--data.val_images", 16, "--data.batch_size", 8]
    fit += ["--data.workers", 0, "--trainer.max_epochs", 1]
    stage(path, "training", *fit, "--data.image_size", 32)
    stage(path, "export", "--to", "[reference,onnx]", "--reference_images", 8)
    bench = ["harness", "--device", "cpu", "--run_id", "tiny", "--batch_sizes", "[1,2]", "--max_seconds", 0.3]
    bench += ["--backends", "[pytorch,onnx_runtime]", "--threads", 1, "--min_seconds", 0.1, "--min_samples", 5]
    bench += ["--calibrate", "false"]
    stage(path, *bench)
    stage(path, "analysis", "report", "--run_id", "tiny")
    return path


def test_every_stage_leaves_its_files(folder):
    """Weights with their JSON, ONNX files, rows, figures, both reports, TensorBoard events."""
    for name in ("best_resnet18_32.pth", "best_resnet18_32.json", "onnx/resnet18_32_fp32.onnx"):
        assert (folder / "weights" / name).stat().st_size > 0
    report = folder / "results" / "tiny" / "report"
    for name in ("fps_vs_batch", "speedup_vs_batch", "time_vs_batch", "latency_vs_throughput"):
        assert (report / "figures" / f"{name}.png").stat().st_size > 10_000
        assert (report / "figures" / f"{name}.svg").stat().st_size > 1_000
    assert list((folder / "lightning_logs").rglob("events.out.tfevents.*"))
    assert list((folder / "lightning_logs" / "bench" / "tiny").rglob("events.out.tfevents.*"))


def test_every_planned_job_has_one_row(folder):
    """2 contenders x 2 batches, and the self-check's 2."""
    rows = list(read_rows((folder / "results/tiny/rows.jsonl").read_text()))
    assert len({row.job for row in rows}) == len(rows) == 6
    assert {row.status for row in rows} <= {"ok", "unstable"}


def test_reports_have_the_sections_of_the_brief_and_name_the_machine(folder):
    """Five sections in each language, in order, with the processor's name."""
    machine = json.loads((folder / "results/tiny/machine.json").read_text())["device"]
    sections = {
        "en": ["Introduction", "Methodology", "Results", "Discussion", "Conclusion"],
        "ru": ["Введение", "Методология", "Результаты", "Обсуждение", "Заключение"],
    }
    for language, headings in sections.items():
        text = (folder / f"results/tiny/report/report.{language}.md").read_text(encoding="utf-8")
        positions = [text.index(f"## {heading}") for heading in headings]
        assert positions == sorted(positions)
        assert machine.split()[0] in text


def test_trained_weights_load_into_torchvision(folder):
    """A plain state_dict, readable without our code and without running any."""
    import torch
    import torchvision

    state = torch.load(folder / "weights/best_resnet18_32.pth", weights_only=True)
    torchvision.models.resnet18(num_classes=10).load_state_dict(state)
