"""Pictures and their masks: what fits is read, what does not is named and left out, and a missing mask is never a good part."""
import logging
import os
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.data.archive import BadArchive
from active_defects.data.folders import BadImage
from active_defects.data.pairs import check_pairs, open_source, pictures_below, pool_of_pairs, say_left_out

SHAPE = (20, 24)


def write(folder, name, drawn=0, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask.ravel()[:drawn] = 255
    Image.fromarray(np.full(SHAPE, 99, np.uint8)).save(folder / f"{name}.png")
    Image.fromarray(mask).save(folder / f"{name}_mask.png")


def row(folder, name, defective, mask=True):
    return folder / f"{name}.png", folder / f"{name}_mask.png" if mask else None, defective


def table(rows):
    return pd.DataFrame.from_dict(rows, orient="index", columns=["image", "mask", "defective"])


def test_verdicts_masks_and_both(tmp_path):
    for name, drawn in (("good", 0), ("bad", 5), ("dull", 0)):
        write(tmp_path, name, drawn)
    usable, skipped = check_pairs(table({
        "a": row(tmp_path, "bad", True), "b": row(tmp_path, "bad", pd.NA), "c": row(tmp_path, "bad", True, mask=False), "d": row(tmp_path, "good", False),
        "e": row(tmp_path, "good", pd.NA), "f": row(tmp_path, "dull", True), "g": row(tmp_path, "good", False, mask=False)}))
    assert skipped.empty and skipped.columns.tolist() == ["path", "reason"]
    assert usable.defective.tolist() == [True, True, True, False, False, True, False] and (usable.height == 20).all() and (usable.width == 24).all()
    assert usable.pixels.fillna(-1).tolist() == [5, 5, -1, 0, 0, 0, -1]
    pool, truth = pool_of_pairs(usable)
    assert list(truth.masks) == ["a", "b"] and truth.strong_ids.tolist() == ["a", "b", "d", "e", "g"]
    assert truth.table.maskable.to_dict() == {i: i != "f" for i in "abcdefg"} and truth.settled_ids.tolist() == ["a", "b", "d", "e", "f", "g"]
    assert truth.table.category.tolist() == ["defect", "defect", "defect", "good", "good", "defect", "good"]
    assert pool.table.columns.tolist() == ["group"] and pool.table.group.tolist() == list("abcdefg")
    assert pickle.loads(pickle.dumps(pool)).images["a"].shape == SHAPE and pickle.loads(pickle.dumps(truth)).masks["a"].sum() == 5


@pytest.mark.parametrize("defective, mask, damage, says", [
    (True, True, "no mask", "bad.png has no mask bad_mask.png"),
    (pd.NA, True, "no mask", "bad.png has no mask bad_mask.png"),
    (True, True, "other size", "bad_mask.png is 24 x 20, its image 20 x 24"),
    (True, True, "mask is text", "bad_mask.png is no JPEG"),
    (True, True, "mask is empty", "bad_mask.png is empty"),
    (False, True, None, "bad.png is called good, but .*bad_mask.png shows 5 pixels"),
    (pd.NA, False, None, "bad.png has no verdict"),
    (True, True, "no picture", "bad.png cannot be read"),
    (True, True, "cut picture", "bad.png cannot be decoded"),
])
def test_one_bad_pair_is_named_and_left_out(tmp_path, caplog, defective, mask, damage, says):
    names = [f"part{n}" for n in range(30)]
    for n, name in enumerate(names):
        write(tmp_path, name, n % 3)
    write(tmp_path, "bad", 5, (24, 20) if damage == "other size" else SHAPE)
    picture, mask_file = tmp_path / "bad.png", tmp_path / "bad_mask.png"
    {None: lambda: None, "other size": lambda: None, "no mask": mask_file.unlink, "no picture": picture.unlink,
     "mask is empty": lambda: mask_file.write_bytes(b""), "mask is text": lambda: mask_file.write_text("Dear colleague"),
     "cut picture": lambda: picture.write_bytes(picture.read_bytes()[:50])}[damage]()
    files = table({name: row(tmp_path, name, n % 3 > 0) for n, name in enumerate(names)} | {"bad": row(tmp_path, "bad", defective, mask)})
    usable, skipped = check_pairs(files)
    assert usable.index.tolist() == names and len(skipped) == 1 and skipped.path[0] == str(picture)
    assert pd.Series(skipped.reason).str.contains(says).all() and "\n" not in skipped.reason[0]
    with caplog.at_level(logging.WARNING, "active_defects"):
        say_left_out(files, usable, skipped, "the set")
    assert "1 of 31 pictures of the set are left out" in caplog.text and skipped.reason[0] in caplog.text


def test_pictures_are_not_decoded_and_a_later_break_names_the_file(tmp_path, monkeypatch):
    write(tmp_path, "a")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.png")
    content = bytearray((tmp_path / "b.png").read_bytes())
    content[2000:2010] = b"0123456789"
    (tmp_path / "b.png").write_bytes(content)
    usable, skipped = check_pairs(table({"b": row(tmp_path, "b", True, mask=False)}))
    assert skipped.empty
    with pytest.raises(BadImage, match="b.png cannot be decoded"):
        pool_of_pairs(usable)[0].images["b"]


def test_warning_is_short_where_much_is_wrong(tmp_path, caplog):
    write(tmp_path, "a", 3)
    files = table({"a": row(tmp_path, "a", True)} | {f"x{n}": row(tmp_path, f"x{n}", True) for n in range(50)})
    say_left_out(files, *check_pairs(files), "the set")
    assert "50 of 51" in caplog.text and "and 47 more" in caplog.text and len(caplog.text) < 1500


def test_nothing_sensible_left_stops(tmp_path, caplog):
    write(tmp_path, "a")
    good, gone = {"a": row(tmp_path, "a", False, mask=False)}, {"x": row(tmp_path, "x", True)}
    with pytest.raises(ValueError, match="leaves no defective one; the first: .*x.png"):
        say_left_out(table(good | gone), *check_pairs(table(good | gone)), "the set")
    with pytest.raises(ValueError, match="1 of 1 pictures of the set cannot be used, which leaves none"):
        say_left_out(table(gone), *check_pairs(table(gone)), "the set")
    innocent = table(good | {"x": row(tmp_path, "x", False, mask=False)})
    say_left_out(innocent, *check_pairs(innocent), "the set")
    assert "1 of 2 pictures" in caplog.text
    caplog.clear()
    say_left_out(table(good), *check_pairs(table(good)), "the set")
    assert caplog.text == ""


def test_a_name_that_is_no_text(tmp_path):
    write(tmp_path, "a", 3)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    Image.new("L", (24, 20)).save(tmp_path / "b.png")
    os.rename(tmp_path / "b.png", odd)
    usable, skipped = check_pairs(table({"a": row(tmp_path, "a", True), "b": (odd, None, False)}))
    assert usable.index.tolist() == ["a"] and "not valid UTF-8" in skipped.reason[0]
    skipped.to_csv(tmp_path / "skipped.csv")


def test_an_own_reader_and_groups_and_kinds(tmp_path):
    write(tmp_path, "a", 3)
    files = table({"a": row(tmp_path, "a", pd.NA), "b": row(tmp_path, "a", pd.NA)}).assign(group="tile", category=["pit", "crack"])
    usable, _ = check_pairs(files, lambda path: np.ones(SHAPE, bool))
    pool, truth = pool_of_pairs(usable, lambda path: np.ones(SHAPE, bool))
    assert usable.pixels.tolist() == [480, 480] and truth.masks["a"].all()
    assert pool.table.group.tolist() == ["tile", "tile"] and truth.table.category.tolist() == ["pit", "crack"]


def test_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))
    write(tmp_path, "a")
    with zipfile.ZipFile(tmp_path / "SET.ZIP", "w") as archive:
        archive.write(tmp_path / "a.png", "deep/a.png")
    assert open_source(tmp_path) == tmp_path
    assert [path.name for path in pictures_below(open_source(tmp_path / "SET.ZIP"))] == ["a.png"]
    (tmp_path / "set.tar.xz").write_bytes(b"x")
    with pytest.raises(ValueError, match="tar -xf"):
        open_source(tmp_path / "set.tar.xz")
    with pytest.raises(ValueError, match="does not exist"):
        open_source(tmp_path / "nothing")
    (tmp_path / "torn.zip").write_bytes(b"PK")
    with pytest.raises(BadArchive, match="damaged"):
        open_source(tmp_path / "torn.zip")


def test_pictures_below(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("z.PNG", "b/a.jpg", "b/c/a.TIFF", "._z.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.relative_to(tmp_path).as_posix() for path in pictures_below(tmp_path)] == ["z.PNG", "b/a.jpg", "b/c/a.TIFF"]
    assert [path.name for path in pictures_below(tmp_path, deep=False)] == ["z.PNG"]
    assert pictures_below(tmp_path / "nowhere") == [] and pictures_below(tmp_path / "nowhere", deep=False) == []
