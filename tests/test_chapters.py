"""Every chapter keeps what it owes its reader; and every rule bites, shown by planted violations in a chapter that is otherwise in order."""
import json
from pathlib import Path

import pytest
from chapter_rules import RULES
from book import chapters

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", RULES)
def test_the_book_keeps_the_rule(name):
    violations = RULES[name](ROOT)
    assert not violations, f"\n{RULES[name].__doc__}\n  " + "\n  ".join(violations)


# A chapter in order

EXERCISE = "{n}. Why {n}?\n\n<details><summary>Answer</summary>Because.</details>"


def code(source, text="0.5"):
    outputs = [{"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": {"text/plain": [text]}}] if text else []
    return {"cell_type": "code", "id": "0", "metadata": {}, "execution_count": None, "source": source.splitlines(True), "outputs": outputs}


def prose(source):
    return {"cell_type": "markdown", "id": "0", "metadata": {}, "source": source.splitlines(True)}


def book():
    "The cells of a chapter that keeps every rule."
    first, *others = [prose(EXERCISE.format(n=n)) for n in (1, 2, 3)]
    first = prose("## Check yourself\n\n" + EXERCISE.format(n=1))
    return [code("#| default_exp formulas.entropy", ""), prose("# Entropy\n\n> One sentence about it.\n\n*Where does it hesitate?* Here:\n\n$$H = -\\ln p$$\n\nBy hand: $p = 1$ gives $0$. **Predict** one half."),
            code("#| export\nimport numpy as np", ""), code("test_close(entropy(1.0), 0.0)\nentropy(0.5)", "0.693"), prose("## In short\n\nIt hesitates."),
            first, code("assert 1\n0.5"), others[0], code("assert 1\n0.5"), others[1], code("with expect_fail(ValueError): entropy(2)", "")]


@pytest.fixture
def write(tmp_path):
    "Writes a chapter, and gives the root of its repository."
    def into(cells, name="110_formulas.entropy"):
        path = tmp_path / "nbs" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
        return tmp_path
    return into


@pytest.mark.parametrize("name", RULES)
def test_a_chapter_in_order_keeps_the_rule(write, name):
    assert RULES[name](write(book())) == []


def changed(old, new):
    "The chapter with one text replaced in every cell that has it."
    cells = book()
    for cell in cells: cell["source"] = "".join(cell["source"]).replace(old, new).splitlines(True)
    assert cells != book(), f"nothing to plant: {old!r} is not there"
    return cells


def without(*places):
    return [cell for k, cell in enumerate(book()) if k not in places]


PLANTS = {
    "opens_with_its_question": [lambda: changed("hesitate?*", "hesitate.*"), lambda: changed("*Where does it hesitate?*", "## Now\n\n*Where does it hesitate?*")],
    "closes_in_short_and_with_exercises": [lambda: changed("## In short", "## At last"), lambda: changed("## Check yourself", "## Exercises"), lambda: [*book(), prose("## More")]],
    "answers_are_folded_and_run": [lambda: without(9, 10), lambda: without(8), lambda: changed("3. Why", "4. Why"), lambda: changed("<details><summary>Answer</summary>", "Answer: "),
                                   lambda: [*book()[:8], code("0.5", ""), *book()[9:]], lambda: [*book()[:8], code("#| slow\nassert 1", ""), *book()[9:]]],
    "readers_predict": [lambda: changed("**Predict**", "Think of"), lambda: without(3), lambda: changed("**Predict** one half.", "") + [prose("**Predict**")]],
    "formulas_are_worked": [lambda: changed("By hand:", "Say:"), lambda: changed("test_close(entropy(1.0), 0.0)", "test_close(entropy(one), entropy(two))")]}


def test_every_rule_has_its_plants():
    assert PLANTS.keys() == RULES.keys()


@pytest.mark.parametrize("name, number", [(name, k) for name, plants in PLANTS.items() for k in range(len(plants))])
def test_a_planted_violation_is_found(write, name, number):
    assert RULES[name](write(PLANTS[name][number]()))


def test_only_the_floors_that_predict_must(write):
    root = write(changed("**Predict**", "Think of"), "310_models.unet")
    assert RULES["readers_predict"](root) == [] and [c.floor for c in chapters(root)] == [3]


def test_a_page_beside_the_floors_owes_a_question_too(write):
    assert RULES["opens_with_its_question"](write(changed("hesitate?*", "hesitate.*"), "howto/a_page"))


def test_every_notebook_has_a_measured_run_time():
    times = {line.split(",")[0] for line in (ROOT / "nbs" / "results" / "run_times.csv").read_text(encoding="utf-8").splitlines()[1:]}
    assert {chapter.name for chapter in chapters(ROOT)} == times
