"""Objects of own classes travel by hooks that make dicts of them, and them of dicts."""

from pyro_serving import serving


class Track:
    def __init__(self, title, seconds):
        self.title, self.seconds = title, seconds


class TrackError(Exception):
    pass


def track_to_dict(track):
    return {"__class__": "music.Track", "title": track.title, "seconds": track.seconds}


def dict_to_track(name, content):
    assert name == "music.Track"
    return Track(content["title"], content["seconds"])


def main(pyro):
    @pyro.expose
    class Player:
        def longer(self, track, seconds):
            return Track(track.title, track.seconds + seconds)

        def all(self):
            return [Track("a", 1), {"b": Track("b", 2)}]

        def kind(self, value):
            return type(value).__name__

    said = []
    with pyro.Daemon() as daemon:
        uri = daemon.register(Player)
        with serving(daemon):
            for api in (pyro, pyro.SerializerBase):
                api.register_class_to_dict(Track, track_to_dict)
                api.register_dict_to_class("music.Track", dict_to_track)
                with pyro.Proxy(uri) as player:
                    track = player.longer(Track("Embers", 60.5), 9.5)
                    said.append([type(track).__name__, track.title, track.seconds, player.kind(track)])
                    first, second = player.all()
                    said.append([first.title, second["b"].title])
                api.unregister_dict_to_class("music.Track")
                api.unregister_class_to_dict(Track)
    return said


GIVES = [
    ["Track", "Embers", 70.0, "Track"],
    ["a", "b"],
    ["Track", "Embers", 70.0, "Track"],
    ["a", "b"],
]
