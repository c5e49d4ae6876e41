"""What is planned, and how bad settings are refused."""

from itertools import pairwise

import pytest

from harness.config import BenchConfig, check_run_id, parse_contender
from harness.plan import drop_done, has_saturated, may_share_worker, plan_groups
from harness.schema import AGAIN, Job


def test_every_combination_is_planned_once_with_batches_ascending():
    """Groups by size and contender, batch sizes sorted and without repetitions."""
    config = BenchConfig(backends=["pytorch", "onnx_runtime"], batch_sizes=[8, 1, 8], self_check=False)
    groups = list(plan_groups(config, [384, 224]))
    assert [(g.first.image_size, g.first.backend) for g in groups] == [
        (224, "pytorch"),
        (224, "onnx_runtime"),
        (384, "pytorch"),
        (384, "onnx_runtime"),
    ]
    assert [[job.batch_size for job in g.jobs] for g in groups] == [[1, 8]] * 4


def test_later_rounds_repeat_the_plan_in_another_order():
    """Same jobs in each round, another order, the same on every call."""
    config = BenchConfig(rounds=2, self_check=False)
    groups = list(plan_groups(config, [224, 256, 384, 512]))
    first = [g.first for g in groups if g.first.round == 1]
    second = [g.first for g in groups if g.first.round == 2]
    key = lambda job: (job.image_size, job.contender)  # noqa: E731
    assert sorted(map(key, first)) == sorted(map(key, second))
    assert list(map(key, first)) != list(map(key, second))
    assert groups == list(plan_groups(config, [224, 256, 384, 512]))


def test_sizes_of_one_contender_may_stay_together():
    """`order: contender`: one worker can take all sizes; later rounds shuffle contenders, not sizes."""
    config = BenchConfig(
        backends=["pytorch", "onnx_runtime", "openvino"], order="contender", rounds=2, self_check=False
    )
    names = [(g.first.backend, g.first.image_size) for g in plan_groups(config, [384, 224])]
    assert names[:4] == [("pytorch", 224), ("pytorch", 384), ("onnx_runtime", 224), ("onnx_runtime", 384)]
    second = names[6:]
    assert second != names[:6]
    assert all(second[i][0] == second[i + 1][0] and second[i][1] == 224 for i in (0, 2, 4))


def test_precisions_of_one_variant_may_stay_together():
    """`order: variant`: one worker can take all sizes and precisions, in whatever order the config names them."""
    config = BenchConfig(
        backends=["pytorch/eager/fp32", "pytorch/graph/fp32", "pytorch/eager/fp16"], order="variant", self_check=False
    )
    groups = [group.first for group in plan_groups(config, [224, 384])]
    assert [(job.variant, job.precision) for job in groups[::2]] == [
        ("eager", "fp32"), ("eager", "fp16"), ("graph", "fp32"),
    ]  # fmt: skip
    shared = [may_share_worker(before, job, config) for before, job in pairwise(groups)]
    assert shared == [True, True, True, False, True]
    contender = BenchConfig(order="contender")
    assert [may_share_worker(before, job, contender) for before, job in pairwise(groups)] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_all_of_a_backend_may_stay_together_but_for_the_self_check():
    """`order: backend`: one worker for each backend; the first contender again, as a check, has one of its own."""
    names = ["pytorch/eager/fp32", "onnx_runtime/default/fp32", "pytorch/graph/fp32"]
    config = BenchConfig(backends=names, order="backend")
    groups = [group.first for group in plan_groups(config, [224])]
    assert [(job.backend, job.variant) for job in groups] == [
        ("pytorch", "eager"), ("pytorch", "graph"), ("onnx_runtime", "default"), ("pytorch", "eager+again"),
    ]  # fmt: skip
    assert [may_share_worker(before, job, config) for before, job in pairwise(groups)] == [True, False, False]


def test_without_batch_sizes_the_powers_of_two_are_planned():
    """Up to max_batch, and not past it."""
    assert BenchConfig(batch_sizes=[], max_batch=100).batches == [1, 2, 4, 8, 16, 32, 64]
    assert BenchConfig(batch_sizes=[], max_batch=64).batches == [1, 2, 4, 8, 16, 32, 64]
    assert BenchConfig(batch_sizes=[8, 1, 8]).batches == [1, 8]


