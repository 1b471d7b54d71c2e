"""The name server: names, metadata, prefixes and patterns, and addresses that use them."""

from pyro_serving import raised, serving


def main(pyro):
    @pyro.expose
    class Thing:
        def __init__(self, name):
            self._name = name

        def name(self):
            return self._name

    said = []
    uri, names_daemon, _broadcast = pyro.start_ns(host="localhost", port=0)
    with names_daemon, pyro.Daemon() as daemon:
        host, _, port = names_daemon.locationStr.rpartition(":")
        port = int(port)
        said.append([uri.object, uri.location == names_daemon.locationStr])
        with serving(names_daemon, daemon), pyro.locate_ns(host, port) as ns:
            said += [ns.ping(), ns.count(), list(ns.list())]
            thing = daemon.register(Thing("one"))
            said.append(ns.register("app_one", thing))
            ns.register("app.two", str(daemon.register(Thing("two"))), metadata={"big", "red"})
            ns.register("other", daemon.register(Thing("other")), metadata=["red"])
            said += [ns.lookup("app_one") == thing, type(ns.lookup("app_one")).__name__]
            address, metadata = ns.lookup("app.two", return_metadata=True)
            said.append([address.protocol, sorted(metadata)])
            said.append(sorted(ns.list(prefix="app_")))
            said.append(sorted(ns.list(prefix="app")))
            said.append(sorted(ns.list(regex="o.*r")))
            said.append(sorted(ns.list(regex="pp")))
            said.append(ns.list(prefix="app_")["app_one"] == str(thing))
            said.append(
                {
                    name: sorted(meta)
                    for name, (_, meta) in ns.list(prefix="app.", return_metadata=True).items()
                }
            )
            said.append(sorted(ns.yplookup(meta_all={"red"})))
            said.append(
                {name: sorted(meta) for name, (_, meta) in ns.yplookup(meta_all=["red", "big"]).items()}
            )
            said.append(sorted(ns.yplookup(meta_any={"big", "none"}, return_metadata=False)))
            said.append(ns.yplookup(meta_all={"none"}))
            ns.set_metadata("other", {"green"})
            said.append(sorted(ns.lookup("other", return_metadata=True)[1]))

            said.append(raised(pyro.errors.NamingError, lambda: ns.lookup("nothing")))
            said.append(raised(pyro.errors.NamingError, lambda: ns.register("other", thing, safe=True)))
            said.append(raised(pyro.errors.NamingError, lambda: ns.set_metadata("nothing", {"x"})))
            said.append(raised(pyro.errors.NamingError, lambda: ns.list(regex="("))[0])
            said.append(raised(ValueError, lambda: ns.list(prefix="a", regex="b")))
            said.append(raised(ValueError, lambda: ns.yplookup(meta_all={"a"}, meta_any={"b"})))
            said.append(raised(TypeError, lambda: ns.register("x", thing, metadata="text")))
            said.append(raised(TypeError, lambda: ns.register("x", 7)))
            said.append(raised(pyro.errors.PyroError, lambda: ns.register("x", "no address"))[0])

            at = f"@{host}:{port}"
            with pyro.Proxy(f"PYRONAME:app_one{at}") as one:
                said.append(one.name())
                said.append(one._pyroUri.protocol)
            with pyro.Proxy(f"PYRONAME:app.two{at}") as two:
                two._pyroBind()
                said.append([two._pyroUri.protocol, two.name()])
            with pyro.Proxy(f"PYROMETA:red,big{at}") as big:
                said.append(big.name())
            said.append(pyro.resolve(f"PYRONAME:app_one{at}") == thing)
            nothing = pyro.Proxy(f"PYRONAME:nothing{at}")
            said.append(raised(pyro.errors.NamingError, nothing._pyroBind))
            said.append(raised(pyro.errors.NamingError, lambda: pyro.Proxy(f"PYROMETA:none{at}").name())[0])

            said.append([ns.remove("app_one"), ns.remove("app_one"), ns.remove("Pyro.NameServer")])
            ns.register("app_1", thing)
            ns.register("appx2", thing)
            said.append([ns.remove(prefix="app_"), sorted(ns.list())])
            said.append([ns.remove(regex=r"^(app|Pyro)"), sorted(ns.list()), ns.count(), ns.remove()])
            with pyro.Proxy(uri) as direct:
                said.append(sorted(direct.list()))
                direct.register("again", thing)
                said.append(
                    [direct.lookup("again") == thing, ns.lookup("again") == thing, direct.remove("again")]
                )
    said.append(sorted(text.rpartition(".")[2] for text in pyro.type_meta(Thing)))
    said.append(pyro.type_meta(Thing("x")) == pyro.type_meta(Thing))
    said.append(all(text.startswith("class:") for text in pyro.type_meta(Thing)))
    return said


GIVES = [
    ["Pyro.NameServer", True],
    None,
    1,
    ["Pyro.NameServer"],
    None,
    True,
    "URI",
    ["PYRO", ["big", "red"]],
    ["app_one"],
    ["app.two", "app_one"],
    ["other"],
    [],
    True,
    {"app.two": ["big", "red"]},
    ["app.two", "other"],
    {"app.two": ["big", "red"]},
    ["app.two"],
    {},
    ["green"],
    ("NamingError", "unknown name: nothing"),
    ("NamingError", "name already registered: other"),
    ("NamingError", "unknown name: nothing"),
    "NamingError",
    ("ValueError", "you can only filter on one thing at a time"),
    ("ValueError", "you can't use meta_all or meta_any at the same time"),
    ("TypeError", "metadata should not be a str, but another iterable (set, list, etc)"),
    ("TypeError", "only URIs or strings can be registered"),
    "PyroError",
    "one",
    "PYRONAME",
    ["PYRO", "two"],
    "two",
    True,
    ("NamingError", "unknown name: nothing"),
    "NamingError",
    [1, 0, 0],
    [1, ["Pyro.NameServer", "app.two", "appx2", "other"]],
    [2, ["Pyro.NameServer", "other"], 2, 0],
    ["Pyro.NameServer", "other"],
    [True, True, 1],
    ["Thing"],
    True,
    True,
]
