"""Images kept on the training device: the same ones in the same order, changed in the same way as by the loader."""

import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2.functional import resized_crop

from training.augment import AREA_SHARES, ASPECT_RATIOS, augment_batch, draw_crops, resize_crops
from training.checkpoint import load_weights
from training.data import ImageDataModule
from training.errors import TrainingError
from training.resident import keep

GPU = torch.device("cuda")


def epochs(resident, augment="none", count=2):
    """Training batches of `count` epochs over 22 images in batches of 8."""
    torch.manual_seed(7)
    data = ImageDataModule(image_size=16, train_images=22, val_images=4, batch_size=8, workers=0, augment=augment,
                           resident_on_gpu=resident)  # fmt: skip
    batches = data.train_dataloader()
    assert len(batches) == 3
    return [batch for _ in range(count) for batch in batches]


def test_resident_batches_are_those_of_the_loader_epoch_after_epoch():
    for (images, labels), (loaded, loaded_labels) in zip(epochs(True), epochs(False), strict=True):
        assert torch.equal(images, loaded)
        assert torch.equal(labels, loaded_labels)


def test_every_resident_image_is_seen_once_an_epoch_itself_or_its_mirror_image_with_its_label():
    plain = {
        (image.sum().item(), int(label)) for batch in epochs(True, count=1) for image, label in zip(*batch, strict=True)
    }
    flipped = epochs(True, augment="flip", count=1)
    assert {(image.sum().item(), int(label)) for batch in flipped for image, label in zip(*batch, strict=True)} == plain


def test_training_on_resident_images_gives_the_same_weights(run_training, tmp_path):
    """Normalisation, labels, validation images: whatever differed would show in the last bit."""
    tiny = ["--data.image_size", 32, "--data.train_images", 20, "--data.val_images", 10, "--data.batch_size", 8,
            "--data.workers", 0, "--trainer.max_epochs", 1, "--data.augment", "none"]  # fmt: skip
    kept = {}
    for resident in ("true", "false"):
        done = run_training("fit", *tiny, "--data.resident_on_gpu", resident, "--weights_dir", resident, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        kept[resident] = load_weights(tmp_path / resident / "best_resnet18_32.pth")
    (weights, metadata), (loaded, loaded_metadata) = kept["true"], kept["false"]
    assert all(torch.equal(weights[name], loaded[name]) for name in loaded)
    assert (metadata.accuracy, metadata.val_loss) == (loaded_metadata.accuracy, loaded_metadata.val_loss)


def test_half_of_a_batch_is_flipped_and_the_seed_says_which():
    images = torch.randint(0, 256, (2000, 3, 4, 4), dtype=torch.uint8)
    first, second = (augment_batch("flip", images, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    changed = (first != images).flatten(1).any(1)
    assert torch.equal(first[changed], images[changed].flip(3))
    assert stats.binomtest(int(changed.sum()), 2000, 0.5).pvalue > 1e-4


def test_crops_are_resized_as_torchvision_does_to_one_grey_level():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 3, 40, 40), dtype=torch.uint8, generator=generator)
    crops = draw_crops(12, 40, generator)
    for image, resized, crop in zip(images, resize_crops(images, crops), crops.int().tolist(), strict=True):
        expected = resized_crop(image, *crop, size=[40, 40], antialias=True)
        assert (resized.int() - expected.int()).abs().max() <= 1


def test_crops_are_drawn_from_the_distribution_of_torchvision():
    torch.manual_seed(1)
    transform = RandomResizedCrop(64, scale=AREA_SHARES, ratio=ASPECT_RATIOS)
    image = torch.zeros(3, 64, 64)
    theirs = [transform.make_params([image]) for _ in range(3000)]
    ours = draw_crops(3000, 64, torch.Generator().manual_seed(2))
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= 64).all()
    for column, name in enumerate(("top", "left", "height", "width")):
        assert stats.ks_2samp(ours[:, column].numpy(), [crop[name] for crop in theirs]).pvalue > 1e-4, name


def test_images_stay_on_a_gpu_when_they_take_a_quarter_of_its_free_memory(monkeypatch):
    images = 1000  # of 100 px: 30 MB
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (120_000_000, 200_000_000))
    assert keep(images, 100, GPU, None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (119_000_000, 200_000_000))
    assert not keep(images, 100, GPU, None)
    assert keep(images, 100, GPU, True)
    assert not keep(images, 100, GPU, False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20_000_000, 200_000_000))
    with pytest.raises(TrainingError, match=r"--data\.resident_on_gpu.*false"):
        keep(images, 100, GPU, True)


def test_on_a_cpu_images_are_loaded_unless_asked_otherwise():
    assert not keep(1, 16, torch.device("cpu"), None)
    assert keep(1, 16, torch.device("cpu"), True)
