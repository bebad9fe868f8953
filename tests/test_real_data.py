"""What is known about KolektorSDD and the magnetic tiles holds for what the readers return."""
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest

from active_defects.data.crops import crop_rows
from active_defects.data.ksdd import read_ksdd
from active_defects.data.magnetic_tile import burst_groups, read_magnetic_tile
from active_defects.data.splits import group_folds, hold_out
from active_defects.formulas.contracts import ranked
from effort import calls

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def archive(data_folder):
    return data_folder / "KolektorSDD.zip"


@pytest.fixture(scope="module")
def ksdd(archive):
    return read_ksdd(archive, progress=False)


@pytest.fixture(scope="module")
def crops(archive):
    return read_ksdd(archive, crops=500, progress=False)


@pytest.fixture(scope="module")
def tiles(data_folder):
    return read_magnetic_tile(data_folder / "magnetic_tile", progress=False)


@pytest.fixture(scope="module")
def tile_pool(data_folder):
    return read_magnetic_tile(data_folder / "magnetic_tile", subset=data_folder / "splits" / "mt_pool_5pct_seed0.txt", progress=False)


@pytest.mark.parametrize("crops, drop, samples, defective", [(None, False, 399, 52), (None, True, 383, 50), (500, False, 1197, 62), (500, True, 1149, 60)])
def test_ksdd_counts(archive, crops, drop, samples, defective):
    pool, truth = read_ksdd(archive, crops, drop, progress=False)
    assert (len(pool), int(truth.table.defective.sum())) == (samples, defective)
    assert pool.ids.equals(truth.ids) and pool.table.group.nunique() == 48
    assert list(pool.table.columns) == ["group"]
    assert set(truth.masks) == set(truth.ids[truth.table.defective]) and set(truth.strong_ids) == set(pool.ids)


def test_ksdd_agrees_with_the_table_that_lies_beside_it(ksdd, crops, data_folder):
    known = pd.read_csv(data_folder / "splits" / "ksdd_images.csv", index_col="image")
    (pool, truth), (_, pieces) = ksdd, crops
    assert set(pool.ids) == set(known.index) and (truth.table.defective == (known.defect.loc[truth.ids] == 1)).all()
    first = known.duplicate_of.fillna(pd.Series(known.index, index=known.index))
    for sample, mask in truth.masks.items():
        row = known.loc[min(sample, first[sample])]
        assert mask.shape == (row.height, row.width) and mask.sum() == row.mask_px
        for k in range(3):
            piece = f"{sample}/{k}"
            assert bool(pieces.table.defective[piece]) == (row[f"crop{k}_px"] > 0)
            assert not row[f"crop{k}_px"] or pieces.masks[piece].sum() == row[f"crop{k}_px"]


def test_ksdd_groups_are_items_and_twins_are_one_group(ksdd):
    pool, _ = ksdd
    item = pool.ids.str.split("/").str[0]
    expected = pd.Series(item, index=pool.ids).replace({"kos26": "kos01", "kos34": "kos27"})
    assert (pool.table.group == expected).all()


def test_of_two_masks_the_lower_items_counts(ksdd):
    _, truth = ksdd
    assert [int(truth.masks[i].sum()) for i in ("kos01/Part5", "kos26/Part5", "kos27/Part0", "kos34/Part0")] == [1143, 1143, 4087, 4087]


def test_the_palette_with_three_entries_is_read_as_not_zero(ksdd):
    assert ksdd[1].masks["kos20/Part4"].sum() == 3692


def test_crops_are_rows_of_their_picture(ksdd, crops):
    (pool, _), (pieces, _) = ksdd, crops
    for sample in ("kos01/Part5", "kos50/Part7"):
        image = pool.images[sample]
        assert image.dtype == np.float32 and image.shape[1] == 500 and 0 <= image.min() < image.max() <= 1
        for k, top in enumerate(crop_rows(len(image))):
            np.testing.assert_array_equal(pieces.images[f"{sample}/{k}"], image[top:top + 500])
        assert crop_rows(len(image)) == (0, 500, len(image) - 500)


def test_defects_by_position(crops):
    defective = crops[1].table.defective
    assert defective.groupby(defective.index.str[-1]).sum().tolist() == [6, 48, 8]


def test_the_second_reading_opens_no_picture(archive, crops, monkeypatch):
    monkeypatch.setattr("active_defects.data.ksdd.check_image", lambda path: pytest.fail(f"{path} was read again"))
    assert calls(lambda: read_ksdd(archive, crops=500, progress=False)) < 500 * len(crops[0])


def test_a_folder_serves_as_well_as_the_archive(ksdd, crops):
    pool, truth = read_ksdd(ksdd[0].images.paths["kos01/Part0"].parent.parent, crops=500, progress=False)
    pd.testing.assert_frame_equal(truth.table, crops[1].table)
    pd.testing.assert_frame_equal(pool.table, crops[0].table)


