"""How much work a call does, counted and not timed: the same number on a quick machine and on a busy one."""
import sys


def calls(job, db=None):
    "Calls of Python and C functions that `job` makes, and a thousandth of the instructions that SQLite runs for it in `db` (a Database)."
    count = 0
    def one(*_):
        nonlocal count
        count += 1
    def profile(frame, event, argument):
        if event in ("call", "c_call"): one()
    before = sys.getprofile()
    if db: db._db.set_progress_handler(one, 1000)
    sys.setprofile(profile)
    try: job()
    finally:
        sys.setprofile(before)
        if db: db._db.set_progress_handler(None, 0)
    return count
