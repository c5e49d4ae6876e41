from __future__ import annotations

import io
import re
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from analysis.cells import build_cells
from analysis.figures import scaling, tradeoff
from analysis.figures.draw import FIGURES, save
from analysis.language import Language
from analysis.load import Run, load_run
from analysis.study import Study, judge
from analysis.summary import summarise
from tests.analysis import synthetic

pytestmark = pytest.mark.slow

ENGLISH = Language("en")


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Twenty-two contenders, four sizes, eight batches, on a card with telemetry, ceilings and trained weights."""
    folder = tmp_path_factory.mktemp("gpu") / "results" / "study"
    tensorrt = tuple(model for model in synthetic.GPU if model.backend in ("torch_trt", "tensorrt_engine"))
    synthetic.write_run(folder, synthetic.study_rows(models=(*synthetic.STUDY, *tensorrt)))
    synthetic.write_gpu_facts(folder)
    return judge(load_run(folder.parent, "study")).table


@pytest.fixture(scope="module")
def long_named(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The longest names there are, one of them of a library that is raced in two environments."""
    folder = tmp_path_factory.mktemp("long") / "results" / "study"
    models = (
        synthetic.STUDY[0],
        synthetic.Model("pytorch", "compile_dynamic", "fp16", 0.26, 0.0110),
        synthetic.Model("torch_trt", "torchscript_graph", "fp16", 0.39, 0.0101),
        synthetic.Model("torch_trt@pypi", "torchscript_graph", "fp16", 0.38, 0.0091),
    )
    synthetic.write_run(folder, synthetic.study_rows(models=models, batches=(1, 64, 1024)))
    synthetic.write_gpu_facts(folder)
    return judge(load_run(folder.parent, "study")).table


def drawn_labels(figure: Figure) -> list[set[str]]:
    return [{text.get_text() for text in axes.texts} for axes in figure.axes]


@pytest.mark.parametrize("draw", [scaling.fps_vs_batch, scaling.time_vs_batch, tradeoff.latency_vs_throughput])
def test_one_panel_per_size_and_the_best_of_each_library_and_precision_in_each(
    draw: object, crowded: pd.DataFrame
) -> None:
    figure = draw(crowded, ENGLISH, "caption")  # type: ignore[operator]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["224 px", "256 px", "384 px", "512 px"]
    best = {
        *("PyTorch compile fp32", "PyTorch compile tf32", "PyTorch compile fp16"),
        *("ONNX Runtime tuned fp32", "ONNX Runtime tuned tf32", "ONNX Runtime tuned fp16"),
        *("Torch-TensorRT fp16", "TensorRT engine fp16", "TensorRT engine int8"),
    }
    assert drawn_labels(figure) == [best] * 4


def test_four_panels_at_most_for_batches_with_the_smallest_and_the_largest(crowded: pd.DataFrame) -> None:
    figure = scaling.fps_vs_size(crowded, ENGLISH, "caption")
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 4
    assert (titles[0], titles[-1]) == ("batch 1", "batch 1024")


