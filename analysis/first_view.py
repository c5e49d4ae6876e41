"""What a person sees first in TensorBoard: addresses that open on a run's own charts, and the Custom Scalars layout.

TensorBoard's older pages select no run where a folder holds more than 40; a filter in the address leaves few enough.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote, urlencode

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.util import tensor_util

from analysis.study import Study

ADDRESS = "http://localhost:6006/"
MOST_PINNED = 4
CHARTS = {  # title of a category -> names of scalars, a chart per image size each
    "Which is fastest: images per second over batch size": "fps",
    "Against PyTorch: speedup over batch size": "speedup",
    "Where batches stop paying: ms per image over batch size": "ms_per_image",
    "What a caller waits: host_ms over batch size": "host_ms",
}


def make_addresses(study: Study) -> dict[str, str]:
    """Address by what is seen there. The first pins FPS over batch size, of this run's contenders alone."""
    sizes = sorted(int(size) for size in set(study.ranked["image_size"]))[:MOST_PINNED]
    pinned = [{"plugin": "scalars", "tag": f"fps_over_batch_size/{size}_px"} for size in sizes]
    folder = f"^bench/{re.escape(study.run.run_id)}/"
    shown, report = f"{folder}[^/]+$", f"{folder}report$"
    query = {"pinnedCards": json.dumps(pinned, separators=(",", ":")), "runFilter": shown, "smoothing": "0"}
    return {
        "Images per second, every approach": f"{ADDRESS}?{urlencode(query)}#timeseries",
        "The main questions": f"{ADDRESS}#custom_scalars&_smoothingWeight=0&regexInput={quote(shown, safe='')}",
        "All jobs in a table": f"{ADDRESS}#hparams",
        "Figures": f"{ADDRESS}#images&regexInput={quote(report, safe='')}",
        "Report": f"{ADDRESS}#text&regexInput={quote(report, safe='')}",
    }


def make_layout(study: Study) -> Summary:
    """The Custom Scalars dashboard: the main questions, a chart per image size; all but the first are folded."""
    sizes = sorted(int(size) for size in set(study.ranked["image_size"]))
    categories = [
        layout_pb2.Category(title=title, chart=[_chart(name, size) for size in sizes], closed=number > 0)
        for number, (title, name) in enumerate(CHARTS.items())
    ]
    content = layout_pb2.Layout(category=categories).SerializeToString(deterministic=True)
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=tensor_util.make_tensor_proto(content),
    )
    return Summary(value=[value])


def _chart(name: str, size: int) -> layout_pb2.Chart:
    lines = layout_pb2.MultilineChartContent(tag=[f"^{name}_over_batch_size/{size}_px$"])
    return layout_pb2.Chart(title=f"{size} px", multiline=lines)
