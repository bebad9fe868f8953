"""Every rule of the architecture holds in this repository; and every rule bites, shown by one planted violation after the other in a small repository that is otherwise in order."""
import json
import re
from pathlib import Path

import pytest
from architecture_rules import RULES
from book import FLOORS, chapters, copy_javascript, write_contents
from run_tests import differing, snapshot

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", RULES)
def test_the_repository_keeps_the_rule(name):
    violations = RULES[name](ROOT)
    assert not violations, f"\n{RULES[name].__doc__}\n  " + "\n  ".join(violations)


def test_there_are_chapters():
    assert len([c for c in chapters(ROOT) if c.numbered]) > 5


# A repository in order

FUNCTION = '''#| exports
def entropy(
    p: float, # probability of defect, a number in [0, 1]
) -> float: # entropy in nats, in [0, ln 2]
    "Binary entropy of `p` [Shannon 1948, §6]."
    return p'''

LEARNER = '''#| exports
class Pixel:
    "The smallest learner."
    def fit(
        self,
        pool: list, # samples, N of them
        seed: int = 0, # where randomness comes from
    ) -> None:
        "Remember nothing."'''

STRATEGY = '''#| exports
@dataclass(frozen=True)
class Random:
    "Any order will do."
    pointwise: bool = True # whether a score depends on its own sample only'''


def code(source, *outputs):
    return {"cell_type": "code", "id": "0", "metadata": {}, "execution_count": None, "source": source.splitlines(True), "outputs": list(outputs)}


def shown(source, text="0.5"):
    return code(source, {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": {"text/plain": [text]}})


def prose(source):
    return {"cell_type": "markdown", "id": "0", "metadata": {}, "source": source.splitlines(True)}


def chapter(module, imports, exported, *lessons):
    cells = [code(f"#| default_exp {module}")] if module else []
    cells += [prose("# A title\n\n> One sentence about it."), prose("Why.")]
    cells += [code(f"#| export\n{imports}")] if imports else []
    cells += [code(exported)] if exported else []
    return [*cells, *lessons, shown("1 / 2"), prose("## Check yourself\n\n1. Why?"), shown("assert 1\n0.5")]


BOOK = {
    "110_formulas.entropy": chapter("formulas.entropy", "import numpy as np", FUNCTION, code("#| hide\nfrom fastcore.test import expect_fail"),
                                    code('with expect_fail(ValueError, contains="p"):\n    entropy(2)')),
    "200_data.pool": chapter("data.pool", "import pandas as pd", "#| exports\nLIMIT = 1"),
    "300_models.blocks": chapter("models.blocks", "import torch", "#| exports\nWIDTH = 16"),
    "400_learners.pixel": chapter("learners.pixel", "from active_defects.models.blocks import WIDTH", LEARNER, code("#| cuda\nleft = 1\nassert left")),
    "500_strategies.strategy": chapter("strategies.strategy", "from dataclasses import dataclass\nfrom active_defects.formulas.entropy import entropy", STRATEGY),
    "510_strategies.margin": chapter("strategies.margin", "", "#| exports\nNESTED = True"),
    "700_loop.rounds": chapter("loop.rounds", "from active_defects.strategies.strategy import Random", "#| exports\nROUNDS = 3"),
    "900_pieces": chapter("pieces", "from active_defects.loop.rounds import ROUNDS", "#| exports\nPIECES = 4"),
    "papers/story": chapter("", "", ""),
}
QUARTO = "website:\n  sidebar:\n    contents:\n      - href: index.qmd\n      # chapters begin\n      # chapters end\n"


def write(root, name, cells, export=True):
    "Write a notebook, and its module as nbdev would."
    path = root / "nbs" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1), encoding="utf-8")
    sources = ["".join(cell["source"]) for cell in cells]
    named = [source.split()[2] for source in sources if source.startswith("#| default_exp")]
    if export and named:
        module = root / "active_defects" / (named[0].replace(".", "/") + ".py")
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text("\n\n".join(source.split("\n", 1)[1] for source in sources if source.startswith("#| export")) + "\n", encoding="utf-8")


