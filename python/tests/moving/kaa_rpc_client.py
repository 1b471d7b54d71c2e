"""The client of the documentation of `kaa.rpc`, which calls right away, and is called."""

from andiron.compat import kaa_rpc as kaa


class Greeter(object):
    @kaa.rpc.expose()
    def greet(self, word):
        greeted.finish(word)
        return word.upper()


@kaa.coroutine()
def foo(*calls):
    yield kaa.InProgressAll(calls)
    name = yield client.rpc("name")
    print(name)
    print("it says", (yield greeted))
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
y = client.rpc("do_something", foo=4)
y.connect(print, "in a callback")
foo(x, y)
kaa.main.run()
