"""Half precision ONNX files: made from the fp32 file, checked, and found by the harness."""

import numpy as np
import onnx
import onnxruntime
import pytest

from export.manifest import read_manifest

pytestmark = pytest.mark.slow


def test_every_float_tensor_is_half_and_the_answers_are_close(exported):
    """Weights, input and output are float16; logits lie within the tolerance and beyond fp32's own error."""
    assert exported.export("--to", "fp16") == 0
    path = exported.onnx.with_name(exported.onnx.name.replace("fp32", "fp16"))
    model = onnx.load(path)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT not in kinds
    assert onnx.TensorProto.FLOAT16 in kinds
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert (session.get_inputs()[0].type, session.get_outputs()[0].type) == ("tensor(float16)", "tensor(float16)")
    manifest = read_manifest(path.with_suffix(".json"))
    assert manifest["precision"] == "fp16"
    assert 1e-5 < manifest["parity"]["rel_l2"] < 2e-2
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float16)
    assert session.run(None, {"images": images})[0].dtype == np.float16


def test_a_second_export_keeps_it_and_a_new_fp32_file_remakes_it(exported, capsys):
    """Up to date while the fp32 file is the same."""
    assert exported.export("--to", "fp16") == 0
    capsys.readouterr()
    assert exported.export("--to", "fp16") == 0
    assert capsys.readouterr().out.count("up to date") == 2
