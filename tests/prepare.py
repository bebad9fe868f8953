"""`make prepare`: clean and export the notebooks, copy their JavaScript, write the lists of chapters and the rest of the front page. Running it twice changes nothing."""
import os
from pathlib import Path

from book import copy_javascript, write_contents

ROOT = Path(__file__).resolve().parent.parent


def prepare(root=ROOT):
    "Bring everything that is made from notebooks in step with them."
    from nbdev.clean import nbdev_clean
    from nbdev.doclinks import nbdev_export

    os.chdir(root)
    nbdev_clean.__wrapped__()
    nbdev_export.__wrapped__()
    copy_javascript(root)
    write_contents(root)


if __name__ == "__main__":
    prepare()
