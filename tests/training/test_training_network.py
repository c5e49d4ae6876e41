"""Any image classifier of torchvision, for N classes: what is built, and what is refused in one line."""

import pytest
import torch
from torchvision import models

from training.errors import TrainingError
from training.network import (
    build_network,
    check_arch,
    check_state_dict,
    count_classes,
    list_archs,
    network_arguments,
    recognise,
    replace_head,
)

SMALL = ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf"]


def test_the_list_is_torchvisions_and_holds_classifiers_only():
    archs = list_archs()
    assert {"resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vit_b_16"} <= set(archs)
    assert all(models.get_model_weights(arch).DEFAULT.meta.get("categories") for arch in archs)


@pytest.mark.parametrize("arch", SMALL)
def test_a_network_answers_n_classes_and_torchvision_reads_its_weights(arch):
    network = build_network(7, arch=arch, image_size=64)
    assert network.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    models.get_model(arch, num_classes=7).load_state_dict(network.state_dict())


@pytest.mark.parametrize("arch", [*SMALL, "vgg11", "densenet121", "swin_t", "convnext_tiny", "efficientnet_b0"])
def test_a_replaced_head_has_the_shape_that_torchvision_gives_it(arch):
    with torch.device("meta") if not arch.startswith("regnet") else torch.device("cpu"):
        wanted = models.get_model(arch, num_classes=7).state_dict()
        network = models.get_model(arch)
    replace_head(network, 7)
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in wanted.items()}
    assert count_classes(wanted, arch) == 7


def test_pretrained_weights_get_a_fresh_head(monkeypatch):
    """The download is stood in for; all other layers are torchvision's."""
    source = models.mobilenet_v3_small()
    monkeypatch.setattr("training.network.models.get_model", lambda arch, weights, progress: source)
    network = build_network(5, pretrained=True, arch="mobilenet_v3_small", image_size=160)
    assert network is source
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("resnet51", "no image classifier 'resnet51'; it has resnet50, "),
        ("ResNet50", "it has resnet50, "),
        ("fasterrcnn_resnet50_fpn", "is of torchvision.models.detection; image classifiers are wanted"),
        ("deeplabv3_resnet50", "torchvision.models.segmentation"),
        ("quantized_resnet18", "torchvision.models.quantization"),
        ("swin3d_t", "torchvision.models.video"),
        ("raft_small", "torchvision.models.optical_flow"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(arch, said):
    with pytest.raises(TrainingError) as caught:
        check_arch(arch)
    assert str(caught.value).startswith("--model.arch: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arch", "image_size", "said"),
    [
        ("vit_b_16", 150, "150: vit_b_16 takes multiples of 16 px, e.g. 144"),
        ("maxvit_t", 160, "160: maxvit_t takes multiples of 224 px, e.g. 224"),
        ("inception_v3", 64, "64: inception_v3 needs 75 px or more"),
        ("alexnet", 32, "32: alexnet needs 63 px or more"),
    ],
)
def test_an_image_size_that_a_network_cannot_take_is_refused(arch, image_size, said):
    with pytest.raises(TrainingError) as caught:
        network_arguments(arch, image_size)
    assert str(caught.value) == f"--data.image_size: {said}"


def test_a_transformer_is_built_for_its_image_size():
    assert network_arguments("vit_b_32", 96) == {"image_size": 96}
    network = models.get_model("vit_b_32", num_classes=3, **network_arguments("vit_b_32", 96))
    assert network.eval()(torch.zeros(1, 3, 96, 96)).shape == (1, 3)
    state_dict = network.state_dict()
    assert check_state_dict(state_dict, 3, "vit_b_32", 96) == ""
    assert "encoder.pos_embedding has another shape than that of vit_b_32 at 128 px" in check_state_dict(
        state_dict, 3, "vit_b_32", 128
    )


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out_and_their_imagenet_weights_refused(arch):
    network = models.get_model(arch, num_classes=3, init_weights=False, **network_arguments(arch, 96))
    assert isinstance(network.train()(torch.zeros(2, 3, 96, 96)), torch.Tensor)
    with pytest.raises(TrainingError, match=r"--model\.pretrained"):
        build_network(3, pretrained=True, arch=arch)


def test_transformers_pretrained_at_another_size_are_refused():
    with pytest.raises(TrainingError, match="vit_b_16's ImageNet weights are for 224 px"):
        build_network(3, pretrained=True, arch="vit_b_16", image_size=160)


def test_a_state_dict_is_recognised_by_its_shapes():
    """ResNeXt-50 and Wide ResNet-50 share all names with ResNet-50."""
    with torch.device("meta"):
        wide = models.wide_resnet50_2(num_classes=4).state_dict()
        eighteen = models.resnet18(num_classes=4).state_dict()
    assert recognise(eighteen, 64) == ["resnet18"]
    assert check_state_dict(wide, 4, "resnet50", 64).startswith("its layer layer1.0.conv1.weight has another shape")
    assert check_state_dict(wide, 4, "wide_resnet50_2", 64) == ""


def test_zero_initialised_branches_make_a_residual_network_its_shortcuts():
    network = build_network(3, arch="resnet34")
    assert all(not block.bn2.weight.any() for block in network.layer2)
