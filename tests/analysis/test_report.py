from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import nodes

from analysis import asymptotic
from analysis.facts import gather_facts
from analysis.language import Language
from analysis.load import Run, load_run
from analysis.markdown import TEMPLATES, environment
from analysis.report import render, write_report
from analysis.study import Study, judge
from harness.schema import AGAIN, Row
from tests.analysis import synthetic

EAGER, FAST = synthetic.CPU[0], synthetic.CPU[4]


def reports(rows: list[Row], **fields: object) -> tuple[str, str]:
    run = Run("x", Path("x"), rows, **fields)  # type: ignore[arg-type]
    facts = gather_facts(judge(run), [])
    return render(facts, "en"), render(facts, "ru")


PROSE = sorted(path.name.removesuffix(".en.md") for path in TEMPLATES.glob("*.en.md"))


def placeholders(name: str, language: str) -> set[str]:
    """Every chain of names and attributes that a template reads, `loop` aside."""
    tree = environment(Language(language)).parse((TEMPLATES / f"{name}.{language}.md").read_text(encoding="utf-8"))
    found = set()
    for node in tree.find_all((nodes.Getattr, nodes.Name)):
        chain, inner = [], node
        while isinstance(inner, nodes.Getattr):
            chain.append(inner.attr)
            inner = inner.node
        if isinstance(inner, nodes.Name) and inner.name != "loop":
            found.add(".".join([inner.name, *reversed(chain)]))
    return found


@pytest.mark.parametrize("name", PROSE)
def test_both_templates_read_the_same_facts(name: str) -> None:
    assert placeholders(name, "en") == placeholders(name, "ru")
    assert placeholders(name, "en")


