"""Of Kodi what the programs use: a window that says something."""


class Dialog:
    def ok(self, heading, message):
        print(f"{heading}: {message}", flush=True)
