"""The harness against loops that share no code with it; `independent.py` makes a table with more tools."""

import math
import statistics

import pytest
from independent import HARNESS, LOOP, LOOPS, Bench, compare, list_tools
from scipy.stats import binomtest

LIMIT = 0.03
TURNS = 5


def median_interval(values):
    """95% interval of the median by the order of the values, whatever their distribution."""
    ordered, n = sorted(values), len(values)
    k = max((k for k in range(n // 2) if binomtest(k, n, 0.5, alternative="less").pvalue <= 0.025), default=0)
    return ordered[k], ordered[n - 1 - k]


def may_show_a_fault(ratios, more):
    """Whether `more` ratios can bring the interval of the median of all outside the limit, on one side or the other."""
    highest, lowest = [*ratios, *[math.inf] * more], [*ratios, *[0.0] * more]
    return median_interval(highest)[0] > 1 + LIMIT or median_interval(lowest)[1] < 1 - LIMIT


@pytest.mark.alone
@pytest.mark.parametrize("backend", LOOPS)
def test_an_independent_loop_measures_the_same(exported, backend):
    """The median ratio over alternating turns is within 3% of 1.

    Another process on the machine disturbs one turn or the other, so up to three times five turns are taken. A ratio
    outside is a fault of the harness only when fifteen turns agree on it; as soon as they cannot any more, the machine
    is too noisy to tell.
    """
    bench = Bench(exported.weights_dir, image_size=64, batch_size=8, threads=2, seconds=1)
    tools = list_tools(backend, bench, timm=None)
    ratios = []
    for more in (2 * TURNS, TURNS, 0):
        times = compare({name: tools[name] for name in (HARNESS, LOOP)}, TURNS)
        ratios += [own / other for own, other in zip(times[HARNESS], times[LOOP], strict=True)]
        if abs(statistics.median(ratios) - 1) <= LIMIT:
            return
        if not may_show_a_fault(ratios, more):
            pytest.skip(f"turns differ too much to tell 3%: ratios {', '.join(f'{each:.3f}' for each in ratios)}")
    pytest.fail(f"the harness and the loop differ by more than 3%: {ratios}")


@pytest.mark.parametrize(
    ("ratios", "more", "possible"),
    [
        ([1.04] * 5, 10, True),
        ([1.0] * 3 + [1.04] * 2, 10, True),  # three outliers are allowed among fifteen
        ([1.0] * 5, 10, False),
        ([1.04] * 7 + [0.9] * 3, 5, True),
        ([1.04] * 6 + [0.9] * 4, 5, False),
        ([0.9] * 7 + [1.0] * 3, 5, True),
        ([1.04] * 12 + [0.9] * 3, 0, True),
        ([1.04] * 11 + [0.9] * 4, 0, False),
        ([0.9] * 12 + [1.04] * 3, 0, True),
    ],
)
def test_more_turns_are_taken_only_while_they_may_agree(ratios, more, possible):
    assert may_show_a_fault(ratios, more) == possible


def test_the_interval_of_a_median_is_that_of_the_order_statistics():
    """Tables of the sign test: the 4th and 12th of 15 values, the 1st and 5th of 5."""
    assert median_interval(range(1, 16)) == (4, 12)
    assert median_interval(range(1, 6)) == (1, 5)