def test_layout_at_any_depth_with_the_stray_copies_of_the_mirror(ksdd, tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))
    folder, deep = ksdd[0].images.paths["kos01/Part0"].parent.parent, tmp_path / "mirror" / "data"
    for item in ("kos08", "kos13", "kos21"):
        shutil.copytree(folder / item, deep / item)
    shutil.copytree(folder / "kos08", deep / "kos13" / "kos08")
    for name in ("Part{}.jpg", "Part{}_label.bmp"):
        shutil.copy(deep / "kos21" / name.format(6), deep / "kos21" / name.format(7))
    pool, _ = read_ksdd(tmp_path / "mirror", progress=False)
    assert len(pool) == 8 + 8 + 7 and "kos21/Part7" not in pool.ids
    assert pool.images.paths["kos08/Part0"].parent == deep / "kos08"


def total(part):
    "Sums of some images and masks, computed in another process."
    pool, truth, ids = part
    return sum(float(pool.images[i].sum()) for i in ids), sum(int(truth.masks[i].sum()) for i in ids if i in truth.masks)


def test_pool_and_truth_travel_to_another_process(crops, tiles):
    for pool, truth in (crops, tiles):
        ids = pool.ids[:6].append(truth.ids[truth.table.defective][:3])
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
            assert workers.submit(total, (pool, truth, list(ids))).result() == total((pool, truth, ids))
        assert len(pickle.dumps(pool)) < 1_000_000


def test_magnetic_tile_counts(tiles):
    pool, truth = tiles
    assert truth.table.category.value_counts().to_dict() == {"good": 952, "Blowhole": 115, "Uneven": 103, "Break": 85, "Crack": 57, "Fray": 32}
    assert len(pool) == 1344 and pool.table.group.nunique() == 180 and list(pool.table.columns) == ["group"]
    assert pool.table.group[truth.table.defective.astype(bool)].nunique() == 65
    assert len(truth.masks) == 388 and burst_groups(pool.ids).nunique() == 184


def test_four_uneven_tiles_are_defective_and_not_maskable(tiles):
    table = tiles[1].table
    four = table[~table.maskable]
    assert sorted(four.index) == ["exp3_num_45042", "exp4_num_124690", "exp4_num_352527", "exp4_num_45057"]
    assert four.defective.all() and (four.category == "Uneven").all()
    assert not set(four.index) & set(tiles[1].strong_ids) and set(four.index) <= set(tiles[1].settled_ids)


def test_tile_masks_begin_above_127(tiles, data_folder):
    pool, truth = tiles
    known = pd.read_csv(data_folder / "splits" / "mt_groups.csv")
    known.index = known.image.str.split("/").str[-1].str.removesuffix(".jpg")
    assert {i: int(mask.sum()) for i, mask in truth.masks.items()} == known.mask_px_gt127[list(truth.masks)].to_dict()
    assert all(truth.masks[i].shape == (known.height[i], known.width[i]) for i in list(truth.masks)[:20])


def test_ids_of_tiles_are_stems(tiles):
    assert tiles[0].ids.str.fullmatch(r"exp\d_num_\d+").all() and tiles[0].ids.is_monotonic_increasing


def test_the_fixed_pool(tile_pool):
    pool, truth = tile_pool
    assert (len(pool), int(truth.table.defective.sum())) == (1002, 50)
    assert truth.table.category[truth.table.defective].value_counts().to_dict() == {"Blowhole": 15, "Uneven": 13, "Break": 11, "Crack": 7, "Fray": 4}


def test_a_tie_broken_by_path_reads_the_answer_and_by_hash_does_not(tile_pool, data_folder):
    pool, truth = tile_pool
    defective = truth.table.defective.astype(bool)
    lines = (data_folder / "splits" / "mt_pool_5pct_seed0.txt").read_text().split()
    by_path = [line.split("/")[-1] for line in sorted(lines)][:100]
    assert defective[by_path].sum() / defective.sum() == 0.74
    nothing = pd.Series(0.0, index=pool.ids)
    shares = [defective[ranked(nothing, seed)[:100]].sum() / defective.sum() for seed in range(50)]
    assert abs(np.mean(shares) - 0.1) < 0.02 and max(shares) < 0.3


def test_a_tie_of_crops_broken_by_hash_finds_a_tenth(crops):
    pool, truth = crops
    defective = truth.table.defective.astype(bool)
    shares = [defective[ranked(pd.Series(0.0, index=pool.ids), seed)[:120]].sum() / defective.sum() for seed in range(50)]
    assert abs(np.mean(shares) - 0.1) < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_no_split_cuts_a_group(crops, tiles, tile_pool, seed):
    for pool, truth in (crops, tiles, tile_pool):
        for kinds in (None, truth.table.category):
            folds = group_folds(pool, 3, seed, kinds)
            assert folds.groupby(pool.table.group).nunique().max() == 1 and folds.nunique() == 3
            train, test = hold_out(pool, 0.2, seed, kinds)
            assert not set(pool.table.group[train]) & set(pool.table.group[test])
            assert len(train) + len(test) == len(pool) and 0.15 < len(test) / len(pool) < 0.25
