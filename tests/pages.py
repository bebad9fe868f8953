"""The pages of the book in reading order: each notebook as nbdev processed it, with the lines that open it, as Markdown for the site, for the preview and for assistants."""
import csv
import html
import json
import os
import re
from collections import Counter
from configparser import ConfigParser
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import symbols
import yaml
from book import BRACKET, PACKAGE, WORK, Chapter, chapters, imports, key_of, known_works

HEAVY = {"torch": "PyTorch", "sklearn": "scikit-learn", "scipy": "SciPy", "pandas": "pandas", "plotly": "Plotly", "anywidget": "anywidget", "jupyterlab": "JupyterLab"}
BUILDS = 8  # chapters named at most
FLAGGED = {"data": "real data", "cuda": "a GPU", "slow": "patience"}


@cache
def settings(root):
    "What stands in settings.ini."
    reader = ConfigParser(interpolation=None)
    reader.read(Path(root) / "settings.ini", encoding="utf-8")
    return dict(reader["DEFAULT"])


@cache
def run_times(root):
    "Measured seconds of each notebook, by its name."
    file = Path(root) / "nbs" / "results" / "run_times.csv"
    return {row["notebook"]: float(row["seconds"]) for row in csv.DictReader(file.open(encoding="utf-8"))} if file.exists() else {}


@cache
def taught(root):
    "Where each public name is taught: {name: (notebook, anchor)}, `Pool.without` among them; a name that two chapters define is left out."
    found = [(name, (chapter.name, name.split(".")[0].lower())) for chapter in chapters(root) if chapter.numbered for name, _ in chapter.public]
    count = Counter(name for name, _ in found)
    return {name: target for name, target in found if count[name] == 1}


@cache
def modules(root):
    "The chapter of each module."
    return {f"{PACKAGE}.{chapter.module}": chapter for chapter in chapters(root) if chapter.numbered}


@dataclass(frozen=True)
class Page:
    source: str  # below nbs/, like `110_formulas.entropy.ipynb`
    section: str  # its heading in the sidebar, like `1 · Formulas`
    root: Path  # the repository
    made: Path  # where nbdev puts processed notebooks
    called: str = ""  # what the sidebar calls it; its title if empty

    @property
    def url(self):
        "Where the page lies on the site, like `formulas.entropy.html`: nbdev takes the number off."
        path = Path(self.source)
        return (path.parent / (re.sub(r"^\d+[a-zA-Z0-9]*_", "", path.stem) + ".html")).as_posix()

    @property
    def up(self):
        "The way from the page's folder to the site's root, `` or `../`."
        return "../" * self.source.count("/")

    @cached_property
    def chapter(self):
        "The notebook, or None where the page is written as text."
        return Chapter(self.root / "nbs" / self.source, self.root) if self.source.endswith(".ipynb") else None

    @cached_property
    def text(self):
        "The processed file."
        return (self.made / self.source).read_text(encoding="utf-8")

    @cached_property
    def processed(self):
        "The page after nbdev, without its front matter: a list of cells."
        if self.chapter: return json.loads(self.text)["cells"][1:]
        return [{"cell_type": "markdown", "source": re.sub(r"(?s)\A---\n.*?\n---\n", "", self.text)}]

    @cached_property
    def front(self):
        "Its front matter: title, description."
        text = source_of(json.loads(self.text)["cells"][0]) if self.chapter else self.text
        return yaml.safe_load(re.match(r"(?s)\s*---\n(.*?)\n---", text)[1])

    @property
    def title(self): return self.front["title"]


