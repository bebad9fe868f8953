"""`make test`: what is committed is clean and exported, every notebook runs, every test passes. Each part says how long it took."""
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WATCHED = ("nbs", "active_defects", "_quarto.yml", "README.md", "pyproject.toml")
NOTEBOOK_SECONDS = 180
PARALLEL = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile")  # tests of one file share what they build; each process computes in one thread


def snapshot(root):
    "Hash of every file that is made from notebooks, or is one: {path below root: digest}."
    files = [f for name in WATCHED for f in ([root / name] if (root / name).is_file() else sorted((root / name).rglob("*")))]
    kept = [f for f in files if f.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(f.parts) and f.name != "nbdev.yml"]
    return {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in kept}


def differing(before, after):
    "Names of files that were changed, added or removed between two snapshots."
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def clean_and_exported(root):
    "Whether clean and export leave every file as it is; the names of those they changed are printed."
    before = snapshot(root)
    subprocess.run([sys.executable, "tests/prepare.py"], cwd=root, check=True)
    changed = differing(before, snapshot(root))
    for name in changed:
        print(f"  not clean or not exported: {name}")
    if changed:
        print("  They are now; look at the difference and commit it (`make prepare` does the same).")
    return not changed


def notebooks_run(root):
    "Whether every notebook's unflagged cells run; says so when they take longer than they are meant to."
    start = time.monotonic()
    command = "from nbdev.test import nbdev_test; nbdev_test.__wrapped__(n_workers=2, timing=True)"
    passed = subprocess.run([sys.executable, "-c", command], cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode == 0
    if (seconds := time.monotonic() - start) > NOTEBOOK_SECONDS:
        print(f"  note: the notebooks took {seconds:.0f} s, more than the {NOTEBOOK_SECONDS} s they are meant to take on two quiet cores; see the slowest above")
    return passed


def tests_pass(root):
    "Whether pytest passes, a file on each core at a time."
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "--durations=10", *PARALLEL], cwd=root).returncode == 0


def main():
    failed, begin = [], time.monotonic()
    for title, part in {"clean and export": clean_and_exported, "notebooks": notebooks_run, "pytest": tests_pass}.items():
        print(f"== {title}", flush=True)
        start = time.monotonic()
        failed += [] if part(ROOT) else [title]
        print(f"== {title}: {'FAILED' if failed[-1:] == [title] else 'passed'} in {time.monotonic() - start:.0f} s", flush=True)
    print(f"== all in {time.monotonic() - begin:.0f} s" + (f"; failed: {', '.join(failed)}" if failed else "; everything passed"))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
