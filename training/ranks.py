"""Which images each of several training processes (ranks) takes: together they do what one process would do."""

from __future__ import annotations

from collections.abc import Iterator, Sized

from torch.utils.data import BatchSampler, Sampler

from training.errors import require


class RankBatches(Sampler[list[int]]):
    """Every `ranks`-th batch, from that number `rank` on; batches that do not fill a last round are left out.

    All ranks draw the same order, so a step of N ranks sees the batches that one process with
    --trainer.accumulate_grad_batches N sees. Raises TrainingError when there is not a batch for each.
    """

    def __init__(self, batches: BatchSampler, rank: int, ranks: int) -> None:
        require(
            len(batches) >= ranks,
            f"--data.batch_size: an epoch of {len(batches)} batches cannot be shared by {ranks} processes; give less",
        )
        self.batches, self.rank, self.ranks = batches, rank, ranks

    def __len__(self) -> int:
        return len(self.batches) // self.ranks

    def __iter__(self) -> Iterator[list[int]]:
        for number, batch in enumerate(self.batches):
            if number < len(self) * self.ranks and number % self.ranks == self.rank:
                yield batch


class RankIndices(Sampler[int]):
    """Every `ranks`-th index of `dataset`, from `rank` on: each image once over all ranks, none twice.

    Lightning's own sampler repeats images until all ranks have equally many, which makes wrong metrics.
    """

    def __init__(self, dataset: Sized, rank: int, ranks: int) -> None:
        require(
            len(dataset) >= ranks,
            f"--data.val_images: {len(dataset)} images cannot be shared by {ranks} processes; give more",
        )
        self.indices = range(rank, len(dataset), ranks)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
