"""`ask --to` and `tell --from`: a round goes through every tool, in separate commands, and the same answers are in the store."""
import json
import os
import time
import zipfile
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.cli import TOOLS as NAMES_OF_TOOLS
from active_defects.cli import main
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.studio.label_studio import brush_result
from active_defects.studio.masks import coco_rle, cvat_runs

SMALL = ["--size", "32", "--device", "cpu", "--quiet", "--first", "baselines.median:MedianDeviation", "--batch", "6"]
WORLD, TRUTH = synth_surfaces(n=12, size=48, prevalence=0.4, seed=3)
NAMES = {i: f"lot{k % 2}/{i} <b>&" if k == 3 else f"lot{k % 2}/{i}" for k, i in enumerate(WORLD.ids)}


@pytest.fixture
def images(tmp_path):
    for old, i in NAMES.items():
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(WORLD.images[old] * 255)).save(path)
    return tmp_path / "images"


def truth_of(i):
    old = next(old for old, name in NAMES.items() if name == i)
    return TRUTH.masks.get(old)


def ask(images, project, *words):
    assert main(["ask", str(images), "--project", str(project), *SMALL, *words]) == 0
    return pd.read_csv(project / "queue-001.csv").id.tolist()


def tell(project, *words):
    return main(["tell", "--project", str(project), "--annotator", "ann", *words])


# What a person does in each tool, to a file that the tool exports

def in_coco(project, out):
    task = json.loads((project / "queue-001.coco.json").read_text(encoding="utf-8"))
    export = {"images": [{k: image[k] for k in ("id", "file_name", "width", "height")} for image in task["images"]], "categories": task["categories"], "annotations": []}
    for image in task["images"]:
        if (mask := truth_of(image["sample"])) is not None: export["annotations"].append({"id": image["id"], "image_id": image["id"], "category_id": 1, "segmentation": coco_rle(mask)})
    out.write_text(json.dumps(export), encoding="utf-8")


def in_cvat(project, out):
    root = ElementTree.fromstring((project / "queue-001.cvat.xml").read_bytes())
    for image in root.iter("image"):
        mask = truth_of(image.get("name").removesuffix(".png"))
        if mask is None: ElementTree.SubElement(image, "tag", label="good")
        else:
            runs, (left, top, width, height) = cvat_runs(mask)
            ElementTree.SubElement(image, "mask", label="defect", rle=", ".join(map(str, runs)), left=str(left), top=str(top), width=str(width), height=str(height))
    with zipfile.ZipFile(out, "w") as archive: archive.writestr("annotations.xml", ElementTree.tostring(root))


def in_label_studio(project, out):
    tasks = json.loads((project / "queue-001.label-studio.json").read_text(encoding="utf-8"))
    for number, task in enumerate(tasks, start=1):
        mask = truth_of(task["data"]["id"])
        task |= {"id": number, "annotations": [{"id": number, "completed_by": {"email": "bea@x.org"}, "lead_time": 7.0, "updated_at": "2026-03-02T09:00:00Z", "result": [] if mask is None else [brush_result(mask)]}]}
    out.write_text(json.dumps(tasks), encoding="utf-8")


TOOLS = {"coco": (in_coco, ["--complete"]), "cvat": (in_cvat, []), "label-studio": (in_label_studio, [])}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_round_through_a_tool(images, tmp_path, capsys, tool):
    project, export, (person, words) = tmp_path / "plates", tmp_path / "export.file", TOOLS[tool]
    ids = ask(images, project, "--to", tool)
    assert len(ids) == 6 and any(truth_of(i) is not None for i in ids) and any(truth_of(i) is None for i in ids)
    person(project, export)
    assert tell(project, "--from", tool, "--answers", str(export), *words) == 0
    out, wrong = capsys.readouterr()
    assert "6 answers taken" in out and "0 open" in out and not wrong
    latest = LabelStore(project / "labels.db").latest()
    assert set(latest.ids) == set(ids)
    for i in ids:
        assert bool(latest.table.defective[i]) == (truth_of(i) is not None)
        if truth_of(i) is not None: assert np.array_equal(latest.masks[i], truth_of(i))
    assert set(latest.table.annotator) == {"bea@x.org" if tool == "label-studio" else "ann"}
    assert tell(project, "--from", tool, "--answers", str(export), *words) == 0
    assert "0 answers taken" in (said := capsys.readouterr().out) and "6 known already" in said


