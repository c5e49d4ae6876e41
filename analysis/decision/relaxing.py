"""What to give up when nothing meets every need: the smallest step per need, computed from the measured cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.decision.choice import Decision, missed
from analysis.decision.needs import Limit, Needs
from analysis.decision.options import Option


@dataclass(frozen=True)
class Relaxation:
    """Limits changed `to` new values, all of them together, let `option` in; `asked` are the limits as they were."""

    option: Option
    asked: list[Limit]
    to: list[float]


@dataclass(frozen=True)
class Widening:
    """Without the scope `flag`, `option` keeps every limit; it is the best such by the objective."""

    flag: str
    option: Option


def relax_each(decision: Decision) -> dict[Limit, Relaxation | None]:
    """For each limit the smallest change that lets an option in while all others hold; None: no change of it does."""
    limits = decision.needs.limits
    scope = [option for option in decision.options if not decision.needs.outside(option)]
    found: dict[Limit, Relaxation | None] = {}
    for limit in limits:
        near = [option for option in scope if missed(limits, option) == [limit]]
        found[limit] = _relaxation(min(near, key=limit.excess), [limit]) if _recorded(near, limit) else None
    return {limit: relaxation for limit, relaxation in found.items() if _is_missed(limit, scope)}


def relax_together(decision: Decision) -> Relaxation | None:
    """The option in scope that misses the fewest limits, by the least in sum of shares; None when none is known."""
    limits = decision.needs.limits
    scope = [option for option in decision.options if not decision.needs.outside(option)]
    steps = [(missed(limits, option), option) for option in scope]
    known = [(out, sum(limit.excess(option) for limit in out), option) for out, option in steps if out]
    known = [step for step in known if math.isfinite(step[1])]
    if not known:
        return None
    out, _, option = min(known, key=lambda step: (len(step[0]), step[1]))
    return _relaxation(option, out)


def widen_each(decision: Decision) -> list[Widening]:
    """Scopes that alone keep a solution out, with the best option behind each."""
    needs, found = decision.needs, []
    for flag in sorted(decision.outside):
        behind = [o for o in decision.options if needs.outside(o) == [flag] and not missed(needs.limits, o)]
        behind = [option for option in behind if option.value(needs.objective) is not None]
        if behind:
            found.append(Widening(flag, _best(behind, needs)))
    return found


def _best(options: Sequence[Option], needs: Needs) -> Option:
    better = max if needs.objective == "fps" else min
    return better(options, key=lambda option: option.value(needs.objective) or 0.0)


def _is_missed(limit: Limit, scope: Sequence[Option]) -> bool:
    return any(limit.excess(option) > 0 for option in scope)


def _recorded(options: Sequence[Option], limit: Limit) -> bool:
    return any(math.isfinite(limit.excess(option)) for option in options)


def _relaxation(option: Option, limits: list[Limit]) -> Relaxation:
    return Relaxation(option, limits, [limit.relaxed(limit.read(option) or 0.0) for limit in limits])
