"""A real Kodi for tests: without a screen, in a profile of its own, driven by its JSON-RPC.

Kodi listens on a port that cannot be chosen, so `own_network` gives the process that tests, and each Kodi it starts, a loopback network which nobody else sees.
"""

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

#: Where distributions put the program. What `kodi` on the PATH is, is a script that starts it anew when it crashes.
PROGRAMS = [
    "/usr/lib/x86_64-linux-gnu/kodi/kodi.bin",
    "/usr/lib/aarch64-linux-gnu/kodi/kodi.bin",
    "/usr/lib/kodi/kodi.bin",
    "/usr/lib64/kodi/kodi.bin",
]
JSON_RPC = 9090

#: What listens on all networks is off. JSON-RPC listens on the loopback one.
SETTINGS = {
    "addons.unknownsources": "true",
    "general.addonupdates": "2",
    "screensaver.mode": "",
    "services.airplay": "false",
    "services.esallinterfaces": "false",
    "services.esenabled": "true",
    "services.upnp": "false",
    "services.webserver": "false",
    "services.wsdiscovery": "false",
    "services.zeroconf": "false",
}

#: An address of `own_network` that is not of the loopback one, as that of another machine.
OTHER_HOST = "10.9.9.9"

_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_SIOCSIFFLAGS, _SIOCSIFADDR, _IFF_UP = 0x8914, 0x8916, 1
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def missing():
    """What this machine lacks for these tests; `None` where all is there."""
    if not any(map(os.path.exists, PROGRAMS)):
        return "there is no Kodi (Debian: apt-get install --no-install-recommends kodi)"
    for program, package in (("Xvfb", "xvfb"), ("ffmpeg", "ffmpeg"), ("import", "imagemagick")):
        if shutil.which(program) is None:
            return f"there is no {program} (Debian: apt-get install --no-install-recommends {package})"
    return None


def own_network():
    """Moves this process to a network of its own, which has a loopback and nothing else. Has to come before any thread begins."""
    if _libc.unshare(_CLONE_NEWNET) != 0:
        user, group = os.getuid(), os.getgid()
        if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "this system gives no process a network of its own")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
        other = struct.pack("16sHH4s16x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(OTHER_HOST))
        fcntl.ioctl(any_socket, _SIOCSIFADDR, other)


def until(question, what, seconds=60):
    """Asks until the answer is true, which it returns; fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.01)


def _ends_with_this():
    """In a child: the kernel ends it where the tests are killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Display:
    """A screen that nobody sees, for `with`."""

    def __enter__(self):
        # Free numbers are found by a look at sockets, which another network does not show: it is one that no other process has.
        self.name = f":{1000 + os.getpid()}"
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [
                "Xvfb",
                self.name,
                "-displayfd",
                str(writing),
                "-screen",
                "0",
                "1280x720x24",
                "-nolisten",
                "tcp",
            ],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
            preexec_fn=_ends_with_this,
        )
        os.close(writing)
        with open(reading) as number:
            assert number.readline(), "Xvfb ended"  # it says when it is ready
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()


class JsonRpc:
    """A connection to Kodi's JSON-RPC. Messages follow each other without anything between; what Kodi tells by itself is in `notes`."""

    def __init__(self):
        self.notes = []
        self._socket = socket.create_connection(("127.0.0.1", JSON_RPC), 5)
        self._socket.settimeout(60)
        self._ids = itertools.count(1)
        self._text = ""

    def __call__(self, method, **params):
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self._socket.sendall(json.dumps(request).encode())
        while True:
            message = self._message()
            if message.get("id") != number:
                self.notes.append(message)
            elif "error" in message:
                raise AssertionError(f"{method}: {message['error']}")
            else:
                return message["result"]

    def _message(self):
        while True:
            try:
                message, end = json.JSONDecoder().raw_decode(self._text)
            except ValueError:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise EOFError("Kodi closed the connection") from None
                self._text = (self._text + data.decode()).lstrip()
                continue
            self._text = self._text[end:].lstrip()
            return message

    def close(self):
        self._socket.close()


