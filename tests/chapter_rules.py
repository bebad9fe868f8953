"""What every chapter owes its reader, one function each, as in architecture_rules: a repository's root goes in, a list of violations comes out."""
import ast
import re

from book import FLAGS, chapters

PREDICTING = (1, 4, 5)  # floors whose chapters ask before they show
RULES = {}


def rule(check):
    "Enter a check under its name."
    RULES[check.__name__] = check
    return check


def opening(chapter):
    "What stands between the blurb and the first heading, or the first cell that does more than import."
    text = []
    for cell in chapter.cells:
        if cell.kind == "markdown":
            before, heading, _ = cell.source.partition("\n## ") if not cell.source.startswith("## ") else ("", "## ", "")
            text.append(before)
            if heading:
                break
        elif cell.kind == "code" and cell.code.strip() and not cell.only_imports:
            break
    return re.sub(r"\A# [^\n]*\n\n> [^\n]*", "", "\n\n".join(text)).strip()


def headings(chapter):
    "The second-level headings, in order."
    return [line[3:].strip() for cell in chapter.cells if cell.kind == "markdown" for line in cell.source.splitlines() if line.startswith("## ")]


def lesson_and_exercises(chapter):
    "The cells before `## Check yourself`, and those from there on."
    at = next((k for k, cell in enumerate(chapter.cells) if cell.kind == "markdown" and re.search(r"(?m)^## Check yourself", cell.source)), len(chapter.cells))
    return chapter.cells[:at], chapter.cells[at:]


def asserts(cell):
    "Whether a cell fails where its claim is wrong: an assertion, a test, or an expected error."
    called = {ast.unparse(node.func) for node in ast.walk(cell.tree) if isinstance(node, ast.Call)}
    return any(isinstance(node, ast.Assert) for node in ast.walk(cell.tree)) or any(name.startswith("test_") or name == "expect_fail" for name in called)


def ends_in_error(cell):
    "Whether the last line of a cell expects an error, so that there is no value to show."
    last = cell.tree.body[-1] if cell.tree.body else None
    return isinstance(last, ast.With) and "expect_fail" in ast.unparse(last.items[0])


def is_number(node):
    "Whether an expression holds numbers and no names but numpy's and its functions'."
    inside = list(ast.walk(node))
    numbers = [part for part in inside if isinstance(part, ast.Constant) and isinstance(part.value, (int, float)) and not isinstance(part.value, bool)]
    return bool(numbers) and not any(isinstance(part, ast.Name) and part.id not in {"np", "math"} for part in inside)


@rule
def opens_with_its_question(root):
    "A chapter says what it answers before it shows anything: a question stands in its opening."
    return [f"{c.name}: no question between the blurb and the first heading or cell" for c in chapters(root) if "?" not in opening(c)]


@rule
def closes_in_short_and_with_exercises(root):
    "The last two headings are `In short` and `Check yourself`."
    return [f"{c.name}: ends in {' and '.join(headings(c)[-2:]) or 'no heading'}" for c in chapters(root) if headings(c)[-2:] != ["In short", "Check yourself"]]


@rule
def answers_are_folded_and_run(root):
    "Three to five exercises, numbered; each answer is folded, and the code below it is run, fails where the answer is wrong, and ends in a value or an expected error."
    bad = []
    for c in chapters(root):
        _, exercises = lesson_and_exercises(c)
        text = "\n\n".join(cell.source for cell in exercises if cell.kind == "markdown").partition("## Check yourself")[2]
        numbers = [int(n) for n in re.findall(r"(?m)^(?:\*\*)?(\d+)\.(?:\*\*)? ", text)]
        folded = len(re.findall(r"<details>\s*<summary>", text))
        if not 3 <= folded <= 5 or numbers != list(range(1, folded + 1)):
            bad.append(f"{c.name}: {folded} folded answers to the exercises {numbers}; three to five, numbered from 1")
        for k, cell in enumerate(exercises):
            if "<details>" not in cell.source or cell.kind != "markdown":
                continue
            below = []
            for x in exercises[k + 1:]:
                if "<details>" in x.source:
                    break
                below += [x] if x.kind == "code" and not x.only_imports and not (FLAGS | {"hide"}) & x.directives.keys() else []
            if not any(asserts(x) for x in below) or not below[-1].outputs and not ends_in_error(below[-1]):
                bad.append(f"{c.name}: no assertion is run for the answer `{' '.join(cell.source.split('</summary>')[1].split())[:50]}…`")
    return bad


@rule
def readers_predict(root):
    "On the floors of formulas, learners and strategies a reader is asked at least once before the answer is shown: **Predict** in the text, a value below it."
    bad = []
    for c in [c for c in chapters(root) if c.numbered and c.floor in PREDICTING]:
        lesson, _ = lesson_and_exercises(c)
        asked = [k for k, cell in enumerate(lesson) if cell.kind == "markdown" and re.search(r"\*\*[Pp]redict", cell.source)]
        if not any(cell.lesson and (cell.outputs or FLAGS & cell.directives.keys()) for k in asked for cell in lesson[k + 1:]):
            bad.append(f"{c.name}: never asks the reader to **Predict** before a value is shown")
    return bad


@rule
def formulas_are_worked(root):
    "A chapter with a displayed formula works it by hand, and a lesson cell compares it with numbers."
    bad = []
    for c in [c for c in chapters(root) if c.numbered]:
        text = "\n".join(cell.source for cell in c.cells if cell.kind == "markdown")
        if "$$" not in text:
            continue
        calls = [node for cell in c.lessons for node in ast.walk(cell.tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in {"test_eq", "test_close"}]
        if not any(is_number(given) for call in calls for given in call.args[:2]):
            bad.append(f"{c.name}: a formula, and no test that compares it with a number")
        if not re.search(r"\b[Bb]y hand\b", text):
            bad.append(f"{c.name}: a formula, and no example worked by hand")
    return bad
