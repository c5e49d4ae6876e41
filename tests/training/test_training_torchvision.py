"""`--data.source torchvision:<Name>` without a network: files of the true format that are there already."""

import struct

import numpy as np
import pytest
import torch

from training.data import ImageDataModule
from training.datasets import open_torchvision
from training.errors import TrainingError

SIZE = 16


def write_idx(path, array):
    """The format of MNIST's files: http://yann.lecun.com/exdb/mnist."""
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.tobytes())


@pytest.fixture
def mnist(tmp_path):
    """Twenty training and ten test digits: digit k is a square of k grey levels times 20."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 20), ("t10k", 10)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.broadcast_to((labels * 20)[:, None, None], (count, 28, 28)).copy()
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
    return tmp_path


def test_mnist_files_become_square_rgb_images_with_the_names_of_their_classes(mnist):
    splits = open_torchvision("MNIST", mnist, SIZE, 0.2, 0)
    assert (len(splits.train), len(splits.val)) == (20, 10)
    assert splits.classes[7] == "7 - seven"
    image, label = splits.train[17]
    assert (image.shape, image.dtype, label) == ((3, SIZE, SIZE), torch.uint8, 7)
    assert image.unique().tolist() == [140]


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cache_of_a_torchvision_data_set_gives_the_same_images(mnist, cache, monkeypatch):
    monkeypatch.chdir(mnist)
    options = {"source": "torchvision:MNIST", "root": mnist, "image_size": SIZE, "workers": 0}
    cached, plain = (ImageDataModule(**options, cache=kind).opened for kind in (cache, "none"))
    assert all(torch.equal(cached.train[i][0], plain.train[i][0]) for i in range(20))
    assert cached.classes == plain.classes


def test_a_data_set_without_files_and_parts_is_split_by_class():
    splits = open_torchvision("FakeData", None, SIZE, 0.2, 0)
    assert len(splits.train) + len(splits.val) == 1000
    assert len(splits.val) == pytest.approx(200, abs=10)  # rounded in each of ten classes
    assert splits.train[0][0].shape == (3, SIZE, SIZE)


def test_a_data_set_that_wants_more_than_a_folder_is_refused_in_one_line(tmp_path):
    with pytest.raises(TrainingError, match=r"CocoDetection cannot be fetched \(.*annFile") as caught:
        open_torchvision("CocoDetection", tmp_path, SIZE, 0.2, 0)
    assert "\n" not in str(caught.value)
