"""What a method knows of its call: who calls, what was said beside the arguments, and what is closed when the caller goes."""

import threading
import uuid

from pyro_serving import serving


def main(pyro):
    context = pyro.current_context
    closed = threading.Event()

    class Resource:
        def close(self):
            closed.set()

    class Daemon(pyro.Daemon):
        def annotations(self):
            return {"DDAA": b"of the daemon"}

    resources = []

    @pyro.expose
    class Service:
        def about(self):
            said = context.annotations.get("USER")
            context.response_annotations["BACK"] = b"hello back"
            return [
                isinstance(context.client_sock_addr, (tuple, list)),
                None if said is None else bytes(said).decode(),
                str(context.correlation_id),
                context.client is not None,
            ]

        def plain(self):
            return sorted(context.annotations)

        def open(self):
            resource = Resource()
            resources.append(resource)
            context.track_resource(resource)

        def close(self):
            resource = resources.pop()
            context.untrack_resource(resource)
            return closed.is_set()

    said = []
    with Daemon() as daemon:
        uri = daemon.register(Service)
        with serving(daemon):
            with pyro.Proxy(uri) as service:
                context.annotations = {"USER": b"ann"}
                context.correlation_id = uuid.UUID(int=7)
                said.append(service.about())
                back = context.response_annotations
                said.append({name: bytes(text) for name, text in sorted(back.items())})
                context.annotations = {}
                said.append(service.plain())
                said.append(sorted(context.response_annotations))
                context.correlation_id = None
                said.append(uuid.UUID(service.about()[2]) != uuid.UUID(int=7))
                service.open()
                said.append(service.close())
                service.open()
                said.append(closed.is_set())
            closed.wait(60)
            said.append(closed.is_set())
    try:
        context.track_resource(Resource())
    except pyro.errors.PyroError as error:
        said.append(type(error).__name__)
    return said


GIVES = [
    [True, "ann", "00000000-0000-0000-0000-000000000007", True],
    {"BACK": b"hello back", "DDAA": b"of the daemon"},
    [],
    ["DDAA"],
    True,
    False,
    False,
    True,
    "PyroError",
]
