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
    },
}

DESCRIPTIONS: dict[str, dict[str, str]] = {
    "en": {
        "fps_vs_batch": "Lines, one for each approach, a panel for each image size: images per second over batch size.",
        "fps_vs_size": "Lines, one for each approach, a panel for each batch size: images per second over image size.",
        "speedup_vs_batch": "Lines, a panel for each image size: speedup over PyTorch eager fp32 over batch size.",
        "speedup_vs_size": "Lines, a panel for each batch size: speedup over PyTorch eager fp32 over image size.",
        "time_vs_batch": "Lines, a panel for each image size: time per image over batch size; flat means saturation.",
        "latency_vs_throughput": "Lines along growing batches: latency of one batch against images per second.",
        "memory_vs_batch": "Lines, a panel for each image size: peak memory over batch size.",
        "accuracy_vs_fps": "Points, one for each approach and image size: accuracy against images per second.",
        "accuracy_vs_latency": "Points, one for each approach and image size: accuracy against latency.",
        "pixels_vs_size": "Lines, one for each approach at its best batch: pixels per second; level is the law.",
        "roofline": "Points under a roof of measured bandwidth and arithmetic: TFLOP/s over arithmetic intensity.",
        "load_bars": "Points, one line for each approach: the measures of load in per cent.",
        "energy_vs_batch": "Lines, a panel for each image size: energy per image over batch size.",
    },
    "ru": {
        "fps_vs_batch": "График на каждый размер изображения, линия — подход: изображения в секунду по батчам.",
        "fps_vs_size": "График на каждый батч, линия — подход: изображения в секунду по размерам изображения.",
        "speedup_vs_batch": "График на каждый размер изображения: во сколько раз быстрее PyTorch eager fp32.",
        "speedup_vs_size": "График на каждый батч: во сколько раз быстрее PyTorch eager fp32.",
        "time_vs_batch": "График на каждый размер изображения: время на изображение при разных батчах.",
        "latency_vs_throughput": "Линия — подход, вдоль неё растёт батч: задержка батча и изображения в секунду.",
        "memory_vs_batch": "График на каждый размер изображения: пик памяти при разных батчах.",
        "accuracy_vs_fps": "Точка — подход при одном размере изображения: доля верных ответов и скорость.",
        "accuracy_vs_latency": "Точка — подход при одном размере изображения: доля верных ответов и задержка.",
        "pixels_vs_size": "Линия — подход при лучшем батче: пиксели в секунду; ровная линия — закон пикселей.",
        "roofline": "Точки и два предела, памяти и арифметики: TFLOP/s при разной арифметической интенсивности.",
        "load_bars": "Точки, строка — подход: разные меры загрузки в процентах.",
        "energy_vs_batch": "График на каждый размер изображения: энергия на изображение при разных батчах.",
    },
}
