"""The book as data: which notebooks there are, on which floor, and the lists of them on the site, the front page and the README."""
import ast
import json
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path

import front

PACKAGE = "active_defects"
FLOORS = {1: "formulas", 2: "data", 3: "models", 4: "learners", 5: "strategies", 6: "baselines", 7: "loop", 8: "studio", 9: ""}
FLOOR_TITLES = {
    1: ("Formulas", "How unsure, how odd, how many: the scores themselves, as arithmetic on arrays."),
    2: ("Data", "Pictures and answers: folders, real data sets, a small world with known truth, and a store that forgets nothing."),
    3: ("Models", "The networks and their losses, from single layers up."),
    4: ("Learners", "From pictures and answers to a model that can be asked for its opinion."),
    5: ("Strategies", "From a model’s opinion to the next question: the ways of asking."),
    6: ("Baselines", "What others have published, one method a chapter, all run by the same loop."),
    7: ("The loop", "Ask, tell, learn, stop: the rounds, and the curves that come out of them."),
    8: ("Studio", "A brush, a report, doors to other labeling tools, and figures that answer back."),
    9: ("Scale and doors", "Big folders, the command line, and the names that stay."),
}
ROOMS = {"papers": "Papers", "howto": "How to", "explanations": "Explanations"}
ROOM_LINES = {
    "papers": "Both papers measured again, claim by claim, with what did not hold.",
    "howto": "Recipes that run: your own parts, a new strategy, data set or labeling tool, a GPU, a cluster.",
    "explanations": "Why it is so: questions that fit no single chapter, each answered by an experiment.",
    "back": "Notation, glossary, every function, every claim, every source, every license.",
}
BEGIN = ("fifty_labels", "odd_without_labels", "one_round", "which_score", "your_own_folder")  # nbs/begin, in reading order
BACK = ("notation", "glossary", "functions", "claims", "bibliography", "credits")
SEEDS = {"A": "mixedal", "B": "li2023"}
EXPORTS, FLAGS = {"export", "exports", "exporti"}, {"slow", "cuda", "data"}


def imports(tree):
    "Everything a piece of code imports, at any depth: (dotted module, [names], alias)."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, [], name.asname or name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [name.name for name in node.names], ""


@dataclass(frozen=True)
class Cell:
    kind: str  # "code", "markdown" or "raw"
    source: str
    outputs: tuple

    @cached_property
    def directives(self):
        "The `#| name rest` lines at the top of a code cell, as name -> rest."
        found = {}
        for line in self.source.splitlines() if self.kind == "code" else ():
            hit = re.match(r"\s*#\s*\|\s*([\w-]+):?\s*(.*)", line)
            if hit is None and line.strip():
                break
            if hit:
                found[hit[1]] = hit[2].strip()
        return found

    @cached_property
    def code(self):
        "The lines below the directives, without magics."
        lines = self.source.splitlines()
        while lines and (not lines[0].strip() or re.match(r"\s*#\s*\|", lines[0])):
            lines.pop(0)
        return "\n".join(line for line in lines if not re.match(r"\s*[%!]", line))

    @cached_property
    def tree(self):
        return ast.parse(self.code) if self.kind == "code" else ast.parse("")

    @property
    def exported(self):
        return bool(EXPORTS & self.directives.keys())

    @property
    def lesson(self):
        return self.kind == "code" and not self.exported and "default_exp" not in self.directives

    @property
    def only_imports(self):
        return bool(self.tree.body) and all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in self.tree.body)


