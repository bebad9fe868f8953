"""What surfaces and flaws look like in numbers, for KolektorSDD, the magnetic tiles and the small world: the facts that the small world is fixed on.

    python experiments/surface_facts.py          (about 2 minutes; the real data at $ACTIVE_DEFECTS_DATA or ../shared/data)

Writes nbs/results/surface_facts.csv: quantiles over images, every image stretched to 64 x 64 first."""
import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from active_defects import __version__
from active_defects.data.archive import data_folder
from active_defects.data.atomic import write_whole
from active_defects.data.ksdd import read_ksdd
from active_defects.data.magnetic_tile import read_magnetic_tile
from active_defects.data.resize import resize, resize_mask
from active_defects.data.synth import flaw_contrast, synth_surfaces

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "surface_facts.csv"
SIZE = 64


def facts(pool, truth):
    "One row per image: level, texture, light; area and contrast where there is a mask."
    rows = {}
    for i in pool.ids:
        image = resize(pool.images[i], SIZE)
        light = gaussian_filter(image, SIZE / 8)
        rows[i] = dict(group=pool.table.group[i], kind=truth.table.category[i] if "category" in truth.table else "any",
                       brightness=image.mean(), texture=(image - light).std(), light=light.std())
        if i in truth.masks and truth.masks[i].any():
            cover = resize_mask(truth.masks[i], SIZE)
            rows[i]["area"] = 100 * truth.masks[i].mean()
            mask = cover >= min(0.5, 0.999 * cover.max())
            if mask.mean() < 0.8: rows[i]["contrast"] = flaw_contrast(image, mask)
    return pd.DataFrame.from_dict(rows, orient="index")


def summary(table):
    "Quantiles over the images, and for flaws over the images of each kind."
    quantiles = lambda values: dict(n=len(values), q10=values.quantile(0.1), q50=values.quantile(0.5), q90=values.quantile(0.9))  # noqa: E731
    for name in ("brightness", "texture", "light"): yield dict(measure=name, kind="all", **quantiles(table[name]))
    means = table.groupby("group").brightness
    yield dict(measure="brightness, sd inside a group", kind="all", **quantiles(means.std().dropna()))
    yield dict(measure="brightness, sd between groups", kind="all", n=means.ngroups, q50=means.mean().std())
    for kind, rows in table.dropna(subset=["area"]).groupby("kind"):
        yield dict(measure="area", kind=kind, **quantiles(rows.area))
        yield dict(measure="contrast", kind=kind, **quantiles(rows.contrast.dropna()))


def main():
    folder = data_folder()
    if folder is None: raise SystemExit("no real data: set ACTIVE_DEFECTS_DATA, or lay it into ../shared/data")
    worlds = {"KolektorSDD": lambda: read_ksdd(folder / "KolektorSDD.zip", crops=500), "magnetic tiles": lambda: read_magnetic_tile(folder / "magnetic_tile"),
              "small world": lambda: synth_surfaces(n=1000, seed=0, prevalence=0.2)}
    rows = [dict(set=name, **row) for name, read in worlds.items() for row in summary(facts(*read()))]
    table = pd.DataFrame(rows).round(4).assign(size=SIZE, version=__version__, date=datetime.date.today().isoformat())
    write_whole(RESULT, lambda path: table.to_csv(path, index=False))
    print(table.drop(columns=["size", "version", "date"]).to_string())


if __name__ == "__main__":
    main()
