"""The rules of the architecture, one function each: a repository's root goes in, a list of violations comes out."""
import ast
import builtins
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import yaml
from book import EXPORTS, FLAGS, FLOORS, PACKAGE, ROOMS, chapters, contents, imports

MODULE_LINES, EXPORTED_LINES, LESSON_LINES, CODE_CELLS, NOTEBOOK_BYTES, IMPORT_SECONDS = 250, 45, 25, 40, 500_000, 0.2
DRAWERS = {"util", "utils", "helper", "helpers", "misc", "common", "core", "base"}
SOURCED = ("entropy", "margin", "confidence", "masked_error", "metrics")
TEXT = {".py", ".ipynb", ".md", ".qmd", ".ini", ".toml", ".yml", ".js", ".css", ".scss", ".csv", ""}
RULES = {}


def rule(check):
    "Enter a check under its name."
    RULES[check.__name__] = check
    return check


# What the checks share

def modules(root):
    "Every exported module, as (path, dotted name below the package)."
    package = Path(root) / PACKAGE
    paths = [p for p in sorted(package.rglob("*.py")) if p.name not in {"__init__.py", "_modidx.py"}]
    return [(p, ".".join(p.relative_to(package).with_suffix("").parts)) for p in paths]


def numbers(root):
    "Number of each floor's module."
    return {chapter.module: chapter.number for chapter in chapters(root) if chapter.numbered}


def own_imports(tree, known):
    "The package's own modules that a piece of code imports, without the package's name; unknown ones too."
    for module, names, _ in imports(tree):
        head, _, rest = module.partition(".")
        if module.startswith("."):
            yield module
        elif head == PACKAGE:
            inside = [f"{rest}.{name}".strip(".") for name in names]
            deeper = [name for name in inside if name in known]
            yield from deeper
            if rest and not (deeper and rest not in known):
                yield rest


def outside_imports(chapter):
    "Top names of the other packages that a chapter's exported cells import."
    return {module.split(".")[0] for cell in chapter.exported for module, _, _ in imports(cell.tree)} - {PACKAGE, ""}


def size(text):
    return len(text.strip("\n").splitlines())


def committed_text(root):
    "Every text file of the repository outside the environment and what tools leave behind, as (path, text)."
    root = Path(root)
    places = ("nbs", PACKAGE, "tests", "experiments", ".ci")
    files = [f for place in places for f in sorted((root / place).rglob("*"))] + sorted(root.glob("*"))
    for f in files:
        inside = f.relative_to(root).parts
        if f.is_file() and f.suffix in TEXT and "__pycache__" not in inside and ".ipynb_checkpoints" not in inside and f.stat().st_size < 2_000_000:
            yield f.relative_to(root).as_posix(), f.read_text(encoding="utf-8", errors="ignore")


# One notebook, one module, one place

@rule
def name_number_floor_agree(root):
    "Three digits, the floor's name, the module's name; `default_exp` says the same; no number twice."
    bad, seen = [], {}
    for c in [c for c in chapters(root) if c.numbered]:
        if not re.fullmatch(r"[1-9]\d\d_[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\.ipynb", c.name):
            bad.append(f"{c.name}: a chapter is called NNN_floor.name.ipynb, in small letters")
            continue
        folder = FLOORS[c.floor]
        if (folder and not c.module.startswith(folder + ".")) or (not folder and "." in c.module):
            bad.append(f"{c.name}: floor {c.floor} holds {folder + '.*' if folder else 'modules at the top of the package'}")
        if c.number in seen:
            bad.append(f"{c.name}: number {c.number} is {seen[c.number]}'s already")
        seen[c.number] = c.name
        named = [cell.directives["default_exp"] for cell in c.code_cells if "default_exp" in cell.directives]
        if named != [c.module] or "default_exp" not in c.cells[0].directives:
            bad.append(f"{c.name}: its first cell, and no other, says `#| default_exp {c.module}`; found {named}")
    return bad


