"""What a verdict can say of an assessment: for each finding the numbers behind it, or
None if it does not hold.

One file for each subject. ``verdict`` has the order of the sentences and their parts,
``findings`` the words.
"""

from __future__ import annotations

from permgrad.pages.facts.calibration_facts import (
    LEAST_CALIBRATION_ERROR,
    TIMES_CHANCE,
    beyond_chance,
)

__all__ = ["LEAST_CALIBRATION_ERROR", "TIMES_CHANCE", "beyond_chance"]
