"""The package and its command line start at once."""
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).parent / "active-defects"


def best_of_three(command, cwd):
    "The shortest of three runs in seconds, and the last one's output."
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        run = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert run.returncode == 0, run.stderr
    return min(seconds), run.stdout


def test_the_package_imports_at_once(tmp_path):
    code = "import sys, time; t = time.perf_counter(); import active_defects; t = time.perf_counter() - t; print(t, *({'torch', 'pandas'} & sys.modules.keys()))"
    runs = [best_of_three([sys.executable, "-c", code], tmp_path)[1].split() for _ in range(3)]
    assert min(float(seconds) for seconds, *_ in runs) < 0.2
    assert not any(heavy for _, *heavy in runs)


def test_help_comes_at_once(tmp_path):
    seconds, text = best_of_three([COMMAND, "--help"], tmp_path)
    assert seconds < 0.5
    assert all(command in text for command in ("rank", "ask", "tell", "report", "demo"))


def test_help_imports_nothing_heavy(tmp_path):
    code = ("import sys\nfrom active_defects.cli import main\nsys.argv = ['active-defects', '--help']\ntry: main()\nexcept SystemExit: pass\n"
            "print('heavy:', *sorted({'torch', 'pandas', 'plotly', 'scipy', 'sklearn'} & sys.modules.keys()))")
    assert best_of_three([sys.executable, "-c", code], tmp_path)[1].splitlines()[-1].strip() == "heavy:"


def test_the_version_is_the_same_everywhere():
    import importlib.metadata

    import active_defects
    settings = dict(line.split(" = ", 1) for line in (ROOT / "settings.ini").read_text().splitlines() if " = " in line)
    assert active_defects.__version__ == settings["version"] == importlib.metadata.version(settings["lib_name"])
