"""`make train`: every image size in ascending order, each from the one before, and only what is not up to date."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# in the place of .venv/bin/python: writes down its command line, and the file that training would
FAKE = """#!/bin/sh
echo "$@" >> calls
for word in "$@"; do
  test "$previous" = --data.image_size && size=$word
  previous=$word
done
touch weights/best_resnet18_$size.json
"""


@pytest.fixture
def make_train(tmp_path):
    """Run it on two sizes in a folder of its own; answers (image size, what it started from) of each training."""
    for name in ("Makefile", "requirements.txt", "training/configs/quick.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "weights").mkdir()
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE)
    python.chmod(0o755)
    (tmp_path / ".venv/.installed").touch()

    def run():
        (tmp_path / "calls").write_text("")
        command = ["make", "train", "IMAGE_SIZES=64 32", "TRAINING=training/configs/quick.yaml"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
        flags = [dict(zip(call[3::2], call[4::2], strict=True)) for call in calls]
        return [(flag["--data.image_size"], flag.get("--model.init_from")) for flag in flags]

    return run


def test_sizes_are_trained_in_ascending_order_once_and_again_when_stale(make_train, tmp_path):
    first, second = ("32", None), ("64", "weights/best_resnet18_32.pth")
    assert make_train() == [first, second]
    assert make_train() == []
    (tmp_path / "weights/best_resnet18_32.json").unlink()
    assert make_train() == [first], "a newer 32 does not train 64 again"
    config = tmp_path / "training/configs/quick.yaml"
    later = config.stat().st_mtime + 3600
    os.utime(config, (later, later))
    assert make_train() == [first, second]
