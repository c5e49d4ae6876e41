"""A cell: what all rounds of one contender at one image size and batch say together."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from analysis import asymptotic, stats
from harness.schema import AGAIN, WIDE_INTERVAL, Row

RANKED = ("ok", "unstable")
SEED = 20
MOST_THREADS = 8  # each holds some 60 MB while it draws


@dataclass(frozen=True, order=True)
class Key:
    """Names a cell. Sorts by image size, batch, then contender."""

    image_size: int
    batch_size: int
    backend: str
    variant: str
    precision: str

    @property
    def contender(self) -> str:
        """`backend/variant/precision`, as in harness.schema.Job."""
        return f"{self.backend}/{self.variant}/{self.precision}"

    def of(self, backend: str, variant: str, precision: str) -> Key:
        """The same image size and batch, another contender."""
        return Key(self.image_size, self.batch_size, backend, variant, precision)


@dataclass(frozen=True)
class Cell:
    """All rounds of one cell. `rounds` are device_ms samples per usable round.

    `resampled`: whether errors come from the bootstrap; a large run gets its limit, see asymptotic.
    `spread` is the run's standard deviation between processes, as a share of the time; see stats.process_spread. What a
    GPU does in less than stats.SHORT_MS has one of its own.
    `status` of one round is its row's. Of several it is `ok` when the interval over all of them is as narrow as the run
    asked of each (`options.target_percent`), however wide that of a single round was; rows that lack it must be `ok`
    themselves. A cell with usable and failed rounds, or a disturbed one, is `unstable`; a parity failure in any round
    fails the cell.
    """

    key: Key
    rows: list[Row]
    status: str
    reason: str
    rounds: list[stats.Array] = field(default_factory=list)
    spread: float = stats.PRIOR_SPREAD
    resampled: bool = True

    @property
    def ranked(self) -> bool:
        """Whether the cell may be compared with others."""
        return self.status in RANKED

    @property
    def is_short(self) -> bool:
        """Whether it is of those whose processes differ more; see `spread`. False without samples."""
        return bool(self.rounds) and _is_short(self.rows[0].clock, self.means)

    @property
    def samples(self) -> stats.Array:
        """device_ms of all usable rounds, shape (n,)."""
        return np.concatenate(self.rounds) if self.rounds else np.empty(0)

    @cached_property
    def means(self) -> list[float]:
        """Trimmed mean of each round, ms."""
        return [stats.trimmed_mean(samples) for samples in self.rounds]

    @cached_property
    def mean_ms(self) -> float:
        """Mean over rounds of the trimmed mean of device_ms; NaN without samples."""
        return float(np.mean(self.means)) if self.rounds else float("nan")

    @cached_property
    def widening(self) -> float:
        """How much wider than of independent samples the interval of one round is; see stats.find_widening.

        1 for several rounds: how far these lie apart says it, and better.
        """
        return self._find_widening("device_ms", "half_width_percent")

    def _find_widening(self, boundary: str, half_width: str) -> float:
        rounds = self.boundary(boundary)
        if len(rounds) != 1:
            return 1.0
        row = next(row for row in self.rows if row.status in RANKED and row.boundary(boundary))
        return stats.find_widening(rounds[0], row.telemetry.get(half_width))

    @property
    def interval_ms(self) -> stats.Interval:
        """95% interval of mean_ms: Tukey-McLaughlin, widened, for one round; resampled rounds for several."""
        if len(self.rounds) == 1:
            low, high = stats.trimmed_mean_interval(self.rounds[0])
            half = self.widening * (high - low) / 2
            return self.mean_ms - half, self.mean_ms + half
        return stats.percentile_interval(self.draws) if self.resampled else asymptotic.location_interval(self.error)

    @property
    def draws(self) -> stats.Array:
        """Draws of the location, shape (draws,), always the same for the same rows; empty for a cell without a rank."""
        if not self.rounds:
            return np.empty(0)
        return self._bootstrap if self.resampled else asymptotic.draw_locations(self.error, self._rng)

    @property
    def _rng(self) -> np.random.Generator:
        return self.make_rng(self.rows[0].job.variant)

    def make_rng(self, name: str) -> np.random.Generator:
        """For the draws of what is called `name`: two runs must not share theirs, whatever they are called."""
        row = self.rows[0]
        seed = zlib.crc32(f"{name} {row.run_id} {row.started_at} {row.device} {self.key}".encode())
        return np.random.default_rng([SEED, seed])

    @cached_property
    def _bootstrap(self) -> stats.Array:
        return self._resample()

    def _resample(self) -> stats.Array:
        return stats.bootstrap_location(self.rounds, self._rng, spread=self.spread, widening=self.widening)

    @cached_property
    def error(self) -> asymptotic.LocationError:
        """Error of the location in closed form; of a ranked cell."""
        return asymptotic.location_error(self.rounds, self.means, self.spread, self.widening)

    def boundary(self, name: str) -> list[stats.Array]:
        """Samples of another boundary (see harness.schema.BOUNDARIES), one array per round that has them."""
        arrays = (np.asarray(row.boundary(name), dtype=float) for row in self.rows if row.status in RANKED)
        return [samples for samples in arrays if samples.size]

    def fps_draws(self) -> stats.Array:
        """Bootstrap draws of images per second, shape (draws,)."""
        return self.key.batch_size * 1000.0 / self.draws

    def host_draws(self) -> stats.Array:
        """Draws of the location of host_ms, shape (draws,), made as `draws` are; its samples must exist."""
        if any("host_ms" in row.same_as for row in self.rows):
            return self.draws
        rng, rounds = self.make_rng("host_ms"), self.boundary("host_ms")
        widening = self._find_widening("host_ms", "host_half_width_percent")
        if self.resampled:
            return stats.bootstrap_location(rounds, rng, spread=self.spread, widening=widening)
        means = [stats.trimmed_mean(samples) for samples in rounds]
        return asymptotic.draw_locations(asymptotic.location_error(rounds, means, self.spread, widening), rng)


def draw_ahead(cells: Iterable[Cell]) -> None:
    """Make the draws of all cells, by several threads (NumPy lets them run): they take most of what judging takes."""

    def draw(cell: Cell) -> None:
        vars(cell)["_bootstrap"] = cell._resample()  # a cached_property makes one at a time before Python 3.12

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        for task in [pool.submit(draw, cell) for cell in cells if cell.rounds and cell.resampled]:
            task.result()


def ratio_interval(numerator: Cell, denominator: Cell) -> stats.Interval:
    """99% interval of the ratio of two cells' times, independent of each other; NaN when nothing tells an error."""
    if numerator.resampled and denominator.resampled:
        return stats.ratio_interval(numerator.draws, denominator.draws)
    return asymptotic.ratio_interval(numerator.error, denominator.error)


