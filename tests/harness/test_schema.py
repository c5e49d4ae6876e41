"""Rows cannot be built wrong, and files of other versions are refused by name."""

import dataclasses
import json

import pytest

from harness.schema import Job, Parity, Row, SchemaError, read_rows

JOB = Job("pytorch", "eager", "fp32", 224, 8)
ROW = Row(
    run_id="r",
    started_at="2026-01-01T00:00:00Z",
    job=JOB,
    device="a CPU",
    clock="cpu",
    status="ok",
    samples={"device_ms": [1.5, 1.25]},
    same_as={"host_ms": "device_ms"},
    parity=Parity(4, 1e-6, 1e-7, 1.0, 0.75),
)


def test_a_row_survives_the_round_trip():
    """JSON line and back, nested parts included."""
    assert Row.from_json(ROW.to_json()) == ROW


def test_boundaries_that_coincide_are_followed():
    """same_as leads to the samples; an unmeasured boundary is empty."""
    assert ROW.boundary("host_ms") == [1.5, 1.25]
    assert ROW.boundary("transfer_ms") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "fine"}, "status: 'fine'"),
        ({"clock": "sundial"}, "clock: 'sundial'"),
        ({"status": "crashed"}, "needs one"),
        ({"samples": {}, "same_as": {}}, "samples.device_ms: empty"),
        ({"samples": {"device_ms": [0.0]}}, "not positive"),
        ({"samples": {"device_ms": [float("nan")]}}, "not positive"),
        ({"samples": {"device_ms": [1.0], "gpu_ms": [1.0]}}, "unknown boundary 'gpu_ms'"),
        ({"same_as": {"host_ms": "transfer_ms"}}, "names no samples"),
        ({"schema_version": 99}, "schema_version: 99; this program writes version 2"),
    ],
)
def test_impossible_rows_are_refused(changes, message):
    """Each contradiction is named."""
    with pytest.raises(SchemaError, match=message.replace("(", r"\(")):
        dataclasses.replace(ROW, **changes)


@pytest.mark.parametrize("bad", [{"image_size": 0}, {"batch_size": -1}, {"precision": "fp12"}, {"batch_size": 1.5}])
def test_impossible_jobs_are_refused(bad):
    """Sizes are positive integers; precisions are those of the table."""
    with pytest.raises(SchemaError):
        dataclasses.replace(JOB, **bad)


def test_a_line_cut_short_by_a_killed_writer_is_left_out():
    """Only the last line may lack its end."""
    line = ROW.to_json()
    assert list(read_rows(line + "\n" + line[:50])) == [ROW]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_what_unicode_calls_a_line_end_does_not_end_a_row(separator):
    """A library's message may hold one, and JSON writes it as it is."""
    row = dataclasses.replace(ROW, status="unavailable", reason=f"one paragraph{separator}another")
    assert list(read_rows(f"{row.to_json()}\n{ROW.to_json()}\n")) == [row, ROW]


def test_a_damaged_line_is_named():
    """Damage anywhere else is an error with its line number."""
    with pytest.raises(SchemaError, match="line 2: not JSON"):
        list(read_rows(ROW.to_json() + "\n{oops\n"))


def test_another_schema_version_is_refused_by_name():
    """A file from a later program is not half understood."""
    values = json.loads(ROW.to_json()) | {"schema_version": 3}
    with pytest.raises(SchemaError, match="schema_version: 3; this program reads versions 1 to 2"):
        list(read_rows(json.dumps(values) + "\n"))


def test_unknown_and_missing_fields_are_named():
    """Neither is dropped in silence."""
    values = json.loads(ROW.to_json())
    with pytest.raises(SchemaError, match="unknown fields: colour"):
        Row.from_dict({**values, "colour": "red"})
    del values["device"]
    with pytest.raises(SchemaError, match="device"):
        Row.from_dict(values)
