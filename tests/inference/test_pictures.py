"""Picture files of every sort, read as a person would see them."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from liftjax.errors import LiftjaxError
from liftjax.inference.pictures import read_picture
from tests.slow import slow

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(height=24, width=36) -> np.ndarray:
    """A red quarter above left, a green one above right, a blue one below left, white the rest."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def write(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


def same(path, expected=None, atol=0):
    image = read_picture(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_allclose(image, quarters() if expected is None else expected, atol=atol)


@pytest.mark.parametrize("kind", ["png", "bmp", "tif", "ppm"])
def test_kinds_without_loss(tmp_path, kind):
    same(write(tmp_path / f"a.{kind}", Image.fromarray(quarters())))


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_kinds_with_loss(tmp_path, kind):
    picture = Image.fromarray(quarters(32, 32))
    path = write(tmp_path / f"a.{kind}", picture, quality=98)
    np.testing.assert_allclose(read_picture(path)[:12, :12], quarters(32, 32)[:12, :12], atol=6)


@pytest.mark.parametrize("kind", ["png", "tif", "bmp"])
def test_palettes(tmp_path, kind):
    same(write(tmp_path / f"a.{kind}", Image.fromarray(quarters()).quantize(8)), atol=1)


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "bmp"])
def test_grey(tmp_path, kind):
    grey = np.full((16, 24), 77, np.uint8)
    same(write(tmp_path / f"a.{kind}", Image.fromarray(grey)), np.full((16, 24, 3), 77), atol=1)


def test_black_and_white(tmp_path):
    bits = np.arange(12).reshape(3, 4) % 3 == 0
    expected = np.repeat(255 * bits[..., None], 3, axis=2)
    same(write(tmp_path / "a.png", Image.fromarray(bits)), expected)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bits(tmp_path, kind):
    values = np.array([[0, 128, 129, 257, 65407, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / f"grey.{kind}"), values)
    expected = np.repeat(np.array([[0, 0, 1, 1, 255, 255]])[..., None], 3, axis=2)
    same(tmp_path / f"grey.{kind}", expected, atol=1)
    cv2.imwrite(str(tmp_path / f"color.{kind}"), quarters()[..., ::-1].astype(np.uint16) * 257)
    same(tmp_path / f"color.{kind}")


def test_16_bits_of_a_pgm(tmp_path):
    values = np.array([[0, 128, 257, 65535]], ">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 65535\n" + values.tobytes())
    same(tmp_path / "a.pgm", np.repeat(np.array([[0, 0, 1, 255]])[..., None], 3, axis=2))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_alpha_lies_on_white(tmp_path, kind, depth):
    image = np.zeros((2, 3, 4), np.uint8)
    image[0] = [[0, 0, 200, 255], [0, 0, 200, 0], [0, 0, 200, 128]]  # BGRA, a red
    stored = image if depth == 8 else image.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"a.{kind}"), stored)
    expected = np.full((2, 3, 3), 255)
    expected[0, 0], expected[0, 2] = (200, 0, 0), (227, 127, 127)
    same(tmp_path / f"a.{kind}", expected, atol=1)


def test_tiff_alpha_of_either_kind(tmp_path):
    """Colours are stored as they are, or as they lie on black."""
    tag = struct.Struct("<HHII")
    for kind, stored in ((1, (100, 50, 0, 128)), (2, (200, 100, 0, 128))):
        picture = Image.fromarray(np.full((2, 2, 4), stored, np.uint8))
        path = write(tmp_path / "a.tif", picture)
        assert tag.pack(338, 3, 1, 2) in path.read_bytes()
        path.write_bytes(
            path.read_bytes().replace(tag.pack(338, 3, 1, 2), tag.pack(338, 3, 1, kind))
        )
        same(path, np.full((2, 2, 3), (227, 177, 127)), atol=1)


def test_transparent_color_of_a_palette(tmp_path):
    """The red is the transparent one, whatever its place in the palette."""
    picture = Image.fromarray(quarters()).quantize(8)
    expected = quarters()
    expected[:12, :18] = 255
    same(write(tmp_path / "a.png", picture, transparency=picture.getpixel((0, 0))), expected)


def test_transparent_level_of_a_grey_picture(tmp_path):
    grey = np.array([[0, 77, 255]], np.uint8)
    path = write(tmp_path / "a.png", Image.fromarray(grey), transparency=77)
    same(path, np.repeat(np.array([[0, 255, 255]])[..., None], 3, axis=2))


