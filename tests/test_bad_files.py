"""What is wrong with a file is said in one sentence that names it; what is right with the others is read all the same."""
import errno
import os
import pickle
import shutil
import stat
import threading
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from active_defects.data import archive as archive_module
from active_defects.data.archive import BadArchive, cache_folder, data_folder, unpack
from active_defects.data.folders import BadImage, LazyImages, check_image, read_folder, read_image, read_mask
from active_defects.data.ksdd import read_ksdd
from active_defects.data.labels import Labels, mask_of
from active_defects.data.magnetic_tile import read_magnetic_tile

GRAY = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def one_sentence(error, name):
    text = str(error.value)
    assert name in text and "\n" not in text and len(text) < 500, text
    return text


# Pictures that are fine

@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".PNG"])
@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "color"])
def test_eight_bits(tmp_path, suffix, pixels):
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.dtype == np.float32 and image.shape == pixels.shape and 0 <= image.min() and image.max() <= 1
    if "jp" not in suffix:
        np.testing.assert_array_equal(image, np.float32(pixels) / np.float32(255))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("top", [65535, 4095, 100])
def test_sixteen_bits_are_scaled_by_their_range_and_not_by_their_maximum(tmp_path, suffix, top):
    levels = np.linspace(0, top, 1200).astype(np.uint16).reshape(40, 30)
    Image.fromarray(levels).save(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(read_image(tmp_path / f"a{suffix}"), levels / 65535, atol=1e-7)


def test_big_endian_and_tiled_and_compressed_tiff(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    levels = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(40, 30)
    tifffile.imwrite(tmp_path / "big.tif", levels, byteorder=">")
    tifffile.imwrite(tmp_path / "tiled.tif", levels, tile=(16, 16))
    tifffile.imwrite(tmp_path / "deflated.tif", levels, compression="zlib")
    pool, skipped = read_folder(tmp_path)
    assert pool.ids.tolist() == ["big", "deflated", "tiled"] and skipped.empty
    for i in pool.ids:
        np.testing.assert_allclose(pool.images[i], levels / 65535, atol=1e-7)


def test_sixteen_bit_color_is_color_in_range(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    levels = (COLOR.astype(np.uint16) * 257)
    tifffile.imwrite(tmp_path / "a.tif", levels, photometric="rgb")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), levels / 65535, atol=1 / 255)


@pytest.mark.parametrize("mode, channels", [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3)])
def test_other_modes(tmp_path, mode, channels):
    suffix = ".tif" if mode == "CMYK" else ".png"
    Image.fromarray(COLOR).convert(mode).save(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.shape == ((40, 30) if channels == 1 else (40, 30, 3)) and image.dtype == np.float32 and image.max() <= 1


def test_a_camera_held_sideways(tmp_path):
    picture = Image.fromarray(GRAY)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif, quality=100)
    picture.save(tmp_path / "b.jpg", quality=100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), np.rot90(read_image(tmp_path / "b.jpg"), -1))


