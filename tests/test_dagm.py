"""DAGM 2007's layout on generated files at their real size: two witnesses, a table and masks, that have to agree."""
import logging
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.data.dagm import dagm_files, read_dagm, read_verdicts
from active_defects.data.labels import mask_of

BAD = {(1, "Train"): [576, 579], (1, "Test"): [2], (10, "Train"): [1151], (10, "Test"): [1]}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))


def write(root, number, part, nested=False):
    folder = root / f"Class{number}" / (f"Class{number}" if nested else "") / part
    first, bad = {"Train": 576 if number < 7 else 1151, "Test": 1}[part], BAD[number, part]
    (folder / "Label").mkdir(parents=True)
    lines = ["1"]
    for n in range(first, first + 5):
        Image.fromarray(np.full((512, 512), 100 + n % 50, np.uint8)).save(folder / f"{n:04}.PNG")
        if n in bad:
            mask = np.zeros((512, 512), np.uint8)
            mask[100:130, 200:240] = 255
            Image.fromarray(mask).save(folder / "Label" / f"{n:04}_label.PNG")
        lines.append(f"{n:04}\t{int(n in bad)}\t{n:04}.PNG\t{int(n in bad)}\t{f'{n:04}_label.PNG' if n in bad else 0}")
    (folder / "Label" / "Labels.txt").write_text("\r\n".join(lines) + "\r\n")


@pytest.fixture
def root(tmp_path):
    for number, part in BAD:
        write(tmp_path / "set", number, part)
    return tmp_path / "set"


def test_pool_and_truth(root):
    pool, truth = read_dagm(root)
    assert len(pool) == len(truth) == 20 and pool.table.columns.tolist() == ["group"] and pool.table.group.is_unique
    assert sorted(truth.masks) == ["Class1/Test/0002", "Class1/Train/0576", "Class1/Train/0579", "Class10/Test/0001", "Class10/Train/1151"]
    assert truth.strong_ids.equals(pool.ids) and truth.table.category.value_counts().to_dict() == {"good": 15, "Class1": 3, "Class10": 2}
    for sample in pool.ids[:6]:
        image = pool.images[sample]
        assert image.shape == (512, 512) and image.dtype == np.float32
        assert mask_of(truth, sample, image.shape).sum() == 1200 * bool(truth.table.defective[sample])
    assert pickle.loads(pickle.dumps(pool)).ids.equals(pool.ids)


def test_classes_and_parts(root):
    assert set(read_dagm(root, [10])[0].ids.str.split("/").str[0]) == {"Class10"}
    train, test = read_dagm(root, (1,), "train")[0], read_dagm(root, iter([1]), "test")[0]
    assert train.ids.tolist() == [f"Class1/Train/0{n}" for n in range(576, 581)] and test.ids.tolist() == [f"Class1/Test/000{n}" for n in range(1, 6)]
    for wanted in ([2], [1, 3], []):
        with pytest.raises(ValueError, match=r"holds \[1, 10\]; choose among these"):
            read_dagm(root, wanted)
    for wrong in ("Train", "valid"):
        with pytest.raises(ValueError, match="part must be"):
            read_dagm(root, part=wrong)


def test_folders_in_folders_archives_and_one_class_alone(root, tmp_path):
    table = read_dagm(root)[1].table
    for number, part in BAD:
        write(tmp_path / "nested", number, part, nested=True)
    with zipfile.ZipFile(tmp_path / "DAGM.zip", "w") as archive:
        for path in (p for p in root.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(root))
    for source in (tmp_path / "nested", tmp_path / "DAGM.zip"):
        pd.testing.assert_frame_equal(read_dagm(source)[1].table, table)
    assert len(read_dagm(root / "Class1")[0]) == 10 and len(read_dagm(root / "Class1" / "Train")[0]) == 5


@pytest.mark.parametrize("text", ["1\n0001\t1\t0001.PNG\t1\t0001_label.PNG\n0002\t0\t0002.PNG\t0\t0\n", 
                                  "\ufeff0001 1 0001.PNG 1 0001_label.PNG\r\n0002 0 0002.PNG 0 0", "0001\t1\t0001.png\n\n  \n0002\t0\t0002.png"])
