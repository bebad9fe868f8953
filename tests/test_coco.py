"""COCO: out and in, ids kept, bad annotations named; pycocotools reads what we write."""
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.data.folders import read_folder
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.synth import synth_surfaces
from active_defects.studio.coco import FORMS, read_coco, to_coco, write_coco
from active_defects.studio.cvat import to_cvat
from active_defects.studio.handover import content_of, file_name, finder, json_of, turned_ids
from active_defects.studio.label_studio import to_label_studio
from active_defects.studio.lightly import to_lightly
from active_defects.studio.masks import coco_rle

POOL, TRUTH = synth_surfaces(n=12, prevalence=0.4, seed=3)
ODD = ["a b", "<script>alert(1)</script>", 'quote"s', "amp&er", "ümläut", "日本", "lot1/part7", "percent%20", "semi;colon", "dot.dot", "trailing.", "a__b"]


def renamed(ids=ODD):
    "A pool with odd ids and pictures of several sizes."
    images = {i: POOL.images[old][:40 + 2 * k, :64 - k] for k, (i, old) in enumerate(zip(ids, POOL.ids))}
    masks = {i: TRUTH.masks[old][:40 + 2 * k, :64 - k] for k, (i, old) in enumerate(zip(ids, POOL.ids)) if old in TRUTH.masks}
    masks = {i: m for i, m in masks.items() if m.any()}
    return Pool(pd.DataFrame(index=list(images)), images), Labels.of({i: i in masks for i in images}, masks)


def sizes(pool):
    return lambda i: pool.images[i].shape[:2]


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back_with_odd_names_and_sizes(tmp_path, form):
    pool, truth = renamed()
    path = write_coco(to_coco(pool, pool.ids, labels=truth, form=form), tmp_path / "answers.json")
    received = read_coco(path, pool.ids, sizes(pool), annotator="ann", seconds=4)
    assert not len(received.rejected) and received.labels.ids.tolist() == pool.ids.tolist()
    assert received.labels.table.defective.tolist() == truth.table.defective.tolist() and set(received.labels.masks) == set(truth.masks)
    assert all(np.array_equal(received.labels.masks[i], truth.masks[i]) for i in truth.masks) and len(truth.masks) > 2
    assert (received.labels.table.annotator == "ann").all() and (received.labels.table.seconds == 4).all()


def test_a_tool_that_keeps_only_what_coco_knows():
    pool, truth = renamed()
    document = to_coco(pool, pool.ids, labels=truth)
    plain = {"images": [{k: image[k] for k in ("id", "file_name", "width", "height")} for image in document["images"]], "annotations": document["annotations"], "categories": document["categories"]}
    marked = read_coco(plain, pool.ids, sizes(pool))
    assert set(marked.labels.ids) == set(truth.masks) and not len(marked.rejected)
    assert read_coco(plain, pool.ids, sizes(pool), complete=True).labels.table.defective.tolist() == truth.table.defective.tolist()