@rule
def one_notebook_one_module(root):
    "Every chapter exports its own module and no other; notebooks beside the floors export nothing."
    bad = []
    for c in chapters(root):
        elsewhere = [cell.directives[word] for cell in c.exported for word in EXPORTS & cell.directives.keys() if cell.directives[word]]
        if elsewhere:
            bad.append(f"{c.name}: exports to another module ({', '.join(elsewhere)})")
        if c.numbered and not (c.exported and (Path(root) / PACKAGE / (c.module.replace(".", "/") + ".py")).exists()):
            bad.append(f"{c.name}: does not export {PACKAGE}/{c.module.replace('.', '/')}.py")
        if not c.numbered and c.name.split("/")[0] not in {"begin", *ROOMS}:
            bad.append(f"{c.name}: notebooks lie in nbs/ or in {', '.join(ROOMS)}")
        if not c.numbered and (c.exported or any("default_exp" in cell.directives for cell in c.code_cells)):
            bad.append(f"{c.name}: a notebook beside the floors exports nothing")
    return bad


@rule
def no_orphan_modules(root):
    "Every module comes from a notebook; `__init__.py` holds at most the version."
    known = numbers(root)
    bad = [f"{path.relative_to(root)}: no notebook exports it" for path, name in modules(root) if name not in known]
    for path in sorted((Path(root) / PACKAGE).rglob("__init__.py")):
        if not re.fullmatch(r'(\s*__version__ = "[^"]*"\s*)?', path.read_text(encoding="utf-8")):
            bad.append(f"{path.relative_to(root)}: holds more than the version")
    return bad


@rule
def javascript_is_copied(root):
    "The package carries the same JavaScript and CSS files as nbs/js."
    read = lambda folder: {f.name: f.read_bytes() for f in folder.glob("*") if f.suffix in {".js", ".css"}} if folder.is_dir() else {}  # noqa: E731
    source, copy = read(Path(root) / "nbs" / "js"), read(Path(root) / PACKAGE / "js")
    return [f"{name}: nbs/js and {PACKAGE}/js differ; `make prepare` copies it" for name in sorted(source.keys() | copy.keys()) if source.get(name) != copy.get(name)]


# Who may import whom

@rule
def imports_go_down(root):
    "Exported cells import only modules of the package that exist and have lower numbers, by absolute names."
    known, bad = numbers(root), []
    for c in [c for c in chapters(root) if c.numbered]:
        for name in [name for cell in c.exported for name in own_imports(cell.tree, known)]:
            if name.startswith("."):
                bad.append(f"{c.name}: relative import of {name}; write the absolute name")
            elif name not in known:
                bad.append(f"{c.name}: imports {name}, which no notebook exports")
            elif known[name] >= c.number:
                bad.append(f"{c.name}: imports {name} ({known[name]}), which is not below it")
    return bad


@rule
def models_import_no_data(root):
    "Floor 3 imports nothing from floor 2."
    known = numbers(root)
    return [f"{c.name}: a model imports {name}" for c in chapters(root) if c.numbered and c.floor == 3
            for cell in c.exported for name in own_imports(cell.tree, known) if name.split(".")[0] == "data"]


@rule
def the_loop_imports_no_strategy(root):
    "Floor 7 knows the strategies' contract and `Random`, no other strategy and no baseline."
    known = numbers(root)
    return [f"{c.name}: the loop imports {name}" for c in chapters(root) if c.numbered and c.floor == 7
            for cell in c.exported for name in own_imports(cell.tree, known)
            if name.split(".")[0] in {"strategies", "baselines"} and name != "strategies.strategy"]


@rule
def no_wildcards(root):
    "No `import *`, in lessons and tests neither."
    bad = [f"{c.name}: `from {module} import *`" for c in chapters(root) for cell in c.code_cells for module, names, _ in imports(cell.tree) if "*" in names]
    for path in [path for path, _ in modules(root)] + sorted((Path(root) / "tests").glob("*.py")):
        bad += [f"{path.relative_to(root)}: `from {module} import *`" for module, names, _ in imports(ast.parse(path.read_text(encoding="utf-8"))) if "*" in names]
    return bad


