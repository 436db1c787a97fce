"""Pictures made from nothing but zlib, and the ones that the image tests keep."""
import pathlib
import struct
import zlib

GOLDENS = pathlib.Path(__file__).resolve().parents[2] / "unit" / "image" / "goldens"

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width, height):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def png(color, width=12, height=12, comment=b""):
    """A PNG of one colour; `comment` makes its bytes unlike any other's."""
    rows = (b"\0" + bytes(color) * width) * height
    text = chunk(b"tEXt", b"Comment\0" + comment) if comment else b""
    return png_header(width, height) + text + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def huge_png(width=50000, height=50000):
    """A header that promises 50,000 x 50,000 pixels, in a few bytes."""
    return png_header(width, height) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def padded_png(color, size):
    """A PNG of exactly `size` bytes."""
    bare = len(png(color, comment=b"x"))
    return png(color, comment=b"x" * (size - bare + 1))


def golden(name):
    return (GOLDENS / name).read_bytes()