@pytest.mark.parametrize("language", [ENGLISH, Language("ru")], ids=["en", "ru"])
@pytest.mark.parametrize("name", FIGURES)
def test_no_two_labels_overlap_and_none_is_cut_off(name: str, language: Language, crowded: pd.DataFrame) -> None:
    figure = FIGURES[name](crowded, language, "caption")
    assert figure is not None
    figure.canvas.draw()  # axis labels find their place when they are drawn
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    page = figure.bbox
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    boxes = [Text.get_window_extent(text, renderer) for text in texts]  # of an annotation: without its leader
    for text, box in zip(texts, boxes, strict=True):
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
    # lines of text may touch by their ascenders' room, not by their letters
    letters = [Bbox.from_extents(b.x0, b.y0 + 0.15 * b.height, b.x1, b.y1 - 0.15 * b.height) for b in boxes]
    assert [
        (a.get_text(), b.get_text())
        for (a, x), (b, y) in combinations(zip(texts, letters, strict=True), 2)
        if x.overlaps(y)
    ] == []


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("language", [ENGLISH, Language("ru")], ids=["en", "ru"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_text_lies_on_the_page_however_long_the_names(
    name: str, language: Language, kind: str, long_named: pd.DataFrame
) -> None:
    """Measured as the file is drawn: the same letters differ in width from one resolution to another."""
    figure = FIGURES[name](long_named, language, "NVIDIA H100 80GB HBM3 · clock: cuda_events · run nvidia-h100")
    assert figure is not None
    figure.set_dpi(160 if kind == "png" else 72)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    if kind == "svg":
        renderer = RendererSVG(*figure.bbox.size, io.StringIO())
    figure.draw(renderer)
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            box = Text.get_window_extent(text, renderer)
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
            assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, text


def test_batch_axis_is_logarithmic_with_the_batches_as_ticks(study: Study) -> None:
    figure = scaling.fps_vs_batch(study.table, ENGLISH, "caption")
    assert figure is not None
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [float(tick) for tick in axes.get_xticks()] == [1.0, 4.0, 8.0]


def test_a_contender_keeps_its_colour_in_every_figure(crowded: pd.DataFrame) -> None:
    colours: dict[str, set[str]] = {}
    for draw in (scaling.fps_vs_batch, scaling.speedup_vs_size, tradeoff.accuracy_vs_fps):
        figure = draw(crowded, ENGLISH, "caption")
        assert figure is not None
        for axes in figure.axes:
            for text in axes.texts:
                colours.setdefault(text.get_text().split(" fp")[0].split(" int")[0], set()).add(str(text.get_color()))
    assert all(len(found) == 1 for found in colours.values())


def test_a_missing_cell_breaks_the_line(study: Study) -> None:
    figure = scaling.fps_vs_batch(study.table[study.table["backend"] == "pytorch"], ENGLISH, "caption")
    assert figure is not None
    y = [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[1].lines]
    assert any(len(values) == 3 and np.isnan(values[2]) for values in y)


def test_nothing_measured_draws_nothing() -> None:
    rows = [synthetic.failed_row(synthetic.CPU[0], 224, 1, "crashed", "died")]
    table = summarise(build_cells(rows), {})
    assert [draw(table, ENGLISH, "caption") for draw in FIGURES.values()] == [None] * len(FIGURES)


def test_no_baseline_draws_no_speedup() -> None:
    table = summarise(build_cells(synthetic.make_rows(synthetic.CPU[4:6], (224,), (1, 8), count=5)), {})
    assert scaling.speedup_vs_batch(table, ENGLISH, "caption") is None
    assert scaling.fps_vs_batch(table, ENGLISH, "caption") is not None


def test_one_size_draws_nothing_over_it() -> None:
    table = summarise(build_cells(synthetic.make_rows(synthetic.CPU[:2], (224,), (1, 8), count=5)), {})
    drawn = {name for name, draw in FIGURES.items() if draw(table, ENGLISH, "caption") is not None}
    assert {"fps_vs_batch", "speedup_vs_batch", "time_vs_batch"} <= drawn
    assert not [name for name in drawn if name.endswith("_vs_size")]


def test_a_batch_whose_energy_is_unknown_breaks_the_line(crowded: pd.DataFrame) -> None:
    """Also where nobody's is known: the line does not run on to the next batch."""
    table = crowded[crowded["contender"] == "pytorch/eager/fp32"].copy()
    table.loc[table["batch_size"].isin([16, 64]), "energy_j_per_image"] = np.nan
    figure = scaling.energy_vs_batch(table, ENGLISH, "caption")
    assert figure is not None
    y = np.asarray(figure.axes[0].lines[0].get_ydata(), dtype=float)
    assert list(np.isnan(y)) == [False, False, True, True, False, False, False, False]


NEEDS_MORE = ("roofline", "load_bars", "energy_vs_batch", "pixels_vs_size", "fps_vs_size", "speedup_vs_size")


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in NEEDS_MORE])
def test_one_size_and_one_batch_still_draw_without_warnings(name: str) -> None:
    rows = synthetic.make_rows(synthetic.CPU[:2], (224,), (8,), count=1)
    table = judge(Run("x", Path("x"), rows)).table
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name](table, Language("ru"), "цена $ и $")
        assert figure is not None
        figure.canvas.draw()


def test_files_are_the_same_byte_for_byte(study: Study, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        figure = tradeoff.accuracy_vs_fps(study.table, ENGLISH, "caption")
        assert figure is not None
        save(figure, tmp_path / folder / "figure")
    for name in ("figure.png", "figure.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_ids_of_two_drawings_can_stand_in_one_page(study: Study, tmp_path: Path) -> None:
    """Every reference leads to an id of its own file, and no id is in both."""
    ids = []
    for name in ("fps_vs_batch", "time_vs_batch"):
        figure = FIGURES[name](study.table, ENGLISH, "caption")
        assert figure is not None
        save(figure, tmp_path / name)
        svg = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        ids.append(set(re.findall(r' id="([^"]+)"', svg)))
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= ids[-1]
    assert not ids[0] & ids[1]


def test_every_name_is_readable_at_the_width_of_a_page(crowded: pd.DataFrame) -> None:
    """At 800 px a point of type is 800 / 72 / width pixels: no text below 10 of them."""
    for draw in FIGURES.values():
        figure = draw(crowded, ENGLISH, "caption")
        assert figure is not None
        assert min(text.get_fontsize() for text in figure.findobj(Text)) / 72 * 800 / figure.get_figwidth() >= 10


def test_saturation_batch_wears_a_ring(study: Study) -> None:
    figure = scaling.fps_vs_batch(study.table[study.table["backend"] == "pytorch"], ENGLISH, "caption")
    assert figure is not None
    rings = [line.get_xdata() for line in figure.axes[0].lines if line.get_markersize() == 9]
    expected = study.saturation.query("image_size == 224 and contender.str.startswith('pytorch')")
    expected = expected.sort_values("contender")
    assert [int(x[0]) for x in rings] == list(expected["saturation_batch"])
