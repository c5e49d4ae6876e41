"""What is drawn by chance depends on seed, epoch and image alone."""

import pytest
import torch
from torchvision.transforms import v2

from training.augment import Augmented, augmentation, batch_mixing
from training.data import ImageDataModule
from training.errors import TrainingError
from training.order import Draw, EpochOrder, derive_seed


def batches(epoch, augment="trivial", **options):
    torch.manual_seed(7)
    data = ImageDataModule(image_size=16, train_images=20, val_images=4, batch_size=8, augment=augment, **options)
    loader = data.train_dataloader()
    data.epoch = epoch
    return list(loader)


def same(one, other):
    return all(torch.equal(a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True))


def test_loader_processes_change_nothing():
    alone = batches(3, workers=0)
    assert same(alone, batches(3, workers=2))
    assert not same(alone, batches(4, workers=0))


def test_an_epoch_is_the_same_whatever_was_drawn_before():
    torch.manual_seed(7)
    data = ImageDataModule(image_size=16, train_images=20, val_images=4, batch_size=8, workers=0)
    loader = data.train_dataloader()
    list(loader)
    torch.rand(100)
    data.epoch = 3
    assert same(list(loader), batches(3, "flip", workers=0))


def test_an_epoch_has_every_image_once():
    order = EpochOrder(range(100), 100, lambda: 5)
    assert sorted(order) == list(range(100))
    assert list(order) != list(range(100))


@pytest.mark.parametrize("name", ["flip", "crop", "trivial", "rand"])
def test_an_image_is_changed_as_torchvision_does_under_its_own_seed_and_other_draws_are_left_alone(name):
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    transform = augmentation(name, 24)
    torch.manual_seed(1)
    changed, label = Augmented([(image, 2)] * 4, transform)[Draw(3, 11)]
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    torch.manual_seed(derive_seed(11, 3))
    assert torch.equal(changed, transform(image))
    assert (changed.dtype, changed.shape, label) == (torch.uint8, (3, 24, 24), 2)


@pytest.mark.parametrize(("name", "own"), [("trivial", v2.TrivialAugmentWide), ("rand", v2.RandAugment)])
def test_trivial_and_rand_come_after_crop_and_flip(name, own):
    kinds = [type(step) for step in augmentation(name, 24).transforms]
    assert kinds == [v2.RandomResizedCrop, v2.RandomHorizontalFlip, own]


def test_trivial_on_resident_images_is_refused_and_by_itself_goes_to_the_loader():
    with pytest.raises(TrainingError, match=r"--data\.resident_on_gpu: trivial .* give false or null"):
        ImageDataModule(augment="trivial", resident_on_gpu=True)
    assert not ImageDataModule(augment="trivial", train_images=8, val_images=4).resident


def test_mixup_shares_labels_as_it_shares_images():
    torch.manual_seed(0)
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6)
    mixed, shares = batch_mixing(True, False, 6)(images, labels)
    assert torch.allclose(shares.sum(1), torch.ones(6))
    assert torch.allclose(mixed, torch.einsum("ij,jchw->ichw", shares, images), atol=1e-6)


def test_cutmix_shares_labels_by_area():
    torch.manual_seed(1)
    images, labels = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 16, 16).clone(), torch.arange(6)
    mixed, shares = batch_mixing(False, True, 6)(images, labels)
    areas = torch.stack([(mixed[:, 0] == number).float().mean((1, 2)) for number in range(6)], dim=1)
    assert torch.allclose(areas, shares, atol=1e-6)
    assert 0 < shares.max() < 1


def test_with_both_each_batch_is_mixed_in_one_way():
    torch.manual_seed(2)
    images, labels = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 16, 16).clone(), torch.arange(6)
    mix = batch_mixing(True, True, 6)
    pasted = [bool((mix(images, labels)[0] % 1 == 0).all()) for _ in range(40)]
    assert 5 < sum(pasted) < 35
    assert batch_mixing(False, False, 6) is None
