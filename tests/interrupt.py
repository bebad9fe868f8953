"""Trainings that are stopped in the middle, and whether they came to the same end."""
import numpy as np
import pytest
from active_defects.learners import training


class Killed(Exception): ...


def killed_after(monkeypatch, fit, stops=(1, 2, 4)):
    "Call `fit` once per stop: it saves after every epoch and is stopped when so many epochs have been done."
    monkeypatch.setattr(training.train, "__defaults__", (*training.train.__defaults__[:-1], -1.0))
    finish = training.Run.finish_epoch
    for stop in stops:
        def killed(run, *loss, stop=stop, **more):
            finish(run, *loss, **more)
            if len(run.history) == stop: raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(training.Run, "finish_epoch", killed)
            with pytest.raises(Killed): fit()


def weights(model):
    "Arrays by name, of a network or of the smallest learner's model."
    if not hasattr(model, "network"): return {"weight": model.weight, "bias": np.array(model.bias)}
    return {k: v.cpu().numpy() for k, v in model.network.state_dict().items()}


def equal(a, b):
    "Whether two sets of weights agree in every digit."
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
