"""`--data.cache`: the same batches whatever holds the images."""

import pytest
import torch
from scipy import stats

from tests.cached_data import caches, open_data, pictures, two_epochs
from training import cache as module
from training.cache import available_ram
from training.errors import TrainingError
from training.pictures import BadImageError
from training.prefetch import PrefetchedBatches, gather
from training.resident import DecodedImages


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_cache_gives_the_batches_of_the_loader_epoch_after_epoch(kind):
    for _ in range(2):  # built, then found
        for (images, labels), (loaded, loaded_labels) in zip(
            two_epochs(cache=kind), two_epochs(cache="none"), strict=True
        ):
            assert torch.equal(images, loaded)
            assert torch.equal(labels, loaded_labels)


def test_validation_and_test_images_are_those_of_the_source():
    cached, plain = open_data(cache="disk"), open_data()
    for name in ("val", "test"):
        expected = getattr(plain.opened, name)
        assert all(
            torch.equal(image, expected[i][0]) and label == expected[i][1]
            for i, (image, label) in enumerate(getattr(cached.opened, name))
        )
    assert torch.equal(next(iter(cached.val_dataloader()))[0], next(iter(plain.val_dataloader()))[0])


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_filling_a_cache_leaves_the_global_seed_alone(kind):
    torch.manual_seed(1)
    open_data(cache=kind).setup("fit")
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def test_a_whole_batch_is_gathered_as_by_indexing():
    decoded = DecodedImages(torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8), torch.arange(50))
    pick = [49, 0, 7, 7]
    images, labels = gather(decoded, pick)
    assert torch.equal(images, decoded.images[pick])
    assert labels.tolist() == pick


def test_prefetched_batches_are_augmented_where_they_arrive_by_the_seed():
    decoded = DecodedImages(torch.randint(0, 256, (2000, 3, 4, 4), dtype=torch.uint8), torch.arange(2000))
    first, second = (
        torch.cat([images for images, _ in PrefetchedBatches(decoded, [[*range(1000)], [*range(1000, 2000)]],
                                                             torch.device("cpu"), augment="flip", seed=lambda: 3)])
        for _ in range(2)
    )  # fmt: skip
    assert torch.equal(first, second)
    changed = (first != decoded.images).flatten(1).any(1)
    assert torch.equal(first[changed], decoded.images[changed].flip(3))
    assert stats.binomtest(int(changed.sum()), 2000, 0.5).pvalue > 1e-4


def test_an_epoch_that_is_left_early_leaves_no_thread_behind():
    import threading

    decoded = DecodedImages(torch.zeros(40, 3, 4, 4, dtype=torch.uint8), torch.arange(40))
    batches = iter(PrefetchedBatches(decoded, [[i] for i in range(40)], torch.device("cpu")))
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gather")]


def test_images_that_do_not_fit_into_ram_are_refused_with_what_they_need(monkeypatch):
    monkeypatch.setattr(module, "available_ram", lambda: 20_000)  # 26 images of 768 bytes: 19,968
    with pytest.raises(
        TrainingError, match=r"--data\.cache memory: 26 images of 16 px take .* GB.*give disk"
    ) as caught:
        open_data(cache="memory").setup("fit")
    assert "\n" not in str(caught.value)


def test_the_ram_of_a_container_counts_when_it_is_less_than_the_machines(tmp_path):
    for name, text in (("max", "5000\n"), ("current", "2000\n"), ("stat", "anon 1500\ninactive_file 300\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert available_ram(tmp_path) == 3300
    (tmp_path / "memory.max").write_text("max\n")
    assert available_ram(tmp_path) > 1e6


def test_memory_and_the_gpu_exclude_each_other():
    with pytest.raises(TrainingError, match=r"--data\.cache memory and --data\.resident_on_gpu"):
        open_data(cache="memory", resident_on_gpu=True)


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_picture_stops_the_filling_in_one_line_and_leaves_nothing(tmp_path, kind, workers):
    root = pictures(tmp_path / "pets")
    (root / "dog/1.png").write_bytes(b"")
    with pytest.raises(BadImageError) as caught:
        open_data(source="folder", root=root, cache=kind, workers=workers, val_fraction=0.5).setup("fit")
    assert str(caught.value).startswith(f"{root}/dog/1.png: damaged")
    assert kind == "memory" or caches() == []


def test_with_skip_a_bad_picture_is_left_out_of_the_cache(tmp_path):
    root = pictures(tmp_path / "pets")
    (root / "dog/1.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"):
        splits = open_data(source="folder", root=root, cache="disk", on_bad_image="skip").opened
    assert len(splits.train) + len(splits.val) == 7


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_batches_that_a_stream_of_its_own_copies_arrive_whole():
    """While the step's stream is kept busy, so that a batch read too early or given away too soon would show."""
    decoded = DecodedImages(torch.randint(0, 256, (512, 3, 64, 64), dtype=torch.uint8), torch.arange(512))
    picks = [torch.randperm(512)[:128].tolist() for _ in range(40)]
    busy, seen = torch.randn(2048, 2048, device="cuda"), []
    for images, labels in PrefetchedBatches(decoded, picks, torch.device("cuda", 0)):
        busy = torch.tanh(busy @ busy)
        seen.append((images.clone(), labels.clone()))
    for pick, (images, labels) in zip(picks, seen, strict=True):
        assert torch.equal(images.cpu(), decoded.images[pick])
        assert labels.tolist() == pick