def test_asking_again_for_a_tool_writes_the_same_files(images, tmp_path, capsys):
    project = tmp_path / "plates"
    ask(images, project)
    assert sorted(f.name for f in project.glob("queue-*")) == ["queue-001.csv"]
    before = (project / "queue-001.csv").read_bytes()
    for tool in NAMES_OF_TOOLS:
        assert main(["ask", "--project", str(project), "--device", "cpu", "--to", tool]) == 0
        said = capsys.readouterr().out
        assert f"tell --project {project} --from {tool} --answers EXPORT" in said and "queue-001" in said
        first = {f.name: f.read_bytes() for f in project.glob("queue-*")}
        assert main(["ask", "--project", str(project), "--device", "cpu", "--quiet", "--to", tool]) == 0
        assert first == {f.name: f.read_bytes() for f in project.glob("queue-*")} and first["queue-001.csv"] == before
    assert {f.name for f in project.iterdir()} >= {"queue-001.coco.json", "queue-001.cvat.xml", "queue-001.label-studio.json", "cvat-labels.json", "label-studio.xml"}
    assert "to" not in json.loads((project / "project.json").read_text())


def test_the_prefix_of_addresses(images, tmp_path):
    ask(images, tmp_path / "plates", "--to", "label-studio", "--prefix", "http://images/")
    tasks = json.loads((tmp_path / "plates" / "queue-001.label-studio.json").read_text())
    assert all(task["data"]["image"].startswith("http://images/lot") and task["data"]["image"].endswith(".png") and "<" not in task["data"]["image"] for task in tasks)