@rule
def nothing_private_across_modules(root):
    "No name that begins with an underscore is taken from another module of the package."
    private = lambda name: name.startswith("_") and not name.startswith("__")  # noqa: E731
    known, bad = numbers(root), []
    for c in chapters(root):
        held = {}
        for module, names, alias in [found for cell in c.code_cells for found in imports(cell.tree)]:
            if module.split(".")[0] != PACKAGE:
                continue
            bad += [f"{c.name}: takes {name} from {module}" for name in names if private(name)]
            held |= {alias: module} if not names else {name: name for name in names if f"{module}.{name}".partition(".")[2] in known}
        for node in [node for cell in c.code_cells for node in ast.walk(cell.tree) if isinstance(node, ast.Attribute) and private(node.attr)]:
            if ast.unparse(node.value) in held:
                bad.append(f"{c.name}: takes {node.attr} from {ast.unparse(node.value)}")
    return bad


@rule
def formulas_import_no_torch(root):
    "Floor 1 imports no torch."
    return [f"{c.name}: imports torch" for c in chapters(root) if c.numbered and c.floor == 1 and "torch" in outside_imports(c)]


@rule
def models_import_no_pandas(root):
    "Floor 3 imports no pandas."
    return [f"{c.name}: imports pandas" for c in chapters(root) if c.numbered and c.floor == 3 and "pandas" in outside_imports(c)]


@rule
def package_import_is_light(root):
    "`import active_defects` takes less than 0.2 s (best of three) and imports neither torch nor pandas."
    code = (f"import sys, time; start = time.perf_counter(); import {PACKAGE}; seconds = time.perf_counter() - start; "
            f"print(seconds, *({{'torch', 'pandas'}} & sys.modules.keys()))")
    runs = [subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout.split() for _ in range(3)]
    seconds, heavy = min(float(run[0]) for run in runs), sorted({name for run in runs for name in run[1:]})
    slow = [f"import {PACKAGE} takes {seconds:.2f} s, more than {IMPORT_SECONDS} s"] if seconds >= IMPORT_SECONDS else []
    return slow + [f"import {PACKAGE} imports {name}" for name in heavy]


# Sizes

@rule
def modules_are_short(root):
    "At most 250 lines a module."
    counts = [(path, size(path.read_text(encoding="utf-8"))) for path, _ in modules(root)]
    return [f"{path.relative_to(root)}: {n} lines, more than {MODULE_LINES}" for path, n in counts if n > MODULE_LINES]


@rule
def exported_cells_are_short(root):
    "At most 45 lines an exported cell, directives not counted."
    return [f"{c.name}: an exported cell of {size(cell.code)} lines, more than {EXPORTED_LINES}, begins `{cell.code.splitlines()[0]}`"
            for c in chapters(root) for cell in c.exported if size(cell.code) > EXPORTED_LINES]


@rule
def lesson_cells_are_short(root):
    "At most 25 lines a lesson cell, directives not counted."
    return [f"{c.name}: a lesson cell of {size(cell.code)} lines, more than {LESSON_LINES}, begins `{cell.code.splitlines()[0]}`"
            for c in chapters(root) for cell in c.lessons if size(cell.code) > LESSON_LINES]


@rule
def few_code_cells(root):
    "At most 40 code cells a notebook."
    return [f"{c.name}: {len(c.code_cells)} code cells, more than {CODE_CELLS}" for c in chapters(root) if len(c.code_cells) > CODE_CELLS]


@rule
def notebooks_are_small(root):
    "At most 500 KB a notebook file."
    return [f"{c.name}: {c.path.stat().st_size // 1000} KB, more than {NOTEBOOK_BYTES // 1000}" for c in chapters(root) if c.path.stat().st_size > NOTEBOOK_BYTES]


# How a chapter reads