@pytest.mark.parametrize(
    ("ms_per_image", "percent", "saturated"),
    [
        ([4.0, 2.0, 1.0], 1.0, False),
        ([1.0, 0.995, 0.992], 1.0, True),  # both within 1% of the best before them
        ([1.0, 1.1, 0.5], 1.0, False),  # the last one gained
        ([1.0, 0.5, 0.6], 1.0, False),  # the one before gained
        ([2.0, 1.0, 1.2, 1.3], 1.0, True),
        ([1.0, 1.0], 1.0, False),  # two batches say nothing
        ([1.0, 1.0, 1.0], 0.0, False),  # switched off
    ],
)
def test_saturation_needs_two_batches_without_gain(ms_per_image, percent, saturated):
    """The rule that `saturation_percent` describes."""
    assert has_saturated("pytorch/graph/fp16", ms_per_image, percent) is saturated
    assert not has_saturated("pytorch/eager/fp32", ms_per_image, percent)  # speedups are against it


def test_the_self_check_ends_every_round():
    """The first contender at the smallest size once more, under a name of its own."""
    groups = list(plan_groups(BenchConfig(batch_sizes=[1], rounds=2), [384, 224]))
    again = [g.first for g in groups if g.first.variant.endswith(AGAIN)]
    assert again == [Job("pytorch", "eager+again", "fp32", 224, 1, number) for number in (1, 2)]
    assert groups[-1].first == again[1]


def test_only_the_named_cells_are_planned():
    """`only` picks single cells out of the combinations, in every round, the self-check included."""
    cells = ["onnx_runtime/default/fp32:224:8", "pytorch/eager/fp32:384:1"]
    config = BenchConfig(
        backends=["pytorch", "onnx_runtime"], image_sizes=[224, 384], batch_sizes=[1, 8], only=cells, rounds=2
    )
    jobs = [job for group in plan_groups(config, [224, 384]) for job in group.jobs]
    assert sorted(f"{job.contender}:{job.image_size}:{job.batch_size}" for job in jobs) == sorted(cells * 2)


def test_resuming_leaves_out_what_is_done():
    """A group whose jobs are all done disappears; a part of a group stays."""
    config = BenchConfig(backends=["pytorch", "onnx_runtime"], batch_sizes=[1, 2], self_check=False)
    groups = list(plan_groups(config, [224]))
    done = {*groups[0].jobs, groups[1].jobs[0]}
    left = drop_done(iter(groups), done)
    assert [g.jobs for g in left] == [(groups[1].jobs[1],)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pytorch", ("pytorch", "eager", "fp32")),
        ("pytorch/channels_last", ("pytorch", "channels_last", "fp32")),
        ("pytorch/bf16", ("pytorch", "eager", "bf16")),
        ("pytorch/channels_last/bf16", ("pytorch", "channels_last", "bf16")),
    ],
)
def test_contenders_are_parsed_with_defaults(text, expected):
    """Left out parts mean the first variant and fp32."""
    assert parse_contender(text) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backends": ["caffe"]}, "--backends caffe: unknown backend; there are pytorch"),
        ({"backends": ["pytorch/sideways"]}, "--backends pytorch/sideways: pytorch has the variants"),
        ({"backends": ["pytorch/eager/fp12"]}, "a precision is one of"),
        ({"backends": []}, "--backends"),
        ({"batch_sizes": [0]}, "--batch_sizes 0: each must be at least 1"),
        ({"parallel_builds": 0}, "--parallel_builds 0: must be at least 1"),
        ({"image_sizes": [-5]}, "--image_sizes -5"),
        ({"rounds": 0}, "--rounds 0"),
        (
            {"only": ["openvino/default/fp32:224:1"]},
            "--only openvino/default/fp32:224:1: its backend/variant/precision",
        ),
        ({"only": ["pytorch/eager/fp32:224:3"]}, "--only pytorch/eager/fp32:224:3: 3 is not among --batch_sizes"),
        ({"only": ["pytorch/eager/fp32:99:1"], "image_sizes": [224]}, "--only .*: 99 is not among --image_sizes"),
        ({"only": ["pytorch/eager/fp32"]}, "--only pytorch/eager/fp32: nothing is not among"),
        ({"min_samples": 50, "max_samples": 10}, "--max_samples 10: is under --min_samples"),
        ({"min_warmup_seconds": 9.0}, "--max_warmup_seconds 5.0: is under --min_warmup_seconds"),
        ({"target_percent": 0}, "--target_percent 0"),
        ({"environments": {"caffe": "python"}}, "--environments caffe"),
    ],
)
def test_bad_settings_are_refused_by_flag(changes, message):
    """The message starts with the flag."""
    with pytest.raises(ValueError, match=message):
        BenchConfig(**changes)


@pytest.mark.parametrize("run_id", ["", "../evil", "a/b", ".hidden", "x" * 200])
def test_run_ids_cannot_leave_the_results_folder(run_id):
    """A run id is one folder name."""
    with pytest.raises(ValueError, match="--run_id"):
        check_run_id(run_id)
