"""How many devices, which batch limit and which queue delay serve a rate of requests within a p99."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.decision.choice import Decision
from analysis.decision.options import Option
from analysis.decision.queueing import Batcher, Forecast, ServiceTable, forecast
from analysis.stats import Array

DELAYS = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # queue delays tried, as shares of the p99
MOST_DEVICES = 10_000
STEADY = 0.995  # share of the peak rate from which a queue has no steady state worth simulating


@dataclass(frozen=True)
class Plan:
    """One way to serve the requests. `option` is the cell at the batch limit; `samples` the fewest behind any batch.

    `fewer` is the forecast with one device less; None when that cannot keep up, or there is only one.
    """

    option: Option
    devices: int
    batcher: Batcher
    forecast: Forecast
    peak_per_second: float
    samples: int
    fewer: Forecast | None = None


@dataclass(frozen=True)
class Sizing:
    """Plans, one per approach and image size, fewest devices first; `least_p99_ms` is what a lone request gets at best.

    `others` counts the approaches that need more devices, or cannot do it at all.
    """

    plans: list[Plan]
    others: int
    least_p99_ms: float


def find_sizing(decision: Decision, per_second: float, p99_ms: float) -> Sizing:
    """Size every approach whose cells meet the other needs; `per_second` requests of one image, p99 in ms."""
    groups: dict[tuple[str, int], list[Option]] = {}
    for option in decision.eligible:
        groups.setdefault((option.key.contender, option.key.image_size), []).append(option)
    tables = {name: _table(decision.options, *name) for name in groups}
    known = {name: table for name, table in tables.items() if table is not None}
    order = sorted(known, key=lambda name: -max(known[name].peak_per_second(o.key.batch_size) for o in groups[name]))
    plans: list[Plan] = []
    for name in order:
        cap = min((plan.devices for plan in plans), default=MOST_DEVICES)
        plan = _plan(groups[name], known[name], per_second, p99_ms, cap)
        plans += [plan] if plan is not None else []
    plans.sort(key=lambda plan: (plan.devices, plan.forecast.p99_ms))
    if plans:
        plans[0] = _with_fewer(plans[0], known[_name(plans[0].option)], per_second)
        plans = [plan for plan in plans if plan.devices == plans[0].devices]
    lone = min((_lone_ms(table) for table in known.values()), default=math.nan)
    return Sizing(plans, len(groups) - len(plans), lone)


def _name(option: Option) -> tuple[str, int]:
    return option.key.contender, option.key.image_size


def _table(options: Sequence[Option], contender: str, image_size: int) -> ServiceTable | None:
    """host_ms of every measured batch of an approach; None where it was not measured."""
    found: dict[int, Array] = {}
    for option in options:
        rounds = option.cell.boundary("host_ms") if _name(option) == (contender, image_size) else []
        if rounds:
            found[option.key.batch_size] = np.concatenate(rounds)
    return ServiceTable(found) if found else None


def _lone_ms(table: ServiceTable) -> float:
    """p99 of a request that finds the device idle and waits for nobody."""
    return float(np.quantile(table.ordered[min(table.ordered)], 0.99))


def _fewest(table: ServiceTable, option: Option, per_second: float) -> int:
    """Devices below which the queue grows without end."""
    if option.key.batch_size > table.largest:
        return MOST_DEVICES + 1
    return math.floor(per_second / (STEADY * table.peak_per_second(option.key.batch_size))) + 1


def _plan(options: Sequence[Option], table: ServiceTable, per_second: float, p99_ms: float, cap: int) -> Plan | None:
    """The fewest devices over batch limits and delays, at most `cap`; of equals the least p99."""
    best: Plan | None = None
    for option in options:
        fewest = _fewest(table, option, per_second)
        if _lone_ms(table) > p99_ms:  # then no number of devices helps
            break
        for share in DELAYS if option.key.batch_size > 1 else DELAYS[:1]:
            batcher = Batcher(option.key.batch_size, share * p99_ms)
            limit = min(cap, best.devices) if best else cap
            keeps = _keeps(table, batcher, per_second, p99_ms)
            devices = least(keeps, fewest, limit)
            if devices is None:
                continue
            found = _forecast(table, batcher, per_second / devices, thorough=True)
            peak = table.peak_per_second(batcher.max_batch)
            samples = min(len(values) for batch, values in table.ordered.items() if batch <= batcher.max_batch)
            plan = Plan(option, devices, batcher, found, peak, samples)
            if best is None or (devices, found.p99_ms) < (best.devices, best.forecast.p99_ms):
                best = plan
    return best


def _keeps(table: ServiceTable, batcher: Batcher, per_second: float, p99_ms: float) -> Callable[[int], bool]:
    """Whether a number of devices keeps the p99, by the upper end of its interval."""

    def keeps(devices: int) -> bool:
        rate = per_second / devices
        if _forecast(table, batcher, rate).p99_interval[1] > p99_ms:
            return False
        return _forecast(table, batcher, rate, thorough=True).p99_interval[1] <= p99_ms

    return keeps


def _forecast(table: ServiceTable, batcher: Batcher, rate: float, *, thorough: bool = False) -> Forecast:
    requests = max(5_000, 100 * batcher.max_batch)
    if not thorough:
        return forecast(rate, table, batcher, requests=requests, replications=4)
    return forecast(rate, table, batcher, requests=4 * requests)


def least(keeps: Callable[[int], bool], start: int, cap: int) -> int | None:
    """The smallest number from `start` to `cap` that `keeps`; None when none does. Assumes that more is better."""
    low, number = start - 1, start
    while number <= cap and not keeps(number):
        if number == cap:
            return None
        low, number = number, min(cap, number + max(1, number // 4))
    if number > cap:
        return None
    while number - low > 1:
        middle = (low + number) // 2
        low, number = (low, middle) if keeps(middle) else (middle, number)
    return number


def _with_fewer(plan: Plan, table: ServiceTable, per_second: float) -> Plan:
    if plan.devices - 1 < _fewest(table, plan.option, per_second):
        return plan
    return replace(plan, fewer=_forecast(table, plan.batcher, per_second / (plan.devices - 1), thorough=True))
