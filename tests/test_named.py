"""A strategy is found by its name alone, if it is one of ours; messages name what there is."""
import pytest
from tiny import public_classes

from active_defects import named
from active_defects.named import load_strategy, strategy_places


def test_every_strategy_that_can_be_imported_is_found_by_its_text():
    there = {place for place, thing in public_classes("active_defects.strategies", "active_defects.baselines").items() if all(hasattr(thing, part) for part in ("score", "pointwise", "nested"))}
    assert {where for places in strategy_places().values() for where in places} == there and len(there) > 10


def test_a_class_is_enough_and_capitals_do_not_matter():
    assert load_strategy("MedianDeviation") == load_strategy("mediandeviation") == load_strategy("baselines.median:MedianDeviation")
    assert load_strategy("msmr") == load_strategy("active_defects.strategies.msmr:MSMR")


def test_each_class_of_ours_has_a_name_of_its_own():
    assert all(len(places) == 1 for places in strategy_places().values())


@pytest.mark.parametrize("name, words", [("Mediandeviatoin", "did you mean MedianDeviation?"), ("", "there are "), ("strategies.msmr", "no strategy 'strategies.msmr'"), ("zzz", "no strategy 'zzz'; there are ")])
def test_who_names_none_is_told_all(name, words):
    with pytest.raises(ValueError) as said: load_strategy(name)
    assert words in str(said.value)
    assert all(known in str(said.value) for known in ("MSMR", "MedianDeviation", "Uncertainty", "Random", "package.module:Class"))


def test_two_of_one_name_are_both_named(monkeypatch):
    monkeypatch.setattr(named, "strategy_places", lambda: {"Twin": ["strategies.a:Twin", "baselines.b:Twin"]})
    with pytest.raises(ValueError, match="strategies.a:Twin, baselines.b:Twin; name the module, too"): load_strategy("Twin")
