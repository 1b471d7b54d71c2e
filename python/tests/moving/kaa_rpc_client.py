"""The client of the documentation of `kaa.rpc`, which calls right away, and is called."""

from andiron.compat import kaa_rpc as kaa


class Greeter(object):
    @kaa.rpc.expose()
    def greet(self, word):
        print("it says", word)
        greeted.finish(word)
        return word.upper()


@kaa.coroutine()
def foo():
    name = yield client.rpc("name")
    print(name)
    yield greeted
    try:
        yield client.rpc("file.open", "/nowhere/at/all")
    except IOError as e:
        print(e.errno, e.filename)
        print(str(e).splitlines()[0])
    yield client.rpc("shutdown")
    kaa.main.stop()


greeted = kaa.InProgress()
client = kaa.rpc.Client("test", "secret")
client.connect(Greeter())
x = client.rpc("do_something", 6)
x.connect(print)
client.rpc("do_something", foo=4).connect(print, "in a callback")
foo()
kaa.main.run()
