"""LightlyStudio: scores as metadata, masks by source; checked against a stand-in with the attributes of version 1.2."""
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_coco import renamed, sizes

from active_defects.formulas.contracts import ranked
from active_defects.studio.lightly import read_lightly, send_to_lightly, to_lightly, write_lightly
from active_defects.studio.masks import lightly_runs


class Gallery(list):
    "What is used of `lightly_studio.ImageDataset`: iteration and `update_metadata([(sample_id, mapping)])`."

    def update_metadata(self, updates): self.known = updates


def gallery(pool, annotations=()):
    return Gallery(SimpleNamespace(sample_id=k, file_path_abs=f"/srv/images/{i}.png", annotations=list(dict(annotations).get(i, []))) for k, i in enumerate(reversed(pool.ids)))


def mark(source="ann", name="defect", **more):
    return SimpleNamespace(annotation_source=source, class_name=name, confidence=None, **more)


def test_scores_find_their_pictures(tmp_path):
    pool, _ = renamed()
    scores = pd.Series(np.random.default_rng(0).random(len(pool)).round(1), pool.ids)
    metadata = to_lightly(pool, scores, seed=4, strategy="MSMR", round=pd.Series(2, pool.ids))
    assert [m["sample"] for m in metadata.values()] == ranked(scores, 4).tolist() and [m["rank"] for m in metadata.values()] == list(range(1, 13))
    shown = gallery(pool)
    assert send_to_lightly(shown, metadata) == [] and len(shown.known) == 12
    assert all(m["sample"] == pool.ids[::-1][k] and m["score"] == scores[m["sample"]] and m["round"] == 2 for k, m in shown.known)
    assert {type(v) for m in metadata.values() for v in m.values()} == {str, float, int}
    assert json.loads(write_lightly(metadata, tmp_path / "metadata.json").read_text()) == metadata


def test_masks_come_back_by_source():
    pool, truth = renamed()
    marks = {i: [mark(segmentation_mask=lightly_runs(m)), mark("model", segmentation_mask=[3])] for i, m in truth.masks.items()}
    rest = [i for i in pool.ids if i not in marks]
    marks |= {rest[0]: [mark(name="good")], rest[1]: [mark(name="Skip ")], rest[2]: [mark("model", segmentation_mask=[1])]}
    received = read_lightly(gallery(pool, marks), pool.ids, sizes(pool), "ann", "ann", 4)
    assert not len(received.rejected) and set(received.labels.ids) == set(truth.masks) | set(rest[:2])
    assert all(np.array_equal(received.labels.masks[i], truth.masks[i]) for i in truth.masks)
    assert received.labels.table.defective[rest[0]] == False and pd.isna(received.labels.table.defective[rest[1]])  # noqa: E712


@pytest.mark.parametrize("marks, says", [
    ([mark(segmentation_mask=[1, 2])], "cover 3 pixels"), ([mark(segmentation_mask="runs")], "whole numbers"), ([mark(name="scratch")], "'scratch' is no verdict"),
    ([mark(name="good"), mark(segmentation_mask=[5])], "a box or a class says nothing"), ([SimpleNamespace(annotation_source="ann")], "malformed")])
def test_one_bad_picture_is_named_and_the_others_count(marks, says):
    pool, truth = renamed()
    good = next(iter(truth.masks))
    bad = next(i for i in pool.ids if i != good)
    received = read_lightly(gallery(pool, {good: [mark(segmentation_mask=lightly_runs(truth.masks[good]))], bad: marks}), pool.ids, sizes(pool), "ann")
    assert received.labels.ids.tolist() == [good] and len(received.rejected) == 1 and says in received.rejected.reason[0]


def test_a_mask_without_pixels_or_of_another_class_is_no_answer():
    pool, truth = renamed()
    defect, others = next(iter(truth.masks)), [i for i in pool.ids if i not in truth.masks]
    runs = lightly_runs(truth.masks[defect])
    blank = lambda i: lightly_runs(np.zeros(pool.images[i].shape[:2], bool))
    marks = {defect: [mark(segmentation_mask=runs)], others[0]: [mark(segmentation_mask=blank(others[0]))]}
    received = read_lightly(gallery(pool, marks), pool.ids, sizes(pool), "ann")
    assert received.labels.ids.tolist() == [defect] and "covers no pixel" in received.rejected.reason[0]
    for name, says in (("ignore", "which is neither 'defect'"), ("good", "keep one of the two")):
        received = read_lightly(gallery(pool, {defect: [mark(name=name, segmentation_mask=runs)], others[0]: [mark(segmentation_mask=blank(others[0]))]}), pool.ids, sizes(pool), "ann")
        assert not len(received.labels) and any(says in reason for reason in received.rejected.reason)
    assert read_lightly(gallery(pool, {defect: [mark(name="scratch", segmentation_mask=runs)]}), pool.ids, sizes(pool), "ann").labels.ids.tolist() == [defect]


def test_pictures_that_nobody_knows():
    pool, _ = renamed()
    strange = Gallery([SimpleNamespace(sample_id=1, file_path_abs="/x/nobody.png", annotations=[mark(name="good")])])
    received = read_lightly(strange, pool.ids, sizes(pool), "ann")
    assert not len(received.labels) and "is none of the 12 parts" in received.rejected.reason[0]
    assert len(send_to_lightly(strange, to_lightly(pool, pd.Series(1.0, pool.ids)))) == 12 and strange.known == []