@pytest.mark.parametrize("name", [f"{name}.{language}" for name in PROSE for language in ("en", "ru")])
def test_templates_hold_no_measured_number(name: str) -> None:
    """Digits in prose: definitions only (1.00, k = 2, 95%, names of precisions and caches)."""
    text = (TEMPLATES / f"{name}.md").read_text(encoding="utf-8")
    prose = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|`[^`]*`|\([^()\s]*\.png\)", "", text, flags=re.DOTALL)
    known = (
        r"L2|fp32|fp16|bf16|int8|tf32|TF32|p9[59]|top-1|95 ?%|интервал 95 %"
        r"|5 %|9[59]th|9[59]-й|1[.,]00|k = 2|: 1 |size\^"
    )
    assert re.findall(r"\d+", re.sub(known, "", prose)) == []


@pytest.mark.parametrize(
    ("arch", "label"),
    [
        ("resnet18", "ResNet-18"),
        ("mobilenet_v3_small", "MobileNetV3-Small"),
        ("vit_b_16", "ViT-B/16"),
        ("regnet_y_400mf", "regnet\\_y\\_400mf"),
    ],
)
def test_title_introduction_and_conclusion_name_the_network(arch: str, label: str) -> None:
    for text in reports([synthetic.make_row(EAGER, 224, 1, count=5, arch=arch)]):
        assert text.startswith(f"# {label} ")
        assert text.count(label) == 3
        assert arch == "resnet18" or "ResNet-18" not in text


def test_classes_and_normalisation_of_ones_own_data_are_told() -> None:
    """Of the built-in images they are always the same, and not told."""
    scale = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    record = {"classes": ["cat", "dog", "d*g"], "normalization": scale, "data": {"source": "folder"}}
    rows = [synthetic.make_row(EAGER, 224, 1, count=5)]
    english, russian = (re.sub(r"[^\S\n]", " ", text) for text in reports(rows, weights={224: record}))
    assert (
        "- **Network.** ResNet-18, 3 classes (cat, dog, d\\*g); each colour channel is normalised with the means "
        in english
    )
    assert "0.485; 0.456; 0.406 and the standard deviations 0.229; 0.224; 0.225." in english
    assert "- **Сеть.** ResNet-18, 3 класса (cat, dog, d\\*g); каждый цветовой канал нормируется: средние" in russian
    assert "0,485; 0,456; 0,406, стандартные отклонения 0,229; 0,224; 0,225." in russian
    for text in reports(rows, weights={224: {**record, "data": {"source": "builtin"}}}):
        assert "**Network.**" not in text
        assert "**Сеть.**" not in text


@pytest.mark.parametrize(
    ("language", "headings"),
    [
        ("en", ["Introduction", "Methodology", "Results", "Discussion", "Conclusion"]),
        ("ru", ["Введение", "Методология", "Результаты", "Обсуждение", "Заключение"]),
    ],
)
def test_report_has_the_five_sections_in_order(study: Study, language: str, headings: list[str]) -> None:
    text = render(gather_facts(study, []), language)
    assert [h for h in re.findall(r"^## (.+)$", text, re.MULTILINE) if h in headings] == headings


def test_answer_names_the_winner_with_numbers_from_the_rows(study: Study) -> None:
    best = study.ranked.query("image_size == 224").sort_values("fps").iloc[-1]
    text = render(gather_facts(study, []), "en")
    answer = text.split("## Introduction")[0]
    assert best["label"] in answer
    assert Language("en").number(best["fps"]) in answer
    assert Language("en").times(best["speedup"]) in answer


def test_size_is_chosen_by_accuracy_and_cost(study: Study) -> None:
    """0.900 against 0.905 on 1000 images is noise, so the smaller image wins."""
    choice = gather_facts(study, [])["choice"]
    assert (choice.image_size, choice.best_size) == (224, 384)


def test_failures_and_unstable_cells_are_listed_with_reasons(study: Study) -> None:
    text = render(gather_facts(study, []), "en")
    for reason in ("exit code 139", "top-1 agreement 0.71 below 0.95", "needs an NVIDIA GPU", "interval 0.9% wider"):
        assert reason in text


def test_cpu_report_says_that_tensorrt_was_not_measured(study: Study) -> None:
    english, russian = (render(gather_facts(study, []), language) for language in ("en", "ru"))
    assert "needs an NVIDIA GPU and was not measured" in english
    assert "нужна видеокарта NVIDIA" in russian


def test_russian_report_has_decimal_commas_only(study: Study) -> None:
    """Versions, reasons and names come from data; everything else with digits on both sides of a point is a slip."""
    text = render(gather_facts(study, []), "ru")
    ours = [line for line in text.splitlines() if "top-1 agreement" not in line and "wider than" not in line]
    ours = [line for line in ours if not line.startswith("  - ")]
    assert re.findall(r"\d\.\d+", "\n".join(ours)) == []


def test_one_size_is_given_as_the_reason_for_no_figure_over_it() -> None:
    english, russian = reports(DEGENERATE["one library"])
    assert "the effect of size cannot be told from this run, so no figure is drawn over it." in english
    assert "о влиянии размера этот прогон ничего не говорит, поэтому графиков по размеру нет." in russian


DEGENERATE = {
    "all failed": [synthetic.failed_row(EAGER, 224, b, "crashed", "died") for b in (1, 8)],
    "one cell": [synthetic.make_row(EAGER, 224, 8)],
    "one batch": synthetic.make_rows((EAGER, FAST), (224, 384), (8,), count=12),
    "one library": synthetic.make_rows(synthetic.CPU[:2], (224,), (1, 8), count=12),
    "no baseline": synthetic.make_rows((FAST, synthetic.CPU[6]), (224, 384), (1, 8), count=12),
    "one sample": synthetic.make_rows((EAGER, FAST), (224,), (1, 2), count=1),
    "noisy": synthetic.make_rows((synthetic.Model("pytorch", "eager", "fp32", 4, 16, 0.25), FAST), count=9),
    "no parity": [synthetic.make_row(EAGER, 224, 1, parity=None, telemetry={}, flops_per_image=None)],
    "sizes apart": [synthetic.make_row(EAGER, 224, 1), synthetic.make_row(FAST, 384, 8)],
    "rounds": synthetic.make_rows((EAGER, FAST), (224,), (1, 8), rounds=3, count=12),
    "gpu": synthetic.make_rows(synthetic.GPU[:3], (224,), (1, 8), count=12, clock="cuda_events"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_runs_get_a_whole_report(name: str) -> None:
    for text in reports(DEGENERATE[name]):
        assert text.count("\n## ") == 7
        assert not re.search(r"\bnan\b|\bNone\b|\binf\b|\{\{|\{%", text)


def of_device(name: str, model: synthetic.Model, size: int) -> Row:
    return synthetic.make_row(model, size, 8, options={"machine": name})


@pytest.mark.parametrize(
    ("cells", "english_words", "russian_words"),
    [
        (
            [("a", EAGER, 224), ("a", FAST, 224), ("b", EAGER, 384), ("b", FAST, 384)],
            "Everything at one image size was measured by one of them",
            "Всё, что относится к одному размеру изображения, измерено на одном из них",
        ),
        (
            [("a", EAGER, 224), ("b", FAST, 224)],
            "Cells that are compared may come from different ones",
            "Сравниваемые ячейки могли быть измерены на разных устройствах",
        ),
    ],
)
def test_a_run_of_several_devices_says_what_was_measured_on_one(
    cells: list, english_words: str, russian_words: str
) -> None:
    english, russian = reports([of_device(*cell) for cell in cells])
    assert f"shared out among 2 devices of one type. {english_words}" in english
    assert re.search(r"devices of one type\. .*\.\n- \*\*Clock", english)
    assert "- 2 devices of one type (" in english
    assert "One machine" not in english
    assert russian_words in russian
    assert "Однотипных устройств: 2" in russian
    assert "share the processors" not in english
    assert "devices of one type" not in reports(DEGENERATE["one batch"])[0]


def twice_rows(factor: float) -> list[Row]:
    """The baseline and its second measurement, `factor` as long; two samples in turn, so that noise adds nothing."""
    again = replace(EAGER, variant=f"{EAGER.variant}{AGAIN}")
    rows = [(EAGER, 1.0), (again, factor), (FAST, 0.5)]
    return [
        synthetic.make_row(model, 224, 1, samples={"device_ms": [20.0 * each, 20.2 * each] * 20}, same_as={})
        for model, each in rows
    ]


def test_the_noise_floor_names_the_one_approach_it_is_of() -> None:
    """It says nothing of the others, and no verdict rests on it."""
    english, russian = (text.replace("\u00a0", " ") for text in reports(twice_rows(1.08)))
    assert "unstable; PyTorch eager fp32, timed twice, differed by up to 8.00%. Measure again" in english
    assert "PyTorch eager fp32, timed twice, differed by up to 8.00%; other approaches may differ by more." in english
    assert "- Noise floor: 8.00%: PyTorch eager fp32, timed twice, differed by up to this much. That" in english
    assert "read smaller differences as ties" not in english
    assert "No verdict takes it as a threshold: the intervals of ratios allow for how far processes differ" in english
    assert "Порогом для выводов это число не служит: расхождение процессов учтено" in russian
    assert "два замера PyTorch eager fp32 разошлись на величину до 8,0 %. Прежде чем" in russian
    assert "Два замера PyTorch eager fp32 разошлись не более чем на 8,0 %; другие подходы могут" in russian
    assert "не более чем настолько разошлись два замера PyTorch eager fp32. Это сказано только об этом" in russian


def test_a_noise_floor_without_rows_is_of_one_approach_all_the_same() -> None:
    audit = {"noise_floor_percent": 0.8}
    english, russian = (text.replace("\u00a0", " ") for text in reports(DEGENERATE["one batch"], audit=audit))
    assert "One approach, timed twice, differed by up to 0.800%; other approaches may differ by more." in english
    assert "Два замера одного подхода разошлись не более чем на 0,8 %;" in russian


def test_images_per_second_are_said_to_be_of_a_typical_inference() -> None:
    english, russian = (text.replace("\u00a0", " ") for text in reports(DEGENERATE["one batch"]))
    said = "the speed of a typical inference, as the fastest and the slowest 10% are left out. How much whole stretches"
    assert said in english
    assert "slow inferences included and the next batch always enqueued, is `throughput_fps`." in english
    assert "скорость типичного вызова, так как 10 % самых быстрых и столько же самых медленных не учтены." in russian
    assert "всегда готовым следующим батчем, показывает `throughput_fps`." in russian


def test_the_measuring_programs_share_of_a_core_is_told_per_device_and_in_all() -> None:
    """135 s of CPU in 2,700 device-seconds of 4 devices: in 675 s of the host, 20% of a core."""
    audit = {"time_sheet_s": {"wall": 2700.0, "parent_cpu": 135.0}, "parent_cpu_percent": 5.0}
    several = [of_device(name, EAGER, size) for name, size in zip("abcd", (224, 256, 384, 512), strict=True)]
    english, russian = (text.replace("\u00a0", " ") for text in reports(several, audit=audit))
    assert "used 5.0% of one core per device, 20.0% for all 4 together." in english
    assert "занимала 5,0 % одного ядра на устройство, всего — 20,0 % (устройств: 4)." in russian
    english, russian = (text.replace("\u00a0", " ") for text in reports(several[:1], audit=audit))
    assert "used 5.0% of one core." in english
    assert "занимала 5,0 % одного ядра." in russian


@pytest.mark.parametrize("names", [("vm-1a2b3c.0", "vm-1a2b3c.1"), ("host.1-1a2b3c.0", "host.1-1a2b3c.12")])
def test_devices_that_share_a_host_are_said_to(names: tuple[str, str]) -> None:
    """Their names are its own and a number."""
    english, russian = reports([of_device(name, EAGER, size) for name, size in zip(names, (224, 384), strict=True)])
    assert re.search(r"across devices\. Several of them share the processors of one host: .*\.\n- \*\*Clock", english)
    assert re.search(r"между устройствами\. Часть из них делит процессоры одной машины: .*\.\n- \*\*Часы", russian)


def test_all_failed_says_so() -> None:
    english, russian = reports(DEGENERATE["all failed"])
    assert "Nothing was measured" in english
    assert "Не измерено ничего" in russian


def test_equal_approaches_are_called_a_tie() -> None:
    same = synthetic.Model("onnx_runtime", "default", "fp32", EAGER.overhead_ms, EAGER.image_ms)
    english, russian = reports(synthetic.make_rows((EAGER, same), (224,), (1,)))
    assert "*tie*" in english.split("## Introduction")[0] + english.split("## Results")[1]
    assert "*ничья*" in russian.split("## Результаты")[1]


def test_intervals_of_a_large_run_are_said_to_be_in_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not resampled, no draws are told of."""
    rows = synthetic.make_rows((EAGER, FAST), (224,), (1,))
    resampled = [r"intervals from 20,000\sbootstrap draws, which", r"бутстрепом \(20\s000\sвыборок\)\. Они"]
    closed = [
        r"intervals in closed form \(the limit of the bootstrap, as the run is large\), which",
        r"получены в замкнутой форме \(предел бутстрепа: прогон велик\)\. Они",
    ]
    small = reports(rows)
    monkeypatch.setattr(asymptotic, "MOST_SAMPLES", 1)
    for text, other, draws, form in zip(small, reports(rows), resampled, closed, strict=True):
        assert [bool(re.search(words, text)) for words in (draws, form)] == [True, False]
        assert [bool(re.search(words, other)) for words in (draws, form)] == [False, True]


@pytest.mark.parametrize(
    ("rounds", "english_words", "russian_words"),
    [
        (
            (1, 1),
            "0.50% and 2.00% merely assumed, as this run has no stable repeated measurements for a correction",
            "0,50 % и 2,00 % — лишь исходное предположение: стабильных повторных замеров, которые бы его уточнили, "
            "в этом прогоне нет",
        ),
        (
            (2, 1),
            "0.50% assumed, corrected by what this run measured more than once; "
            "2.00% merely assumed, as this run has no stable repeated measurements of such inferences for a correction",
            "исходное предположение — 0,50 %, уточнено по повторным замерам этого прогона; "
            "2,00 % — лишь исходное предположение: стабильных повторных замеров таких инференсов, которые бы его "
            "уточнили, в этом прогоне нет",
        ),
        (
            (2, 2),
            "0.50% and 2.00% assumed, corrected by what this run measured more than once",
            "исходное предположение — 0,50 % и 2,00 %, уточнено по повторным замерам этого прогона",
        ),
    ],
)
def test_a_spread_is_called_corrected_only_where_something_was_measured_twice(
    rounds: tuple[int, int], english_words: str, russian_words: str
) -> None:
    """Of long inferences and of short ones apart."""
    rows = [
        row
        for model, count in zip((EAGER, synthetic.GPU[5]), rounds, strict=True)
        for row in synthetic.make_rows((model,), (224,), (1,), rounds=count, device="GPU", clock="cuda_events")
    ]
    english, russian = (re.sub(r"\s", " ", text) for text in reports(rows))
    assert f"(standard deviation: {english_words})" in english
    assert f"({russian_words})" in russian


def test_report_is_the_same_byte_for_byte(study: Study, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_report(study, [], tmp_path / "a")]
    again = judge(study.run)
    assert first == [path.read_bytes() for path in write_report(again, [], tmp_path / "b")]


@pytest.mark.parametrize(
    ("machine", "audit"),
    [
        ({"device": "CPU", "cpu": None, "gpu": None}, {"self_ratio": None, "time_sheet_s": {}}),
        ({"cpu": {"name": 5, "features": None}, "memory_mb": "much"}, {"noise_floor_percent": "low"}),
        (
            {"cpu": "a string", "gpu": []},
            {"time_sheet_s": {"wall": 0, "measuring": None}, "self_ratio": {"ratio": 1.0}},
        ),
    ],
)
def test_incomplete_machine_and_audit_files_do_no_harm(machine: dict, audit: dict) -> None:
    for text in reports([synthetic.make_row(EAGER, 224, 1, count=5)], machine=machine, audit=audit):
        assert "\n## " in text


def test_load_is_told_by_busy_threads_and_teraflops(study: Study) -> None:
    """196% of one core over 2 threads is 98%."""
    text = render(gather_facts(study, []), "en").replace("\u00a0", " ")
    assert "kept 2 threads busy 98% of the time" in text
    assert "TFLOP/s" in text


def test_a_disturbed_run_is_called_so_before_its_answer(study: Study) -> None:
    shaky = synthetic.make_rows((EAGER, FAST), (224,), (1,), status="unstable", reason="wide")
    english, russian = reports(shaky)
    assert "Read with care" in english.split("## Introduction")[0]
    assert "Осторожно" in russian.split("## Введение")[0]
    assert "Read with care" not in render(gather_facts(study, []), "en")


@pytest.fixture(scope="module")
def gpu_facts(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("gpu") / "results" / "study"
    machine = {"device": "NVIDIA H200", "kind": "cuda"}
    synthetic.write_run(folder, synthetic.study_rows(batches=(1, 256)), machine=machine, audit=synthetic.AUDIT)
    synthetic.write_gpu_facts(folder)
    return gather_facts(judge(load_run(folder.parent, "study")), [])


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["Is the card loaded to 95%?", "MFU, published peak", "software power cap was", "L2 cache is warm",
                "three boundaries", "Energy per image", "building and compiling", "Gaps in the GPU telemetry"]),
        ("ru", ["Загружена ли карта на 95 %?", "MFU от пика", "предел мощности действовал", "L2 видеокарты прогрет",
                "трёх границах", "Энергия на изображение", "сборка и компиляция", "Пропуски в телеметрии"]),
    ],
)  # fmt: skip
def test_a_study_on_a_gpu_answers_the_question_of_load(gpu_facts: dict, language: str, sentences: list[str]) -> None:
    text = render(gpu_facts, language)
    assert [sentence for sentence in sentences if sentence not in text] == []


@pytest.mark.parametrize(
    ("roofline_percent", "english_words", "russian_words"),
    [
        (137.0, ": this measure cannot tell. Nothing goes beyond a true bound,", ": по этой мере сказать нельзя. Наст"),
        (97.0, ": yes, by this measure.\n", ": по этой мере — да.\n"),
        (60.0, ": no, by this measure, whatever NVML shows.\n", ": по этой мере — нет, что бы ни показывал NVML.\n"),
    ],
)
@pytest.mark.parametrize("is_cpu", [False, True])
def test_a_share_above_a_measured_ceiling_is_no_proof_of_load(
    gpu_facts: dict, roofline_percent: float, english_words: str, russian_words: str, is_cpu: bool
) -> None:
    """Nor is a cause given that nothing shows: convolutions can be faster than the matrix product, too."""
    most = {**gpu_facts["hardware"]["most_loaded"], "roofline_percent": roofline_percent}
    facts = {**gpu_facts, "hardware": {**gpu_facts["hardware"], "most_loaded": most}}
    facts["run"] = {**facts["run"], "is_cpu": is_cpu}
    english, russian = (render(facts, language).replace("\u00a0", " ") for language in ("en", "ru"))
    assert f"Is the {'processor' if is_cpu else 'card'} loaded to 95%?" in english
    assert ("Загружен ли процессор на 95 %?" if is_cpu else "Загружена ли карта на 95 %?") in russian
    assert english_words in english
    assert russian_words in russian
    assert ("may run faster than a plain matrix product" in english) is (roofline_percent > 100)
    assert ("быстрее простого произведения матриц" in russian) is (roofline_percent > 100)


@pytest.mark.parametrize("limit_w", [600.0, 900.0, None, "much"])
def test_cells_over_the_power_limit_are_counted(tmp_path: Path, limit_w: object) -> None:
    """Such a card is about to slow down; a limit that is not known says nothing."""
    rows = synthetic.study_rows(batches=(1, 256))
    machine = {"device": "NVIDIA H200", "kind": "cuda", "gpu": {"power_limit_w": limit_w}}
    synthetic.write_run(tmp_path / "results" / "study", rows, machine=machine)
    facts = gather_facts(judge(load_run(tmp_path / "results", "study")), [])
    over = sum(row.telemetry["power_w"] > 612 for row in rows) if limit_w == 600 else 0
    assert facts["hardware"]["state"]["over"] == over
    assert (limit_w == 600) is (over > 0)
    assert ("more than its limit of 600 W" in render(facts, "en")) is (over > 0)
    assert ("Выше предела карты (600" in render(facts, "ru")) is (over > 0)


def test_limiters_are_counted_once_per_contender(gpu_facts: dict) -> None:
    counts = [line["launch"] + line["bandwidth"] + line["compute"] for line in gpu_facts["hardware"]["limiters"]]
    assert counts == [19] * 8


def test_a_run_on_a_cpu_says_nothing_of_gpu_counters(study: Study) -> None:
    text = render(gather_facts(study, []), "en")
    assert not re.search(r"NVML|roofline|power cap|L2 cache|boundaries:", text)


@pytest.mark.parametrize(("language", "end"), [("en", ": no, by this measure.\n"), ("ru", ": по этой мере — нет.\n")])
def test_a_processor_near_its_roofline_is_not_told_of_a_cards_counters(tmp_path: Path, language: str, end: str) -> None:
    folder = synthetic.write_run(tmp_path / "cpu", synthetic.make_rows((EAGER, FAST), (224,), (1, 8), count=5))
    synthetic.write_gpu_facts(folder)
    text = render(gather_facts(judge(load_run(tmp_path)), []), language)
    assert end in text
    assert not re.search(r"NVML|SM\b", text)


def test_a_run_that_was_stopped_says_so_before_its_answer() -> None:
    rows = synthetic.make_rows((EAGER, FAST), (224,), (1,))
    for planned, said in ((1616, True), (len(rows), False)):
        english, russian = (text.replace("\u00a0", " ") for text in reports(rows, audit={"planned_jobs": planned}))
        assert (f"stopped after {len(rows)} of 1,616 planned cells" in english.split("## Introduction")[0]) is said
        assert ("Прогон не закончен" in russian.split("## Введение")[0]) is said


@pytest.mark.parametrize(
    ("order", "english_words", "russian_words"),
    [
        ("size", "every approach in a process", "Каждый подход работал в отдельном процессе"),
        ("variant", "every way of a library, in all its precisions, in a process", "Каждый вариант библиотеки"),
        ("backend", "every library in a process", "Каждая библиотека работала в отдельном процессе"),
    ],
)
def test_what_shared_a_process_is_told(order: str, english_words: str, russian_words: str) -> None:
    english, russian = reports(synthetic.make_rows((EAGER, FAST), (224,), (1,)), config={"order": order})
    assert english_words in english
    assert russian_words in russian


def test_energy_that_was_not_counted_everywhere_is_no_ranking_of_all() -> None:
    rows = [
        synthetic.make_row(EAGER, 224, 1, telemetry={"energy_j_per_image": 0.055}),
        synthetic.make_row(FAST, 224, 1),
    ]
    english, russian = (text.replace("\u00a0", " ") for text in reports(rows))
    assert "55.0 mJ. Not known of 1 other approach" in english
    assert "Для остальных подходов (1) энергия неизвестна" in russian
