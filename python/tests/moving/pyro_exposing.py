"""What is exposed: methods, properties, whole classes, and what makes an object a container; and what is not."""

from pyro_serving import raised, serving


def main(pyro):
    class Base:
        @pyro.expose
        def of_base(self):
            return "of base"

        def hidden_of_base(self):
            return "never"

    @pyro.expose
    class Whole(Base):
        plain = 7

        def method(self):
            return "method"

        @property
        def text(self):
            return "text"

        @staticmethod
        def static(number):
            return 2 * number

        @classmethod
        def of_class(cls):
            return cls.__name__

        def _private(self):
            return "never"

    class Parts:
        def __init__(self):
            self._volume = 5
            self._items = ["a", "b", "c"]

        @pyro.expose
        @property
        def volume(self):
            return self._volume

        @volume.setter
        def volume(self, volume):
            self._volume = volume

        @pyro.expose
        @property
        def fixed(self):
            return "fixed"

        @pyro.expose
        def shown(self):
            return "shown"

        def unshown(self):
            return "never"

        @pyro.expose
        def __len__(self):
            return len(self._items)

        @pyro.expose
        def __getitem__(self, index):
            return self._items[index]

        @pyro.expose
        def __setitem__(self, index, item):
            self._items[index] = item

        @pyro.expose
        def __delitem__(self, index):
            del self._items[index]

        @pyro.expose
        def __iter__(self):
            return iter(self._items)

        @pyro.expose
        def __contains__(self, item):
            return item in self._items

    said = []
    with pyro.Daemon() as daemon:
        whole_uri, parts_uri = daemon.register(Whole()), daemon.register(Parts())
        with serving(daemon), pyro.Proxy(whole_uri) as whole, pyro.Proxy(parts_uri) as parts:
            said.append([whole.method(), whole.text, whole.static(21), whole.of_class(), whole.of_base()])
            for name in ("plain", "_private", "hidden_of_base", "nothing"):
                said.append((name, hasattr(whole, name)))
            said.append(sorted(whole._pyroMethods))
            said.append(sorted(whole._pyroAttrs))
            said.append([parts.volume, parts.shown(), hasattr(parts, "unshown"), parts.fixed])
            parts.volume = 11
            parts.volume += 1
            said.append(parts.volume)
            said.append(raised(AttributeError, lambda: setattr(parts, "other", 1))[0])
            said.append(raised(AttributeError, lambda: setattr(parts, "fixed", 1))[0])
            said.append([len(parts), parts[1], list(parts), "b" in parts, bool(parts)])
            parts[1] = "B"
            del parts[0]
            said.append(list(parts))
            said.append(raised(IndexError, lambda: parts[7]))
            said.append({"volume", "shown"} <= set(dir(parts)))
            said.append(sorted(parts._pyroMethods))
            said.append(
                parts == pyro.Proxy(parts_uri)
                and parts != whole
                and hash(parts) == hash(pyro.Proxy(parts_uri))
            )
    for wrong in (lambda: pyro.expose(Parts._hidden), lambda: pyro.expose(7)):
        said.append(raised(AttributeError, wrong)[0])
    return said


GIVES = [
    ["method", "text", 42, "Whole", "of base"],
    ("plain", False),
    ("_private", False),
    ("hidden_of_base", False),
    ("nothing", False),
    ["method", "of_base", "of_class", "static"],
    ["text"],
    [5, "shown", False, "fixed"],
    12,
    "AttributeError",
    "AttributeError",
    [3, "b", ["a", "b", "c"], True, True],
    ["B", "c"],
    ("IndexError", "list index out of range"),
    True,
    ["__contains__", "__delitem__", "__getitem__", "__iter__", "__len__", "__setitem__", "shown"],
    True,
    "AttributeError",
    "AttributeError",
]