@pytest.fixture
def order(tmp_path):
    "A repository that keeps every rule."
    for name, cells in BOOK.items():
        write(tmp_path, name, cells)
    (tmp_path / "active_defects" / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (tmp_path / "nbs" / "js").mkdir()
    (tmp_path / "nbs" / "js" / "canvas.js").write_text("export default {}\n")
    copy_javascript(tmp_path)
    (tmp_path / "_quarto.yml").write_text(QUARTO)
    (tmp_path / "nbs" / "_quarto.yml").symlink_to("../_quarto.yml")
    for name in ("nbs/index.qmd", "README.md"):
        (tmp_path / name).write_text("<!-- chapters begin -->\n<!-- chapters end -->\n")
    write_contents(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", RULES)
def test_a_repository_in_order_keeps_the_rule(order, name):
    assert RULES[name](order) == []


# Planted violations: rule -> ways to break it

def notebook(name, module, imports="", exported="#| exports\nA = 1", *lessons):
    return lambda root: write(root, name, chapter(module, imports, exported, *lessons))


def lesson(*cells):
    return notebook("120_formulas.planted", "formulas.planted", "", "#| exports\nA = 1", *cells)


def exported(source, name="formulas.planted", imports=""):
    return notebook(f"120_{name}", name, imports, "#| exports\n" + source)


def bare(name, cells):
    return lambda root: write(root, name, cells)


def file(name, text):
    def plant(root):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return plant


def changed(name, old, new):
    def plant(root):
        text = (root / name).read_text(encoding="utf-8")
        assert old in text
        (root / name).write_text(text.replace(old, new), encoding="utf-8")
    return plant


def text_instead_of_symlink(root):
    (root / "nbs" / "_quarto.yml").unlink()
    (root / "nbs" / "_quarto.yml").write_text("../_quarto.yml")


def documented(parameters="p: float, # in [0, 1]", returns="float: # in nats", docstring='"A number."', name="planted"):
    return exported(f"def {name}(\n    {parameters}\n) -> {returns}\n    {docstring}\n    return p")


PLANTS = {
    "name_number_floor_agree": [
        notebook("120_data.planted", "data.planted"), notebook("120_formulas.planted", "formulas.other"), notebook("110_formulas.planted", "formulas.planted"),
        notebook("12_formulas.planted", "formulas.planted"), notebook("920_loop.planted", "loop.planted"), notebook("210_planted", "planted"), notebook("120_formulas.Planted", "formulas.Planted"),
        bare("120_formulas.planted", [prose("# A"), code("#| default_exp formulas.planted"), code("#| export\nA = 1")])],
    "one_notebook_one_module": [
        bare("120_formulas.planted", [code("#| default_exp formulas.planted"), prose("# A")]),
        bare("120_formulas.planted", [code("#| default_exp formulas.planted"), code("#| export\nA = 1"), code("#| export formulas.entropy\nB = 1")]),
        notebook("papers/planted", "formulas.planted"), bare("elsewhere/planted", [prose("# A")]),
        lambda root: write(root, "120_formulas.planted", chapter("formulas.planted", "", "#| exports\nA = 1"), export=False)],
    "no_orphan_modules": [file("active_defects/formulas/orphan.py", "A = 1\n"), file("active_defects/formulas/__init__.py", "from active_defects.formulas.entropy import entropy\n")],
    "javascript_is_copied": [file("nbs/js/new.js", ""), file("active_defects/js/canvas.js", "changed"), file("active_defects/js/stale.js", "")],
    "imports_go_down": [
        notebook("120_formulas.planted", "formulas.planted", "from active_defects.data.pool import LIMIT"), notebook("120_formulas.planted", "formulas.planted", "import active_defects.pieces"),
        notebook("120_formulas.planted", "formulas.planted", "from active_defects import pieces"), notebook("120_formulas.planted", "formulas.planted", "from active_defects.formulas.absent import a"),
        notebook("120_formulas.planted", "formulas.planted", "from .entropy import entropy"), notebook("120_formulas.planted", "formulas.planted", "from active_defects.formulas.planted import A"),
        exported("def planted():\n    from active_defects.data.pool import LIMIT\n    return LIMIT")],
    "models_import_no_data": [notebook("310_models.planted", "models.planted", "from active_defects.data.pool import LIMIT"), notebook("310_models.planted", "models.planted", "from active_defects.data import pool")],
    "the_loop_imports_no_strategy": [
        notebook("710_loop.planted", "loop.planted", "from active_defects.strategies.margin import NESTED"),
        lambda root: (write(root, "610_baselines.badge", chapter("baselines.badge", "", "#| exports\nA = 1")), write(root, "710_loop.planted", chapter("loop.planted", "import active_defects.baselines.badge", "#| exports\nA = 1")))],
    "no_wildcards": [lesson(code("from math import *")), exported("A = 1", imports="from math import *"), file("tests/test_planted.py", "from math import *\n")],
    "nothing_private_across_modules": [
        notebook("120_formulas.planted", "formulas.planted", "from active_defects.formulas.entropy import _hidden"), lesson(code("import active_defects.formulas.entropy as e"), shown("e._hidden")),
        lesson(code("from active_defects.formulas import entropy"), shown("entropy._hidden"))],
    "formulas_import_no_torch": [exported("A = 1", imports="import torch"), exported("A = 1", imports="import torch.nn.functional as F"), exported("def planted():\n    from torch import nn\n    return nn")],
    "models_import_no_pandas": [notebook("310_models.planted", "models.planted", "import pandas as pd"), notebook("310_models.planted", "models.planted", "from pandas import Series")],
    "package_import_is_light": [
        file("active_defects/__init__.py", "import time\ntime.sleep(0.25)\n"), lambda root: (file("pandas.py", "")(root), file("active_defects/__init__.py", "import pandas\n")(root)),
        lambda root: (file("torch.py", "")(root), file("active_defects/__init__.py", "import torch\n")(root))],
    "modules_are_short": [file("active_defects/formulas/entropy.py", "A = 1\n" * 251)],
    "exported_cells_are_short": [exported("A = 1\n" * 46)],
    "lesson_cells_are_short": [lesson(shown("1\n" * 26))],
    "few_code_cells": [lesson(*[shown("1")] * 37)],
    "notebooks_are_small": [lesson(shown("1", "x" * 500_000))],
    "title_and_blurb_first": [
        changed("nbs/110_formulas.entropy.ipynb", "# A title", "## A title"), changed("nbs/110_formulas.entropy.ipynb", "> One", "One"), changed("nbs/110_formulas.entropy.ipynb", "about it.", "about it"),
        changed("nbs/papers/story.ipynb", "> One", "One"), bare("120_formulas.planted", [code("#| default_exp formulas.planted"), prose("# A title\n\n> One sentence.\n\nAnd what the site would drop.")]), bare("120_formulas.planted", [code("#| default_exp formulas.planted"), code("#| export\nA = 1"), prose("# A title\n\n> One sentence.")]),
        changed("nbs/110_formulas.entropy.ipynb", '"# A title\\n",\n    "\\n",', '"# A title\\n",')],
    "import_cells_only_import": [lesson(shown("import math\nmath.pi")), exported("import math\nA = 1"), lesson(code("#| hide\nimport math\nseed = 0"))],
    "no_drawers": [
        notebook("120_formulas.utils", "formulas.utils"), notebook("120_formulas.image_helpers", "formulas.image_helpers"), file("tests/helpers.py", ""), file("experiments/common.py", ""),
        exported('class BaseLearner:\n    "A base."'), file("active_defects/core.py", "")],
    "lessons_end_in_a_value": [
        lesson(code("a = 1")), lesson(code("assert 1")), lesson(code("test_eq(1, 1)")), lesson(code('print("We see.")')), lesson(code("def naive(): return 1")), lesson(code("1 + 1")),
        lesson(code('bad = 2\nwith expect_fail(ValueError): entropy(bad)')), lesson(code("with expect_fail(ValueError): entropy(2)\nwith open('x'): pass"))],
    "chapters_check_the_reader": [changed("nbs/110_formulas.entropy.ipynb", "## Check yourself", "## Questions"), changed("nbs/papers/story.ipynb", "## Check yourself", "Check yourself")],
    "learners_train_on_the_gpu": [changed("nbs/400_learners.pixel.ipynb", "#| cuda", "#| slow")],
    "no_stored_errors": [lesson(code("1 / 0", {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "", "traceback": []}))],
    "no_stored_stderr": [lesson(code("1", {"output_type": "stream", "name": "stderr", "text": ["a warning"]}))],
    "no_machine_paths": [
        lesson(shown("1", "'/" + "work/main/x.png'")), file("README.md", "see /" + "root/notes"), file("tests/test_planted.py", "x = '/" + "tmp/bash_jobs/1'"), file(".ci/run", "cd /" + "home/somebody")],
    "nothing_unfinished": [lesson(prose("TO" + "DO: say why")), exported("A = 1 # FIX" + "ME"), exported("def planted():\n    raise Not" + "ImplementedError")],
    "sidebar_lists_every_notebook": [
        lesson(), changed("_quarto.yml", "- 200_data.pool.ipynb", "- 200_data.gone.ipynb"), changed("_quarto.yml", "2 · Data", "3 · Data"), changed("_quarto.yml", "- papers/story.ipynb", "- index.qmd"),
        changed("_quarto.yml", "- 900_pieces.ipynb", "- 900_pieces.ipynb\n          - 110_formulas.entropy.ipynb")],
    "front_pages_list_every_chapter": [lesson(), changed("README.md", "nbs/200_data.pool.ipynb", "nbs/200_data.gone.ipynb"), changed("nbs/index.qmd", "[A title]", "[Old title]")],
    "quarto_yml_is_a_symlink": [text_instead_of_symlink, lambda root: (root / "nbs" / "_quarto.yml").unlink(),
                                lambda root: ((root / "nbs" / "_quarto.yml").unlink(), (root / "nbs" / "_quarto.yml").symlink_to("../other.yml"))],
    "public_functions_are_documented": [
        documented(docstring="pass"), documented(parameters="p, # in [0, 1]"), documented(parameters="p: float,"), documented(returns="float:"), documented(parameters="p: float, q: float, # in [0, 1]"),
        documented(parameters="p: float, # in [0, 1]\n    *rest,"), documented(parameters="p: float, # in [0, 1]\n    *, q: int = 3,"), documented(parameters="p: float = max(\n        0, 1),"),
        exported('def planted(p: float) -> float: # nats\n    "A number."'), exported('def planted(\n    p: float, # in [0, 1]\n):\n    "A number."'),
        exported('class Planted:\n    A = 1'), exported('class Planted:\n    "A thing."\n    def __call__(self, pool):\n        "Opinions."'), exported('class Planted:\n    "A thing."\n    def __init__(self, size: int): self.size = size'),
        exported('class Planted:\n    "A thing."\n    @staticmethod\n    def of(size: int) -> None:\n        "Make one."'), exported('class Planted:\n    "A thing."\n    @property\n    def ids(self) -> list: return []'),
        exported('@dataclass\nclass Planted:\n    "A thing."\n    size: int')],
    "annotations_resolve": [exported('def planted() -> "Plot": return 1'), exported('def planted(a: "list[Plot]"): return 1'), exported('class Planted:\n    size: "Plot"')],
    "formulas_name_their_source": [changed("active_defects/formulas/entropy.py", "§6].", "§6], in nats."), changed("active_defects/formulas/entropy.py", " [Shannon 1948, §6]", "")],
}


def test_every_rule_has_a_plant():
    assert PLANTS.keys() == RULES.keys()


@pytest.mark.parametrize("name, index", [(name, i) for name, plants in PLANTS.items() for i in range(len(plants))])
def test_the_rule_bites(order, name, index):
    PLANTS[name][index](order)
    assert RULES[name](order)


# What the rules must let pass

GOOD = {
    "a comment above a parameter": 'def f(\n    # in [0, 1]\n    p: float,\n) -> None:\n    "A."',
    "a default over two lines": 'def f(\n    p: float = max(0,\n        1), # in [0, 1]\n) -> None:\n    "A."',
    "keyword-only and starred": 'def f(\n    *p: float, # in [0, 1]\n    q: int = 1, # count\n    **rest: int, # sizes\n) -> None:\n    "A."',
    "no parameter": 'def f() -> int: # a count\n    "A."',
    "private": "def _f(x): return x",
    "a private class": "class _F:\n    def g(self, x): return x",
    "a class method": 'class F:\n    "A."\n    @classmethod\n    def of(\n        cls,\n        size: int, # pixels\n    ) -> int: # pixels\n        "B."',
}


@pytest.mark.parametrize("case", GOOD)
def test_documented_functions_pass(order, case):
    exported(GOOD[case])(order)
    assert RULES["public_functions_are_documented"](order) == []


@pytest.mark.parametrize("cell", [code("#| data\na = 1"), code("#| hide\na = 1"), code("#| eval: false\na = 1"), code("#| slow\n1 + 1"), code("import math"),
                                  code("with expect_fail(ValueError): entropy(2)\nwith expect_fail(ValueError): entropy(3)")])
def test_cells_that_need_no_value_pass(order, cell):
    lesson(cell)(order)
    assert RULES["lessons_end_in_a_value"](order) == []


@pytest.mark.parametrize("hint", ['"Planted"', '"Path | None"', '"list[int]"', '"Pool"', "int"])
def test_types_that_resolve_pass(order, hint):
    notebook("120_formulas.planted", "formulas.planted", "from pathlib import Path", f"#| exports\nclass Planted:\n    def f(self) -> {hint}: return 1",
             code("#| hide\nfrom active_defects.data.pool import LIMIT as Pool"))(order)
    assert RULES["annotations_resolve"](order) == []


def test_a_lesson_may_import_a_higher_floor(order):
    lesson(code("#| hide\nfrom active_defects.pieces import PIECES"))(order)
    assert RULES["imports_go_down"](order) == []


def test_writing_the_contents_twice_changes_nothing(order):
    read = lambda: [(order / name).read_text() for name in ("_quarto.yml", "nbs/index.qmd", "README.md")]  # noqa: E731
    before = read()
    write_contents(order)
    assert read() == before and "1 · Formulas" in before[0] and re.search(r"\[A title\]\(nbs/110_formulas.entropy.ipynb\)", before[2])


def test_floors_have_names():
    assert list(FLOORS) == list(range(1, 10)) and FLOORS[9] == ""


def test_whatever_clean_and_export_change_is_named(order):
    before = snapshot(order)
    assert {"_quarto.yml", "nbs/110_formulas.entropy.ipynb", "active_defects/pieces.py"} <= before.keys()
    changed("active_defects/pieces.py", "PIECES = 4", "PIECES = 5")(order)
    file("nbs/130_formulas.new.ipynb", "{}")(order)
    (order / "active_defects" / "loop" / "rounds.py").unlink()
    (order / "active_defects" / "data" / "pool.py").touch()
    assert differing(before, snapshot(order)) == ["active_defects/loop/rounds.py", "active_defects/pieces.py", "nbs/130_formulas.new.ipynb"]
