#!/usr/bin/env python3
"""Makes every file in goldens/ anew: small pictures in all the variants that src/image/ reads, each
with the pixels that must come out (binary PPM), and resized pictures as Pillow makes them.

The pictures are procedural. What must come out is Pillow's answer, or, where Pillow cannot tell (16
bits, transparency over white), follows from the samples that were written. Needs Pillow; the tests
do not. Run it from anywhere: /usr/bin/python3 tests/unit/image/make_goldens.py
"""
import io
import math
import pathlib
import struct
import zlib

from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).resolve().parent / "goldens"
WIDTH, HEIGHT = 29, 21  # odd, so that no block, byte or chroma sample ends with the picture


def mix(x, y, c):
    """A 32-bit hash of three small numbers; test_resize.c has the same."""
    h = (x * 0x9E3779B1 ^ y * 0x85EBCA77 ^ c * 0xC2B2AE3D) & 0xFFFFFFFF
    h = (h ^ h >> 15) * 0x2C1B3C6D & 0xFFFFFFFF
    return h ^ h >> 13


def smooth(width, height, channels):
    """Waves and an edge, 0.0 to 1.0: compresses well, and shows swapped rows, columns, channels."""
    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            u, v = x / width, y / height
            edge = 0.25 if u + v > 1.1 else 0.0
            pixel = [0.15 + 0.6 * u + edge * v, 0.2 + 0.55 * v + edge * u,
                     0.5 + 0.35 * math.sin(5 * u + 3 * v), 0.5 + 0.5 * math.cos(4 * u - 6 * v)]
            row.append([min(1.0, max(0.0, value)) for value in pixel[:channels]])
        rows.append(row)
    return rows


def quantised(rows, depth):
    top = (1 << depth) - 1
    return [[[round(value * top) for value in pixel] for pixel in row] for row in rows]


def pil_image(rows, mode):
    data = bytes(value for row in rows for pixel in row for value in pixel)
    return Image.frombytes(mode, (len(rows[0]), len(rows)), data)


def write(name, data):
    (HERE / name).write_bytes(data)


def write_ppm(name, image):
    image = image.convert("RGB")
    write(name, b"P6\n%d %d\n255\n" % image.size + image.tobytes())


def saved(image, **options):
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


# --- PNG, written here: Pillow writes neither 16-bit colour nor interlacing ---

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed_row(row, depth):
    """One row, each pixel a list of samples, after filter type 0."""
    samples = [value for pixel in row for value in pixel]
    if depth == 16:
        return b"\0" + b"".join(struct.pack(">H", value) for value in samples)
    bits = "".join(format(value, "0%db" % depth) for value in samples)
    bits += "0" * (-len(bits) % 8)
    return b"\0" + bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def png(rows, colour_type, depth, interlaced=False, extra=b"", late=b""):
    height, width = len(rows), len(rows[0])
    raw = b""
    for x0, y0, dx, dy in (ADAM7 if interlaced else [(0, 0, 1, 1)]):
        for row in rows[y0::dy]:
            if row[x0::dx]:
                raw += packed_row(row[x0::dx], depth)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
            + chunk(b"IDAT", zlib.compress(raw, 9)) + late + chunk(b"IEND", b""))


def over_white(rgb, alpha):
    return [value * alpha + 1.0 * (1.0 - alpha) for value in rgb]


def shown(rows, depth, key=None):
    """The 8-bit RGB that rows of samples must decode to; `key` is the transparent colour."""
    top = (1 << depth) - 1
    out = []
    for row in rows:
        line = []
        for pixel in row:
            unit = [value / top for value in pixel]
            alpha = unit.pop() if len(pixel) in (2, 4) else float(pixel != key)
            rgb = over_white(unit * 3 if len(unit) == 1 else unit, alpha)
            line.append([int(value * 255 + 0.5) for value in rgb])
        out.append(line)
    return pil_image(out, "RGB")


GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def make_png():
    colour, grey = smooth(WIDTH, HEIGHT, 4), smooth(WIDTH, HEIGHT, 1)
    grey_alpha = [[[p[0], p[3]] for p in row] for row in colour]
    rgb = [[p[:3] for p in row] for row in colour]
    for name, rows, kind, depth in [
            ("rgb8", rgb, RGB, 8), ("rgb16", rgb, RGB, 16), ("rgba8", colour, RGB_ALPHA, 8),
            ("rgba16", colour, RGB_ALPHA, 16), ("grey1", grey, GREY, 1), ("grey2", grey, GREY, 2),
            ("grey4", grey, GREY, 4), ("grey8", grey, GREY, 8), ("grey16", grey, GREY, 16),
            ("greyalpha8", grey_alpha, GREY_ALPHA, 8), ("greyalpha16", grey_alpha, GREY_ALPHA, 16)]:
        samples = quantised(rows, depth)
        write("png-%s.png" % name, png(samples, kind, depth))
        write_ppm("png-%s.ppm" % name, shown(samples, depth))
        if name in ("rgb8", "rgba8", "rgba16", "grey1"):
            write("png-%s-interlaced.png" % name, png(samples, kind, depth, interlaced=True))
    samples = quantised(grey, 4)
    write("png-grey4-key.png", png(samples, GREY, 4, extra=chunk(b"tRNS", struct.pack(">H", 7))))
    write_ppm("png-grey4-key.ppm", shown(samples, 4, key=[7]))
    samples = quantised(rgb, 8)
    key = samples[5][5]
    write("png-rgb8-key.png",
          png(samples, RGB, 8, extra=chunk(b"tRNS", struct.pack(">HHH", *key))))
    write_ppm("png-rgb8-key.ppm", shown(samples, 8, key=key))
    make_png_palette()
    make_png_odd(samples)


