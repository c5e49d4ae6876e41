"""A winner is told with whom it ties, of its own library too, and how well its time is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis import asymptotic
from analysis.cells import Cell
from analysis.facts import gather_facts
from analysis.findings import Winner, find_fastest, find_quickest
from analysis.load import Run
from analysis.report import render
from analysis.study import Study, judge
from harness.schema import Row
from tests.analysis import synthetic

EAGER, FAST = synthetic.CPU[0], synthetic.CPU[4]
COMPILED, FUSED, TUNED = replace(EAGER, variant="compile"), replace(EAGER, variant="fused"), synthetic.CPU[5]


def study_of(rows: list[Row]) -> Study:
    return judge(Run("x", Path("x"), rows))


def at(model: synthetic.Model, batch: int, ms: float, width: float = 0.01, **changes: object) -> Row:
    """A row whose every time is `ms` or `width` above it."""
    samples = {"device_ms": [ms, ms * (1 + width)] * 10, "host_ms": [ms + 1, (ms + 1) * (1 + width)] * 10}
    return synthetic.make_row(model, 224, batch, samples=samples, same_as={}, **changes)


def fastest_of(rows: list[Row]) -> Winner:
    winner = find_fastest(study_of(rows), 224)
    assert winner is not None
    return winner


def test_the_closest_may_be_of_the_same_library_and_tie() -> None:
    winner = fastest_of([at(EAGER, 1, 20.0), at(COMPILED, 1, 5.0), at(FUSED, 1, 5.02), at(FAST, 1, 10.0)])
    assert winner.closest is not None
    assert winner.runner_up is not None
    assert (winner.cell["variant"], winner.closest.line["variant"]) == ("compile", "fused")
    assert (winner.closest.verdict, winner.runner_up.verdict) == ("tie", "faster")
    assert winner.closest.low < 1 < winner.closest.margin < winner.closest.high
    assert winner.ties == (winner.closest,)


def test_whoever_cannot_be_told_from_the_winner_ties_and_not_the_closest_alone() -> None:
    """The time of the third is known much less well than that of the second."""
    wide = [4.0, 16.0] * 10
    rows = [at(COMPILED, 1, 9.0), at(FUSED, 1, 9.7)]
    rows.append(synthetic.make_row(FAST, 224, 1, samples={"device_ms": wide, "host_ms": wide}, same_as={}))
    winner = fastest_of(rows)
    assert winner.closest is not None
    assert (winner.closest.line["variant"], winner.closest.verdict) == ("fused", "faster")
    assert [rival.line["contender"] for rival in winner.ties] == ["onnx_runtime/default/fp32"]


def test_rivals_are_compared_by_image_each_at_its_best_batch() -> None:
    """40 ms for 8 images against 12 ms for 2: 6 ms an image over 5 ms."""
    winner = fastest_of([at(EAGER, 8, 40.0), at(EAGER, 1, 9.0), at(FAST, 2, 12.0)])
    assert winner.closest is not None
    assert (winner.cell["batch_size"], winner.closest.line["batch_size"]) == (8, 2)
    assert winner.closest.margin == pytest.approx(1.2)
    assert 1.1 < winner.closest.low < 1.2 < winner.closest.high < 1.3


def test_winners_of_a_large_run_are_judged_in_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its speedups are: no draw is made for them."""
    monkeypatch.setattr(asymptotic, "MOST_SAMPLES", 1)
    study = study_of([at(EAGER, 8, 40.0), at(FAST, 2, 12.0)])
    monkeypatch.setattr(Cell, "draws", property(lambda _: pytest.fail("drawn")))
    winner = find_fastest(study, 224)
    assert winner is not None
    assert winner.closest is not None
    assert 1.1 < winner.closest.low < 1.2 < winner.closest.high < 1.3


def test_latencies_tie_by_what_the_caller_waits() -> None:
    quickest = find_quickest(study_of([at(EAGER, 1, 5.0), at(COMPILED, 1, 5.01), at(FAST, 1, 9.0)]), 224)
    assert quickest is not None
    assert [rival.line["variant"] for rival in quickest.ties] == ["compile"]


def reports(rows: list[Row]) -> list[str]:
    facts = gather_facts(study_of(rows), [])
    return [render(facts, language).replace("\u00a0", " ") for language in ("en", "ru")]


