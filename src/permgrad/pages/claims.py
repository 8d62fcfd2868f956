"""What may be said of features whose effect is clearly not 0.

That a feature matters is said of the loss of true ``y`` alone. Methods and games
without ``y`` see what the model says, and not whether it is right: a model trained on
noise changes with its features, too. A page is always of a loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from permgrad.base.errors import by_count
from permgrad.models.losses import named_loss

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


@dataclass(frozen=True)
class Claim:
    """The words for one kind of effect: of one feature and of several, of interactions,
    and what was not asked.
    """

    one: str
    many: str
    pair: str
    pairs: str
    note: str = ""

    def counted(self, count: int, players: str) -> str:
        """Return a sentence without its full stop, such as ``2 of 5 features clearly
        matter``.
        """
        return f"{count} of {players} clearly {by_count(count, self.one, self.many)}"

    def counted_pairs(self, count: int, players: str) -> str:
        """Return the same of interactions."""
        return f"{count} of {players} clearly {by_count(count, self.pair, self.pairs)}"


_SAYS = "what the model says"
_OF_OUTPUT = (
    f"changes {_SAYS}",
    f"change {_SAYS}",
    f"acts together on {_SAYS}",
    f"act together on {_SAYS}",
)
#: Of the loss, or a score, of true y.
OF_LOSS = Claim("matters", "matter", "interacts", "interact")
#: Of a game without y, which measures the loss where it is passed.
OF_DIVERGENCE = Claim(*_OF_OUTPUT, "Whether rightly was not asked: pass y.")
#: Of methods that explain what the model says, with y or without.
OF_METHODS = Claim(
    *_OF_OUTPUT, "Whether rightly was not asked: pass y, with method='permgrad'."
)


def claim_of(explanation: Explanation) -> Claim:
    """Return what may be said of an explanation's features."""
    about = explanation.meta
    loss_name = about.get("loss")
    loss = named_loss(loss_name)
    if loss is not None and not loss.by_y:
        return OF_DIVERGENCE
    of_loss = loss_name is not None or "loss" in str(about.get("quantity", ""))
    if of_loss or "scores" in about:
        return OF_LOSS
    return OF_METHODS
