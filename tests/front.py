"""The front page and the README: the map of the floors, the live picture, the results and what to cite. All of it is read from the chapters, the measured rows and the bibliography; nothing is trained, and no number is typed but one, `DARK`, which came with the data."""
import base64
import csv
import html
import io
import json
import re
from configparser import ConfigParser
from pathlib import Path
from statistics import mean, stdev

FIGURE = "870_studio.explore_guess.ipynb"  # the chapter whose stored explorer stands on the front page
STILL = "site/sixty_parts.png"  # the same, revealed, for pages that run no script
PAPERS = ("li2023", "mixedal")
ASIDES = ("note", "howpublished")  # what a work's entry tells readers of this book stands behind a semicolon


# The map

def floors(listed, below="", site=False):
    "One card for each floor with a sentence, its chapters folded behind it, as lines of Markdown; `listed` are the sections of the book."
    lines = ["", "::: {.floors}"] if site else []
    for k, (title, line, members) in enumerate(listed):
        many = f"{len(members)} {'page' if title == 'Back matter' else 'chapter'}{'s' * (len(members) > 1)}"
        lines += ["", f"<details{' open' * (k == 0)}>", f"<summary><b>{html.escape(title)}</b> <span>{html.escape(line, quote=False)}</span> <small>{many}</small></summary>", ""]
        lines += [f"- [{member.title}]({below}{member.name}) {member.blurb}".rstrip() for member in members]
        lines += ["", "</details>"]
    return [*lines, *(["", ":::"] if site else []), ""]


# The live picture

def explorer(root):
    "The HTML of the explorer, as its chapter stores it."
    notebook = json.loads((Path(root) / "nbs" / FIGURE).read_text(encoding="utf-8"))
    shown = ["".join(out.get("data", {}).get("text/html", "")) for cell in notebook["cells"] for out in cell.get("outputs", [])]
    return next(text for text in shown if 'class="explorer"' in text)


def state(root):
    "What the explorer starts from: the pictures, the truth, and who picked what."
    return json.loads(re.search(r'(?s)<script type="application/json">(.*?)</script>', explorer(root))[1])


def live(root):
    "The explorer as lines of Markdown."
    return ["", "```{=html}", *explorer(root).split("\n"), "```", ""]


def found(root):
    "Picks that were defective: {name: (letter, how many)}."
    s = state(root)
    return {name: (name[0].upper(), sum(s["bad"][k] for k in picks)) for name, picks in zip(s["names"], s["others"])}


def picture(root):
    "The still picture as lines of Markdown, with what it shows."
    s = state(root)
    met = list(found(root).items())
    told = lambda mark: ", ".join(f"{mark}{name}{mark} ({letter}) {'meets ' * (not k)}{count}" for k, (name, (letter, count)) in enumerate(met))  # noqa: E731
    shown = f"{len(s['ids'])} parts, {sum(s['bad'])} of them defective (framed), and {s['count']} questions each: of the defects "
    return ["", f"![A grid of small gray pictures of metal surfaces. {shown}{told('')}.](nbs/{STILL})", "", f"{shown}{told('*')}. On the site you pick your own {s['count']} before you see this.", ""]


LOOK = {"columns": 10, "zoom": 2, "gap": 10, "frame": 5, "dim": 0.45, "chip": 30}
COLORS = {"bad": "#d55e00", "random": "#7a7a7a", "k-center": "#b65fa0", "MSMR": "#00a878"}


