"""Files as people have them: each row of the table in docs/data.md is what happens."""

import io
import os
import re
import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from training.data import ImageDataModule
from training.folder import open_folder
from training.pictures import BadImageError, open_rgb

SIZE = 32
RED = (200, 30, 30)
TABLE = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8").split("## Your own pictures")[1]
ROWS = [tuple(cell.strip() for cell in line.strip("|").split("|")[:2]) for line in TABLE.splitlines() if "|" in line]
ROWS = [row for row in ROWS if row[1] in ("read", "bad image", "left aside")]


def saved(name, mode="RGB", colour=RED, size=(40, 30), **options):
    """A writer of one plain picture."""

    def write(folder):
        Image.new(mode, size, colour).save(folder / name, **options)
        return folder / name

    return write


def content(name, blob):
    def write(folder):
        (folder / name).write_bytes(blob)
        return folder / name

    return write


def encoded(form, **options):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, form, **options)
    return buffer.getvalue()


def png(width, height, depth, colour_type, rows):
    """A PNG file by hand: Pillow writes no 16-bit colours, and no picture larger than memory."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]  # fmt: skip
    parts = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
             for name, data in chunks]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def levels(name, dtype, level):
    def write(folder):
        Image.fromarray(np.full((30, 40), level, dtype)).save(folder / name)
        return folder / name

    return write


def palette(folder, **options):
    image = Image.new("P", (40, 30))
    image.putpalette([*RED, 0, 0, 255])
    image.save(folder / "p.png", **options)
    return folder / "p.png"


def animated(name, **options):
    def write(folder):
        frames = [Image.new("RGB", (40, 30), colour) for colour in (RED, (0, 0, 255))]
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], **options)
        return folder / name

    return write


def link(target):
    def write(folder):
        if target is None:
            (folder / "link.jpg").symlink_to(folder / "nowhere.jpg")
        else:
            target(folder.parent.parent)
            (folder / "link.jpg").symlink_to(folder.parent.parent / "a.jpg")
        return folder / "link.jpg"

    return write


def inside_a_folder(folder):
    (folder / "x.jpg").mkdir()
    return saved("a.jpg")(folder / "x.jpg")


def turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (40, 30), (0, 0, 255))
    image.paste(RED, (0, 0, 20, 30))
    image.save(folder / "t.jpg", exif=exif, quality=95)
    upright = open_rgb(folder / "t.jpg")
    assert upright.size == (30, 40)
    assert upright.getpixel((15, 30))[2] > 200, "the right half as stored is the lower one"
    assert upright.getpixel((15, 10)) == pytest.approx(RED, abs=12)


WHITE = (255, 255, 255)
GREY = (77, 77, 77)
RGB16 = (b"\0" + struct.pack(">3H", *(level * 256 for level in RED)) * 40) * 30
CASES = {  # what the file holds: (its writer, the colour that the network sees)
    "JPEG": (saved("a.jpg"), RED),
    "JPEG, progressive": (saved("a.jpg", progressive=True), RED),
    "JPEG, grey": (saved("a.jpg", "L", 77), GREY),
    "JPEG, CMYK": (saved("a.jpg", "CMYK", (55, 225, 225, 0)), RED),
    "JPEG, turned by its EXIF orientation": (turned, None),
    "JPEG, EXIF that cannot be read": (saved("a.jpg", exif=b"Exif\0\0II*\0garbage_garbage"), RED),
    "PNG": (saved("a.png"), RED),
    "PNG, black and white (1 bit)": (saved("a.png", "1", 1), WHITE),
    "PNG, grey of 16 bits": (levels("a.png", np.uint16, 77 * 256 + 200), GREY),
    "PNG, colours of 16 bits": (content("a.png", png(40, 30, 16, 2, RGB16)), RED),
    "PNG, palette": (palette, RED),
    "PNG, palette with a transparent colour": (lambda folder: palette(folder, transparency=0), WHITE),
    "PNG, transparency (RGBA)": (saved("a.png", "RGBA", (*RED, 0)), WHITE),
    "PNG, grey with transparency (LA)": (saved("a.png", "LA", (77, 255)), GREY),
    "WebP": (saved("a.webp"), RED),
    "WebP, animated": (animated("a.webp"), RED),
    "GIF, animated or not": (animated("a.gif"), RED),
    "BMP": (saved("a.bmp"), RED),
    "TIFF": (saved("a.tif"), RED),
    "TIFF, grey of 16 bits": (levels("a.tiff", np.uint16, 77 * 256), GREY),
    "TIFF, floating point": (levels("a.tiff", np.float32, 0.5), None),
    "a single pixel": (saved("a.png", size=(1, 1)), RED),
    "another kind than its name says (PNG called .jpg)": (content("a.jpg", encoded("PNG")), None),
    "letters of any script in its name": (saved("café 猫 ёж.jpg"), RED),
    "spaces, quotes, signs, capitals in its name": (saved('a b#%&\'$("x").JPG'), RED),
    "a name that is not UTF-8": (saved(os.fsdecode(b"caf\xe9.jpg")), RED),
    "a symbolic link to a file": (link(saved("a.jpg")), RED),
    "a symbolic link to nothing": (link(None), None),
    "a picture in a folder called x.jpg": (inside_a_folder, RED),
    "JPEG, cut short": (content("a.jpg", encoded("JPEG")[:1500]), None),
    "PNG, cut short": (content("a.png", encoded("PNG")[:1500]), None),
    "no bytes": (content("a.jpg", b""), None),
    "text called .jpg": (content("a.jpg", b"not a picture\n" * 20), None),
    "more than 179 million pixels": (content("a.png", png(20_000, 20_000, 1, 0, b"")), None),
    "hidden (._photo.jpg, as macOS leaves)": (content("._photo.jpg", b"Mac OS X"), None),
    "another extension (notes.txt, photo.heic)": (content("photo.heic", b"ftypheic"), None),
}


@pytest.fixture
def root(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(2):
            saved(f"good{index}.png")(tmp_path / "pets" / name)
    return tmp_path / "pets"


def test_the_table_has_every_case_once():
    assert sorted(kind for kind, _ in ROWS) == sorted(CASES)


@pytest.mark.parametrize(("kind", "outcome"), ROWS)
def test_a_file_ends_as_the_table_says(kind, outcome, root):
    write, colour = CASES[kind]
    path = write(root / "one")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        splits = open_folder(root, SIZE, 0.4, 0, "skip")
    said = [str(warning.message) for warning in warned if warning.category is UserWarning]
    images = [*splits.train, *splits.val]
    assert {tuple(image.shape) for image, _ in images} == {(3, SIZE, SIZE)}
    left_out = any("left out" in line and path.name in line for line in said)
    assert (len(images), left_out) == ((5, False) if outcome == "read" else (4, outcome == "bad image")), said
    if colour is not None:
        assert open_rgb(path).getpixel((0, 0)) == pytest.approx(colour, abs=12)
    if outcome == "bad image":
        with pytest.raises(BadImageError, match=rf"one/{re.escape(path.name)}: .*on_bad_image skip") as caught:
            open_folder(root, SIZE, 0.4, 0, "stop")
        assert "\n" not in str(caught.value)


def test_a_file_that_is_left_aside_for_its_name_is_counted_aloud(root):
    for name in ("a.heic", "b.HEIC", "notes"):
        (root / "one" / name).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"left aside.*: 2 \.heic, 1 no extension"):
        open_folder(root, SIZE, 0.4, 0, "stop")


def test_hidden_folders_are_no_classes(root):
    (root / ".ipynb_checkpoints").mkdir()
    assert open_folder(root, SIZE, 0.4, 0, "stop").classes == ["one", "two"]


@pytest.mark.slow
def test_20_000_files_are_opened_in_seconds_and_megabytes(root, monkeypatch):
    """Links to a few pictures of an ordinary size; from the cache on disk no file is opened at all."""
    monkeypatch.chdir(root.parent)
    for name in ("one", "two"):
        for index in range(2):
            (root / name / f"good{index}.png").unlink()
            blob = encoded("JPEG", quality=90)
            (root / name / f"{index}.jpg").write_bytes(blob)
        for index in range(2, 10_000):
            os.link(root / name / f"{index % 2}.jpg", root / name / f"{index}.jpg")
    options = {"image_size": SIZE, "source": "folder", "root": root, "workers": 2}
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    splits = ImageDataModule(**options).opened
    assert len(splits.train) + len(splits.val) == 20_000
    assert time.perf_counter() - started < 120  # a few seconds on a quiet machine
    assert psutil.Process().memory_info().rss - before < 200e6
    assert len(ImageDataModule(**options, cache="disk").opened.train) == 16_000
    started = time.perf_counter()
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: pytest.fail("opened"))
    assert len(ImageDataModule(**options, cache="disk").opened.train) == 16_000
    assert time.perf_counter() - started < 30