@dataclass(frozen=True)
class Chapter:
    path: Path
    root: Path

    @cached_property
    def cells(self):
        cells = json.loads(self.path.read_text(encoding="utf-8"))["cells"]
        text = lambda source: source if isinstance(source, str) else "".join(source)  # noqa: E731
        return tuple(Cell(cell["cell_type"], text(cell["source"]), tuple(cell.get("outputs", ()))) for cell in cells)

    @property
    def name(self):
        return self.path.relative_to(self.root / "nbs").as_posix()

    @property
    def numbered(self):
        "Whether the notebook lies on a floor (directly in nbs/); all others stand beside the floors."
        return "/" not in self.name

    @cached_property
    def number(self):
        hit = re.match(r"(\d{3})_", self.name)
        return int(hit[1]) if hit else -1

    @property
    def floor(self):
        return self.number // 100

    @property
    def module(self):
        "The module that the file's name promises, as `formulas.entropy`."
        return re.sub(r"^\d+_", "", self.path.stem)

    @property
    def code_cells(self):
        return [cell for cell in self.cells if cell.kind == "code"]

    @property
    def exported(self):
        return [cell for cell in self.cells if cell.exported]

    @property
    def lessons(self):
        return [cell for cell in self.cells if cell.lesson]

    @property
    def title(self):
        for cell in self.cells:
            if hit := re.match(r"# +(.+)", cell.source) if cell.kind == "markdown" else None:
                return hit[1].strip()
        return self.module

    @property
    def blurb(self):
        "The sentence under the title."
        hits = [re.search(r"(?m)^> (.+)$", cell.source) for cell in self.cells if cell.kind == "markdown"]
        return next((hit[1].strip() for hit in hits if hit), "")

    @cached_property
    def imported(self):
        "Every module that a cell imports, and every name that comes with it: {dotted module: {names}}."
        found = {}
        for module, names, _ in [one for cell in self.code_cells for one in imports(cell.tree)]:
            found.setdefault(module, set()).update(names)
        return found

    @cached_property
    def public(self):
        "What the module defines for others: [(dotted name, first line of its docstring)], methods below their class."
        found = []
        for node in [node for cell in self.exported for node in cell.tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")]:
            parts = [part for part in node.body if isinstance(part, ast.FunctionDef) and not part.name.startswith("_")] if isinstance(node, ast.ClassDef) else []
            found += [(name, (ast.get_docstring(part) or "").split("\n")[0]) for name, part in [(node.name, node), *((f"{node.name}.{part.name}", part) for part in parts)]]
        return found


@dataclass(frozen=True)
class Text:
    "A page of the back matter, written as text."
    name: str
    title: str
    blurb: str = ""


# What is cited

BRACKET = re.compile(r"\[[^\[\]\n]*(?:\b(?:18|19|20)\d\d\b|\b[Ss]eed [AB]\b)[^\[\]\n]*\](?![(\[{])")
WORK = re.compile(r"\b([A-Z][\w’'-]+)(?: et al\.)?(?: (?:&|and) [A-Z][\w’'-]+)? ((?:18|19|20)\d\d)\b|\b[Ss]eed ([AB])\b")


def key_of(work):
    "The bibliography's key of a match of WORK: the first author's name in plain letters, and the year."
    name = unicodedata.normalize("NFKD", work[1] or "").encode("ascii", "ignore").decode().lower()
    return SEEDS[work[3]] if work[3] else name + work[2]


def citations(text):
    "Keys of all works that a text cites in square brackets, as `[Shannon 1948, §6]` does."
    return [key_of(work) for bracket in BRACKET.findall(text) for work in WORK.finditer(bracket)]


def known_works(root):
    "The keys of nbs/references.bib."
    file = Path(root) / "nbs" / "references.bib"
    return re.findall(r"(?m)^@\w+\{([^,\s]+),", file.read_text(encoding="utf-8")) if file.exists() else []


def chapters(root):
    "Every notebook of the book in reading order: where to begin, floors by number, then the rooms beside them."
    nbs = Path(root) / "nbs"
    paths = [p for p in nbs.rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(nbs).parts)]
    rooms = ["begin", "", *ROOMS]
    room = lambda path: path.relative_to(nbs).parent.as_posix().replace(".", "")  # noqa: E731
    place = lambda path: rooms.index(room(path)) if room(path) in rooms else len(rooms)  # noqa: E731
    within = lambda path: BEGIN.index(path.stem) if room(path) == "begin" and path.stem in BEGIN else len(BEGIN)  # noqa: E731
    return [Chapter(path, Path(root)) for path in sorted(paths, key=lambda path: (place(path), within(path), path.as_posix()))]


def sections(root):
    "The table of contents: [(title, one line, [Chapter])], empty sections left out."
    found = chapters(root)
    floors = [(f"{floor} · {title}", line, [c for c in found if c.numbered and c.floor == floor]) for floor, (title, line) in FLOOR_TITLES.items()]
    rooms = [(title, ROOM_LINES.get(folder, ""), [c for c in found if c.name.startswith(folder + "/")]) for folder, title in ROOMS.items()]
    texts = [Path(root) / "nbs" / "back" / f"{name}.qmd" for name in BACK]
    head = lambda f, key: (re.search(rf"(?m)^{key}: (.+)$", f.read_text(encoding="utf-8")) or ["", ""])[1]  # noqa: E731
    back = [Text(f"back/{f.name}", head(f, "title"), head(f, "description")) for f in texts if f.exists()]
    begin = ("Begin here", "The whole idea on five pages, from the first picture to your own folder.", [c for c in found if c.name.startswith("begin/")])
    return [section for section in [begin, *floors, *rooms, ("Back matter", ROOM_LINES["back"], back)] if section[2]]


def sidebar(root):
    "The sidebar's sections as lines of YAML."
    lines = []
    for title, _, members in sections(root):
        lines += [f'- section: "{title}"', "  contents:", *(f"    - {chapter.name}" for chapter in members)]
    return lines


def functions(root):
    "Every public name by floor, with the first line of its docstring, as lines of Markdown."
    lines = []
    for title, _, members in sections(root):
        named = [(name, chapter, said) for chapter in members if isinstance(chapter, Chapter) for name, said in chapter.public]
        if named: lines += ["", f"## {title}", ""]
        lines += [f"- [`{name}`](../{chapter.name}#{name.split('.')[0].lower()}): {said}" for name, chapter, said in sorted(named, key=lambda found: found[0].lower())]
    return [*lines, ""]