def test_a_jpeg_with_padding_behind_its_end(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.jpg")
    with open(tmp_path / "a.jpg", "ab") as file:
        file.write(bytes(1000))
    assert check_image(tmp_path / "a.jpg") == (40, 30)


@pytest.mark.parametrize("palette", [[0, 0, 0, 255, 255, 255], [0, 0, 0, 255, 255, 255] + [0] * 762, [0, 0, 0, 85, 85, 85, 255, 255, 255]])
@pytest.mark.parametrize("suffix", [".bmp", ".png"])
def test_palette_masks(tmp_path, palette, suffix):
    mask = np.zeros((40, 30), np.uint8)
    mask[5:9, 5:9] = 1
    picture = Image.fromarray(mask)
    picture.putpalette(palette)
    picture.save(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"m{suffix}"), mask > 0)


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif"])
def test_masks_of_one_bit_and_of_color(tmp_path, suffix):
    mask = GRAY > 128
    Image.fromarray(mask).save(tmp_path / f"one{suffix}")
    Image.fromarray(np.stack([mask * np.uint8(200), mask * 0, mask * 0], axis=-1).astype(np.uint8)).save(tmp_path / f"red{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"one{suffix}"), mask)
    np.testing.assert_array_equal(read_mask(tmp_path / f"red{suffix}", above=127), mask)


# Pictures that are not

def whole(suffix, folder):
    Image.fromarray(GRAY).save(folder / f"whole{suffix}")
    return (folder / f"whole{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("left", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_found_when_listing(tmp_path, suffix, left):
    content = whole(suffix, tmp_path)
    (tmp_path / f"cut{suffix}").write_bytes(content[:int(len(content) * left)])
    pool, skipped = read_folder(tmp_path)
    assert pool.ids.tolist() == ["whole"] and Path(skipped.path[0]).name == f"cut{suffix}"
    with pytest.raises(BadImage) as error:
        read_image(tmp_path / f"cut{suffix}")
    one_sentence(error, f"cut{suffix}")


@pytest.mark.parametrize("name, content, says", [("a.png", b"", "empty (0 bytes)"), ("b.png", b"Dear colleague,\n" * 9, "is no JPEG"), ("c.jpg", b"GIF89a" + bytes(90), "is no JPEG"),
                                                 ("d.tif", b"II*\0" + bytes(4), "d.tif"), ("e.bmp", b"BM" + bytes(60), "e.bmp"), ("f.png", b"\x89PNG\r\n\x1a\n", "f.png")])
def test_what_is_no_picture(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    for reader in (read_image, read_mask, check_image):
        with pytest.raises(BadImage) as error:
            reader(tmp_path / name)
        assert says in one_sentence(error, name)


def bomb(path, side):
    "A small PNG whose header claims `side` x `side` pixels."
    Image.fromarray(GRAY).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("side", [9_500, 12_000, 60_000])
@pytest.mark.filterwarnings("error")
def test_an_enormous_picture_is_refused_before_it_is_decoded(tmp_path, side):
    bomb(tmp_path / "bomb.png", side)
    for reader in (read_image, read_mask, check_image):
        with pytest.raises(BadImage, match="enormous") as error:
            reader(tmp_path / "bomb.png")
        one_sentence(error, "bomb.png")


def test_the_limit_and_the_minimum_are_the_callers(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    with pytest.raises(BadImage, match="enormous"):
        read_image(tmp_path / "a.png", limit_pixels=1199)
    with pytest.raises(BadImage, match="30 x 40.*at least 31") as error:
        check_image(tmp_path / "a.png", minimum=31)
    one_sentence(error, "a.png")
    assert check_image(tmp_path / "a.png", minimum=30, limit_pixels=1200) == (40, 30)


def test_floating_point_has_no_scale(tmp_path):
    Image.fromarray(np.ones((20, 20), np.float32) * 300).save(tmp_path / "a.tif")
    with pytest.raises(BadImage, match="floating point"):
        read_image(tmp_path / "a.tif")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    for name in ("good.png", "secret.png"):
        Image.fromarray(GRAY).save(tmp_path / name)
    real = open

    def refusing(path, *args, **kwargs):
        if str(path).endswith("secret.png"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **kwargs)
    monkeypatch.setattr("builtins.open", refusing)
    pool, skipped = read_folder(tmp_path)
    assert pool.ids.tolist() == ["good"] and "Permission denied" in skipped.reason[0]


def test_a_picture_that_breaks_after_listing(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    pool, _ = read_folder(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(BadImage, match="a.png is empty"):
        pool.images["a"]
    error = pickle.loads(pickle.dumps(BadImage("a.png is empty")))
    assert isinstance(error, ValueError) and str(error) == "a.png is empty"


# Folders

def test_a_folder_without_pictures(tmp_path):
    (tmp_path / "pictures" / "deeper").mkdir(parents=True)
    (tmp_path / "pictures" / "notes.txt").write_text("none")
    with pytest.raises(ValueError, match="at any depth") as error:
        read_folder(tmp_path / "pictures")
    one_sentence(error, "pictures")
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="1 file was left out, the first because: .*a.png is empty"):
        read_folder(tmp_path / "pictures")
    with pytest.raises(ValueError, match="not a folder"):
        read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["lot2/a.webp", "b.HEIC", "lot2/\udcff.gif"])
def test_a_picture_in_a_format_that_is_not_read_is_named_and_other_files_are_not(tmp_path, name):
    (tmp_path / "lot2").mkdir()
    Image.fromarray(GRAY).save(tmp_path / "good.png")
    for other in (name, "notes.txt", "labels.csv", ".hidden.webp"): (tmp_path / other).write_bytes(b"RIFF")
    pool, skipped = read_folder(tmp_path)
    assert pool.ids.tolist() == ["good"] and len(skipped) == 1
    assert "rename it" in skipped.reason[0] if "\udcff" in name else "not read; save it as PNG" in skipped.reason[0] and name in skipped.reason[0]


def test_a_folder_of_nothing_but_other_formats_says_so(tmp_path):
    (tmp_path / "a.webp").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="1 file was left out.*a.webp: .webp files are not read"): read_folder(tmp_path)


def test_bad_files_do_not_hide_good_ones(tmp_path):
    root = tmp_path / "mixed"
    (root / "deep" / "er").mkdir(parents=True)
    (root / ".hidden").mkdir()
    Image.fromarray(GRAY).save(root / "deep" / "er" / "a.jpeg")
    Image.fromarray(COLOR).save(root / "b.TIF")
    for hidden in (".c.png", "deep/._a.jpg", ".hidden/d.png"):
        (root / hidden).write_bytes(b"resource fork")
    (root / "text.png").write_text("I am a text")
    Image.fromarray(GRAY[:9]).save(root / "low.png")
    bomb(root / "bomb.png", 60_000)
    pool, skipped = read_folder(root)
    assert pool.ids.tolist() == ["b", "deep/er/a"] and pool.table.group.tolist() == ["b", "deep/er/a"]
    assert sorted(Path(path).name for path in skipped.path) == ["bomb.png", "low.png", "text.png"]
    assert list(skipped.columns) == ["path", "reason"] and not skipped.reason.str.contains("\n").any()


def test_ids(tmp_path):
    root = tmp_path / "ids"
    (root / "good").mkdir(parents=True)
    for name in ("a.png", "a.jpg", "good/b.png"):
        Image.fromarray(GRAY).save(root / name)
    assert read_folder(root)[0].ids.tolist() == ["a.jpg", "a.png", "good/b"]
    with pytest.raises(ValueError, match="two pictures are called 'a'"):
        read_folder(root, ids="stem")
    (root / "a.jpg").unlink()
    assert read_folder(root, ids="stem")[0].ids.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="'path' or 'stem'"):
        read_folder(root, ids="name")


def test_a_name_that_is_not_text(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    try:
        os.rename(os.fsencode(tmp_path / "a.png"), os.fsencode(tmp_path) + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes only names that are text")
    Image.fromarray(GRAY).save(tmp_path / "b.png")
    pool, skipped = read_folder(tmp_path)
    assert pool.ids.tolist() == ["b"] and "UTF-8" in skipped.reason[0]
    skipped.to_csv(tmp_path / "skipped.csv")


def test_lazy_images_keep_the_latest_and_stay_small_when_packed(tmp_path):
    for name in "abc":
        Image.fromarray(GRAY).save(tmp_path / f"{name}.png")
    reads = []
    lazy = LazyImages({name: tmp_path / f"{name}.png" for name in "abc"}, lambda path: reads.append(path.stem) or read_image(path), cache=2)
    for name in "abacab":
        lazy[name]
    assert "".join(reads) == "abcb" and len(lazy) == 3 and list(lazy) == ["a", "b", "c"] and "z" not in lazy
    kept = LazyImages(lazy.paths, cache=3)
    kept["a"]
    assert len(pickle.dumps(kept)) < 2000
    with pytest.raises(KeyError):
        lazy["z"]


# Masks that do not fit

def write_ksdd(root, mask_shape=(126, 50)):
    for item in ("kos01", "kos02"):
        (root / item).mkdir(parents=True)
        Image.fromarray(np.random.default_rng(int(item[3:])).integers(0, 255, (126, 50), dtype=np.uint8)).save(root / item / "Part0.jpg")
        Image.new("L", (50, 126)).save(root / item / "Part0_label.bmp")
    Image.new("L", mask_shape[::-1], 255).save(root / "kos02" / "Part0_label.bmp")


def test_a_ksdd_mask_of_another_size(tmp_path):
    write_ksdd(tmp_path / "data", (126, 49))
    with pytest.raises(BadImage, match="126 x 49, its image 126 x 50") as error:
        read_ksdd(tmp_path / "data")
    one_sentence(error, "Part0_label.bmp")


@pytest.mark.parametrize("damage, says", [(lambda p: p.unlink(), "no mask"), (lambda p: p.write_bytes(b""), "empty"), (lambda p: p.write_bytes(p.read_bytes()[:400]), "decoded")])
def test_a_ksdd_mask_that_is_missing_or_damaged(tmp_path, damage, says):
    write_ksdd(tmp_path / "data")
    damage(tmp_path / "data" / "kos02" / "Part0_label.bmp")
    with pytest.raises(ValueError, match=says) as error:
        read_ksdd(tmp_path / "data")
    one_sentence(error, "Part0_label.bmp")


def test_ksdd_notices_a_changed_mask_and_reads_on_where_the_cache_cannot_be_written(tmp_path, monkeypatch):
    write_ksdd(tmp_path / "data")
    assert read_ksdd(tmp_path / "data")[1].table.defective.tolist() == [False, True]
    Image.new("L", (50, 126)).save(tmp_path / "data" / "kos02" / "Part0_label.bmp")
    os.utime(tmp_path / "data" / "kos02" / "Part0_label.bmp", (1, 1))
    assert read_ksdd(tmp_path / "data")[1].table.defective.tolist() == [False, False]
    os.utime(tmp_path / "data" / "kos02" / "Part0_label.bmp", (2, 2))

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("tempfile.mkstemp", full)
    assert len(read_ksdd(tmp_path / "data")[0]) == 2


def test_no_ksdd_there(tmp_path):
    with pytest.raises(ValueError, match="no kosNN"):
        read_ksdd(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("a.txt", "nothing")
    with pytest.raises(ValueError, match="no kosNN"):
        read_ksdd(tmp_path / "other.zip")
    with pytest.raises(ValueError):
        read_ksdd(tmp_path / "nowhere.zip")


def test_a_tile_mask_of_another_size_or_missing(tmp_path):
    folder = tmp_path / "MT_Crack" / "Imgs"
    folder.mkdir(parents=True)
    Image.fromarray(GRAY).save(folder / "exp1_num_5.jpg")
    with pytest.raises(ValueError, match="has no mask exp1_num_5.png"):
        read_magnetic_tile(tmp_path)
    Image.fromarray(GRAY[:-1]).save(folder / "exp1_num_5.png")
    with pytest.raises(BadImage, match="39 x 30, its image 40 x 30"):
        read_magnetic_tile(tmp_path)


def test_a_mask_of_another_size_in_labels():
    labels = Labels.of({"a": True}, {"a": np.ones((4, 5), bool)})
    with pytest.raises(ValueError, match="own size"):
        mask_of(labels, "a", (5, 5))


# Archives

def archive_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name.replace("__", "/") + ".txt", content)
    return path


def left_in(cache):
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "C:/evil.txt", "..\\evil.txt", "C:\\evil.txt", "\\\\server\\evil.txt", "a\\..\\..\\evil.txt"])
def test_a_member_that_points_outside(tmp_path, own_cache, name):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as opened:
        opened.writestr("fine.txt", "fine")
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        opened.writestr(info, "evil")
    with pytest.raises(BadArchive, match="points outside") as error:
        unpack(tmp_path / "evil.zip")
    one_sentence(error, "evil.zip")
    assert left_in(own_cache) == [] and not list(tmp_path.rglob("evil.txt"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "fine.txt"])
def test_a_member_that_is_a_link(tmp_path, own_cache, target):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as opened:
        opened.writestr(info, target)
    with pytest.raises(BadArchive, match="is a link"):
        unpack(tmp_path / "link.zip")
    assert left_in(own_cache) == []


def test_an_archive_with_a_password(tmp_path):
    archive_of(tmp_path / "a.zip", a="a")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BadArchive, match="password"):
        unpack(tmp_path / "a.zip")


@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.99])
def test_an_archive_that_is_cut_short(tmp_path, own_cache, cut):
    content = archive_of(tmp_path / "a.zip", a=os.urandom(5000)).read_bytes()
    (tmp_path / "a.zip").write_bytes(content[:int(cut if cut > 1 or not cut else len(content) * cut)])
    with pytest.raises(BadArchive, match="download it again") as error:
        unpack(tmp_path / "a.zip")
    one_sentence(error, "a.zip")
    assert left_in(own_cache) == []


