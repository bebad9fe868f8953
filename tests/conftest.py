"""Marks: `realdata` and `browser` tests are skipped, with a reason, where what they need is absent. A test whose mark is named in
ACTIVE_DEFECTS_MUST_RUN (blank-separated; `.ci/run` sets it) fails when it is skipped, whatever the reason."""
import os
import shutil
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: sums in another number of threads round differently, and a killed training must end like an unbroken one

import pytest

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def real_data():
    "The folder with the real data sets, or None: $ACTIVE_DEFECTS_DATA, else ../shared/data beside the repository."
    folder = Path(os.environ.get("ACTIVE_DEFECTS_DATA") or ROOT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def browser():
    "The Chromium to drive, or None."
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def must_run():
    return set(os.environ.get("ACTIVE_DEFECTS_MUST_RUN", "").split())


def pytest_runtest_setup(item):
    if item.get_closest_marker("realdata") and real_data() is None:
        pytest.skip("no real data: set ACTIVE_DEFECTS_DATA, or lay it into ../shared/data")
    if item.get_closest_marker("browser") and browser() is None:
        pytest.skip("no browser: install chromium")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    needed = {mark.name for mark in item.iter_markers()} & must_run()
    if report.skipped and needed and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"{item.nodeid} is marked {', '.join(sorted(needed))}, which must run here, but was skipped: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    path = getattr(collector, "path", None)
    if report.outcome == "skipped" and path is not None and path.is_file():
        text = path.read_text(encoding="utf-8")
        needed = [name for name in sorted(must_run()) if f"mark.{name}" in text]
        if needed:
            report.outcome, report.longrepr = "failed", f"{path.name} holds tests marked {', '.join(needed)}, which must run here, but was skipped as a whole"
    return report


@pytest.fixture(scope="session")
def data_folder():
    "The folder with KolektorSDD.zip, magnetic_tile/ and splits/."
    if (folder := real_data()) is None:
        pytest.skip("no real data: set ACTIVE_DEFECTS_DATA, or lay it into ../shared/data")
    return folder


@pytest.fixture(scope="session")
def chromium():
    "Path of the Chromium to drive."
    if (path := browser()) is None:
        pytest.skip("no browser: install chromium")
    return path
