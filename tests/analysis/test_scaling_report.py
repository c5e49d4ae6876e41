"""What the report says of batches and sizes: the same in both languages, nothing typed by hand, whole for poor runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import nodes

from analysis.facts import gather_facts
from analysis.language import Language
from analysis.load import Run, load_run
from analysis.markdown import TEMPLATES, environment
from analysis.report import render
from analysis.study import judge
from harness.schema import Row
from tests.analysis import synthetic

PARTS = ("saturation", "sizes")
EAGER, FAST = synthetic.CPU[0], synthetic.CPU[4]
NOISY = replace(EAGER, noise=0.25)


def placeholders(name: str, language: str) -> set[str]:
    tree = environment(Language(language)).parse((TEMPLATES / f"{name}.{language}.md").read_text(encoding="utf-8"))
    found = set()
    for node in tree.find_all((nodes.Getattr, nodes.Name)):
        chain, inner = [], node
        while isinstance(inner, nodes.Getattr):
            chain.append(inner.attr)
            inner = inner.node
        if isinstance(inner, nodes.Name) and inner.name != "loop":
            found.add(".".join([inner.name, *reversed(chain)]))
    return found


@pytest.mark.parametrize("name", PARTS)
def test_both_languages_read_the_same_facts(name: str) -> None:
    assert placeholders(name, "en") == placeholders(name, "ru")


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_measured_number_is_typed_by_hand(name: str, language: str) -> None:
    text = (TEMPLATES / f"{name}.{language}.md").read_text(encoding="utf-8")
    prose = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|`[^`]*`|\([^()\s]*\.png\)", "", text, flags=re.DOTALL)
    assert re.findall(r"\d+", re.sub(r"p99|99th|99-й|95%|95 %|k = 2", "", prose)) == []


def reports(rows: list[Row], **fields: object) -> tuple[str, str]:
    facts = gather_facts(judge(Run("x", Path("x"), rows, **fields)), [])  # type: ignore[arg-type]
    return render(facts, "en"), render(facts, "ru")


POOR = {
    "all failed": [synthetic.failed_row(EAGER, 224, b, "crashed", "died") for b in (1, 8)],
    "one batch": synthetic.make_rows((EAGER, FAST), (224, 384), (8,), count=12),
    "one backend": synthetic.make_rows(synthetic.CPU[:2], (224, 384), (1, 2, 4, 8), count=12),
    "no baseline": synthetic.make_rows((FAST,), (224, 384), (1, 2, 4, 8), count=12),
    "noisy": synthetic.make_rows((NOISY, FAST), (224, 384), (1, 2, 4, 8), count=9),
    "one sample": synthetic.make_rows((EAGER, FAST), (224, 384), (1, 2, 4, 8), count=1),
    "missing": synthetic.make_rows((EAGER, FAST), (224, 384), (1, 2, 4, 8), count=12)[::3],
    "no parity": synthetic.make_rows((EAGER, FAST), (224, 384), (1, 8), count=12, parity=None),
}


@pytest.mark.parametrize("name", POOR)
def test_poor_runs_get_a_whole_report(name: str) -> None:
    for text in reports(POOR[name]):
        assert text.count("\n## ") == 7
        assert not re.search(r"\bnan\b|\bNone\b|\binf\b|\{\{|\{%", text)


def test_noise_that_hides_saturation_is_admitted() -> None:
    rows = synthetic.make_rows((replace(EAGER, overhead_ms=0.0, noise=0.3),), (224,), (1, 2, 4, 8), count=6)
    english, russian = reports(rows)
    assert "the noise of this run hides the saturation batch" in english
    assert "шум этого прогона скрывает батч насыщения" in russian


def growing(noise: float) -> list[Row]:
    """Images per second by batch: 100, 200, 400 and 430, the last 7.5% above the one before it."""
    times = {1: 10.0, 2: 10.0, 4: 10.0, 8: 18.6}
    return [
        synthetic.make_row(
            FAST, 224, batch, samples={"device_ms": [ms * (1 - noise), ms * (1 + noise)] * 20}, same_as={}
        )
        for batch, ms in times.items()
    ]


def test_a_gain_at_the_largest_batch_is_sure_where_its_interval_holds_no_smaller_batch() -> None:
    english, russian = (text.replace("\u00a0", " ") for text in reports(growing(noise=0.002)))
    assert "was still gaining at batch 8, the largest measured: saturation was not reached." in english
    assert "so saturation was not reached." in english.split("### The evidence")[0]
    assert "прибавляет и при батче 8, наибольшем из измеренных, — насыщение не достигнуто." in russian


def test_a_gain_at_the_largest_batch_that_noise_may_have_made_is_told_with_its_interval() -> None:
    english, russian = (text.replace("\u00a0", " ") for text in reports(growing(noise=0.15)))
    assert "still gaining" not in english
    assert "saturation was not reached" not in english
    assert "gained up to batch 8, the largest measured; but the 95% interval of the saturation batch, 4–8," in english
    assert (
        "(95% interval 4–8); it is also the largest measured, so saturation may not have been reached."
        in english.split("### The evidence")[0]
    )
    assert "насыщение не достигнуто" not in russian
    assert "но интервал 95 % батча насыщения, 4–8, содержит и меньшие" in russian
    assert (
        "(интервал 95 %: 4–8); он же и наибольший из измеренных, то есть насыщение могло быть и не достигнуто."
        in russian.split("### Чем")[0]
    )


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A card with three contenders, all batches, and trained weights."""
    root = tmp_path_factory.mktemp("card")
    models = (synthetic.STUDY[0], synthetic.STUDY[8], synthetic.STUDY[11])
    machine = {"device": "NVIDIA H200", "kind": "cuda"}
    synthetic.write_run(root / "study", synthetic.study_rows(20, models=models), machine=machine)
    synthetic.write_gpu_facts(root / "study")
    weights = synthetic.write_weights(root / "weights", {224: 0.745, 256: 0.74, 384: 0.85, 512: 0.853})
    return gather_facts(judge(load_run(root, "study", weights)), [])


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["is within 5% of its peak at batch", "lower than at its best batch", "the card is under-fed",
                "× as long", "waits? for the host", "The curve through all batches", "Accuracy against speed",
                "does 9\\d\\.\\d% of what it does at 512 px", "What accuracy costs"]),
        ("ru", ["до предела остаётся не больше 5", "раза меньше, чем при лучшем батче", "карта недогружена",
                "раза дольше", "поставит работу в очередь", "Кривая по всем батчам", "Качество и скорость",
                "9\\d,\\d.% от скорости при 512 пикс", "Во что обходится качество"]),
    ],
)  # fmt: skip
def test_a_card_gets_its_sentences(card: dict, language: str, sentences: list[str]) -> None:
    text = render(card, language)
    assert [sentence for sentence in sentences if not re.search(sentence, text)] == []


def test_tables_have_as_many_cells_in_every_line(card: dict) -> None:
    for language in ("en", "ru"):
        for block in re.findall(r"(?:^\|.*\n)+", render(card, language), re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block


def test_fitted_curves_hold_what_the_rows_were_made_from(card: dict) -> None:
    """Eager fp16 at 384 px: 1.35 ms of overhead; image_ms x (384 / 224)^2 x b^0.99 at large batches."""
    (eager,) = [point for point in card["batching"]["fitted"] if point["contender"] == "pytorch/eager/fp16"]
    image_ms = 0.022 * (384 / 224) ** 2
    assert card["batching"]["size"] == 384
    assert eager["fixed_ms"] == pytest.approx(1.35, rel=0.05)
    assert eager["knee_batch"] == pytest.approx(1.35 / image_ms, rel=0.1)
    assert eager["peak_fps"] == pytest.approx(1000 / image_ms, rel=0.07)
