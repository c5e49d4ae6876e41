"""The serving check: arrivals, batching and quantiles against closed forms, and one small check from end to end."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from test_engines_found import GPU, VERSION, add_engine

from harness import server, server_run
from harness.arrivals import draw_poisson
from harness.artifacts import find_models
from harness.batcher import Served, choose_size, serve_arrivals
from harness.commands import find_artifact
from harness.config import BenchConfig
from harness.interrupt import Interrupt
from harness.schema import Job, SchemaError
from harness.server import ServingCheck, find_peak
from harness.server_config import ServerConfig
from harness.server_schema import ServerRow, read_server_rows
from harness.serving import describe_served
from harness.store import RunFolder


class VirtualTimer:
    """Time that passes only when somebody waits or serves."""

    def __init__(self):
        self.now = 0.0

    def now_s(self):
        return self.now

    def wait_until(self, moment_s):
        self.now = max(self.now, moment_s)


def simulate(arrivals, service_s, max_batch=1, delay_s=0.0):
    """Serve with a batch taking `service_s(count)`."""
    timer = VirtualTimer()

    def serve(first, count):
        timer.now += service_s(count)

    return serve_arrivals(np.asarray(arrivals, dtype=float), serve, max_batch, delay_s, timer)


def test_gaps_between_arrivals_are_exponential_and_independent():
    """Kolmogorov-Smirnov against the exponential law; no correlation from gap to gap; the rate over the time."""
    times = draw_poisson(200.0, 50.0, seed=3)
    gaps = np.diff(times)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 200)).pvalue > 0.01
    assert stats.pearsonr(gaps[:-1], gaps[1:]).pvalue > 0.01
    assert times[-1] < 50
    assert stats.binomtest(len(times), 20_000, 0.5).proportion_ci(0.999).low < 0.51
    assert np.array_equal(times, draw_poisson(200.0, 50.0, seed=3))


def test_at_a_low_rate_as_many_arrive_as_the_poisson_law_says_and_often_nobody():
    """Half a request in 10 s on average: counts by their law, moments spread evenly over the time, none after it."""
    trials = [draw_poisson(0.05, 10.0, seed) for seed in range(2000)]
    seen = [sum(len(times) == count for times in trials) for count in range(3)]
    law = [2000 * stats.poisson.pmf(count, 0.5) for count in range(3)]
    assert stats.chisquare([*seen, 2000 - sum(seen)], [*law, 2000 - sum(law)]).pvalue > 0.01
    assert stats.kstest(np.concatenate(trials), "uniform", args=(0, 10)).pvalue > 0.01


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_without_batching_the_wait_is_that_of_pollaczek_and_khinchine(load):
    """M/D/1: mean wait = load x service / (2 (1 - load))."""
    service_s = 0.01
    served = simulate(draw_poisson(load / service_s, 4000.0, seed=1), lambda count: service_s)
    wait = (served.done - served.arrived).mean() - service_s
    assert wait == pytest.approx(load * service_s / (2 * (1 - load)), rel=0.05)


def test_a_batch_waits_for_its_delay_or_until_it_is_full():
    """Delay 10 ms, at most 3: a full batch leaves with its third request, a lone one after the delay."""
    served = simulate([0.000, 0.004, 0.006, 0.100, 0.105, 0.200], lambda count: 0.001, max_batch=3, delay_s=0.010)
    assert served.sizes.tolist() == [3, 2, 1]
    assert served.done == pytest.approx([0.007] * 3 + [0.111] * 2 + [0.211])


def test_while_the_device_is_busy_requests_gather():
    """Four arrive during one second of service and are served together, at once, up to the largest batch."""
    served = simulate([0.0, 0.2, 0.4, 0.6, 0.8], lambda count: 1.0, max_batch=3)
    assert served.sizes.tolist() == [1, 3, 1]
    assert served.done.tolist() == [1.0, 2.0, 2.0, 2.0, 3.0]


def test_no_rate_above_the_full_batch_is_answered():
    """Service 1 s + 1 s per image, at most 4: 0.8 images/s, however many are offered."""
    served = simulate(draw_poisson(5.0, 400.0, seed=2), lambda count: 1.0 + count, max_batch=4)
    assert len(served.arrived) / served.done[-1] == pytest.approx(0.8, rel=0.01)
    queue = describe_served(served, 1000.0)["queue"]
    assert queue == sorted(queue)
    assert queue[-1] == pytest.approx(400 * (5.0 - 0.8), rel=0.1)


def test_a_batch_is_padded_to_the_next_prepared_size():
    """The smallest that holds it."""
    assert [choose_size(count, [1, 4, 16]) for count in (1, 2, 4, 5, 16)] == [1, 4, 4, 16, 16]


def test_quantiles_and_late_requests_are_those_of_numpy():
    """Over 10 ms counts as missed, 10 ms itself does not."""
    arrived = np.arange(4.0)
    described = describe_served(Served(arrived, arrived + np.array([0.002, 0.010, 0.011, 0.5]), np.array([1, 3])), 10.5)
    assert described["missed"] == 2
    assert described["latency_ms"][50] == pytest.approx(np.median([2, 10, 11, 500]))
    assert described["batches"] == {"1": 1, "3": 1}


def test_one_stall_of_the_machine_does_not_lower_the_peak():
    """The first trial of all is spoilt; its rate is tried again."""
    spoilt = iter([False])

    class Answer:
        requests = 1

        def __init__(self, rate):
            self.keeps_limit = next(spoilt, rate <= 73.2)

    assert find_peak(lambda rate, seconds, purpose: Answer(rate), 100.0, 1.0, lambda: False) > 70


def test_the_search_comes_within_a_sixtyfourth_of_the_bound_of_the_true_peak():
    """A server that keeps its limit up to 73.2/s; offline 100/s; six halvings, a rate that fails is tried again."""
    tried = []

    class Answer:
        requests = 1

        def __init__(self, rate):
            tried.append(rate)
            self.keeps_limit = rate <= 73.2

    peak = find_peak(lambda rate, seconds, purpose: Answer(rate), 100.0, 1.0, lambda: False)
    assert 73.2 - 100 / 2**6 <= peak <= 73.2
    assert len(tried) == 6 + sum(rate > 73.2 for rate in set(tried))
    assert find_peak(lambda rate, seconds, purpose: Answer(1000.0), 100.0, 1.0, lambda: False) is None


@pytest.mark.parametrize(("came", "peak", "tried"), [((), None, 2), ((50.0,), 50.0, 3), ((50.0, 75.0), 75.0, 5)])
def test_the_search_ends_where_nobody_comes(came, peak, tried):
    """What was kept before is the peak; a rate whose second trial has requests is judged by it."""
    rates = []

    def attempt(rate, seconds, purpose):
        rates.append(rate)
        arrived = rate in came and (rate == 50.0 or rates.count(rate) == 2)
        return SimpleNamespace(keeps_limit=arrived, requests=int(arrived))

    assert find_peak(attempt, 100.0, 1.0, lambda: False) == peak
    assert len(rates) == tried


@pytest.fixture
def check(weights_dir, tmp_path, monkeypatch):
    """A serving check whose worker answers at once; the check, its rows, and what each command may take in s."""

    def build(requests, **settings):
        arrived = np.arange(1.0, 1.0 + requests)
        served = describe_served(Served(arrived, arrived + 0.001, np.array([1])), 5.0) if requests else {"requests": 0}
        limits, rows = {}, []

        class Worker:
            def __init__(self, *arguments):
                pass

            def ask(self, command, timeout_s):
                limits[command["do"]] = timeout_s
                return {"event": "fine", "versions": {}, "offline_fps": {"1": 0.1}} | (
                    {"event": "served", **served} if command["do"] == "server" else {}
                )

            def stop(self):
                pass

        known = {"on_row": rows.append, "on_peak": rows.append, "interrupt": Interrupt()}
        monkeypatch.setattr(server, "WorkerProcess", Worker)
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir()
        known |= {"folder": folder, "models": find_models(weights_dir, [8]), "machine": {"device": "d", "kind": "cpu"}}
        return ServingCheck(BenchConfig(["pytorch"]), ServerConfig(**settings), threads=1, **known), rows, limits

    return build


def test_the_time_for_which_requests_arrive_is_no_timeout(check):
    """An hour's check under the default --job_timeout_s of 10 minutes."""
    serving, rows, limits = check(3, rate=2.0, serve_seconds=3600.0, search_seconds=20.0)
    serving.run()
    assert [row.status for row in rows] == ["ok", "ok"]
    assert limits == {"load": 600.0, "prepare": 600.0, "offline": 620.0, "server": 4200.0}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate": 0.01}, ["no request arrived in 30 s at 0.01/s: give a longer --serve_seconds"]),
        ({}, ["no request arrived in 10 s at 0.05/s: give a longer --search_seconds"] * 2 + [None]),
    ],
)
def test_a_step_in_which_nobody_came_is_a_line_that_names_the_flag(check, settings, said):
    """Asked for by --rate, or met on the way to the peak, which is none then."""
    serving, rows, _ = check(0, **settings)
    serving.run()
    assert [row and row.reason for row in rows[1:]] == said
    assert all(row.status == "skipped" and not row.keeps_limit for row in rows[1:] if row)
    assert len(list(read_server_rows(serving.folder.rows_path.read_text()))) == 1 + len([s for s in said if s])


