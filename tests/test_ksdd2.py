"""KolektorSDD2's layout on generated files, its real lists of masks, labels made weak, and the official folds of KolektorSDD."""
import json
import pickle
import shutil
import zipfile
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.data.folders import BadImage
from active_defects.data.ksdd import ksdd_facts, ksdd_files, read_ksdd
from active_defects.data.ksdd2 import ksdd2_files, read_ksdd2, read_ksdd2_split
from active_defects.data.labels import Labels, mask_of
from active_defects.data.official_folds import leaked, official_folds, segmented_ids
from active_defects.data.splits import group_folds
from active_defects.data.weaken import weaken

SIZES = {10000: (63, 23), 10001: (64, 22), 10002: (62, 24), 20000: (60, 23), 20001: (66, 23)}
DEFECTS = {10001: 255, 20001: 1}  # value of the defect in the mask file; any that is not 0 counts


@pytest.fixture(autouse=True)
def own_cache(request, tmp_path, monkeypatch):
    if not request.node.get_closest_marker("realdata"):
        monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))


def write(folder, number):
    random, shape = np.random.default_rng(number), SIZES.get(number, (60, 22))
    mask = np.zeros(shape, np.uint8)
    mask[30, 10] = DEFECTS.get(number, 0)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    Image.fromarray(mask).save(folder / f"{number}_GT.png")


@pytest.fixture
def root(tmp_path):
    for number in SIZES:
        write(tmp_path / "set" / "deep" / ("train" if number < 20000 else "test"), number)
    return tmp_path / "set"


# KolektorSDD2

def test_pool_and_truth(root):
    pool, truth = read_ksdd2(root, "train")
    assert pool.ids.tolist() == truth.ids.tolist() == ["10000", "10001", "10002"]
    assert pool.table.columns.tolist() == ["group"] and pool.table.group.tolist() == pool.ids.tolist()
    assert truth.table.defective.tolist() == [False, True, False] and truth.table.category.tolist() == ["good", "defect", "good"]
    assert list(truth.masks) == ["10001"] and truth.masks["10001"].sum() == 1 and truth.strong_ids.equals(pool.ids)
    for sample in pool.ids:
        image = pool.images[sample]
        assert image.shape == (*SIZES[int(sample)], 3) and image.dtype == np.float32 and 0 <= image.min() < image.max() <= 1
        assert mask_of(truth, sample, image.shape[:2]).shape == image.shape[:2]
    assert pickle.loads(pickle.dumps(pool)).ids.equals(pool.ids)


def test_parts(root):
    assert read_ksdd2(root, "test")[1].table.defective.to_dict() == {"20000": False, "20001": True}
    assert read_ksdd2(root)[0].ids.tolist() == ["10000", "10001", "10002", "20000", "20001"]
    with pytest.raises(ValueError, match="got 'valid'"):
        read_ksdd2(root, "valid")
    shutil.rmtree(root / "deep" / "test")
    with pytest.raises(ValueError, match="no test/10000.png below"):
        read_ksdd2(root, "test")


def test_archive_and_folder_agree_and_the_second_reading_too(root, tmp_path):
    with zipfile.ZipFile(tmp_path / "KolektorSDD2.zip", "w") as archive:
        for path in root.rglob("*.png"):
            archive.write(path, path.relative_to(root))
    first, again, folder = read_ksdd2(tmp_path / "KolektorSDD2.zip"), read_ksdd2(tmp_path / "KolektorSDD2.zip"), read_ksdd2(root)
    for pool, truth in (again, folder):
        pd.testing.assert_frame_equal(pool.table, first[0].table)
        pd.testing.assert_frame_equal(truth.table, first[1].table)
        assert (truth.masks["20001"] == first[1].masks["20001"]).all()


def test_other_files_and_deeper_copies_do_not_count(root):
    train = root / "deep" / "train"
    for name in ("._10000.png", "notes.txt", "10000_GT_old.png"):
        (train / name).write_bytes(b"no picture")
    write(train / "train", 10000)
    write(root / "deep" / "elsewhere", 10009)
    assert ksdd2_files(root, "train").index.tolist() == ["10000", "10001", "10002"]
    assert ksdd2_files(root, "train").image["10000"].parent == train


