"""Every spelling of a mask, against the tools' own libraries and against itself."""
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from active_defects.studio.brush import brush_rle, mask_of_brush
from active_defects.studio.masks import coco_rle, cvat_runs, lightly_runs, mask_of_coco, mask_of_cvat, mask_of_lightly, path_inside, read_pngs, runs_of, write_pngs
from active_defects.studio.polygons import mask_of_polygons, polygons_of

RECORDED = Path(__file__).parent / "data" / "brush_rle.json"


def one_pixel(height, width, row, column):
    mask = np.zeros((height, width), bool)
    mask[row, column] = True
    return mask


def disc(size):
    "A ring, so that there is a hole, with a bite taken out of it."
    row, column = np.ogrid[:size, :size]
    far = (row - 0.47 * size) ** 2 + (column - 0.55 * size) ** 2
    return (far < (0.4 * size) ** 2) & (far > (0.2 * size) ** 2) & ~((row < 0.2 * size) & (column > 0.6 * size))


RNG = np.random.default_rng(0)
MASKS = {
    "random": RNG.random((37, 53)) < 0.5, "sparse": RNG.random((64, 64)) < 0.02, "dense": RNG.random((41, 17)) < 0.97,
    "empty": np.zeros((6, 8), bool), "full": np.ones((6, 8), bool), "first pixel": one_pixel(6, 8, 0, 0), "last pixel": one_pixel(6, 8, 5, 7), "middle pixel": one_pixel(7, 5, 3, 2),
    "one by one": np.ones((1, 1), bool), "a row": RNG.random((1, 300)) < 0.5, "a column": RNG.random((300, 1)) < 0.5,
    "wide": disc(80)[20:60], "tall": disc(80)[:, 30:50], "ring": disc(300), "checkers": np.indices((9, 12)).sum(axis=0) % 2 == 1,
}
LARGE = disc(4096)
SPELLINGS = {
    "coco numbers": lambda mask: mask_of_coco(coco_rle(mask, compressed=False)),
    "coco letters": lambda mask: mask_of_coco(coco_rle(mask)),
    "coco polygons": lambda mask: mask_of_polygons(polygons_of(mask), mask.shape),
    "lightly": lambda mask: mask_of_lightly(lightly_runs(mask), mask.shape),
    "cvat": lambda mask: mask_of_cvat(*cvat_runs(mask), mask.shape),
    "label studio": lambda mask: mask_of_brush(brush_rle(mask), mask.shape),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", MASKS)
def test_there_and_back(name, spelling):
    mask = MASKS[name]
    back = SPELLINGS[spelling](mask)
    assert back.dtype == bool and np.array_equal(back, mask)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_there_and_back_at_4096(spelling):
    assert np.array_equal(SPELLINGS[spelling](LARGE), LARGE)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_any_small_mask(mask):
    for back in SPELLINGS.values():
        assert np.array_equal(back(mask), mask)


def test_the_spellings_survive_json():
    mask = MASKS["random"]
    again = json.loads(json.dumps([coco_rle(mask), coco_rle(mask, False), lightly_runs(mask), cvat_runs(mask), brush_rle(mask), polygons_of(mask)]))
    assert np.array_equal(mask_of_coco(again[0]), mask) and np.array_equal(mask_of_coco(again[1]), mask) and np.array_equal(mask_of_lightly(again[2], mask.shape), mask)
    assert np.array_equal(mask_of_cvat(*again[3], mask.shape), mask) and np.array_equal(mask_of_brush(again[4], mask.shape), mask)


def test_pngs(tmp_path):
    masks = {f"lot/{name}": mask for name, mask in MASKS.items()}
    write_pngs(masks, tmp_path)
    back = read_pngs(tmp_path, masks)
    assert all(np.array_equal(back[i], masks[i]) for i in masks)


# The tools' own libraries

def pycocotools():
    return pytest.importorskip("pycocotools.mask", reason="no oracle for COCO: pip install pycocotools")


@pytest.mark.parametrize("name", [*MASKS, "large"])
def test_coco_is_what_pycocotools_writes(name):
    oracle, mask = pycocotools(), MASKS.get(name, LARGE)
    theirs = oracle.encode(np.asfortranarray(mask, np.uint8))
    ours = coco_rle(mask)
    assert ours["size"] == theirs["size"] and ours["counts"] == theirs["counts"].decode()
    assert np.array_equal(mask_of_coco(theirs), mask)
    plain = oracle.frPyObjects(coco_rle(mask, compressed=False), *mask.shape)
    assert np.array_equal(oracle.decode(plain).astype(bool), mask)


def test_long_runs_and_large_steps_in_letters():
    oracle = pycocotools()
    for counts in ([5, 40_000, 3, 1, 39_991], [0, 1, 70_000, 9_998, 1], [80_000], [0, 80_000], [15, 16, 31, 32, 33, 1023, 1024, 1025, 76_801]):
        rle = oracle.frPyObjects({"size": [200, 400], "counts": counts}, 200, 400)
        mask = oracle.decode(rle).astype(bool)
        assert coco_rle(mask, compressed=False)["counts"] == counts
        assert coco_rle(mask)["counts"] == rle["counts"].decode() and np.array_equal(mask_of_coco(rle), mask)


def test_polygons_are_filled_as_pycocotools_does():
    oracle, rng = pycocotools(), np.random.default_rng(1)
    for k in range(300):
        height, width, corners = rng.integers(1, 60), rng.integers(1, 60), rng.integers(3, 12)
        polygon = (rng.random((corners, 2)) * 1.4 - 0.2) * (width, height)
        if k % 3 == 0:
            polygon = polygon.round()
        if k % 5 == 0:
            polygon = np.repeat(polygon, 2, axis=0)
        flat = polygon.ravel().tolist()
        theirs = oracle.decode(oracle.merge(oracle.frPyObjects([flat], int(height), int(width)))).astype(bool)
        assert np.array_equal(mask_of_polygons([flat], (int(height), int(width))), theirs), (height, width, flat)


@pytest.mark.parametrize("name", [n for n, m in MASKS.items() if m.any()])
def test_pycocotools_reads_our_polygons(name):
    oracle, mask = pycocotools(), MASKS[name]
    theirs = oracle.decode(oracle.merge(oracle.frPyObjects(polygons_of(mask), *mask.shape))).astype(bool)
    assert np.array_equal(theirs, mask)


def recorded():
    return json.loads(RECORDED.read_text(encoding="utf-8"))["masks"]


@pytest.mark.parametrize("number", range(14))
def test_the_brush_is_what_label_studio_writes(number):
    "Recorded by experiments/record_label_studio.py from label_studio_sdk."
    one = recorded()[number]
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(one["bits"]), np.uint8), count=one["height"] * one["width"])
    mask = bits.reshape(one["height"], one["width"]).astype(bool)
    assert brush_rle(mask) == one["rle"]
    assert np.array_equal(mask_of_brush(one["rle"], mask.shape), mask)