SERVER = ("--scenario", "server", "--batch_sizes", "[1,2,4]", "--search_seconds", "0.3", "--serve_seconds", "0.5")


@pytest.mark.slow
def test_a_serving_check_leaves_a_row_for_every_step(run_harness, tmp_path):
    """Offline, the search, two checks around the peak; a contender that fails has one row with the reason."""
    code, out, err = run_harness("--backends", "[faulty/fine,faulty/missing]", "--run_id", "s", *SERVER)
    assert (code, err) == (0, ""), err
    rows = list(read_server_rows((tmp_path / "results/s/server.jsonl").read_text()))
    searched = len(rows) - 4
    assert 6 <= searched <= 12
    assert [row.purpose for row in rows] == ["offline", *["search"] * searched, "check", "check", "offline"]
    assert (rows[-1].status, rows[-1].reason) == ("unavailable", "libfaulty.so is not here")
    low, high = rows[-3:-1]
    assert high.rate_per_s / low.rate_per_s == pytest.approx(1.5)
    assert len({row.seed for row in rows if row.scenario == "server"}) == searched + 2
    assert all(row.wrong == 0 for row in rows)
    assert out.count("faulty/fine/fp32 8 px") == searched + 3
    assert not (tmp_path / "results/s/rows.jsonl").exists(), "it is no sweep"