@rule
def title_and_blurb_first(root):
    "`# Title`, an empty line, `> one sentence`, and nothing else: in the cell after `default_exp`, or in the first cell beside the floors. The site makes the page's head of that cell, and drops what else it holds."
    bad = []
    for c in chapters(root):
        rest = [cell for cell in c.cells if cell.kind != "raw" and "default_exp" not in cell.directives]
        hit = re.fullmatch(r"# \S[^\n]*\n\n> \S[^\n]*\s*", rest[0].source) if rest and rest[0].kind == "markdown" else None
        if hit is None or not hit[0].rstrip().endswith((".", "?", "!")):
            bad.append(f"{c.name}: does not begin with a cell of `# Title`, an empty line and `> one sentence.`")
    return bad


@rule
def import_cells_only_import(root):
    "A cell that imports holds nothing but imports."
    return [f"{c.name}: `{cell.code.splitlines()[0]}` stands in a cell that does more than import" for c in chapters(root) for cell in c.code_cells
            if not cell.only_imports and any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in cell.tree.body)]


@rule
def no_drawers(root):
    "No file and no class is called utils, helpers, misc, common, core or base."
    root = Path(root)
    files = [c.path for c in chapters(root)] + [path for path, _ in modules(root)] + [f for place in ("tests", "experiments") for f in sorted((root / place).rglob("*.py"))]
    bad = [f"{f.relative_to(root)}: a drawer's name" for f in files if DRAWERS & set(re.split(r"[/._]", f.relative_to(root).as_posix().lower()))]
    for path, _ in modules(root):
        classes = [node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
        bad += [f"{path.relative_to(root)}: class {name} has a drawer's name" for name in classes if DRAWERS & {word.lower() for word in re.findall(r"[A-Z][a-z]+", name)}]
    return bad


@rule
def lessons_end_in_a_value(root):
    "A lesson cell ends in the value worth seeing: no assignment, assertion, definition or print; only `with expect_fail(…)` needs none."
    bad = []
    for c in chapters(root):
        for cell in c.lessons:
            if not cell.tree.body or cell.only_imports or "hide" in cell.directives or FLAGS & cell.directives.keys() or "eval" in cell.directives:
                continue
            called = lambda node: ast.unparse(node.func) if isinstance(node, ast.Call) else ""  # noqa: E731
            if all(isinstance(node, ast.With) and all(called(item.context_expr) == "expect_fail" for item in node.items) for node in cell.tree.body):
                continue
            last = cell.tree.body[-1]
            if not isinstance(last, ast.Expr) or called(last.value).startswith("test_") or called(last.value) == "print":
                bad.append(f"{c.name}: a lesson cell ends in `{cell.code.strip().splitlines()[-1].strip()}`, not in a value")
            elif not cell.outputs:
                bad.append(f"{c.name}: a lesson cell stores no value for `{cell.code.strip().splitlines()[-1].strip()}`; run the notebook")
    return bad


@rule
def chapters_check_the_reader(root):
    "Every notebook has a heading `Check yourself`."
    return [f"{c.name}: no heading `## Check yourself`" for c in chapters(root)
            if not any(cell.kind == "markdown" and re.search(r"(?m)^#{2,3} Check yourself", cell.source) for cell in c.cells)]


@rule
def learners_train_on_the_gpu(root):
    "A chapter of floor 4 that defines a class with `fit` has a `#| cuda` cell."
    fits = lambda cell: any(isinstance(node, ast.ClassDef) and any(getattr(part, "name", "") == "fit" for part in node.body) for node in cell.tree.body)  # noqa: E731
    return [f"{c.name}: a learner without a `#| cuda` cell" for c in chapters(root)
            if c.numbered and c.floor == 4 and any(map(fits, c.exported)) and not any("cuda" in cell.directives for cell in c.code_cells)]


# What is stored

@rule
def no_stored_errors(root):
    "No stored output is an error."
    return [f"{c.name}: a stored error ({output.get('ename', '')})" for c in chapters(root) for cell in c.cells for output in cell.outputs if output["output_type"] == "error"]


@rule
def no_stored_stderr(root):
    "No stored output is a warning or a progress bar."
    return [f"{c.name}: stored stderr" for c in chapters(root) for cell in c.cells for output in cell.outputs if output["output_type"] == "stream" and output.get("name") == "stderr"]


@rule
def no_machine_paths(root):
    "No absolute path of somebody's machine in any file."
    pattern = re.compile(r"(?<![\w.])/(?:work|root|farm|Users|tmp/bash_jobs)/|(?<![\w.])/home/\w")
    return [f"{name}: a path of one machine (`{hit[0]}`)" for name, text in committed_text(root) if (hit := pattern.search(text))]


@rule
def nothing_unfinished(root):
    "No marks of unfinished work."
    pattern = re.compile(r"\b(?:TOD[O]|FIXM[E]|NotImplemented[E]rror)\b")
    return [f"{name}: {hit[0]}" for name, text in committed_text(root) if (hit := pattern.search(text))]


# What the reader of the site sees

@rule
def sidebar_lists_every_notebook(root):
    "The sidebar lists every notebook once, each under its floor, and no file that does not exist."
    sidebar = yaml.safe_load((Path(root) / "_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]
    listed = [(section.get("section", ""), item) for section in sidebar for item in section.get("contents", [section.get("href")])]
    names, there = [name for _, name in listed], {c.name: c for c in chapters(root)}
    bad = [f"_quarto.yml: {name} is not in the sidebar; `make prepare` writes it" for name in there if names.count(name) != 1]
    bad += [f"_quarto.yml: {name} does not exist" for name in names if not (Path(root) / "nbs" / name).exists()]
    return bad + [f"_quarto.yml: {name} stands under {section}" for section, name in listed
                  if name in there and there[name].numbered and not section.startswith(str(there[name].floor))]


@rule
def front_pages_list_every_chapter(root):
    "The tables of chapters on the front page and in the README are those that `make prepare` writes."
    return [f"{path.relative_to(root)}: its list of chapters is out of date; `make prepare` writes it" for path, text in contents(root).items()
            if path.name != "_quarto.yml" and path.read_text(encoding="utf-8") != text]


@rule
def quarto_yml_is_a_symlink(root):
    "nbs/_quarto.yml is a symlink to ../_quarto.yml: nbdev reads it there."
    link = Path(root) / "nbs" / "_quarto.yml"
    return [] if link.is_symlink() and link.readlink().as_posix() == "../_quarto.yml" else ["nbs/_quarto.yml: not a symlink to ../_quarto.yml"]


# What a function says about itself

def comments_of(source):
    "Comment of each line that has one: {line: text}, and the set of lines that hold nothing else."
    found = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT]
    return {t.start[0]: t.string.lstrip("# ").strip() for t in found}, {t.start[0] for t in found if t.line.strip().startswith("#")}


def public_functions(tree):
    "Public functions and public methods of public classes (`__init__` and `__call__` among them): (dotted name, node, is a method)."
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        if isinstance(node, functions) and not node.name.startswith("_"):
            yield node.name, node, False
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if isinstance(part, functions) and (not part.name.startswith("_") or part.name in {"__init__", "__call__"}):
                    yield f"{node.name}.{part.name}", part, True


def parameters(node, method):
    "The parameters that a caller passes, in the order of the source."
    static = any(ast.unparse(mark) == "staticmethod" for mark in node.decorator_list)
    a = node.args
    plain = (a.posonlyargs + a.args)[1 if method and not static else 0:]
    return sorted([*plain, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))], key=lambda p: (p.lineno, p.col_offset))


