"""`python -m training fit | validate | test`: LightningCLI around Classifier and ImageDataModule."""

from __future__ import annotations

import atexit
import gc
import itertools
import logging
import re
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import torch
from jsonargparse.typing import OpenUnitInterval, PositiveFloat, PositiveInt
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from training.averaging import WeightEma
from training.best_weights import BestWeights
from training.callbacks import EarlyEnd, PlainProgress, SampleGrid, Throughput
from training.classifier import Classifier
from training.confusion import ConfusionReport
from training.data import ImageDataModule
from training.ending import run_until_ended
from training.errors import TrainingError, require
from training.limiter import PipelineReport
from training.loopback import choose_environment
from training.refusals import check_folder, explain_failure, find_trainer_flag
from training.resume import Checkpoint, open_checkpoint
from training.tune import find_batch_size, find_learning_rate

LOGS_DIR = Path("lightning_logs")
LARGEST_SEED = 2**32 - 1  # of NumPy's


class OneLineParser(LightningArgumentParser):
    """A parser that answers bad input with one line and exit status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message, in the words of the command line, and leave."""
        message = re.sub(r'Parser key "([\w.]+)":', r"--\1:", message)
        message = re.sub(r"Expected a <class '(\w+)'>", r"expected a value of type \1", message)
        fail(f"{message}; see python -m training fit --help")


