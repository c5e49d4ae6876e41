"""Names of backends and contenders as a reader knows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.load import Run

NETWORKS = {  # torchvision's name, as a pattern -> the name in its paper
    r"resnet(\d+)": r"ResNet-\1",
    r"wide_resnet(\d+)_2": r"Wide ResNet-\1-2",
    r"resnext(\d+)_(\w+)": r"ResNeXt-\1 \2",
    r"mobilenet_v2": "MobileNetV2",
    r"mobilenet_v3_small": "MobileNetV3-Small",
    r"mobilenet_v3_large": "MobileNetV3-Large",
    r"efficientnet_b(\d)": r"EfficientNet-B\1",
    r"convnext_tiny": "ConvNeXt-Tiny",
    r"convnext_small": "ConvNeXt-Small",
    r"convnext_base": "ConvNeXt-Base",
    r"convnext_large": "ConvNeXt-Large",
    r"vit_b_(\d+)": r"ViT-B/\1",
    r"vit_l_(\d+)": r"ViT-L/\1",
    r"vit_h_(\d+)": r"ViT-H/\1",
    r"densenet(\d+)": r"DenseNet-\1",
    r"vgg(\d+)": r"VGG-\1",
}
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


def network_label(arch: str) -> str:
    """Display name of a network by torchvision's name for it; an unknown one keeps that name."""
    for pattern, label in NETWORKS.items():
        if match := re.fullmatch(pattern, arch):
            return match.expand(label)
    return arch


def split_contender(contender: str) -> tuple[str, str, str]:
    """`backend/variant/precision` into its parts (a variant may itself hold a slash)."""
    backend, _, rest = contender.partition("/")
    variant, _, precision = rest.rpartition("/")
    return backend, variant, precision


def label_of(contender: str) -> str:
    """Display name of `backend/variant/precision`."""
    return contender_label(*split_contender(contender))


def name_runs(runs: Sequence[Run]) -> list[str]:
    """Each run's id, or its folder where several have that id (`make bench` calls it `quick` everywhere)."""
    ids = [run.run_id for run in runs]
    return [run.run_id if ids.count(run.run_id) == 1 else str(run.folder) for run in runs]