def test_the_brush_against_the_sdk():
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="label-studio-sdk pins an older numpy; its answers are recorded in tests/data/brush_rle.json")
    for mask in MASKS.values():
        assert brush_rle(mask) == brush.mask2rle(np.uint8(mask) * 255)


# The example of PRODUCT.md, in which one mask is spelled four times

def test_one_mask_four_spellings():
    mask = mask_of_lightly([10, 5, 3, 2, 1, 2, 3, 5, 17], (6, 8))
    assert coco_rle(mask) == {"size": [6, 8], "counts": "=3300NN022005"}
    assert coco_rle(mask, compressed=False)["counts"] == [13, 3, 3, 3, 3, 1, 1, 1, 3, 3, 3, 3, 8]
    assert len(brush_rle(mask)) == 26 and brush_rle(mask)[:7] == [0, 0, 0, 192, 57, 27, 254]


# What is wrong is refused

HUGE = [2**31, 2**31]


@pytest.mark.parametrize("rle", [
    None, [], "abc", {"size": [6, 8]}, {"counts": [48]}, {"size": [6, 8], "counts": None}, {"size": [6, 8], "counts": {}}, {"size": [6, 8], "counts": [47]}, {"size": [6, 8], "counts": [50, -2]},
    {"size": [6, 8], "counts": [24.0, 24.0]}, {"size": [6, 8], "counts": ["48"]}, {"size": [6, 8], "counts": [[48]]}, {"size": [6, 8], "counts": [10**30]}, {"size": [6, 8], "counts": [True] * 48},
    {"size": [6, 8], "counts": ""}, {"size": [6, 8], "counts": "`"}, {"size": [6, 8], "counts": "\x00"}, {"size": [6, 8], "counts": "ooooooooooooooooooooo0"}, {"size": [6, 8], "counts": "é"},
    {"size": [6], "counts": [6]}, {"size": [6, 8, 1], "counts": [48]}, {"size": [-6, -8], "counts": [48]}, {"size": [0, 8], "counts": []}, {"size": [6.0, 8.0], "counts": [48]}, {"size": "68", "counts": [48]},
    {"size": HUGE, "counts": [2**62]}, {"size": HUGE, "counts": "PPPPP"}])
