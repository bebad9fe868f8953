"""The letters of formulas: what each means on a page, from the tables of the notation page, as a folded list below the page's first formula. `page.js` shows the same where a letter is pointed at."""
import re
from functools import cache
from pathlib import Path

FORMULA = re.compile(r"(?s)```.*?```|`[^`\n]*`|\$\$(.*?)\$\$|(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)")
WORD = re.compile(r"\\(?:text|mathrm|operatorname|begin|end)\{[^}]*\}|\\\\\[[^\]]*\]")
GREEK = str.maketrans({"γ": r"\gamma ", "δ": r"\delta ", "κ": r"\kappa ", "λ": r"\lambda ", "μ": r"\mu ", "σ": r"\sigma ", "Ω": r"\Omega "})
LETTER = re.compile(r"\\[A-Za-z]+|[^\W\d_]")
MEANT = re.compile(r"(\$[^$]+\$(?:, \$[^$]+\$)*) (.*?)(?=; \$|$)")
TITLE = "Symbols on this page"


def formulas(text):
    "The TeX of every formula of a piece of Markdown."
    return [(display or inline).translate(GREEK) for display, inline in FORMULA.findall(text) if display or inline]


@cache
def notation(root):
    "What the notation page says: the letters of every chapter as [(symbols, meaning)], and those of single chapters as {notebook: the same}."
    file = Path(root) / "nbs" / "back" / "notation.qmd"
    everywhere, _, rest = file.read_text(encoding="utf-8").partition("\n## In one chapter\n") if file.exists() else ("", "", "")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in everywhere.splitlines() if line.startswith("| $")]
    within = lambda span: f", in {span}" if span.startswith(("[", "(")) else f"; {span}" if span else ""  # noqa: E731
    single = re.findall(r"(?m)^\| \[[^\]]+\]\(\.\./([^)#]+)\) \| (\$.*?) \|$", rest)
    shared = [(formulas(row[0]), row[1] + "".join(map(within, row[2:-1]))) for row in rows]
    return shared, {name: [(formulas(symbols), meaning) for symbols, meaning in MEANT.findall(text)] for name, text in single}


def spelled(symbol):
    "A pattern that finds a symbol of several signs in TeX, however it is spaced and braced."
    return re.compile(r"[\s{}]*".join(map(re.escape, re.findall(r"\\[A-Za-z]+|\\.|[^\s{}\\]", symbol))))


def single(symbol): return LETTER.fullmatch(symbol) is not None


def meanings(page, texts):
    "What the letters of these pieces of Markdown mean on this page: [(symbols, meaning)], the page's own first."
    everywhere, chapters = notation(page.root)
    own = chapters.get(page.source, [])
    taken = {symbol for symbols, _ in own for symbol in symbols}
    tex, found = "\n".join(formula for text in texts for formula in formulas(text)), set()
    for symbol in sorted({symbol for symbols, _ in [*own, *everywhere] for symbol in symbols if not single(symbol)}, key=len, reverse=True):
        tex, count = spelled(symbol).subn(" ", tex)
        if count: found.add(symbol)
    found |= set(LETTER.findall(WORD.sub(" ", tex)))
    shared = [([symbol for symbol in symbols if symbol in found - taken], meaning) for symbols, meaning in everywhere]
    return own + [(symbols, meaning) for symbols, meaning in shared if symbols]


def lettered(texts):
    "Which pieces have a letter in a formula."
    return [k for k, text in enumerate(texts) if any(LETTER.search(WORD.sub(" ", tex)) for tex in formulas(text))]


def place(texts):
    "The piece below which the list stands: the first with a formula on a line of its own, or else the first with a letter in a formula."
    return next((k for k in lettered(texts) if "$$" in texts[k]), lettered(texts)[0])


def listed(page, texts):
    "The list as Markdown, empty for pages without letters in formulas."
    found = meanings(page, texts) if lettered(texts) and not page.source.startswith("back/") else []
    if not found: return ""
    items = "\n\n".join(f"{', '.join(f'${symbol}$' for symbol in symbols)}\n:   {meaning}" for symbols, meaning in found)
    return f"::: {{.symbols}}\n<details><summary>{TITLE}</summary>\n\n{items}\n\nAll letters: [Notation]({page.up}back/notation.qmd).\n\n</details>\n:::\n"
