"""The INT8 files: what runtimes can make of them, and that they can be made again."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision.transforms.functional as vision
from sklearn.metrics import accuracy_score

from export import pipeline

pytestmark = pytest.mark.slow


def test_onnx_runtime_runs_every_convolution_in_integers(exported_once, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(exported_once.int8, options, providers=["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert (operators["QLinearConv"], operators["QLinearAdd"], operators["QGemm"]) == (20, 8, 1)
    assert operators["Conv"] == operators["FusedConv"] == operators["Relu"] == operators["Add"] == 0


def test_the_int8_file_is_a_quarter_of_the_fp32_file(exported_once) -> None:
    assert exported_once.int8.stat().st_size / exported_once.onnx.stat().st_size == pytest.approx(0.25, abs=0.01)


def test_the_manifest_holds_the_accuracy_that_onnx_runtime_reaches(exported_once, manifest_of) -> None:
    samples = np.load(exported_once.samples)
    images = vision.normalize(
        torch.from_numpy(samples["val_images"]).float() / 255, [0.45, 0.5, 0.55], [0.2, 0.25, 0.3]
    )
    session = onnxruntime.InferenceSession(exported_once.int8, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    manifest = manifest_of(exported_once.int8)
    assert manifest["accuracy"] == accuracy_score(samples["val_labels"], logits.argmax(1))
    assert (manifest["precision"], manifest["int8_style"], manifest["calibration_images"]) == ("int8", "cpu", 24)
    assert 1e-3 < manifest["parity"]["rel_l2"] < 0.2  # rounded to 8 bits, so neither fp32 nor wrong


def test_the_same_weights_and_samples_give_the_same_bytes(exported) -> None:
    before = exported.int8.read_bytes()
    exported.int8.unlink()
    assert exported.export("--to", "int8") == 0
    assert exported.int8.read_bytes() == before


def test_pytorch_answers_once_for_the_reference_and_what_is_checked_against_it(exported, monkeypatch) -> None:
    exported.int8.unlink()
    monkeypatch.setattr(pipeline, "reference_logits", pytest.fail)
    assert exported.export("--to", "int8") == 0


def test_the_tensorrt_style_has_zero_points_of_0_and_quantised_weights_in_a_file_of_its_own(
    exported, manifest_of
) -> None:
    cpu = exported.int8.read_bytes()
    assert exported.export("--to", "int8", "--int8_style", "tensorrt") == 0
    file = exported.onnx.with_name("resnet18_64_int8_tensorrt.onnx")
    assert exported.int8.read_bytes() == cpu
    assert (manifest_of(file)["int8_style"], manifest_of(file)["placement"]) == ("tensorrt", "shortcuts")
    assert count_sums_of_pairs(file) == {1: 8}  # the shortcut's; the convolution is read as it is

    model = onnx.load(file)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert manifest_of(file)["opset"] == 17
    values = {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(values[node.input[2]].dtype == np.int8 and not values[node.input[2]].any() for node in pairs)
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["QuantizeLinear"] == operators["DequantizeLinear"]
    assert (operators["GlobalAveragePool"], operators["ReduceMean"]) == (1, 0)


def test_pairs_stand_where_a_search_found_them_to_serve(exported, manifest_of) -> None:
    """`--engine_quantized` reaches the file, which is made again for another value."""
    file = exported.onnx.with_name("resnet18_64_int8_tensorrt.onnx")
    flags = ("--to", "int8", "--int8_style", "tensorrt", "--engine_quantized")
    for placement, pairs in (("inputs", {2: 8}), ("no_add", {0: 3, 1: 5})):
        assert exported.export(*flags, placement) == 0
        assert manifest_of(file)["placement"] == placement
        assert count_sums_of_pairs(file) == pairs


def count_sums_of_pairs(file: Path) -> Counter[int]:
    """How many sums read how many dequantised tensors."""
    nodes = onnx.load(file).graph.node
    pairs = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    return Counter(sum(name in pairs for name in node.input) for node in nodes if node.op_type == "Add")


def test_int8_alone_makes_the_fp32_file_it_needs(exported, monkeypatch) -> None:
    model = onnx.load(exported.onnx)
    monkeypatch.setattr(pipeline, "build_onnx", lambda *_: model)  # saves the exporter's seconds
    shutil.rmtree(exported.onnx.parent)
    shutil.rmtree(exported.reference.parent)
    assert exported.export("--to", "int8") == 0
    assert sorted(file.name for file in exported.onnx.parent.glob("*.onnx")) == [exported.onnx.name, exported.int8.name]
    assert not exported.reference.exists()
