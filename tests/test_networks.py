"""Other networks than ResNet-18 through all stages: train a step, export, measure, report, on the CPU."""

import json

import pytest

from analysis.names import network_label
from tests.stage_process import run_stage

QUICK = [
    "--batch_sizes", "[1,2]", "--max_seconds", "0.2", "--min_seconds", "0.05", "--min_samples", "3",
    "--max_samples", "5", "--target_percent", "50", "--max_warmup_seconds", "0.1", "--reference_images", "8",
    "--self_check", "false", "--device", "cpu",
]  # fmt: skip


def run(folder, stage, *arguments):
    """A stage in `folder`."""
    done = run_stage(stage, *arguments, cwd=folder, timeout_s=280)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("arch", "label"), [("resnet50", "ResNet-50"), ("my_network", "my_network")])
def test_networks_have_the_names_of_their_papers(arch, label):
    assert network_label(arch) == label


@pytest.mark.slow
def test_another_network_passes_through_every_stage_at_160_px(tmp_path):
    """Of the cost that is published for 224 px, times (160 / 224) ** 2."""
    arch, label, macs = "mobilenet_v3_small", "MobileNetV3-Small", 2.9e7
    budget = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1, "--data.batch_size", 8]
    images = ["--data.train_images", 16, "--data.val_images", 16, "--data.image_size", 160]
    run(tmp_path, "training", "fit", "--model.arch", arch, *budget, *images)
    run(tmp_path, "export", "--arch", arch, "--to", "[reference,onnx]", "--reference_images", 8)
    backends = "[pytorch,onnx_runtime,openvino]"
    run(tmp_path, "harness", "--arch", arch, "--run_id", "other", "--backends", backends, *QUICK)
    run(tmp_path, "analysis", "report", "--run_id", "other")

    weights = json.loads((tmp_path / f"weights/best_{arch}_160.json").read_text())
    assert (weights["arch"], weights["arch_arguments"], weights["num_classes"]) == (arch, {}, 10)
    rows = [json.loads(line) for line in (tmp_path / "results/other/rows.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert {row["status"] for row in rows} <= {"ok", "unstable"}, [row["reason"] for row in rows]
    assert {row["arch"] for row in rows} == {arch}
    assert rows[0]["flops_per_image"] == pytest.approx(2 * macs, rel=0.05)
    report = tmp_path / "results/other/report"
    for language in ("en", "ru"):
        text = (report / f"report.{language}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {label} ")
        assert "ResNet-18" not in text
    assert (report / "figures/roofline.png").stat().st_size > 10_000
    header, *lines = (report / "summary.csv").read_text(encoding="utf-8").splitlines()
    bound = header.split(",").index("bound_fps")
    assert header.split(",")[bound + 2] == "roofline_percent"
    assert len(lines) == 6
