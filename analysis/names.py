"""Names of backends and contenders as a reader knows them."""

from __future__ import annotations

BACKENDS = {
    "pytorch": "PyTorch",
    "onnx_runtime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torch_trt": "Torch-TensorRT",
    "tensorrt_engine": "TensorRT engine",
}


def backend_label(backend: str) -> str:
    """Display name of a backend, with the label of `backend@label`; an unknown one keeps its own name."""
    name, _, label = backend.partition("@")
    return " ".join(filter(None, [BACKENDS.get(name, name), label]))


def contender_label(backend: str, variant: str, precision: str) -> str:
    """For example `PyTorch eager fp32`; the variant `default` is left out."""
    return " ".join([backend_label(backend), *([] if variant == "default" else [variant]), precision])


def split_contender(contender: str) -> tuple[str, str, str]:
    """`backend/variant/precision` into its parts (a variant may itself hold a slash)."""
    backend, _, rest = contender.partition("/")
    variant, _, precision = rest.rpartition("/")
    return backend, variant, precision


def label_of(contender: str) -> str:
    """Display name of `backend/variant/precision`."""
    return contender_label(*split_contender(contender))