def is_again(row: Row) -> bool:
    """Whether a row is a second measurement, made only as a check."""
    return row.job.variant.endswith(AGAIN)


def build_cells(rows: Iterable[Row]) -> dict[Key, Cell]:
    """Group rows into cells, sorted by key. Draws are seeded by run and key: the same rows give the same report.

    Second measurements of the self-check tell how far processes differ; they are no cells, see build_again_cells.
    """
    rows = list(rows)
    return _build([row for row in rows if not is_again(row)], rows)


def build_again_cells(rows: Iterable[Row]) -> dict[Key, Cell]:
    """The cells of the self-check's second measurements, each under the key of the first."""
    rows = list(rows)
    return _build([row for row in rows if is_again(row)], rows)


def _build(rows: list[Row], everyone: list[Row]) -> dict[Key, Cell]:
    grouped: dict[Key, list[Row]] = {}
    for row in rows:
        grouped.setdefault(_key(row), []).append(row)
    if not grouped:
        return {}
    spreads, resampled = _find_spreads(everyone), _is_small(everyone)
    return {
        key: _cell(key, sorted(grouped[key], key=lambda row: row.job.round), spreads=spreads, resampled=resampled)
        for key in sorted(grouped)
    }


def _key(row: Row) -> Key:
    job = row.job
    return Key(job.image_size, job.batch_size, job.backend, job.variant.removesuffix(AGAIN), job.precision)


