"""`python -m training`: one clear line and exit status 2 for bad input, and help that teaches."""

import errno
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18, resnet34

REPOSITORY = Path(__file__).parents[2]


def run_in_process(capsys, monkeypatch, *args):
    """(exit status, stderr) of the command line, without the seconds that a new process takes."""
    from training.__main__ import main

    monkeypatch.setattr(sys, "argv", ["training", *map(str, args)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--data.image_size", "0"], "--data.image_size"),
        (["--data.image_size", "-5"], "--data.image_size"),
        (["--data.image_size", "abc"], "--data.image_size"),
        (["--data.batch_size", "0"], "--data.batch_size"),
        (["--data.source", "cloud"], "--data.source"),
        (["--data.source", "folder"], "--data.root"),
        (["--data.source", "folder", "--data.root", "/no/such/folder"], "/no/such/folder"),
        (["--data.on_bad_image", "ask"], "--data.on_bad_image"),
        (["--model.learning_rate", "-1"], "--model.learning_rate"),
        (["--model.init_from", "no.pth"], "no.pth"),
        (["--model.arch", "resnet51"], "--model.arch: torchvision has no image classifier 'resnet51'; it has resnet50"),
        (["--model.arch", "vit_b_16", "--data.image_size", "40"], "--data.image_size: 40: vit_b_16 takes multiples"),
        (["--model.pretrained", "true", "--model.init_from", "no.pth"], "--model.pretrained"),
        (["--no_such_flag", "1"], "--no_such_flag"),
        (["--config", "no.yaml"], "no.yaml"),
    ],
)
def test_bad_input_is_one_line_that_names_the_flag(args, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_in_process(capsys, monkeypatch, "fit", *args)
    assert status == 2
    assert said in stderr
    assert len(stderr.splitlines()) == 1


class _Payload:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def test_weights_that_do_not_fit_are_refused_in_one_line_and_nothing_is_lost(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.save(resnet18(num_classes=7).state_dict(), "classes.pth")
    torch.save(resnet34(num_classes=10).state_dict(), "network.pth")
    Path("pickle.pth").write_bytes(pickle.dumps(_Payload()))
    Path("cut.pth").write_bytes(Path("classes.pth").read_bytes()[:5000])
    Path("weights").mkdir()
    Path("weights/best_resnet18_32.pth").write_bytes(b"mine")
    reasons = {
        "classes.pth": "7 classes",
        "network.pth": "it holds another network than resnet18",
        "pickle.pth": "not loaded",
        "cut.pth": "damaged",
    }
    for name, reason in reasons.items():
        status, stderr = run_in_process(capsys, monkeypatch, "fit", "--data.image_size", 32, "--model.init_from", name)
        assert status == 2
        assert name in stderr
        assert reason in stderr
        assert len(stderr.splitlines()) == 1
    status, stderr = run_in_process(capsys, monkeypatch, "fit", "--data.image_size", 32, "--ckpt_path", "pickle.pth")
    assert (status, len(stderr.splitlines())) == (2, 1)
    assert not Path("canary").exists()
    assert Path("weights/best_resnet18_32.pth").read_bytes() == b"mine"


def test_validate_without_weights_names_the_file_it_wants(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_in_process(capsys, monkeypatch, "validate", "--data.image_size", 48)
    assert status == 2
    assert "best_resnet18_48.pth" in stderr


def test_a_full_disk_is_one_line_that_says_how_to_go_on(capsys, monkeypatch):
    """Any other failure of the system is one too, which names it."""
    from training import __main__ as training_main

    def end_with(number):
        def work(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("training.__main__.run_until_ended", work)
        training_main.main()

    monkeypatch.setattr("training.__main__.quieten", lambda: None)
    with pytest.raises(SystemExit) as stopped:
        end_with(errno.ENOSPC)
    assert stopped.value.code == 2
    said = "python -m training: error: the disk is full; make room, then go on with --ckpt_path last\n"
    assert capsys.readouterr().err == said
    with pytest.raises(SystemExit) as stopped:
        end_with(errno.EACCES)
    assert stopped.value.code == 2
    said = "python -m training: error: Permission denied; mend that, and a training goes on with --ckpt_path last\n"
    assert capsys.readouterr().err == said


def test_a_bad_flag_leaves_the_shell_with_status_2_and_no_traceback(run_training, tmp_path):
    done = run_training("fit", "--data.image_size", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m training: error: --data.image_size")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_explains_every_flag_of_data_and_model(capsys, monkeypatch):
    from training.__main__ import main

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["training", "fit", "--help"])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().out.splitlines()
    flags = [
        number for number, line in enumerate(lines) if line.strip().startswith(("--data.", "--model.", "--weights_dir"))
    ]
    assert len(flags) > 18
    for number in flags:
        explained = " ".join(lines[number : number + 2]).split("  ", 2)[-1]
        assert len(explained.split()) >= 4, lines[number]


def test_print_config_shows_the_quick_configuration(capsys, monkeypatch):
    import yaml

    from training.__main__ import main

    quick = REPOSITORY / "training/configs/quick.yaml"
    monkeypatch.setattr(
        sys, "argv", ["training", "fit", "--config", str(quick), "--data.image_size", "384", "--print_config"]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    wanted = yaml.safe_load(quick.read_text())
    assert shown["data"]["image_size"] == 384
    assert all(
        shown[part][name] == value for part in ("data", "model", "trainer") for name, value in wanted[part].items()
    )
