"""Several machines in one table: images per second, and what a million images cost by the user's prices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.markup import escape
from rich.table import Table

from analysis import stats
from analysis.cells import Cell, build_cells
from analysis.console import plain_console
from analysis.language import Language
from analysis.load import InputError, Run
from analysis.names import contender_label, name_runs

SECONDS_PER_HOUR = 3600
MILLION = 1_000_000
Group = tuple[int, str]  # image size in px, precision


@dataclass(frozen=True)
class Prices:
    """Price of an hour by device name, in `currency`."""

    per_hour: dict[str, float]
    currency: str = ""

    def of(self, device: str, path: Path) -> float:
        """Raises InputError that names the device and what the file has."""
        if device not in self.per_hour:
            known = ", ".join(self.per_hour) or "nothing"
            raise InputError(f"--prices {path}: no price for {device!r} under per_hour (there is {known})")
        return self.per_hour[device]


@dataclass(frozen=True)
class Offer:
    """The best cell of one machine at an image size and precision, or the `reason` why there is none to compare.

    `run` is its name by name_runs. `cost` is the price of a million images, `interval` its 95% interval (the price
    itself is taken as exact). `verdict` and `ratio_interval` (99%) compare the cost with the cheapest machine's: above
    1 is dearer.
    """

    group: Group
    run: str
    device: str
    reason: str = ""
    cell: Cell | None = None
    fps: float = math.nan
    cost: float = math.nan
    interval: stats.Interval = stats.NO_INTERVAL
    verdict: str = ""
    ratio_interval: stats.Interval = stats.NO_INTERVAL


def read_prices(path: Path) -> Prices:
    """A YAML file with `per_hour: {device: price}` and, if wanted, `currency`. Raises InputError."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        prices = {str(device): float(price) for device, price in content["per_hour"].items()}
        currency = str(content.get("currency", ""))
    except FileNotFoundError:
        raise InputError(f"--prices {path}: no such file") from None
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        wanted = "write `per_hour:` and under it `device name: price`"
        raise InputError(f"--prices {path}: not a price table ({type(error).__name__}); {wanted}") from None
    wrong = [device for device, price in prices.items() if not (math.isfinite(price) and price > 0)]
    if wrong:
        raise InputError(f"--prices {path}: the price of {wrong[0]!r} must be over 0")
    return Prices(prices, currency)


def cost_per_million(price_per_hour: float, fps: stats.Array | float) -> stats.Array | float:
    """Price of a million images at `fps` images per second."""
    return price_per_hour / SECONDS_PER_HOUR / fps * MILLION


def compare_machines(runs: Sequence[Run], prices: Prices, path: Path) -> list[Offer]:
    """One offer for each image size, precision and run, cheapest first.

    Only networks with the same weights are compared, and only within a precision. Raises InputError: fewer than two
    runs, a device without a price.
    """
    if len({run.folder.resolve() for run in runs}) < max(2, len(runs)):
        raise InputError("runs: name two different runs or more")
    measured = [
        _Measured(
            name,
            str(run.machine.get("device") or run.rows[0].device if run.rows else ""),
            [cell for cell in build_cells(run.rows).values() if cell.ranked],
        )
        for run, name in zip(runs, name_runs(runs), strict=True)
    ]
    groups = sorted({(c.key.image_size, c.key.precision) for each in measured for c in each.cells})
    offers = []
    for group in groups:
        mine = []
        for each in measured:
            best = _find_best(each.cells, group)
            if best is None:
                others = sorted({c.key.precision for c in each.cells if c.key.image_size == group[0]})
                reason = f"precision: it has {', '.join(others)}" if others else f"{group[0]} px: not measured"
                mine.append(Offer(group, each.run, each.device, reason))
            else:
                mine.append(_price(group, each.run, each.device, best, prices.of(each.device, path)))
        offers += _judge(mine)
    return offers


@dataclass(frozen=True)
class _Measured:
    run: str
    device: str
    cells: list[Cell]


def _find_best(cells: list[Cell], group: Group) -> Cell | None:
    """The cell with the most images per second."""
    mine = [cell for cell in cells if (cell.key.image_size, cell.key.precision) == group]
    return max(mine, key=lambda cell: cell.key.batch_size / cell.mean_ms, default=None)


def _price(group: Group, run: str, device: str, cell: Cell, price: float) -> Offer:
    fps = cell.key.batch_size * 1000 / cell.mean_ms
    interval = stats.percentile_interval(cost_per_million(price, cell.fps_draws()))  # type: ignore[arg-type]
    return Offer(group, run, device, "", cell, fps, float(cost_per_million(price, fps)), interval)


def _judge(offers: list[Offer]) -> list[Offer]:
    """Cheapest first, each against it; what has other weights than the first run's is not compared."""
    first = next(offer.cell for offer in offers if offer.cell)
    weights = first.rows[-1].weights_sha256
    fitting: list[Offer] = []
    others: list[Offer] = []
    for offer in offers:
        theirs = offer.cell.rows[-1].weights_sha256 if offer.cell else None
        if offer.cell and theirs != weights:
            reason = f"weights: {(weights or 'none')[:12]} against {(theirs or 'none')[:12]}"
            others.append(Offer(offer.group, offer.run, offer.device, reason))
        else:
            (fitting if offer.cell else others).append(offer)
    fitting.sort(key=lambda offer: offer.cost)
    return [_against(offer, fitting[0]) for offer in fitting] + others


def _against(offer: Offer, cheapest: Offer) -> Offer:
    if offer is cheapest:
        return Offer(**{**vars(offer), "verdict": "cheapest"})
    assert offer.cell is not None  # noqa: S101 - for the type checker
    assert cheapest.cell is not None  # noqa: S101 - for the type checker
    scale = offer.cost / cheapest.cost * offer.fps / cheapest.fps  # of the prices alone
    ratio = stats.percentile_interval(
        scale * cheapest.cell.fps_draws() / offer.cell.fps_draws(), stats.RATIO_CONFIDENCE
    )
    verdict = {"faster": "dearer", "slower": "cheaper"}.get(found := stats.verdict(ratio), found)
    return Offer(**{**vars(offer), "verdict": verdict, "ratio_interval": ratio})


def print_machines(offers: list[Offer], currency: str) -> None:
    """A table with a line for each offer."""
    console, language = plain_console(), Language("en")
    unit = f" in {currency}" if currency else ""
    title = f"Each machine at its best batch, images already on the device; cost of a million images{unit}"
    table = Table(title=escape(title), title_justify="left")
    heads = ("px", "precision", "machine", "run", "approach", "batch", "images/s", "cost",
             f"{stats.CONFIDENCE:.0%} interval", "against the cheapest")  # fmt: skip
    for head in heads:
        table.add_column(
            escape(head), justify="left" if head in ("precision", "machine", "run", "approach") else "right"
        )
    for offer in offers:
        size, precision = offer.group
        names = (str(size), precision, escape(offer.device), escape(offer.run))
        if offer.cell is None:
            table.add_row(*names, "", "", "", "", "", escape(f"not comparable: {offer.reason}"))
            continue
        key = offer.cell.key
        interval = language.interval(*offer.interval)
        ratio = language.ratio_interval(*offer.ratio_interval)
        table.add_row(
            *names, escape(contender_label(key.backend, key.variant, key.precision)), str(key.batch_size),
            language.number(offer.fps), language.number(offer.cost), escape(interval),
            offer.verdict if offer.verdict == "cheapest" else escape(f"{offer.verdict} {ratio}×"),
        )  # fmt: skip
    console.print(table)
