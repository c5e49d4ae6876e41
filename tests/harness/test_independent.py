"""The harness against loops that share no code with it; `independent.py` makes a table with more tools."""

import statistics

import pytest
from independent import HARNESS, LOOP, LOOPS, Bench, compare, list_tools
from scipy.stats import binomtest

LIMIT = 0.03


def median_interval(values):
    """95% interval of the median by the order of the values, whatever their distribution."""
    ordered, n = sorted(values), len(values)
    k = max((k for k in range(n // 2) if binomtest(k, n, 0.5, alternative="less").pvalue <= 0.025), default=0)
    return ordered[k], ordered[n - 1 - k]


@pytest.mark.alone
@pytest.mark.parametrize("backend", LOOPS)
def test_an_independent_loop_measures_the_same(exported, backend):
    """The median ratio over alternating turns is within 3% of 1.

    Another process on the machine disturbs one turn or the other, so five turns are taken once or twice. A ratio
    outside is a fault of the harness only when the turns agree on it: else the machine is too noisy to tell.
    """
    bench = Bench(exported.weights_dir, image_size=64, batch_size=8, threads=2, seconds=1)
    tools = list_tools(backend, bench, timm=None)
    ratios = []
    for _ in range(2):
        times = compare({name: tools[name] for name in (HARNESS, LOOP)}, turns=5)
        ratios += [own / other for own, other in zip(times[HARNESS], times[LOOP], strict=True)]
        if abs(statistics.median(ratios) - 1) <= LIMIT:
            return
    low, high = median_interval(ratios)
    assert low <= 1 + LIMIT, ratios
    assert high >= 1 - LIMIT, ratios
    pytest.skip(
        f"turns differ too much to tell 3%: median ratio {statistics.median(ratios):.3f} [{low:.3f}, {high:.3f}]"
    )


def test_the_interval_of_a_median_is_that_of_the_order_statistics():
    """Tables of the sign test: the 2nd and 9th of 10 values, the 1st and 5th of 5."""
    assert median_interval(range(1, 11)) == (2, 9)
    assert median_interval(range(1, 6)) == (1, 5)
