"""CVAT's XML 1.1: out and in, names as text, no entities, bad shapes named."""
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from test_coco import ODD, POOL, TRUTH, renamed, sizes

from active_defects.data.pool import Pool
from active_defects.studio.cvat import cvat_labels, read_cvat, to_cvat, write_cvat, xml_of


def test_there_and_back_with_odd_names_and_sizes(tmp_path):
    pool, truth = renamed()
    words = {i: word for i, word in zip([i for i in pool.ids if i not in truth.masks], ["good", "skip", "no-mask"])}
    path = write_cvat(to_cvat(pool, pool.ids, truth.masks, words), tmp_path / "annotations.xml")
    received = read_cvat(path, pool.ids, sizes(pool), annotator="ann", seconds=4)
    assert not len(received.rejected) and set(received.labels.ids) == set(truth.masks) | set(words)
    assert all(np.array_equal(received.labels.masks[i], truth.masks[i]) for i in truth.masks)
    table = received.labels.table
    assert [table.defective.isna()[i] or bool(table.defective[i]) for i in words] == [False, True, True] and [bool(table.maskable[i]) for i in words] == [True, True, False]
    assert set(read_cvat(path, pool.ids, sizes(pool), complete=True).labels.ids) == set(pool.ids)


def test_the_file_is_as_the_manual_says():
    root = ElementTree.fromstring(to_cvat(POOL, POOL.ids, TRUTH.masks))
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert [label.findtext("name") for label in root.iter("label")] == [label["name"] for label in cvat_labels()] == ["defect", "good", "skip", "no-mask"]
    for number, image in enumerate(root.iter("image")):
        assert image.attrib == {"id": str(number), "name": f"{POOL.ids[number]}.png", "width": "64", "height": "64"}
    for mask in root.iter("mask"):
        assert set(mask.attrib) == {"label", "source", "occluded", "rle", "left", "top", "width", "height", "z_order"}
        assert sum(map(int, mask.get("rle").split(", "))) == int(mask.get("width")) * int(mask.get("height"))


def test_polygons_are_filled_as_pycocotools_does():
    oracle = pytest.importorskip("pycocotools.mask", reason="no oracle for polygons: pip install pycocotools")
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = (rng.random((6, 2)) * 64).round(2)
        xml = f'<annotations><image name="{POOL.ids[0]}" width="64" height="64"><polygon points="{";".join(f"{x},{y}" for x, y in points)}"/></image></annotations>'
        theirs = oracle.decode(oracle.frPyObjects([points.ravel().tolist()], 64, 64))[..., 0].astype(bool)
        assert np.array_equal(read_cvat(xml.encode(), POOL.ids, sizes(POOL)).labels.masks[POOL.ids[0]], theirs)


def image(inside, name=POOL.ids[0], width="64", height="64"):
    return f'<image id="0" name="{name}" width="{width}" height="{height}">{inside}</image>'


MASK = '<mask rle="{}" left="{}" top="{}" width="{}" height="{}"/>'