def part(text: str, head: str, end: str) -> str:
    """What stands between two headings."""
    return text.split(f"{head}\n")[1].split(f"\n{end}", maxsplit=1)[0]


WHERE = {
    "en": [("## The answer", "### The ev"), ("### What to run in production", "### "), ("## Conclusion", "## ")],
    "ru": [("## Ответ", "### Чем"), ("### Что выбрать для эксплуатации", "### "), ("## Заключение", "## ")],
}


def test_answer_recommendation_and_conclusion_name_the_tie_and_the_unstable_winner() -> None:
    """Its times are 4 and 6 ms in turn, so the mean is known to some per cent only."""
    shaky = at(COMPILED, 1, 4.0, 0.5, status="unstable", reason="wide")
    rows = [at(EAGER, 1, 20.0), shaky, at(FUSED, 1, 5.1), at(FAST, 1, 10.0)]
    winner = fastest_of(rows)
    width = f"{winner.cell['half_width_percent']:.1f}"
    assert 5 < float(width) < 15
    english, russian = reports(rows)
    for head, end in WHERE["en"]:
        assert "*tie*" in part(english, head, end)
        assert "PyTorch fused fp32" in part(english, head, end)
        assert f"±{width}%" in part(english, head, end)
    for head, end in WHERE["ru"]:
        assert "*ничья*" in part(russian, head, end)
        assert "PyTorch fused fp32" in part(russian, head, end)
        assert f"±{width.replace('.', ',')} %" in part(russian, head, end)
    assert "is the fastest way" not in english
    assert "PyTorch compile fp32 (unstable, ±" in english
    assert "PyTorch compile fp32 (нестабильно, ±" in russian
    assert "| PyTorch fused fp32 |" in part(english, "### The evidence", "### ")


def test_a_clear_and_steady_winner_has_no_caveat() -> None:
    english, russian = reports([at(EAGER, 1, 20.0), at(COMPILED, 1, 5.0), at(FUSED, 1, 7.0), at(FAST, 1, 10.0)])
    for head, end in WHERE["en"]:
        assert "tie" not in part(english, head, end)
        assert "unstable" not in part(english, head, end)
    assert "PyTorch compile fp32 is the fastest way to run ResNet-18" in english
    assert "The next, PyTorch fused fp32, gives 142 images/s; the winner is 1.40× as fast" in english
    assert "На втором месте PyTorch fused fp32, 142 изобр./с; победитель быстрее в 1,40 раза" in russian


def test_several_ties_are_counted_and_listed() -> None:
    rows = [at(EAGER, 1, 20.0), at(COMPILED, 1, 5.0), at(FUSED, 1, 5.01), at(FAST, 1, 5.02), at(TUNED, 1, 5.03)]
    english, russian = reports(rows)
    assert "PyTorch compile fp32, PyTorch fused fp32 and 2 other approaches *tie* as the fastest way" in english
    assert "PyTorch compile fp32, PyTorch fused fp32 или ещё 2 подхода, между ними *ничья*" in russian
    said = part(english, "### Which approach is the fastest, and by how much?", "### ")
    assert all(name in said for name in ("PyTorch fused fp32", "ONNX Runtime fp32", "ONNX Runtime tuned fp32"))


def test_a_tie_with_the_baseline_at_the_same_batch_is_told_once_in_the_answer() -> None:
    english, _ = reports([at(EAGER, 1, 5.02), at(COMPILED, 1, 5.0)])
    line = next(line for line in english.splitlines() if line.startswith("- **Fastest at"))
    assert line.count("PyTorch eager fp32") == 1
    assert line.count("*tie*") == 1


def test_one_sample_tells_no_winner_from_the_next() -> None:
    rows = [synthetic.make_row(model, 224, 1, count=1) for model in (EAGER, FAST)]
    english, russian = reports(rows)
    for head, end in (WHERE["en"][0], WHERE["en"][2]):
        assert "; too few samples to tell it from PyTorch eager fp32." in part(english, head, end)
    for head, end in (WHERE["ru"][0], WHERE["ru"][2]):
        assert "; замеров слишком мало, чтобы отличить его от PyTorch eager fp32." in part(russian, head, end)
