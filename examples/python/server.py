"""Offers a player under the name `player`, and ends with Ctrl-C."""

import andiron


@andiron.expose
class Player:
    """Plays things."""

    def seek(self, seconds: float, done) -> float:
        """Moves to `seconds`; tells `done`, and returns the new position."""
        done("ok")
        return seconds


andiron.serve({"player": Player()})