def _is_small(rows: list[Row]) -> bool:
    """Whether resampling every round is a matter of seconds."""
    samples = sum(len(row.samples.get("device_ms", ())) for row in rows)
    return len(rows) <= asymptotic.MOST_RESAMPLED and samples <= asymptotic.MOST_SAMPLES


def _find_spreads(rows: list[Row]) -> dict[bool, float]:
    """How far processes of one contender differ, by `_is_short`; see stats.process_spread.

    From the rows that are `ok`: an unstable one differs from itself.
    """
    times: dict[tuple[Key, str], list[float]] = {}
    for row in rows:
        if row.status == "ok":
            samples = np.asarray(row.samples["device_ms"], dtype=float)
            times.setdefault((_key(row), row.clock), []).append(stats.trimmed_mean(samples))
    found: dict[bool, list[stats.Array]] = {False: [], True: []}
    for (_, clock), means in times.items():
        found[_is_short(clock, means)].append(np.array(means))
    priors = {False: stats.PRIOR_SPREAD, True: stats.PRIOR_SPREAD_SHORT}
    return {short: stats.process_spread(locations, priors[short]) for short, locations in found.items()}


def _is_short(clock: str, means: list[float]) -> bool:
    """Whether it takes a GPU so little that it shows what a process chose between near ties; docs/decisions/ties.md."""
    return clock == "cuda_events" and float(np.mean(means)) < stats.SHORT_MS


def _cell(key: Key, rows: list[Row], *, spreads: dict[bool, float], resampled: bool) -> Cell:
    status, reason = _status(rows)
    if status not in RANKED:
        return Cell(key, rows, status, reason)
    rounds = [np.asarray(row.samples["device_ms"], dtype=float) for row in rows if row.status in RANKED]
    cell = Cell(key, rows, status, reason, rounds, resampled=resampled)
    cell = replace(cell, spread=spreads[cell.is_short])
    doubt = _doubt(cell)
    return replace(cell, status="unstable", reason=doubt) if doubt else cell


def _doubt(cell: Cell) -> str:
    """Why several rounds together do not know the time well enough, although each may be sure of its own."""
    target = _target(cell.rows)
    if cell.status != "ok" or target is None:
        return ""
    low, high = asymptotic.location_interval(cell.error)
    if (high - low) / 2 <= target / 100 * cell.mean_ms:
        return ""
    return f"{WIDE_INTERVAL} ±{target:g}% over {len(cell.rounds)} rounds"


def _target(rows: list[Row]) -> float | None:
    """Wanted half-width of the interval over several usable rounds in %; None for one, and where a row does not say."""
    usable = [row for row in rows if row.status in RANKED]
    targets: list[float] = [row.options["target_percent"] for row in usable if "target_percent" in row.options]
    return max(targets) if len(targets) == len(usable) > 1 else None


def _status(rows: list[Row]) -> tuple[str, str]:
    wrong = [row for row in rows if row.status == "failed_parity"]
    usable = [row for row in rows if row.status in RANKED]
    if wrong or not usable:
        worst = wrong[0] if wrong else rows[-1]
        return worst.status, worst.reason
    mendable = _target(rows) is not None
    flawed = [row for row in rows if row.status != "ok" and not (mendable and row.only_wide)]
    if not flawed:
        return "ok", ""
    if len(rows) == 1:
        return "unstable", flawed[0].reason
    return "unstable", "; ".join(f"round {row.job.round}: {row.status}: {row.reason}" for row in flawed)