def make_png_palette():
    for depth in (1, 2, 4, 8):
        count = min(1 << depth, 40)
        colours = [[mix(i, depth, c) & 255 for c in range(3)] for i in range(count)]
        alphas = [255 - 11 * i % 256 for i in range(count // 2)]  # the rest is opaque
        rows = [[[(x + y * y // 5) % count] for x in range(WIDTH)] for y in range(HEIGHT)]
        table = chunk(b"PLTE", bytes(value for colour in colours for value in colour))
        write("png-palette%d.png" % depth, png(rows, PALETTE, depth, extra=table))
        write_ppm("png-palette%d.ppm" % depth,
                  pil_image([[colours[p[0]] for p in row] for row in rows], "RGB"))
        if depth in (2, 8):
            full = alphas + [255] * (count - len(alphas))
            write("png-palette%d-alpha.png" % depth,
                  png(rows, PALETTE, depth, interlaced=depth == 8,
                      extra=table + chunk(b"tRNS", bytes(alphas))))
            expected = [[colours[p[0]] + [full[p[0]]] for p in row] for row in rows]
            write_ppm("png-palette%d-alpha.ppm" % depth, shown(expected, 8))


def make_png_odd(samples):
    """Metadata that must not matter, an orientation after the pixels, a bomb of a few bytes."""
    noise = (chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"bKGD", b"\0\1\0\2\0\3")
             + chunk(b"tEXt", b"Comment\0nothing")
             + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1000))
             + chunk(b"iCCP", b"broken\0\0" + b"no profile") + chunk(b"prVt", b"private"))
    write("png-metadata.png", png(samples, RGB, 8, extra=noise))
    write("png-exif6.png", png(samples, RGB, 8, late=chunk(b"eXIf", tiff(6, ">"))))
    write_ppm("png-exif6.ppm", pil_image(samples, "RGB").transpose(Image.Transpose.ROTATE_270))
    header = struct.pack(">IIBBBBB", 50000, 50000, 8, RGB, 0, 0, 0)
    write("bomb.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
          + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


# --- JPEG ---

def tiff(orientation, order):
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    other = struct.pack(order + "HHII", 0x0100, 4, 1, 77)  # a width, to be skipped
    return mark + struct.pack(order + "HIH", 42, 8, 2) + other + entry + b"\0\0\0\0"


def make_jpeg():
    colour = pil_image(quantised(smooth(WIDTH, HEIGHT, 3), 8), "RGB")
    inks = pil_image(quantised(smooth(WIDTH, HEIGHT, 4), 8), "CMYK")
    cmyk = saved(inks, format="JPEG", quality=90)
    adobe = cmyk.index(b"Adobe")
    ycck = cmyk[:adobe + 11] + b"\x02" + cmyk[adobe + 12:]
    files = {
        "444": saved(colour, format="JPEG", quality=90, subsampling=0),
        "422": saved(colour, format="JPEG", quality=90, subsampling=1),
        "420": saved(colour, format="JPEG", quality=75, subsampling=2),
        "progressive": saved(colour, format="JPEG", quality=90, progressive=True),
        "grey": saved(colour.convert("L"), format="JPEG", quality=90),
        "cmyk": cmyk,
        "ycck": ycck,
    }
    for name, data in files.items():
        write("jpeg-%s.jpg" % name, data)
        write_ppm("jpeg-%s.ppm" % name, Image.open(io.BytesIO(data)))
    for orientation in range(1, 9):
        order = "<" if orientation % 2 else ">"
        data = saved(colour, format="JPEG", quality=60,
                     exif=b"Exif\0\0" + tiff(orientation, order))
        write("jpeg-exif%d.jpg" % orientation, data)
        write_ppm("jpeg-exif%d.ppm" % orientation,
                  ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    frame = files["444"].index(b"\xff\xc0")
    write("bomb.jpg", files["444"][:frame + 5] + b"\xff\xff\xff\xff" + files["444"][frame + 9:])
    write("photo.jpg", saved(pil_image(quantised(smooth(640, 480, 3), 8), "RGB"), format="JPEG",
                             quality=70, exif=b"Exif\0\0" + tiff(6, "<")))
    make_reduced()


def make_reduced():
    """A JPEG whose sides no reduction divides, and a quarter of it resized by its true size."""
    size = (301, 203)
    rows = [[[60 + 130 * ((x // 25 + y // 25) % 2)] * 3 for x in range(size[0])]
            for y in range(size[1])]  # no overshoot is clipped: turning and resizing commute
    odd = saved(pil_image(rows, "RGB"), format="JPEG", quality=50,
                exif=b"Exif\0\0" + tiff(1, "<"))
    write("odd.jpg", odd)
    image = Image.open(io.BytesIO(odd))
    image.draft("RGB", (size[0] // 4, size[1] // 4))
    write_ppm("odd-reduced.ppm", image.resize((24, 16), Image.Resampling.BICUBIC,
                                              box=(0, 0, size[0] / 4, size[1] / 4)))


# --- WebP ---

def make_webp():
    rows = quantised(smooth(WIDTH, HEIGHT, 4), 8)
    rgba, rgb = pil_image(rows, "RGBA"), pil_image(rows, "RGBA").convert("RGB")
    files = {
        "lossy": saved(rgb, format="WEBP", quality=80),
        "lossless": saved(rgb, format="WEBP", lossless=True),
        "lossy-alpha": saved(rgba, format="WEBP", quality=80),
        "lossless-alpha": saved(rgba, format="WEBP", lossless=True, exact=True),
        "exif8": saved(rgb, format="WEBP", lossless=True, exif=b"Exif\0\0" + tiff(8, ">")),
    }
    for name, data in files.items():
        write("webp-%s.webp" % name, data)
        image = Image.open(io.BytesIO(data))
        if image.mode == "RGBA":
            pixels = [list(pixel) for pixel in image.getdata()]
            image = shown([pixels[i:i + WIDTH] for i in range(0, len(pixels), WIDTH)], 8)
        elif name == "exif8":
            image = image.transpose(Image.Transpose.ROTATE_90)
        write_ppm("webp-%s.ppm" % name, image)
    write("webp-animated.webp", saved(rgb, format="WEBP", save_all=True, lossless=True,
                                      append_images=[ImageOps.mirror(rgb)], duration=100))
    lossless = files["lossless"]
    write("bomb.webp", lossless[:21] + struct.pack("<I", 16382 | 16382 << 14) + lossless[25:])


# --- resizing ---

def make_resize():
    rows = [[[mix(x, y, c) & 255 for c in range(3)] for x in range(61)] for y in range(47)]
    noise = pil_image(rows, "RGB")
    rows = [[[mix(x, y, c) & 255 for c in range(3)] for x in range(641)] for y in range(427)]
    large = pil_image(rows, "RGB")
    for name, kernel in (("bilinear", Image.Resampling.BILINEAR),
                         ("bicubic", Image.Resampling.BICUBIC)):
        for size in ((32, 32), (20, 15), (61, 20), (9, 47), (97, 80), (7, 5), (1, 1)):
            write_ppm("resize-%s-%dx%d.ppm" % (name, *size), noise.resize(size, kernel))
        write_ppm("resize-%s-large.ppm" % name, large.resize((48, 32), kernel))
    make_tensors(large)


def make_tensors(image):
    """Every 61st value of the presets' tensors, as little-endian floats."""
    def tensor(picture, side, crop, kernel, mean, std):
        width, height = picture.size
        shorter = min(width, height)
        picture = picture.resize((int(side * width / shorter), int(side * height / shorter)), kernel)
        left = int(round((picture.width - crop) / 2.0))
        top = int(round((picture.height - crop) / 2.0))
        pixels = picture.crop((left, top, left + crop, top + crop)).tobytes()
        return [(pixels[3 * i + c] / 255 - mean[c]) / std[c]
                for c in range(3) for i in range(crop * crop)]

    imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    cifar10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    bicubic, bilinear = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
    raw = image.resize((224, 224), bilinear).tobytes()
    for name, values in {
            "imagenet": tensor(image, 256, 224, bicubic, *imagenet),
            "imagenet-224-bilinear": tensor(image, 256, 224, bilinear, *imagenet),
            "cifar10": tensor(image, 32, 32, bicubic, *cifar10),
            "raw01": [value / 255 for c in range(3) for value in raw[c::3]]}.items():
        some = values[::61]
        write("tensor-%s.f32" % name, struct.pack("<%df" % len(some), *some))


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    make_png()
    make_jpeg()
    make_webp()
    make_resize()
