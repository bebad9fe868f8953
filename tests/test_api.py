"""The one door: what `active_defects.api` imports is what it promises."""
import ast
import inspect
from pathlib import Path

from active_defects import api


def test_what_is_imported_and_what_is_promised_are_the_same_names():
    "`read_mvtec` was imported, worked, and was forgotten in the list."
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    imported = {alias.asname or alias.name for line in ast.walk(tree) if isinstance(line, ast.Import | ast.ImportFrom) for alias in line.names}
    assert imported - set(api.__all__) == set(), "imported, and not in __all__"
    assert set(api.__all__) - imported == set(), "in __all__, and not imported"
    assert len(api.__all__) == len(set(api.__all__)), "named twice"
    assert {name for name in vars(api) if not name.startswith("_")} == set(api.__all__), "a name of the module that is no promise"


def test_every_promise_is_explained():
    assert [name for name in api.__all__ if not inspect.getdoc(getattr(api, name))] == []
