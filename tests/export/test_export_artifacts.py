"""File names, freshness, and whole-or-nothing writing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from export.artifacts import Artifact, image_sizes
from export.files import replacing, sha256_of
from export.manifest import is_current, read_manifest, write_manifest


@pytest.mark.parametrize(
    ("artifact", "path"),
    [
        (Artifact("onnx", "resnet18", 224), "onnx/resnet18_224_fp32.onnx"),
        (Artifact("onnx", "resnet18", 384, "int8", "cpu"), "onnx/resnet18_384_int8.onnx"),
        (Artifact("onnx", "resnet18", 384, "int8", "tensorrt"), "onnx/resnet18_384_int8_tensorrt.onnx"),
        (Artifact("reference", "resnet18", 224), "reference/resnet18_224.npz"),
    ],
)
def test_an_artifact_and_its_manifest_share_folder_and_stem(artifact: Artifact, path: str) -> None:
    assert artifact.path(Path("weights")) == Path("weights") / path
    assert artifact.manifest_path(Path("weights")) == (Path("weights") / path).with_suffix(".json")


def test_weights_are_found_by_name_in_ascending_size_and_nothing_else_is() -> None:
    names = ["best_resnet18_1024.pth", "best_resnet18_64.pth", "best_resnet18_64.json", "best_resnet18_64.previous.pth"]
    found = image_sizes([*names, "last.pth", "best_vit_b_16_224.pth"])
    assert list(found["resnet18"].items()) == [(64, "best_resnet18_64.pth"), (1024, "best_resnet18_1024.pth")]
    assert found["vit_b_16"] == {224: "best_vit_b_16_224.pth"}


@pytest.mark.parametrize(
    ("manifest", "sha256", "current"),
    [
        ({"weights_sha256": "w", "sha256": "a"}, "a", True),
        ({"weights_sha256": "other", "sha256": "a"}, "a", False),
        ({"weights_sha256": "w", "sha256": "a"}, "damaged", False),
        ({"weights_sha256": "w", "sha256": "a"}, None, False),
        ({"weights_sha256": "w", "sha256": None}, None, False),
        (None, "a", False),
    ],
)
def test_an_artifact_is_current_only_when_whole_and_made_from_these_weights(
    manifest: dict[str, str] | None, sha256: str | None, current: bool
) -> None:
    assert is_current(manifest, {"weights_sha256": "w"}, sha256) is current


def test_a_write_that_stops_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old and whole")

    def stop_half_way(temporary: Path) -> None:
        temporary.write_text("new but ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        stop_half_way(temporary)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_text() == "old and whole"


def test_a_finished_write_replaces_the_file_and_is_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "onnx" / "model.onnx"
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert sha256_of(path) == hashlib.sha256(b"new").hexdigest()


def test_a_manifest_that_is_not_json_counts_as_missing_and_nan_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    assert read_manifest(path) is None
    path.write_text("[1, 2")
    assert read_manifest(path) is None
    write_manifest(path, {"classes": ["cœur"]})
    assert read_manifest(path) == {"classes": ["cœur"]}
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(path, {"accuracy": float("nan")})
    assert read_manifest(path) == {"classes": ["cœur"]}