def test_errors_name_the_file(root):
    train = root / "deep" / "train"
    (train / "10002_GT.png").rename(train / "away")
    with pytest.raises(ValueError, match="10002.png has no mask 10002_GT.png"):
        read_ksdd2(root)
    Image.new("L", (24, 61)).save(train / "10002_GT.png")
    with pytest.raises(BadImage, match="10002_GT.png is 61 x 24, its image 62 x 24"):
        read_ksdd2(root)
    (train / "away").rename(train / "10002_GT.png")
    whole = (train / "10000.png").read_bytes()
    for content, says in ((whole[:-200], "damaged or cut short"), (b"", "empty"), (b"a letter, not a picture", "whatever its name says")):
        (train / "10000.png").write_bytes(content)
        with pytest.raises(BadImage, match="10000.png.*" + says):
            read_ksdd2(root)
    (train / "10000.png").write_bytes(whole)
    middle = len(whole) // 2
    (train / "10000.png").write_bytes(whole[:middle] + b"0123456789" + whole[middle + 10:])
    pool, _ = read_ksdd2(root)
    with pytest.raises(BadImage, match="10000.png cannot be decoded"):
        pool.images["10000"]
    write(root / "deep" / "test", 10001)
    with pytest.raises(ValueError, match="have the same name"):
        read_ksdd2(root)


def test_split_files_that_are_none(tmp_path):
    for name, content in (("a.json", "{"), ("b.json", "{}"), ("c.json", "[1]"), ("d.csv", "x,y\n1,2\n")):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=name):
            read_ksdd2_split(tmp_path / name, 16)
    with pytest.raises(ValueError, match="missing.json"):
        read_ksdd2_split(tmp_path / "missing.json", 16)


@pytest.mark.realdata
def test_the_real_lists_of_masks(data_folder):
    path = data_folder / "splits" / "ksdd2_segmented_ids.json"
    lists = {n: read_ksdd2_split(path, n) for n in (0, 16, 53, 126, 246)}
    assert {n: len(set(ids)) for n, ids in lists.items()} == {n: n for n in lists}
    assert lists[16] == "10258 10273 10312 10401 10557 10678 10756 10770 11139 11242 11713 11923 11957 11969 11980 11986".split()
    assert set(lists[16]) < set(lists[53]) < set(lists[126]) < set(lists[246]) == set(map(str, json.loads(path.read_text())["train_positive_ids"]))
    assert lists == {n: read_ksdd2_split(path.with_name("ksdd2_splits.csv"), n) for n in lists}
    with pytest.raises(ValueError, match="choose 0, 16, 53, 126, 246"):
        read_ksdd2_split(path, 17)


@pytest.mark.realdata
def test_the_real_lists_weaken_a_set_of_that_layout(data_folder):
    known = pd.read_csv(data_folder / "splits" / "ksdd2_splits.csv", dtype={"id": str}).query("subset == 'train'").set_index("id")
    truth = Labels.of(known.positive == 1, Unread(known.index[known.positive == 1]))
    for n in (0, 16, 53, 126, 246):
        mixed = weaken(truth, read_ksdd2_split(data_folder / "splits" / "ksdd2_segmented_ids.json", n))
        assert (len(mixed), len(mixed.masks), len(mixed.strong_ids)) == (2331, n, 2085 + n)


# Weaken

class Unread(Mapping):
    "Masks that must not be read."

    def __init__(self, ids):
        self.ids = dict.fromkeys(ids)

    def __getitem__(self, key):
        raise AssertionError(f"the mask of {key} was read")

    def __contains__(self, key):
        return key in self.ids

    def __iter__(self):
        return iter(self.ids)

    def __len__(self):
        return len(self.ids)


def some_labels(masks):
    verdicts = {"a": True, "b": False, "c": True, "d": True, "dull": True, "skipped": None}
    labels = Labels.of(verdicts, masks, annotator="ana", seconds=7, round=2, maskable=[i for i in verdicts if i != "dull"])
    return Labels(labels.table.assign(trust=0.5, category="pit"), masks)


def test_weaken_keeps_every_column_and_reads_no_mask():
    labels = some_labels(Unread("acd"))
    mixed = weaken(labels, keep=["c", "c"])
    pd.testing.assert_frame_equal(mixed.table, labels.table)
    assert list(mixed.masks) == ["c"] and "a" not in mixed.masks and mixed.strong_ids.tolist() == ["b", "c"]
    assert mixed.settled_ids.tolist() == ["b", "c", "dull", "skipped"] and list(labels.masks) == ["a", "c", "d"]
    with pytest.raises(KeyError):
        mixed.masks["a"]


def test_weaken_all_none_and_twice():
    drawn = {i: np.eye(3, dtype=bool) for i in "acd"}
    labels = some_labels(drawn)
    assert weaken(labels).strong_ids.tolist() == ["b"] and len(weaken(labels).masks) == 0
    assert weaken(labels, drawn).strong_ids.equals(labels.strong_ids)
    twice = weaken(weaken(labels, iter(["a", "d"])), pd.Index(["d"]))
    assert list(twice.masks) == ["d"] and (twice.masks["d"] == drawn["d"]).all()
    assert pickle.loads(pickle.dumps(twice)).strong_ids.tolist() == ["b", "d"]
    assert len(weaken(Labels.of({}))) == 0


@pytest.mark.parametrize("keep, says", [(["z"], "nothing was said about 'z'"), (["a", "b"], "'b' and 0 others in `keep` are good"),
                                        (["dull"], "no mask to keep"), (["skipped"], "no mask to keep"), ("a", "holds ids")])