def test_pycocotools_reads_the_file(tmp_path):
    coco = pytest.importorskip("pycocotools.coco", reason="no oracle for COCO: pip install pycocotools")
    pool, truth = renamed()
    for form in FORMS:
        path = write_coco(to_coco(pool, pool.ids, labels=truth, form=form), tmp_path / f"{form}.json")
        read = coco.COCO(str(path))
        for image in read.loadImgs(read.getImgIds()):
            marks = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
            assert len(marks) == (image["sample"] in truth.masks)
            for mark in marks:
                theirs, ours = read.annToMask(mark).astype(bool), truth.masks[image["sample"]]
                rows, columns = np.nonzero(ours)
                assert np.array_equal(theirs, ours) and mark["area"] == ours.sum()
                assert mark["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_pycocotools_writes_and_we_read():
    oracle = pytest.importorskip("pycocotools.mask", reason="no oracle for COCO: pip install pycocotools")
    for i, mask in TRUTH.masks.items():
        rle = oracle.encode(np.asfortranarray(mask, np.uint8))
        document = {"images": [{"id": 5, "file_name": f"deep/folder/{i}.jpg"}], "annotations": [{"image_id": 5, "category_id": 9, "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}}]}
        assert np.array_equal(read_coco(document, POOL.ids, sizes(POOL)).labels.masks[i], mask)


def test_what_fiftyone_and_lightly_studio_ask_for():
    "FiftyOne: file_name, numbers that match, segmentation as polygons or runs; LightlyStudio (labelformat): runs as numbers where iscrowd is 1."
    document = to_coco(POOL, POOL.ids, labels=TRUTH)
    assert {"info", "images", "annotations", "categories"} <= document.keys()
    assert all({"id", "file_name", "width", "height"} <= image.keys() for image in document["images"])
    for mark in document["annotations"]:
        assert {"id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd"} <= mark.keys()
        assert mark["iscrowd"] == 1 and all(type(run) is int for run in mark["segmentation"]["counts"])
    assert all(mark["iscrowd"] == 0 and isinstance(mark["segmentation"], list) for mark in to_coco(POOL, POOL.ids, labels=TRUTH, form="polygons")["annotations"])
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_scores_and_proposals():
    scores, proposal = pd.Series(np.linspace(0, 1, 12), POOL.ids), np.eye(64, dtype=bool)
    known = TRUTH[POOL.ids[:2]]
    document = to_coco(POOL, POOL.ids[:4], scores, known, {i: proposal for i in POOL.ids[:4]})
    assert [image["score"] for image in document["images"]] == scores[:4].tolist() and [image["rank"] for image in document["images"]] == [1, 2, 3, 4]
    drawn = {image["id"]: image["sample"] for image in document["images"]}
    marks = {drawn[m["image_id"]]: m["area"] for m in document["annotations"]}
    assert marks[POOL.ids[2]] == marks[POOL.ids[3]] == 64 and all(marks.get(i, 0) == (int(known.masks[i].sum()) if i in known.masks else 0) for i in known.ids)


ONE = {"id": 1, "file_name": f"{POOL.ids[0]}.png"}
BOX = [4, 4, 8, 4, 8, 8]


@pytest.mark.parametrize("image, marks, says", [
    (ONE | {"file_name": "nobody.png"}, [], "is none of the 12 parts"),
    (ONE | {"sample": "nobody"}, [], "is none of the 12 parts"),
    (ONE | {"width": 32, "height": 32}, [], "picture of 32 x 32 pixels, the part's has 64 x 64"),
    (ONE | {"width": "64", "height": 64}, [], "must be numbers"),
    (ONE, [{"bbox": [0, 0, 4, 4]}], "a box says where"),
    (ONE, [{"segmentation": []}], "a box says where"),
    (ONE, [{"segmentation": [BOX]}, {"segmentation": [[1, 2, 3]]}], "three corners or more"),
    (ONE, [{"segmentation": {"size": [32, 32], "counts": [1024]}}], "picture of 32 x 32"),
    (ONE, [{"segmentation": {"size": [64, 64], "counts": [4095]}}], "cover 4,095 pixels"),
    (ONE, [{"segmentation": {"size": [64, 64], "counts": "###"}}], "no compressed COCO mask"),
    (ONE, [{"segmentation": {"size": [64, 64]}}], "needs size and counts"),
    (ONE, [{"segmentation": "everything"}], "malformed"),
    (ONE | {"verdict": "good"}, [{"segmentation": [BOX]}], "keep one of the two"),
    (ONE | {"verdict": "perhaps"}, [], "'perhaps' is no verdict"),
    (ONE | {"id": None}, [], "is no number"),
    (ONE | {"id": 2}, [], "that of another image too"),
    ({"id": 1}, [], "malformed"),
    ("an image", [], "malformed"),
    (ONE | {"file_name": 5}, [], "malformed"),
])
def test_one_bad_image_is_named_and_the_others_count(image, marks, says):
    good = [{"id": 2, "file_name": f"{POOL.ids[1]}.png"}, {"id": 3, "file_name": f"{POOL.ids[2]}.png", "verdict": "good"}]
    document = {"images": [*good, image], "annotations": [{"image_id": 2, "segmentation": [BOX]}, {"image_id": 3, "segmentation": None}][:1] + [m | {"image_id": 1} for m in marks]}
    received = read_coco(document, POOL.ids, sizes(POOL))
    if says != "that of another image too": assert set(received.labels.ids) == {POOL.ids[1], POOL.ids[2]}
    assert POOL.ids[2] in received.labels.ids and len(received.rejected) >= 1 and says in received.rejected.reason.iloc[-1]


def test_annotations_without_an_image_and_words_as_categories():
    document = {"images": [ONE], "categories": [{"id": 4, "name": "Good"}, {"id": 5, "name": "scratch"}, "x"],
                "annotations": [{"id": 8, "image_id": 9, "category_id": 5, "segmentation": [BOX]}, {"image_id": 1, "category_id": 4}, "x", {"id": 9, "image_id": [1]}]}
    received = read_coco(document, POOL.ids, sizes(POOL))
    assert received.labels.table.defective.tolist() == [False] and len(received.rejected) == 3 and "does not list" in received.rejected.reason[0]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"null", b'{"images": {}}', b'{"images": [], "annotations": NaN}', b"\xff\xfe{}", b"[" * 100_000, b'{"images": 1, "annotations": []}'])
def test_files_that_are_no_coco(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_coco(path, POOL.ids, sizes(POOL))


def test_names():
    find = finder(["part7", "lot1/part8", "lot2/part8", "a.png", "a.jpg", "v1.2/x"])
    assert [find(n) for n in ("part7", "part7.png", "./part7.bmp", "/x/y/part7.tif", "C:\\x\\part7.png", "a.png", "z/a.jpg", "v1.2/x", "v1.2/x.png", "x.png", "lot1/part8.png")] == ["part7"] * 5 + ["a.png", "a.jpg"] + ["v1.2/x"] * 3 + ["lot1/part8"]
    for name in ("part8.png", "lot3/part8.png", "a.bmp", "a", "", ".", "..", "/", "part77.png", "../..", "art7"):
        with pytest.raises(ValueError):
            find(name)
    assert finder(["x/part7", "part7"])("y/x/part7.png") == "x/part7"


def test_a_bare_or_foreign_name_is_not_the_part_at_the_root():
    ids = ["x", "a/x", "b/x", "y"]
    for names in (["x.png"], ["x.png", "y.png"], ["c/x.png"], ["c/x.png", "c/y.png"], ["a/x.png", "c/x.png"], ["y.png", "c/x.png"]):
        with pytest.raises(ValueError, match="could be|is none of"):
            finder(ids, names)(names[0] if names[0].endswith("x.png") and names[0][0] != "a" else names[-1])
    with pytest.raises(ValueError, match="could be"):
        finder(ids)("x.png")
    for front in ("", "in/", "/srv/data/", "C:\\data\\", "a/"):
        names = [f"{front}{i}.png" for i in ids]
        assert [finder(ids, names)(name) for name in names] == ids
    find = finder(ids, ["c/y.png"])
    assert find("c/y.png") == "y"
    with pytest.raises(ValueError, match="is none of"):
        find("d/y.png")


def test_an_id_of_our_own_is_taken_as_it_stands():
    images = {i: POOL.images[POOL.ids[0]] for i in ("x", "a/x")}
    pool = Pool(pd.DataFrame(index=list(images)), images)
    document = to_coco(pool, ["x"], labels=Labels.of({"x": False}))
    assert read_coco(document, pool.ids, sizes(pool)).labels.ids.tolist() == ["x"]
    document["images"][0].pop("sample")
    assert "could be" in read_coco(document, pool.ids, sizes(pool)).rejected.reason[0]


def test_accents_capitals_and_quoted_signs():
    assert finder(["u\u0308ml"])("\u00fcml.png") == "u\u0308ml" and finder(["\u00fcml"])("lot/u\u0308ml.png") == "\u00fcml"
    assert finder(["Part7", "a b"])("IN/PART7.PNG") == "Part7" and finder(["Part7", "a b"])("a%20b.png") == "a b"
    assert [finder(["Part7", "part7"])(name) for name in ("Part7.png", "part7.png")] == ["Part7", "part7"]
    with pytest.raises(ValueError, match="could be 'Part7' or 'part7'"):
        finder(["Part7", "part7"])("PART7.png")


THIN, OUTSIDE, EMPTY = [[10.1, 1.0, 10.2, 1.0, 10.2, 60.0]], [[70, 70, 80, 70, 80, 80]], {"size": [64, 64], "counts": [4096]}


@pytest.mark.parametrize("shape", [THIN, OUTSIDE, EMPTY])
def test_a_defect_without_pixels_is_never_good(shape):
    document = {"images": [ONE], "annotations": [{"image_id": 1, "segmentation": shape}]}
    for complete in (False, True):
        received = read_coco(document, POOL.ids, sizes(POOL), complete=complete)
        assert not len(received.labels) and "a mark covers no pixel; draw it wider, or say no-mask" in received.rejected.reason[0]
    assert not read_coco(document | {"images": [ONE | {"verdict": "no-mask"}]}, POOL.ids, sizes(POOL)).labels.table.maskable[POOL.ids[0]]


def test_numbers_are_compared_as_text_and_lost_marks_forbid_complete():
    document = {"images": [ONE], "annotations": [{"image_id": "1", "segmentation": [BOX]}]}
    for number in ("1", 1, 1.0):
        document["annotations"][0]["image_id"] = number
        assert read_coco(document, POOL.ids, sizes(POOL), complete=True).labels.table.defective.tolist() == [True]
    for lost in ({"segmentation": [BOX]}, {"image_id": 7, "segmentation": [BOX]}, {"image_id": None}, {"image_id": True}):
        document["annotations"] = [lost]
        for complete in (True, [POOL.ids[0]]):
            with pytest.raises(ValueError, match="1 annotations belong to no image"):
                read_coco(document, POOL.ids, sizes(POOL), complete=complete)
        assert not len(read_coco(document, POOL.ids, sizes(POOL)).labels) and not len(read_coco(document, POOL.ids, sizes(POOL), complete=[]).labels)


def test_silence_counts_where_it_is_allowed_to():
    document = {"images": [{"id": k, "file_name": f"{i}.png"} for k, i in enumerate(POOL.ids)], "annotations": []}
    for complete, counted in ((False, []), (True, list(POOL.ids)), ([], []), ({POOL.ids[3], "nobody"}, [POOL.ids[3]])):
        received = read_coco(document, POOL.ids, sizes(POOL), complete=complete)
        assert received.labels.ids.tolist() == counted and list(received.silent) == [i for i in POOL.ids if i not in counted] and not len(received.rejected)


@pytest.mark.parametrize("order", [1, -1])
def test_a_blank_image_never_beats_a_marked_one(order):
    document = {"images": [ONE, ONE | {"id": 2}][::order], "annotations": [{"image_id": 1, "segmentation": [BOX]}]}
    received = read_coco(document, POOL.ids, sizes(POOL), complete=True)
    assert received.labels.table.defective.tolist() == [True] and len(received.rejected) == 1


def test_a_mark_of_another_category_is_no_defect():
    names = lambda *names: [{"id": k, "name": name} for k, name in enumerate(names)]
    said = lambda categories, k=0: read_coco({"images": [ONE], "categories": categories, "annotations": [{"image_id": 1, "category_id": k, "segmentation": [BOX]}]}, POOL.ids, sizes(POOL), complete=True)
    for categories in (names("background", "defect"), names("ignore", "scratch")):
        assert not len(said(categories).labels) and "which is neither 'defect' nor the only name" in said(categories).rejected.reason[0]
    for categories, k in ((names("scratch"), 0), (names("Scratch", "good", "skip"), 0), (names("background", " Defect"), 1), (names("x", "defective"), 1), (None, 0)):
        assert said(categories, k).labels.table.defective.tolist() == [True], categories
    assert "keep one of the two" in said(names("good")).rejected.reason[0]
    two = {"images": [ONE, ONE | {"id": 2, "file_name": f"{POOL.ids[1]}.png"}], "categories": names("pit", "scratch"), "annotations": [{"image_id": k, "category_id": k - 1, "segmentation": [BOX]} for k in (1, 2)]}
    for category, count, says in (("defect", 0, "say which names are defects"), (("pit", " Scratch"), 2, ""), (["scratch"], 1, "none of scratch; name it too"), (None, 2, ""), ([], 0, "none of")):
        received = read_coco(two, POOL.ids, sizes(POOL), category=category)
        assert len(received.labels) == count and (not says or says in received.rejected.reason[0]), category


@pytest.mark.parametrize("note", range(1, 9))
def test_a_picture_that_its_camera_turned_is_named(tmp_path, caplog, note):
    (exif := Image.Exif())[274] = note
    for name, more in (("a", dict(exif=exif)), ("b", {})): Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(tmp_path / f"{name}.png", **more)
    pool, _ = read_folder(tmp_path, progress=False)
    scores = pd.Series(1.0, pool.ids)
    for send in (lambda: to_coco(pool, pool.ids), lambda: to_cvat(pool, pool.ids), lambda: to_label_studio(pool, iter(pool.ids)), lambda: to_lightly(pool, scores)):
        caplog.clear()
        assert len(send()) >= 2
        assert [record.getMessage()[:7] for record in caplog.records] == (["1 of 2 "] if note > 1 else []), "once for all pictures"
    caplog.clear()
    to_label_studio(pool, pool.ids, prefix=None)
    assert turned_ids(Pool(pool.table, dict(pool.images)), pool.ids) == [] and not caplog.records, "where the picture itself goes, it goes upright"


@pytest.mark.parametrize("categories", [5, "x", {"id": 1}, True])
def test_categories_that_are_no_list(categories):
    with pytest.raises(ValueError, match="the categories of the document must be a list"):
        read_coco({"images": [], "annotations": [], "categories": categories}, POOL.ids, sizes(POOL))


def test_what_a_mac_puts_into_archives_is_passed_over(tmp_path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("export/a.json", json.dumps(to_coco(POOL, POOL.ids, labels=TRUTH)))
        for name in ("__MACOSX/export/._a.json", "export/._a.json", "__MACOSX/b.json"): archive.writestr(name, b"\0\5")
    assert len(read_coco(path, POOL.ids, sizes(POOL)).labels) == 12


def test_names_go_out_with_the_suffix_of_their_file(tmp_path):
    images = type("Pictures", (dict,), {"paths": {"a": tmp_path / "a.jpeg", "b.png": tmp_path / "b.png", "lot/c": tmp_path / "lot" / "c.TIF"}})()
    pool = Pool(pd.DataFrame(index=["a", "b.png", "lot/c"]), images)
    assert [file_name(pool, i) for i in pool.ids] == ["a.jpeg", "b.png", "lot/c.TIF"]
    assert [finder(pool.ids)(file_name(pool, i)) for i in pool.ids] == pool.ids.tolist()


def test_archives_are_looked_into_and_never_unpacked(tmp_path):
    path = tmp_path / "in" / "export.zip"
    path.parent.mkdir()
    document = json.dumps(to_coco(POOL, POOL.ids, labels=TRUTH))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations/instances_default.json", document)
        archive.writestr("images/a.png", b"")
    assert len(read_coco(path, POOL.ids, sizes(POOL)).labels) == 12
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        content_of(path, ".json", limit_bytes=1000)
    for name in ("../evil.json", "/evil.json", "C:\\evil.json"):
        with zipfile.ZipFile(path, "w") as archive: archive.writestr(name, document)
        with pytest.raises(ValueError, match="points outside"):
            read_coco(path, POOL.ids, sizes(POOL))
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.json", "b.json"): archive.writestr(name, document)
    with pytest.raises(ValueError, match="holds 2 .json files"):
        read_coco(path, POOL.ids, sizes(POOL))
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(ValueError):
        read_coco(path, POOL.ids, sizes(POOL))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["export.zip"]


def test_a_large_file_is_refused_by_a_limit_that_can_be_raised(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"[" + b" " * 5000 + b"]")
    with pytest.raises(ValueError, match="raise `limit_bytes`"):
        content_of(path, ".json", limit_bytes=5000)
    assert json_of(content_of(path, ".json", limit_bytes=5002), path) == []


def test_huge_masks_are_refused_by_a_limit_that_can_be_raised():
    document = {"images": [ONE], "annotations": [{"image_id": 1, "segmentation": coco_rle(TRUTH.masks[next(iter(TRUTH.masks))])}]}
    small = read_coco(document, POOL.ids, sizes(POOL), limit_pixels=4095)
    assert not len(small.labels) and "raise `limit_pixels`" in small.rejected.reason[0]
    assert len(read_coco(document, POOL.ids, sizes(POOL), limit_pixels=4096).labels) == 1
