"""Networks: any image classifier of torchvision, built for N classes. ResNet-18 is the study's and the default."""

from __future__ import annotations

import contextlib
import difflib
import io
import warnings
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision import models

from training.errors import TrainingError

ARCH = "resnet18"
AUXILIARY = ("inception_v3", "googlenet")  # have heads for training alone, which are left out here
RESNETS = ("resnet", "resnext", "wide_resnet")
MAXVIT_STEP = 224  # 32 px of strides x windows of 7


def list_archs() -> list[str]:
    """Names of torchvision's image classifiers."""
    return models.list_models(module=models)


def check_arch(arch: str, flag: str = "--model.arch") -> None:
    """Raises TrainingError, which names `flag`, unless `arch` is an image classifier of torchvision."""
    known = list_archs()
    if arch in known:
        return
    if arch in models.list_models():
        kind = models.get_model_builder(arch).__module__.split(".")[2]
        raise TrainingError(
            f"{flag}: {arch} is of torchvision.models.{kind}; image classifiers are wanted, such as resnet50"
        )
    near = difflib.get_close_matches(arch.lower(), known, n=3) or [ARCH, "resnet50", "mobilenet_v3_small"]
    raise TrainingError(f"{flag}: torchvision has no image classifier {arch!r}; it has {', '.join(near)} and others")


def network_arguments(arch: str, image_size: int, flag: str = "--data.image_size") -> dict[str, Any]:
    """What torchvision's builder of `arch` must be told beside the number of classes, as plain JSON values.

    Raises TrainingError, which names `flag`, for an image size in px that the network cannot take.
    """
    fixed = {"vit_": "image_size", "maxvit_": "input_size"}
    argument = next((name for start, name in fixed.items() if arch.startswith(start)), None)
    if argument is not None:
        step = MAXVIT_STEP if argument == "input_size" else int(arch.rsplit("_", 1)[1])
        if image_size % step:
            nearest = max(1, round(image_size / step)) * step
            raise TrainingError(f"{flag}: {image_size}: {arch} takes multiples of {step} px, e.g. {nearest}")
        return {argument: image_size if argument == "image_size" else [image_size, image_size]}
    least = 1 if arch.startswith("swin_") else _smallest_size(arch)  # swin pads what is too small for its windows
    if image_size < least:
        raise TrainingError(f"{flag}: {image_size}: {arch} needs {least} px or more")
    return {"aux_logits": False} if arch in AUXILIARY else {}


def build_network(
    num_classes: int, pretrained: bool = False, arch: str = ARCH, image_size: int | None = None
) -> nn.Module:
    """The network `arch` of torchvision for images (N, 3, S, S), normalised, giving logits (N, num_classes).

    `image_size` is S; None: torchvision's own, 224 px or more. Some networks are built for one size, see
    network_arguments. `pretrained` starts all layers but the last from torchvision's ImageNet weights, which are
    downloaded once. From scratch, each residual branch of a ResNet starts at zero (Goyal et al., 2017), which shortens
    the first epochs.

    Raises:
        TrainingError: no such classifier, an image size it cannot take, or no ImageNet weights to be had for it.
    """
    check_arch(arch)
    arguments = network_arguments(arch, image_size or _default_size(arch))
    if not pretrained:
        if arch in AUXILIARY:
            arguments["init_weights"] = True
        if arch.startswith(RESNETS):
            arguments["zero_init_residual"] = True
        return models.get_model(arch, weights=None, num_classes=num_classes, **arguments)
    if arch in AUXILIARY:
        raise TrainingError(
            f"--model.pretrained: {arch}'s ImageNet weights want images normalised in another way; "
            "leave the flag out to train from scratch, or take another --model.arch"
        )
    if arguments and image_size not in (None, _smallest_size(arch)):
        raise TrainingError(
            f"--model.pretrained: {arch}'s ImageNet weights are for {_smallest_size(arch)} px; "
            "give that --data.image_size, or leave the flag out to train from scratch"
        )
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # torch.hub announces the download there, before it can fail
            network = models.get_model(arch, weights="DEFAULT", progress=False)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"--model.pretrained: the ImageNet weights cannot be downloaded ({_first_line(error)}); "
            "connect to the network once, or leave the flag out to train from scratch"
        ) from error
    replace_head(network, num_classes)
    return network


def find_head(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Name and module of the layer that gives the logits: the last linear one; the last convolution of a SqueezeNet."""
    modules = list(network.named_modules())
    linear = [(name, module) for name, module in modules if isinstance(module, nn.Linear)]
    return linear[-1] if linear else [(name, module) for name, module in modules if isinstance(module, nn.Conv2d)][-1]


def replace_head(network: nn.Module, num_classes: int) -> None:
    """Give `network` a fresh last layer for `num_classes` classes."""
    name, head = find_head(network)
    fresh: nn.Module
    if isinstance(head, nn.Linear):
        fresh = nn.Linear(head.in_features, num_classes, bias=head.bias is not None)
    else:
        fresh = nn.Conv2d(head.in_channels, num_classes, kernel_size=1)
    parent, _, own_name = name.rpartition(".")
    setattr(network.get_submodule(parent), own_name, fresh)


def count_classes(state_dict: dict[str, torch.Tensor], arch: str) -> int | None:
    """Number of classes of a state_dict of `arch`; None when it has no such last layer."""
    head = state_dict.get(f"{find_head(_skeleton(arch, network_arguments(arch, _default_size(arch))))[0]}.weight")
    return head.shape[0] if head is not None and head.ndim in (2, 4) else None


def check_state_dict(
    state_dict: dict[str, torch.Tensor], num_classes: int, arch: str = ARCH, image_size: int | None = None
) -> str:
    """Why `state_dict` does not fit `arch` with `num_classes` classes, in a few words; "" when it fits.

    Raises TrainingError for an image size that the network cannot take.
    """
    size = image_size or _default_size(arch)
    network = _skeleton(arch, network_arguments(arch, size), num_classes)
    wanted = network.state_dict()
    if state_dict.keys() != wanted.keys():
        return f"it holds another network than {arch}"
    found = count_classes(state_dict, arch)
    if found is not None and found != num_classes:
        return f"it has {found} classes, {num_classes} are wanted"
    wrong = [name for name, tensor in wanted.items() if state_dict[name].shape != tensor.shape]
    return f"its layer {wrong[0]} has another shape than that of {arch} at {size} px" if wrong else ""


def recognise(state_dict: dict[str, torch.Tensor], image_size: int) -> list[str]:
    """Those of torchvision's classifiers that `state_dict` fits at `image_size` px, ResNet-18 first; takes seconds."""
    fitting = []
    for arch in sorted(list_archs(), key=lambda name: (name != ARCH, name)):
        with contextlib.suppress(TrainingError):  # not at this size
            classes = count_classes(state_dict, arch)
            if classes is not None and not check_state_dict(state_dict, classes, arch, image_size):
                fitting.append(arch)
                if arch == ARCH:
                    break
    return fitting


class _WithoutMemory(TorchFunctionMode):
    """Layers are made without memory for their weights; the meta device would break RegNet, which computes widths."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))


def _skeleton(arch: str, arguments: dict[str, Any], num_classes: int = 1000) -> nn.Module:
    """The network without memory for its weights: names, shapes and classes."""
    with _WithoutMemory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the auxiliary networks speak of their initialisation
        return models.get_model(arch, weights=None, num_classes=num_classes, **arguments)


def _smallest_size(arch: str) -> int:
    return int(models.get_model_weights(arch).DEFAULT.meta["min_size"][0])


def _default_size(arch: str) -> int:
    return max(224, _smallest_size(arch))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