class SaveFitConfig(SaveConfigCallback):
    """Keeps the configuration of a training; without a logger, as for validate and test, it has no folder for it."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See the base class. Raises TrainingError when another configuration stands in the logger's folder."""
        if stage != "fit" or not trainer.loggers:
            return
        try:
            super().setup(trainer, pl_module, stage)
        except RuntimeError as error:
            raise TrainingError(
                f"--trainer.logger: {trainer.log_dir} holds a {self.config_filename} already; name a new folder"
            ) from error


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

        parser.add_argument(
            "--ema_decay",
            type=OpenUnitInterval | None,
            default=None,
            help="Average the weights over the steps, each keeping this share of the average, e.g. 0.999; validate and "
            "write the averaged ones. null: do not.",
        )
        parser.add_argument(
            "--early_stopping_patience",
            type=PositiveInt | None,
            default=None,
            help="End training when validation accuracy has not risen for this many validations. null: never early.",
        )
        parser.add_argument(
            "--find_learning_rate",
            type=bool,
            default=False,
            help="Before training, raise the learning rate step by step and train with the one at which the loss falls "
            "fastest.",
        )
        parser.add_argument(
            "--find_batch_size",
            type=bool,
            default=False,
            help="Before training, double --data.batch_size while it fits into the GPU's memory.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the command line, and refuse a --ckpt_path that cannot be resumed before Lightning opens it."""
        super().parse_arguments(parser, args)
        config = self.config[self.config.subcommand]
        seed = config.seed_everything
        require(0 <= int(seed or 0) <= LARGEST_SEED, f"--seed_everything: {seed}; give 0 to {LARGEST_SEED}")
        self.checkpoint: Checkpoint | None = None
        if config.ckpt_path not in (None, "hpc", "registry"):
            self.checkpoint = open_checkpoint(
                config.ckpt_path, LOGS_DIR, run_prefix(config.model.arch, config.data.image_size)
            )
            config.ckpt_path = str(self.checkpoint.path)
            self.save_config_kwargs = {"overwrite": self.checkpoint.run is not None}  # others have a new folder
            require(
                self.config.subcommand != "fit" or self.checkpoint.averaged == (config.ema_decay is not None),
                f"--ema_decay: give it to all parts of a run or to none; {self.checkpoint.path} was written "
                f"{'with' if self.checkpoint.averaged else 'without'} it",
            )
        for flag in ("find_learning_rate", "find_batch_size"):
            require(
                not (config[flag] and config.ckpt_path),
                f"--{flag}: a resumed run keeps what it began with; leave this flag or --ckpt_path out",
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Fill in what was left open: logger, precision, progress bar, callbacks."""
        asked = self._get(self.config_init, "trainer")
        on_terminal = sys.stderr.isatty()
        throughput = Throughput()
        callbacks = [*(asked.callbacks or []), throughput, PipelineReport(throughput)]
        callbacks += [BestWeights(throughput), SampleGrid(), ConfusionReport()]
        callbacks.append(TQDMProgressBar() if on_terminal else PlainProgress())
        if decay := self._get(self.config_init, "ema_decay"):
            callbacks.append(WeightEma(float(decay)))
        if patience := self._get(self.config_init, "early_stopping_patience"):
            callbacks.append(EarlyEnd(int(patience)))
        if asked.logger is None:
            kwargs["logger"] = False if self.subcommand == "validate" else self._make_logger()
            callbacks += [LearningRateMonitor("step")] if self.subcommand == "fit" else []
        if asked.enable_checkpointing is not False and self.subcommand == "fit":
            folder = self._find_checkpoint_folder(asked)
            callbacks += [
                ModelCheckpoint(folder, monitor="val/accuracy", mode="max"),
                # Lightning's save_last writes again only when the best has changed
                ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True),
            ]
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
        try:
            return super().instantiate_trainer(callbacks=callbacks, **kwargs)
        except (MisconfigurationException, ValueError, ImportError) as error:
            line = " ".join(str(error).split())
            raise TrainingError(f"{find_trainer_flag(line, asked)}: {line}") from error

    def _make_logger(self) -> TensorBoardLogger:
        """A new folder; a resumed run goes on in its own, from the step of its checkpoint."""
        resumed = self.checkpoint if self.subcommand == "fit" else None
        step: Any = resumed.step if resumed and resumed.run else None
        version = self._name_run()
        return TensorBoardLogger(LOGS_DIR, name="", version=version, default_hp_metric=False, purge_step=step)

    def _name_run(self) -> str:
        resumed = self.checkpoint if self.subcommand == "fit" else None
        new = run_name(self.model.arch, self.datamodule.image_size, LOGS_DIR)
        return resumed.run if resumed and resumed.run else new

    def _find_checkpoint_folder(self, asked: Any) -> Path | None:
        """None: the logger's. Without one, Lightning would take the current folder."""
        homeless = asked.logger is False and asked.default_root_dir is None
        return LOGS_DIR / self._name_run() / "checkpoints" if homeless else None

    def before_fit(self) -> None:
        """Refuse folders that could not be written; find what was asked for, the batch size first.

        The learning rate depends on it.
        """
        if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            check_folder(Path(self.model.weights_dir) / "samples", "--weights_dir: ")
            check_folder(LOGS_DIR)
        if self._get(self.config_init, "find_batch_size"):
            require(
                self.trainer.strategy.root_device.type == "cuda",
                "--find_batch_size: it looks for the end of a GPU's memory; on a CPU give --data.batch_size",
            )
            find_batch_size(self.trainer, self.model, self.datamodule)
        if self._get(self.config_init, "find_learning_rate"):
            find_learning_rate(self.trainer, self.model, self.datamodule)


def run_prefix(arch: str, image_size: int) -> str:
    """How the names of the run folders of this network and size (px) begin."""
    return f"{arch}_{image_size}_"


def run_name(arch: str, image_size: int, logs_dir: Path) -> str:
    """Folder of a new run in `logs_dir`: network, size in px and start in UTC, numbered when that second is taken."""
    name = f"{run_prefix(arch, image_size)}{datetime.now(UTC):%Y%m%d-%H%M%S}"
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
    warnings.filterwarnings("ignore", module=r"(lightning|torch|jsonargparse|torchmetrics|multiprocessing|PIL).*")
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
        run_until_ended(TrainingCLI, "python -m training: ended; a training goes on with --ckpt_path last")
    except TrainingError as error:
        # An error in a loader process arrives with that process's traceback before it.
        fail(str(error).strip().splitlines()[-1])
    except (OSError, MemoryError, torch.OutOfMemoryError) as error:
        fail(explain_failure(error))


if __name__ == "__main__":
    atexit.register(gc.freeze)  # taking torch apart, which takes a second, is then left to the system
    main()
