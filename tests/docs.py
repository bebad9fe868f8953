"""`make docs`: the site with Quarto, into `_docs/`: nbdev processes the notebooks, each page gets the lines that open it, Quarto renders, and what assistants and Colab read is laid beside."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pages

ROOT = Path(__file__).resolve().parent.parent
ABSENT = """Quarto is not installed, and the site needs it: https://quarto.org/docs/get-started/ has an installer for Linux, macOS and Windows.
Then `quarto --version` must answer, and `make docs` works. Without it, `make preview` builds the whole book as HTML into _preview/."""


def opened(page):
    "The processed notebook as the site shows it."
    notebook = json.loads(page.text)
    notebook["cells"] = [notebook["cells"][0], *pages.cells(page)]
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def main(root=ROOT):
    quarto = shutil.which("quarto")
    if quarto is None:
        print(ABSENT, file=sys.stderr)
        return 2
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    os.chdir(root)
    refresh_quarto_yml()
    made = Path(proc_nbs(n_workers=2))
    listed = pages.pages(root, made)
    texts = {page: opened(page) for page in listed if page.chapter}
    for page, text in texts.items(): (made / page.source).write_text(text, encoding="utf-8")
    run = subprocess.run([quarto, "render", "--no-cache"], cwd=made, stderr=subprocess.PIPE, text=True)
    print(run.stderr, file=sys.stderr)
    if run.returncode or "WARN" in run.stderr:
        print("Quarto failed or warned; see above", file=sys.stderr)
        return run.returncode or 1
    shutil.rmtree(root / "_docs", ignore_errors=True)
    shutil.move(made / "_docs", root / "_docs")
    for name, text in pages.companions(listed).items(): pages.write(root / "_docs" / name, text)
    print(f"{len(listed)} pages: open {root / '_docs' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
