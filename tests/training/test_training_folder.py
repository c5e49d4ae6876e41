"""Pictures in folders, as people have them: odd sizes, grey, transparent, turned, damaged."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from training.datasets import open_torchvision
from training.errors import TrainingError
from training.folder import open_folder
from training.pictures import BadImageError, open_rgb
from training.splits import split_by_class

SIZE = 32


def _picture(path, mode="RGB", size=(70, 41), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    """Three classes with five pictures each, among them one grey, one with transparency, one turned."""
    for number, name in enumerate(("cat", "dog", "owl")):
        for index in range(5):
            size = (33 + 17 * index, 90 - 13 * index)
            _picture(tmp_path / "pets" / name / f"{index}.jpg", size=size, seed=10 * number + index)
    _picture(tmp_path / "pets/cat/grey.jpg", "L")
    _picture(tmp_path / "pets/dog/clear.png", "RGBA")
    turned = Image.Exif()
    turned[0x0112] = 6
    _picture(tmp_path / "pets/owl/turned.jpg", exif=turned)
    return tmp_path / "pets"


def test_every_kind_of_picture_becomes_a_square_rgb_image(root):
    splits = open_folder(root, SIZE, 0.4, seed=0, on_bad_image="stop")
    images = [image for split in (splits.train, splits.val) for image, _ in split]
    assert splits.classes == ["cat", "dog", "owl"]
    assert len(images) == 18
    assert {(image.shape, image.dtype) for image in images} == {((3, SIZE, SIZE), torch.uint8)}


def test_a_turned_picture_is_read_upright(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = (255, 0, 0)  # the left half as stored; orientation 6 shows it at the top
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=turned)
    upright = np.asarray(open_rgb(tmp_path / "turned.png"))
    assert upright.shape == (40, 20, 3)
    assert (upright[:20] == (255, 0, 0)).all()
    assert (upright[20:] == 0).all()


def test_transparency_is_laid_over_white_and_grey_becomes_rgb(tmp_path):
    Image.new("RGBA", (5, 5), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("L", (5, 5), 77).save(tmp_path / "grey.png")
    assert open_rgb(tmp_path / "clear.png").getpixel((2, 2)) == (255, 255, 255)
    assert open_rgb(tmp_path / "grey.png").getpixel((2, 2)) == (77, 77, 77)


def test_a_cut_short_picture_stops_with_its_name(root):
    whole = (root / "dog/1.jpg").read_bytes()
    (root / "dog/1.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImageError, match=r"dog/1\.jpg.*on_bad_image skip") as caught:
        open_folder(root, SIZE, 0.4, 0, "stop")
    assert "\n" not in str(caught.value)


def test_skip_warns_with_the_name_and_leaves_the_picture_out(root):
    (root / "dog/1.jpg").write_bytes(b"not a picture")
    with pytest.warns(UserWarning, match=r"dog/1\.jpg"):
        splits = open_folder(root, SIZE, 0.4, 0, "skip")
    assert len(splits.train) + len(splits.val) == 17
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(splits.train)) == len(splits.train)


def test_a_class_of_damaged_pictures_only_is_named_even_with_skip(root):
    for picture in (root / "owl").iterdir():
        picture.write_bytes(b"")
    with pytest.warns(UserWarning, match="owl"), pytest.raises(TrainingError, match="owl has no readable image"):
        open_folder(root, SIZE, 0.4, 0, "skip")


def test_missing_root_empty_root_and_empty_class_are_named(root, tmp_path):
    (tmp_path / "nothing").mkdir()
    (root / "wolf").mkdir()
    for path, said in (
        (None, "--data.root"),
        (tmp_path / "no", "is not a folder"),
        (tmp_path / "nothing", "nothing"),
        (root, "wolf"),
    ):
        with pytest.raises(TrainingError, match=said) as caught:
            open_folder(path, SIZE, 0.4, 0, "stop")
        assert "\n" not in str(caught.value)


def test_train_and_val_folders_are_used_as_they_are(root, tmp_path):
    root.rename(tmp_path / "train")
    for name in ("cat", "dog", "owl"):
        _picture(tmp_path / "val" / name / "a.png")
    splits = open_folder(tmp_path, SIZE, 0.4, 0, "stop")
    assert (len(splits.train), len(splits.val)) == (18, 3)
    assert splits.test is splits.val
    _picture(tmp_path / "val/wolf/a.png")
    with pytest.raises(TrainingError, match="other classes"):
        open_folder(tmp_path, SIZE, 0.4, 0, "stop")


def test_the_split_is_seeded_complete_and_holds_every_class():
    labels = [0] * 10 + [1] * 3 + [2] * 2
    train, val = split_by_class(labels, 0.2, seed=1)
    assert sorted(train + val) == list(range(15))
    assert {labels[i] for i in train} == {labels[i] for i in val} == {0, 1, 2}
    assert split_by_class(labels, 0.2, seed=1) == (train, val)
    assert split_by_class(labels, 0.2, seed=2) != (train, val)


def test_an_unknown_torchvision_data_set_is_named(tmp_path):
    with pytest.raises(TrainingError, match="NoSuchSet"):
        open_torchvision("NoSuchSet", tmp_path, SIZE, 0.2, 0)


def test_offline_a_torchvision_data_set_names_the_sources_that_need_no_network(tmp_path, monkeypatch):
    from urllib.error import URLError

    def refuse(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(TrainingError, match=r"CIFAR10 cannot be fetched.*builtin.*folder") as caught:
        open_torchvision("CIFAR10", tmp_path, SIZE, 0.2, 0)
    assert "\n" not in str(caught.value)
