"""What a verdict can say of an assessment: for each finding the numbers behind it, or
None if it does not hold.

One file for each subject. ``verdict`` has the order of the sentences and their parts,
``findings`` the words.
"""

from __future__ import annotations

from typing import Any

#: The numbers and names of a finding. ``form`` says which of its sentences is meant,
#: ``options`` what the command that is advised adds to that of the run.
Facts = dict[str, Any]
