"""The decision: which option wins, by how much, what it costs to build, and why the others fall out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis import stats
from analysis.cells import Key
from analysis.decision.needs import Limit, Needs
from analysis.decision.options import Option, build_options
from analysis.load import InputError
from analysis.saturation import TOLERANCE
from analysis.study import Study
from harness.schema import BASELINE


@dataclass(frozen=True)
class Margin:
    """How many times better the winner is by the objective, its 99% interval and verdict (see stats.verdict)."""

    ratio: float
    interval: stats.Interval
    verdict: str


@dataclass(frozen=True)
class Payback:
    """After how many images a build that takes `extra_s` longer than another's has paid for itself.

    `images` is inf when an image never takes less time; `interval` is at 95%, its upper end inf when the draws do not
    exclude that. `seconds` is the time from the start of the build until then.
    """

    against: Option
    extra_s: float
    images: float
    interval: stats.Interval
    seconds: float


@dataclass(frozen=True)
class Exclusion:
    """Options that miss one limit, and how many of them miss nothing else; `unknown` have no such number."""

    limit: Limit
    cells: int
    alone: int
    unknown: int


@dataclass(frozen=True)
class Decision:
    """`eligible`: in scope, every limit kept, the objective known; best first. Empty: there is no winner.

    `runner_up` is the best option of another approach (library, variant or precision); `lighter` the same approach at
    the smallest batch within 5% of the winner's objective. `unranked` counts cells by status, `outside` by the flag
    that leaves them out (an option may be under several), `unrecorded` those that keep every limit but have no
    number to rank by.
    """

    needs: Needs
    options: list[Option]
    accuracy_source: str | None
    eligible: list[Option]
    exclusions: list[Exclusion]
    unranked: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    unrecorded: int = 0

    @property
    def winner(self) -> Option | None:
        """The best eligible option."""
        return self.eligible[0] if self.eligible else None

    @property
    def runner_up(self) -> Option | None:
        """The best eligible option of another approach."""
        winner = self.winner
        others = (option for option in self.eligible if winner and option.key.contender != winner.key.contender)
        return next(others, None)

    @property
    def lighter(self) -> Option | None:
        """The winner's approach and size at the smallest eligible batch within 5% of it; None when that is itself."""
        if self.winner is None:
            return None
        mine = self.winner.key
        same = [o for o in self.eligible if (o.key.contender, o.key.image_size) == (mine.contender, mine.image_size)]
        near = [o for o in same if _advantage(self.winner, o, self.needs.objective) <= 1 / (1 - TOLERANCE)]
        least = min(near, key=lambda option: option.key.batch_size)
        return least if least.key.batch_size < mine.batch_size else None

    @property
    def baseline(self) -> Option | None:
        """PyTorch eager fp32 at the winner's size and batch, else at its best batch there; kept needs or not."""
        if self.winner is None:
            return None
        size, batch = self.winner.key.image_size, self.winner.key.batch_size
        found = [o for o in self.options if o.key == Key(size, o.key.batch_size, *BASELINE)]
        same = next((option for option in found if option.key.batch_size == batch), None)
        return same or max(found, key=lambda option: option.fps, default=None)


def decide(study: Study, needs: Needs) -> Decision:
    """Choose among a study's cells. Raises InputError: a scope or objective that the run knows nothing of."""
    needs.check_scope(study.cells)
    options, source = build_options(study)
    if options and all(option.value(needs.objective) is None for option in options):
        raise InputError(f"--objective {needs.objective}: this run recorded no such number; there are fps, host_ms")
    scope = [option for option in options if not needs.outside(option)]
    kept = [option for option in scope if not missed(needs.limits, option)]
    usable = [option for option in kept if option.value(needs.objective) is not None]
    sign = -1 if needs.objective == "fps" else 1
    eligible = sorted(usable, key=lambda option: (sign * (option.value(needs.objective) or 0.0), option.key))
    return Decision(
        needs,
        options,
        source,
        eligible,
        [_exclusion(limit, needs.limits, scope) for limit in needs.limits],
        Counter(cell.status for cell in study.cells.values() if not cell.ranked),
        Counter(flag for option in options for flag in needs.outside(option)),
        len(kept) - len(usable),
    )


def missed(limits: Sequence[Limit], option: Option) -> list[Limit]:
    """The limits that an option does not keep."""
    return [limit for limit in limits if limit.excess(option) > 0]


def find_margin(winner: Option, other: Option, objective: str) -> Margin:
    """How much better the winner is than another option."""
    ours, theirs = winner.draws(objective), other.draws(objective)
    draws = (ours, theirs) if objective == "fps" else (theirs, ours)
    interval = stats.ratio_interval(*draws)
    return Margin(_advantage(winner, other, objective), interval, stats.verdict(interval))


def find_payback(winner: Option, other: Option) -> Payback | None:
    """When the winner's longer build has paid for itself; None when it is not longer."""
    extra_s = winner.build_s - other.build_s
    if extra_s <= 0:
        return None
    saving_s = (1 / other.fps) - (1 / winner.fps)
    images = extra_s / saving_s if saving_s > 0 else np.inf
    draws = 1 / other.cell.fps_draws() - 1 / winner.cell.fps_draws()
    drawn = np.divide(extra_s, draws, out=np.full(draws.shape, np.inf), where=draws > 0)
    known = bool(np.all(np.isfinite(draws)))
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf") if known else stats.NO_INTERVAL
    return Payback(
        other, extra_s, float(images), (float(low), float(high)), winner.build_s + float(images) / winner.fps
    )


def _advantage(winner: Option, other: Option, objective: str) -> float:
    ours, theirs = winner.value(objective), other.value(objective)
    if ours is None or theirs is None:
        return float("nan")
    return ours / theirs if objective == "fps" else theirs / ours


def _exclusion(limit: Limit, limits: Sequence[Limit], scope: Sequence[Option]) -> Exclusion:
    out = [option for option in scope if limit.excess(option) > 0]
    alone = sum(missed(limits, option) == [limit] for option in out)
    return Exclusion(limit, len(out), alone, sum(limit.read(option) is None for option in out))
