"""``python -m permgrad``: the program ``permgrad``, also where its folder of programs
is not on the path.
"""

from __future__ import annotations

from permgrad.cli import main

if __name__ == "__main__":
    main()
