"""Stems written otherwise answer as the original: ONNX Runtime runs both."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from export.files import BadInputError
from export.quantize import build_int8
from export.stem import fold_weights, rewrite_stem
from export.to_fp16 import build_fp16
from export.to_opset17 import write_opset17


@pytest.fixture(scope="module")
def opset17(exported_once, tmp_path_factory):
    """The file that TensorRT 8.6 is given."""
    return write_opset17(exported_once.onnx, tmp_path_factory.mktemp("opset17") / "opset17.onnx")


def random_images(batch, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 3, 64, 64)).astype(np.float32)


def run(model, images):
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    dtype = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    return session.run(None, {"images": images.astype(dtype)})[0]


@pytest.mark.parametrize("stem", ["padded", "folded"])
def test_another_stem_gives_the_same_answers(opset17, stem):
    """fp32, to rounding; the batch stays dynamic, and input and output what they were."""
    original, rewritten = onnx.load(opset17), onnx.load(opset17)
    rewrite_stem(rewritten, stem)
    for batch in (1, 5):
        images = random_images(batch, batch)
        np.testing.assert_allclose(run(rewritten, images), run(original, images), rtol=1e-5, atol=1e-5)
    assert rewritten.graph.input == original.graph.input
    assert rewritten.graph.output == original.graph.output


@pytest.mark.parametrize("stem", ["padded", "folded"])
def test_another_stem_keeps_the_answers_of_a_quantised_file(exported_once, stem):
    """Weights and images pass through Q-DQ there; every int8 value stays the same one."""
    model = build_int8(exported_once.onnx, random_images(8, 3), "tensorrt")
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    rewrite_stem(rewritten, stem)
    images = random_images(4)
    np.testing.assert_allclose(run(rewritten, images), run(model, images), rtol=1e-5, atol=1e-5)
    convolution = next(node for node in rewritten.graph.node if node.op_type == "Conv")
    makers = {name: node.op_type for node in rewritten.graph.node for name in node.output}
    assert [makers[name] for name in convolution.input[:2]] == ["DequantizeLinear"] * 2  # what TensorRT fuses


@pytest.mark.parametrize("stem", ["padded", "folded"])
def test_half_precision_weights_stay_half(exported_once, stem):
    """For TensorRT from 10 on, which takes precision from the file."""
    model = build_fp16(exported_once.onnx)
    original = run(model, random_images(4)).astype(np.float32)
    rewrite_stem(model, stem)
    np.testing.assert_allclose(run(model, random_images(4)).astype(np.float32), original, rtol=2e-2, atol=2e-2)


def test_folded_weights_convolve_as_torch_does():
    """Against torch: 7 x 7 at stride 2 = pixel_unshuffle, then 4 x 4 at stride 1 with 2 before and 1 after."""
    torch.manual_seed(0)
    images, weights = torch.randn(2, 3, 10, 14, dtype=torch.float64), torch.randn(5, 3, 7, 7, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(images, weights, stride=2, padding=3)
    blocks = torch.nn.functional.pixel_unshuffle(images, 2)  # its channels come first: channel, row, column
    blocks = blocks.reshape(2, 3, 2, 2, 5, 7).permute(0, 2, 3, 1, 4, 5).reshape(2, 12, 5, 7)
    folded = torch.from_numpy(fold_weights(weights.numpy()))
    padded = torch.nn.functional.pad(blocks, (2, 1, 2, 1))
    torch.testing.assert_close(torch.nn.functional.conv2d(padded, folded), expected)


@pytest.mark.parametrize(("kernel", "size"), [(3, 64), (7, 65)])
def test_a_network_without_such_a_stem_is_refused(kernel, size):
    """One line; images of an odd size cannot be folded."""
    weights = onnx.numpy_helper.from_array(np.zeros((4, 3, kernel, kernel), np.float32), "w")
    node = helper.make_node("Conv", ["images", "w"], ["y"], strides=[2, 2], pads=[3] * 4, kernel_shape=[kernel] * 2)
    tensors = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("images", ["n", 3, size, size]), ("y", None))
    ]
    model = helper.make_model(helper.make_graph([node], "g", tensors[:1], tensors[1:], [weights]))
    with pytest.raises(BadInputError, match=r"^stem folded: the network has no 7 x 7 convolution .* give plain alone$"):
        rewrite_stem(model, "folded")