@pytest.mark.parametrize("bad, says", [
    (image("", name="nobody.png"), "is none of the 12 parts"),
    (image("", name="../../etc/passwd"), "is none of the 12 parts"),
    (image(MASK.format("0, 4", 0, 0, 2, 2), width="32"), "picture of 32 x 64"),
    (image(MASK.format("0, 4", 0, 0, 2, 2), width="6e1"), "must be a whole number"),
    (image(MASK.format("0, 5", 0, 0, 2, 2)), "between 0 and 4 pixels"),
    (image(MASK.format("0, 3", 0, 0, 2, 2)), "cover 3 pixels"),
    (image(MASK.format("0; 4", 0, 0, 2, 2)), "commas between them"),
    (image(MASK.format("9" * 30, 0, 0, 2, 2)), "commas between them"),
    (image(MASK.format("0, 4", -1, 0, 2, 2)), "reaches out of its picture"),
    (image(MASK.format("0, 4", 63, 0, 2, 2)), "reaches out of its picture"),
    (image(MASK.format("0, 4", 0, 0, 0, 2)), "above 0"),
    (image(MASK.format("0, 4", 0, 0, 999999999, 999999999)), "reaches out of its picture"),
    (image('<mask left="0" top="0" width="2" height="2"/>'), "malformed"),
    (image('<box xtl="0" ytl="0" xbr="5" ybr="5"/>'), "a box does not say which pixels"),
    (image('<ellipse cx="5" cy="5" rx="2" ry="2"/>'), "ellipse does not say which pixels"),
    (image('<polygon points="1,1;2,2"/>'), "three corners"),
    (image('<polygon points="1,1;2,2;x,y"/>'), "x"),
    (image('<polygon points="1,1;2,2;nan,3"/>'), "far outside"),
    (image('<polygon/>'), "malformed"),
    (image(MASK.format("0, 4", 0, 0, 2, 2) + '<tag label="good"/>'), "keep one of the two"),
    (image('<tag label="good"/><tag label="skip"/>'), "two verdicts"),
    ('<image id="0"/>', "malformed"),
])
def test_one_bad_image_is_named_and_the_others_count(bad, says):
    xml = f"<annotations>{image('<tag label=%sGood%s/>' % (chr(34), chr(34)), POOL.ids[1])}{bad}{image('', POOL.ids[2])}</annotations>"
    received = read_cvat(xml.encode(), POOL.ids, sizes(POOL))
    assert received.labels.ids.tolist() == [POOL.ids[1]] and len(received.rejected) == 1 and says in received.rejected.reason[0]


DRAWN, POLYGON = MASK.format("0, 4", 4, 4, 2, 2).replace("<mask", '<mask label="{}"'), '<polygon label="defect" points="{}"/>'


def said(*inside, complete=True, **more):
    return read_cvat(f"<annotations>{''.join(inside)}</annotations>".encode(), POOL.ids, sizes(POOL), complete=complete, **more)


@pytest.mark.parametrize("mark", [MASK.format("4", 4, 4, 2, 2), POLYGON.format("10.1,1;10.2,1;10.2,60"), POLYGON.format("70,70;80,70;80,80")])
def test_a_defect_without_pixels_is_never_good(mark):
    for complete in (False, True):
        received = said(image(mark), complete=complete)
        assert not len(received.labels) and "a mark covers no pixel; draw it wider, or say no-mask" in received.rejected.reason[0]
    assert not said(image(mark + '<tag label="no-mask"/>')).labels.table.maskable[POOL.ids[0]]


def test_tags_are_understood_or_refused():
    table = said(image('<tag label="Defect"/>'), image('<tag label="defective"/>', POOL.ids[1]), image('<tag label="defect"/>' + DRAWN.format("defect"), POOL.ids[2])).labels.table
    assert table.defective.tolist() == [True] * 3 and table.maskable.all()
    for inside in ('<tag label="shiny"/>', '<tag label="scratch"/>', "<tag/>", '<tag label="shiny"/><tag label="good"/>'):
        received = said(image(inside))
        assert not len(received.labels) and "is no verdict" in received.rejected.reason[0]
    assert "two verdicts, defective and good" in said(image('<tag label="good"/><tag label="defect"/>')).rejected.reason[0]
    assert said(image('<tag label="pit"/>'), category="Pit").labels.table.defective.tolist() == [True]
    for category, count in ((["scratch", "Pit"], 3), (["pit"], 1), (None, 2)):
        received = said(image('<tag label="pit"/>'), image(DRAWN.format("pit") + DRAWN.format("scratch"), POOL.ids[1]), image(DRAWN.format("scratch"), POOL.ids[2]), category=category)
        assert len(received.labels) == count, received.rejected


def test_a_mark_of_another_label_is_no_defect():
    meta = "<meta><task><labels><label><name>defect</name></label><label><name>ignore</name></label><label><name>good</name></label></labels></task></meta>"
    assert "which is neither 'defect' nor the only name" in said(meta, image(DRAWN.format("ignore"))).rejected.reason[0]
    assert "which is neither 'defect' nor the only name" in said(image(DRAWN.format("ignore")), image(DRAWN.format("defect"), POOL.ids[1])).rejected.reason[0]
    assert "keep one of the two" in said(meta, image(DRAWN.format("good"))).rejected.reason[0]
    assert said(image(DRAWN.format("scratch"))).labels.table.defective.tolist() == [True] == said(meta, image(DRAWN.format("defect"))).labels.table.defective.tolist()


