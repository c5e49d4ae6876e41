"""The fp32 ONNX file, its manifest, and the reference file, against torchvision, ONNX and scikit-learn."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision.transforms.functional as vision
from sklearn.metrics import accuracy_score

from export.files import CheckFailedError
from export.to_onnx import run_onnx


@pytest.fixture(scope="module")
def model(exported_once) -> onnx.ModelProto:
    return onnx.load(exported_once.onnx)


@pytest.fixture(scope="module")
def answers(exported_once, network) -> torch.Tensor:
    """Logits of the validation samples by torchvision's own network and normalisation."""
    images = torch.from_numpy(np.load(exported_once.samples)["val_images"]).float() / 255
    with torch.no_grad():
        return network(vision.normalize(images, [0.45, 0.5, 0.55], [0.2, 0.25, 0.3]))


def test_batch_norm_is_folded_and_opset_20_is_declared(model) -> None:
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["BatchNormalization"] == 0
    assert (operators["Conv"], operators["Gemm"]) == (20, 1)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]


def test_input_and_output_are_named_and_their_batch_axis_is_dynamic(model) -> None:
    def shape(value: onnx.ValueInfoProto) -> list[object]:
        return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]

    assert {value.name: shape(value) for value in model.graph.input} == {"images": ["batch", 3, 64, 64]}
    assert {value.name: shape(value) for value in model.graph.output} == {"logits": ["batch", 10]}


@pytest.mark.parametrize("batch", [1, 3, 24])
def test_logits_are_torchvisions_at_any_batch_size(exported_once, answers, batch: int) -> None:
    session = onnxruntime.InferenceSession(exported_once.onnx, providers=["CPUExecutionProvider"])
    images = torch.from_numpy(np.load(exported_once.samples)["val_images"][:batch]).float() / 255
    images = vision.normalize(images, [0.45, 0.5, 0.55], [0.2, 0.25, 0.3])
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    np.testing.assert_allclose(logits, answers[:batch].numpy(), rtol=1e-3, atol=1e-5)


def test_the_file_alone_tells_classes_and_normalisation(model) -> None:
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["classes"]) == [f"class {index}" for index in range(10)]
    assert json.loads(properties["normalization"]) == {"mean": [0.45, 0.5, 0.55], "std": [0.2, 0.25, 0.3]}


def test_no_path_of_the_exporting_machine_is_in_the_file(exported_once) -> None:
    content = exported_once.onnx.read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in content
    assert b"site-packages" not in content


def test_the_manifest_tells_what_the_file_is(exported_once, manifest_of, answers) -> None:
    manifest = manifest_of(exported_once.onnx)
    expected = {
        "format": 2,
        "kind": "onnx",
        "arch": "resnet18",
        "image_size": 64,
        "precision": "fp32",
        "artifact": "resnet18_64_fp32.onnx",
        "sha256": hashlib.sha256(exported_once.onnx.read_bytes()).hexdigest(),
        "bytes": exported_once.onnx.stat().st_size,
        "weights": "best_resnet18_64.pth",
        "weights_sha256": hashlib.sha256(exported_once.weights.read_bytes()).hexdigest(),
        "opset": 20,
        "inputs": {"images": ["batch", 3, 64, 64]},
        "outputs": {"logits": ["batch", 10]},
        "num_classes": 10,
        "parameters": 11_689_512 - 990 * 513,  # of torchvision's 1000 classes, 990 rows of 512 weights + 1 bias fewer
        "labelled": True,
    }
    assert {field: manifest[field] for field in expected} == expected
    assert manifest["parity"]["images"] == 24
    assert manifest["parity"]["top1_agreement"] == 1.0
    labels = np.load(exported_once.samples)["val_labels"]
    assert manifest["accuracy"] == 22 / 24  # two labels are wrong on purpose
    assert manifest["accuracy"] == accuracy_score(labels, answers.argmax(1).numpy())


def test_the_reference_holds_images_labels_and_torchvisions_logits(exported_once, manifest_of, answers) -> None:
    samples = np.load(exported_once.samples)
    with np.load(exported_once.reference, allow_pickle=False) as reference:
        kinds = {name: (str(reference[name].dtype), reference[name].shape) for name in reference.files}
        np.testing.assert_array_equal(reference["images"], samples["val_images"])
        np.testing.assert_array_equal(reference["labels"], samples["val_labels"])
        np.testing.assert_allclose(reference["logits"], answers.numpy(), rtol=1e-4, atol=1e-5)
    assert kinds == {
        "images": ("uint8", (24, 3, 64, 64)),
        "labels": ("int64", (24,)),
        "logits": ("float32", (24, 10)),
        "mean": ("float32", (3,)),
        "std": ("float32", (3,)),
    }
    manifest = manifest_of(exported_once.reference)
    assert (manifest["kind"], manifest["images"], manifest["labelled"]) == ("reference", 24, True)
    assert manifest["sha256"] == hashlib.sha256(exported_once.reference.read_bytes()).hexdigest()


def test_a_file_with_a_frozen_batch_axis_is_found_out(tmp_path: Path) -> None:
    def tensor(name: str) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8])

    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["images"], ["logits"])], "frozen", [tensor("images")], [tensor("logits")]
    )
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / "frozen.onnx")
    images = np.zeros((8, 3, 8, 8), np.float32)
    assert run_onnx(tmp_path / "frozen.onnx", images[:1]).shape == (1, 3, 8, 8)
    with pytest.raises(CheckFailedError, match="invalid dimensions"):
        run_onnx(tmp_path / "frozen.onnx", images)
