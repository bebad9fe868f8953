"""A test that needs real data or a browser is skipped with a reason where there is none, and fails when it must run and is skipped."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_tests import PARALLEL

HERE = Path(__file__).resolve().parent
TESTS = """
import pytest

@pytest.mark.realdata
def test_needs_data(data_folder): assert data_folder.is_dir()

@pytest.mark.realdata
def test_gives_up(): pytest.skip("one file is missing")

@pytest.mark.browser
def test_needs_a_browser(chromium): assert chromium

def test_needs_something_else(): pytest.skip("for its own reason")
"""
WHOLE = "import pytest\npytest.importorskip('there_is_no_such_module')\n\n@pytest.mark.realdata\ndef test_a(): pass\n"


def outcome(folder, must_run, data, text=TESTS, how=()):
    "The last lines of pytest on a repository of its own."
    tests = folder / "repository" / "tests"
    tests.mkdir(parents=True)
    (tests / "conftest.py").write_text((HERE / "conftest.py").read_text(encoding="utf-8"))
    (tests.parent / "pyproject.toml").write_text((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    (tests / "test_planted.py").write_text(text)
    if data:
        (folder / "shared" / "data").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ACTIVE_DEFECTS", "PYTEST"))}
    environment |= {"ACTIVE_DEFECTS_MUST_RUN": must_run, "PATH": os.devnull}
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *how], cwd=tests.parent, env=environment, capture_output=True, text=True)
    return run.stdout


@pytest.mark.parametrize("must_run, data, counts", [
    ("", False, "4 skipped"), ("", True, "1 passed, 3 skipped"), ("realdata", True, "1 failed, 1 passed, 2 skipped"), ("realdata browser", True, "1 failed, 1 passed, 1 skipped, 1 error")])
def test_skips_count_where_a_test_must_run(tmp_path, must_run, data, counts):
    assert counts in outcome(tmp_path, must_run, data)


@pytest.mark.parametrize("how", [(), PARALLEL])
def test_a_file_that_skips_itself_counts_too(tmp_path, how):
    assert "must run here, but was skipped as a whole" in outcome(tmp_path, "realdata", True, WHOLE, how)


def test_skips_count_in_parallel_too(tmp_path):
    assert "1 failed, 1 passed, 2 skipped" in outcome(tmp_path, "realdata", True, how=PARALLEL)