def test_more_than_the_server_can_stand_is_said_with_numbers(run_harness, tmp_path):
    """2 ms a batch of at most one: 500/s. 900/s are offered."""
    rate = ("--rate", "900", "--batch_sizes", "[1]", "--p99_limit_ms", "20", "--batch_delay_ms", "0")
    code, out, _ = run_harness("--backends", "[faulty/fine]", "--run_id", "s", *SERVER, *rate)
    assert code == 0
    row = list(read_server_rows((tmp_path / "results/s/server.jsonl").read_text()))[-1]
    assert row.answered_per_s <= 500
    assert row.missed > row.requests / 2
    assert row.queue[-1] > row.queue[0]
    assert "limit NOT kept: p99 is" in out


def test_a_worker_does_not_wait_for_requests_beyond_the_time(run_harness, tmp_path):
    """One in 1000 s on average, watched for half a second: it says so at once, and the check ends well."""
    code, out, _ = run_harness("--backends", "[faulty/fine]", "--run_id", "s", *SERVER, "--rate", "0.001")
    assert (code, out.count("skipped: no request arrived in 0.5 s at 0.001/s")) == (0, 1)


def test_a_backend_that_answers_wrongly_is_not_served(run_harness, tmp_path):
    """Every prepared size is asked for the reference's answers, with all others bound."""
    run_harness("--backends", "[faulty/wrong]", "--run_id", "s", *SERVER)
    rows = list(read_server_rows((tmp_path / "results/s/server.jsonl").read_text()))
    assert [row.status for row in rows] == ["failed_parity"]


