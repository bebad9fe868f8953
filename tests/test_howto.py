"""The page for people with pictures of their own, done as it says: all cells at once, a part, a dead kernel, all cells again."""
import json
import shutil

import pytest
from conftest import ROOT
from lab import Lab, chromium_pages, jupyter_lab

from active_defects.data.store import LabelStore

PAGE = ROOT / "nbs" / "howto" / "label_your_own_parts.ipynb"
MARKS = "() => document.querySelectorAll('[data-part]').forEach((each) => each.removeAttribute('data-part'))"


def sources():
    return ["".join(cell["source"]) for cell in json.loads(PAGE.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_the_cells_up_to_the_canvas_know_no_truth_and_use_no_folder_that_vanishes():
    mine = sources()[:next(k for k, source in enumerate(sources()) if source.splitlines()[-1] == "canvas")]
    assert not any("truth" in source for source in mine)
    assert all("TemporaryDirectory" not in source or source.startswith("#| hide\nif \"IN_TEST\" in os.environ") for source in mine)


@pytest.mark.browser
def test_all_cells_leave_a_canvas_that_works_and_a_new_kernel_goes_on_where_the_old_one_stopped(chromium, tmp_path):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    shutil.copy(PAGE, tmp_path / "parts.ipynb")
    with jupyter_lab(tmp_path) as address, chromium_pages(chromium) as new_page:
        page = new_page(viewport=dict(width=1400, height=1000))
        page.set_default_timeout(120_000)
        lab = Lab(page, address, "parts.ipynb").open()
        lab.run_all(240)
        page.wait_for_selector(".ad-canvas[data-part]")
        first = page.get_attribute(".ad-canvas", "data-part")
        assert "part 1 of 10" in page.inner_text(".ad-title") and "Traceback" not in lab.text()
        page.focus(".ad-stage")
        page.keyboard.press("g")
        page.wait_for_selector("[data-answered='1']")
        store = LabelStore(tmp_path / "practice_parts.db")
        assert store.latest().ids.tolist() == [first] and len(store.rounds) == 1, "nothing but a person answers here"
        lab.restart(120)
        page.evaluate(MARKS)
        lab.run_all(240)
        page.wait_for_selector(".ad-canvas[data-part]")
        assert "part 2 of 10" in page.inner_text(".ad-title") and page.get_attribute(".ad-canvas", "data-part") != first
    assert sorted(each.name for each in tmp_path.iterdir() if "practice" in each.name and each.suffix in ("", ".db")) == ["practice_parts", "practice_parts.db"]
