"""`python -m training test`: accuracy of each class and what it is taken for."""

import re

import pytest
import torch
from sklearn.metrics import confusion_matrix, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.confusion import worst_classes

TINY = ["--data.image_size", 32, "--data.train_images", 40, "--data.val_images", 40, "--data.batch_size", 8,
        "--data.workers", 0, "--trainer.max_epochs", 1]  # fmt: skip


def events_of(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_classes_are_listed_from_the_least_accurate_on_with_what_they_are_taken_for():
    generator = torch.Generator().manual_seed(0)
    labels, answers = (torch.randint(0, 4, (200,), generator=generator).tolist() for _ in range(2))
    counts = torch.from_numpy(confusion_matrix(labels, answers))
    lines = worst_classes(counts, ["a", "b", "c", "d"])
    accuracies = dict(zip("abcd", recall_score(labels, answers, average=None), strict=True))
    said = {line[0]: float(re.search(r"accuracy (\S+)", line)[1]) for line in lines}
    assert said == {name: round(value, 3) for name, value in accuracies.items()}
    assert list(said.values()) == sorted(said.values())


def test_a_class_without_images_has_no_accuracy_and_a_faultless_one_no_rival():
    counts = torch.tensor([[3, 0, 1], [0, 0, 0], [0, 0, 2]])
    assert worst_classes(counts, ["a", "b", "c"]) == [
        "a: accuracy 0.750 (3 of 4), most often taken for c (1)",
        "c: accuracy 1.000 (2 of 2)",
    ]


def test_test_prints_the_result_and_draws_it_in_a_folder_of_its_own(run_training, tmp_path):
    assert run_training("fit", *TINY, cwd=tmp_path).returncode == 0
    fitted = set((tmp_path / "lightning_logs").iterdir())
    done = run_training("test", *TINY, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = set((tmp_path / "lightning_logs").iterdir()) - fitted
    line = re.search(r"test accuracy (\S+), (\d+) of 40 images.*", done.stdout)
    assert folder.name in line[0]
    assert float(line[1]) == int(line[2]) / 40
    events = events_of(folder)
    assert events.Tags()["images"] == ["test/confusion_matrix", "test/accuracy_by_class"]
    assert events.Scalars("test/accuracy")[0].value == pytest.approx(int(line[2]) / 40)
