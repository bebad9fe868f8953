"""Folders of anomalies, in MVTec's layout and as plain folders: ids that say nothing, kinds in the truth, masks by name."""
import logging
import pickle
import re
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.data.anomaly_folders import anomaly_files, mvtec_files, read_anomaly_folders, read_mvtec, silent_id
from active_defects.data.labels import mask_of

SHAPE = (30, 26)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))


def write(path, level=100, shape=SHAPE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*shape, 3), level, np.uint8)).save(path)


def draw(path, pixels, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask.ravel()[:pixels] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


@pytest.fixture
def root(tmp_path):
    for item, ending in (("bottle", "_mask"), ("cable", "")):
        folder = tmp_path / "set" / item
        for n in range(6):
            write(folder / "train" / "good" / f"{n:03}.png")
        for n in range(2):
            write(folder / "test" / "good" / f"{n:03}.png")
            for k, kind in enumerate(("bent", "cut")):
                write(folder / "test" / kind / f"{n:03}.png")
                draw(folder / "ground_truth" / kind / f"{n:03}{ending}.png", 10 * k + n + 1)
    return tmp_path / "set"


def of(pool, root):
    return {pool.images.paths[i].relative_to(root).as_posix(): i for i in pool.ids}


def test_mvtec(root):
    pool, truth = read_mvtec(root)
    assert len(pool) == 2 * 12 and pool.table.columns.tolist() == ["group"] and pool.table.group.tolist() == pool.ids.tolist() == sorted(pool.ids)
    assert truth.table.category.value_counts().to_dict() == {"good": 16, "bent": 4, "cut": 4} and truth.strong_ids.equals(pool.ids)
    names = of(pool, root)
    assert {name: int(truth.masks[i].sum()) for name, i in names.items() if i in truth.masks and "bottle" in name} == {
        "bottle/test/bent/000.png": 1, "bottle/test/bent/001.png": 2, "bottle/test/cut/000.png": 11, "bottle/test/cut/001.png": 12}
    for sample in pool.ids:
        assert pool.images[sample].shape == (*SHAPE, 3) and mask_of(truth, sample, SHAPE).any() == truth.table.defective[sample]
    assert pickle.loads(pickle.dumps(pool)).ids.equals(pool.ids) and pickle.loads(pickle.dumps(truth)).masks[truth.ids[truth.table.defective][0]].any()


def test_ids_say_nothing_and_stay(root, tmp_path):
    pool, truth = read_mvtec(root)
    assert all(re.fullmatch(r"(bottle|cable)/[0-9a-f]{12}", i) for i in pool.ids)
    assert silent_id("test/crack/000.png") == "26dcb33ce1e6" and silent_id("test/crack/001.png") != "26dcb33ce1e6"
    shutil.copytree(root, tmp_path / "elsewhere" / "deep")
    moved, moved_truth = read_mvtec(tmp_path / "elsewhere" / "deep")
    pd.testing.assert_frame_equal(moved_truth.table, truth.table)
    one, _ = read_mvtec(root / "bottle")
    assert set("bottle/" + one.ids) == {i for i in pool.ids if i.startswith("bottle")}
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in (p for p in root.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(root))
    pd.testing.assert_frame_equal(read_mvtec(tmp_path / "set.zip")[1].table, truth.table)


def test_parts(root):
    train, train_truth = read_mvtec(root, "train")
    test, test_truth = read_mvtec(root, "test")
    assert len(train) == 12 and not train_truth.table.defective.any() and len(test) == 12 and test_truth.table.defective.sum() == 8
    assert set(train.ids) | set(test.ids) == set(read_mvtec(root)[0].ids) and not set(train.ids) & set(test.ids)
    (root / "cable" / "train" / "good" / "003.png").write_bytes(b"")
    assert len(read_mvtec(root, "train")[0]) == 11
    with pytest.raises(ValueError, match="part must be"):
        read_mvtec(root, "Test")


def test_without_masks_everything_defective_is_weak(root):
    shutil.rmtree(root / "bottle" / "ground_truth")
    pool, truth = read_mvtec(root)
    weak = truth.ids.difference(truth.strong_ids)
    assert len(weak) == 4 and all(i.startswith("bottle/") for i in weak) and truth.table.defective[weak].all() and truth.table.maskable[weak].all()


@pytest.mark.parametrize("damage, says", [("mask gone", "cut/001.png has no mask 001_mask.png"), ("mask size", "is 26 x 30, its image 30 x 26"),
                                          ("mask torn", "001_mask.png is empty"), ("picture torn", "cut/001.png is empty")])
def test_one_bad_file_is_left_out(root, caplog, damage, says):
    picture, mask = root / "bottle" / "test" / "cut" / "001.png", root / "bottle" / "ground_truth" / "cut" / "001_mask.png"
    gone = of(read_mvtec(root)[0], root)["bottle/test/cut/001.png"]
    if damage == "mask size":
        draw(mask, 5, SHAPE[::-1])
    if damage == "mask gone":
        mask.unlink()
    if damage == "mask torn":
        mask.write_bytes(b"")
    if damage == "picture torn":
        picture.write_bytes(b"")
    with caplog.at_level(logging.WARNING, "active_defects"):
        pool, _ = read_mvtec(root)
    assert len(pool) == 23 and gone not in pool.ids and "1 of 24 pictures" in caplog.text and says in caplog.text


def test_one_bad_file_among_many(tmp_path, caplog):
    for n in range(400):
        write(tmp_path / "test" / ("good" if n % 10 else "cut") / f"{n}.png")
    (tmp_path / "test" / "good" / "7.png").write_bytes(b"Dear colleague")
    pool, truth = read_mvtec(tmp_path)
    assert len(pool) == 399 and truth.table.defective.sum() == 40 and "1 of 400" in caplog.text and "7.png is no JPEG" in caplog.text


def test_black_masks_ok_as_good_deeper_folders_and_strays(root, caplog):
    folder = root / "bottle"
    (folder / "test" / "good").rename(folder / "test" / "OK")
    draw(folder / "ground_truth" / "OK" / "000_mask.png", 0)
    draw(folder / "ground_truth" / "cut" / "000_mask.png", 0)
    write(folder / "test" / "cut" / "camera2" / "000.png")
    draw(folder / "ground_truth" / "cut" / "camera2" / "000_mask.png", 7)
    write(folder / "test" / "stray.png")
    write(folder / "readme.png")
    (folder / "test" / "cut" / "._000.png").write_bytes(b"junk")
    pool, truth = read_mvtec(folder)
    names = of(pool, folder)
    assert len(pool) == 13 and "1 of 14" in caplog.text and "stray.png has no verdict" in caplog.text
    deeper = names["test/cut/camera2/000.png"]
    assert not truth.table.defective[names["test/OK/000.png"]] and truth.masks[deeper].sum() == 7 and truth.table.category[deeper] == "cut"
    assert truth.table.defective[names["test/cut/000.png"]] and not truth.table.maskable[names["test/cut/000.png"]]


def test_mvtec_refused(root, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", root / "bottle" / "ground_truth", root / "bottle" / "test"):
        with pytest.raises(ValueError, match="give the folder with train, test and ground_truth"):
            read_mvtec(source)
    for item in ("bottle", "cable"):
        for mask in (root / item / "ground_truth").rglob("*.png"):
            mask.rename(mask.with_name(f"x{mask.name}"))
    with pytest.raises(ValueError, match="8 of 24 pictures .* leaves no defective one; the first: .*has no mask"):
        read_mvtec(root)
    (tmp_path / "bottle.tar.xz").write_bytes(b"x")
    with pytest.raises(ValueError, match="tar -xf"):
        read_mvtec(tmp_path / "bottle.tar.xz")


@pytest.fixture
def plain(tmp_path):
    for n in range(4):
        write(tmp_path / "plain" / "normal" / f"{n}.png")
    for n in (1, 10, 11):
        write(tmp_path / "plain" / "abnormal" / f"{n}.png")
        draw(tmp_path / "plain" / "mask" / f"{n}.png", n)
    return tmp_path / "plain"


def test_plain_folders(plain):
    pool, truth = read_anomaly_folders(plain, mask_dir="mask")
    assert len(pool) == 7 and all(re.fullmatch("[0-9a-f]{12}", i) for i in pool.ids)
    assert truth.table.category.value_counts().to_dict() == {"good": 4, "defect": 3}
    assert {pool.images.paths[i].name: int(truth.masks[i].sum()) for i in truth.masks} == {"1.png": 1, "10.png": 10, "11.png": 11}
    assert truth.strong_ids.equals(pool.ids)
    _, weak = read_anomaly_folders(plain)
    assert weak.ids.equals(truth.ids) and len(weak.masks) == 0 and weak.table.defective.equals(truth.table.defective)


@pytest.mark.parametrize("ending", ["_mask", "_label", "_gt", ""])
def test_masks_are_found_by_their_whole_name(plain, caplog, ending):
    for n in (1, 10, 11):
        (plain / "mask" / f"{n}.png").rename(plain / "mask" / f"{n}{ending}.bmp")
    (plain / "mask" / f"1{ending}.bmp").unlink()
    draw(plain / "mask" / f"111{ending}.png", 111)
    pool, truth = read_anomaly_folders(plain, mask_dir="mask")
    assert {pool.images.paths[i].name: int(truth.masks[i].sum()) for i in truth.masks} == {"10.png": 10, "11.png": 11}
    assert "1 of 7 pictures" in caplog.text and "abnormal/1.png has no mask 1_mask.png" in caplog.text


def test_kinds(plain):
    for kind in ("cut", "dent"):
        write(plain / "ng" / kind / "1.png")
        draw(plain / "ng_mask" / kind / "1_mask.png", 3 + len(kind))
    write(plain / "more" / "9.png")
    by_folder = read_anomaly_folders(plain, "normal", "ng", "ng_mask", normal_test_dir="more")[1]
    by_list = read_anomaly_folders(plain, ["normal", "more"], ["ng/cut", "ng/dent"], "ng_mask")[1]
    for truth in (by_folder, by_list):
        assert truth.table.category.value_counts().to_dict() == {"good": 5, "cut": 1, "dent": 1}
        assert sorted(int(mask.sum()) for mask in truth.masks.values()) == [6, 7]
    assert by_folder.ids.equals(by_list.ids)


def test_masks_inside_the_folder_of_pictures(plain):
    shutil.move(plain / "mask", plain / "abnormal" / "mask")
    pool, truth = read_anomaly_folders(plain, mask_dir="abnormal/mask")
    assert len(pool) == 7 and len(truth.masks) == 3


def test_plain_folders_refused(plain, tmp_path):
    with pytest.raises(ValueError, match=r"\(normal_dir\) is not a folder; name the folders below"):
        read_anomaly_folders(plain, normal_dir="ok")
    with pytest.raises(ValueError, match=r"\(mask_dir\) is not a folder"):
        read_anomaly_folders(plain, mask_dir="masks")
    with pytest.raises(ValueError, match="a part is normal or abnormal"):
        read_anomaly_folders(plain, normal_dir=["normal", "abnormal"])
    (plain / "nothing").mkdir()
    with pytest.raises(ValueError, match=r"nothing \(abnormal_dir\) holds no pictures"):
        read_anomaly_folders(plain, abnormal_dir="nothing")
    with pytest.raises(ValueError, match="leaves no defective one"):
        read_anomaly_folders(plain, mask_dir="nothing")
    assert len(anomaly_files(plain)) == 7 and len(mvtec_files(mkset(tmp_path))) == 1


def mkset(folder):
    write(folder / "one" / "test" / "good" / "0.png")
    return folder / "one"
