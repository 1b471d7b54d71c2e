"""A method calls another object: what belongs to the call goes on, and what does not stays."""

import uuid

from pyro_serving import serving


def main(pyro):
    context = pyro.current_context

    @pyro.expose
    class Last:
        def about(self):
            return [str(context.correlation_id), sorted(context.annotations)]

        def fail(self):
            raise LookupError("at the end of the way")

    @pyro.expose
    class First:
        def __init__(self, uri):
            self.uri = uri

        def relay(self):
            before = context.correlation_id
            with pyro.Proxy(self.uri) as last:
                told = last.about()
            return [told[0] == str(before), told, str(before)]

        def fail(self):
            with pyro.Proxy(self.uri) as last:
                last.fail()

    said = []
    with pyro.Daemon() as one, pyro.Daemon() as other:
        last = one.register(Last)
        first = other.register(First(last))
        with serving(one, other), pyro.Proxy(first) as proxy:
            context.correlation_id = uuid.UUID(int=9)
            same, told, own = proxy.relay()
            said += [same, told[0] == own == str(uuid.UUID(int=9))]
            context.correlation_id = None
            said.append(proxy.relay()[0])
            try:
                proxy.fail()
            except LookupError as error:
                said += [str(error), "".join(error._pyroTraceback).count("in fail") >= 1]
    return said


GIVES = [True, True, True, "at the end of the way", True]
