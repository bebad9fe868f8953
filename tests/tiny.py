"""Learners small enough for a test: the same code, a thousandth of the work."""
import dataclasses
import importlib
import inspect
import pkgutil
from contextlib import contextmanager

from active_defects.learners.supervised_reconstruction import SupervisedReconstructionLearner


def tiny(thing, epochs=2, **changes):
    "A copy of a learner or strategy, and of everything in it, at 32 pixels and a sixteenth of the width, silent and on the CPU."
    small = dict(size=32, width=1 / 16, progress=False, device="cpu", sample=100)
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if field.name == "schedule":
            changes.setdefault("schedule", dataclasses.replace(value, epochs=epochs, batch=8))
        elif field.name == "size" and isinstance(value, tuple):
            changes.setdefault("size", (64, 128))  # the smallest that SegDecNet can decide about
        elif field.name in small:
            changes.setdefault(field.name, small[field.name])
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            changes.setdefault(field.name, tiny(value, epochs))
        elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            changes.setdefault(field.name, tuple(tiny(one, epochs) if dataclasses.is_dataclass(one) else one for one in value))
    if getattr(thing, "learner", ...) is None and hasattr(thing, "msmr"):  # SDR makes its own G, of the form of M but with the full schedule
        changes.setdefault("learner", tiny(SupervisedReconstructionLearner(thing.msmr.learner), epochs))
    return dataclasses.replace(thing, **changes)


def public_classes(*packages):
    "Every public class of every module below these packages, {module:name -> class}."
    found = {}
    for package in map(importlib.import_module, packages):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            module = importlib.import_module(info.name)
            for name, thing in vars(module).items():
                if inspect.isclass(thing) and thing.__module__ == info.name and not name.startswith("_") and not getattr(thing, "_is_protocol", False):
                    found[f"{info.name.removeprefix('active_defects.')}:{name}"] = thing
    return found


def learner_for(strategy):
    "The cheapest of all learners that gives what a strategy needs, tiny."
    needs = set(getattr(strategy, "needs", ()))
    learners = [c for c in public_classes("active_defects.learners").values() if hasattr(c, "fit") and hasattr(c, "gives") and needs <= set(c.gives)]
    if not learners:
        raise LookupError(f"no learner gives {sorted(needs)}, which {type(strategy).__name__} needs")
    return tiny(min(learners, key=lambda c: (c.__name__ != "PixelLearner", c.__module__))())


@contextmanager
def no_room(size=1000):
    "No file may grow beyond `size` bytes: a disk that is full for all layers at once, whichever of them writes. Real, as it is the system that refuses (EFBIG)."
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
