"""Permgrad's models and everyone else on thirty cells: six sets, five splits, the same rows for all.

    python benchmarks/comparison.py --cache DIR                    # what is missing is trained, then the tables
    python benchmarks/comparison.py --cache DIR --models default   # ours alone; everyone in the cache is in the tables
    python benchmarks/comparison.py --cache DIR --models default --refresh default
    python benchmarks/comparison.py --cache DIR --only-tables

60 % of the rows train, 20 % say when to stop, 20 % test (`permgrad.data.splitting.split_rows`, seed = split).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _cells import SETS, SPLITS, Cells, contenders, run


def main() -> int:
    known = contenders()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder of finished cells")
    parser.add_argument("--models", nargs="+", default=list(known), metavar="MODEL", help=", ".join(known))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--splits", nargs="+", type=int, default=list(SPLITS))
    parser.add_argument("--refresh", nargs="*", default=[], metavar="MODEL", help="train these again")
    parser.add_argument("--only-tables", action="store_true", help="train nothing")
    given = parser.parse_args()
    cells = Cells.read(given.cache)
    given.cache.mkdir(parents=True, exist_ok=True)
    wanted = [(known[model], name, split) for split in given.splits for model in given.models for name in given.sets]
    run(cells, wanted, refresh=given.refresh)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
