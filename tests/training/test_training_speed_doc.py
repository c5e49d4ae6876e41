"""The table of docs/training.md is made of the rows in docs/results/training-speed."""

import json
from pathlib import Path

import pytest

from training.speed_table import overhead, to_markdown

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs/results/training-speed").glob("*.jsonl"))


def records_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_row_stands_in_the_page_and_in_the_table_beside_it(path):
    table = to_markdown(records_of(path)).strip()
    assert path.with_suffix(".md").read_text(encoding="utf-8").strip() == table
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    assert all(line in page for line in table.splitlines())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_lightning_costs_at_most_5_percent_of_its_step(path):
    records = records_of(path)
    steps, bares = ([r for r in records if r["measured"] == name] for name in ("step", "bare"))
    assert {r["image_size"] for r in steps} == {224, 512}
    assert all(overhead(step, bare) <= 0.05 for step, bare in zip(steps, bares, strict=True))
