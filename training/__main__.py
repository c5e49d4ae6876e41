"""`python -m training fit | validate | test`: LightningCLI around Classifier and ImageDataModule."""

from __future__ import annotations

import itertools
import logging
import re
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from training.best_weights import BestWeights
from training.callbacks import PlainProgress, SampleGrid, Throughput
from training.checkpoint import load_tensors
from training.classifier import Classifier
from training.data import ImageDataModule
from training.errors import TrainingError
from training.loopback import choose_environment

LOGS_DIR = Path("lightning_logs")


class OneLineParser(LightningArgumentParser):
    """A parser that answers bad input with one line and exit status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message, in the words of the command line, and leave."""
        message = re.sub(r'Parser key "([\w.]+)":', r"--\1:", message)
        message = re.sub(r"Expected a <class '(\w+)'>", r"expected a value of type \1", message)
        fail(f"{message}; see python -m training fit --help")


class SaveFitConfig(SaveConfigCallback):
    """Keeps the configuration of a training; validate and test have no folder of their own to put it in."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See the base class."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)


class TrainingCLI(LightningCLI):
    """Defaults of this study: where curves and weights go, the precision this machine is fast in, plain output."""

    def __init__(self, args: list[str] | None = None) -> None:
        super().__init__(
            Classifier,
            ImageDataModule,
            seed_everything_default=0,
            parser_class=OneLineParser,
            save_config_callback=SaveFitConfig,
            trainer_defaults={"max_epochs": 30, "log_every_n_steps": 5, "num_sanity_val_steps": 0},
            auto_configure_optimizers=False,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """What the tool does: predict is left to `export` and `harness`."""
        kept = LightningCLI.subcommands()
        del kept["predict"]
        return kept

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add --weights_dir."""
        parser.add_argument(
            "--weights_dir",
            type=Path,
            default=Path("weights"),
            help="Folder for best_<arch>_<size>.pth, its .json and samples/. An older pair is kept as .previous.",
        )
        parser.link_arguments("weights_dir", "model.weights_dir")
        parser.add_argument(
            "--warm_start_epochs",
            type=PositiveInt | None,
            default=None,
            help="Epochs when --model.init_from is given, instead of --trainer.max_epochs.",
        )
        parser.add_argument(
            "--warm_start_learning_rate",
            type=PositiveFloat | None,
            default=None,
            help="Peak learning rate when --model.init_from is given, instead of --model.learning_rate.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the command line, and refuse a --ckpt_path that cannot be resumed before Lightning opens it."""
        super().parse_arguments(parser, args)
        path = self.config[self.config.subcommand].ckpt_path
        if path not in (None, "best", "last", "hpc", "registry"):
            load_tensors(Path(path), "--ckpt_path wants a .ckpt file from lightning_logs/<run>/checkpoints/")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Fill in what was left open: logger, precision, progress bar, callbacks."""
        asked = self._get(self.config_init, "trainer")
        on_terminal = sys.stderr.isatty()
        throughput = Throughput()
        callbacks = [*(asked.callbacks or []), throughput, BestWeights(throughput), SampleGrid()]
        callbacks.append(TQDMProgressBar() if on_terminal else PlainProgress())
        if asked.logger is None and self.subcommand == "fit":
            kwargs["logger"] = TensorBoardLogger(
                LOGS_DIR,
                name="",
                version=run_name(self.model.arch, self.datamodule.image_size, LOGS_DIR),
                default_hp_metric=False,
            )
            callbacks.append(LearningRateMonitor("step"))
        elif asked.logger is None:
            kwargs["logger"] = False
        if asked.enable_checkpointing is not False and self.subcommand == "fit":
            callbacks.append(ModelCheckpoint(monitor="val/accuracy", mode="max", save_last=True))
        if self.model.init_from:
            kwargs["max_epochs"] = self._get(self.config_init, "warm_start_epochs") or asked.max_epochs
            warm_rate = self._get(self.config_init, "warm_start_learning_rate")
            self.model.learning_rate = float(warm_rate or self.model.learning_rate)  # a plain float: it is pickled
        kwargs["precision"] = asked.precision or fast_precision()
        if asked.benchmark is None and not asked.deterministic and torch.cuda.is_available():
            kwargs["benchmark"] = True  # one image size: cuDNN's search for the best convolutions is paid once
        kwargs["enable_progress_bar"] = on_terminal and asked.enable_progress_bar is not False
        kwargs["enable_model_summary"] = bool(asked.enable_model_summary)
        kwargs["use_distributed_sampler"] = False  # training.ranks shares the images out
        kwargs["plugins"] = asked.plugins or choose_environment(asked.num_nodes)
        return super().instantiate_trainer(callbacks=callbacks, **kwargs)


def run_name(arch: str, image_size: int, logs_dir: Path) -> str:
    """Folder of a new run under `logs_dir`: size in px and start in UTC, numbered when that second is taken."""
    name = f"{arch}_{image_size}_{datetime.now(UTC):%Y%m%d-%H%M%S}"
    names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(name for name in names if not (logs_dir / name).exists())


def fast_precision() -> str:
    """bf16 autocast where the hardware computes in it (a GPU, or a CPU with AMX); elsewhere it is slower than fp32."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_amx_tile_supported() else "32-true"


def quieten() -> None:
    """Silence hints a newcomer cannot act upon; keep warnings of this package."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(lightning|torch|jsonargparse|torchmetrics|multiprocessing).*")
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)


def fail(message: str) -> NoReturn:
    """One line on stderr, exit status 2."""
    print(f"python -m training: error: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(2)


def main() -> None:
    """Run the command line."""
    quieten()
    sys.argv[1:] = ["--print_config=comments" if a == "--print_config" else a for a in sys.argv[1:]]
    try:
        TrainingCLI()
    except TrainingError as error:
        # An error in a loader process arrives with that process's traceback before it.
        fail(str(error).strip().splitlines()[-1])


if __name__ == "__main__":
    main()
