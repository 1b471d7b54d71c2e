"""Addresses: what they are made of, and which are equal."""


def main(pyro):
    said = []
    for text in (
        "PYRO:thing@localhost:4444",
        "pyro:thing@localhost:4444",
        "PYRO:thing@[::1]:4444",
        "PYRO:thing@./u:/tmp/some.sock",
        "PYRONAME:some.name",
        "PYRONAME:some.name@nshost",
        "PYRONAME:some.name@nshost:7777",
        "PYRONAME:some.name@./u:/tmp/ns.sock",
        "PYROMETA:one",
    ):
        uri = pyro.URI(text)
        whole = uri.object if isinstance(uri.object, str) else sorted(uri.object)
        said.append([str(uri), uri.protocol, whole, uri.host, uri.port, uri.sockname, uri.location])
    both = pyro.URI("PYROMETA:one,two@nshost")
    said.append([sorted(both.object), both.host, both.port])
    uri = pyro.URI("PYRO:thing@localhost:4444")
    same = pyro.URI(uri)
    said.append(
        [
            uri == same,
            uri != same,
            hash(uri) == hash(same),
            uri == str(uri),
            pyro.URI.isUnixsockLocation("./u:x"),
        ]
    )
    said.append(uri == pyro.URI("PYRO:thing@localhost:4445"))
    said.append(pyro.resolve(uri) == uri)
    return said


GIVES = [
    ["PYRO:thing@localhost:4444", "PYRO", "thing", "localhost", 4444, None, "localhost:4444"],
    ["PYRO:thing@localhost:4444", "PYRO", "thing", "localhost", 4444, None, "localhost:4444"],
    ["PYRO:thing@[::1]:4444", "PYRO", "thing", "::1", 4444, None, "[::1]:4444"],
    ["PYRO:thing@./u:/tmp/some.sock", "PYRO", "thing", None, None, "/tmp/some.sock", "./u:/tmp/some.sock"],
    ["PYRONAME:some.name", "PYRONAME", "some.name", None, None, None, None],
    ["PYRONAME:some.name@nshost:9090", "PYRONAME", "some.name", "nshost", 9090, None, "nshost:9090"],
    ["PYRONAME:some.name@nshost:7777", "PYRONAME", "some.name", "nshost", 7777, None, "nshost:7777"],
    [
        "PYRONAME:some.name@./u:/tmp/ns.sock",
        "PYRONAME",
        "some.name",
        None,
        None,
        "/tmp/ns.sock",
        "./u:/tmp/ns.sock",
    ],
    ["PYROMETA:one", "PYROMETA", ["one"], None, None, None, None],
    [["one", "two"], "nshost", 9090],
    [True, False, True, False, True],
    False,
    True,
]
