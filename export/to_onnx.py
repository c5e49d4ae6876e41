"""PyTorch network -> ONNX model, and the logits of an ONNX file."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.files import CheckFailedError
from export.samples import limit_batch

if TYPE_CHECKING:  # heavy: imported where used
    import onnx
    import torch

OPSET = 20
INPUT_NAME, OUTPUT_NAME = "images", "logits"
FIRST_BATCHES = (1, 7)  # a file with a frozen batch axis, or one that only takes powers of two, fails here
BATCH = 32


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the exporters' warnings and log lines: they speak of their own internals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def build_onnx(network: torch.nn.Module, image_size: int, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """An fp32 ONNX model of `network`: `images` (batch, 3, image_size, image_size) -> `logits` (batch, classes).

    The batch axis is dynamic and BatchNorm is folded into the convolutions. `metadata` becomes `metadata_props`. The
    exporter's own notes are removed: they hold source paths of the exporting machine.
    """
    import torch  # noqa: PLC0415 - 2 s to import; not needed when all is up to date

    images = torch.zeros(2, 3, image_size, image_size)  # a batch of 1 would be taken for a constant
    with quiet_libraries():
        program = torch.onnx.export(
            network.eval(),
            (images,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            verbose=False,
        )
    assert program is not None  # noqa: S101 - dynamo=True always answers with a program
    model = program.model_proto
    _strip_notes(model)
    set_metadata(model, metadata)
    return model


def set_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Replace the model's `metadata_props`."""
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)


def _strip_notes(model: onnx.ModelProto) -> None:
    graph = model.graph
    for entries in (graph.node, graph.input, graph.output, graph.initializer, graph.value_info):
        for entry in entries:
            entry.ClearField("metadata_props")
            entry.ClearField("doc_string")
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")


def run_onnx(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (n, classes) of an ONNX file for normalised images (n, 3, size, size), by ONNX Runtime on the CPU.

    The file is checked by ONNX's own checker first. The images go in batches of 1, 7, 32, 32, ... so that a batch axis
    that is not dynamic is found out. Raises CheckFailedError when the file is invalid or does not run.
    """
    import onnx  # noqa: PLC0415 - heavy
    import onnxruntime  # noqa: PLC0415 - heavy

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised, too
    batch = limit_batch(BATCH, images.shape[-1])
    edges = np.cumsum([0, *FIRST_BATCHES, *[batch] * (len(images) // batch + 1)])
    batches = [images[start:stop] for start, stop in itertools.pairwise(edges) if start < len(images)]
    try:
        onnx.checker.check_model(path, full_check=True)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        dtype = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
        feeds = ({INPUT_NAME: batch.astype(dtype, copy=False)} for batch in batches)
        return np.concatenate([session.run([OUTPUT_NAME], feed)[0] for feed in feeds]).astype(np.float32)
    except Exception as error:  # the errors of ONNX and of ONNX Runtime share no base class
        raise CheckFailedError(
            f"{path.name}: not kept: invalid or does not run: {' '.join(str(error).split())}"
        ) from error