def test_tables_of_verdicts(tmp_path, text):
    (tmp_path / "Labels.txt").write_text(text, encoding="utf-8")
    assert read_verdicts(tmp_path / "Labels.txt").defective.to_dict() == {"0001": True, "0002": False}


def test_lines_that_are_no_verdicts(tmp_path):
    (tmp_path / "Labels.txt").write_bytes(b"number verdict\n0001\t2\t0001.PNG\n0002\t\t0002.PNG\n\xff\xfe\n"
                                         b"0003\t1\t0003.PNG\n0004\t1\t0004.PNG\n0004\t0\t0004.PNG\n")
    assert read_verdicts(tmp_path / "Labels.txt").defective.to_dict() == {"0003": True}


@pytest.mark.parametrize("damage, says", [
    ("mask gone", "0576.PNG has no mask 0576_label.PNG"), ("mask size", "0576_label.PNG is 512 x 511, its image 512 x 512"),
    ("mask of a good one", "0577.PNG is called good, but .*0577_label.PNG shows 1200"),
    ("picture gone", "0576.PNG cannot be read"), ("picture cut", "0576.PNG cannot be decoded"), ("line gone", "0576.PNG has no verdict")])
def test_what_does_not_agree_is_left_out(root, caplog, damage, says):
    folder = root / "Class1" / "Train"
    mask, picture, lines = folder / "Label" / "0576_label.PNG", folder / "0576.PNG", folder / "Label" / "Labels.txt"
    if damage == "mask gone":
        mask.unlink()
    if damage == "mask size":
        Image.new("L", (511, 512)).save(mask)
    if damage == "mask of a good one":
        (folder / "Label" / "0577_label.PNG").write_bytes(mask.read_bytes())
    if damage == "picture gone":
        picture.unlink()
    if damage == "picture cut":
        picture.write_bytes(picture.read_bytes()[:100])
    if damage == "line gone":
        mask.unlink()
        lines.write_text(lines.read_text().replace("0576\t1\t0576.PNG", ""))
    with caplog.at_level(logging.WARNING, "active_defects"):
        pool, truth = read_dagm(root, [1], "train")
    out = 577 if damage == "mask of a good one" else 576
    assert pool.ids.tolist() == [f"Class1/Train/0{n}" for n in range(576, 581) if n != out] and truth.strong_ids.equals(pool.ids)
    assert pd.Series([caplog.text]).str.contains("1 of 5 pictures.*(?:" + says + ")")[0]


def test_a_picture_without_a_line_is_judged_by_its_mask_only_if_it_has_one(root, caplog):
    lines = root / "Class1" / "Train" / "Label" / "Labels.txt"
    lines.write_text("\n".join(line for line in lines.read_text().splitlines() if "0576" not in line and "0577" not in line))
    _, truth = read_dagm(root, [1], "train")
    assert truth.table.defective.to_dict() == {"Class1/Train/0576": True, "Class1/Train/0578": False, "Class1/Train/0579": True, "Class1/Train/0580": False}
    assert "0577.PNG has no verdict" in caplog.text


def test_masks_as_the_only_witness(root):
    for path in root.rglob("Labels.txt"):
        path.unlink()
    with pytest.raises(ValueError, match="has no Labels.txt.*verdicts='masks'"):
        read_dagm(root)
    assert read_dagm(root, verdicts="masks")[1].table.defective.sum() == 5
    with pytest.raises(ValueError, match="verdicts must be"):
        read_dagm(root, verdicts="files")


def test_an_ellipse_that_is_black_cannot_be_drawn(root):
    Image.new("L", (512, 512)).save(root / "Class1" / "Train" / "Label" / "0576_label.PNG")
    _, truth = read_dagm(root, [1], "train")
    assert truth.table.defective["Class1/Train/0576"] and not truth.table.maskable["Class1/Train/0576"] and "Class1/Train/0576" not in truth.masks


def test_other_layouts(root, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", root / "Class1" / "Train" / "Label"):
        with pytest.raises(ValueError, match="no Class1/Train/"):
            read_dagm(source)
    (tmp_path / "old" / "Class1_def").mkdir(parents=True)
    Image.new("L", (512, 512)).save(tmp_path / "old" / "Class1_def" / "1.png")
    with pytest.raises(ValueError, match="first edition"):
        read_dagm(tmp_path / "old")
    assert dagm_files(root)["mask"].notna().sum() == 5
