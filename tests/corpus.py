"""Image files of many kinds, and broken ones made of them."""

import io

import numpy as np
from common import photo_patches
from PIL import Image


def encoded(image, kind, **settings):
    """Return the bytes of a file of this kind, "PNG" or "JPEG"."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def sound_files():
    """Return small JPEG and PNG files as bytes, by name: every mode and way to store it."""
    photo = Image.fromarray(photo_patches(2, 48)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    gray, alpha = photo.convert("L"), photo.convert("L").point(lambda v: 255 - v)
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    translucent = Image.merge("RGBA", (*photo.split(), alpha))
    palette = photo.quantize(16)
    return {
        "jpeg": encoded(photo, "JPEG"),
        "progressive jpeg": encoded(photo, "JPEG", progressive=True),
        "gray jpeg": encoded(gray, "JPEG"),
        "cmyk jpeg": encoded(photo.convert("CMYK"), "JPEG"),
        "turned jpeg": encoded(photo, "JPEG", exif=exif),
        "png": encoded(photo, "PNG"),
        "gray png": encoded(gray, "PNG"),
        "deep png": encoded(deep, "PNG"),
        "black and white png": encoded(gray.convert("1"), "PNG"),
        "translucent png": encoded(translucent, "PNG"),
        "translucent gray png": encoded(Image.merge("LA", (gray, alpha)), "PNG"),
        "palette png": encoded(palette, "PNG"),
        "palette png with a transparent color": encoded(palette, "PNG", transparency=3),
        "turned png": encoded(photo, "PNG", exif=exif),
    }


def mutated(data, other, rng):
    """Return a file's bytes, broken in one of eight ways; some pieces come from another file."""
    broken = bytearray(data)
    start, stop = sorted(rng.integers(0, len(data), 2).tolist())
    stop = min(stop, start + int(2 ** rng.uniform(0, 10)))
    match rng.integers(8):
        case 0:  # some bytes changed
            for place in rng.integers(0, len(data), rng.integers(1, 20)):
                broken[place] = rng.integers(256)
        case 1:  # one bit
            broken[start] ^= 1 << int(rng.integers(8))
        case 2:  # cut short
            del broken[start:]
        case 3:  # a piece lost
            del broken[start:stop]
        case 4:  # a piece twice
            broken[stop:stop] = broken[start:stop]
        case 5:  # noise put in
            broken[start:start] = rng.bytes(stop - start)
        case 6:  # zeros, as of a disk that was not written
            broken[start:stop] = bytes(stop - start)
        case 7:  # the beginning of one file, the end of another
            broken[start:] = other[min(start, len(other)) :]
    return bytes(broken)


def broken_files(n, seed=0):
    """Yield the bytes of n files, broken versions of all kinds of sound ones in turn."""
    rng = np.random.default_rng(seed)
    files = list(sound_files().values())
    for i in range(n):
        yield mutated(files[i % len(files)], files[rng.integers(len(files))], rng)