def pages(root, made):
    "Every page of the sidebar, in its order; `made` is the folder of the processed notebooks."
    contents = yaml.safe_load((Path(root) / "_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]
    listed = [(name, part.get("section", ""), part.get("text", "")) for part in contents for name in part.get("contents", [part.get("href")])]
    return [Page(name, section, Path(root), Path(made), text) for name, section, text in listed]


def source_of(cell):
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


# What opens a chapter

def colab(page):
    "Address of a copy of the chapter that Colab can run, or None where the chapter asks for local data."
    if page.chapter is None or any("data" in cell.directives for cell in page.chapter.code_cells): return None
    s = settings(page.root)
    return f"https://colab.research.google.com/github/{s['user']}/{s['repo']}/blob/gh-pages/colab/{Path(page.source).name}"


def seconds(value):
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s" if value < 100 else f"{value / 60:.0f} min"


def opening(page):
    "What the chapter needs, what it builds on, and how long it runs: a block of Markdown, empty for pages without code."
    chapter = page.chapter
    if chapter is None: return ""
    needed = {module for cell in chapter.code_cells if cell.exported or not chapter.numbered for module, _, _ in imports(cell.tree)}
    builds = [below for name, below in modules(page.root).items() if name in needed]
    more = f", and {len(builds) - BUILDS} more" if len(builds) > BUILDS else ""
    inside = {"torch" for module in chapter.imported if re.match(rf"{PACKAGE}\.(api|cli|models|learners|strategies|baselines|loop|studio)\b", module)} if chapter.name.startswith("begin/") else set()
    heavy = [shown for name, shown in HEAVY.items() if name in inside | {module.split(".")[0] for module in chapter.imported}]
    asking = [f"{sum(flag in cell.directives for cell in chapter.code_cells)} of its cells ask for {what}" for flag, what in FLAGGED.items() if any(flag in cell.directives for cell in chapter.code_cells)]
    lines = []
    if chapter.name in run_times(page.root): lines.append(f"**Runs in** {seconds(run_times(page.root)[chapter.name])} on one core of a CPU" + "".join(f"; {words}" for words in asking) + ".")
    lines.append(f"**Needs** Python, NumPy{''.join(', ' + name for name in heavy)}.")
    if builds and not chapter.name.startswith("begin/"): lines.append("**Builds on** " + ", ".join(f"[{c.title}]({page.up}{c.name})" for c in builds[:BUILDS]) + more + ".")
    if chapter.numbered: lines.append(f"**Module** `{PACKAGE}.{chapter.module}`.")
    button = f" [Open in Colab]({colab(page)}){{.colab}}" if colab(page) else ""
    return "::: {.opening}\n" + " ".join(lines) + button + "\n:::\n"


# From cells to Markdown

@cache
def abbreviations(root):
    "What the notation page says about each abbreviation."
    file = Path(root) / "nbs" / "back" / "notation.qmd"
    text = file.read_text(encoding="utf-8").partition("## Abbreviations")[2] if file.exists() else ""
    return dict(re.findall(r"(?m)^\| ([A-Z]\w+) \| ([^|]+?) \|", text))


@cache
def works(root):
    return set(known_works(root))


def cited(text, page):
    "Works cited in square brackets, `[Shannon 1948, §6]`, become links into the bibliography."
    link = lambda work: f"[{work[0]}]({page.up}back/bibliography.qmd#ref-{key_of(work)})" if key_of(work) in works(page.root) else work[0]  # noqa: E731
    return BRACKET.sub(lambda bracket: WORK.sub(link, bracket[0]), text)



def linked(text, page):
    "Names of the package that the notebook imports, in backticks, become links to where they are taught; cited works, links into the bibliography."
    imported = {name for names in page.chapter.imported.values() for name in names} if page.chapter else set()
    names = {name: target for name, target in taught(page.root).items() if name.split(".")[0] in imported and target[0] != page.source}
    ticked = re.compile(r"(?<!`)`([A-Za-z_][\w.]*(?:\([^`]*\))?)`(?!`)")

    def link(hit):
        target = names.get(re.sub(r"\(.*\)$", "", hit[1]))
        return f"[{hit[0]}]({page.up}{target[0]}#{target[1]})" if target else hit[0]
    pieces = re.split(r"(?s)(```.*?```|\[[^\]]*\]\([^)]*\)|^#[^\n]*|<summary>.*?</summary>|\$\$.*?\$\$|\$[^$]*\$)", text, flags=re.M)
    return "".join(piece if k % 2 else ticked.sub(link, cited(piece, page)) for k, piece in enumerate(pieces))


def explained(texts, page):
    "The first use of each abbreviation in a page's prose says what it means to whoever points at it."
    known = {} if page.source.startswith("back/") else dict(abbreviations(page.root))

    def mark(hit):
        meaning = known.pop(hit[0], None)
        return f'<abbr title="{meaning}">{hit[0]}</abbr>' if meaning else hit[0]
    prose = re.compile(r"(?s)```.*?```|<abbr.*?</abbr>|`[^`]*`|\[[^\]]*\](?:\([^)]*\))?|^#[^\n]*|<[^>]*>|\$\$.*?\$\$|\$[^$]*\$|^:::[^\n]*|^\|[^\n]*", re.M)
    for text in texts:
        for name in re.findall(r"<abbr[^>]*>(\w+)", text): known.pop(name, None)
        pieces = prose.split(text)
        kept = [*prose.findall(text), ""]
        yield "".join((re.sub(r"\b[A-Z]\w+\b", mark, piece) if known else piece) + whole for piece, whole in zip(pieces, kept))


def scrolling(text):
    "Long formulas inside a line are marked, so that they scroll on a telephone instead of widening the page."
    wide = lambda tex: len(re.sub(r"\\[a-zA-Z]+", "x", re.sub(r"[{}^_$\s]", "", tex))) > 24  # noqa: E731
    pieces = re.split(r"(?s)(```.*?```|`[^`]*`|\$\$.*?\$\$|^\|[^\n]*)", text, flags=re.M)
    return "".join(piece if k % 2 else re.sub(r"(?<![\\$\[])\$(?=\S)[^$\n]+?(?<=\S)\$(?!\d)", lambda hit: f"[{hit[0]}]{{.long}}" if wide(hit[0]) else hit[0], piece) for k, piece in enumerate(pieces))


def declared(cell):
    "The Markdown that nbdev made of a function's signature and docstring."
    return "".join("".join(out["data"]["text/markdown"]) for out in cell.get("outputs", []) if "text/markdown" in out.get("data", {}))


def cells(page):
    "The cells that the page shows: opened, linked, with the meaning of its letters, each signature without the rule above it, and left out where its source follows."
    shown, heading = [], False
    kept = [cell for cell in page.processed if source_of(cell).strip() and not source_of(cell).startswith(("<!-- WARNING", "::: {.opening}", "::: {.symbols}")) and cell["cell_type"] != "raw"]
    if opening(page): shown.append({"cell_type": "markdown", "id": "opening", "metadata": {}, "source": opening(page)})
    for cell, after in zip(kept, [*kept[1:], {}]):
        if cell["cell_type"] == "markdown":
            heading = heading or bool(re.search(r"(?m)^## ", source_of(cell)))
            shown.append(cell | {"source": scrolling(linked(source_of(cell), page))})
        elif text := declared(cell):
            text = re.sub(r"\A\s*---\s*", "", text)
            if "code-fold" in source_of(after): text = re.sub(r"(?s)```python\n.*?```\n*", "", text, count=1)
            text = text if heading else re.sub(r"(?m)^###(?=[^#])", "##", text, count=1)
            shown.append({"cell_type": "markdown", "id": cell.get("id", "declared"), "metadata": {}, "source": scrolling(linked(text, page))})
        else:
            shown.append(cell)
    prose = [cell for cell in shown if cell["cell_type"] == "markdown"]
    texts = list(explained([source_of(cell) for cell in prose], page))
    for cell, text in zip(prose, texts): cell["source"] = text
    if letters := symbols.listed(page, texts):
        below = next(k for k, cell in enumerate(shown) if cell is prose[symbols.place(texts)])
        shown.insert(below + 1, {"cell_type": "markdown", "id": "symbols", "metadata": {}, "source": letters})
    return shown


def fenced(text, language, classes=""):
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{{.{language}{classes}}}\n{text.strip(chr(10))}\n{fence}\n"


def raw_html(text): return "\n" + fenced(text, "=html").replace("{.=html}", "{=html}", 1) + "\n"


def to_html(target):
    "The page that a link to a notebook or a text means: `../110_formulas.entropy.ipynb#x` is `../formulas.entropy.html#x`."
    return re.sub(r"(^|/)(?:\d+[a-zA-Z0-9]*_)?([^/]+)\.(?:ipynb|qmd)(?=#|$)", r"\1\2.html", target)


def shown_output(out):
    "An output as the site shows it."
    data = {kind: "".join(value) if isinstance(value, (list, str)) else value for kind, value in out.get("data", {}).items()}
    if out["output_type"] == "stream": body = raw_html(f"<pre><code>{html.escape(''.join(out['text']))}</code></pre>")
    elif "text/markdown" in data: body = data["text/markdown"]
    elif "text/html" in data: body = raw_html(data["text/html"])
    else: body = raw_html(f"<pre><code>{html.escape(data.get('text/plain', ''))}</code></pre>")
    return f"::: {{.cell-output}}\n{body}\n:::\n"


def code_of(cell):
    lines = source_of(cell).splitlines()
    return "\n".join(line for line in lines if not re.match(r"\s*#\s*\|", line)).strip("\n")


def markdown(page):
    "The page as Pandoc's Markdown, with its outputs."
    parts = []
    for cell in cells(page):
        if cell["cell_type"] == "markdown":
            text = source_of(cell)
            parts.append(text)
            continue
        code = fenced(code_of(cell), "python", " .cell-code") if code_of(cell) and "echo: false" not in source_of(cell) else ""
        if "code-fold: show" in source_of(cell) and code: code = raw_html('<details open class="code-fold"><summary>Exported source</summary>') + code + raw_html("</details>")
        if hit := re.search(r'(?m)^#\| code-summary: "(.*)"$', source_of(cell)): code = raw_html(f'<details class="code-fold"><summary>{html.escape(hit[1])}</summary>') + code + raw_html("</details>")
        parts.append(":::: {.cell}\n" + code + "\n".join(map(shown_output, cell.get("outputs", ()))) + "\n::::")
    return "\n\n".join(parts) + "\n"


def clean(page):
    "The page as clean Markdown for readers with an assistant: prose, code, outputs as text, pictures as their descriptions."
    parts = [f"# {page.title}", "> " + page.front["description"]] if page.front.get("description") else [f"# {page.title}"]
    for cell in cells(page):
        if cell["cell_type"] == "markdown":
            text = re.sub(r"(?ms)^```\{=html\}\n.*?<p>(.*?)</p>.*?^```$", lambda hit: re.sub("<[^>]*>", "", hit[1]), source_of(cell))
            text = re.sub(r"(?m)^:::+.*\n?|^<!--.*-->\n?", "", re.sub(r"\[(\$[^$]*\$)\]\{\.long\}", r"\1", text))
            text = re.sub(r"\]\(([^)\s]+)\)", lambda hit: "](" + re.sub(r"\.html(?=#|$)", ".md", to_html(hit[1])) + ")" if ":" not in hit[1] else hit[0], text)
            parts.append(re.sub(r"</?(?:details|summary|abbr|b|small|span)\b[^>]*>", "", text).replace("{.colab}", "").strip())
            continue
        parts.append(f"```python\n{code_of(cell)}\n```")
        for out in cell.get("outputs", ()):
            text = "".join(out.get("text", out.get("data", {}).get("text/plain", "")))
            parts.append("```\n" + (text if len(text) < 4000 else text[:4000] + " …").strip("\n") + "\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def directory(listed):
    "llms.txt: every page with its one-sentence blurb, as links to the clean Markdown."
    book = settings(listed[0].root)
    lines = [f"# {book['title']}", "", f"> {book['description']}", ""]
    for section in dict.fromkeys(page.section for page in listed):
        lines += ["", f"## {section or 'Start'}", ""]
        lines += [f"- [{page.title}]({page.url.removesuffix('.html')}.md): {page.front.get('description', '')}".rstrip(": ") for page in listed if page.section == section]
    return "\n".join(lines) + "\n"


def for_colab(page):
    "The notebook with a first cell that fetches the book and installs it."
    s, folder = settings(page.root), os.path.join("nbs", Path(page.source).parent)
    setup = [f"# Colab only: fetch the book and install it, about a minute\n!git clone -q --depth 1 {s['git_url']} && pip install -q ./{s['repo']}\n%cd {s['repo']}/{folder.rstrip('/.')}"]
    notebook = json.loads(page.chapter.path.read_text(encoding="utf-8"))
    notebook["cells"].insert(0, {"cell_type": "code", "id": "colab", "metadata": {}, "execution_count": None, "outputs": [], "source": setup[0].splitlines(True)})
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def companions(listed):
    "What lies beside the HTML: {file: text} of the clean Markdown, its directory, and the notebooks for Colab."
    texts = {page.url.removesuffix(".html") + ".md": clean(page) for page in listed}
    return texts | {f"colab/{Path(page.source).name}": for_colab(page) for page in listed if colab(page)} | {"llms.txt": directory(listed)}


def write(path, text):
    "Write a file unless it says so already."
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
