"""The harness against loops that share no code with it; docs/results has a table with more tools."""

import statistics

import pytest
from independent import HARNESS, LOOP, LOOPS, Bench, compare, list_tools


@pytest.mark.slow
@pytest.mark.parametrize("backend", LOOPS)
def test_an_independent_loop_measures_the_same(exported, backend):
    """The median ratio over alternating turns is within 3% of 1.

    Another process on the machine disturbs one turn or the other, so up to three times five turns are taken.
    """
    bench = Bench(exported.weights_dir, image_size=64, batch_size=8, threads=2, seconds=1)
    tools = list_tools(backend, bench, timm=None)
    ratios = []
    for _ in range(3):
        times = compare({name: tools[name] for name in (HARNESS, LOOP)}, turns=5)
        ratios += [own / other for own, other in zip(times[HARNESS], times[LOOP], strict=True)]
        if abs(statistics.median(ratios) - 1) <= 0.03:
            return
    pytest.fail(f"harness over independent loop: {ratios}")