def test_an_archive_with_damage_inside_leaves_nothing(tmp_path, own_cache):
    content = bytearray(archive_of(tmp_path / "a.zip", a="a" * 500, b=os.urandom(5000)).read_bytes())
    content[2000:2100] = bytes(100)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BadArchive, match="is damaged"):
        unpack(tmp_path / "a.zip")
    assert left_in(own_cache) == []


def test_an_archive_without_files(tmp_path, own_cache):
    with pytest.raises(BadArchive, match="holds no files"):
        unpack(archive_of(tmp_path / "a.zip"))
    assert left_in(own_cache) == []


def test_what_is_no_archive(tmp_path):
    (tmp_path / "a.zip").write_text("no archive")
    for path in (tmp_path / "a.zip", tmp_path / "missing.zip", tmp_path):
        with pytest.raises(BadArchive) as error:
            unpack(path)
        one_sentence(error, path.name)


@pytest.mark.parametrize("number, text", [(errno.EACCES, "Permission denied"), (errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("where", ["tempfile.mkdtemp", "pathlib.Path.mkdir", "zipfile.ZipFile.extract"])
def test_a_cache_that_cannot_be_written(tmp_path, own_cache, monkeypatch, where, number, text):
    archive_of(tmp_path / "a.zip", a="a")

    def refuse(*args, **kwargs):
        raise OSError(number, text)
    monkeypatch.setattr(where, refuse)
    with pytest.raises(ValueError, match="set ACTIVE_DEFECTS_CACHE") as error:
        unpack(tmp_path / "a.zip")
    assert text in one_sentence(error, "a.zip")
    assert left_in(own_cache) == []


def test_a_disk_without_room_is_noticed_before_the_first_file(tmp_path, monkeypatch):
    archive_of(tmp_path / "a.zip", a="a" * 5000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    monkeypatch.setattr(zipfile.ZipFile, "extract", lambda *args: pytest.fail("began to unpack"))
    with pytest.raises(ValueError, match="No space left: 0 MiB needed"):
        unpack(tmp_path / "a.zip")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupted_unpacking_leaves_nothing_half_done(tmp_path, own_cache, monkeypatch, interruption):
    archive_of(tmp_path / "a.zip", a="a", b="b", c="c")
    real, calls = zipfile.ZipFile.extract, []

    def twice(self, member, path):
        calls.append(member)
        if len(calls) == 3:
            raise interruption
        return real(self, member, path)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", twice)
        with pytest.raises(interruption):
            unpack(tmp_path / "a.zip")
    assert left_in(own_cache) == []
    assert len(list(unpack(tmp_path / "a.zip").iterdir())) == 3


def test_what_a_killed_unpacking_left_is_swept_after_a_day_and_not_before(tmp_path, own_cache):
    folder = unpack(archive_of(tmp_path / "a.zip", a="a"))
    for name, age in (("old", 90_000), ("new", 10)):
        workshop = own_cache / f".{folder.name}.{name}"
        (workshop / "whole").mkdir(parents=True)
        os.utime(workshop, (os.stat(folder).st_mtime - age,) * 2)
    (folder / "a.txt").unlink()
    unpack(tmp_path / "a.zip")
    assert left_in(own_cache) == [f".{folder.name}.new", folder.name]


def test_a_folder_that_was_damaged_in_the_cache_is_made_again(tmp_path, own_cache):
    folder = unpack(archive_of(tmp_path / "a.zip", deep__a="aaa", b="b"))
    (folder / "deep" / "a.txt").write_text("a")
    assert (unpack(tmp_path / "a.zip") / "deep" / "a.txt").read_text() == "aaa" and left_in(own_cache) == [folder.name]


def test_same_name_other_content_is_another_folder(tmp_path):
    first = unpack(archive_of(tmp_path / "a.zip", a="one"))
    second = unpack(archive_of(tmp_path / "a.zip", a="two"))
    assert first != second and (first / "a.txt").read_text() == "one" and (second / "a.txt").read_text() == "two"


def test_many_unpack_at_once(tmp_path, own_cache):
    archive_of(tmp_path / "a.zip", **{f"d{i % 7}__f{i}": os.urandom(2000) for i in range(200)})
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as workers:
        folders = set(workers.map(unpack, [tmp_path / "a.zip"] * 8))
    assert len(folders) == 1 and left_in(own_cache) == [folders.pop().name]


def test_rivals_that_both_find_a_damaged_folder(tmp_path, own_cache):
    archive_of(tmp_path / "a.zip", **{f"f{i}": os.urandom(500) for i in range(100)})
    for _ in range(5):
        (unpack(tmp_path / "a.zip") / "f3.txt").unlink()
        results = []
        threads = [threading.Thread(target=lambda: results.append(unpack(tmp_path / "a.zip", progress=False))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 4 and len(list(results[0].iterdir())) == 100 and len(left_in(own_cache)) == 1


def test_a_rival_takes_the_damaged_folder_away_first(tmp_path, own_cache, monkeypatch):
    archive_of(tmp_path / "a.zip", **{f"f{i}": os.urandom(500) for i in range(3)})
    (unpack(tmp_path / "a.zip") / "f1.txt").unlink()
    plain, late = os.replace, []

    def rival_first(source, goal):
        if "damaged" in str(goal) and not late:
            late.append(goal)
            shutil.rmtree(source)
        return plain(source, goal)
    monkeypatch.setattr(archive_module.os, "replace", rival_first)
    assert len(list(unpack(tmp_path / "a.zip", progress=False).iterdir())) == 3 and late


def test_nothing_is_written_outside_of_the_cache(tmp_path, own_cache):
    write_ksdd(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    read_ksdd(tmp_path / "data")
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and own_cache not in (path, *path.parents)] == []


def test_where_the_cache_and_the_data_are(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ACTIVE_DEFECTS_CACHE")
    monkeypatch.setattr(archive_module.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "active-defects"
    monkeypatch.setenv("ACTIVE_DEFECTS_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setenv("ACTIVE_DEFECTS_DATA", str(tmp_path / "nowhere"))
    assert data_folder() is None


@pytest.mark.parametrize("names", [("a.png", "a.jpg", "a.png.jpg"), ("a.png", "a.jpg", "a.png.jpg", "a.png.jpg.bmp"), ("a.b.png", "a.b.jpg", "a.b.png.png", "a.b.png.bmp"), ("d/a.png", "d/a.tif", "d/a.png.tif", "a.png")])
def test_no_picture_is_lost_among_twins(tmp_path, names):
    for k, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 20 + k), 9, np.uint8)).save(tmp_path / name)
    pool, skipped = read_folder(tmp_path)
    assert len(skipped) == 0 and len(pool) == len(names) and pool.ids.is_unique
    assert {pool.images[i].shape[1] - 20 for i in pool.ids} == set(range(len(names)))
    assert set(pool.ids) <= set(names) | {name.rpartition(".")[0] for name in names}
