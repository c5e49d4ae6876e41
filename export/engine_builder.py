"""Child process: builds TensorRT engines and Torch-TensorRT modules, and times engines.

Started by `export.builder`, in their environment; JSON lines over two private pipes (stdout and stderr belong to the
libraries):
  {"do": "describe"}                   -> {"gpu", "tensorrt", "torch_tensorrt", ...}
  {"do": "engine" | "torch_trt", ...}  -> manifest fields of the file written to `out`
  {"do": "time", ...}                  -> samples; answers of the engine are in `out`
  each may be answered by {"error": ...}.
Python 3.10, standard library, NumPy, torch and the libraries that build; nothing else of this repository.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any

COMMANDS = {
    "engine": ("export.tensorrt_builder", "build"),
    "torch_trt": ("export.torch_trt_builder", "build"),
    "time": ("export.engine_timer", "time_engine"),
}


def describe() -> dict[str, Any]:
    """The GPU and the versions that an artefact is bound to. Raises RuntimeError when one is missing."""
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise RuntimeError("torch sees no CUDA device; engines are built on the GPU that will run them")
    tensorrt = importlib.import_module("tensorrt")
    found = {
        "gpu": torch.cuda.get_device_name(0),
        "tensorrt": tensorrt.__version__,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    try:
        found["torch_tensorrt"] = importlib.import_module("torch_tensorrt").__version__
    except Exception as error:  # it fails in many ways where something is missing; engines can be built without it
        found["torch_tensorrt_missing"] = " ".join(str(error).split())[:300]
    return found


def answer(command: dict[str, Any]) -> dict[str, Any]:
    """Do what the command says; whatever a library raises becomes the answer's `error`."""
    try:
        if command["do"] == "describe":
            return describe()
        module, function = COMMANDS[command["do"]]
        return getattr(importlib.import_module(module), function)(**command["request"])
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]}


def main() -> None:
    """Answer commands until their pipe is closed; the two pipe ends are the arguments."""
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as commands, os.fdopen(int(sys.argv[2]), "w") as replies:
        for line in commands:
            print(json.dumps(answer(json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