def missing_docments(node, method, source):
    "Names of the parameters, and `return`, that have no comment of their own."
    comments, alone = comments_of(source)
    todo, taken = [], set()
    plain = node.args.posonlyargs + node.args.args
    defaults = dict(zip(reversed(plain), reversed(node.args.defaults))) | dict(zip(node.args.kwonlyargs, node.args.kw_defaults))
    returns = node.returns if node.returns is not None and ast.unparse(node.returns) != "None" else None
    answer = node.returns.end_lineno if node.returns is not None else 0
    for p in parameters(node, method):
        lines = {p.lineno, (defaults.get(p) or p).end_lineno} | ({p.lineno - 1} & alone)
        own = sorted(n for n in lines - taken - {answer} if comments.get(n))
        todo += [] if own else [p.arg]
        taken |= set(own)
    if returns is not None and not comments.get(returns.end_lineno):
        todo.append("return")
    return todo


@rule
def public_functions_are_documented(root):
    "Docstring, a type on every parameter and return, a docment for each parameter and each return that is not None."
    bad = []
    for path, _ in modules(root):
        source = path.read_text(encoding="utf-8")
        tree, where = ast.parse(source), path.relative_to(root)
        for node in [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]:
            bad += [] if ast.get_docstring(node) else [f"{where}: class {node.name} has no docstring"]
            if any("dataclass" in ast.unparse(mark) for mark in node.decorator_list):
                comments, alone = comments_of(source)
                fields = [f for f in node.body if isinstance(f, ast.AnnAssign) and not f.target.id.startswith("_")]
                lacking = [f.target.id for f in fields if not (comments.get(f.end_lineno) or comments.get(f.lineno) or (f.lineno - 1 in alone))]
                bad += [f"{where}: {node.name} has no docment for {', '.join(lacking)}"] if lacking else []
        for name, node, method in public_functions(tree):
            if not ast.get_docstring(node) and not name.endswith(".__init__"):
                bad.append(f"{where}: {name} has no docstring")
            untyped = [p.arg for p in parameters(node, method) if p.annotation is None]
            untyped += ["return"] if node.returns is None and not name.endswith(".__init__") else []
            bad += [f"{where}: {name} has no type for {', '.join(untyped)}"] if untyped else []
            lacking = missing_docments(node, method, source)
            bad += [f"{where}: {name} has no docment for {', '.join(lacking)}"] if lacking else []
    return bad


