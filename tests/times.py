"""`make times`: how long each notebook runs, into nbs/results/run_times.csv. Seconds of one core, imports not counted; a notebook whose code is the same as last time is not run again."""
import csv
import datetime
import hashlib
import importlib
import os
import platform
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch

from book import chapters  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "nbs" / "results" / "run_times.csv"
FIELDS = ("notebook", "seconds", "code", "python", "processor", "date")
WARM = ("torch", "pandas", "scipy.stats", "scipy.ndimage", "sklearn.metrics", "plotly.graph_objects", "PIL.Image", "anywidget", "fastcore.test")


def code_of(chapter):
    "A hash of all code of a notebook."
    return hashlib.blake2b("\0".join(cell.source for cell in chapter.code_cells).encode(), digest_size=6).hexdigest()


def measure(chapter):
    "Seconds of processor time that the notebook's unflagged cells take on one core, measured in a child that has the libraries already."
    from nbdev.config import get_config
    from nbdev.test import test_nb
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            before = os.times()
            passed, _ = test_nb(chapter.path, skip_flags=get_config().tst_flags.split(), basepath=ROOT)
            after = os.times()
            os.write(writer, f"{sum(after[:4]) - sum(before[:4])}".encode() if passed else b"")
        finally:
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 100)
    os.close(reader)
    os.waitpid(child, 0)
    if not said: raise RuntimeError(f"{chapter.name} does not run; see above")
    return float(said)


def write(rows):
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main():
    known = {row["notebook"]: row for row in csv.DictReader(FILE.open(encoding="utf-8"))} if FILE.exists() else {}
    there = chapters(ROOT)
    os.chdir(ROOT)
    for name in WARM: importlib.import_module(name)
    for chapter in there:
        if known.get(chapter.name, {}).get("code") == code_of(chapter): continue
        try:
            seconds = measure(chapter)
        except RuntimeError as error:
            print(error, flush=True)
            continue
        known[chapter.name] = dict(zip(FIELDS, (chapter.name, f"{seconds:.2f}", code_of(chapter), platform.python_version(), platform.machine(), datetime.date.today().isoformat())))
        print(f"{chapter.name}  {seconds:.1f} s", flush=True)
        write([known[c.name] for c in there if c.name in known])


if __name__ == "__main__":
    main()