def exif_bytes(orientation: int, order: str = "<") -> bytes:
    """A TIFF header and a list of two entries; the orientation is the second."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    other = struct.pack(order + "HHII", 256, 4, 1, 99)
    return mark + struct.pack(order + "IH", 8, 2) + other + entry + bytes(4)


# What the picture must have been turned into before it was stored with such a tag.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_exif_orientation(tmp_path, kind, orientation, order):
    upright = quarters(32, 48)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options = {"lossless": True} if kind == "webp" else {"quality": 100} if kind == "jpg" else {}
    exif = b"Exif\0\0" + exif_bytes(orientation, order)
    path = write(tmp_path / f"a.{kind}", stored, exif=exif, **options)
    found = read_picture(path)
    assert found.shape == upright.shape
    for y, x in ((4, 4), (4, 40), (26, 4), (26, 40)):
        np.testing.assert_allclose(found[y, x], upright[y, x], atol=6)


def test_tiff_orientation(tmp_path):
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](quarters())))
    same(write(tmp_path / "a.tif", stored, tiffinfo={274: 6}))


def test_orientation_of_a_transparent_picture(tmp_path):
    upright = np.dstack([quarters(), np.full((24, 36), 255, np.uint8)])
    upright[:12, :18, 3] = 0
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](upright)))
    expected = quarters()
    expected[:12, :18] = 255
    same(write(tmp_path / "a.png", stored, exif=b"Exif\0\0" + exif_bytes(6)), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        exif_bytes(0),
        exif_bytes(9),
        exif_bytes(6)[:20],
        b"junk" * 10,
    ],
)
@pytest.mark.filterwarnings("ignore")  # Pillow's, of such data
def test_broken_exif_means_upright(tmp_path, kind, exif):
    (tmp_path / "a.jpg").write_bytes(encoded(kind, exif=b"Exif\0\0" + exif))
    assert read_picture(tmp_path / "a.jpg").shape == (200, 300, 3)


@pytest.mark.parametrize("kind", ["JPEG", slow("PNG"), slow("WEBP")])
@pytest.mark.filterwarnings("ignore")
def test_no_byte_of_the_exif_data_loses_the_picture(tmp_path, kind):
    exif = exif_bytes(6)
    for place in range(len(exif)):
        for value in (0, 1, 2, 127, 255):
            broken = exif[:place] + bytes([value]) + exif[place + 1 :]
            (tmp_path / "a.jpg").write_bytes(encoded(kind, exif=b"Exif\0\0" + broken))
            assert read_picture(tmp_path / "a.jpg").size == 200 * 300 * 3


def test_a_program_named_as_a_picture_is_not_run(tmp_path):
    program = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_text(program)
    with pytest.raises(LiftjaxError, match="cannot be read as a picture"):
        read_picture(tmp_path / "a.jpg")


def test_data_after_the_end_of_a_jpeg(tmp_path):
    """Phones append a short film; its bytes are not the picture's."""
    data = encoded("JPEG")
    (tmp_path / "a.jpg").write_bytes(data + bytes(1000) + b"ftypmp42" + bytes(5000))
    assert read_picture(tmp_path / "a.jpg").shape == (200, 300, 3)


def test_progressive_jpeg_with_a_thumbnail(tmp_path):
    """The thumbnail within has an end marker of its own; the picture's may still be missing."""
    data = encoded("JPEG", progressive=True)
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(encoded("JPEG")[:9000])) + data[:9000]
    whole = data[:2] + thumbnail + data[2:]
    (tmp_path / "a.jpg").write_bytes(whole)
    assert read_picture(tmp_path / "a.jpg").shape == (200, 300, 3)
    (tmp_path / "a.jpg").write_bytes(whole[:-2000])
    with pytest.raises(LiftjaxError, match="cut short"):
        read_picture(tmp_path / "a.jpg")


def encoded(kind: str, **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_cut_short(tmp_path, kind, share, capfd):
    data = encoded(kind)
    (tmp_path / "a.jpg").write_bytes(data[: max(int(share * len(data)), 16)])
    with pytest.raises(
        LiftjaxError, match=r"a\.jpg: the picture is cut short or broken; copy it again"
    ):
        read_picture(tmp_path / "a.jpg")
    assert capfd.readouterr() == ("", "")


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "text.jpg").write_text("a letter to a friend\n" * 20)
    with pytest.raises(LiftjaxError, match=r"text\.jpg: cannot be read as a picture"):
        read_picture(tmp_path / "text.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(LiftjaxError, match=r"empty\.jpg: cannot be read as a picture; it is empty"):
        read_picture(tmp_path / "empty.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(LiftjaxError, match="is a folder; name the picture"):
        read_picture(tmp_path / "folder.jpg")
    cv2.imwrite(str(tmp_path / "float.tiff"), np.ones((4, 4), np.float32))
    with pytest.raises(LiftjaxError, match="32 bits a channel; save it with 8 or 16 bits"):
        read_picture(tmp_path / "float.tiff")


def test_missing_files(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(LiftjaxError, match=r"did you mean .*holiday\.jpg\?$"):
        read_picture(tmp_path / "holliday.jpg")
    with pytest.raises(LiftjaxError, match=r"does not exist \(looked in "):
        read_picture(tmp_path / "zzz.png")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(LiftjaxError, match=r"nor does the folder .*picturs; did you mean .*tures"):
        read_picture(tmp_path / "picturs" / "a.jpg")


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (40_000, 40_000)])
def test_too_large(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png_of_size(*size))
    with pytest.raises(LiftjaxError, match="more than 179 million pixels; make it smaller"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(20_000, 300), (300, 20_000), (40_000, 64)])
def test_long_pictures(tmp_path, size):
    write(tmp_path / "a.png", Image.new("RGB", size, GREEN))
    image = read_picture(tmp_path / "a.png")
    assert image.shape == (size[1], size[0], 3)
    assert (image[-1, -1] == GREEN).all()
