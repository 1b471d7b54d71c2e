"""Coroutines of `kaa`, at both ends of a channel of `kaa.rpc` in one program."""

from andiron.compat import kaa_rpc as kaa


class FeedManager(object):
    def __init__(self):
        self.feeds = []

    @kaa.rpc.expose("feeds.add", add_client=True, coroutine=True)
    def add(self, client, url):
        title = yield client.rpc("page.title", url)
        yield kaa.delay(0.01)
        self.feeds.append(title)
        yield len(self.feeds)

    @kaa.rpc.expose("feeds.update", coroutine=True)
    def update(self):
        if not self.feeds:
            raise ValueError("there are no feeds")
        yield kaa.NotFinished
        yield sorted(self.feeds)

    @kaa.rpc.expose("feeds.wait")
    def wait(self):
        return kaa.InProgress(abortable=True)


class Browser(object):
    @kaa.rpc.expose("page.title", coroutine=True)
    def title(self, url):
        yield kaa.delay(0.001)
        yield url.rpartition("/")[2].title()


@kaa.coroutine()
def program(client):
    yield kaa.inprogress(client)
    print(client.connected)
    try:
        yield client.rpc("feeds.update")
    except ValueError as e:
        print(str(e).splitlines()[-1])
    numbers = yield kaa.InProgressAll(
        client.rpc("feeds.add", "http://x/" + word) for word in ("one", "two", "six")
    )
    print(sorted(number.result for number in numbers))
    print((yield client.rpc("feeds.update")))
    try:
        yield client.rpc("feeds.wait").timeout(0.05, abort=True)
    except kaa.TimeoutException:
        print("timed out")
    first, result = yield kaa.InProgressAny(kaa.InProgress(), client.rpc("feeds.update"))
    print(first, len(result))
    yield "done"


server = kaa.rpc.Server("feeds", "password")
server.register(FeedManager())
client = kaa.rpc.Client("feeds", "password")
client.register(Browser())
print(program(client).wait())
client.close()
server.close()
