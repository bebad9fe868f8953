"""RSDDs' layout on generated files at their real sizes: strips, JPEG masks, and the pieces of seed B."""
import logging
import pickle
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.data.folders import BadImage, read_mask
from active_defects.data.labels import mask_of
from active_defects.data.rsdds import rail_files, read_rail_mask, read_rsdds, strip_rows
from active_defects.data.splits import group_folds

SIZES = {"I": (1000, 160), "II": (1250, 55)}
DEFECTS = {"I": {1: (100, 170), 2: (965, 990)}, "II": {1: (300, 330), 2: (1215, 1240), 3: (1190, 1230), 12: (0, 10)}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))


def write(root, kind, number, rows, shape=None, suffix="jpg"):
    shape = shape or SIZES[kind]
    gray, mask = np.random.default_rng(number).integers(90, 140, shape, dtype=np.uint8), np.zeros(shape, np.uint8)
    mask[slice(*rows), 20:35] = 255
    for name, pixels in (("Rail surface images", gray), ("GroundTruth", mask)):
        folder = root / f"Type-{kind} RSDDs dataset" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"rail_{number}.{'jpg' if name != 'GroundTruth' else suffix}")


@pytest.fixture
def root(tmp_path):
    for kind, strips in DEFECTS.items():
        for number, rows in strips.items():
            write(tmp_path / "set" / "RSDDs dataset", kind, number, rows)
    return tmp_path / "set"


def test_strips(root):
    pool, truth = read_rsdds(root)
    assert pool.ids.tolist() == ["type1/rail_1", "type1/rail_2", "type2/rail_1", "type2/rail_12", "type2/rail_2", "type2/rail_3"]
    assert pool.table.columns.tolist() == ["group"] and pool.table.group.tolist() == pool.ids.tolist()
    assert truth.table.defective.all() and (truth.table.category == "defect").all() and truth.strong_ids.equals(pool.ids)
    for sample in pool.ids:
        image = pool.images[sample]
        assert image.shape == SIZES["I" if sample[4] == "1" else "II"] and image.dtype == np.float32 and 0 <= image.min() < image.max() <= 1
        assert mask_of(truth, sample, image.shape).sum() == np.diff(DEFECTS["I" if sample[4] == "1" else "II"][int(sample.split("_")[1])])[0] * 15
    assert read_rsdds(root, "I")[0].ids.tolist() == pool.ids[:2].tolist() and read_rsdds(root, "II")[0].ids.tolist() == pool.ids[2:].tolist()


@pytest.mark.parametrize("height, side, drop, bottom", [(1250, 55, 22, 23), (1000, 160, 6, 7), (1210, 55, 22, 22), (55, 55, 1, 1), (109, 55, 1, 2)])
def test_rows(height, side, drop, bottom):
    dropped, complete = strip_rows(height, side), strip_rows(height, side, "bottom")
    assert (len(dropped), len(complete)) == (drop, bottom) and dropped == tuple(range(0, drop * side, side)) and complete[-1] == height - side
    assert set(range(height)) == {row for top in complete for row in range(top, top + side)}


def test_the_papers_counts():
    assert 128 * len(strip_rows(1250)) == 2816 and 130 * len(strip_rows(1250)) == 2860 == 189 + 2671 and 128 * len(strip_rows(1250, 55, "bottom")) == 2944


def test_pieces(root):
    pool, truth = read_rsdds(root, "II", crops=55)
    assert len(pool) == len(truth) == 4 * 22 and pool.ids[0] == "type2/rail_1/0" and pool.table.group.value_counts().tolist() == [22] * 4
    assert truth.ids[truth.table.defective].tolist() == ["type2/rail_1/5", "type2/rail_12/0", "type2/rail_3/21"]
    assert truth.masks["type2/rail_3/21"].sum() == (1210 - 1190) * 15 and truth.table.category["type2/rail_2/21"] == "good"
    strips, _ = read_rsdds(root, "II")
    for k in (0, 7, 21):
        assert (pool.images[f"type2/rail_1/{k}"] == strips.images["type2/rail_1"][55 * k:55 * (k + 1)]).all()
    bottom, bottom_truth = read_rsdds(root, "II", crops=55, last="bottom")
    assert len(bottom) == 4 * 23 and set(truth.ids) < set(bottom_truth.ids)
    assert bottom_truth.ids[bottom_truth.table.defective].difference(truth.ids[truth.table.defective]).tolist() == ["type2/rail_2/22", "type2/rail_3/22"]
    assert (bottom.images["type2/rail_2/22"] == strips.images["type2/rail_2"][1195:]).all()
    one, both = read_rsdds(root, "I", crops=160), read_rsdds(root, crops=55)
    assert len(one[0]) == 12 and one[1].table.defective.sum() == 2 and len(both[0]) == 4 * 22 + 2 * 18 * 3
    assert {image.shape for image in map(both[0].images.__getitem__, both[0].ids)} == {(55, 55)}


def test_pieces_travel_and_folds_keep_strips_together(root):
    pool, truth = read_rsdds(root, "II", crops=55)
    copy = pickle.loads(pickle.dumps(pool))
    assert (copy.images["type2/rail_3/21"] == pool.images["type2/rail_3/21"]).all() and len(pickle.dumps(pool.images)) < 20_000
    assert group_folds(pool, 2, 0).groupby(pool.table.group).nunique().max() == 1


def test_jpeg_dust_is_no_defect(root):
    mask = root / "RSDDs dataset" / "Type-II RSDDs dataset" / "GroundTruth" / "rail_1.jpg"
    assert read_mask(mask)[330:385].any() and not read_rail_mask(mask)[330:385].any() and read_rail_mask(mask).sum() == 450


