"""Layer precisions from inspector outputs: the developer guide's own example, and both generations' words for types."""

import copy
import json
from pathlib import Path

import pytest

from harness.backends.inspector import count_layers, read_layers
from harness.parity import find_contradiction

# https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#engine-inspector, shortened
GUIDE = """{"Layers": [{
  "Name": "node_of_gpu_0/res4_0_branch2a_1 + node_of_gpu_0/res4_0_branch2a_bn_1\x1e + node_of_gpu_0/res4_0_bn_2",
  "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "gpu_0/res3_3_branch2c_bn_3", "Dimensions": [16,512,28,28],
    "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
  "Outputs": [{"Name": "gpu_0/res4_0_branch2a_bn_2", "Dimensions": [16,256,28,28],
    "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
  "ParameterType": "Convolution", "Kernel": [1,1], "OutMaps": 256, "Groups": 1,
  "Weights": {"Type": "Int8", "Count": 131072}, "Bias": {"Type": "Float", "Count": 256},
  "Activation": "RELU", "HasBias": 1, "HasReLU": 1,
  "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_nchw_vect_c_32",
  "TacticValue": "0x11bde0e1d9f2f35d"
}], "Bindings": []}"""


# What the inspector says of engines that this project built on an H100; "recorded" in the file says with what
RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "tensorrt86_inspector.json").read_text())


def layer(kind, tensor, tactic="", **more):
    return {"Name": "n", "LayerType": kind, "Inputs": [tensor], "Outputs": [], "TacticName": tactic, **more}


def test_the_guides_example_is_an_int8_convolution():
    """Raw control characters and all."""
    counted = count_layers(read_layers(GUIDE))
    assert counted == {"layers": 1, "compute_dtypes": {"int8": 1}, "layer_types": {"CaskConvolution": 1}}


@pytest.mark.parametrize(("precision", "other"), [("fp16", "int8"), ("int8", "fp16")])
def test_a_recorded_engine_of_a_dynamic_batch_is_what_was_asked_for(precision, other):
    """8.6 does not tell the types of its tensors ("N/A due to dynamic shapes"): the weights' tell."""
    layers = RECORDED[precision]["Layers"]
    assert "N/A due to dynamic shapes" in {entry["Inputs"][0]["Format/Datatype"] for entry in layers}
    counted = count_layers(layers)
    assert counted["compute_dtypes"] == {precision: 21}  # 20 convolutions and the classifier
    assert find_contradiction(counted, precision) == ""
    assert find_contradiction(counted, other) == f"labelled {other}, but its compute layers ran as: 21 {precision}"


def test_a_convolution_that_pools_too_tells_its_weights_under_another_name():
    """TensorRT 8.6 made stem, ReLU and max-pooling one kernel of an INT8 engine."""
    counted = count_layers(RECORDED["int8_pooled"]["Layers"])
    assert (counted["compute_dtypes"], counted["layer_types"]["CaskConvActPool"]) == ({"int8": 21}, 1)


def test_a_recorded_engine_with_fp32_convolutions_is_no_fp16_engine():
    """Asked for fp16, three of 21 layers with fp32 weights are too many."""
    layers = copy.deepcopy(RECORDED["fp16"]["Layers"])
    weighted = [entry for entry in layers if "Weights" in entry]
    for kept in weighted[:3]:
        kept["Weights"]["Type"], kept["TacticName"] = "Float", "ampere_scudnn_128x64_relu_medium_nn_v1"
    counted = count_layers(layers)
    assert counted["compute_dtypes"] == {"fp16": 18, "fp32": 3}
    assert "3 fp32" in find_contradiction(counted, "fp16")


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        ({"Format/Datatype": "Row major linear FP32"}, "fp32"),
        ({"Format/Datatype": "Row major linear FP16 format"}, "fp16"),
        ({"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}, "fp16"),
        ({"Format/Datatype": "Four wide channel vectorized row major Int8 format"}, "int8"),
        ({"Format/Datatype": "Half"}, "fp16"),
        ({"Format/Datatype": "Float"}, "fp32"),
        ({"Format/Datatype": "BFloat16"}, "bf16"),
        ({"Datatype": "Int8", "Format": "kCHW32"}, "int8"),
        ({"Name": "x"}, "unknown"),
    ],
)
def test_types_are_read_in_both_generations_words(tensor, dtype):
    """8.6 writes a sentence, 10 a type."""
    assert count_layers([layer("CaskConvolution", tensor)])["compute_dtypes"] == {dtype: 1}


def test_copies_pooling_and_pointwise_layers_do_not_count():
    """An fp32 input is copied to fp16 once; that is no fp32 convolution."""
    fp32, fp16 = {"Format/Datatype": "Float"}, {"Format/Datatype": "Half"}
    layers = [
        layer("Reformat", fp32, ParameterType="Reformat"),
        layer("CaskConvolution", fp16, ParameterType="Convolution"),
        layer("CaskPooling", fp16, ParameterType="Pooling"),
        layer("gemm", fp16),
        layer("PointWiseV2", fp32),
    ]
    assert count_layers(layers)["compute_dtypes"] == {"fp16": 2}


def test_a_tf32_tactic_is_told_from_fp32():
    """Both read fp32 tensors; the kernel's name differs."""
    fp32 = {"Format/Datatype": "Row major linear FP32"}
    layers = [layer("CaskConvolution", fp32, "sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckcrs_nhwc")]
    layers += [layer("CaskConvolution", fp32, "ampere_scudnn_128x64_relu_medium_nn_v1")]
    assert count_layers(layers)["compute_dtypes"] == {"fp32": 1, "tf32": 1}


def test_without_details_only_the_number_of_layers_is_known():
    """Names alone prove nothing, so nothing is claimed and nothing contradicted."""
    counted = count_layers(["conv1 + relu", "pool"])
    assert counted == {"layers": 2}
    assert find_contradiction(counted, "fp16") == ""


@pytest.mark.parametrize(
    ("precision", "counts", "fits"),
    [
        ("fp16", {"fp16": 21}, True),
        ("fp16", {"fp16": 19, "fp32": 2}, True),  # first and last may be kept
        ("fp16", {"fp16": 18, "fp32": 3}, False),
        ("fp16", {"fp32": 21}, False),
        ("int8", {"int8": 20, "fp16": 1}, True),
        ("int8", {"int8": 1, "fp16": 20}, False),
        ("fp32", {"fp32": 20, "tf32": 1}, False),
        ("fp32", {"fp32": 20, "fp16": 1}, False),
        ("tf32", {"fp32": 1, "tf32": 20}, True),
    ],
)
def test_labels_are_held_against_the_layers(precision, counts, fits):
    """fp32 must be pure; a reduced precision that of nine layers in ten."""
    assert (find_contradiction({"compute_dtypes": counts}, precision) == "") is fits


def test_a_module_without_an_engine_is_a_contradiction():
    """Torch-TensorRT falls back to PyTorch silently."""
    assert "all of it ran in PyTorch" in find_contradiction({"trt_engines": 0}, "fp16")
    assert find_contradiction({"trt_engines": 1, "torch_ops": {"aten::flatten": 1}}, "fp16") == ""
