"""TensorBoard's own plugins read what was written for them."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import orjson
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups
from tensorboard.util import tensor_util

from analysis import jobs_table
from analysis.load import load_run
from analysis.study import Study, judge
from analysis.telemetry_series import read_series
from analysis.to_tensorboard import write_events
from tests.analysis import synthetic


@pytest.fixture(scope="module")
def board(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of the messy run."""
    return write_events(study, tmp_path_factory.mktemp("none"), tmp_path_factory.mktemp("logs"))


def ask_hparams(folder: Path) -> tuple[api_pb2.Experiment, list[api_pb2.SessionGroup]]:
    """What TensorBoard's HParams plugin answers its page."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    experiment = get_experiment.Handler(RequestContext(), context, "", api_pb2.GetExperimentRequest()).run()
    wanted = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS],
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
        slice_size=1000,
    )
    return experiment, list(list_session_groups.Handler(RequestContext(), context, "", wanted).run().session_groups)


def test_the_hparams_dashboard_has_every_ranked_cell(board: Path, study: Study) -> None:
    experiment, groups = ask_hparams(board)
    assert {info.name for info in experiment.hparam_infos} == set(jobs_table.CHOSEN)
    assert [info.display_name for info in experiment.metric_infos] == list(jobs_table.OUTCOME)
    found = {}
    for group in groups:
        chosen = {n: v.string_value or v.number_value for n, v in group.hparams.items()}
        values = {metric.name.tag: metric.value for metric in group.metric_values}
        found["/".join(map(str, (chosen["backend"], chosen["variant"], chosen["precision"]))),
              int(chosen["image_size"]), int(chosen["batch_size"])] = values  # fmt: skip
    table = study.ranked.set_index(["contender", "image_size", "batch_size"])
    assert set(found) == set(table.index)
    for place, values in found.items():
        assert values["job/fps"] == pytest.approx(table.loc[place, "fps"], rel=1e-6)
        assert values["job/accuracy"] == pytest.approx(table.loc[place, "accuracy"], rel=1e-6)


def test_of_too_many_cells_each_contender_keeps_its_fastest(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_table, "MOST_JOBS", 33)
    picked = {(line["contender"], line["image_size"], line["batch_size"]) for line in jobs_table.pick_jobs(study)}
    best = study.ranked.loc[study.ranked.groupby(["contender", "image_size"])["fps"].idxmax()]
    assert {tuple(cell) for cell in best[["contender", "image_size", "batch_size"]].to_numpy().tolist()} <= picked
    assert len(best) < len(picked) <= 33


def test_the_layout_asks_the_main_questions(board: Path) -> None:
    """Custom Scalars: a chart per image size in each category, whose tag the contenders have."""
    events = EventAccumulator(str(board / "report")).Reload()
    content = tensor_util.make_ndarray(events.Tensors("custom_scalars__config__")[0].tensor_proto).item()
    layout = layout_pb2.Layout.FromString(content)
    assert [chart.title for chart in layout.category[0].chart] == ["224 px", "384 px"]
    tags = EventAccumulator(str(board / "pytorch-eager-fp32")).Reload().Tags()["tensors"]
    assert layout.category[0].chart[0].multiline.tag[0].strip("^$") in tags


def test_the_first_view_pins_charts_that_exist(board: Path) -> None:
    first = (board / "start.txt").read_text().splitlines()[0]
    query = parse_qs(urlparse(first[first.index("http") :]).query)
    pinned = [card["tag"] for card in json.loads(query["pinnedCards"][0])]
    assert pinned == ["fps_over_batch_size/224_px", "fps_over_batch_size/384_px"]
    assert set(pinned) <= set(EventAccumulator(str(board / "onnx_runtime-default-fp32")).Reload().Tags()["tensors"])


def make_series(at_s: list[float]) -> dict:
    power = [100.0 + 10 * t for t in at_s]
    return {
        "load_s": [0.1, 0.3],
        "at_s": at_s,
        "power_w": power,
        "gpm_at_s": at_s[:2],
        "sm_activity_percent": [1, None],
    }


def test_telemetry_of_the_best_batch_becomes_curves_over_time(tmp_path: Path) -> None:
    """The latest line of the cell counts, half lines and strangers do not; the x axis is milliseconds of the job."""
    rows = synthetic.make_rows(synthetic.CPU[:1], (224,), (1, 8), count=5)
    folder = synthetic.write_run(tmp_path / "one", rows)
    best = max(rows, key=lambda row: row.job.batch_size / min(row.samples["device_ms"])).job
    job = {"backend": best.backend, "variant": best.variant, "precision": best.precision, "round": 1,
           "image_size": best.image_size, "batch_size": best.batch_size}  # fmt: skip
    lines = [{"job": job, **make_series([0.0])}, {"job": job, **make_series([0.0, 0.1, 0.2])}, {"stranger": 1}]
    (folder / "telemetry.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)) + b'\n{"job":{"back')
    assert len(read_series(folder)) == 1
    target = write_events(judge(load_run(tmp_path)), tmp_path, tmp_path / "logs")
    events = EventAccumulator(str(target / "pytorch-eager-fp32")).Reload()
    points = events.Tensors("telemetry_power_w_over_ms/224_px_at_best_batch")
    assert [point.step for point in points] == [0, 100, 200]
    assert points[2].wall_time - points[0].wall_time == pytest.approx(0.2, abs=1e-6)
    assert [float(tensor_util.make_ndarray(p.tensor_proto)) for p in points] == pytest.approx([100.0, 101.0, 102.0])
    assert len(events.Tensors("telemetry_sm_activity_percent_over_ms/224_px_at_best_batch")) == 1
    assert not any("load_s" in tag for tag in events.Tags()["tensors"])
