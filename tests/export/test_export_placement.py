"""Where Q-DQ pairs stand in each placement, by what each operator reads."""

from collections import Counter

import numpy as np
import pytest

from export.quantize import build_int8

pytestmark = pytest.mark.slow

PAIRED = "DequantizeLinear"


@pytest.fixture(scope="module")
def place(exported_once):
    """Quantise with a placement; answers with (operator, makers of what it reads, weights left out) per node."""
    images = np.random.default_rng(0).standard_normal((8, 3, 64, 64)).astype(np.float32)

    def run(placement):
        graph = build_int8(exported_once.onnx, images, "tensorrt", placement).graph
        constants = {entry.name for entry in graph.initializer}
        makers = {name: node for node in graph.node for name in node.output}
        pairs = {name for name, node in makers.items() if node.op_type == PAIRED}
        weights = {name for name in pairs if makers[makers[name].input[0]].input[0] in constants}
        return [
            (node.op_type, tuple(PAIRED if name in pairs else makers[name].op_type for name in node.input
                                 if name in makers and name not in weights))
            for node in graph.node
            if node.op_type not in ("QuantizeLinear", PAIRED)
        ]  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("placement", "sums", "pool"),
    [
        ("inputs", {(PAIRED, PAIRED): 8}, "Relu"),
        ("shortcuts", {("Conv", PAIRED): 8}, "Relu"),
        ("pool", {(PAIRED, PAIRED): 8}, PAIRED),
        ("no_add", {("Conv", PAIRED): 5, ("Conv", "Conv"): 3}, "Relu"),
        ("convolutions", {("Conv", PAIRED): 5, ("Conv", "Conv"): 3}, "Relu"),
    ],
)
def test_pairs_stand_only_where_they_are_read(place, placement, sums, pool):
    """20 int8 convolutions, each followed by ReLU or sum unquantised; ResNet-18 has 8 sums, 3 with two convolutions."""
    nodes = place(placement)
    assert [read for operator, read in nodes if operator == "Conv"] == [(PAIRED,)] * 20
    assert {read[0] for operator, read in nodes if operator == "Relu"} == {"Conv", "Add"}
    assert Counter(read for operator, read in nodes if operator == "Add") == sums
    assert [read for operator, read in nodes if operator == "MaxPool"] == [(pool,)]
    assert [read for operator, read in nodes if operator == "Gemm"] == (
        [("Flatten",)] if placement == "convolutions" else [(PAIRED,)]
    )


def test_all_has_pairs_at_outputs_too(place):
    """Thus before each ReLU."""
    assert {read for operator, read in place("all") if operator == "Relu"} == {(PAIRED,)}
