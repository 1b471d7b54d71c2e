"""Settings of the whole process."""

USUAL = {
    "HOST": "localhost",
    "NS_HOST": "localhost",
    "NS_PORT": 9090,
    "NS_BCPORT": 9091,
    "NS_AUTOCLEAN": 0.0,
    "NS_LOOKUP_DELAY": 0.0,
    "NATHOST": None,
    "NATPORT": 0,
    "COMPRESSION": False,
    "SERVERTYPE": "thread",
    "COMMTIMEOUT": 0.0,
    "POLLTIMEOUT": 2.0,
    "MAX_RETRIES": 0,
    "SOCK_REUSE": True,
    "DETAILED_TRACEBACK": False,
    "THREADPOOL_SIZE": 80,
    "THREADPOOL_SIZE_MIN": 4,
    "MAX_MESSAGE_SIZE": 1073741824,
    "SERIALIZER": "serpent",
    "SERPENT_BYTES_REPR": False,
    "ITER_STREAMING": True,
    "ITER_STREAM_LIFETIME": 0.0,
    "ITER_STREAM_LINGER": 30.0,
    "LOGWIRE": False,
    "SSL": False,
}


def main(pyro):
    config = pyro.config
    said = []
    for name in USUAL:
        said.append((name, getattr(config, name)))
    config.COMMTIMEOUT = 2.5
    said.append(config.as_dict()["COMMTIMEOUT"])
    for wrong in (lambda: setattr(config, "COMMTIMEOUTS", 1), lambda: config.NOTHING):
        try:
            wrong()
        except AttributeError:
            said.append("AttributeError")
    config.reset()
    said.append(config.COMMTIMEOUT)
    return said


GIVES = [*USUAL.items(), 2.5, "AttributeError", "AttributeError", 0.0]