@pytest.mark.parametrize("values", [(0, 1), (0, 127), (1, 1)])
def test_a_mask_of_other_values_makes_no_strip_good(root, caplog, values):
    "Every strip has a defect: a mask that is not black and has nothing above 127 was saved with other values."
    folder = root / "RSDDs dataset" / "Type-II RSDDs dataset" / "GroundTruth"
    def save(name):
        drawn = read_mask(folder / f"{name}.jpg", above=127)
        (folder / f"{name}.jpg").unlink()
        Image.fromarray(np.where(drawn, values[1], values[0]).astype(np.uint8)).save(folder / f"{name}.png")
    save("rail_1")
    with pytest.raises(BadImage, match="rail_1.png is not black, but has nothing above 127.*save it with 0 and 255"):
        read_rail_mask(folder / "rail_1.png")
    with caplog.at_level(logging.WARNING, "active_defects"):
        pool, _ = read_rsdds(root, "II", crops=55)
    assert sorted(pool.table.group.unique()) == ["type2/rail_12", "type2/rail_2", "type2/rail_3"]
    assert "1 of 4 pictures" in caplog.text and "rail_1.png is not black" in caplog.text
    for name in ("rail_12", "rail_2", "rail_3"):
        save(name)
    with pytest.raises(ValueError, match="4 of 4 pictures .* leaves none; the first: .*rail_1.png is not black"):
        read_rsdds(root, "II", crops=55)


def test_a_black_mask_is_a_mask(root):
    mask = root / "RSDDs dataset" / "Type-II RSDDs dataset" / "GroundTruth" / "rail_1.jpg"
    Image.new("L", SIZES["II"][::-1]).save(mask)
    assert not read_rail_mask(mask).any() and not read_rsdds(root, "II")[1].table.defective["type2/rail_1"]


def test_archive_masks_of_other_formats_hidden_files_and_copies(root, tmp_path):
    first, _ = read_rsdds(root, "II", crops=55)
    folder = root / "RSDDs dataset" / "Type-II RSDDs dataset"
    (folder / "GroundTruth" / "rail_12.jpg").unlink()
    write(tmp_path / "other", "II", 12, DEFECTS["II"][12], suffix="png")
    shutil.copy(tmp_path / "other" / "Type-II RSDDs dataset" / "GroundTruth" / "rail_12.png", folder / "GroundTruth")
    (folder / "Rail surface images" / "._rail_1.jpg").write_bytes(b"junk")
    (folder / "Rail surface images" / "Thumbs.db").write_bytes(b"junk")
    shutil.copytree(folder, root / "RSDDs dataset" / "copy" / "Type-II RSDDs dataset")
    with zipfile.ZipFile(tmp_path / "RSDDs.zip", "w") as archive:
        for path in (p for p in root.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(root))
    for source in (root, tmp_path / "RSDDs.zip", folder):
        pool, truth = read_rsdds(source, "II", crops=55)
        pd.testing.assert_frame_equal(pool.table, first.table)
        assert truth.table.defective.sum() == 3
    assert rail_files(root, "II").image["type2/rail_1"].parent.parent == folder


@pytest.mark.parametrize("damage, says", [("mask", "rail_1.jpg has no mask rail_1.jpg"), ("size", "is 1249 x 55, its image 1250 x 55"),
                                          ("picture", "rail_1.jpg cannot be decoded"), ("short", "is 50 x 55 .*less than one piece of 55")])
def test_a_bad_strip_is_named_and_left_out(root, caplog, damage, says):
    folder = root / "RSDDs dataset" / "Type-II RSDDs dataset"
    mask, picture = folder / "GroundTruth" / "rail_1.jpg", folder / "Rail surface images" / "rail_1.jpg"
    if damage == "mask":
        mask.unlink()
    if damage == "size":
        Image.new("L", (55, 1249)).save(mask)
    if damage == "picture":
        picture.write_bytes(picture.read_bytes()[:-300])
    if damage == "short":
        write(root / "RSDDs dataset", "II", 1, (0, 10), (50, 55))
    with caplog.at_level(logging.WARNING, "active_defects"):
        pool, _ = read_rsdds(root, "II", crops=55)
    assert sorted(pool.table.group.unique()) == ["type2/rail_12", "type2/rail_2", "type2/rail_3"]
    assert pd.Series([caplog.text]).str.contains("1 of 4 pictures.*" + says)[0]


def test_refused(root, tmp_path):
    folder = root / "RSDDs dataset" / "Type-II RSDDs dataset"
    for kind in ("2", "type II", 1):
        with pytest.raises(ValueError, match="kind must be 'I', 'II' or None"):
            read_rsdds(root, kind)
    for source in (tmp_path / "empty", folder / "GroundTruth"):
        source.mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="give the archive of RSDDs"):
            read_rsdds(source)
    with pytest.raises(ValueError, match="last must be"):
        read_rsdds(root, "II", crops=55, last="top")
    with pytest.raises(ValueError, match="crops must be at least 1"):
        read_rsdds(root, "II", crops=0)
    with pytest.raises(ValueError, match="which leaves none; .*less than one piece of 160"):
        read_rsdds(root, "II", crops=160)
    shutil.move(folder, root / "rails")
    with pytest.raises(ValueError, match="below no folder called Type-I"):
        read_rsdds(root / "rails")
    shutil.move(root / "rails", root / "type2")
    assert len(read_rsdds(root, "II")[0]) == 4
    shutil.rmtree(root / "type2" / "GroundTruth")
    with pytest.raises(ValueError, match="has no folder GroundTruth beside it"):
        read_rsdds(root, "II")
    (root / "type2" / "GroundTruth").mkdir()
    with pytest.raises(ValueError, match="4 of 4 pictures .* leaves none; the first: .*has no mask"):
        read_rsdds(root, "II")
