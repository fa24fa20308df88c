"""pass_through: every packet goes on at once."""

from typing import ClassVar, Literal

from shaper import Policy


class PassThrough(Policy):
    """Every packet goes on at once: shows what the queue alone costs.

    # pass_through
    +0     < a b        two packets arrive together
    +0     > a b        and go on
    """

    needs = "headers"
    can_hold: ClassVar[bool] = False

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One object for all packets, which takes the least CPU time."""

    @property
    def takes_uncut(self) -> bool:
        return True