def test_bad_coco_masks(rle):
    with pytest.raises(ValueError):
        mask_of_coco(rle)


@pytest.mark.parametrize("polygon", [None, "0 0 1 1", [], [0, 0, 1, 1], [0, 0, 1, 1, 2], [[0, 0], [1, 1], [2, 0]], [0, 0, float("nan"), 1, 2, 2], [0, 0, 1e300, 0, 1, 1], ["a"] * 6, [0, 0, {}, 1, 2, 2]])
def test_bad_polygons(polygon):
    with pytest.raises(ValueError):
        mask_of_polygons([polygon], (6, 8))


def test_an_outline_without_end_is_refused():
    zigzag = np.tile([0, 0, 60_000, 0], 200).tolist()
    with pytest.raises(ValueError, match="outline of more than"):
        mask_of_polygons([zigzag], (1, 60_000))


@pytest.mark.parametrize("rle", [None, "abc", [], [0] * 6, [0, 0, 0, 192, 57, 27, 254], [0, 0, 0, 192, 57, 27, 256, 0], [0.5] * 9, [[0] * 9], [255] * 40, [0, 0, 0, 192, 57, 27, 254, 255, 255, 0, 0], [0, 0, 0, 192, 249, 27, 254, 67, 0, 194]])
def test_bad_brush_masks(rle):
    with pytest.raises(ValueError):
        mask_of_brush(rle, (6, 8))


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=0, max_size=60))
def test_any_bytes_are_a_mask_or_refused(noise):
    head = [0, 0, 0, 192, 57, 27, 254]
    for stream in (list(noise), head + list(noise)):
        try:
            assert mask_of_brush(stream, (6, 8)).shape == (6, 8)
        except ValueError:
            pass


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30))
def test_any_letters_are_a_mask_or_refused(text):
    try:
        assert mask_of_coco({"size": [6, 8], "counts": text}).shape == (6, 8)
    except ValueError:
        pass


def test_huge_masks_are_refused_until_the_limit_is_raised():
    shape = (20_000, 10_000)
    for read in (lambda **more: mask_of_coco({"size": list(shape), "counts": [200_000_000]}, **more), lambda **more: mask_of_lightly([200_000_000], shape, **more), lambda **more: mask_of_cvat([], (0, 0, 0, 0), shape, **more),
                 lambda **more: mask_of_polygons([], shape, **more)):
        with pytest.raises(ValueError, match="enormous.*raise `limit_pixels`"):
            read()
        with pytest.raises(ValueError, match="enormous"):
            read(limit_pixels=199_999_999)
    with pytest.raises(ValueError, match="enormous"):
        mask_of_brush(brush_rle(np.zeros((4, 4), bool)), shape)
    assert mask_of_lightly([2000], (50, 40), limit_pixels=2000).shape == (50, 40)
    with pytest.raises(ValueError, match="enormous"):
        mask_of_lightly([2000], (50, 40), limit_pixels=1999)


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "\\a", "C:/a", "C:a", "a\0b", "", " ", "..", "a\\..\\..\\b"])
def test_no_path_leaves_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match="points outside"):
        path_inside(tmp_path, name)
    if len(name.strip(". ")) > 0:
        with pytest.raises(ValueError, match="points outside"):
            read_pngs(tmp_path, ["good", name])


def test_a_bad_id_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="points outside"):
        write_pngs({"a": MASKS["full"], "../b": MASKS["full"]}, tmp_path / "inside")
    assert not list(tmp_path.rglob("*.png"))


def test_runs():
    assert runs_of(np.array([], bool)).tolist() in ([], [0])
    assert runs_of(np.array([True])).tolist() == [0, 1] and runs_of(np.array([False])).tolist() == [1]
