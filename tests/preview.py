"""`make preview`: the whole book as HTML without Quarto, into `_preview/`. Notebooks are processed by nbdev, turned into HTML by pandoc, and put into one page each; only what changed is made again."""
import argparse
import hashlib
import html
import multiprocessing
import os
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

import pages
from pages import companions, markdown, settings, to_html, write

ROOT = Path(__file__).resolve().parent.parent
SHELL = Path(__file__).resolve().parent / "preview"
ASSETS = {".png", ".webp", ".svg", ".css"}


def digest(*texts):
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=12).hexdigest()


# One page: nbdev, then pandoc

@cache
def bibliography(root):
    file = Path(root) / "nbs" / "references.bib"
    return file.read_text(encoding="utf-8") if file.exists() else ""


def process(page):
    "Let nbdev process the notebook, unless that was done since it was last changed."
    from nbdev.processors import FilterDefaults
    from nbdev.serve_drv import main
    source, made = page.root / "nbs" / page.source, page.made / page.source
    key, mark = digest(source.read_text(encoding="utf-8")), made.with_suffix(made.suffix + ".key")
    if made.exists() and mark.exists() and mark.read_text() == key: return
    made.parent.mkdir(parents=True, exist_ok=True)
    if page.chapter: main((source, made, FilterDefaults))
    else: shutil.copy2(source, made)
    mark.write_text(key)


def to_body(page):
    "Contents and body of the page, as pandoc makes them; kept under a hash of all that goes in."
    import pypandoc
    text, books = markdown(page), bibliography(page.root)
    cites = "{#refs}" in text
    kept = page.made / "bodies" / f"{digest(text, books if cites else '', (SHELL / 'body.html').read_text())}.html"
    if not kept.exists():
        command = [pypandoc.get_pandoc_path(), "--from=markdown+lists_without_preceding_blankline", "--to=html5", "--mathml", "--toc", "--toc-depth=3", "--wrap=none",
                   f"--template={SHELL / 'body.html'}", *(["--citeproc", f"--bibliography={page.root / 'nbs' / 'references.bib'}", "--metadata=link-citations:true"] if cites else [])]
        run = subprocess.run(command, input="---\nnocite: '@*'\n---\n" + text if cites else text, capture_output=True, text=True, encoding="utf-8")
        if run.returncode or run.stderr: raise RuntimeError(f"{page.source}: pandoc says: {run.stderr}")
        write(kept, run.stdout)
    return kept


def make(page):
    "What one worker does: process one page, and turn it into HTML; the name of the file, and how long it took."
    start = time.monotonic()
    process(page)
    return page.source, to_body(page), time.monotonic() - start


# The frame around a page

def link(page, to, rel=""):
    here = ' aria-current="page"' if to == page else ""
    return f'<a href="{page.up}{to.url}"{here}{rel and f" rel={chr(34)}{rel}{chr(34)}"}>{html.escape(to.called or to.title)}</a>'


def sidebar(page, listed):
    "Every page under its floor; the floor of this page is open."
    found = []
    for section in dict.fromkeys(other.section for other in listed):
        links = "".join(f"<li>{link(page, other)}</li>" for other in listed if other.section == section)
        found.append(f'<details{" open" if section == page.section else ""}><summary>{html.escape(section)}</summary><ul>{links}</ul></details>' if section else f"<ul>{links}</ul>")
    return "\n".join(found)


def framed(page, listed, body):
    "The whole page."
    contents, article = body.split("<!-- body -->", 1)
    k = listed.index(page)
    around = [(listed[k - 1] if k else None, "prev", "Previous"), (listed[k + 1] if k + 1 < len(listed) else None, "next", "Next")]
    article = re.sub(r'(href|src)="([^":#][^":]*)"', lambda hit: f'{hit[1]}="{to_html(hit[2])}"', article)
    parts = {
        "title": html.escape(page.title), "book": html.escape(settings(page.root)["title"]), "section": html.escape(page.section), "up": page.up,
        "description": html.escape(page.front.get("description", "")), "sidebar": sidebar(page, listed), "contents": contents.strip(), "article": article.strip(),
        "around": "".join(f'<span class="{rel}"><small>{word}</small> {link(page, other, rel=rel)}</span>' for other, rel, word in around if other),
        "plotly": f'<script src="{page.up}site/plotly.min.js"></script>' if "Plotly.newPlot" in article else "",
        "markdown": Path(page.url).with_suffix(".md").name}
    return re.sub(r"\{\{(\w+)\}\}", lambda hit: parts[hit[1]], (SHELL / "page.html").read_text(encoding="utf-8"))


def build(root=ROOT, out=None, workers=1):
    "Bring `out` in step with the book; the list of pages."
    root, start = Path(root), time.monotonic()
    out = Path(out or root / "_preview")
    listed = pages.pages(root, out / ".made")
    bodies = {}
    os.chdir(root)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for k, (source, body, seconds) in enumerate(pool.imap_unordered(make, listed), 1):
            bodies[source] = body
            if seconds > 0.5: print(f"{k:4} of {len(listed)}  {source}  {seconds:.1f} s", flush=True)
    wanted = {page.url: framed(page, listed, bodies[page.source].read_text(encoding="utf-8")) for page in listed}
    wanted |= companions(listed) | {name: (SHELL / name).read_text(encoding="utf-8") for name in ("preview.css", "preview.js")}
    for name, text in wanted.items(): write(out / name, text)
    nbs = root / "nbs"
    assets = [f for f in sorted(nbs.rglob("*")) if f.is_file() and (f.suffix in ASSETS or f.parent == nbs / "site") and ".ipynb_checkpoints" not in f.parts]
    for f in assets:
        copy = out / f.relative_to(nbs)
        if not copy.exists() or copy.stat().st_mtime < f.stat().st_mtime:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(f, copy)
    fresh = {out / name for name in wanted} | {out / f.relative_to(nbs) for f in assets} | set(bodies.values())
    for stale in [f for f in out.rglob("*") if f.is_file() and f not in fresh and (f.parent.name == "bodies" or ".made" not in f.parts)]: stale.unlink()
    print(f"{len(listed)} pages in {time.monotonic() - start:.0f} s: open {out / 'index.html'}")
    return listed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes; 2, or as many as there are cores, if not given")
    parser.add_argument("--out", help="folder to build into; _preview below the repository if not given")
    options = parser.parse_args()
    build(out=options.out, workers=options.workers)


if __name__ == "__main__":
    import preview  # under its own name: a worker that has run a notebook has another `__main__`
    preview.main()