def test_silence_counts_where_it_is_allowed_to_and_never_beats_a_mark():
    images = [image("", i) for i in POOL.ids]
    for complete, counted in ((False, []), (True, list(POOL.ids)), ([], []), ({POOL.ids[3]}, [POOL.ids[3]])):
        received = said(*images, complete=complete)
        assert received.labels.ids.tolist() == counted and list(received.silent) == [i for i in POOL.ids if i not in counted]
    for pair in ([image(""), image(DRAWN.format("defect"))], [image(DRAWN.format("defect")), image("")]):
        received = said(*pair)
        assert received.labels.table.defective.tolist() == [True] and len(received.rejected) == 1


def test_the_labels_of_a_task_draw_masks():
    assert [label["type"] for label in cvat_labels()] == ["mask", "tag", "tag", "tag"]


EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotations><image name="&x;"/></annotations>'
LAUGHS = '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "' + "&b;" * 50 + '">]><annotations><image name="&c;"/></annotations>'


@pytest.mark.parametrize("content", [
    EXTERNAL.encode(), LAUGHS.encode(), LAUGHS.encode("utf-16"), '<?xml version="1.0" encoding="utf-16"?>'.encode("utf-16") + LAUGHS.encode("utf-16-le"), b'<!DOCTYPE annotations SYSTEM "http://example.org/a.dtd"><annotations/>',
    b"<!DOCTYPE annotations><annotations/>", b'<!DOCTYPE a [<!ENTITY % p "x"> %p;]><annotations/>'])
def test_definitions_are_refused_before_they_are_read(content):
    with pytest.raises(ValueError, match="defines its own|no XML"):
        xml_of(content, "a.xml")


@pytest.mark.parametrize("content", [b"", b"<", b"<annotations>", b"{}", b"<a/><b/>", b"<svg/>", b"<annotations>&unknown;</annotations>", b'<?xml version="1.0" encoding="klingon"?><annotations/>', b"\xff\xff", b"<annotations><track/></annotations>", b"<annotations>\x00</annotations>"])
def test_files_that_are_no_answers(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.xml"):
        read_cvat(path, POOL.ids, sizes(POOL))


@pytest.mark.parametrize("i", ["a\x00b", "a\nb", "a\x1fb", "a\ud800b", "a\uffffb"])
def test_ids_that_xml_cannot_hold(i):
    pool = Pool(POOL.table.iloc[:1].set_axis([i]), {i: POOL.images[POOL.ids[0]]})
    with pytest.raises(ValueError, match="rename the file"):
        to_cvat(pool, pool.ids)


def test_names_are_text():
    pool, _ = renamed()
    text = to_cvat(pool, pool.ids).decode()
    assert "<script" not in text and "&lt;script&gt;" in text and [image.get("name") for image in ElementTree.fromstring(text.encode()).iter("image")] == [f"{i}.png" for i in ODD]


def test_archives(tmp_path):
    path = tmp_path / "task.zip"
    with zipfile.ZipFile(path, "w") as archive: archive.writestr("annotations.xml", to_cvat(POOL, POOL.ids, TRUTH.masks))
    assert set(read_cvat(path, POOL.ids, sizes(POOL)).labels.ids) == set(TRUTH.masks)
    with zipfile.ZipFile(path, "w") as archive: archive.writestr("../annotations.xml", b"<annotations/>")
    with pytest.raises(ValueError, match="points outside"):
        read_cvat(path, POOL.ids, sizes(POOL))


def test_huge_masks_are_refused_by_a_limit_that_can_be_raised():
    content = to_cvat(POOL, POOL.ids, TRUTH.masks)
    small = read_cvat(content, POOL.ids, sizes(POOL), limit_pixels=4095)
    assert not len(small.labels) and len(small.rejected) == len(TRUTH.masks) and small.rejected.reason.str.contains("raise `limit_pixels`").all()
    assert len(read_cvat(content, POOL.ids, sizes(POOL), limit_pixels=4096).labels) == len(TRUTH.masks)