class Script:
    """A program that runs in an interpreter of its own in Kodi."""

    def __init__(self, kodi, answer):
        self._kodi, self._answer = kodi, answer

    def answered(self):
        """Whether it has said something, or failed."""
        return self._answer.exists()

    def result(self, seconds=60):
        """What it gave to `answer`; fails with what it raised."""
        self._kodi.until(self.answered, f"what {self._answer.stem} answers", seconds)
        told = json.loads(self._answer.read_text())
        assert "error" not in told, told["error"]
        return told["value"]


#: What the log says of each script that begins.
_SCRIPT = "CPythonInvoker"


class Kodi:
    """A Kodi in `home`, which is a folder that is there for nothing else."""

    def __init__(self, home, display):
        self.home = Path(home)
        self.root = self.home / ".kodi"
        self.rpc = self.process = None
        self._programs = itertools.count(1)
        runtime = self.home / "run"
        for folder in (runtime, self.home / "programs"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Another Python that is first on the PATH would be taken for that of Kodi.
        self._environment = {
            "DISPLAY": display.name,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "PATH": "/usr/bin:/bin",
            "XDG_RUNTIME_DIR": str(runtime),
        }

    # A profile.

    def bare(self):
        """A new profile, in which Kodi has run once and ended. Returns the seconds that the end took."""
        userdata = self.root / "userdata"
        userdata.mkdir(parents=True)
        # Without a device for sound it waits for one, 7 seconds at its start and 12 before it plays something.
        (self.home / ".asoundrc").write_text("pcm.!default { type null }\n")
        settings = "".join(f'<setting id="{name}">{value}</setting>' for name, value in SETTINGS.items())
        (userdata / "guisettings.xml").write_text(f'<settings version="2">{settings}</settings>')
        (userdata / "advancedsettings.xml").write_text(
            '<advancedsettings version="1.0"><loglevel>1</loglevel></advancedsettings>'
        )
        self.start()
        return self.quit()

    def profile_of(self, other):
        """Takes a copy of the profile of another, which does not run."""
        shutil.copytree(other.root, self.root)
        shutil.copy(other.home / ".asoundrc", self.home)
        return self

    def install(self, *addons):
        """Puts add-ons, as zips or as folders, to where Kodi has them, and enables them. It does not run meanwhile, so it asks nobody whether they are welcome."""
        folder = self.root / "addons"
        for addon in map(Path, addons):
            if addon.is_dir():
                name = ElementTree.parse(addon / "addon.xml").getroot().get("id")
                shutil.copytree(addon, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                with zipfile.ZipFile(addon) as file:
                    name = file.namelist()[0].split("/")[0]
                    shutil.rmtree(folder / name, ignore_errors=True)
                    file.extractall(folder)  # executable bits are lost, as in Kodi
            with sqlite3.connect(next(self.root.glob("userdata/Database/Addons*.db"))) as database:
                database.execute("delete from installed where addonID = ?", (name,))
                database.execute(
                    "insert into installed(addonID, enabled, installDate) values(?, 1, datetime('now'))",
                    (name,),
                )
            database.close()
        return self

    def data(self, addon):
        """The folder where an add-on keeps what is its user's."""
        return self.root / "userdata/addon_data" / addon

    def configure(self, addon, **settings):
        """Writes the settings of an add-on, all that are not as it comes. It does not run meanwhile."""
        rows = "".join(
            f'<setting id="{name}">{_setting(value)}</setting>' for name, value in settings.items()
        )
        self.data(addon).mkdir(parents=True, exist_ok=True)
        (self.data(addon) / "settings.xml").write_text(f'<settings version="2">{rows}</settings>')
        return self

    # Running.

    def start(self):
        """Begins; comes back when it answers."""
        self._crashes = 0
        self._begin()
        self.rpc = self.until(self._connected, "Kodi to answer", 120)
        return self

    def _begin(self):
        (self.root / "temp/kodi.log").unlink(missing_ok=True)  # of the time before
        with open(self.home / "kodi.out", "ab") as output:
            self.process = subprocess.Popen(
                [next(filter(os.path.exists, PROGRAMS)), "--standalone"],
                env=self._environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_ends_with_this,
            )

    def _connected(self):
        code = self.process.poll()
        if code is not None and code < 0 and not self._crashes and _SCRIPT not in self.log():
            # Of some hundred starts under load Kodi itself crashes in one. No add-on has run by then, so it is the fault of none.
            print(f"Kodi crashed ({code}) before it ran any script, and is started again")
            self._crashes += 1
            self._begin()
            return None
        assert code is None, f"Kodi ended with {code}: {(self.home / 'kodi.out').read_text()}"
        try:
            return JsonRpc()
        except OSError:
            return None

    def quit(self):
        """Ends it as its menu does. Returns the seconds that this took."""
        began = time.monotonic()
        self.rpc("Application.Quit")
        self.process.wait(60)
        self.rpc.close()
        assert self.process.returncode == 0
        return time.monotonic() - began

    def held_up(self):
        """The seconds that scripts kept it from its end, when it has ended. It asks one after the other to end, and kills one that takes 5 seconds."""
        log = self.log()
        assert "let's kill it" not in log, "a script did not end in time"
        return sum(map(int, re.findall(r"script termination took (\d+)ms", log))) / 1000

    def kill(self):
        """Ends it as a crash would, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.rpc is not None:
            self.rpc.close()

    def log(self):
        """What it has logged since its start."""
        try:
            return (self.root / "temp/kodi.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def until(self, question, what, seconds=60):
        """As `until`, and says what the log has last where it was in vain."""
        try:
            return until(question, what, seconds)
        except AssertionError as error:
            tail = "\n".join(self.log().splitlines()[-60:])
            raise AssertionError(f"{error}; the log ends with:\n{tail}") from None

    def wait_for_log(self, text, since=0, seconds=60):
        """Waits until the log says this, behind so many characters of it. Returns how long the log is then."""
        log = self.until(
            lambda: (log := self.log()).find(text, since) >= 0 and log, f"{text!r} in the log", seconds
        )
        return log.find(text, since) + len(text)

    # Scripts, each in an interpreter of its own.

    def begin(self, source, *arguments, addon="script.andiron.tests"):
        """Begins a program in Python as the add-on of the tests, or a copy of it. There `answer(value)` hands a value back, and `arguments` are those that are given here."""
        program = self.home / f"programs/{next(self._programs)}.py"
        program.write_text(source)
        program.with_suffix(".arguments").write_text(json.dumps(arguments))
        self.rpc("Addons.ExecuteAddon", addonid=addon, params=[str(program)])
        return Script(self, program.with_suffix(".json"))

    def python(self, source, *arguments, seconds=60, **options):
        """Runs a program as `begin` does, and returns what it answers."""
        return self.begin(source, *arguments, **options).result(seconds)

    def builtin(self, text):
        """Has Kodi do one of its built-in functions."""
        self.python("import xbmc\nxbmc.executebuiltin(arguments[0], True)\nanswer(None)", text)

    def setting(self, addon, **values):
        """Changes settings of an add-on as its page does."""
        source = "import xbmcaddon\naddon = xbmcaddon.Addon(arguments[0])\nfor name, value in arguments[1].items(): addon.setSetting(name, value)\nanswer(None)"
        self.python(source, addon, {name: _setting(value) for name, value in values.items()})

    @contextlib.contextmanager
    def outside(self, source):
        """A program in Python that runs beside Kodi as the same user, with the package as it is in the source tree; for `with`, behind which its input ends."""
        environment = {
            **self._environment,
            "PYTHONPATH": str(Path(__file__).parents[2] / "python"),
            "ANDIRON_PURE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with subprocess.Popen(
            [sys.executable, "-c", source],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_ends_with_this,
        ) as process:
            try:
                yield process
            finally:
                process.stdin.close()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise

    def labels(self, *names):
        """What the interface shows: info labels by their names."""
        return self.rpc("XBMC.GetInfoLabels", labels=list(names))

    def screenshot(self, path):
        """A picture of its screen."""
        subprocess.run(["import", "-window", "root", str(path)], env=self._environment, check=True)


def _setting(value):
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