@rule
def annotations_resolve(root):
    "A type written as a string names something that an import cell or an exported cell of the notebook binds; else the site's page of it cannot be made."
    bad = []
    for c in [c for c in chapters(root) if c.numbered]:
        body = [node for cell in c.code_cells if cell.exported or cell.only_imports for node in cell.tree.body]
        bound = set(dir(builtins)) | {alias.asname or alias.name.split(".")[0] for node in body if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
        bound |= {node.name for node in body if hasattr(node, "name")} | {t.id for node in body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)}
        for node in [inner for cell in c.exported for inner in ast.walk(cell.tree)]:
            hints = [node.annotation] if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation else [node.returns] if getattr(node, "returns", None) else []
            texts = [part.value for hint in hints for part in ast.walk(hint) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            missing = {name.id for text in texts for name in ast.walk(ast.parse(text, mode="eval")) if isinstance(name, ast.Name)} - bound
            bad += [f"{c.name}: the type \"{name}\" is imported nowhere; add it to the lesson's hidden import cell" for name in sorted(missing)]
    return sorted(set(bad))


@rule
def formulas_name_their_source(root):
    "In the chapters of equations a docstring that cites ends in its citation, `[Shannon 1948, §6].`, and each module cites at least once."
    bad = []
    for path, name in [(path, name) for path, name in modules(root) if name in {f"formulas.{short}" for short in SOURCED}]:
        lines = {f: (ast.get_docstring(node) or "").split("\n")[0] for f, node, _ in public_functions(ast.parse(path.read_text(encoding="utf-8")))}
        citing = {f: line for f, line in lines.items() if re.search(r"\[[^\]]*[A-Z][^\]]*\]", line)}
        bad += [f"{path.relative_to(root)}: {f}'s docstring does not end in its source, `[…].`: {line}" for f, line in citing.items() if not line.endswith("].")]
        bad += [] if citing else [f"{path.relative_to(root)}: no docstring names the source of its equation"]
    return bad