def taught(root):
    "Each cited work with the chapters that cite it, as lines of Markdown."
    found = chapters(root)
    citing = {chapter: {key for cell in chapter.cells for key in citations(cell.source)} for chapter in found}
    where = {key: [chapter for chapter in found if key in citing[chapter]] for key in sorted(known_works(root))}
    return ["", *(f"- [@{key}]: " + " · ".join(f"[{c.title}](../{c.name})" for c in members) for key, members in where.items() if members), ""]


class Table(HTMLParser):
    "The rows of the first table of a piece of HTML."

    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], False
        self.feed(text.split("</table>")[0])

    def handle_starttag(self, tag, _):
        if tag == "tr": self.rows.append([])
        if tag in {"td", "th"}: self.rows[-1].append("")
        self.open = tag in {"td", "th"}

    def handle_endtag(self, tag): self.open = self.open and tag not in {"td", "th"}

    def handle_data(self, data):
        if self.open: self.rows[-1][-1] += data.strip()


def claims(root):
    "The ledgers of the papers: the table below each heading `## Ledger`, as lines of Markdown."
    lines = []
    for chapter in [c for c in chapters(root) if c.name.startswith("papers/")]:
        after = [k for k, cell in enumerate(chapter.cells) if cell.kind == "markdown" and re.search(r"(?m)^## .*[Ll]edger", cell.source)]
        pages = ["".join(out["data"]["text/html"]) for k in after for cell in chapter.cells[k:] for out in cell.outputs if "<table" in "".join(out.get("data", {}).get("text/html", ""))]
        if not pages: continue
        head, *rows = [[{"True": "yes", "False": "no"}.get(cell, cell.replace("|", "/")) for cell in row] for row in Table(pages[0]).rows if any(row)]
        lines += ["", f"## [{chapter.title}](../{chapter.name}#ledger)", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(row + [""] * (len(head) - len(row))) + " |" for row in rows]
    return [*lines, ""]


def between(text, lines, mark="chapters"):
    "`text` with what stands between its two marks, `chapters begin` and `chapters end`, replaced by `lines`, indented like the first mark."
    hit = re.search(rf"(?ms)^([ ]*)(\S[^\n]*{mark} begin[^\n]*\n).*?^([ ]*\S[^\n]*{mark} end)", text)
    if hit is None:
        raise ValueError(f"no pair of lines with `{mark} begin` and `{mark} end` to write between; restore them from the repository")
    body = "".join(f"{hit[1]}{line}\n" for line in lines)
    return text[: hit.start()] + hit[1] + hit[2] + body + hit[3] + text[hit.end() :]


def contents(root):
    "The files that are written from others, as they should read: {path: text}. Every one lists chapters; the front page and the README hold more, each part between marks of its own."
    root = Path(root)
    wanted = {name: {"chapters": write} for name, write in {"_quarto.yml": sidebar, "nbs/index.qmd": lambda root: front.floors(sections(root), site=True), "README.md": lambda root: front.floors(sections(root), "nbs/")}.items()}
    made = {"functions": functions, "bibliography": taught, "claims": claims}
    wanted |= {f"nbs/back/{name}.qmd": {"chapters": write} for name, write in made.items() if (root / "nbs" / "back" / f"{name}.qmd").exists()}
    wanted["nbs/index.qmd"] |= {"figure": front.live, "results": lambda root: front.results(root, site=True), "citation": front.citation}
    wanted["README.md"] |= {"figure": front.picture, "results": lambda root: front.results(root, "nbs/"), "citation": front.citation}
    texts = {}
    for name, parts in wanted.items():
        texts[root / name] = text = (root / name).read_text(encoding="utf-8")
        for mark, write in parts.items():
            if mark == "chapters" or f"{mark} begin" in text: texts[root / name] = between(texts[root / name], write(root), mark)
    return texts


def write_contents(root):
    "Write the sidebar, the front page, the README and what the back matter lists; files that are right already stay untouched."
    for path, text in contents(root).items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    front.write_still(root)


def copy_javascript(root):
    "Copy nbs/js/*.js and *.css into the package, and drop copies whose source is gone."
    source, copy = Path(root) / "nbs" / "js", Path(root) / PACKAGE / "js"
    files = {f.name: f.read_bytes() for f in sorted(source.glob("*")) if f.suffix in {".js", ".css"}} if source.is_dir() else {}
    if files or copy.is_dir():
        copy.mkdir(parents=True, exist_ok=True)
    for stale in [f for f in copy.glob("*") if f.name not in files and f.is_file()] if copy.is_dir() else []:
        stale.unlink()
    for name, content in files.items():
        if not (copy / name).exists() or (copy / name).read_bytes() != content:
            (copy / name).write_bytes(content)
