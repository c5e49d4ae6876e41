"""What a page says beside the report's own text: controls, names for those who listen, what each figure shows."""

from __future__ import annotations

PAGE_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "contents": "Contents",
        "skip": "Skip to the answer",
        "dark": "Dark theme",
        "other_language": "Русский",
        "table": "Table {number}: {heading}",
        "figure": "Figure {number}",
        "numbers": "the numbers are in the appendix",
        "filter": "Filter rows",
        "all": "all",
        "rows": "{shown} of {all} rows",
        "read_more": "Scroll sideways to see all of it",
    },
    "ru": {
        "contents": "Содержание",
        "skip": "Перейти к ответу",
        "dark": "Тёмная тема",
        "other_language": "English",
        "table": "Таблица {number}: {heading}",
        "figure": "Рисунок {number}",
        "numbers": "числа — в приложении",
        "filter": "Отбор строк",
        "all": "все",
        "rows": "строк: {shown} из {all}",
        "read_more": "Прокрутите вбок, чтобы увидеть всё",
    },
}

DESCRIPTIONS: dict[str, dict[str, str]] = {
    "en": {
        "fps_vs_batch": "Lines, one for each approach, one panel for each image size: images per second over batch size.",
        "fps_vs_size": "Lines, one for each approach, one panel for each batch size: images per second over image size.",
        "speedup_vs_batch": "Lines, one panel for each image size: speedup over PyTorch eager fp32 over batch size.",
        "speedup_vs_size": "Lines, one panel for each batch size: speedup over PyTorch eager fp32 over image size.",
        "time_vs_batch": "Lines, one panel for each image size: time per image over batch size; flat means saturation.",
        "latency_vs_throughput": "Lines along growing batches: latency of one batch against images per second.",
        "memory_vs_batch": "Lines, one panel for each image size: peak memory over batch size.",
        "accuracy_vs_fps": "Points, one for each approach and image size: accuracy against images per second.",
        "accuracy_vs_latency": "Points, one for each approach and image size: accuracy against latency.",
        "pixels_vs_size": "Lines, one for each approach at its best batch: pixels per second over image size; level means "
        "the pixel-count law.",
        "roofline": "Points under a roof of memory bandwidth and matrix product: TFLOP/s over arithmetic intensity.",
        "load_bars": "Points, one line for each approach: the measures of load in per cent.",
        "energy_vs_batch": "Lines, one panel for each image size: energy per image over batch size.",
    },
    "ru": {
        "fps_vs_batch": "По линии на подход, по панели на размер изображения: изображения в секунду в зависимости от батча.",
        "fps_vs_size": "По линии на подход, по панели на батч: изображения в секунду в зависимости от размера изображения.",
        "speedup_vs_batch": "По панели на размер изображения: ускорение относительно PyTorch eager fp32 по размерам батча.",
        "speedup_vs_size": "По панели на батч: ускорение относительно PyTorch eager fp32 по размерам изображения.",
        "time_vs_batch": "По панели на размер изображения: время на изображение по размерам батча; ровная линия — насыщение.",
        "latency_vs_throughput": "Линии по возрастанию батча: задержка одного батча и число изображений в секунду.",
        "memory_vs_batch": "По панели на размер изображения: пик памяти по размерам батча.",
        "accuracy_vs_fps": "По точке на подход и размер изображения: доля верных ответов и изображения в секунду.",
        "accuracy_vs_latency": "По точке на подход и размер изображения: доля верных ответов и задержка.",
        "pixels_vs_size": "По линии на подход при лучшем батче: пиксели в секунду по размерам изображения; ровная линия — "
        "закон числа пикселей.",
        "roofline": "Точки под крышей из пропускной способности памяти и произведения матриц: TFLOP/s и интенсивность.",
        "load_bars": "Точки, по строке на подход: меры загрузки в процентах.",
        "energy_vs_batch": "По панели на размер изображения: энергия на изображение по размерам батча.",
    },
}
