"""The HParams dashboard: one line per cell, what was chosen and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.scalar import summary_v2 as scalar

from analysis.events import Item
from analysis.findings import Line, lines
from analysis.study import Study

MOST_JOBS = 300  # TensorBoard shows no run by itself where a folder holds more than 500
CHOSEN = {  # five, as many as the page shows by itself
    "backend": api_pb2.DATA_TYPE_STRING,
    "variant": api_pb2.DATA_TYPE_STRING,
    "precision": api_pb2.DATA_TYPE_STRING,
    "image_size": api_pb2.DATA_TYPE_FLOAT64,
    "batch_size": api_pb2.DATA_TYPE_FLOAT64,
}
# metric -> columns of the summary, the first that is known; the same for every run, as a folder has one table
OUTCOME = {
    "fps": ("fps",),
    "ms_per_image": ("ms_per_image",),
    "mfu_percent": ("mfu_peak_percent", "mfu_ceiling_percent"),
    "accuracy": ("accuracy", "val_accuracy"),
    "memory_mb": ("gpu_process_memory_mb", "gpu_memory_mb", "cpu_memory_mb"),
    "host_ms": ("host_ms",),
    "speedup": ("speedup",),
}


def describe_table() -> Summary:
    """Columns of the table. Without domains: those of another run in the same folder would filter this one's lines."""
    columns = [api_pb2.HParamInfo(name=name, type=kind) for name, kind in CHOSEN.items()]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"job/{name}"), display_name=name) for name in OUTCOME]
    experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics)
    return _summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment))


def pick_jobs(study: Study) -> list[Line]:
    """Every ranked cell; of more than MOST_JOBS, those of as many batch sizes as fit, the fastest one among them."""
    ranked = study.ranked
    groups = ranked.groupby(["contender", "image_size"], sort=True)
    if len(ranked) <= MOST_JOBS:
        return lines(ranked)
    share = max(1, MOST_JOBS // groups.ngroups)
    picked = [index for _, part in groups for index in _pick_batches(part, share)]
    return lines(ranked.loc[sorted(picked)])


def _pick_batches(part: pd.DataFrame, count: int) -> set[Any]:
    """Labels of at most `count` lines: the fastest, the rest evenly spaced over batch size."""
    others = part.drop(index=part["fps"].idxmax()).sort_values("batch_size").index
    step = max(1, -(-len(others) // max(1, count - 1)))
    return {part["fps"].idxmax(), *(others[::step][: count - 1])}


def job_items(line: Line, wall_time: float) -> Iterator[Item]:
    """One line of the table: a session of TensorBoard's, started and ended, and its metrics."""
    started = plugin_data_pb2.SessionStartInfo(start_time_secs=wall_time)
    for name, kind in CHOSEN.items():
        if kind == api_pb2.DATA_TYPE_STRING:
            started.hparams[name].string_value = str(line[name])
        else:
            started.hparams[name].number_value = float(line[name])
    ended = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=wall_time)
    start_data = plugin_data_pb2.HParamsPluginData(session_start_info=started)
    yield Item(0, _summary(metadata.SESSION_START_INFO_TAG, start_data))
    yield Item(0, _summary(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=ended)))
    for name, columns in OUTCOME.items():
        value = next((line[column] for column in columns if pd.notna(line.get(column))), None)
        if value is not None:
            yield Item(0, scalar.scalar_pb(f"job/{name}", float(value)))


def _summary(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary:
    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])
