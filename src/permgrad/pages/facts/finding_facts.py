"""What the facts of a finding are."""

from __future__ import annotations

from typing import Any

#: The numbers and names of a finding. ``form`` says which of its sentences is meant,
#: ``options`` what the command that is advised adds to that of the run.
Facts = dict[str, Any]
