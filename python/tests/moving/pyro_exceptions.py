"""Exceptions of own classes arrive as such where the hooks say how they are made."""

from pyro_serving import serving


class TrackError(Exception):
    def __init__(self, message, track):
        super().__init__(message)
        self.track = track


def error_to_dict(error):
    return {"__class__": "music.TrackError", "args": [error.args[0]], "attributes": {"track": error.track}}


def dict_to_error(name, content):
    return TrackError(content["args"][0], content["attributes"]["track"])


def main(pyro):
    @pyro.expose
    class Player:
        def play(self, track):
            raise TrackError("cannot be played", track)

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Player)
        with serving(daemon):
            with pyro.Proxy(uri) as player:
                try:
                    player.play("Embers")
                except pyro.errors.PyroError as error:
                    said.append("TrackError" in str(error))
            pyro.register_class_to_dict(TrackError, error_to_dict)
            pyro.register_dict_to_class("music.TrackError", dict_to_error)
            with pyro.Proxy(uri) as player:
                try:
                    player.play("Embers")
                except TrackError as error:
                    said += [str(error), error.track]
            pyro.unregister_dict_to_class("music.TrackError")
            pyro.unregister_class_to_dict(TrackError)
    return said


GIVES = [True, "cannot be played", "Embers"]