def test_weaken_names_a_slip(keep, says):
    with pytest.raises(ValueError, match=says):
        weaken(some_labels(Unread("acd")), keep)


# Official folds of KolektorSDD

@pytest.fixture(scope="module")
def real(data_folder):
    return read_ksdd(data_folder / "KolektorSDD.zip", progress=False), data_folder / "splits" / "ksdd_folds.json"


@pytest.fixture(scope="module")
def twins(real):
    return ksdd_facts(ksdd_files(real[0][0].images.paths["kos01/Part0"].parent.parent), progress=False).digest


@pytest.mark.realdata
def test_official_folds(real):
    (pool, truth), path = real
    folds = official_folds(pool.ids, path)
    assert folds.index.equals(pool.ids) and folds.value_counts().sort_index().tolist() == [135, 136, 128]
    assert pool.ids.str[:5].to_series(index=pool.ids).groupby(folds).nunique().tolist() == [17, 17, 16]
    assert truth.table.defective.astype(int).groupby(folds).sum().tolist() == [18, 18, 16]
    assert folds.equals(official_folds(pool.ids, path.with_suffix(".csv")))
    assert official_folds(["kos27/Part0/1", "kos01/Part5/0", "kos34/Part0/2"], path).tolist() == [0, 1, 2]


@pytest.mark.realdata
def test_the_official_folds_leak_and_folds_of_groups_do_not(real, twins):
    (pool, truth), path = real
    folds = official_folds(pool.ids, path)
    known = leaked(folds, twins)
    assert folds[known].value_counts().sort_index().tolist() == [8, 8, 16]
    assert set(known.str[:5]) == {"kos01", "kos26", "kos27", "kos34"} and known.equals(leaked(folds, pool.table.group))
    for seed in range(5):
        honest = group_folds(pool, 3, seed, stratify=truth.table.defective)
        assert leaked(honest, twins).empty and leaked(honest, pool.table.group).empty
        assert truth.table.defective.astype(int).groupby(honest).sum().between(15, 20).all()


@pytest.mark.realdata
def test_segmented_ids(real):
    (pool, truth), path = real
    folds, splits = official_folds(pool.ids, path), json.loads(path.read_text())["splits"]
    for fold in range(3):
        for n in (0, 5, 10, 15, 20, 33):
            ids = segmented_ids(truth, path, fold, n)
            assert set(i[:5] for i in ids) == set(splits[f"33_{n}"][fold]["segmented"])
            assert truth.table.defective[ids].all() and (folds[ids] != fold).all()
            assert ids == segmented_ids(truth, path.with_suffix(".csv"), fold, n)
            assert list(weaken(truth[folds.index[folds != fold]], ids).masks) == ids
    assert [len(segmented_ids(truth, path, fold, 33)) for fold in range(3)] == [34, 34, 36]
    assert not any(set(splits["33_5"][fold]["segmented"]) <= set(splits["33_10"][fold]["segmented"]) for fold in range(3))


@pytest.mark.realdata
def test_refused_folds(real, tmp_path):
    (pool, truth), path = real
    with pytest.raises(ValueError, match=r"no fold 0 with 7 masks.*\[0, 5, 10, 15, 20, 33\]"):
        segmented_ids(truth, path, 0, 7)
    with pytest.raises(ValueError, match="no fold for 'kos51/Part0'"):
        official_folds(["kos01/Part0", "kos51/Part0"], path)
    for name, content in (("a.json", "{"), ("b.json", "[]"), ("c.csv", "x\n1\n")):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"{name} does not hold the folds"):
            official_folds(pool.ids, tmp_path / name)


def test_leaked_finds_kin_across_folds():
    folds = pd.Series({"a": 0, "b": 2, "c": 1, "d": 1})
    assert leaked(folds, pd.Series({"d": "y", "c": "y", "b": "x", "a": "x"})).tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="says nothing about 'd'"):
        leaked(folds, pd.Series({"a": 1, "b": 1, "c": 2}))


def test_kin_that_is_unknown_is_not_taken_for_no_kin():
    folds = pd.Series({"a": 0, "b": 1})
    with pytest.raises(ValueError, match="says nothing about 'a' and 1 others"): leaked(folds, pd.Series({"a": None, "b": None}, dtype=object))


def test_ids_that_are_no_names_are_named(tmp_path):
    path = tmp_path / "ksdd_folds.json"
    path.write_text(json.dumps({"test": [["kos01"]], "splits": {}}))
    with pytest.raises(ValueError, match="no fold for 1 and 0 others"): official_folds([1], path)


def test_a_table_without_lists_is_not_a_split(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("id,group\n1,2\n")
    with pytest.raises(ValueError, match="is not a list of KolektorSDD2's masks"): read_ksdd2_split(path, 16)
