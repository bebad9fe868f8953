"""What the site is made of: every notebook can be processed for its page, every link between pages leads somewhere, and nothing is loaded from another server."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from book import chapters

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def processed(tmp_path_factory):
    "A copy of the repository with its notebooks processed as `nbdev_docs` does before it calls Quarto: (folder, what was printed)."
    copy = tmp_path_factory.mktemp("site") / "book"
    skip = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".ipynb_checkpoints", "_proc", "_docs", "demo", "build", "*.egg-info")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=skip)
    code = "from nbdev.quarto import refresh_quarto_yml; refresh_quarto_yml(); from nbdev.serve import proc_nbs; proc_nbs(n_workers=2)"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy)}
    run = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return copy / "_proc"


def test_every_notebook_has_a_page(processed):
    missing = [c.name for c in chapters(ROOT) if not (processed / c.name).exists()]
    assert not missing


def test_no_page_shows_an_error(processed):
    failed = [f.name for f in processed.rglob("*.ipynb") for cell in json.loads(f.read_text(encoding="utf-8"))["cells"] for out in cell.get("outputs", []) if out["output_type"] == "error"]
    assert not failed


def test_quarto_reads_the_same_settings(processed):
    settings = yaml.safe_load((processed / "_quarto.yml").read_text(encoding="utf-8"))
    assert settings == yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    assert all((processed / name).exists() for name in settings["project"]["resources"] + settings["metadata-files"])


def markdown(path):
    "The prose of a page."
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "markdown")


def pages():
    return [*(c.path for c in chapters(ROOT)), ROOT / "nbs" / "index.qmd", *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in pages():
        prose = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", markdown(page))
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if not re.match(r"[a-z]+:|#", target) and not (page.parent / target.split("#")[0]).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_pages_load_nothing_from_another_server():
    outside = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*\\?["']\s*(?:https?:)?//""")
    files = [f for f in sorted((ROOT / "nbs").rglob("*")) if f.suffix in {".ipynb", ".qmd", ".js", ".css", ".scss", ".yml"} and f.name != "plotly.min.js"]
    loading = [f.name for f in files if outside.search(f.read_text(encoding="utf-8")) or re.search(r"@import\s+(?:url\()?[\"']?https?:|from\s+[\"']https?:", f.read_text(encoding="utf-8"))]
    assert not loading


def test_the_readme_and_the_front_page_agree():
    blocks = [re.findall(r"(?s)```python\n.*?```|```bash\nmake demo +# .*?```", (ROOT / name).read_text(encoding="utf-8")) for name in ("README.md", "nbs/index.qmd")]
    assert blocks[0] == blocks[1] and len(blocks[0]) == 2
    assert "SDR()" in blocks[0][1] and len(blocks[0][1].splitlines()) == 2 + 10
