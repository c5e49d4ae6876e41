from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.load import InputError, Run
from analysis.machines import Prices, compare_machines, read_prices
from tests.analysis import synthetic

EAGER = synthetic.CPU[0]
PATH = Path("prices.yaml")


def run_of(run_id: str, device: str, **changes: object) -> Run:
    rows = synthetic.make_rows((EAGER,), (224,), (1, 8), run_id=run_id, device=device, **changes)
    return Run(run_id, Path(run_id), rows, machine={"device": device})


def test_a_million_images_cost_the_hours_they_take() -> None:
    """At 50 images/s a million take 5.56 hours: at 3.60 an hour, 20."""
    rows = [synthetic.make_row(EAGER, 224, 1, samples={"device_ms": [20.0] * 10}, device=d, run_id=d) for d in "ab"]
    runs = [Run(d, Path(d), [row], machine={"device": d}) for d, row in zip("ab", rows, strict=True)]
    cheap, dear = compare_machines(runs, Prices({"a": 7.2, "b": 3.6}), PATH)
    assert (cheap.device, cheap.cost, cheap.fps) == ("b", pytest.approx(20.0), pytest.approx(50.0))
    assert (dear.device, dear.cost, dear.verdict) == ("a", pytest.approx(40.0), "dearer")
    assert dear.ratio_interval[0] < 2.0 < dear.ratio_interval[1]
    assert cheap.interval[0] < 20.0 < cheap.interval[1]


def test_the_best_batch_of_each_machine_is_priced_and_equal_costs_tie() -> None:
    """Twice as fast at twice the price is a tie."""
    a, b = run_of("a", "A"), run_of("b", "B", factor=0.5)
    offers = compare_machines([a, b], Prices({"A": 1.0, "B": 2.0}), PATH)
    assert [offer.verdict for offer in offers] == ["cheapest", "tie"]
    assert {offer.cell.key.batch_size for offer in offers if offer.cell} == {8}


def test_runs_that_are_called_alike_are_told_apart_by_their_folders() -> None:
    """`make bench` calls its run `quick` on every machine: twice as slow is twice as dear."""
    first, second = run_of("quick", "A"), run_of("quick", "B", factor=2.0)
    runs = [replace(first, folder=Path("a/quick")), replace(second, folder=Path("b/quick"))]
    cheap, dear = compare_machines(runs, Prices({"A": 1.0, "B": 1.0}), PATH)
    assert [(each.run, each.device, each.verdict) for each in (cheap, dear)] == [
        ("a/quick", "A", "cheapest"), ("b/quick", "B", "dearer")
    ]  # fmt: skip
    assert dear.cost / cheap.cost == pytest.approx(2.0, rel=0.05)


def test_other_weights_and_other_precisions_are_not_compared() -> None:
    """Each is named; the rest is compared."""
    a = run_of("a", "A")
    b = run_of("b", "B", weights_sha256="cd" * 32)
    (_, other) = compare_machines([a, b], Prices({"A": 1.0, "B": 1.0}), PATH)
    assert other.reason == "weights: abababababab against cdcdcdcdcdcd"
    rows = synthetic.make_rows((replace(EAGER, precision="bf16"),), (224,), (1,))
    c = Run("c", Path("c"), rows, machine={"device": "C"})
    offers = compare_machines([a, c], Prices({"A": 1.0, "C": 1.0}), PATH)
    assert {(o.group[1], o.device, o.reason) for o in offers if not o.cell} == {
        ("fp32", "C", "precision: it has bf16"),
        ("bf16", "A", "precision: it has fp32"),
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1", "not a price table"),
        ("per_hour: 3", "not a price table"),
        ("per_hour: {A: cheap}", "not a price table"),
        ("per_hour: {A: 0}", "the price of 'A' must be over 0"),
    ],
)
def test_a_bad_price_table_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"--prices .*{reason}"):
        read_prices(path)


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Machines, costs in the user's currency, and an error that names a device without a price."""
    for name, device, factor in (("a", "NVIDIA H200", 0.1), ("b", "Synthetic CPU", 1.0)):
        rows = synthetic.make_rows((EAGER,), (224,), (1, 8), run_id=name, device=device, factor=factor)
        synthetic.write_run(tmp_path / name, rows)
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: EUR\nper_hour: {NVIDIA H200: 3.0, Synthetic CPU: 0.1}\n")
    arguments = ["machines", "a", "b", "--prices", str(prices), "--results_dir", str(tmp_path)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "a million images in EUR" in out
    lines = [line for line in out.splitlines() if "fp32" in line]
    assert [("Synthetic CPU" in line, "cheapest" in line) for line in lines] == [(True, True), (False, False)]
    prices.write_text("per_hour: {NVIDIA H200: 3.0}\n")
    assert main(arguments) == 2
    assert "no price for 'Synthetic CPU'" in capsys.readouterr().err
