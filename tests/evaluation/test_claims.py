"""Nothing is called clear, better, worse or changed where nothing is: the short form of
``verify_claims``.
"""

from __future__ import annotations

import pytest
from verification import verify_claims


@pytest.mark.slow
def test_claims_are_seldom_made_where_nothing_is(capsys):
    faults = verify_claims.main(["--quick"])
    printed = capsys.readouterr().out
    assert faults == 0, printed
    assert printed.count(": met") == len(verify_claims.CLAIMS)


def test_every_claim_has_cells_and_the_same_seed_makes_it_again():
    for claim, cells in verify_claims.CLAIMS.values():
        assert len(cells) >= 6
        first = [
            claim(verify_claims.np.random.default_rng(0), 0, *cells[0])
            for _ in range(2)
        ]
        assert first[0] == first[1]
