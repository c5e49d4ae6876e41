"""`python -m export --weights`: any state_dict of a classifier, however it is wrapped, at any size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torchvision

from export.__main__ import main
from export.own_weights import adopt, read_state_dict
from export.samples import limit_batch, synthetic_samples
from training.checkpoint import load_metadata, load_samples, load_weights
from training.network import build_network


@pytest.fixture(scope="module")
def seven() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=7).state_dict()


def take(path: Path, size: int | None = 48, arch: str | None = None, *, may_replace: bool = False) -> Path:
    """Adopt `path` into kept/ beside it."""
    kept = path.parent / "kept"
    paths, _ = adopt(path, [size] if size else None, arch, kept, may_replace=may_replace)
    return paths[0]


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda state: state, ""),
        (lambda state: state, "module."),
        (lambda state: {"state_dict": state, "epoch": 3}, "network."),
        (lambda state: {"state_dict": {**state, "loss.weight": torch.ones(7)}, "hyper_parameters": {}}, "model."),
        (lambda state: {"model": state, "optimizer": {}}, "module._orig_mod."),
    ],
)
def test_wrappings_of_training_programs_are_taken_off(tmp_path: Path, seven, wrap, prefix: str) -> None:
    torch.save(wrap({prefix + name: tensor for name, tensor in seven.items()}), tmp_path / "my.pth")
    path = take(tmp_path / "my.pth")
    assert path == tmp_path / "kept" / "best_resnet18_48.pth"
    torchvision.models.resnet18(num_classes=7).load_state_dict(torch.load(path, weights_only=True))
    state_dict, about = load_weights(path)
    assert all(torch.equal(state_dict[name], tensor) for name, tensor in seven.items())
    assert (about.num_classes, about.classes, about.accuracy) == (7, list("0123456"), None)


def test_the_json_beside_it_names_classes_and_normalisation(tmp_path: Path, seven) -> None:
    torch.save(seven, tmp_path / "my.pth")
    given = {"classes": list("abcdefg"), "normalization": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    (tmp_path / "my.json").write_text(json.dumps(given | {"image_size": 96, "accuracy": 0.5}))
    about = load_metadata(take(tmp_path / "my.pth", None))
    assert (about.image_size, about.classes, about.normalization) == (96, given["classes"], given["normalization"])
    assert about.accuracy == 0.5
    assert load_metadata(take(tmp_path / "my.pth", 64)).accuracy is None, "it was measured at another size"


def test_the_network_is_recognised_by_its_layers(tmp_path: Path) -> None:
    network = build_network(3, arch="shufflenet_v2_x0_5")
    torch.save(network.state_dict(), tmp_path / "my.pth")
    assert take(tmp_path / "my.pth").name == "best_shufflenet_v2_x0_5_48.pth"


def test_own_weights_keep_their_samples_and_are_found_again(bare, tmp_path: Path, capsys) -> None:
    for suffix in (".pth", ".json"):
        shutil.copy(bare.weights.with_suffix(suffix), tmp_path / f"my{suffix}")
    (tmp_path / "samples").mkdir()
    shutil.copy(bare.samples, tmp_path / "samples" / "my.npz")
    flags = ["--weights", str(tmp_path / "my.pth"), "--weights_dir", str(tmp_path / "kept"), "--to", "reference"]
    assert main(flags) == 0
    assert len(load_samples(tmp_path / "kept" / "best_resnet18_64.pth")["val_images"]) == 24
    capsys.readouterr()
    assert main(flags) == 0
    assert capsys.readouterr().out.endswith("resnet18_64.npz: up to date\n")


def test_other_weights_are_replaced_only_when_told_and_kept_aside(tmp_path: Path, seven) -> None:
    torch.save(seven, tmp_path / "my.pth")
    path = take(tmp_path / "my.pth")
    before = path.read_bytes()
    torch.save({name: tensor + 1 for name, tensor in seven.items()}, tmp_path / "my.pth")
    with pytest.raises(ValueError, match="holds other weights; give another --weights_dir, or --force"):
        take(tmp_path / "my.pth")
    assert path.read_bytes() == before
    take(tmp_path / "my.pth", may_replace=True)
    assert path.with_name("best_resnet18_48.previous.pth").read_bytes() == before


@pytest.fixture
def own(tmp_path: Path, seven, monkeypatch) -> Path:
    """Weights of seven classes; few networks are tried, as all of them take seconds."""
    monkeypatch.setattr("training.network.list_archs", lambda: ["resnet18", "resnet50", "vgg11"])
    torch.save(seven, tmp_path / "my.pth")
    return tmp_path / "my.pth"


def write_json(path: Path, **fields: object) -> None:
    path.with_suffix(".json").write_text(json.dumps(fields))


BAD_NORMALIZATIONS = (
    5,
    {"mean": 5, "std": 5},
    {"mean": [0.5, 0.5], "std": [0.5] * 3},
    {"mean": [0.5] * 3, "std": [0.5, 0.5, 0]},
    {"mean": [0.5, 0.5, float("nan")], "std": [0.5] * 3},
    {"mean": [0.5] * 3, "std": [0.5, 0.5, float("inf")]},
    {"mean": [0.5] * 3, "std": [0.5, float("nan"), 0.5]},
)


def with_a_nan(path: Path) -> None:
    state_dict = torch.load(path, weights_only=True)
    torch.save(state_dict | {"fc.bias": torch.full((7,), float("nan"))}, path)


@pytest.mark.parametrize(
    ("spoil", "flags", "said"),
    [
        (lambda path: None, [], "--image_size: "),
        (lambda path: None, ["--image_size", "31"], "--image_size: 31 px; give 32 to 2048"),
        (lambda path: None, ["--image_size", "2049"], "--image_size: 2049 px; give 32 to 2048"),
        (lambda path: None, ["--image_size", "48", "--arch", "resnet50"], "another network than resnet50"),
        (lambda path: None, ["--image_size", "48", "--arch", "resnet19"], "--arch: torchvision has no image class"),
        (lambda path: torch.save(torch.nn.Linear(2, 2), path), ["--image_size", "48"], "save a plain state_dict"),
        (lambda path: torch.save({"epoch": 3}, path), ["--image_size", "48"], "holds no tensors"),
        (lambda path: torch.save({"a": torch.ones(2)}, path), ["--image_size", "48"], "fit no classifier"),
        (lambda path: path.unlink(), ["--image_size", "48"], "no such file"),
        (lambda path: write_json(path, classes=["a"]), ["--image_size", "48"], "classes are not the 7 of my.pth"),
        (lambda path: write_json(path, arch="vgg11"), ["--image_size", "48", "--arch", "resnet18"], "drop one of them"),
        (lambda path: write_json(path, sha256="00"), ["--image_size", "48"], "sha256 differs"),
        (lambda path: write_json(path, accuracy=7), ["--image_size", "48"], "accuracy 7 is not a share"),
        (lambda path: path.with_suffix(".json").write_text("["), ["--image_size", "48"], "is not JSON"),
        (lambda path: write_json(path, image_size="224"), [], "my.json: image_size '224' is no whole number"),
        *(
            (
                lambda path, bad=bad: write_json(path, normalization=bad),
                ["--image_size", "48"],
                "my.json: normalization needs three numbers",
            )
            for bad in BAD_NORMALIZATIONS
        ),
        (with_a_nan, ["--image_size", "48"], "my.pth: fc.bias is not finite: its training diverged"),
    ],
)
def test_what_cannot_be_used_costs_one_line_and_leaves_nothing(own: Path, capsys, spoil, flags, said: str) -> None:
    spoil(own)
    kept = own.parent / "kept"
    assert main(["--weights", str(own), "--weights_dir", str(kept), "--to", "reference", *flags]) == 2
    line = capsys.readouterr().err
    assert (line.count("\n"), said in line) == (1, True), line
    assert not kept.exists()


def test_a_whole_checkpoint_of_training_is_read(tmp_path: Path, seven) -> None:
    """Its metrics' states and the optimiser are left out."""
    state = {f"network.{name}": tensor for name, tensor in seven.items()} | {"accuracy.val_.tp": torch.tensor(3)}
    torch.save({"state_dict": state, "optimizer_states": [{"state": {}}], "epoch": 1}, tmp_path / "last.ckpt")
    assert read_state_dict(tmp_path / "last.ckpt").keys() == seven.keys()


def test_large_images_are_fewer_so_that_they_take_no_more_memory(monkeypatch) -> None:
    assert [limit_batch(32, size) for size in (32, 512, 1024, 2048)] == [32, 32, 8, 2]
    monkeypatch.setattr("export.samples.PIXELS", 128 * 32**2)  # the same at a sixteenth of the size
    small, large = synthetic_samples(32), synthetic_samples(128)
    assert small.val_images.nbytes == large.val_images.nbytes
    assert (len(small.val_images), len(large.val_images), len(large.train_images)) == (128, 8, 4)
