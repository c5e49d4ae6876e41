"""The network of this study: torchvision's ResNet-18 with a head for the data set's classes."""

from __future__ import annotations

import contextlib
import io

import torch
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18

from training.errors import TrainingError

ARCH = "resnet18"


def build_network(num_classes: int, pretrained: bool = False) -> nn.Module:
    """ResNet-18 for images (N, 3, S, S), normalised, giving logits (N, num_classes).

    `pretrained` starts all layers but the last from torchvision's ImageNet weights, which are downloaded once.
    From scratch, each residual branch starts at zero (Goyal et al., 2017), which shortens the first epochs.

    Raises:
        TrainingError: the ImageNet weights cannot be downloaded.
    """
    if not pretrained:
        return resnet18(num_classes=num_classes, zero_init_residual=True)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # torch.hub announces the download there, before it can fail
            network = resnet18(weights=ResNet18_Weights.DEFAULT, progress=False)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"--model.pretrained: the ImageNet weights cannot be downloaded ({_first_line(error)}); "
            "connect to the network once, or leave the flag out to train from scratch"
        ) from error
    network.fc = nn.Linear(network.fc.in_features, num_classes)
    return network


def check_state_dict(state_dict: dict[str, torch.Tensor], num_classes: int) -> str:
    """Why `state_dict` does not fit ResNet-18 with `num_classes` classes, in a few words; "" when it fits."""
    with torch.device("meta"):
        wanted = resnet18(num_classes=num_classes).state_dict()
    head = state_dict.get("fc.weight")
    if state_dict.keys() != wanted.keys():
        return "it holds another network than ResNet-18"
    if head is not None and head.ndim == 2 and head.shape[0] != num_classes:
        return f"it has {head.shape[0]} classes, {num_classes} are wanted"
    wrong = [name for name, tensor in wanted.items() if state_dict[name].shape != tensor.shape]
    return f"its layer {wrong[0]} has another shape than ResNet-18's" if wrong else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