def test_a_half_finished_export_says_nothing_about_the_rest(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ids = ask(images, project, "--to", "coco")
    in_coco(project, export)
    drawn = [i for i in ids if truth_of(i) is not None]
    assert tell(project, "--from", "coco", "--answers", str(export)) == 0
    assert set(LabelStore(project / "labels.db").latest().ids) == set(drawn) and f"{6 - len(drawn)} open" in capsys.readouterr().out


def test_bad_answers_are_listed_and_the_others_count(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ask(images, project, "--to", "coco")
    in_coco(project, export)
    document = json.loads(export.read_text())
    document["annotations"][0]["segmentation"]["counts"] = "###"
    document["images"] += [{"id": 98, "file_name": "../../nobody.png"}, {"id": 99, "file_name": "lot7/part001.png", "width": 5, "height": 5}]
    export.write_text(json.dumps(document))
    assert tell(project, "--from", "coco", "--answers", str(export), "--complete") == 0
    out, wrong = capsys.readouterr()
    rejected = pd.read_csv(project / "rejected.csv")
    assert "5 answers taken" in out and list(rejected) == ["answer", "reason"] and len(rejected) == 3 and wrong.count("not taken:") == 3
    assert rejected.reason.str.contains("no compressed COCO mask").sum() == 1 and rejected.reason.str.contains("is none of the 12 parts").sum() == 2


def test_an_old_answer_in_a_new_export_stays_old(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ids = ask(images, project, "--to", "label-studio")
    in_label_studio(project, export)
    assert tell(project, "--from", "label-studio", "--answers", str(export)) == 0
    good = next(i for i in ids if truth_of(i) is None)
    (tmp_path / "later.csv").write_text(f'id,verdict\n"{good}",no-mask\n')
    assert tell(project, "--answers", str(tmp_path / "later.csv")) == 0
    os.utime(export, (time.time() + 60, time.time() + 60))
    capsys.readouterr()
    assert tell(project, "--from", "label-studio", "--answers", str(export)) == 0
    assert "0 answers taken" in capsys.readouterr().out and bool(LabelStore(project / "labels.db").latest().table.defective[good])


def test_one_person_of_several(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ask(images, project, "--to", "label-studio")
    in_label_studio(project, export)
    assert tell(project, "--from", "label-studio", "--answers", str(export), "--by", "nobody@x.org") == 0
    assert "0 answers taken" in capsys.readouterr().out
    assert tell(project, "--from", "label-studio", "--answers", str(export), "--by", "bea@x.org") == 0
    assert "6 answers taken" in capsys.readouterr().out


@pytest.mark.parametrize("words, says", [
    (["--from", "coco"], "is not the file that coco exports; give it with --answers"),
    (["--from", "cvat", "--answers", "nowhere.xml"], "nowhere.xml is not there; give the file that cvat exports"),
    (["--complete"], "leave 'complete' out"), (["--by", "ann"], "leave 'by' out"), (["--from", "label-studio", "--answers", "BAD", "--complete"], "leave 'complete' out"),
    (["--from", "coco", "--answers", "BAD"], "no COCO file"), (["--from", "label-studio", "--answers", "BAD"], "not JSON-MIN"), (["--from", "cvat", "--answers", "BAD"], "no XML"),
    (["--from", "cvat", "--answers", "BOMB"], "defines its own document type")])
def test_what_cannot_be_told_is_said_in_one_sentence(images, tmp_path, capsys, words, says):
    project = tmp_path / "plates"
    ask(images, project)
    (tmp_path / "BAD").write_text('{"a": [1]}')
    (tmp_path / "BOMB").write_text('<!DOCTYPE a [<!ENTITY b "b">]><annotations><image name="&b;"/></annotations>')
    capsys.readouterr()
    assert tell(project, *[str(tmp_path / w) if w in ("BAD", "BOMB") else w for w in words]) == 2
    wrong = capsys.readouterr().err
    assert says in wrong and wrong.count("\n") == 1 and "Traceback" not in wrong
    assert not len(LabelStore(project / "labels.db").log())


def everything(out, tool):
    "The whole data set as a tool exports it, without a mark."
    if tool == "coco": return out.write_text(json.dumps({"images": [{"id": k, "file_name": f"{i}.png"} for k, i in enumerate(NAMES.values())], "annotations": []}))
    root = ElementTree.Element("annotations")
    for i in NAMES.values(): ElementTree.SubElement(root, "image", name=f"{i}.png", width="48", height="48")
    out.write_bytes(ElementTree.tostring(root))


@pytest.mark.parametrize("tool", ["coco", "cvat"])
def test_silence_says_nothing_about_parts_that_were_not_asked_or_are_known(images, tmp_path, capsys, tool):
    project, export, table = tmp_path / "plates", tmp_path / "export.file", tmp_path / "known.csv"
    ids = ask(images, project)
    other = next(i for i in NAMES.values() if i not in ids)
    table.write_text("id,verdict\n" + "".join(f'"{i}",no-mask\n' for i in (ids[0], other)))
    assert tell(project, "--answers", str(table)) == 0
    everything(export, tool)
    words = "--from", tool, "--answers", str(export)
    capsys.readouterr()
    assert tell(project, *words) == 0
    assert "0 answers taken" in (said := capsys.readouterr().out) and "12 pictures without marks, which say nothing; if all of them were looked at, add --complete" in said
    assert tell(project, *words, "--complete") == 0
    assert "5 answers taken from ann" in (said := capsys.readouterr().out) and "7 pictures without marks not counted" in said and "0 open" in said
    latest = LabelStore(project / "labels.db").latest().table.defective
    assert latest[[ids[0], other]].all() and not latest[ids[1:]].any() and len(latest) == 7
    assert tell(project, *words, "--complete") == 0
    assert "0 answers taken" in (said := capsys.readouterr().out) and "5 known already" in said and "7 pictures" in said


def test_a_cumulative_export_does_not_overrule_a_colleague(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ids = ask(images, project, "--to", "coco")
    in_coco(project, export)
    assert tell(project, "--from", "coco", "--answers", str(export), "--complete") == 0
    drawn = next(i for i in ids if truth_of(i) is not None)
    (tmp_path / "bea.csv").write_text(f'id,verdict\n"{drawn}",good\n')
    assert main(["tell", "--project", str(project), "--answers", str(tmp_path / "bea.csv"), "--annotator", "bea"]) == 0
    os.utime(export, (time.time() + 60, time.time() + 60))
    capsys.readouterr()
    assert tell(project, "--from", "coco", "--answers", str(export), "--complete") == 0
    assert "0 answers taken" in (said := capsys.readouterr().out) and "→" not in said
    assert LabelStore(project / "labels.db").latest().table.defective[drawn] == False  # noqa: E712


def test_a_later_look_with_a_time_of_its_own_counts(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ids = ask(images, project, "--to", "label-studio")
    in_label_studio(project, export)
    assert tell(project, "--from", "label-studio", "--answers", str(export)) == 0
    drawn = next(i for i in ids if truth_of(i) is not None)
    (tmp_path / "ann.csv").write_text(f'id,verdict\n"{drawn}",good\n')
    assert tell(project, "--answers", str(tmp_path / "ann.csv")) == 0
    export.write_text(export.read_text().replace("2026-03-02", "2099-03-02"))
    assert tell(project, "--from", "label-studio", "--answers", str(export)) == 0
    assert "1 answer taken from bea@x.org" in capsys.readouterr().out and LabelStore(project / "labels.db").latest().table.defective[drawn]


def test_our_own_question_is_no_answer(images, tmp_path, capsys):
    project = tmp_path / "plates"
    for tool, name in (("coco", "queue-001.coco.json"), ("cvat", "queue-001.cvat.xml"), ("label-studio", "queue-001.label-studio.json")):
        ask(images, project, "--to", tool)
        copy = tmp_path / "copy.file"
        copy.write_bytes((project / name).read_bytes())
        capsys.readouterr()
        for source in (project / name, copy):
            assert tell(project, "--from", tool, "--answers", str(source), *(["--complete"] if tool != "label-studio" else [])) == 2
            assert "is the question that `ask` wrote, and holds no answers" in capsys.readouterr().err
    assert not len(LabelStore(project / "labels.db").log())


def test_two_people_in_one_file(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ids = ask(images, project, "--to", "label-studio")
    in_label_studio(project, export)
    tasks = json.loads(export.read_text())
    tasks[0]["annotations"].append({"id": 99, "completed_by": {"email": "cem@x.org"}, "updated_at": "2026-03-01T09:00:00Z", "result": [{"type": "choices", "from_name": "verdict", "to_name": "image", "value": {"choices": ["no-mask"]}}]})
    export.write_text(json.dumps(tasks))
    for taken in ("6 answers taken from bea@x.org", "0 answers taken"):
        assert tell(project, "--from", "label-studio", "--answers", str(export)) == 0
        assert taken in (said := capsys.readouterr().out) and ("1 answer given before another person's" in said) == (taken[0] == "6")
    store = LabelStore(project / "labels.db")
    assert store.log().annotator.value_counts().to_dict() == {"bea@x.org": 6, "cem@x.org": 1}
    assert store.latest().table.annotator[ids[0]] == "bea@x.org"


def test_nobody_of_that_name(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ask(images, project, "--to", "label-studio")
    in_label_studio(project, export)
    assert tell(project, "--from", "label-studio", "--answers", str(export), "--by", "bea") == 0
    assert "nobody called 'bea' has answered; the file has answers from bea@x.org" in capsys.readouterr().out
    export.write_text("[]")
    assert tell(project, "--from", "label-studio", "--answers", str(export)) == 0
    assert "there is no answer in it" in capsys.readouterr().out


def test_an_older_answer_that_is_told_later_is_not_the_last_word(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ids = ask(images, project, "--to", "label-studio")
    drawn = next(i for i in ids if truth_of(i) is not None)
    (tmp_path / "ann.csv").write_text(f'id,verdict\n"{drawn}",good\n')
    assert tell(project, "--answers", str(tmp_path / "ann.csv")) == 0
    in_label_studio(project, export)
    for taken, known in ((6, 0), (0, 6)):
        assert tell(project, "--from", "label-studio", "--answers", str(export)) == 0
        said = capsys.readouterr().out
        assert f"{taken} answers taken" in said and f"{known} known" in said and "→" not in said and ("1 answer given before another person's" in said) == (known == 0)
    store = LabelStore(project / "labels.db")
    assert store.latest().table.annotator[drawn] == "ann" and store.log()["time"].str[:10].min() == "2026-03-02"


# What the model would draw

SEES = ["--size", "48", "--device", "cpu", "--quiet", "--first", "baselines.median:MedianDeviation", "--batch", "6", "--epochs", "1", "--strategy", "strategies.uncertainty:Uncertainty"]


def second_round(images, project, monkeypatch):
    "A round by a model that marks the left upper corner."
    corner = np.zeros((48, 48), np.float32)
    corner[:5, :7] = 0.9
    monkeypatch.setattr("active_defects.studio.reasons.heat_of", lambda *_: (corner, "probability of defect"))
    assert main(["ask", str(images), "--project", str(project), *SEES]) == 0
    for i in pd.read_csv(project / "queue-001.csv").id:
        path = project / "answers" / f"{i}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        mask = truth_of(i)
        Image.fromarray(np.uint8(np.zeros((48, 48)) if mask is None else mask * 255)).save(path)
    assert tell(project, "--quiet") == 0


def drawn_in(project, tool):
    path = project / {"coco": "queue-002.coco.json", "cvat": "queue-002.cvat.xml", "label-studio": "queue-002.label-studio.json"}[tool]
    if tool == "cvat": return len(list(ElementTree.parse(path).iter("mask")))
    document = json.loads(path.read_text())
    return len(document["annotations"]) if tool == "coco" else sum(len(task["predictions"][0]["result"]) for task in document)


def test_a_tool_is_told_what_the_model_would_draw(images, tmp_path, capsys, monkeypatch):
    project = tmp_path / "plates"
    second_round(images, project, monkeypatch)
    asking = ["ask", "--project", str(project), "--device", "cpu", "--to"]
    for tool, words, drawn, says in (
            ("label-studio", [], 6, "predictions, no answers"), ("label-studio", ["--no-proposals"], 0, ""), ("coco", [], 0, ""), ("cvat", [], 0, ""),
            ("coco", ["--proposals"], 6, "what stays in it comes back as an answer"), ("cvat", ["--proposals"], 6, "an upload replaces all marks of the task")):
        assert main([*asking, tool, *words]) == 0
        said = capsys.readouterr().out
        assert drawn_in(project, tool) == drawn and says in said and ("propos" in said.partition("EXPORT")[0]) == (drawn > 0), (tool, words)
    assert main([*asking, "csv", "--proposals"]) == 2
    assert "a table holds no proposals" in capsys.readouterr().err


def test_a_first_round_has_no_proposals(images, tmp_path):
    ask(images, tmp_path / "plates", "--to", "label-studio", "--proposals")
    assert not any(prediction["result"] for task in json.loads((tmp_path / "plates" / "queue-001.label-studio.json").read_text()) for prediction in task["predictions"])


# Names of defects, sizes, turned pictures

def test_marks_with_several_names(images, tmp_path, capsys):
    project, export = tmp_path / "plates", tmp_path / "export.json"
    ids = ask(images, project, "--to", "coco")
    in_coco(project, export)
    document = json.loads(export.read_text())
    document["categories"] = [{"id": 1, "name": "scratch"}, {"id": 2, "name": "pit"}]
    document["annotations"][0]["category_id"] = 2
    export.write_text(json.dumps(document))
    drawn = sum(truth_of(i) is not None for i in ids)
    words = ["--from", "coco", "--answers", str(export)]
    assert tell(project, *words) == 2 and "say which names are defects (`category`, --labels)" in capsys.readouterr().err
    assert tell(project, *words, "--labels", "scratch") == 0 and f"{drawn - 1} answer" in capsys.readouterr().out
    assert tell(project, *words, "--labels", "pit, Scratch") == 0 and "1 answer taken" in capsys.readouterr().out
    assert tell(project, *words, "--labels", "any") == 0 and f"0 answers taken (0 defective, 0 with mask), {drawn} known" in capsys.readouterr().out
    assert tell(project, "--labels", "any") == 2 and "leave 'labels' out" in capsys.readouterr().err


def test_the_limit_of_pixels_can_be_raised_and_is_kept(images, tmp_path, capsys):
    project, big = tmp_path / "plates", np.full((60, 60), 128, np.uint8)
    Image.fromarray(big).save(images / "big.png")
    asking = ["ask", str(images), "--project", str(project), *SMALL[:-2], "--batch", "13"]
    for limit, count in (("3000", 12), ("3600", 13)):
        assert main(["rank", str(images), "--out", str(tmp_path / "r.csv"), "--strategy", "baselines.median:MedianDeviation", *SMALL[:5], "--limit-pixels", limit]) == 0
        assert len(pd.read_csv(tmp_path / "r.csv")) == count
    assert main([*asking, "--limit-pixels", "3600"]) == 0
    assert "big" in pd.read_csv(project / "queue-001.csv").id.tolist() and json.loads((project / "project.json").read_text())["limit_pixels"] == 3600
    Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), 20)).save(project / "answers" / "big.png")
    assert tell(project) == 0 and "1 with mask" in capsys.readouterr().out
    assert main(["report", "--project", str(project), "--device", "cpu", "--quiet"]) == 0


def test_turned_pictures_are_named_once(images, tmp_path, capsys, caplog):
    (exif := Image.Exif())[274] = 3
    for path in sorted(images.rglob("*.png"))[:2]: Image.open(path).save(path, exif=exif)
    for tool in ("csv", *NAMES_OF_TOOLS):
        caplog.clear()
        assert main(["ask", str(images), "--project", str(tmp_path / "plates"), *[word for word in SMALL[:-2] if word != "--quiet"], "--batch", "12", "--to", tool]) == 0
        assert [record.getMessage()[:8] for record in caplog.records] == ["2 of 12 "]


@pytest.mark.parametrize("words", [[], ["--to", "csv"], ["--to", "coco"], ["--to", "cvat"]])
def test_a_prefix_that_would_be_ignored_is_refused(images, tmp_path, capsys, words):
    assert main(["ask", str(images), "--project", str(tmp_path / "plates"), *SMALL, "--prefix", "http://x/", *words]) == 2
    assert "leave 'prefix' out, or ask with --to label-studio" in capsys.readouterr().err and not (tmp_path / "plates").exists()


@pytest.mark.parametrize("words", [["ask", "--project", "p", "--to", "yolo"], ["tell", "--project", "p", "--from", "csv"]])
def test_doors_that_do_not_exist(words, capsys):
    with pytest.raises(SystemExit) as end: main(words)
    assert end.value.code == 2 and "invalid choice" in capsys.readouterr().err


def test_nothing_lies_outside_of_the_project(images, tmp_path):
    project = tmp_path / "plates"
    for tool in TOOLS: ask(images, project, "--to", tool)
    assert {p.name for p in tmp_path.iterdir()} == {"images", "plates"} and not [p for p in images.rglob("*") if p.is_file() and p.suffix != ".png"]