def test_it_serves_the_engine_of_this_gpu_and_its_tensorrt(weights_dir, tmp_path, monkeypatch):
    """As a sweep finds it; without both, the worker is told that nothing is built."""
    path, found = add_engine(weights_dir), {}
    monkeypatch.setattr(server_run, "describe_machine", lambda device: {"device": GPU, "kind": "cuda"})
    monkeypatch.setattr(server_run, "find_tensorrt_versions", lambda config, kind: {"tensorrt_engine": VERSION})
    monkeypatch.setattr(server_run, "observe_load", lambda kind: {"processes": [], "gpu": None})

    class Check:
        def __init__(self, config, settings, folder, models, *others):
            found.update(models)

        def run(self):
            pass

    monkeypatch.setattr(server_run, "ServingCheck", Check)
    config = BenchConfig(["tensorrt_engine/graph/fp16"], threads=1)
    assert server_run.run_server(config, ServerConfig(), "s", weights_dir, tmp_path / "results") == 0
    assert find_artifact(Job("tensorrt_engine", "graph", "fp16", 8, 1), found[8]).path == path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rate", "0"], "--rate 0.0: must be over 0"),
        (["--batch_delay_ms", "-1"], "--batch_delay_ms -1.0: must be 0 or more"),
        (["--rate", ".nan"], "--rate nan: must be a finite number"),
        (["--serve_seconds", ".inf"], "--serve_seconds inf: must be a finite number"),
        (["--resume", "r"], "--resume: not with --scenario server"),
        (["--profile", "[x]"], "--profile: not with --scenario server"),
    ],
)
def test_bad_settings_are_one_line(refuse, arguments, expected):
    """The flag and what it may be."""
    assert expected in refuse("--scenario", "server", *arguments)


def make_row(**changes):
    known = {"run_id": "r", "started_at": "2026-01-01T00:00:00Z", "backend": "b", "variant": "v", "precision": "fp32"}
    known |= {"image_size": 8, "device": "d", "threads": 1, "batch_sizes": [1], "batch_delay_ms": 0.0, "limit_ms": 5.0}
    known |= {"scenario": "server", "purpose": "check", "latency_ms": [1.0] * 102, "requests": 2, "missed": 1}
    return ServerRow(**(known | changes))


def test_a_row_of_version_1_is_read_as_one_of_resnet18():
    """It was written before rows named their network."""
    values = json.loads(make_row().to_json())
    del values["arch"]
    old = ServerRow.from_json(json.dumps(values | {"schema_version": 1}))
    assert (old.arch, old.schema_version) == ("resnet18", 2)


def test_a_row_cannot_be_built_wrong():
    """Unknown words, quantiles that are none, more misses than requests, another version."""
    row = make_row()
    assert ServerRow.from_json(row.to_json()) == row
    for changes in ({"scenario": "x"}, {"latency_ms": [1.0]}, {"missed": 3}, {"status": "oom"}, {"schema_version": 3}):
        with pytest.raises(SchemaError):
            make_row(**changes)
    with pytest.raises(SchemaError, match="unknown fields: more"):
        ServerRow.from_json(json.dumps({**json.loads(row.to_json()), "more": 1}))


def test_settings_touch_nothing():
    """The defaults are valid."""
    assert ServerConfig().p99_limit_ms == 100


def test_what_unicode_calls_a_line_end_does_not_end_a_serving_row():
    row = make_row(status="crashed", reason="one paragraph\u2028another")
    assert list(read_server_rows(row.to_json() + "\n" + row.to_json())) == [row]