def still(root):
    "The explorer as it looks when everything is revealed: a picture without ground, for light and dark pages."
    from PIL import Image, ImageDraw, ImageFont
    s, look = state(root), LOOK
    strip = Image.open(io.BytesIO(base64.b64decode(s["strip"].split(",", 1)[1]))).convert("RGB")
    side, count = strip.width, len(s["ids"])
    cell, step = side * look["zoom"], side * look["zoom"] + look["gap"] + look["frame"]
    rows, edge = -(-count // look["columns"]), look["frame"] + 2
    drawn = Image.new("RGBA", (look["columns"] * step - look["gap"] - look["frame"] + 2 * edge, rows * step - look["gap"] - look["frame"] + 2 * edge))
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(look["chip"] * 0.72)
    for k in range(count):
        x, y = edge + k % look["columns"] * step, edge + k // look["columns"] * step
        by = [name for name, picks in zip(s["names"], s["others"]) if k in picks]
        part = strip.crop((0, k * side, side, (k + 1) * side)).resize((cell, cell), Image.Resampling.NEAREST).convert("RGBA")
        if not by and not s["bad"][k]: part.putalpha(round(255 * look["dim"]))
        if s["bad"][k]: draw.rounded_rectangle((x - look["frame"], y - look["frame"], x + cell - 1 + look["frame"], y + cell - 1 + look["frame"]), 9, COLORS["bad"])
        drawn.paste(part, (x, y))
        for n, name in enumerate(by):
            left, top = x + 3 + n * (look["chip"] + 3), y + cell - look["chip"] - 3
            draw.rounded_rectangle((left, top, left + look["chip"], top + look["chip"]), 7, COLORS[name], "#ffffff", 2)
            draw.text((left + look["chip"] / 2, top + look["chip"] / 2), name[0].upper(), "#ffffff", font, anchor="mm")
    return drawn.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def differs(one, other):
    "Whether two pictures are more apart than two versions of the same drawing program."
    from PIL import ImageChops, ImageStat
    return one.size != other.size or max(ImageStat.Stat(ImageChops.difference(one.convert("RGBA"), other.convert("RGBA"))).mean) > 0.3


def write_still(root):
    "Draw the still picture, unless the file shows it already."
    from PIL import Image
    path = Path(root) / "nbs" / STILL
    if not (Path(root) / "nbs" / FIGURE).exists(): return
    drawn = still(root)
    if not path.exists() or differs(drawn, Image.open(path)): drawn.save(path, optimize=True)


# What was measured

SETS = {"KolektorSDD crops": "KolektorSDD", "magnetic tiles 5 %": "Magnetic tiles"}
WAYS = {"SDR": "MSMR, then SDR: the ten lines", "confidence": "MSMR, then the segmenter’s own confidence"}
CLASSICAL = {"median deviation": "A median filter; nothing is learned", "median deviation, dark": "A median filter for dark spots; nothing is learned"}
DARK = 31  # percent of the tiles' defects in the first tenth of the best of 49 filters, over fifty draws of a pool; it came with the data, and a test holds it to the page that says so
ROUNDS = ("1", "2", "3")


def rows(root, name):
    "The rows of a file in nbs/results; none where there is no such file."
    path = Path(root) / "nbs" / "results" / f"{name}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def runs(root, data, method):
    "Shares of the defects after the first rounds, of every run that has come so far: [[first, second, third], …] in percent."
    share = {(row["seed"], row["round"]): 100 * int(row["found"]) / int(row["defects"]) for row in rows(root, "seed_b_found") if row["data"] == data and row["method"] == method and row["learner"] == "small"}
    seeds = sorted({seed for seed, _ in share})
    return [[share[seed, number] for number in ROUNDS] for seed in seeds if all((seed, number) in share for number in ROUNDS)]


def percent(value): return f"{value:.0f}\u00a0%"


def ways(root, data):
    "Who asks, and the share of the defects found after each round: [(name, shares, where from)]."
    listed = []
    for method, name in WAYS.items():
        if done := runs(root, data, method): listed.append((name, [percent(mean(shares)) for shares in zip(*done)], f"[{len(done)} seed{'s' * (len(done) > 1)}](papers/sid4ds.ipynb#defects-found-round-by-round)"))
    page = next((f"papers/{file.name}" for file in sorted((Path(root) / "nbs" / "papers").glob("*.ipynb")) if "race_groups" in file.read_text(encoding="utf-8")), "papers/sid4ds.ipynb")
    classical = [row for row in rows(root, "race_groups") if row["data"] == data and row["seed"] == "0" and row["score"] in CLASSICAL]
    for row in classical:
        groups = [int(float(row[f"group{k}"])) for k in range(1, 11)]
        listed.append((CLASSICAL[row["score"]], [percent(100 * sum(groups[:int(number)]) / sum(groups)) for number in ROUNDS], f"[1 run]({page})"))
    plain = [row for row in rows(root, "cold_start") if row["data"] == data and row["hidden"] == "nothing" and row["size"] == "64" and not classical]
    listed += [(CLASSICAL["median deviation"], [percent(float(row[f"top{p}"])) for p in (10, 20, 30)], "[1 run](papers/cold_start.ipynb)") for row in plain]
    asked = {row["round"]: 100 * int(row["asked"]) / int(row["parts"]) for row in rows(root, "seed_b_found") if row["data"] == data}
    return [*listed, ("Chance", [percent(asked[number]) for number in ROUNDS], "[exact](explanations/random_labels.ipynb)")]


def larger(root):
    "The first tenth at 128 pixels: by MSMR as it is set, and by the median filter."
    chosen = [row for row in rows(root, "cold_start") if row["configuration"] == "size 128"]
    msmr = [float(row["top10"]) for row in chosen if row["hidden"] == "patches in turn, twice" and row["pooled"] == "worst 0.10% of pixels / place and image"]
    return mean(msmr), mean(float(row["top10"]) for row in chosen if row["hidden"] == "nothing")


def masks_worth(root):
    "Average precision on the magnetic tiles with no mask and with all: two means, how many masks, how many seeds."
    precision = {row["key"]: float(row["ap"]) for row in rows(root, "seed_a_mt")}
    chosen = [row for row in rows(root, "seed_a_mt_choices") if row["learner"] == "small" and row["k"] == "2"]
    none, every = ([precision[row["key"]] for row in chosen if row["method"] == method] for method in ("no masks", "all masks"))
    return mean(none), mean(every), max(int(row["masks"]) for row in chosen), len(every)


def results(root, below="", site=False):
    "What was measured on real parts, and what did not work, as lines of Markdown."
    lines = [*(["", "::: {.results}"] if site else []), ""]
    for data, called in SETS.items():
        one = next(row for row in rows(root, "seed_b_found") if row["data"] == data)
        lines += [f"| {called}: {one['defects']} of {int(one['parts']):,} defective | 1st tenth | 2nd | 3rd | runs |", f"|:{'-' * 46}|{'-' * 12}:|{'-' * 10}:|{'-' * 10}:|:{'-' * 12}|"]
        lines += [f"| {name} | {' | '.join(shares)} | {source} |" for name, shares, source in ways(root, data)]
        lines.append("")
    lines += [":::", ""] if site else []
    msmr, median = larger(root)
    none, every, masks, seeds = masks_worth(root)
    msmr_on_tiles = mean(float(row["top10"]) for row in rows(root, "seed_b_draws") if row["score"] == "MSMR" and row["kind"] == "all")
    missing = 100 - mean(third for *_, third in runs(root, list(SETS)[1], "SDR"))
    spread = max(stdev(shares) for data in SETS for method in WAYS if len(done := runs(root, data, method)) > 1 for shares in zip(*done))
    lines += [f"Small networks at 64 × 64 pixels, trained on a processor; seeds change the networks and not the parts, and their standard deviation is {spread:.0f} points or less. At 128 × 128 the first tenth of KolektorSDD holds {msmr:.0f} % of the defects by MSMR and {median:.0f} % by the median filter ([measured](papers/cold_start.ipynb)).", "",
              "What did not work:", "",
              "- After the first tenth, the parts of which the segmenter is *surest* hold as many defects of KolektorSDD as those that SDR names; the second network of SDR adds the last one or two ([from one state](papers/sid4ds.ipynb#from-one-state)).",
              f"- On the magnetic tiles {missing:.0f} % of the defects are still missing after the third tenth. MSMR sees small holes and hardly any broad change of brightness; over fifty draws of such a pool the best of 49 classical filters, chosen with the truth in hand, finds {DARK} % "
              f"of the defects in the first tenth, MSMR {msmr_on_tiles:.0f} % ([kinds of flaw](papers/sid4ds.ipynb#kinds-of-flaw)).",
              f"- Where all verdicts are known and only masks cost time, no way of choosing the parts to draw was reliably better than chance on the tiles. All {masks} masks lift average precision from {none:.2f} to {every:.2f}, "
              f"mean of {seeds} seeds ([mixed supervision](papers/mixed_supervision.ipynb)).", ""]
    return [line.replace("](", f"]({below}") for line in lines]


# What to cite

def settings(root):
    reader = ConfigParser(interpolation=None)
    reader.read(Path(root) / "settings.ini", encoding="utf-8")
    return dict(reader["DEFAULT"])


def entry(text, key):
    "One work of a bibliography: its kind and its fields."
    kind, rest = re.search(rf"(?ms)^@(\w+)\{{{key},(.*?)\}}\s*(?=^@|\Z)", text).groups()
    return kind, dict(re.findall(r"(\w+)\s*=\s*\{((?:[^{}]|\{[^{}]*\})*)\}", rest))


def citation(root):
    "BibTeX of the book and of the two papers, as lines of Markdown."
    s, books = settings(root), (Path(root) / "nbs" / "references.bib").read_text(encoding="utf-8")
    title, rest = re.match(r"(.*?\?) (.*)", s["description"]).groups()
    works = {s["lib_path"]: ("misc", {"author": "{" + s["author"] + "}", "title": f"{{{s['lib_path']}}}: {title}", "note": rest, "year": s["copyright"][:4], "version": s["version"], "url": s["git_url"]})}
    works |= {key: entry(books, key) for key in PAPERS}
    lines = []
    for key, (kind, fields) in works.items():
        fields = {name: re.sub(r"^Seed [AB][,;]?\s*|;.*$", "", value) if name in ASIDES else value for name, value in fields.items()}
        lines += [f"@{kind}{{{key},", *(f"  {name} = {{{value}}}," for name, value in fields.items() if value), "}"]
    return ["", "```bibtex", *lines, "```", ""]
