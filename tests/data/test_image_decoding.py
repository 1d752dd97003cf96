"""That every kind of image becomes the right bytes, and that what is none is explained."""

import errno
import io
import os
import struct
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from common import photo_patches
from corpus import broken_files, encoded, sound_files
from PIL import Image, ImageOps

from sklearn_ssl.data.decoded_images import pixels_at
from sklearn_ssl.data.image_decoding import UnreadableImage, read_image, shorter_side
from sklearn_ssl.data.image_lists import StoredImages, read_images


@pytest.fixture(scope="module")
def photo():
    """A patch of a photograph, 64 pixels wide and 48 tall."""
    return Image.fromarray(photo_patches(2, 64)[0][:48])


def reason(item, size=16):
    with pytest.raises(UnreadableImage) as raised:
        read_image(item, size, size)
    return str(raised.value)


def png_of_16_bits(values, color_type):
    """Bytes of a PNG file of 16 bits a channel, which Pillow reads but does not write."""
    height, width = values.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0),
        b"IDAT": zlib.compress(lines),
        b"IEND": b"",
    }
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def of_one_color(mode, color, **info):
    image = Image.new(mode, (8, 8), color)
    image.info.update(info)
    return image


DEEP = np.full((8, 8), 40_000, np.uint16)
COLORS = {
    "RGB": (of_one_color("RGB", (10, 20, 30)), [10, 20, 30]),
    "L": (of_one_color("L", 77), [77]),
    "1": (of_one_color("1", 1), [255]),
    "opaque RGBA": (of_one_color("RGBA", (10, 20, 30, 255)), [10, 20, 30]),
    "transparent RGBA": (of_one_color("RGBA", (10, 20, 30, 0)), [255, 255, 255]),
    "half transparent RGBA": (of_one_color("RGBA", (0, 100, 200, 51)), [204, 224, 244]),
    "LA": (of_one_color("LA", (0, 51)), [204]),
    "RGBa": (of_one_color("RGBa", (0, 20, 40, 51)), [204, 224, 244]),
    "P": (of_one_color("RGB", (10, 20, 30)).quantize(4), [10, 20, 30]),
    "PNG, transparent color": (
        encoded(of_one_color("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        [255] * 3,
    ),
    "PNG, transparent gray": (encoded(of_one_color("L", 9), "PNG", transparency=9), [255]),
    "PNG, transparent entry": (
        encoded(of_one_color("RGB", (1, 2, 3)).quantize(2), "PNG", transparency=0),
        [255] * 3,
    ),
    "CMYK": (of_one_color("CMYK", (255, 0, 0, 0)), [0, 255, 255]),
    "CMYK, JPEG": (encoded(of_one_color("CMYK", (255, 0, 0, 0)), "JPEG"), [0, 255, 255]),
    "HSV": (of_one_color("HSV", (0, 255, 200)), [200, 0, 0]),
    "YCbCr": (of_one_color("YCbCr", (100, 128, 128)), [100, 100, 100]),
    "16 bits, PNG": (encoded(Image.fromarray(DEEP), "PNG"), [40_000]),
    "16 bits, TIFF": (encoded(Image.fromarray(DEEP), "TIFF"), [40_000]),
    "16 bits, big-endian": (
        Image.frombytes("I;16B", (8, 8), DEEP.astype(">u2").tobytes()),
        [40_000],
    ),
    "16 bits, PGM": (b"P5 8 8 65535\n" + DEEP.astype(">u2").tobytes(), [40_000]),
    "16 bits, RGB": (
        png_of_16_bits(np.stack([DEEP, DEEP // 2, DEEP * 0], 2), 2),
        [40_000, 20_000, 0],
    ),
    # Pillow reads this one as RGBA.
    "16 bits, LA": (png_of_16_bits(np.stack([DEEP, DEEP * 0], 2), 4), [255, 255, 255]),
    "16 bits in 32": (Image.fromarray(DEEP.astype(np.int32)), [40_000]),
    "floats": (Image.fromarray(np.full((8, 8), 0.5, np.float32)), [128 / 255]),
    "array": (np.full((8, 8, 3), 9, np.uint8), [9, 9, 9]),
    "gray array": (np.full((8, 8), 9, np.uint8), [9]),
    "gray array with a channel": (np.full((8, 8, 1), 9, np.uint8), [9]),
    "array of bools": (np.ones((8, 8), bool), [255]),
    "array of 16 bits": (DEEP, [40_000]),
    "array of int64": (np.full((8, 8), 200), [200]),
    "array of floats": (np.full((8, 8), 0.2), [0.2]),
    "array of other floats": (np.full((8, 8), -7.5), [-7.5]),
    "array of int16": (np.full((8, 8), -9999, np.int16), [-9999]),
    "tensor": (torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(3, 8, 8), [0.2, 0.4, 0.6]),
    "bfloat16": (torch.full((8, 8), 0.5, dtype=torch.bfloat16), [128 / 255]),
    "channels first": (np.full((8, 8, 3), [1, 2, 3], np.uint8).transpose(2, 0, 1), [1, 2, 3]),
}


@pytest.mark.parametrize("name", COLORS)
def test_colors_of_every_mode(name):
    item, color = COLORS[name]
    pixels = read_image(item, 8, 8)
    deep = isinstance(color[0], float) or max(color) > 255 or "int" in name
    assert pixels.dtype == (
        np.float32 if isinstance(color[0], float) else np.int32 if deep else "u1"
    )
    assert pixels.shape == (8, 8, len(color))
    tolerance = 3 if "JPEG" in name else 1e-6 if deep else 1
    assert np.abs(pixels.astype(float) - color).max() <= tolerance
    assert shorter_side(item) == 8


def test_sixteen_bits_keep_their_steps():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    pixels = read_image(encoded(Image.fromarray(ramp), "PNG"), 8, 8)[:, :, 0]
    np.testing.assert_array_equal(pixels, ramp)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(photo, kind, orientation):
    """A camera that was held in another way stored its pixels turned, and says so."""
    undone = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = photo if undone is None else photo.transpose(Image.Transpose(undone))
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"quality": 100} if kind != "TIFF" else {}
    data = encoded(stored, kind, exif=exif, **lossless)
    seen = read_image(data, 48, 48).astype(int)
    assert seen.shape == (48, 64, 3)
    assert np.abs(seen - np.asarray(photo)).mean() < 4
    reference = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(seen, np.asarray(reference.convert("RGB")))
    small = read_image(data, 12, 16).astype(int)
    assert small.shape == (12, 16, 3)


def test_broken_exif_data_do_not_matter(photo):
    data = encoded(photo, "PNG", exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(read_image(data, 48, 48), np.asarray(photo))


@pytest.mark.parametrize("size", [(640, 480), (33, 100), (100, 33), (16, 16), (5, 7), (2000, 10)])
def test_images_cover_the_requested_sides(size):
    image = Image.effect_noise(size, 50)
    for height, width in (16, 16), (20, 16), (7, 30):
        tall, wide = read_image(image, height, width).shape[:2]
        assert tall == height or wide == width
        assert height <= tall <= 2 * height
        assert width <= wide <= 2 * width
        expected = min(size[0] * max(height / size[1], width / size[0]), 2 * width)
        assert abs(wide - expected) <= 1


def test_panoramas_are_cropped_to_the_middle():
    ramp = np.tile(np.linspace(0, 255, 1000).astype(np.uint8), (50, 1))
    pixels = read_image(ramp, 25, 25)[:, :, 0]
    assert pixels.shape == (25, 50)
    assert 113 < pixels[:, 0].mean() < 117  # a tenth of the ramp, around 127.5
    assert 138 < pixels[:, -1].mean() < 142


def test_large_jpeg_files_are_decoded_at_reduced_scale(photo):
    large = photo.resize((1024, 768), Image.Resampling.BICUBIC)
    data = encoded(large, "JPEG", quality=95)
    drafted = Image.open(io.BytesIO(data))
    drafted.draft(None, (86, 64))
    assert drafted.size == (128, 96)
    expected = drafted.resize((85, 64), Image.Resampling.BILINEAR)
    pixels = read_image(data, 64, 64)
    np.testing.assert_array_equal(pixels, np.asarray(expected))
    full = np.asarray(large.resize((85, 64), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(pixels - full).mean() < 2
    # Of a long one it is the shorter side that counts.
    long = large.resize((1000, 260), Image.Resampling.BICUBIC)
    pixels = read_image(encoded(long, "JPEG", quality=95), 64, 64).astype(int)
    full = np.asarray(long.resize((128, 64), Image.Resampling.BILINEAR, box=(240, 0, 760, 260)))
    assert pixels.shape == (64, 128, 3)
    assert np.abs(pixels - full).mean() < 2


def test_of_animations_the_first_image_is_taken():
    frames = [of_one_color("L", gray) for gray in (50, 100, 150)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert abs(int(read_image(data, 8, 8)[0, 0, 0]) - 50) <= 1


def test_images_of_the_user_stay_as_they_are(photo):
    image, before = photo.copy(), np.asarray(photo)
    read_image(image, 8, 8)
    assert image.size == (64, 48)
    np.testing.assert_array_equal(np.asarray(image), before)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_files_that_are_cut_short(photo, kind):
    data = encoded(photo, kind)
    for length in (4, len(data) // 3, len(data) - 100):
        assert reason(data[:length])
    assert reason(b"") == "an empty file of 0 bytes"


def test_what_is_no_image_is_explained(tmp_path, photo, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("Not an image, but words.")
    (tmp_path / "drawing.svg").write_text('<?xml version="1.0"?>\n<svg width="9" height="9"/>')
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "nothing.jpg") == "no such file"
    assert reason(str(tmp_path / "folder")).startswith("a folder; sklearn_ssl.image_paths(")
    assert "symbolic links" in reason(tmp_path / "a")
    assert reason(tmp_path / "empty.jpg") == "an empty file of 0 bytes"
    assert reason(tmp_path / "text.jpg") == "not an image, or an unsupported format"
    assert reason(tmp_path / "drawing.svg").startswith("an SVG file")
    assert reason(tmp_path / "page.eps") == "not an image, or an unsupported format"
    assert reason(tmp_path / "pipe") == "not a regular file"  # and does not wait for a writer
    assert "null" in reason("zero\0byte")
    assert reason(None) == "a missing value, None of type NoneType"
    assert reason(float("nan")).startswith("a missing value")
    assert reason(17) == "not an image, 17 of type int"
    assert reason({"label": 3}) == "a dict without an image; its keys are ['label']"
    assert "shape (5, 6, 7)" in reason(np.zeros((5, 6, 7)))
    assert "shape (3,)" in reason(np.zeros(3))
    assert "shape (0, 4)" in reason(np.zeros((0, 4)))
    assert "float64 with values that are NaN" in reason(np.where(np.eye(8) > 0, np.nan, 0.0))
    assert "masked array" in reason(np.ma.masked_equal(np.eye(8), 1))
    assert "complex128" in reason(np.eye(8) * 1j)
    assert "shape (8, 8, 4)" in reason(np.zeros((8, 8, 4), np.uint8))  # of what is the fourth?
    assert reason({"image": None, "mask": photo}).startswith("a missing value")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert reason(encoded(photo, "PNG")).startswith("more than 2,000 pixels, Pillow's limit")


def test_errors_of_the_machine_are_not_of_the_file(tmp_path, photo, monkeypatch):
    photo.save(tmp_path / "photo.png")

    def none_left(*args, **kwargs):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("builtins.open", none_left)
    with pytest.raises(OSError, match="Too many open files"):
        read_image(tmp_path / "photo.png", 16, 16)


def test_images_that_are_not_read_yet_stay_so(tmp_path, photo):
    """Else a list of opened files would fill the memory, and JPEG files be read at full scale."""
    for name in ("photo.jpg", "photo.png"):
        photo.resize((640, 480)).save(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert shorter_side(image) == 480
            pixels = read_image(image, 48, 48)
            np.testing.assert_array_equal(pixels, read_image(tmp_path / name, 48, 48))
            assert image.fp is not None
            assert image.size == (640, 480)
            image.load()
            assert read_image(image, 48, 48).shape == pixels.shape
    with Image.open(io.BytesIO((tmp_path / "photo.jpg").read_bytes())) as image:
        assert read_image(image, 48, 48).shape == pixels.shape
        assert image.size == (640, 480)
    frames = [of_one_color("L", gray) for gray in (50, 100)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "two.gif") as image:
        image.seek(1)
        assert read_image(image, 8, 8)[0, 0, 0] == 100


def test_paths_that_are_no_text(tmp_path, photo):
    """File systems hold bytes; Python's strings stand in for what is no UTF-8."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")
    photo.save(path, "PNG")
    np.testing.assert_array_equal(read_image(path, 48, 48), np.asarray(photo))
    np.testing.assert_array_equal(read_image(Path(path), 48, 48), np.asarray(photo))


def test_sound_files_are_read(photo):
    for name, data in sound_files().items():
        channels = 1 if "gray" in name or "deep" in name or "black" in name else 3
        assert read_image(data, 16, 16).shape == (16, 16, channels), name


@pytest.mark.exhaustive
def test_twenty_thousand_broken_files():
    """No crash, no hang, no wrong row: each gives an image or a reason, the one it has alone."""
    files = list(broken_files(20_000))
    sound = sound_files()["png"]
    expected = read_image(sound, 16, 16)
    outcomes, slowest = Counter(), 0.0
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of what it can make up for
        alone = []
        for data in files:
            start = time.perf_counter()
            try:
                alone.append(read_image(data, 16, 16))
                outcomes["read"] += 1
            except UnreadableImage as why:
                alone.append(str(why))
                outcomes[str(why)[:12]] += 1
            slowest = max(slowest, time.perf_counter() - start)
        mixed = [item for data in files for item in (data, sound)]
        blocks, places, bad = read_images(mixed, 16, 16, n_jobs=2, folder=None, verbose=0)
    assert slowest < 5
    assert 2_000 < outcomes["read"] < 18_000
    kept = StoredImages(blocks, places, (16, 16, 3))
    for row, result in enumerate(alone):
        np.testing.assert_array_equal(kept[[2 * row + 1]][0], expected)
        if isinstance(result, str):
            assert bad.pop(2 * row)[:12] == result[:12]
            assert places["block"][2 * row] == -1
        else:
            (pixels,) = pixels_at(blocks, places[[2 * row]])
            np.testing.assert_array_equal(pixels, result)
    assert not bad
