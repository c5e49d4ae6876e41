"""A profiler's trace in a table: own times against a trace written out by hand, and against torch.profiler's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.load import InputError
from analysis.study import Study
from analysis.to_tensorboard import write_events
from analysis.traces import describe_trace, describe_traces, own_times


def span(name: str, ts: float, dur: float, tid: int = 1, cat: str = "cpu_op") -> dict:
    return {"ph": "X", "name": name, "cat": cat, "ts": ts, "dur": dur, "pid": 1, "tid": tid}


def test_time_within_a_span_belongs_to_the_inner_one() -> None:
    """An outer span of 100 with 30 and 20 within, of which 5 once more; another thread is apart."""
    spans = [span("conv", 0, 100), span("gemm", 10, 30), span("copy", 12, 5), span("gemm", 50, 20), span("x", 20, 7, 2)]
    assert own_times(spans) == [
        ("conv", "cpu_op", 1, 50.0), ("gemm", "cpu_op", 2, 45.0), ("x", "cpu_op", 1, 7.0), ("copy", "cpu_op", 1, 5.0),
    ]  # fmt: skip


def test_kernels_alone_are_shown_where_there_are_any(tmp_path: Path) -> None:
    """A GPU's trace: host calls are left out, and a name with a pipe does not break the table."""
    path = tmp_path / "t.json"
    events = [span("aten::conv2d", 0, 100), span("sm90|fprop", 10, 30, 7, "kernel"), {"ph": "M", "name": "x"}]
    path.write_text(json.dumps({"traceEvents": events}))
    text = describe_trace(path)
    assert r"| sm90\|fprop | 1 | 0.030 | 100.0% |" in text
    assert "conv2d" not in text


def test_onnx_runtimes_nodes_are_named_by_their_operation(tmp_path: Path) -> None:
    """Its session's own events are left out; the file is a bare list."""
    path = tmp_path / "t.json"
    node = {**span("getitem_57_kernel_time", 10, 30, cat="Node"), "args": {"op_name": "Conv"}}
    path.write_text(json.dumps([span("session_initialization", 0, 500, 2, "Session"), node]))
    assert r"| Conv getitem\_57\_kernel\_time | 1 | 0.030 | 100.0% |" in describe_trace(path)


@pytest.mark.parametrize("content", ["{", "[1]", '{"traceEvents": 3}', '[{"ph":"X","dur":1}]'])
def test_a_file_that_is_no_trace_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"t\.json: is no trace"):
        describe_trace(path)


def test_a_file_that_is_no_trace_costs_the_others_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, on one line."""
    (tmp_path / "a.json").write_text('{"traceEvents": [{"ph": "X", "na')
    (tmp_path / "b.json").write_text(json.dumps([span("conv", 0, 100)]))
    (tmp_path / "c.json").write_bytes(b"\xff")
    assert [name for name, _ in describe_traces(tmp_path)] == ["b"]
    assert [line.split(": is no trace")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"Left out: {tmp_path / name}" for name in ("a.json", "c.json")
    ]


def test_events_are_written_beside_a_file_that_is_no_trace(study: Study, tmp_path: Path) -> None:
    """`make bench` ends with its report, and nothing half done is left."""
    run = replace(study.run, folder=tmp_path / "run")
    (run.folder / "profiles").mkdir(parents=True)
    (run.folder / "profiles/a.json").write_text("{")
    write_events(replace(study, run=run), tmp_path / "report", tmp_path / "logs")
    assert [path.name for path in (tmp_path / "logs/bench").iterdir()] == [run.run_id]


def test_own_times_are_those_of_torch_profiler(tmp_path: Path) -> None:
    """Against key_averages of the very trace, in which a small network ran."""
    torch = pytest.importorskip("torch")
    network, images = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()), torch.randn(2, 3, 32, 32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace, torch.inference_mode():
        network(images)
    trace.export_chrome_trace(str(tmp_path / "t.json"))
    spans = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    ours = {
        name: own
        for name, category, _, own in own_times(s for s in spans if s.get("ph") == "X")
        if category == "cpu_op"
    }
    theirs = {event.key: event.self_cpu_time_total for event in trace.key_averages() if event.key.startswith("aten::")}
    assert theirs
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=0.01, abs=1.0)
