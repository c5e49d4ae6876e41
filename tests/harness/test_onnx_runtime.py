"""What ONNX Runtime is asked for; that it does it is the contract's part (test_backends.py, test_gpu_contract.py)."""

import pytest

from harness.backends.onnx_runtime import TUNED, choose_cuda_options


@pytest.mark.parametrize(("precision", "tensor_cores"), [("fp32", "0"), ("tf32", "1"), ("fp16", "1")])
def test_only_ieee_fp32_is_kept_off_the_tensor_cores(precision, tensor_cores):
    """ONNX Runtime deselects every tensor core engine of cuDNN where use_tf32 is 0, those of fp16 too."""
    assert choose_cuda_options(precision, "default", 7) == {
        "device_id": "0",
        "user_compute_stream": "7",
        "use_tf32": tensor_cores,
    }


def test_tuned_adds_to_what_default_needs():
    default, tuned = (choose_cuda_options("fp16", variant, 7) for variant in ("default", "tuned"))
    assert tuned == default | TUNED
